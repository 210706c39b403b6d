//! What several test files share: the demo model, its reference outputs, and comparing numbers.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::path::PathBuf;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::layers::Storage;
use lorakeet::pipelines::{Phase, Settings, StableDiffusion, TextToImage};
use lorakeet::weights::{Bytes, Checkpoint, Index};

/// A path within the project.
pub fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// A file of the project.
pub fn read(relative: &str) -> Vec<u8> {
    let path = path(relative);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The demo model on the CPU backend.
pub fn demo_model() -> StableDiffusion {
    load(&Checkpoint::open_path(path("web/demo-model/model")).unwrap())
}

/// A checkpoint on the CPU backend in f32, with CLIP's vocabulary if it brings none.
pub fn load(checkpoint: &Checkpoint) -> StableDiffusion {
    let merges = read("web/clip-vocabulary/merges.txt");
    let (model, report) = StableDiffusion::load(
        checkpoint,
        Some(&merges),
        &Device::flex(),
        Storage::F32,
        &mut |_| {},
    )
    .unwrap();
    for component in &report.components {
        assert_eq!(component.unused, [""; 0], "{}", component.component);
    }
    model
}

/// A safetensors file in memory.
pub struct Tensors(Bytes, Index);

impl Tensors {
    /// A file of `tests/fixtures`.
    pub fn fixture(relative: &str) -> Self {
        Self::new(relative, read(&format!("tests/fixtures/{relative}")))
    }

    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let source = Bytes::new(name, bytes);
        let index = Index::read(&source).unwrap();
        Self(source, index)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.1.tensors.keys().map(String::as_str)
    }

    pub fn values(&self, key: &str) -> Vec<f32> {
        self.1.read_f32(&self.0, key).unwrap()
    }

    /// On the CPU backend.
    pub fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        let shape = self.1.info(key).unwrap().shape.clone();
        Tensor::from_data(TensorData::new(self.values(key), shape), &Device::flex())
    }
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

/// The largest difference.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // A NaN must count as the largest of all.
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, d| if d <= most { most } else { d })
}

/// The prompts, seeds and settings that `demo-model/reference` was made with.
pub fn reference_settings(row: usize, scheduler: &str) -> Settings {
    Settings {
        prompt: ["smiling face with sunglasses", "blue cat face"][row].into(),
        negative_prompt: String::new(),
        steps: 20,
        guidance: 4.0,
        seed: [11, 12][row],
        scheduler: Some(scheduler.into()),
        width: 128,
        height: 128,
    }
}

/// Runs to the end of denoising; the final latents.
pub fn latents(
    model: &Rc<StableDiffusion>,
    settings: Settings,
    noise: Option<Vec<f32>>,
) -> Vec<f32> {
    let mut work = TextToImage::new(model.clone(), settings, noise).unwrap();
    while work.phase() != Phase::Decode {
        work.advance().unwrap();
    }
    values(work.latents())
}

/// Runs to the picture, `[3, height, width]` in about -1..1.
pub fn picture(model: &Rc<StableDiffusion>, settings: Settings) -> Vec<f32> {
    let mut work = TextToImage::new(model.clone(), settings, None).unwrap();
    loop {
        if let Some(picture) = work.advance().unwrap().picture {
            return values(picture);
        }
    }
}

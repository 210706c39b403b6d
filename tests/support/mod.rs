//! The demo model and its runs on the CPU backend, natively.
#![allow(dead_code, reason = "each test file uses its own part of this")]

mod reference;

use std::path::PathBuf;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use lorakeet::layers::Storage;
use lorakeet::pipelines::{Phase, Settings, StableDiffusion, TextToImage};
use lorakeet::weights::Checkpoint;
#[allow(unused_imports, reason = "each test file uses its own part of this")]
pub use reference::{Tensors, distance, parse, settings};

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

/// A safetensors file of `tests/fixtures`.
pub fn fixture(relative: &str) -> Tensors {
    Tensors::new(relative, read(&format!("tests/fixtures/{relative}")))
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
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

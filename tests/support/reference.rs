//! The demo model's reference outputs (`fixtures/demo-model/recipe/reference.py`), natively and in
//! the browser.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::pipelines::Settings;
use lorakeet::weights::{Bytes, Index};

/// A safetensors file in memory.
pub struct Tensors(Bytes, Index);

impl Tensors {
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let source = Bytes::new(name, bytes);
        let index = Index::read(&source).unwrap();
        Self(source, index)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.1.tensors.keys().map(String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.1.tensors.contains_key(key)
    }

    pub fn metadata(&self, key: &str) -> &str {
        &self.1.metadata[key]
    }

    pub fn shape(&self, key: &str) -> Vec<usize> {
        self.1.info(key).unwrap().shape.clone()
    }

    pub fn values(&self, key: &str) -> Vec<f32> {
        self.1.read_f32(&self.0, key).unwrap()
    }

    pub fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let shape = self.1.info(key).unwrap().shape.clone();
        Tensor::from_data(TensorData::new(self.values(key), shape), device)
    }
}

/// The largest difference; NaN where there is one.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = |most: f32, d: f32| if d <= most { most } else { d };
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, most)
}

/// The prompts, seeds and settings of the reference runs.
pub fn settings(row: usize, scheduler: &str) -> Settings {
    Settings {
        prompt: ["smiling face with sunglasses", "blue cat face"][row].into(),
        steps: 20,
        guidance: 4.0,
        seed: [11, 12][row],
        scheduler: Some(scheduler.into()),
        width: 128,
        height: 128,
        ..Settings::default()
    }
}

/// `SCHEDULER.ADAPTER_STRENGTH+ADAPTER_STRENGTH`, a key of `final-latents.safetensors`: our name of
/// the scheduler, adapters with their strengths.
pub fn parse(tag: &str) -> (&'static str, Vec<(&str, f32)>) {
    let (scheduler, adapters) = tag.split_once('.').unwrap();
    let scheduler = match scheduler {
        "ddim" => "ddim",
        "euler" => "euler",
        "dpmpp2m-karras" => "dpmpp_2m_karras",
        other => panic!("{other}"),
    };
    let adapters = adapters.split('+').filter(|part| *part != "base").map(|part| {
        let (name, strength) = part.split_once('_').unwrap();
        (name, strength.parse().unwrap())
    });
    (scheduler, adapters.collect())
}

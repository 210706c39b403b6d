//! The tiny model and what diffusers makes of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use burn::tensor::Tensor;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Checkpoint, Overrides};
use serde::Deserialize;
use serde_json::Value;

use super::support::{self, Tensors};

/// `expected.json`.
#[derive(Deserialize)]
pub struct Table {
    pub prompts: Vec<String>,
    /// Of each tokenizer, of each prompt.
    pub ids: Vec<Vec<Vec<u32>>>,
    pub timesteps: Vec<f64>,
    pub time_ids: Vec<[f64; 6]>,
    pub runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
pub struct Run {
    pub scheduler: String,
    pub steps: usize,
    pub guidance: f64,
    pub negative: Option<String>,
    pub seed: u64,
    /// Height and width.
    pub latents: [usize; 2],
    pub more: BTreeMap<String, [f64; 2]>,
}

/// `names.json`.
#[derive(Deserialize)]
pub struct Names {
    /// Name in a single file, component, diffusers' names of what it is made of, how.
    pub single: Vec<(String, String, Vec<String>, String)>,
    /// Component, path, and its name in each tool's files.
    pub adapter: Vec<Vec<String>>,
}

fn json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&support::read(&format!("tests/fixtures/sdxl/{name}"))).unwrap()
}

pub static TABLE: LazyLock<Table> = LazyLock::new(|| json("expected.json"));
pub static NAMES: LazyLock<Names> = LazyLock::new(|| json("names.json"));
pub static EXPECTED: LazyLock<Tensors> =
    LazyLock::new(|| support::fixture("sdxl/expected.safetensors"));

/// The model's folder, opened.
pub fn folder() -> Checkpoint {
    folder_as(&Overrides::default())
}

pub fn folder_as(overrides: &Overrides) -> Checkpoint {
    Checkpoint::open_path_with(support::path("tests/fixtures/sdxl/folder"), &[], overrides).unwrap()
}

pub fn load(checkpoint: &Checkpoint) -> StableDiffusion {
    support::load(checkpoint)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    support::values(tensor)
}

/// The largest difference from an expected tensor, in units of its largest number where that is above 1.
pub fn distance(name: &str, ours: &[f32]) -> f32 {
    let expected = EXPECTED.values(name);
    let largest = expected.iter().fold(1f32, |most, value| most.max(value.abs()));
    support::distance(ours, &expected) / largest
}

/// Holds numbers to the expected ones.
pub fn off(name: &str, ours: &[f32], most: f32) {
    let off = distance(name, ours);
    println!("{name}: {off:.1e}");
    assert!(off < most, "{name} is {off} off");
}

/// A safetensors file of these tensors: name, type, shape, bytes.
pub fn safetensors(tensors: &[(String, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let from = data.len();
        data.extend(bytes);
        let place =
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), place);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [(text.len() as u64).to_le_bytes().to_vec(), text, data].concat()
}

//! One training step of SD 1.5 at full size against PyTorch (`fixtures/full-size/generate.py`): 256 px,
//! batch 1, a LoRA on the 192 modules of the UNet's transformers.
#![allow(dead_code, reason = "each user takes its own part of this")]

use std::rc::Rc;

use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::reference::{self, tensor_name};
use lorakeet::training::trainer::StepReport;
use lorakeet::training::{Config, Reference, Setup, Trainer};
use lorakeet::weights::{Bytes, Index};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::random_model::{ALPHA, RANK, adapter, input};

const EXPECTED: &[u8] = include_bytes!("../fixtures/full-size/training.safetensors");
const TIMESTEP: f32 = 301.0;
/// Values that are stored of each gradient, evenly spread.
const SAMPLES: usize = 64;
/// Of the loss, and of each gradient's norm.
const TOLERANCE: f64 = 1e-3;

/// Everything that training draws, by the rule: pictures, texts, noise, the adapter's first values.
fn given() -> Bytes {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
        tensors.push((name.into(), shape.to_vec(), values));
    };
    let drawn = |name: &str, shape: &[usize]| input(&format!("training.{name}"), shape, 1.0);
    let (latents, text) = ([1, 4, 32, 32], [1, 77, 768]);
    add("latents", &latents, drawn("latents", &latents));
    add("text", &text, drawn("text", &text));
    add("text_empty", &text[1..], drawn("text", &text));
    add("index", &[1, 1], vec![0.0]);
    add("timesteps", &[1, 1], vec![TIMESTEP]);
    add("noise", &[1, 1, 4, 32, 32], drawn("noise", &latents));
    let file = adapter("adapter.safetensors");
    let index = Index::read(&file).unwrap();
    for (key, info) in index.tensors.iter().filter(|(key, _)| key.starts_with("lora_unet_")) {
        add(&format!("init.{key}"), &info.shape, index.read_f32(&file, key).unwrap());
    }
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values);
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    Bytes::new("given.safetensors", safetensors::serialize(views, None).unwrap())
}

/// What makes the trainer; whoever pulls it knows how to read from the device.
pub fn setup(model: StableDiffusion) -> Setup {
    let config = json!({
        "targets": "linear", "rank": RANK, "alpha": ALPHA, "steps": 1, "batch": 1, "warmup": 0,
        "learningRate": 1e-4, "captionDropout": 0, "clip": 0,
    });
    let config: Config = serde_json::from_value(config).unwrap();
    let given = given();
    let dataset = Rc::new(reference::dataset(&given, "").unwrap());
    let draws = Some(Rc::new(Reference::read(&given, "").unwrap()));
    Setup::new(Rc::new(model), config, dataset, draws).unwrap()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Loss, every gradient's norm, and samples of every gradient; the worst of each, for people.
pub fn compare(trainer: &Trainer, report: &StepReport) -> String {
    let source = Bytes::new("training.safetensors", EXPECTED);
    let index = Index::read(&source).unwrap();
    let expected = |name: &str| index.read_f32(&source, name).unwrap();
    let (loss, norms, samples) = (expected("loss")[0], expected("norms"), expected("gradients"));

    let loss = (report.loss / f64::from(loss) - 1.0).abs();
    assert!(loss < TOLERANCE, "the loss is {}, {loss:e} from PyTorch's", report.loss);
    let adapter = trainer.adapter();
    assert_eq!(adapter.modules.len(), 192);
    let file = self::adapter("adapter.safetensors");
    // PyTorch's order is that of the file's tensors, without alphas.
    let order = file.keys().filter(|key| key.starts_with("lora_unet_") && !key.ends_with(".alpha"));
    let order: Vec<&str> = order.collect();
    let (mut worst_norm, mut worst_sample) = (0.0f64, 0.0f64);
    for module in &adapter.modules {
        for piece in &module.pieces {
            let name = tensor_name(module, piece.name);
            let at = order.iter().position(|key| *key == name).unwrap_or_else(|| panic!("{name}"));
            let ours = &trainer.gradient()[piece.range.clone()];
            let size = norm(ours.iter().copied());
            let apart = (size / f64::from(norms[at]) - 1.0).abs();
            assert!(apart < TOLERANCE, "{name}: the gradient's norm {size} is {apart:e} off");
            let theirs = &samples[at * SAMPLES..(at + 1) * SAMPLES];
            let sampled = |i: usize| ours[i * ours.len() / SAMPLES];
            let error = norm(theirs.iter().enumerate().map(|(i, their)| their - sampled(i)));
            let error = error / norm(theirs.iter().copied());
            assert!(error < TOLERANCE, "{name}: the gradient is {error:e} off");
            worst_norm = worst_norm.max(apart);
            worst_sample = worst_sample.max(error);
        }
    }
    format!("loss {loss:.1e}, norms of gradients {worst_norm:.1e}, gradients {worst_sample:.1e}")
}

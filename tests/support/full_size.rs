//! SD 1.5 at full size against PyTorch and diffusers (`fixtures/full-size/generate.py`), natively and
//! in the browser: weights and inputs follow from a rule, outputs are stored.
#![allow(dead_code, reason = "each user takes its own part of this")]

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::layers::Storage;
use lorakeet::pipelines::{StableDiffusion, Vae};
use lorakeet::weights::{Bytes, Checkpoint, Index};

use crate::random_model::{Numbers, adapter, input, single_file};

const OUTPUTS: &[u8] = include_bytes!("../fixtures/full-size/outputs.safetensors");
const MERGES: &[u8] = include_bytes!("../../web/clip-vocabulary/merges.txt");
const TIMESTEPS: [f64; 2] = [981.0, 301.0];

/// f32 sums in another order than PyTorch's; values of about ±4.
pub const CLOSE: f32 = 1e-4;
/// 8-bit blocks: 127 steps to the largest of 32 numbers.
pub const Q8_CLOSE: f32 = 5e-2;

/// The model of the f16 file.
pub fn model(device: &Device, storage: Storage) -> StableDiffusion {
    let file = Rc::new(single_file("random-sd15.safetensors", Numbers::F16));
    let checkpoint = Checkpoint::open(vec![file]).unwrap();
    StableDiffusion::load(&checkpoint, Some(MERGES), device, storage, &mut |_| {}).unwrap().0
}

/// Attaches the LoRA of 264 modules, which must all be used.
pub fn attach(model: &StableDiffusion) {
    let id = model.add_adapter(&adapter("random.kohya.safetensors"), None).unwrap();
    let adapters = model.adapters();
    let report = &adapters.iter().find(|attached| attached.id == id).unwrap().report;
    let modules = [report.modules_used, report.unet_modules, report.text_encoder_modules];
    assert_eq!(modules, [264, 192, 72], "{}", report.summary);
}

/// What PyTorch gave.
pub fn expected(name: &str) -> Vec<f32> {
    let source = Bytes::new("outputs.safetensors", OUTPUTS);
    Index::read(&source).unwrap().read_f32(&source, name).unwrap()
}

fn tensor<const D: usize>(
    name: &str,
    shape: [usize; D],
    deviation: f64,
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(input(name, &shape, deviation), shape), device)
}

/// A step at 256 px, two pictures at two timesteps: `unet.base` or `unet.lora`.
pub fn unet(model: &StableDiffusion) -> Tensor<4> {
    let device = model.device();
    let sample = tensor("input.sample", [2, 4, 32, 32], 1.0, device);
    let context = tensor("input.context", [2, 77, 768], 1.0, device);
    model.unet.forward(sample, &TIMESTEPS, context)
}

/// Every eighth channel of the last hidden state: `text.base` or `text.lora`.
pub fn text(model: &StableDiffusion) -> Tensor<2> {
    let words = (0..20).map(|i| (i * 613 + 320) % 49406);
    let ids: Vec<u32> = [49406].into_iter().chain(words).chain([49407; 56]).collect();
    let hidden = model.text_encoder().unwrap().forward(&[ids]).unwrap();
    hidden.reshape([77, 96, 8]).narrow(2, 0, 1).reshape([77, 96])
}

/// Every eighth pixel of a picture of 512 px: `vae.decoded`.
pub fn decoded(model: &StableDiffusion) -> Tensor<4> {
    let vae = model.vae().unwrap();
    let latents = tensor("input.latents", [1, 4, 64, 64], 1.0, model.device());
    let columns = vae.decode(latents).reshape([3, 512, 64, 8]).narrow(3, 4, 1);
    columns.reshape([3, 64, 8, 64]).narrow(2, 4, 1)
}

/// The posterior's mean for a picture of 256 px: `vae.mean`.
pub fn encoded(model: &StableDiffusion) -> Tensor<4> {
    let vae = model.vae().unwrap();
    let Vae::Kl(vae) = &*vae else { panic!("SD 1.5 has a whole VAE") };
    vae.encode(tensor("input.picture", [1, 3, 256, 256], 0.5, model.device())).mean
}

/// The largest difference from what PyTorch gave, which must be below `most`; NaN where there is one.
pub fn difference(name: &str, values: &[f32], most: f32) -> f32 {
    let expected = expected(name);
    assert_eq!(values.len(), expected.len(), "{name}");
    let larger = |most: f32, d: f32| if d <= most { most } else { d };
    let differences = values.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, larger);
    assert!(largest < most, "{name}: {largest} from PyTorch's");
    largest
}

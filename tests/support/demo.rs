//! The demo model and its adapters as bytes in the binary: for the browser, which has no files, and
//! for benchmarks, which shall measure the same thing everywhere.
#![allow(dead_code, reason = "each user takes its own part of this")]

use std::rc::Rc;

use burn::tensor::Device;
use lorakeet::layers::Storage;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Bytes, Checkpoint, Source};

/// Three adapters: LoRA, LoCon, and the LoRA that the light-tuning case came to.
pub const INK: &[u8] = include_bytes!("../../web/demo-model/lora/ink.kohya.safetensors");
pub const SOFT: &[u8] = include_bytes!("../../web/demo-model/lora/soft.kohya.safetensors");
pub const NIGHT: &[u8] =
    include_bytes!("../fixtures/demo-model/light-tuning/night.kohya.safetensors");

/// Inputs of the light-tuning case.
pub const GIVEN: &[u8] = include_bytes!("../fixtures/demo-model/light-tuning/given.safetensors");

macro_rules! demo {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../web/demo-model/", $path)).as_slice())),*]
    };
}

/// The demo model in f32.
pub fn model(device: &Device) -> StableDiffusion {
    model_in(Storage::F32, device)
}

/// The demo model, whose file has halves.
pub fn model_in(storage: Storage, device: &Device) -> StableDiffusion {
    let files = demo!(
        "model/model_index.json",
        "model/scheduler/scheduler_config.json",
        "model/text_encoder/config.json",
        "model/text_encoder/model.fp16.safetensors",
        "model/tokenizer/merges.txt",
        "model/tokenizer/special_tokens_map.json",
        "model/tokenizer/tokenizer_config.json",
        "model/tokenizer/vocab.json",
        "model/unet/config.json",
        "model/unet/diffusion_pytorch_model.fp16.safetensors",
        "model/vae/config.json",
        "model/vae/diffusion_pytorch_model.fp16.safetensors",
    );
    let sources = files
        .into_iter()
        .map(|(path, bytes)| Rc::new(Bytes::new(path, bytes)) as Rc<dyn Source>)
        .collect();
    let checkpoint = Checkpoint::open(sources).unwrap();
    StableDiffusion::load(&checkpoint, None, device, storage, &mut |_| {}).unwrap().0
}

/// Attaches an adapter's file at this strength; its number.
pub fn add(model: &StableDiffusion, bytes: &[u8], strength: f32) -> u64 {
    let id = model.add_adapter(&Bytes::new("adapter.safetensors", bytes), None).unwrap();
    model.set_adapter(id, true, strength, strength).unwrap();
    id
}

//! The core in headless Chromium, in a worker as on the page: the CPU backend compiled to wasm and
//! WebGPU on whatever adapter there is (SwiftShader, where there is no GPU).
#![cfg(target_arch = "wasm32")]

#[path = "web/bands.rs"]
mod bands;
#[path = "support/demo.rs"]
mod demo;
#[path = "web/kernels.rs"]
mod kernels;
#[path = "support/reference.rs"]
mod reference;
#[path = "web/stored.rs"]
mod stored;
#[path = "web/threads.rs"]
mod threads;
#[path = "web/tiles.rs"]
mod tiles;
#[path = "web/training.rs"]
mod training;

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{DType, Device, Tensor};
use demo::{INK, SOFT, add, model};
use lorakeet::pipelines::{Phase, StableDiffusion, TextToImage};
use reference::{Tensors, distance, parse, settings};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn unet_reference() -> Tensors {
    let bytes = include_bytes!("fixtures/demo-model/reference/unet.safetensors");
    Tensors::new("unet.safetensors", bytes.as_slice())
}

fn latents_reference() -> Tensors {
    let bytes = include_bytes!("fixtures/demo-model/reference/final-latents.safetensors");
    Tensors::new("final-latents.safetensors", bytes.as_slice())
}

fn cpu() -> Device {
    lorakeet::web::prepare();
    Device::flex()
}

/// One device for all tests: a second one can't be opened while anything of the first is alive.
async fn webgpu() -> Device {
    lorakeet::web::prepare();
    thread_local!(static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) });
    if let Some(device) = DEVICE.with_borrow(Clone::clone) {
        return device;
    }
    lorakeet::kernels::gpu::set_software(lorakeet::web::software_adapter().await);
    let device = Device::wgpu_options().init_async().await.unwrap();
    lorakeet::kernels::gpu::set_native_halves(device.supports_dtype(DType::F16));
    DEVICE.set(Some(device.clone()));
    device
}

async fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.unwrap().convert::<f32>().try_into_vec().unwrap()
}

/// One UNet step against diffusers', at the same place.
async fn unet_step(model: &StableDiffusion) -> Vec<f32> {
    let reference = unet_reference();
    let device = model.device();
    let timestep = f64::from(reference.values("timestep")[0]);
    let latent = reference.tensor::<4>("latent", device);
    values(model.unet.forward(latent, &[timestep], reference.tensor("embedding", device))).await
}

/// A whole run of a reference prompt; the latents before decoding.
async fn run(model: &Rc<StableDiffusion>, scheduler: &str, row: usize) -> Vec<f32> {
    let mut work = TextToImage::new(model.clone(), settings(row, scheduler), None).unwrap();
    while work.phase() != Phase::Decode {
        work.advance().unwrap();
    }
    values(work.latents()).await
}

/// Base step, step with a LoRA, strength 0 and detached: what is asked of both backends.
async fn steps_agree(device: Device, tolerance: f32) {
    let model = Rc::new(model(&device));
    let base = unet_step(&model).await;
    let error = distance(&base, &unet_reference().values("eps"));
    console_log!("UNet step against diffusers: {error:e}");
    assert!(error < tolerance, "UNet step differs by {error}");

    let ink = add(&model, INK, 1.0);
    let with = unet_step(&model).await;
    assert!(distance(&with, &base) > 0.05, "the adapter changes nothing");
    model.set_adapter(ink, true, 0.0, 0.0).unwrap();
    assert_eq!(unet_step(&model).await, base, "strength 0 is the base bit for bit");

    model.set_adapter(ink, true, 0.5, 0.5).unwrap();
    let latents = run(&model, "ddim", 0).await;
    let reference = latents_reference().values("ddim.ink_0.5");
    let error = distance(&latents, &reference[..latents.len()]);
    console_log!("20 DDIM steps with ink at 0.5 against diffusers: {error:e}");
    assert!(error < tolerance, "latents differ by {error}");

    model.remove_adapter(ink).unwrap();
    assert_eq!(unet_step(&model).await, base, "nothing of the adapter stays");

    let ids = [model.tokenizer.encode("blue cat face").unwrap().ids];
    let hidden = async || values(model.text_encoder().unwrap().forward(&ids).unwrap()).await;
    let before = hidden().await;
    model.release_encoders();
    assert_eq!(hidden().await, before, "a text encoder that left comes back the same");
}

/// 1e-3 is what the native CPU backend is held to.
#[wasm_bindgen_test]
async fn cpu_backend_follows_diffusers() {
    steps_agree(cpu(), 1e-3).await;
}

/// A GPU sums in another order, and SwiftShader's exp and sqrt are within WGSL's bounds only.
const WEBGPU: f32 = 5e-3;

#[wasm_bindgen_test]
async fn webgpu_backend_follows_diffusers() {
    let device = webgpu().await;
    steps_agree(device, WEBGPU).await;
}

/// Whole runs against diffusers: 11 of them, each prompt in turn. Half a minute and more for each on
/// a software GPU, so on demand: `cargo xtask test --web -- -- --include-ignored --nocapture`.
#[wasm_bindgen_test]
#[ignore = "takes ten minutes on a software GPU"]
async fn webgpu_meets_every_reference_run() {
    let device = webgpu().await;
    let model = Rc::new(model(&device));
    let reference = latents_reference();
    for (i, tag) in reference.keys().enumerate() {
        let (scheduler, adapters) = parse(tag);
        let ids: Vec<u64> = adapters
            .into_iter()
            .map(|(name, strength)| add(&model, if name == "ink" { INK } else { SOFT }, strength))
            .collect();
        let row = i % 2;
        let latents = run(&model, scheduler, row).await;
        let error =
            distance(&latents, &reference.values(tag)[row * latents.len()..][..latents.len()]);
        console_log!("{tag} {row}: {error:e}");
        assert!(error < WEBGPU, "{tag}, row {row}: {error}");
        for id in ids {
            model.remove_adapter(id).unwrap();
        }
    }
}

//! SD 1.5 at full size in headless Chromium against PyTorch and diffusers, on demand:
//! `cargo xtask test --full`. Its file is computed as it is read, so nothing is sent to the browser.
#![cfg(target_arch = "wasm32")]

#[path = "support/full_size.rs"]
mod full_size;
#[path = "support/random_model.rs"]
mod random_model;
#[path = "support/full_size_training.rs"]
mod training;

use burn::tensor::{DType, Device, Tensor};
use full_size::{CLOSE, Q8_CLOSE, attach, decoded, difference, encoded, model, text, unet};
use lorakeet::layers::Storage;
use lorakeet::pipelines::StableDiffusion;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn cpu() -> Device {
    lorakeet::web::prepare();
    Device::flex()
}

async fn webgpu() -> Device {
    lorakeet::web::prepare();
    lorakeet::kernels::gpu::set_software(lorakeet::web::software_adapter().await);
    let device = Device::wgpu_options().init_async().await.unwrap();
    lorakeet::kernels::gpu::set_native_halves(device.supports_dtype(DType::F16));
    device
}

async fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_async().await.unwrap().convert::<f32>().try_into_vec().unwrap()
}

fn compare(name: &str, values: &[f32], most: f32) {
    console_log!("{name}: {:e} from PyTorch's", difference(name, values, most));
}

/// A step of the UNet and the text encoder, without and with a LoRA of 264 modules.
async fn steps_are_pytorchs(model: &StableDiffusion, most: f32) {
    compare("text.base", &values(text(model)).await, most);
    compare("unet.base", &values(unet(model)).await, most);
    attach(model);
    compare("text.lora", &values(text(model)).await, most);
    compare("unet.lora", &values(unet(model)).await, most);
}

async fn pictures_are_pytorchs(model: &StableDiffusion, most: f32) {
    compare("vae.mean", &values(encoded(model)).await, most);
    compare("vae.decoded", &values(decoded(model)).await, most);
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_cpu_halves() {
    let model = model(&cpu(), Storage::F16);
    steps_are_pytorchs(&model, CLOSE).await;
    pictures_are_pytorchs(&model, CLOSE).await;
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_webgpu_halves() {
    let model = model(&webgpu().await, Storage::F16);
    steps_are_pytorchs(&model, CLOSE).await;
    pictures_are_pytorchs(&model, CLOSE).await;
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_cpu_8_bit() {
    steps_are_pytorchs(&model(&cpu(), Storage::Q8), Q8_CLOSE).await;
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_webgpu_8_bit() {
    steps_are_pytorchs(&model(&webgpu().await, Storage::Q8), Q8_CLOSE).await;
}

/// One training step, in halves.
async fn training_is_pytorchs(device: Device) {
    let mut setup = training::setup(model(&device, Storage::F16));
    while let Some(tensor) = setup.advance().unwrap() {
        setup.conclude(values(tensor).await).unwrap();
    }
    let mut trainer = setup.finish().unwrap();
    let before = lorakeet::memory::start();
    let report = loop {
        let pass = trainer.advance().unwrap();
        if let Some(report) = trainer.conclude(&values(pass).await).unwrap() {
            break report;
        }
    };
    console_log!("a training step from PyTorch's: {}", training::compare(&trainer, &report));
    console_log!(
        "its heap above what there was: {} MB",
        lorakeet::memory::peak_above(before) >> 20
    );
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_cpu_training_step() {
    training_is_pytorchs(cpu()).await;
}

#[wasm_bindgen_test]
#[ignore = "of full size"]
async fn web_webgpu_training_step() {
    training_is_pytorchs(webgpu().await).await;
}

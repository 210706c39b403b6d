//! `cargo xtask bench --web`: benchmarks in headless Chromium, in a worker as on the page. All are
//! ignored, since they test nothing.
#![cfg(target_arch = "wasm32")]

#[path = "../benches/measure/mod.rs"]
mod measure;

use burn::tensor::{DType, Device};
use measure::{ALL, Plan, block, cost, decode, inference, kernels, strength_change, training};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn cpu(rounds: usize) -> Plan {
    let backend = "CPU backend in Chromium (wasm, one thread)".into();
    Plan { backend, batch: 4, rounds, kinds: ALL }
}

/// A software GPU takes half a minute for one picture: there, one kind and few rounds do.
/// `few`: rounds on a software GPU.
async fn webgpu(rounds: usize, few: usize) -> (Device, Plan) {
    let adapter = adapter().await;
    let backend = format!("WebGPU in Chromium ({adapter})");
    lorakeet::web::prepare();
    lorakeet::kernels::gpu::set_software(lorakeet::web::software_adapter().await);
    let device = Device::wgpu_options().init_async().await.unwrap();
    lorakeet::kernels::gpu::set_native_halves(device.supports_dtype(DType::F16));
    let plan = if adapter.contains("swiftshader") {
        Plan { backend, batch: 1, rounds: few, kinds: &["LoRA, attention", "LoRA"] }
    } else {
        Plan { backend, batch: 4, rounds, kinds: ALL }
    };
    (device, plan)
}

/// Which GPU there is, as far as the browser tells.
async fn adapter() -> String {
    let ask = "navigator.gpu.requestAdapter().then(({ info }) => \
               [info.vendor, info.architecture, info.description].filter(Boolean).join(' '))";
    let promise: js_sys::Promise = js_sys::eval(ask).unwrap().into();
    let name: JsValue = JsFuture::from(promise).await.unwrap();
    name.as_string().unwrap_or_default()
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cpu_training() {
    lorakeet::web::prepare();
    training(&Device::flex(), &cpu(5)).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cpu_decode() {
    lorakeet::web::prepare();
    decode(&Device::flex(), &cpu(1), 256).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cpu_inference() {
    lorakeet::web::prepare();
    inference(&Device::flex(), &cpu(11)).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn webgpu_training() {
    let (device, plan) = webgpu(5, 5).await;
    training(&device, &plan).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn webgpu_inference() {
    // A step of a picture: with a prompt and without.
    let (device, plan) = webgpu(11, 7).await;
    inference(&device, &Plan { batch: 2, ..plan }).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cpu_kernels() {
    lorakeet::web::prepare();
    kernels(&Device::flex(), &cpu(7)).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cpu_block() {
    lorakeet::web::prepare();
    block(&Device::flex(), &cpu(5)).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn webgpu_block() {
    let (device, plan) = webgpu(3, 1).await;
    block(&device, &plan).await;
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn webgpu_kernels() {
    let (device, mut plan) = webgpu(7, 1).await;
    plan.rounds = plan.rounds.max(3);
    kernels(&device, &plan).await;
}

/// Latents of 128 to 768 px.
const SIDES: [usize; 6] = [16, 24, 32, 48, 64, 96];

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cost_cpu() {
    lorakeet::web::prepare();
    cost(&Device::flex(), &cpu(7), &SIDES).await;
    strength_change(&Device::flex(), &cpu(11));
}

#[wasm_bindgen_test]
#[ignore = "a benchmark"]
async fn cost_webgpu() {
    let (device, mut plan) = webgpu(7, 1).await;
    // Minutes for the largest on a software GPU.
    let sides = if plan.rounds == 1 { &SIDES[..5] } else { &SIDES[..] };
    plan.rounds = plan.rounds.max(5);
    cost(&device, &plan, sides).await;
}

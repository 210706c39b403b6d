//! Autoencoders in bands of rows, on both backends.

use burn::tensor::{Device, Tensor};
use lorakeet::pipelines::{Coding, Limits, Vae};
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::demo::model;
use super::reference::{Tensors, distance};
use super::{cpu, values, webgpu};

async fn finish(vae: &Vae, mut coding: Coding) -> Tensor<4> {
    loop {
        if let Some(output) = vae.advance(&mut coding) {
            return output;
        }
    }
}

/// diffusers' picture and posterior, within less and less memory.
async fn bands_follow_diffusers(device: Device, tolerance: f32) {
    let bytes = include_bytes!("../fixtures/demo-model/reference/vae.safetensors");
    let reference = Tensors::new("vae.safetensors", bytes.as_slice());
    let vae = model(&device).vae().unwrap();
    let (latents, pixels): (Tensor<4>, Tensor<4>) =
        (reference.tensor("mean", &device), reference.tensor("image", &device));
    let latents = latents.narrow(0, 0, 1);
    let pixels = pixels.narrow(0, 0, 1);
    let size = |x: &Tensor<4>| [x.dims()[2], x.dims()[3]];
    let whole = vae.decode_plan(size(&latents), Limits::NONE).unwrap();
    for percent in [100, 60, 40] {
        let limits = Limits { bytes: Some(whole.peak * percent / 100), buffer: None };
        let plan = vae.decode_plan(size(&latents), limits).unwrap();
        let coding = vae.begin_decode(&plan, latents.clone()).unwrap();
        let decoded = values(finish(&vae, coding).await).await;
        let expected = reference.values("decoded_from_mean");
        let off = distance(&decoded, &expected[..decoded.len()]);
        let most = vae.encode_plan(size(&pixels), Limits::NONE).unwrap().peak;
        let limits = Limits { bytes: Some(most * percent / 100), buffer: None };
        let encode = vae.encode_plan(size(&pixels), limits).unwrap();
        let coding = vae.begin_encode(&encode, pixels.clone()).unwrap();
        let mean = values(vae.posterior(finish(&vae, coding).await).0).await;
        let expected = reference.values("mean");
        let encoded_off = distance(&mean, &expected[..mean.len()]);
        console_log!(
            "within {percent} %: {} rows at a time, pixels {off:e}; {} rows, latents {encoded_off:e}",
            plan.tile,
            encode.tile
        );
        assert!(off < tolerance && encoded_off < tolerance);
        assert_eq!(plan.is_whole(), percent == 100);
    }
}

#[wasm_bindgen_test]
async fn cpu_decodes_in_bands() {
    bands_follow_diffusers(cpu(), 1e-4).await;
}

#[wasm_bindgen_test]
async fn webgpu_decodes_in_bands() {
    bands_follow_diffusers(webgpu().await, 1e-3).await;
}

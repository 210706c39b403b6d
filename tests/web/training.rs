//! The training loop in the browser against PyTorch: the demo model's light-tuning case.

use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use lorakeet::training::reference::{self, tensor_name};
use lorakeet::training::{Config, Reference, Setup};
use lorakeet::weights::Bytes;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::demo::GIVEN;
use super::{Tensors, model, values, webgpu};

const EXPECTED: &[u8] = include_bytes!("../fixtures/demo-model/light-tuning/expected.safetensors");

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Runs the first `steps` steps of the case; `tolerance` is that of gradients and losses.
async fn follows_pytorch(device: Device, steps: usize, tolerance: f64) {
    let given = Bytes::new("given.safetensors", GIVEN);
    let expected = Tensors::new("expected.safetensors", EXPECTED);
    // light.json
    let config: Config = serde_json::from_str(
        r#"{"targets": "attention", "rank": 8, "alpha": 8, "learningRate": 0.002, "warmup": 10,
            "steps": 100, "batch": 4, "schedule": "constant",
            "optimizer": {"name": "adamW", "betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": 0.01}}"#,
    )
    .unwrap();
    let dataset = Rc::new(reference::dataset(&given, "").unwrap());
    let draws = Some(Rc::new(Reference::read(&given, "").unwrap()));
    let mut setup = Setup::new(Rc::new(model(&device)), config, dataset, draws).unwrap();
    while let Some(tensor) = setup.advance().unwrap() {
        setup.conclude(values(tensor).await).unwrap();
    }
    let mut trainer = setup.finish().unwrap();

    let losses = expected.values("loss");
    let mut worst = 0.0f64;
    for (step, &loss) in losses.iter().enumerate().take(steps) {
        let report = loop {
            let pass: Tensor<1> = trainer.advance().unwrap();
            if let Some(report) = trainer.conclude(&values(pass).await).unwrap() {
                break report;
            }
        };
        let error = (report.loss / f64::from(loss) - 1.0).abs();
        worst = worst.max(error);
        assert!(error < tolerance, "step {step}: loss {} against {loss}", report.loss);
        if step == 0 {
            let (mut apart, mut whole) = (0.0, 0.0);
            for module in &trainer.adapter().modules {
                for piece in &module.pieces {
                    let name = format!("grad_step_0.{}", tensor_name(module, piece.name));
                    let theirs = expected.values(&name);
                    let ours = &trainer.gradient()[piece.range.clone()];
                    let error = norm(ours.iter().zip(&theirs).map(|(a, b)| a - b));
                    let size = norm(theirs.iter().copied());
                    assert!(error <= tolerance * size, "{name}: {error} of {size}");
                    apart += error * error;
                    whole += size * size;
                }
            }
            console_log!("gradients of step 0: {:e}", (apart / whole).sqrt());
        }
    }
    console_log!("worst loss of {steps} steps: {worst:e}");
    if steps == losses.len() {
        let (mut dot, mut ours, mut theirs) = (0.0, 0.0, 0.0);
        for module in &trainer.adapter().modules {
            for piece in &module.pieces {
                let name = format!("final.{}", tensor_name(module, piece.name));
                let expected = expected.values(&name);
                for (a, b) in trainer.adapter().parameters[piece.range.clone()].iter().zip(expected)
                {
                    let (a, b) = (f64::from(*a), f64::from(b));
                    dot += a * b;
                    ours += a * a;
                    theirs += b * b;
                }
            }
        }
        let cosine = dot / (ours * theirs).sqrt();
        console_log!("1 - cosine of the final adapter: {:e}", 1.0 - cosine);
        assert!(cosine > 0.999, "{cosine}");
    }
}

#[wasm_bindgen_test]
async fn cpu_backend_trains_as_pytorch_does() {
    follows_pytorch(super::cpu(), 5, 1e-4).await;
}

/// Two steps: a software GPU takes half a minute and more for each.
#[wasm_bindgen_test]
async fn webgpu_backend_trains_as_pytorch_does() {
    let device = webgpu().await;
    follows_pytorch(device, 2, 1e-2).await;
}

/// On demand, as `webgpu_meets_every_reference_run`.
#[wasm_bindgen_test]
#[ignore = "takes minutes on a software GPU"]
async fn webgpu_trains_the_whole_case() {
    let device = webgpu().await;
    follows_pytorch(device, 100, 1e-2).await;
}

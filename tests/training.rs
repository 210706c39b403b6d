//! The training loop against PyTorch: the demo model's light-tuning case, step by step.

mod support;

use std::rc::Rc;

use lorakeet::kernels::{self, Choice};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::reference::{self, tensor_name};
use lorakeet::training::trainer::read;
use lorakeet::training::{Config, Dataset, Evaluation, Reference, Setup, Trainer};
use lorakeet::weights::Bytes;
use support::{Tensors, demo_model, fixture};

const GIVEN: &str = "demo-model/light-tuning/given.safetensors";

fn given() -> Bytes {
    Bytes::new(GIVEN, support::read(&format!("tests/fixtures/{GIVEN}")))
}

/// `light.json` in our own words.
fn light() -> Config {
    serde_json::from_str(
        r#"{"kind": "lora", "targets": "attention", "rank": 8, "alpha": 8, "init": "gaussian",
            "learningRate": 0.002, "warmup": 10, "schedule": "constant", "steps": 100, "batch": 4,
            "captionDropout": 0.1, "timesteps": "uniform", "clip": 1.0,
            "optimizer": {"name": "adamW", "betas": [0.9, 0.999], "eps": 1e-8, "weightDecay": 0.01}}"#,
    )
    .unwrap()
}

fn trainer(
    model: &Rc<StableDiffusion>,
    config: Config,
    dataset: Dataset,
    reference: Option<Reference>,
) -> Trainer {
    let reference = reference.map(Rc::new);
    let mut setup = Setup::new(model.clone(), config, Rc::new(dataset), reference).unwrap();
    while let Some(tensor) = setup.advance().unwrap() {
        setup.conclude(read(tensor).unwrap()).unwrap();
    }
    setup.finish().unwrap()
}

fn evaluate(trainer: &mut Trainer) -> lorakeet::training::evaluation::Report {
    let mut evaluation = Evaluation::new(trainer);
    while let Some(tensor) = evaluation.advance(trainer).unwrap() {
        evaluation.conclude(read(tensor).unwrap());
    }
    evaluation.finish(trainer)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot / (norm(a) * norm(b))
}

/// The factors of a file under `prefix`, in the order of the flat vector.
fn flat(trainer: &Trainer, file: &Tensors, prefix: &str) -> Vec<f32> {
    let modules = trainer.adapter().modules.iter();
    modules
        .flat_map(|module| {
            let names = module.pieces.iter().map(|piece| tensor_name(module, piece.name));
            names.flat_map(|name| file.values(&format!("{prefix}.{name}"))).collect::<Vec<_>>()
        })
        .collect()
}

/// Beyond the warm-up.
#[test]
fn light_tuning_follows_pytorch() {
    follow(30);
}

#[test]
#[ignore = "takes minutes; `cargo xtask test --full -- native_whole` runs it"]
fn native_whole_light_tuning_follows_pytorch() {
    follow(100);
}

/// The same on our own kernels, which run in the browser; a few steps tell.
#[test]
fn light_tuning_on_kernels_follows_pytorch() {
    kernels::choose(Choice::All);
    follow(5);
}

fn follow(steps: usize) {
    let model = Rc::new(demo_model());
    let expected = fixture("demo-model/light-tuning/expected.safetensors");
    let dataset = reference::dataset(&given(), "").unwrap();
    let reference = Reference::read(&given(), "").unwrap();
    let mut trainer = trainer(&model, light(), dataset, Some(reference));
    assert_eq!(trainer.adapter().modules.len(), 56);

    let before = evaluate(&mut trainer);
    let mean = |key: &str| {
        let values = expected.values(key);
        values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64
    };
    let near = |ours: f64, key: &str, tolerance: f64| {
        let theirs = mean(key);
        assert!((ours / theirs - 1.0).abs() < tolerance, "{key}: {ours} against {theirs}");
    };
    near(before.train.loss, "eval.train.before", 1e-5);
    near(before.held_out.unwrap().loss, "eval.held_out.before", 1e-5);
    assert!((before.train.ratio - 1.0).abs() < 1e-9 && before.drift == 0.0);

    let (losses, norms) = (expected.values("loss"), expected.values("grad_norm"));
    let (mut worst_loss, mut worst_norm) = (0.0f64, 0.0f64);
    for step in 0..steps {
        let report = trainer.run_step().unwrap();
        if step == 0 {
            let first = (report.loss / f64::from(losses[0]) - 1.0).abs();
            println!("loss of step 0: {first:e}");
            assert!(first < 1e-5, "{first}");
            for module in &trainer.adapter().modules {
                for piece in &module.pieces {
                    let name = tensor_name(module, piece.name);
                    let theirs = expected.values(&format!("grad_step_0.{name}"));
                    let ours = &trainer.gradient()[piece.range.clone()];
                    let error = apart(ours, &theirs);
                    assert!(error <= 1e-4 * norm(&theirs), "{name}: {error}");
                }
            }
        }
        worst_loss = worst_loss.max((report.loss / f64::from(losses[step]) - 1.0).abs());
        worst_norm = worst_norm.max((report.gradient_norm / f64::from(norms[step]) - 1.0).abs());
    }
    println!("worst loss {worst_loss:e}, worst norm {worst_norm:e}");
    assert!(worst_loss < 1e-4, "{worst_loss}");
    assert!(worst_norm < 1e-3, "{worst_norm}");
    if steps < 100 {
        return;
    }

    let theirs = flat(&trainer, &expected, "final");
    let cosine = cosine(&trainer.adapter().parameters, &theirs);
    println!("1 - cosine {:e}", 1.0 - cosine);
    assert!(cosine > 0.9999, "{cosine}");

    let after = evaluate(&mut trainer);
    near(after.train.loss, "eval.train.after", 1e-4);
    near(after.held_out.unwrap().loss, "eval.held_out.after", 1e-4);
    println!("{after:?}");
}

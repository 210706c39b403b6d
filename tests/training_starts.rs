//! How runs on a tiny model start and where they get to: no adapter does anything before the first
//! step, all do something after some, one picture is learned by heart, products stay within their limit
//! (T9, T10, T12, T13 of `docs/specs/training.md`).

mod tiny;
mod tuning;

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::adapters::Part;
use lorakeet::adapters::kinds::Difference;
use lorakeet::layers::{Branch, Factors, Strength};
use lorakeet::linalg::Matrix;
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::adapter::{UP, with_frozen};
use serde_json::json;
use tuning::{
    answers, brisk, config, four, model, relative, run, same_again, trainer, try_trainer,
};

/// T9, and the live half of T12: no adapter does anything before the first step, every module does
/// something after some.
#[test]
fn adapters_start_as_nothing_and_learn_everywhere() {
    let model = model();
    let exact = 0.0;
    for (kind, init, targets, rank, tolerance) in [
        ("lora", "gaussian", "linear", 4, exact),
        ("lora", "gaussian", "convolution", 4, exact),
        ("lora", "kaiming", "convolution", 3, exact),
        ("lora", "orthogonal", "convolution", 4, 1e-6),
        ("lora", "pissa", "convolution", 4, 1e-5),
        ("dora", "gaussian", "linear", 4, exact),
        ("dora", "kaiming", "convolution", 4, exact),
        ("dora", "orthogonal", "linear", 4, 1e-6),
        ("loha", "gaussian", "convolution", 2, exact),
        // The larger factor of some layers as a product, of all layers whole.
        ("lokr", "gaussian", "convolution", 3, exact),
        ("lokr", "gaussian", "linear", 64, exact),
    ] {
        let json = json!({"kind": kind, "init": init, "targets": targets, "rank": rank});
        let mut trainer = trainer(&model, &config(brisk(json)), &four());
        let name = format!("{kind}, {init}, {targets}");
        let [adapted, base] = answers(&model, &trainer);
        if tolerance == exact {
            assert!(adapted == base, "{name}: not the base");
        } else {
            let off = relative(&adapted, &base);
            println!("{name}: {off:.1e} from the base");
            assert!(off < tolerance, "{name}: {off:e}");
        }
        let start = trainer.adapter().parameters.clone();
        run(&mut trainer, 3);
        let [adapted, again] = answers(&model, &trainer);
        assert!(again == base, "{name}: the base has changed");
        let change = relative(&adapted, &base);
        assert!(change > 1e-3, "{name}: {change:e}");
        for module in &trainer.adapter().modules {
            for piece in &module.pieces {
                let now = &trainer.adapter().parameters[piece.range.clone()];
                let place = format!("{name}: {}.{}", module.path, piece.name);
                assert!(now.iter().all(|x| x.is_finite()), "{place}");
                assert!(now.iter().any(|&x| x != 0.0), "{place} is still 0");
                assert!(now != &start[piece.range.clone()], "{place} has not moved");
            }
        }
    }
}

/// A reference brings first values, PiSSA computes its own: not both.
#[test]
fn pissa_and_a_reference_exclude_each_other() {
    let model = model();
    let config = |init: &str| config(brisk(json!({"init": init, "batch": 1})));
    let start = trainer(&model, &config("gaussian"), &four());
    let noise = TorchGenerator::new(31).randn(256);
    let reference = || Some(same_again(&start, 0, 400, &noise, 2));
    let Err(error) = try_trainer(&model, &config("pissa"), &four(), reference()) else {
        panic!("a PiSSA run with a reference has started");
    };
    let error = error.to_string();
    for part in ["init: PiSSA", "weights", "reference file", "Leave the reference out"] {
        assert!(error.contains(part), "the message lacks {part:?}: {error}");
    }
    // Either by itself is good.
    try_trainer(&model, &config("gaussian"), &four(), reference()).unwrap();
    try_trainer(&model, &config("pissa"), &four(), None).unwrap();
}

/// T12: rank 2r does what the live model does, `s [B, -B0] [A; A0]`.
#[test]
fn pissa_as_plain_factors_is_the_live_model() {
    let model = model();
    let json = json!({"init": "pissa", "rank": 4, "alpha": 2, "targets": "convolution"});
    let mut trainer = trainer(&model, &config(brisk(json)), &four());
    run(&mut trainer, 3);
    let [adapted, base] = answers(&model, &trainer);
    // Every layer's weight plus that product by hand, in place of the adapter.
    let mut changed = 0;
    for module in &trainer.adapter().modules {
        let parameters = &trainer.adapter().parameters;
        let [down, up] = [0, 1].map(|i| &parameters[module.pieces[i].range.clone()]);
        let (down0, up0) = module.frozen.as_ref().unwrap();
        let (down, up) = with_frozen(down, up, down0, up0, module.rank);
        let rank = 2 * module.rank;
        let product = Matrix::new(module.shape[0], rank, up)
            .matmul(&Matrix::new(rank, down.len() / rank, down))
            .scaled(module.scale);
        let squares: f64 = product.data.iter().map(|&x| f64::from(x).powi(2)).sum();
        let told = module.product_norm_squared(parameters).unwrap();
        assert!((told / squares - 1.0).abs() < 1e-3, "{}: {told} {squares}", module.path);
        attach_difference(&model, &module.path, product);
        changed += 1;
    }
    let merged = {
        let [with, without] = answers(&model, &trainer);
        // Now the adapter and the differences are on, then the differences alone.
        assert!(relative(&with, &without) > 1e-4);
        without
    };
    let off = relative(&merged, &adapted);
    println!("PiSSA as rank 2r: {off:.1e} on {changed} layers, {:.1e}", relative(&base, &adapted));
    assert!(off < 1e-5 && relative(&base, &adapted) > 1e-2, "{off:e}");
}

fn attach_difference(model: &StableDiffusion, path: &str, difference: Matrix) {
    let site = model.sites(Part::UNet).iter().find(|site| site.path == path).unwrap();
    let data = TensorData::new(difference.data, [difference.rows, difference.cols]);
    let weight = Some(Tensor::from_data(data, &Device::flex()));
    site.slot.attach(Branch {
        adapter: 1,
        strength: Strength::new(1.0),
        scale: 1.0,
        factors: Factors::Change(Rc::new(Difference { weight, bias: None })),
        dropout: None,
    });
}

/// T10.
#[test]
fn one_picture_at_one_timestep_is_learned_by_heart() {
    let model = model();
    for (kind, steps) in [("lora", 100), ("dora", 50), ("loha", 50), ("lokr", 100)] {
        let json = json!({
            "kind": kind, "targets": "linear", "rank": 8, "alpha": 8, "batch": 1, "steps": steps
        });
        let config = config(brisk(json));
        let start = trainer(&model, &config, &four());
        let noise = TorchGenerator::new(31).randn(256);
        let reference = same_again(&start, 2, 400, &noise, steps);
        let mut trainer = try_trainer(&model, &config, &four(), Some(reference)).unwrap();
        let losses: Vec<f64> = (0..steps).map(|_| trainer.run_step().unwrap().loss).collect();
        let (first, last) = (losses[0], losses[steps - 1]);
        println!("{kind}: {first:.3} to {last:.5}");
        assert!(last < 0.1 * first, "{kind}: {first} to {last}");
    }
}

/// T13, over a run: no product over the limit, some at it.
#[test]
fn products_stay_within_their_limit() {
    let model = model();
    for json in [
        json!({"maxNorm": 0.02}),
        json!({"maxNorm": 0.02, "kind": "dora"}),
        json!({"maxNorm": 0.02, "alpha": 1, "rankStabilised": true, "targets": "convolution"}),
    ] {
        let mut trainer = trainer(&model, &config(brisk(json.clone())), &four());
        let mut at_limit = 0;
        for _ in 0..5 {
            run(&mut trainer, 1);
            let adapter = trainer.adapter();
            for module in &adapter.modules {
                let [down, up] =
                    [0, 1].map(|i| &adapter.parameters[module.pieces[i].range.clone()]);
                assert_eq!(module.pieces[1].name, UP);
                let product = Matrix::new(module.shape[0], module.rank, up.to_vec())
                    .matmul(&Matrix::new(module.rank, down.len() / module.rank, down.to_vec()));
                let norm = f64::from(module.scale) * tuning::norm(&product.data);
                assert!(norm <= 0.02 * (1.0 + 1e-5), "{json}: {norm} at {}", module.path);
                at_limit += usize::from(norm > 0.02 * (1.0 - 1e-5));
                if let Some(squares) = module.product_norm_squared(&adapter.parameters) {
                    assert!((squares.sqrt() / norm - 1.0).abs() < 1e-5, "{squares} {norm}");
                }
            }
        }
        assert!(at_limit > 20, "{json}: {at_limit}");
    }
}

/// L1's proximal step leaves exact zeros, and the more the stronger it is.
#[test]
fn l1_makes_factors_sparse() {
    let model = model();
    let zeros = |l1: f64| {
        let json = json!({"l1": l1, "init": "orthogonal"});
        let mut trainer = trainer(&model, &config(brisk(json)), &four());
        run(&mut trainer, 3);
        let parameters = &trainer.adapter().parameters;
        parameters.iter().filter(|&&x| x == 0.0).count() as f64 / parameters.len() as f64
    };
    let (none, some, more) = (zeros(0.0), zeros(0.3), zeros(3.0));
    println!("zeros: {none:.3}, {some:.3}, {more:.3}");
    assert!(none == 0.0 && 0.01 < some && some + 0.1 < more && more < 1.0);
}

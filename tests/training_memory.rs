//! Block checkpointing: the same gradients in less memory, and what the estimate says of both (T5 of
//! `docs/specs/training.md`). A process of its own, since it counts every allocation.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/sd15.rs"]
mod sd15;
mod support;
mod tiny;
mod tuning;

use std::rc::Rc;
use std::sync::Mutex;

use lorakeet::kernels::{self, Choice};
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::estimate::Unet;
use lorakeet::training::trainer::read;
use lorakeet::training::{Config, Dataset, Trainer, estimate};
use serde_json::{Value, json};
use support::demo_model;
use tuning::{config, relative, run, trainer};

/// One test at a time: the count is the whole process's.
static TURN: Mutex<()> = Mutex::new(());

/// A pass forward and back: its numbers, and by how many bytes it took more than there was before.
fn pass(trainer: &mut Trainer) -> (Vec<f32>, usize) {
    let before = counting::start();
    let values = read(trainer.advance().unwrap()).unwrap();
    (values, counting::peak_above(before))
}

/// Two trainers of the same state, one in one piece, one by blocks.
fn both(model: &Rc<StableDiffusion>, json: &Value, dataset: &Dataset) -> [Trainer; 2] {
    let with = |checkpointing: &str| -> Config {
        let mut json = json.clone();
        json["checkpointing"] = checkpointing.into();
        config(json)
    };
    let mut whole = trainer(model, &with("off"), dataset);
    let mut blocks = trainer(model, &with("on"), dataset);
    assert!(!whole.checkpointed() && blocks.checkpointed());
    // Some steps on, every factor has a gradient.
    run(&mut whole, 2);
    blocks.restore(&whole.state().unwrap()).unwrap();
    [whole, blocks]
}

#[test]
fn gradients_by_blocks_are_those_of_the_whole() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // With kernels the second run of a block takes over what the first one's convolutions and
    // attention gave.
    for choice in [Choice::None, Choice::All] {
        println!("{choice:?} of the kernels");
        kernels::choose(choice);
        by_blocks();
    }
}

fn by_blocks() {
    let model = tuning::model();
    let drops = json!({"dropout": 0.2, "rankDropout": 0.2, "moduleDropout": 0.2});
    let cases = [
        ("LoRA", json!({"kind": "lora", "targets": "linear"}), true),
        ("LoRA, up", json!({"kind": "lora", "targets": "attention", "blocks": ["up"]}), true),
        ("LoRA, mid", json!({"kind": "lora", "targets": "attention", "blocks": ["mid"]}), true),
        ("LoCon", json!({"kind": "lora", "targets": "convolution"}), true),
        ("DoRA", json!({"kind": "dora", "targets": "convolution"}), false),
        ("LoHa", json!({"kind": "loha", "targets": "attention"}), false),
        ("LoKr", json!({"kind": "lokr", "targets": "attention"}), false),
        ("PiSSA", json!({"kind": "lora", "targets": "linear", "init": "pissa"}), false),
        (
            "two sizes, Huber, prior",
            json!({"targets": "attention", "loss": "huber", "prior": {"weight": 0.5}}),
            true,
        ),
    ];
    for (name, mut json, activations) in cases {
        let mut dataset = tuning::dataset(&[[8, 8], [8, 8], [6, 10]]);
        dataset.class_prompt = Some(dataset.empty.iter().map(|x| -x).collect());
        json["rank"] = 2.into();
        json["batch"] = 3.into();
        json["learningRate"] = 0.01.into();
        json["moduleDropout"] = drops["moduleDropout"].clone();
        if activations {
            for key in ["dropout", "rankDropout"] {
                json[key] = drops[key].clone();
            }
        }
        let [mut whole, mut blocks] = both(&model, &json, &dataset);
        let mut worst = 0f64;
        for _ in 0..2 {
            let ((ours, _), (theirs, _)) = (pass(&mut blocks), pass(&mut whole));
            let mut zero = 0;
            for module in &whole.adapter().modules {
                for piece in &module.pieces {
                    let range = piece.range.clone();
                    let off = relative(&ours[range.clone()], &theirs[range.clone()]);
                    assert!(off < 1e-5, "{name}: {}.{} {off:e}", module.path, piece.name);
                    worst = worst.max(off);
                    zero += usize::from(theirs[range].iter().all(|&x| x == 0.0));
                }
            }
            // Some modules sit the step out, most don't.
            let pieces = whole.adapter().modules.iter().map(|m| m.pieces.len()).sum::<usize>();
            assert!(zero > 0 && zero < pieces / 2, "{name}: {zero} of {pieces} are 0");
            let parameters = whole.adapter().parameters.len();
            assert!(relative(&ours[parameters..], &theirs[parameters..]) < 1e-6, "{name}");
            blocks.conclude(&ours).unwrap();
            whole.conclude(&theirs).unwrap();
        }
        println!("{name}: {worst:.1e}");
    }
}

/// The trainer's own count of what it takes: this process's, passes alone, and near what was told.
#[test]
fn a_run_tells_its_peak() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for choice in [Choice::None, Choice::All] {
        println!("{choice:?} of the kernels");
        kernels::choose(choice);
        tells_its_peak();
    }
}

fn tells_its_peak() {
    let (model, dataset) = (tuning::model(), tuning::dataset(&[[16, 16]; 4]));
    let config = |checkpointing: &str| -> Config {
        config(json!({
            "targets": "linear", "rank": 4, "batch": 2, "resolution": 128, "learningRate": 1e-3,
            "checkpointing": checkpointing, "evaluateEvery": 0
        }))
    };
    let peak = |checkpointing: &str| {
        let mut run = trainer(&model, &config(checkpointing), &dataset);
        assert_eq!(run.peak_bytes(), None, "before the first pass");
        // What lies beside the passes is none of the run's.
        let other = vec![1u8; 1 << 26];
        let (values, above) = pass(&mut run);
        drop(other);
        run.conclude(&values).unwrap();
        let peak = run.peak_bytes().unwrap();
        // Parameters, gradient and two averages on the host.
        let own = 16 * run.adapter().parameters.len();
        let counted = (above + own) as f64;
        assert!((peak as f64 / counted - 1.0).abs() < 0.01, "{peak} told, {counted} counted");
        run.run_step().unwrap();
        assert!(run.peak_bytes().unwrap() >= peak, "a peak never falls");
        peak
    };
    let (whole, blocks) = (peak("off"), peak("on"));
    assert!(blocks < whole, "{blocks} by blocks, {whole} whole");
    for (checkpointing, found) in [("off", whole), ("on", blocks)] {
        let told = estimate(&model, &config(checkpointing), [4, 0, 0]).unwrap().bytes;
        let ratio = told as f64 / found as f64;
        println!("checkpointing {checkpointing}: {told} predicted, {found} at most");
        assert!((0.66..2.0).contains(&ratio), "{checkpointing}: {told} predicted, {found} at most");
    }
}

/// What a pass takes, and what was told before.
#[test]
fn blocks_take_less_memory_and_the_estimate_is_near() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let demo = Rc::new(demo_model());
    let tiny = tuning::model();
    let mebi = |bytes: f64| bytes / f64::from(1 << 20);
    let rows = [("demo", &demo, 1, 16), ("demo", &demo, 4, 16), ("tiny", &tiny, 2, 16)];
    for (name, model, batch, side) in rows {
        let mut dataset = tuning::dataset(&[[side, side]; 4]);
        if name == "demo" {
            let text = vec![0.1; 77 * 128];
            dataset.text_shape = [77, 128];
            dataset.empty = text.clone();
            dataset.examples.iter_mut().for_each(|example| example.text = text.clone());
        }
        let json = json!({
            "targets": "linear", "rank": 4, "batch": batch, "captionDropout": 0, "learningRate": 1e-3
        });
        let [mut whole, mut blocks] = both(model, &json, &dataset);
        let ((_, whole), (_, blocks)) = (pass(&mut whole), pass(&mut blocks));
        let told = Unet::of(model).total(&config(json), [side; 2], dataset.text_shape[0]).unwrap();
        let told = told.passes;
        println!(
            "{name}, batch {batch}: {:.1} MiB whole ({:.1} told), {:.1} by blocks ({:.1} told)",
            mebi(whole as f64),
            mebi(told.whole as f64),
            mebi(blocks as f64),
            mebi(told.by_blocks as f64)
        );
        assert!(blocks < whole, "{name}: {blocks} by blocks, {whole} whole");
        for (found, told) in [(whole, told.whole), (blocks, told.by_blocks)] {
            let ratio = told as f64 / found as f64;
            assert!(
                (0.66..1.5).contains(&ratio),
                "{name}, batch {batch}: {told} told, {found} found"
            );
        }
    }
}

/// SD 1.5's UNet with a tenth of its channels and a context of [`tuning::TEXT`].
fn small_sd15() -> Rc<StableDiffusion> {
    let [_, width] = tuning::TEXT;
    let mut generator = TorchGenerator::new(15);
    let rows = sd15::small(0).unet.into_iter().map(|(name, mut shape, ..)| {
        if name.contains("attn2.to_k") || name.contains("attn2.to_v") {
            shape[1] = width;
        }
        let host = tiny::draw(&name, &shape, &mut generator);
        (name, host)
    });
    let config = json!({
        "_class_name": "UNet2DConditionModel", "block_out_channels": [32, 64, 128, 128],
        "cross_attention_dim": width, "sample_size": 32
    });
    tuning::load(&config, tiny::file(&rows.collect()), "epsilon")
}

/// What is told of SD 1.5's shape, by the kernels that the page runs.
#[test]
fn the_estimate_is_near_for_the_shape_of_sd15() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    kernels::choose(Choice::All);
    let model = small_sd15();
    let mut off = Vec::new();
    for (kind, targets, batch, side, within) in [
        ("lora", "linear", 2, 32, 0.15),
        ("lora", "attention", 2, 32, 0.15),
        ("lora", "convolution", 1, 32, 0.15),
        ("dora", "linear", 1, 32, 0.3),
        ("loha", "convolution", 1, 32, 0.3),
        ("lokr", "linear", 1, 32, 0.3),
    ] {
        let mut dataset = tuning::dataset(&[[side, side]; 4]);
        dataset.text_shape = [77, tuning::TEXT[1]];
        let text = vec![0.1; 77 * tuning::TEXT[1]];
        dataset.empty = text.clone();
        dataset.examples.iter_mut().for_each(|example| example.text = text.clone());
        for checkpointing in ["on", "off"] {
            let config = config(json!({
                "kind": kind, "targets": targets, "batch": batch, "resolution": 8 * side,
                "learningRate": 1e-4, "checkpointing": checkpointing, "evaluateEvery": 0
            }));
            let mut run = trainer(&model, &config, &dataset);
            run.run_step().unwrap();
            let found = run.peak_bytes().unwrap();
            let told = estimate(&model, &config, [4, 0, 0]).unwrap().bytes;
            let ratio = told as f64 / found as f64;
            let line = format!(
                "{kind}, {targets}, batch {batch}, {side} x {side}, checkpointing {checkpointing}: {:.1} MiB \
                 told, {:.1} found, {ratio:.3}",
                told as f64 / f64::from(1 << 20),
                found as f64 / f64::from(1 << 20)
            );
            println!("{line}");
            if (ratio - 1.0).abs() > within {
                off.push(line);
            }
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}

//! What a run is told: the settings' JSON, every refusal by the setting's name, and what settings
//! choose.

mod tiny;
mod tuning;

use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::config::{Block, Kind, Targets};
use lorakeet::training::optimizer_config::OptimizerConfig;
use lorakeet::training::{Config, Preset, estimate};
use serde_json::{Value, json};
use tuning::{config, four, model, try_trainer};

fn parse(json: &Value) -> Result<Config, String> {
    serde_json::from_value(json.clone()).map_err(|error| error.to_string())
}

#[test]
fn what_json_leaves_out_is_default_and_what_is_unknown_is_refused() {
    assert_eq!(parse(&json!({})).unwrap(), Config::default());
    let some = json!({
        "kind": "lokr", "targets": "crossAttention", "blocks": ["mid", "up"], "lokrFactor": 8,
        "init": "kaiming", "weighting": {"name": "minSnr", "gamma": 5}, "loss": "huber",
        "timesteps": "uniform", "latents": "sample", "strength": "gentle", "checkpointing": "on",
        "optimizer": {"name": "lion"}, "schedule": "cosine", "only": ["up_blocks.1."],
        "prior": {"weight": 1, "classPrompt": "a dog"}, "learningRate": 0.001
    });
    let some = parse(&some).unwrap();
    assert_eq!((some.kind, some.targets), (Kind::Lokr, Targets::CrossAttention));
    assert_eq!(some.blocks, [Block::Mid, Block::Up]);
    assert_eq!((some.rank, some.prior.every), (8, 1));
    for config in [Config::default(), some, Preset::Careful.config(512)] {
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(parse(&json).unwrap(), config, "{json}");
    }
    for (json, name) in [
        (json!({"ranks": 4}), "ranks"),
        (json!({"learning_rate": 1e-4}), "learning_rate"),
        (json!({"prior": {"prompt": "a dog"}}), "prompt"),
        (json!({"optimizer": {"name": "adamW", "beta": 0.9}}), "beta"),
        (json!({"optimizer": {"name": "adam"}}), "adam"),
        (json!({"weighting": {"name": "minSnr", "gama": 5}}), "gama"),
        (json!({"kind": "LoRA"}), "LoRA"),
        (json!({"targets": "all"}), "all"),
        (json!({"blocks": ["middle"]}), "middle"),
    ] {
        let error = parse(&json).unwrap_err();
        assert!(error.contains(name), "{json}: {error}");
    }
    for json in [json!({"rank": -1}), json!({"rank": 1.5}), json!({"seed": "1"})] {
        assert!(parse(&json).is_err(), "{json}");
    }
}

/// The error that a setting brings about, before anything is computed.
fn refusal(model: &StableDiffusion, json: &Value) -> String {
    match estimate(model, &config(json.clone()), [4, 0, 0]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{json} is accepted"),
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let model = model();
    let accepted = |json: Value| {
        let told = estimate(&model, &config(json.clone()), [4, 0, 0]);
        assert!(told.is_ok(), "{json}: {told:?}");
    };
    for (name, least, most) in
        [("rank", 1, 256), ("steps", 1, 100_000), ("batch", 1, 64), ("accumulation", 1, 64)]
    {
        for bad in [least - 1, most + 1] {
            let error = refusal(&model, &json!({name: bad}));
            assert!(error.starts_with(&format!("{name}: {bad} is not between")), "{error}");
        }
        accepted(json!({name: least}));
        accepted(json!({name: most}));
    }
    for name in ["captionDropout", "dropout", "rankDropout", "moduleDropout"] {
        for bad in [-0.1, 1.1] {
            let error = refusal(&model, &json!({name: bad}));
            assert!(error.starts_with(&format!("{name}: {bad} is not from 0")), "{error}");
        }
        accepted(json!({name: 0.0}));
        accepted(json!({name: 0.99}));
        if name != "captionDropout" {
            assert!(refusal(&model, &json!({name: 1.0})).starts_with(&format!("{name}: 1 is")));
        }
    }
    // A model may be trained without any caption.
    accepted(json!({"captionDropout": 1.0}));
    for name in ["noiseOffset", "huberC", "clip", "l1", "l2", "maxNorm"] {
        let error = refusal(&model, &json!({name: -0.5}));
        assert!(
            error.starts_with(&format!("{name}: -0.5 is not a number of at least 0")),
            "{error}"
        );
        accepted(json!({name: 0}));
    }
    for bad in [0.0, -0.001] {
        let error = refusal(&model, &json!({"learningRate": bad}));
        assert!(error.starts_with(&format!("learningRate: {bad} is not above 0")), "{error}");
        assert!(error.contains("null"), "it says how to leave it to us: {error}");
    }
    accepted(json!({"learningRate": 1e-8}));
    accepted(json!({"learningRate": null}));
    let error = refusal(&model, &json!({"prior": {"weight": -1}}));
    assert!(error.starts_with("prior.weight: -1 is not"), "{error}");
    for name in ["alpha", "loraPlus"] {
        for bad in [0.0, -4.0] {
            let error = refusal(&model, &json!({name: bad}));
            assert!(error.starts_with(&format!("{name}: {bad} is not above 0")), "{error}");
        }
    }
    for bad in [0, -5] {
        let error = refusal(&model, &json!({"weighting": {"name": "minSnr", "gamma": bad}}));
        assert!(error.starts_with(&format!("weighting.gamma: {bad} is not above 0")), "{error}");
    }
    for bad in [32, 100, 4096] {
        let error = refusal(&model, &json!({"resolution": bad}));
        assert!(
            error.starts_with(&format!("resolution: {bad} is not a multiple of 64")),
            "{error}"
        );
    }
    accepted(json!({"resolution": 64}));
    accepted(json!({"resolution": 2048}));
    // JSON has no NaN; the struct has.
    for poison in [f64::NAN, f64::INFINITY] {
        let settings = [
            Config { alpha: poison, ..Config::default() },
            Config { clip: poison, ..Config::default() },
            Config { lora_plus: poison, ..Config::default() },
            Config { learning_rate: Some(poison), ..Config::default() },
            Config { dropout: poison, ..Config::default() },
        ];
        for config in settings {
            assert!(estimate(&model, &config, [4, 0, 0]).is_err(), "{config:?}");
            // The trainer asks the same.
            assert!(try_trainer(&model, &config, &four(), None).is_err(), "{config:?}");
        }
    }
    // The optimisers' own constants: `optimizer_config.rs` tests the rest of them.
    let error = refusal(&model, &json!({"optimizer": {"name": "adamW", "betas": [0.9, 1]}}));
    assert!(error.starts_with("optimizer.betas: 1 is out of range"), "{error}");
}

#[test]
fn settings_that_exclude_each_other_are_refused_by_name() {
    let model = model();
    for (json, start) in [
        (json!({"kind": "lokr", "lokrFactor": 0}), "lokrFactor: is 0"),
        (json!({"kind": "dora", "dropout": 0.1}), "dropout: leaves out hidden values"),
        (json!({"kind": "loha", "rankDropout": 0.1}), "dropout: leaves out hidden values"),
        (json!({"kind": "dora", "l2": 0.1}), "l2: is that of the product"),
        (json!({"kind": "lokr", "maxNorm": 1}), "maxNorm: limits the product"),
        (json!({"kind": "loha", "maxNorm": 1}), "maxNorm: limits the product"),
        (json!({"kind": "dora", "init": "pissa"}), "init: PiSSA is a start of LoRA alone"),
        (json!({"init": "pissa", "l2": 0.1}), "init: with PiSSA the factors' product"),
        (json!({"init": "pissa", "maxNorm": 1}), "init: with PiSSA the factors' product"),
        (json!({"init": "pissa", "l1": 0.1}), "init: with PiSSA the factors' product"),
        (json!({"kind": "loha", "loraPlus": 4}), "loraPlus: is for up factors"),
        (json!({"kind": "lokr", "loraPlus": 4}), "loraPlus: is for up factors"),
        (json!({"init": "pissa", "dropout": 0.1}), "init: PiSSA's factors hold"),
        (json!({"init": "pissa", "rankDropout": 0.1}), "init: PiSSA's factors hold"),
        (json!({"init": "orthogonal", "rank": 3}), "rank: 3 is odd"),
        (json!({"optimizer": {"name": "prodigy"}, "loraPlus": 4}), "loraPlus: asks for two"),
        (json!({"blocks": []}), "blocks: no layer of the model"),
        (json!({"blocks": ["mid"], "only": ["up_blocks.1."]}), "only: no layer of the model"),
        (json!({"only": ["unet.up_blocks"]}), "only: no layer of the model"),
    ] {
        let error = refusal(&model, &json);
        assert!(error.starts_with(start), "{json}: {error}");
    }
}

#[test]
fn presets_pass() {
    let model = model();
    let mut dataset = four();
    dataset.class_prompt = Some(dataset.empty.clone());
    for preset in [Preset::Quick, Preset::Normal, Preset::Careful] {
        let json = serde_json::to_value(preset).unwrap();
        assert_eq!(serde_json::from_value::<Preset>(json).unwrap(), preset);
        for native in [128, 256, 512, 768] {
            let config = preset.config(native);
            assert!(config.resolution.is_none_or(|side| side <= native && side % 64 == 0));
            assert_eq!(config.resolution.is_none(), native <= 256);
            estimate(&model, &config, [4, 0, 0]).unwrap();
            if native == 128 {
                let trainer = try_trainer(&model, &config, &dataset, None).unwrap();
                assert!(trainer.learning_rate() > 0.0 && trainer.learning_rate().is_finite());
            }
        }
    }
}

/// Every optimiser and every strength comes to a learning rate where none is set, larger for stronger.
#[test]
fn without_a_learning_rate_there_is_one() {
    let model = model();
    let rate =
        |json: Value| try_trainer(&model, &config(json), &four(), None).unwrap().learning_rate();
    for kind in ["lora", "dora", "loha", "lokr"] {
        for optimizer in ["adamW", "lion"] {
            let of = |strength: &str| {
                rate(json!({"kind": kind, "optimizer": {"name": optimizer}, "strength": strength}))
            };
            let (gentle, normal, strong) = (of("gentle"), of("normal"), of("strong"));
            assert!(0.0 < gentle && gentle < normal && normal < strong, "{kind} {optimizer}");
            assert!(strong < 1.0, "{kind} {optimizer}: {strong}");
        }
    }
    // The shorter the run the larger the steps, down to 25 of them.
    let of = |steps: usize| rate(json!({"steps": steps, "warmup": 0}));
    assert!(of(200) < of(100) && of(100) < of(25));
    assert_eq!(of(4), of(25));
    assert_eq!(rate(json!({"optimizer": {"name": "prodigy"}})), 1.0);
    assert_eq!(rate(json!({"learningRate": 0.25})), 0.25);
}

/// What [`Config::only`] and the rest choose, and that the estimate counts what the trainer gets.
#[test]
fn layers_are_those_that_were_asked_for() {
    let model = model();
    for kind in ["lora", "dora", "loha", "lokr"] {
        for (targets, count) in
            [("attention", 32), ("crossAttention", 16), ("linear", 48), ("convolution", 66)]
        {
            let config = config(json!({"kind": kind, "targets": targets, "rank": 3}));
            let told = estimate(&model, &config, [4, 0, 0]).unwrap();
            let trainer = try_trainer(&model, &config, &four(), None).unwrap();
            let adapter = trainer.adapter();
            assert_eq!(
                (told.modules, told.parameters),
                (count, adapter.parameters.len()),
                "{kind}"
            );
            assert_eq!(adapter.modules.len(), count, "{kind} {targets}");
        }
    }
    let paths = |json: Value| -> Vec<String> {
        let trainer = try_trainer(&model, &config(json), &four(), None).unwrap();
        trainer.adapter().modules.iter().map(|module| module.path.clone()).collect()
    };
    let all = paths(json!({"targets": "attention"}));
    let up = paths(json!({"targets": "attention", "blocks": ["up"]}));
    assert!(up.len() == 16 && up.iter().all(|path| path.starts_with("up_blocks.")));
    let start = "up_blocks.1.attentions.0.";
    let only = paths(json!({"targets": "attention", "only": [start, "mid_block."]}));
    let wanted = |path: &&String| path.starts_with(start) || path.starts_with("mid_block.");
    assert_eq!(only, all.iter().filter(wanted).cloned().collect::<Vec<_>>());
}

/// A graph that is larger than the budget is run by blocks, and the estimate says so.
#[test]
fn the_memory_budget_decides_on_checkpointing() {
    let model = model();
    for (json, expected) in [
        (json!({"memoryBudget": 1000}), true),
        (json!({"memoryBudget": 1_u64 << 33}), false),
        (json!({"memoryBudget": 1000, "checkpointing": "off"}), false),
        (json!({"memoryBudget": 1_u64 << 33, "checkpointing": "on"}), true),
    ] {
        let config = config(json);
        let told = estimate(&model, &config, [4, 0, 0]).unwrap();
        let trainer = try_trainer(&model, &config, &four(), None).unwrap();
        assert_eq!((told.checkpointed, trainer.checkpointed()), (expected, expected));
        let adapter = 24 * told.parameters as u64;
        assert!(told.bytes > adapter && told.bytes < 1 << 30, "{told:?}");
    }
}

#[test]
fn optimizers_have_their_defaults() {
    for name in ["adamW", "lion", "prodigy"] {
        let config = config(json!({"optimizer": {"name": name}}));
        let defaults = match config.optimizer {
            OptimizerConfig::AdamW(c) => c == Default::default(),
            OptimizerConfig::Lion(c) => c == Default::default(),
            OptimizerConfig::Prodigy(c) => c == Default::default(),
        };
        assert!(defaults, "{name}");
    }
}

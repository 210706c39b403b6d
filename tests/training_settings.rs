//! What a run is told: the settings' JSON, every refusal by the setting's name, what a data set and a
//! reference must have, and their files.

mod support;
mod tiny;
mod tuning;

use std::rc::Rc;

use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::config::{Block, Kind, Targets};
use lorakeet::training::dataset::Latents;
use lorakeet::training::optimizer_config::OptimizerConfig;
use lorakeet::training::{
    Config, Dataset, Picture, Preparation, Preset, Reference, Role, estimate, reference,
};
use lorakeet::weights::Bytes;
use serde_json::{Value, json};
use tiny::{Host, Values};
use tuning::{TEXT, bits, config, four, model, try_trainer};

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
    for name in ["noiseOffset", "huberC", "clip", "l1", "l2", "maxNorm", "learningRate"] {
        let error = refusal(&model, &json!({name: -0.5}));
        assert!(
            error.starts_with(&format!("{name}: -0.5 is not a number of at least 0")),
            "{error}"
        );
        accepted(json!({name: 0}));
    }
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

fn complaint(dataset: &Dataset, json: Value) -> String {
    let error = try_trainer(&model(), &config(json), dataset, None).err();
    error.expect("it is accepted").to_string()
}

#[test]
fn data_sets_that_do_not_fit_are_refused() {
    let spoilt = |spoil: &dyn Fn(&mut Dataset)| {
        let mut dataset = four();
        spoil(&mut dataset);
        complaint(&dataset, json!({}))
    };
    let error = spoilt(&|dataset| dataset.examples.clear());
    assert!(error.starts_with("pictures: there is none to train on"), "{error}");
    let error = spoilt(&|d| d.examples.iter_mut().for_each(|e| e.role = Role::HeldOut));
    assert!(error.starts_with("pictures: there is none to train on"), "{error}");
    let error = complaint(&four(), json!({"prior": {"weight": 1}}));
    assert!(error.starts_with("prior: the pictures were prepared without"), "{error}");

    let small = Latents { shape: [4, 2, 2], mean: vec![0.0; 16], deviation: None };
    let wrong: [&dyn Fn(&mut Dataset); 6] = [
        &|dataset| dataset.examples[1].latents.mean.truncate(255),
        &|dataset| dataset.examples[1].text.truncate(9),
        &|dataset| dataset.examples[1].latents.deviation = Some(vec![1.0; 3]),
        &|dataset| dataset.examples[1].mirrored = Some(small.clone()),
        &|dataset| dataset.examples[1].latents.shape = [8, 4, 8],
        &|dataset| dataset.examples[1].text = vec![0.0; 2 * TEXT[0] * TEXT[1]],
    ];
    for spoil in wrong {
        let error = spoilt(spoil);
        assert!(error.starts_with("picture 1: has latents or a text"), "{error}");
    }
    let error = spoilt(&|dataset| dataset.empty.truncate(9));
    assert!(error.starts_with("pictures: the text of a prompt"), "{error}");
    // Prepared with another model.
    let error = spoilt(&|dataset| dataset.text_shape = [14, 16]);
    assert!(error.starts_with("pictures: their texts are 16 numbers wide"), "{error}");
}

/// A reference of two batches of two for [`four`], spoilt.
fn reference_with(spoil: &dyn Fn(&mut Values)) -> Result<Reference, String> {
    let host =
        |shape: &[usize], values: &[f32]| Host { shape: shape.to_vec(), data: values.to_vec() };
    let mut values = Values::from([
        ("index".to_string(), host(&[2, 2], &[0.0, 1.0, 2.0, 3.0])),
        ("timesteps".into(), host(&[2, 2], &[1.0, 999.0, 500.0, 3.0])),
        ("noise".into(), host(&[2, 2, 4, 8, 8], &[0.5; 1024])),
    ]);
    let targets = json!({"targets": "attention", "only": ["mid_block."], "rank": 1});
    let trainer = try_trainer(&model(), &config(targets), &four(), None).unwrap();
    for module in &trainer.adapter().modules {
        for piece in &module.pieces {
            let name = format!("init.{}", reference::tensor_name(module, piece.name));
            values.insert(name, host(&piece.shape, &vec![0.1; piece.range.len()]));
        }
    }
    spoil(&mut values);
    let source = Bytes::new("given.safetensors", tiny::file(&values));
    Reference::read(&source, "").map_err(|error| error.to_string())
}

#[test]
fn references_that_do_not_fit_are_refused() {
    let model = model();
    let run = |spoil: &dyn Fn(&mut Values), prior: f64| -> String {
        let reference = match reference_with(spoil) {
            Ok(reference) => reference,
            Err(error) => return error,
        };
        let mut dataset = four();
        dataset.examples[3].role = if prior > 0.0 { Role::Class } else { Role::Train };
        let config = config(json!({
            "targets": "attention", "only": ["mid_block."], "rank": 1, "prior": {"weight": prior}
        }));
        let mut trainer = match try_trainer(&model, &config, &dataset, Some(reference)) {
            Ok(trainer) => trainer,
            Err(error) => return error.to_string(),
        };
        assert!(trainer.adapter().parameters.iter().all(|&x| x == 0.1));
        for _ in 0..3 {
            if let Err(error) = trainer.run_step() {
                return error.to_string();
            }
        }
        panic!("it is accepted")
    };
    let set = |name: &'static str, i: usize, to: f32| {
        move |values: &mut Values| values.get_mut(name).unwrap().data[i] = to
    };
    let error = run(&|_| (), 0.0);
    assert!(error.starts_with("reference: 2 batches are all that it has"), "{error}");
    let error = run(&set("index", 3, 4.0), 0.0);
    assert!(error.starts_with("reference: picture 4 of 4 is asked for"), "{error}");
    let error = run(&set("timesteps", 1, 1000.0), 0.0);
    assert!(error.starts_with("timestep: 1000 is past"), "{error}");
    let half = |values: &mut Values| {
        values.insert("noise".into(), Host { shape: vec![2, 2, 4, 8, 4], data: vec![0.5; 512] });
    };
    let error = run(&half, 0.0);
    assert!(error.starts_with("reference: its noise has 128 numbers"), "{error}");
    let short = |values: &mut Values| {
        values.insert("timesteps".into(), Host { shape: vec![3], data: vec![0.0; 3] });
    };
    let error = run(&short, 0.0);
    assert!(error.contains("timesteps: has 3 numbers, not 2 x 2"), "{error}");
    let flat = |values: &mut Values| values.get_mut("index").unwrap().shape = vec![4];
    let error = run(&flat, 0.0);
    assert!(error.contains("index: is no matrix"), "{error}");
    let lost = |values: &mut Values| drop(values.pop_first());
    let error = run(&lost, 0.0);
    assert!(error.contains("index"), "{error}");
    let key =
        "init.lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight";
    let error = run(&|values| drop(values.remove(key)), 0.0);
    assert!(error.contains(&format!("{key}: is missing")), "{error}");
    // Class pictures, but no draws for them.
    let error = run(&|values| values.get_mut("index").unwrap().data.fill(0.0), 1.0);
    assert!(error.starts_with("reference: has no class_index"), "{error}");
}

#[test]
fn data_sets_survive_their_file_bit_for_bit() {
    let mut dataset = tuning::dataset(&[[8, 8], [6, 10]]);
    dataset.examples[0].latents.deviation = Some(vec![0.25; 256]);
    dataset.examples[0].mirrored = Some(Latents {
        shape: [4, 8, 8],
        mean: vec![f32::MIN_POSITIVE / 4.0; 256],
        deviation: Some(vec![-0.0; 256]),
    });
    dataset.examples[1].role = Role::HeldOut;
    dataset.examples[1].caption = "\"quoted\" \u{1f98c}\n".into();
    for prompt in [None, Some(vec![1e-30; TEXT[0] * TEXT[1]])] {
        dataset.class_prompt = prompt;
        let bytes = dataset.to_bytes().unwrap();
        let again = Dataset::from_bytes(&bytes).unwrap();
        assert_eq!(again, dataset);
        assert_eq!(again.to_bytes().unwrap(), bytes);
        for (a, b) in again.examples.iter().zip(&dataset.examples) {
            assert_eq!(bits(&a.latents.mean), bits(&b.latents.mean));
        }
        let deviation = again.examples[0].mirrored.as_ref().unwrap().deviation.as_ref().unwrap();
        assert!(deviation.iter().all(|x| x.is_sign_negative()));
    }
    let bytes = dataset.to_bytes().unwrap();
    for broken in [&bytes[..bytes.len() / 2], &bytes[..4], &[]] {
        assert!(Dataset::from_bytes(broken).is_err());
    }
    let others = Values::from([("x".to_string(), Host { shape: vec![1], data: vec![0.0] })]);
    let error = Dataset::from_bytes(&tiny::file(&others)).unwrap_err().to_string();
    assert!(error.starts_with("the run's pictures: "), "{error}");
}

/// Pictures of pixels through autoencoder and text encoder to a data set: roles, captions, buckets,
/// mirrors, and a data set on which a run can start.
#[test]
fn pictures_become_a_data_set() {
    let model = model();
    let picture = |name: &str, role: Role, [width, height]: [usize; 2]| {
        let rgba = (0..width * height).flat_map(|i| {
            let (x, y) = (i % width, i / width);
            [(255 * x / width) as u8, (255 * y / height) as u8, name.len() as u8, 255]
        });
        let caption = format!("a {name}");
        Picture::new(name, caption, role, [width, height], rgba.collect()).unwrap()
    };
    let pictures = || {
        vec![
            picture("square", Role::Train, [64, 64]),
            picture("wide one", Role::Train, [160, 120]),
            picture("tall", Role::Train, [60, 80]),
            picture("class", Role::Class, [64, 64]),
        ]
    };
    let prepare = |json: Value, pictures: Vec<Picture>| -> Result<Dataset, String> {
        let config = config(json);
        let mut work = Preparation::new(Rc::clone(&model), pictures, &config)
            .map_err(|error| error.to_string())?;
        while let Some(tensor) = work.advance().map_err(|error| error.to_string())? {
            let values = lorakeet::training::trainer::read(tensor).unwrap();
            work.conclude(&values).map_err(|error| error.to_string())?;
        }
        let (done, all) = work.progress();
        assert_eq!(done, all);
        Ok(work.finish())
    };
    let json = json!({
        "resolution": 64, "trigger": "zwx", "flip": true, "latents": "sample", "holdOut": 1,
        "prior": {"weight": 1, "classPrompt": "a dog"}, "batch": 2, "targets": "attention"
    });
    let dataset = prepare(json.clone(), pictures()).unwrap();
    let roles: Vec<Role> = dataset.examples.iter().map(|example| example.role).collect();
    assert_eq!(roles, [Role::Train, Role::Train, Role::HeldOut, Role::Class]);
    let captions: Vec<&str> = dataset.examples.iter().map(|e| e.caption.as_str()).collect();
    assert_eq!(captions, ["zwx, a square", "zwx, a wide one", "zwx, a tall", "a class"]);
    let shapes: Vec<[usize; 3]> = dataset.examples.iter().map(|e| e.latents.shape).collect();
    // 64 x 64, 80 x 48, 48 x 80 pixels.
    assert_eq!(shapes, [[4, 8, 8], [4, 6, 10], [4, 10, 6], [4, 8, 8]]);
    assert_eq!(dataset.text_shape, [77, TEXT[1]]);
    // With class pictures no class prompt is needed.
    assert_eq!(dataset.class_prompt, None);
    for example in &dataset.examples {
        let mirrored = example.mirrored.as_ref().unwrap();
        assert_eq!(mirrored.shape, example.latents.shape);
        assert_ne!(bits(&mirrored.mean), bits(&example.latents.mean));
        for latents in [&example.latents, mirrored] {
            let deviation = latents.deviation.as_ref().unwrap();
            assert!(deviation.iter().all(|&x| x > 0.0));
        }
        assert_ne!(bits(&example.text), bits(&dataset.empty));
    }
    assert_eq!(Dataset::from_bytes(&dataset.to_bytes().unwrap()).unwrap(), dataset);
    let mut trainer = try_trainer(&model, &config(json), &dataset, None).unwrap();
    tuning::run(&mut trainer, 2);

    let plain = json!({"resolution": 64, "prior": {"weight": 1, "classPrompt": "a dog"}});
    let mut without = pictures();
    without.truncate(1);
    let dataset = prepare(plain, without).unwrap();
    assert!(dataset.class_prompt.is_some_and(|prompt| prompt != dataset.empty));
    assert!(
        dataset.examples[0].mirrored.is_none() && dataset.examples[0].latents.deviation.is_none()
    );
    let error = prepare(json!({"holdOut": 3}), pictures()).unwrap_err();
    assert!(error.starts_with("holdOut: 3 of 3 pictures leave none"), "{error}");
    let error = prepare(json!({}), Vec::new()).unwrap_err();
    assert!(error.starts_with("pictures: there is none to train on"), "{error}");
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

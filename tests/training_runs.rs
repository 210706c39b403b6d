//! Properties of whole runs on a tiny model, without any reference: resuming, evaluating, batches of
//! pictures of several sizes, and gradients that aren't numbers (T8, T11, T14 of
//! `docs/specs/training.md`).

mod support;
mod tiny;
mod tuning;

use lorakeet::noise::TorchGenerator;
use lorakeet::training::dataset::Latents;
use lorakeet::training::random::{Stream, batch_indices, generator};
use lorakeet::training::trainer::read;
use lorakeet::training::{Dataset, Role, Trainer};
use serde_json::{Value, json};
use tiny::{Host, Values};
use tuning::{
    answers, bits, brisk, config, evaluate, four, model, relative, run, same_again, trainer,
    try_trainer,
};

/// Pictures with everything that can be drawn: posteriors and mirrors.
fn drawn() -> Dataset {
    let mut dataset = tuning::dataset(&[[8, 8], [8, 8], [6, 10]]);
    let mut generator = TorchGenerator::new(9);
    for example in &mut dataset.examples {
        let count = example.latents.mean.len();
        let mut deviation = || Some(generator.randn(count).iter().map(|x| 0.1 * x.abs()).collect());
        example.latents.deviation = deviation();
        let mean = example.latents.mean.iter().rev().copied().collect();
        let latents = Latents { shape: example.latents.shape, mean, deviation: deviation() };
        example.mirrored = Some(latents);
    }
    dataset
}

/// Every source of randomness at once.
fn random() -> Value {
    json!({
        "latents": "sample", "flip": true, "captionDropout": 0.3, "timesteps": "stratified",
        "dropout": 0.2, "rankDropout": 0.2, "moduleDropout": 0.1, "noiseOffset": 0.1,
        "accumulation": 2, "schedule": "cosine", "seed": 3
    })
}

/// T8.
#[test]
fn a_run_that_is_resumed_goes_on_bit_for_bit() {
    let model = model();
    let mut prodigy = random();
    prodigy["optimizer"] = json!({"name": "prodigy", "d0": 1e-3});
    prodigy["learningRate"] = 1.into();
    let mut lion = random();
    lion["optimizer"] = json!({"name": "lion"});
    let pissa = json!({"init": "pissa", "maxNorm": 0});
    let dora = json!({"kind": "dora", "loraPlus": 4});
    for (half, mut json) in [(10, random()), (10, prodigy), (3, lion), (3, pissa), (3, dora)] {
        json["steps"] = (2 * half).into();
        let config = config(brisk(json.clone()));
        let new = || trainer(&model, &config, &drawn());
        let mut through = new();
        run(&mut through, 2 * half);

        let mut first = new();
        run(&mut first, half);
        let state = first.state().unwrap();
        let mut second = new();
        second.restore(&state).unwrap();
        assert_eq!(second.step(), half);
        // Saved again it is the same file.
        assert_eq!(second.state().unwrap(), state);
        run(&mut second, half);
        assert!(second.finished());
        // Parameters, the optimiser's averages and every count.
        assert!(second.state().unwrap() == through.state().unwrap(), "{json}");
        // The first one goes on as well, also from within a step.
        if config.accumulation > 1 {
            let values = read(first.advance().unwrap()).unwrap();
            assert!(first.conclude(&values).unwrap().is_none());
        }
        first.restore(&state).unwrap();
        run(&mut first, half);
        assert!(first.state().unwrap() == through.state().unwrap(), "{json}");
        // A rewound run is not one that went on from somewhere else.
        let moved = relative(&through.adapter().parameters, &new().adapter().parameters);
        assert!(moved > 1e-3, "{json}: {moved}");
    }
}

#[test]
fn every_draw_follows_the_seed() {
    let model = model();
    let after = |seed: u64| {
        let mut json = random();
        json["seed"] = seed.into();
        let mut trainer = trainer(&model, &config(brisk(json)), &drawn());
        run(&mut trainer, 2);
        bits(&trainer.adapter().parameters)
    };
    assert_eq!(after(3), after(3));
    assert_ne!(after(3), after(4));
    // Each kind of draw makes a difference of its own.
    let gradient_on = |dataset: &Dataset, json: Value| {
        let mut trainer = trainer(&model, &config(brisk(json)), dataset);
        run(&mut trainer, 1);
        bits(trainer.gradient())
    };
    let gradient = |json: Value| gradient_on(&drawn(), json);
    let plain = json!({"captionDropout": 0.0, "steps": 1, "init": "orthogonal"});
    let base = gradient(plain.clone());
    for (key, value) in [
        ("flip", json!(true)),
        ("captionDropout", json!(1.0)),
        ("timesteps", json!("uniform")),
        ("dropout", json!(0.5)),
        ("rankDropout", json!(0.5)),
        ("moduleDropout", json!(0.5)),
        ("noiseOffset", json!(0.5)),
    ] {
        let mut json = plain.clone();
        json[key] = value;
        assert_ne!(gradient(json), base, "{key}");
    }
    let mut without = drawn();
    without.examples.iter_mut().for_each(|example| example.latents.deviation = None);
    assert_ne!(gradient_on(&without, plain.clone()), base);
    // Mirrors are there, but nothing asks for them.
    let mut unmirrored = drawn();
    unmirrored.examples.iter_mut().for_each(|example| example.mirrored = None);
    assert_eq!(gradient_on(&unmirrored, plain), base);
}

#[test]
fn states_that_are_broken_or_of_another_run_are_refused() {
    let model = model();
    let new = |json: Value| trainer(&model, &config(brisk(json)), &four());
    let mut trainer = new(json!({}));
    evaluate(&mut trainer);
    run(&mut trainer, 2);
    let state = trainer.state().unwrap();
    let mut refused = |bytes: &[u8]| {
        let error = trainer.restore(bytes).unwrap_err().to_string();
        // It stays as it was.
        assert_eq!(trainer.state().unwrap(), state, "{error}");
        error
    };
    for cut in [0, 4, 100, state.len() / 2, state.len() - 1] {
        let error = refused(&state[..cut]);
        assert!(error.starts_with("the run's state: "), "{cut}: {error}");
    }
    let other =
        Values::from([("parameters".to_string(), Host { shape: vec![1], data: vec![0.0] })]);
    let error = refused(&tiny::file(&other));
    assert!(error.contains("the run's state: can't be read"), "{error}");

    for json in [
        json!({"rank": 4}),
        json!({"alpha": 4}),
        json!({"kind": "dora"}),
        json!({"blocks": ["up"]}),
        json!({"init": "pissa"}),
        json!({"optimizer": {"name": "lion"}}),
        json!({"optimizer": {"name": "prodigy"}}),
    ] {
        let error = refused(&new(json.clone()).state().unwrap());
        assert!(error.contains("another adapter, optimiser or model"), "{json}: {error}");
    }

    // The right layout, the wrong numbers.
    let poisoned = |name: &str, value: f32| {
        let file = support::Tensors::new("state", state.clone());
        let run = metadata(&state);
        let mut values: Values = file
            .keys()
            .map(|key| (key.to_string(), Host { shape: file.shape(key), data: file.values(key) }))
            .collect();
        match value {
            0.0 => drop(values.remove(name)),
            value => values.get_mut(name).unwrap().data[1] = value,
        }
        tiny::file_with(&values, &[("run", run.as_str())])
    };
    let error = refused(&poisoned("parameters", f32::NAN));
    assert!(error.contains("parameters: holds NaN"), "{error}");
    for tensor in ["exp_avg", "exp_avg_sq"] {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = refused(&poisoned(&format!("optimizer.{tensor}"), poison));
            let key = format!("the run's state: optimizer.{tensor}: holds NaN or infinity");
            assert!(error.starts_with(&key) && error.contains("earlier snapshot"), "{error}");
        }
    }
    let error = refused(&poisoned("optimizer.exp_avg_sq", -1.0));
    assert!(error.contains("exp_avg_sq: is below 0"), "{error}");
    let error = refused(&poisoned("baseline", f32::NAN));
    assert!(error.contains("baseline: is not the base model's losses"), "{error}");
    let error = refused(&poisoned("parameters", 0.0));
    assert!(error.contains("parameters"), "{error}");
    let error = refused(&poisoned("optimizer.exp_avg_sq", 0.0));
    assert!(error.contains("exp_avg_sq is missing"), "{error}");
}

fn metadata(file: &[u8]) -> String {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    header["__metadata__"]["run"].as_str().unwrap().to_string()
}

/// T11.
#[test]
fn evaluating_repeats_itself_and_disturbs_nothing() {
    let model = model();
    let mut dataset = drawn();
    dataset.examples[1].role = Role::HeldOut;
    dataset.class_prompt = Some(dataset.empty.iter().rev().copied().collect());
    // The norms of LoRA's changes are told on the host, those of the other kinds on the device.
    for kind in ["lora", "loha"] {
        let mut json = random();
        json["kind"] = kind.into();
        if kind != "lora" {
            json["dropout"] = 0.into();
            json["rankDropout"] = 0.into();
        }
        let config = config(brisk(json));
        let mut alone = trainer(&model, &config, &dataset);
        run(&mut alone, 4);

        let mut watched = trainer(&model, &config, &dataset);
        let before = evaluate(&mut watched);
        assert_eq!(before, evaluate(&mut watched), "{kind}");
        let bands = before.bands.iter().map(|band| band.ratio);
        let ratios = [before.train.ratio, before.held_out.unwrap().ratio];
        for ratio in bands.chain(ratios) {
            assert!((ratio - 1.0).abs() < 1e-12, "{kind}: {ratio}");
        }
        assert_eq!((before.drift, before.step), (0.0, 0));
        assert!((before.diversity.unwrap() - 1.0).abs() < 1e-12);
        assert!(before.heat.iter().all(|heat| heat.ratio == 0.0), "{kind}");
        for _ in 0..2 {
            run(&mut watched, 1);
            evaluate(&mut watched);
            // Within a step too.
            let values = read(watched.advance().unwrap()).unwrap();
            assert!(watched.conclude(&values).unwrap().is_none());
            evaluate(&mut watched);
            let values = read(watched.advance().unwrap()).unwrap();
            assert!(watched.conclude(&values).unwrap().is_some());
        }
        let last = evaluate(&mut watched);
        assert_eq!(last, evaluate(&mut watched), "{kind}");
        assert!(last.drift > 0.0 && last.train.ratio != 1.0, "{kind}");
        assert_eq!(last.heat.len(), watched.adapter().modules.len());
        assert!(last.heat.iter().all(|heat| heat.ratio > 0.0), "{kind}");
        assert_eq!(
            bits(&watched.adapter().parameters),
            bits(&alone.adapter().parameters),
            "{kind}"
        );
        // Another trainer in the same state sees the same.
        let mut resumed = trainer(&model, &config, &dataset);
        resumed.restore(&watched.state().unwrap()).unwrap();
        assert_eq!(evaluate(&mut resumed), last, "{kind}");
    }
}

/// T14.
#[test]
fn gradients_that_are_no_numbers_are_skipped() {
    let model = model();
    for poison in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let config = config(brisk(json!({"accumulation": 2})));
        let mut trainer = trainer(&model, &config, &four());
        run(&mut trainer, 2);
        let count = trainer.adapter().parameters.len();
        // `place`: of a number of the gradient, or of a sample's error after it.
        let step = |trainer: &mut Trainer, place: Option<usize>| {
            let mut report = None;
            for micro in 0..2 {
                let mut values = read(trainer.advance().unwrap()).unwrap();
                if let (Some(place), 0) = (place, micro) {
                    values[place] = poison;
                }
                report = trainer.conclude(&values).unwrap();
            }
            report.unwrap()
        };
        let tensors = |trainer: &Trainer| {
            let file = support::Tensors::new("state", trainer.state().unwrap());
            file.keys().map(|key| (key.to_string(), bits(&file.values(key)))).collect::<Vec<_>>()
        };
        let before = tensors(&trainer);
        let report = step(&mut trainer, Some(count / 2));
        assert!(
            report.skipped_now && report.skipped == 1 && report.stopped.is_none(),
            "{report:?}"
        );
        assert_eq!(report.step, 3);
        assert_eq!(tensors(&trainer), before, "{poison}");
        // An error that is no number says that the gradient is none either.
        let report = step(&mut trainer, Some(count));
        assert!(
            report.skipped_now && report.skipped == 2 && report.stopped.is_none(),
            "{report:?}"
        );
        assert_eq!(tensors(&trainer), before, "{poison}");
        // One good step, and it may happen twice again.
        let report = step(&mut trainer, None);
        assert!(!report.skipped_now && report.skipped == 2, "{report:?}");
        assert_ne!(tensors(&trainer), before, "{poison}");
        assert!(trainer.adapter().parameters.iter().all(|x| x.is_finite()));
        for skipped in [3, 4] {
            let report = step(&mut trainer, Some(0));
            assert!(report.skipped == skipped && report.stopped.is_none(), "{report:?}");
        }
        // The count goes along with the state.
        let mut resumed = tuning::trainer(&model, &config, &four());
        resumed.restore(&trainer.state().unwrap()).unwrap();
        for trainer in [&mut trainer, &mut resumed] {
            let report = step(trainer, Some(0));
            assert_eq!(report.skipped, 5);
            let why = report.stopped.unwrap();
            assert!(why.starts_with("3 steps in a row came to NaN or infinity"), "{why}");
        }
    }
}

/// A batch of pictures of three sizes has the mean of the gradients that they have by themselves.
#[test]
fn pictures_of_different_sizes_share_a_batch() {
    let model = model();
    let (seed, sizes) = (11, [[8, 8], [6, 10], [10, 6]]);
    let dataset = tuning::dataset(&sizes);
    let json = |batch: usize| {
        config(brisk(json!({
            "batch": batch, "seed": seed, "init": "orthogonal", "captionDropout": 0,
            "weighting": {"name": "minSnr", "gamma": 5}, "timesteps": "uniform"
        })))
    };
    let mut together = trainer(&model, &json(3), &dataset);
    let start = trainer(&model, &json(3), &dataset);
    let report = together.run_step().unwrap();

    let order = batch_indices(seed, Stream::Order, 0, 3, 3);
    let sampling = json(3).timesteps;
    let timesteps = sampling.draw(seed, Stream::Timesteps, 0, 3, 0..1000);
    let mut noises = generator(seed, Stream::Noise, 0);
    let mut sum = vec![0.0; together.gradient().len()];
    let mut loss = 0.0;
    for (&picture, &t) in order.iter().zip(&timesteps) {
        let noise = noises.randn(dataset.examples[picture].latents.mean.len());
        let reference = same_again(&start, picture, t, &noise, 1);
        let mut alone = try_trainer(&model, &json(1), &dataset, Some(reference)).unwrap();
        loss += alone.run_step().unwrap().loss / 3.0;
        sum.iter_mut().zip(alone.gradient()).for_each(|(sum, x)| *sum += x / 3.0);
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2]);
    let off = relative(together.gradient(), &sum);
    println!("three sizes: {off:.1e}");
    assert!(
        off < 1e-5 && (report.loss / loss - 1.0).abs() < 1e-5,
        "{off:e} {} {loss}",
        report.loss
    );
    assert!(tuning::norm(&sum) > 0.0);
}

/// A model is shared with whoever makes pictures: between two passes no trace of training is on it.
#[test]
fn between_passes_the_model_is_the_base() {
    let model = model();
    let mut trainer = trainer(&model, &config(brisk(json!({}))), &four());
    let [_, base] = answers(&model, &trainer);
    let pass = trainer.advance().unwrap();
    let [_, during] = answers(&model, &trainer);
    trainer.conclude(&read(pass).unwrap()).unwrap();
    evaluate(&mut trainer);
    let [_, after] = answers(&model, &trainer);
    assert!(base == during && base == after);
}

/// Prior preservation every second step: the steps between know nothing of it.
#[test]
fn the_prior_comes_every_so_many_steps() {
    let model = model();
    let mut dataset = four();
    dataset.class_prompt = Some(dataset.empty.iter().rev().copied().collect());
    let new = |prior: Value| trainer(&model, &config(brisk(json!({"prior": prior}))), &dataset);
    let mut with = new(json!({"weight": 1, "every": 2}));
    let mut without = new(json!({"weight": 0}));
    for step in 0..4 {
        let state = with.state().unwrap();
        without.restore(&state).unwrap();
        let losses = [with.run_step().unwrap().loss, without.run_step().unwrap().loss];
        let off = relative(with.gradient(), without.gradient());
        match step {
            // The adapter does nothing yet: nothing to preserve, but for a rounding.
            0 => assert!(off < 1e-5, "{off:e}"),
            2 => assert!(off > 1e-3 && losses[0] > losses[1], "{off:e} {losses:?}"),
            _ => assert!(off == 0.0 && losses[0] == losses[1], "{step}: {off:e}"),
        }
    }
}

//! What a run is given: pictures on their way to a data set, the data set's file, and data sets and
//! references that must be refused.

mod tiny;
mod tuning;

use std::rc::Rc;

use lorakeet::training::dataset::Latents;
use lorakeet::training::trainer::read;
use lorakeet::training::{Dataset, Picture, Preparation, Reference, Role, reference};
use lorakeet::weights::Bytes;
use serde_json::{Value, json};
use tiny::{Host, Values};
use tuning::{TEXT, bits, config, four, model, try_trainer};

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
    let bad: [&dyn Fn(&mut Dataset); 3] = [
        &|dataset| dataset.examples[1].latents.mean[5] = f32::NAN,
        &|dataset| dataset.examples[1].text[5] = f32::INFINITY,
        &|dataset| {
            let mut mirrored = dataset.examples[1].latents.clone();
            mirrored.mean[5] = f32::NEG_INFINITY;
            dataset.examples[1].mirrored = Some(mirrored);
        },
    ];
    for spoil in bad {
        let error = spoilt(spoil);
        assert!(
            error.starts_with("picture 1: has latents or a text embedding with NaN"),
            "{error}"
        );
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
    let empty = |values: &mut Values| {
        for name in ["index", "timesteps", "noise"] {
            values.insert(name.into(), Host { shape: vec![2, 0], data: Vec::new() });
        }
    };
    let error = run(&empty, 0.0);
    assert!(error.starts_with("reference: its batches are empty"), "{error}");
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
            let values = read(tensor).unwrap();
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

/// Portrait and landscape have as many latents, which lie in other places.
#[test]
fn a_guess_and_the_nearest_picture_keep_their_shape() {
    let model = model();
    let dataset = tuning::dataset(&[[8, 16], [16, 8]]);
    let json =
        json!({"targets": "attention", "blocks": ["mid"], "rank": 1, "batch": 1, "steps": 2});
    let mut trainer = try_trainer(&model, &config(json), &dataset, None).unwrap();
    assert!(trainer.first_guess().is_none());
    let mut shapes = Vec::new();
    while !trainer.finished() {
        trainer.run_step().unwrap();
        let (latents, shape) = trainer.first_guess().unwrap();
        assert_eq!(latents.len(), 4 * 8 * 16);
        shapes.push(shape);
    }
    // Two steps of one picture each are an epoch.
    shapes.sort_unstable();
    assert_eq!(shapes, [[4, 8, 16], [4, 16, 8]]);

    let landscape = &dataset.examples[0].latents;
    let (name, cosine) = trainer.nearest(&landscape.mean, [4, 8, 16]).unwrap();
    assert!(name == "picture 0" && (cosine - 1.0).abs() < 1e-6, "{name}: {cosine}");
    let (name, cosine) = trainer.nearest(&landscape.mean, [4, 16, 8]).unwrap();
    assert!(name == "picture 1" && cosine.abs() < 0.3, "{name}: {cosine}");
    assert!(trainer.nearest(&landscape.mean, [4, 4, 32]).is_none());
}

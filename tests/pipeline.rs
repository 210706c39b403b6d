//! Whole runs of the demo model against diffusers' (`fixtures/demo-model/recipe/reference.py`), and
//! what a run promises: steps that can be pulled, settings that are checked, bits that repeat.

#[path = "support/sd15.rs"]
mod sd15;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lorakeet::adapters::{Part, Spread};
use lorakeet::image::to_rgba;
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::{Limits, Phase, Settings, StableDiffusion, TextToImage};
use lorakeet::weights::{Bytes, Checkpoint, FileSource, Source};
use safetensors::tensor::{Dtype, TensorView, serialize};
use support::{
    demo_model, distance, fixture, latents, load, parse, path, picture, settings, values,
};

/// f32 against f32 in another order of summation, through 20 steps with guidance 4; what the CPU
/// backend is held to (measured: README, "Tests").
const TOLERANCE: f32 = 1e-3;

fn attach(model: &StableDiffusion, adapters: &[(&str, f32)]) -> Vec<u64> {
    let attach = |(name, strength): &(&str, f32)| {
        let file = path(&format!("web/demo-model/lora/{name}.kohya.safetensors"));
        let id = model.add_adapter(&FileSource::open(file).unwrap(), None).unwrap();
        model.set_adapter(id, true, *strength, *strength).unwrap();
        id
    };
    adapters.iter().map(attach).collect()
}

#[test]
fn every_reference_run_is_met_from_the_seed_and_from_the_noise() {
    let model = Rc::new(demo_model());
    let reference = fixture("demo-model/reference/final-latents.safetensors");
    let noise = fixture("demo-model/reference/noise.safetensors").values("noise");
    let tags: Vec<&str> = reference.keys().collect();
    assert_eq!(tags.len(), 11);
    let first = tags[0];
    for tag in tags {
        let (scheduler, adapters) = parse(tag);
        let ids = attach(&model, &adapters);
        let expected = reference.values(tag);
        for row in 0..2 {
            let settings = settings(row, scheduler);
            let expected = &expected[row * 1024..][..1024];
            let given = noise[row * 1024..][..1024].to_vec();
            let from_seed = latents(&model, settings.clone(), None);
            let error = distance(&from_seed, expected);
            println!("{tag} {row}: {error:.1e}");
            assert!(error < TOLERANCE, "{tag}, row {row}: {error:e}");
            // The noise of a seed is torch's bit for bit, so this is the same run once more, which
            // one scheduler shows as well as all of them.
            if tag == first {
                assert_eq!(latents(&model, settings, Some(given)), from_seed, "{tag}, row {row}");
            }
        }
        for id in ids {
            model.remove_adapter(id).unwrap();
        }
    }
}

/// The other schedulers, the noise of the stochastic ones included
/// (`fixtures/demo-model/recipe/schedulers.py`).
#[test]
fn every_scheduler_ends_where_diffusers_does() {
    let model = Rc::new(demo_model());
    let reference = fixture("demo-model/reference/schedulers.safetensors");
    assert_eq!(reference.keys().count(), 15);
    for name in reference.keys() {
        let settings = serde_json::from_str(reference.metadata(name)).unwrap();
        let error = distance(&latents(&model, settings, None), &reference.values(name));
        println!("{name}: {error:.1e}");
        assert!(error < TOLERANCE, "{name}: {error:e}");
    }
}

/// Down a schedule the noise of an SDE sampler is that of one path of the seed, so that more steps end
/// near by; with the model's own levels it is drawn anew.
#[test]
fn an_sde_sampler_down_a_schedule_keeps_its_picture_with_more_steps() {
    let model = Rc::new(demo_model());
    let end = |schedule: Option<&str>, steps| {
        let schedule = schedule.map(Into::into);
        let settings = settings(0, "dpmpp_2m_sde");
        latents(&model, Settings { schedule, steps, width: 64, height: 64, ..settings }, None)
    };
    let moved = |schedule| {
        let (few, many) = (end(schedule, 12), end(schedule, 24));
        few.iter().zip(&many).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
    };
    let (path, fresh) = (moved(Some("karras")), moved(None));
    println!("{path} down a path, {fresh} with fresh noise");
    assert!(1.5 * path < fresh, "{path} down a path, {fresh} with fresh noise");
}

#[test]
fn the_picture_is_diffusers_picture() {
    let model = Rc::new(demo_model());
    attach(&model, &[("ink", 1.0)]);
    let pixels = to_rgba(&picture(&model, settings(1, "ddim")), 128, 128);
    let file = path("tests/fixtures/demo-model/reference/ddim.ink_1.0.1.png");
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut expected = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut expected).unwrap();
    let expected = expected.chunks_exact(3);
    // One level: where a value lies on the edge between two.
    let most = pixels
        .bytes
        .chunks_exact(4)
        .zip(expected)
        .flat_map(|(a, b)| (0..3).map(|i| a[i].abs_diff(b[i])))
        .max();
    assert!(most <= Some(1), "{most:?}");
}

/// A curve that falls to 0 in the middle is a slider that is moved there then.
#[test]
fn a_strength_is_spread_over_steps() {
    let model = Rc::new(demo_model());
    attach(&model, &[("ink", 1.0)]);
    let id = model.adapters().iter().next().unwrap().id;
    let draw = |moved: bool| {
        let settings = Settings { width: 64, height: 64, steps: 4, ..settings(0, "euler") };
        let mut work = TextToImage::new(model.clone(), settings, None).unwrap();
        loop {
            let step = work.advance().unwrap();
            if moved && step.step == 2 {
                model.set_adapter(id, true, 0.0, 1.0).unwrap();
            }
            if step.picture.is_some() {
                model.set_adapter(id, true, 1.0, 1.0).unwrap();
                break values(work.latents());
            }
        }
    };
    let (whole, moved) = (draw(false), draw(true));
    let curve = Spread { curve: vec![[0.5, 1.0], [0.5, 0.0]], ..Spread::default() };
    model.spread_adapter(id, curve).unwrap();
    let ours = draw(false);
    assert_eq!(ours, moved);
    assert_ne!(ours, whole);
    // No curve is in force once the picture is there.
    assert!(
        model
            .sites(Part::UNet)
            .iter()
            .all(|site| { site.slot.branches().iter().all(|branch| branch.strength.get() == 1.0) })
    );
}

#[test]
fn one_pull_is_a_small_piece_of_work_and_tells_how_far_it_came() {
    let model = Rc::new(demo_model());
    let mut settings = settings(0, "euler");
    settings.steps = 3;
    let size = [settings.width, settings.height];
    let mut work = TextToImage::new(model.clone(), settings, None).unwrap();
    let mut phases = BTreeMap::new();
    let (mut before, mut previews) = (0.0, 0);
    loop {
        let step = work.advance().unwrap();
        assert!(step.fraction > before || step.phase == Phase::Text, "{step:?}");
        assert_eq!(step.steps, 3);
        before = step.fraction;
        *phases.entry(format!("{:?}", step.phase)).or_insert(0) += 1;
        previews += usize::from(step.preview.is_some());
        if step.picture.is_some() {
            break;
        }
    }
    assert_eq!(before, 1.0);
    assert_eq!(previews, 3);
    assert_eq!(phases["Denoise"], 3 * model.unet.stages());
    let plan = model.decode_plan(size[0], size[1], Limits::default()).unwrap();
    assert!(plan.is_whole());
    assert_eq!(phases["Decode"], plan.pieces());
    assert!(phases["Decode"] > 4, "decoding can be stopped too");
    let error = work.advance().unwrap_err().to_string();
    assert!(error.contains("finished"), "{error}");
}

#[test]
fn guidance_of_one_leaves_the_negative_prompt_and_half_the_work_out() {
    let model = Rc::new(demo_model());
    let mut settings = settings(0, "ddim");
    settings.steps = 4;
    settings.guidance = 1.0;
    let plain = latents(&model, settings.clone(), None);
    settings.negative_prompt = "blue cat face".into();
    assert_eq!(latents(&model, settings.clone(), None), plain);
    settings.guidance = 1.0001;
    let almost = latents(&model, settings.clone(), None);
    let error = distance(&almost, &plain);
    assert!(error > 0.0 && error < 1e-2, "{error}");
    settings.guidance = 4.0;
    let away = latents(&model, settings.clone(), None);
    settings.negative_prompt.clear();
    assert!(distance(&away, &latents(&model, settings, None)) > 0.1);
}

#[test]
fn settings_out_of_range_are_named() {
    let model = Rc::new(demo_model());
    let good = settings(0, "ddim");
    let error = |change: &dyn Fn(&mut lorakeet::pipelines::Settings), noise: Option<Vec<f32>>| {
        let mut settings = good.clone();
        change(&mut settings);
        TextToImage::new(model.clone(), settings, noise).err().unwrap().to_string()
    };
    assert!(error(&|s| s.width = 100, None).starts_with("width: 100 is not a multiple of 8"));
    assert!(error(&|s| s.height = 0, None).starts_with("height: "));
    assert!(error(&|s| s.height = 4096, None).starts_with("height: "));
    assert!(error(&|s| s.guidance = f64::NAN, None).starts_with("guidance: "));
    assert!(error(&|s| s.steps = 0, None).starts_with("steps: "));
    assert!(error(&|s| s.steps = 1001, None).starts_with("steps: "));
    let unknown = error(&|s| s.scheduler = Some("ddimm".into()), None);
    assert!(unknown.contains("ddimm") && unknown.contains("dpmpp_2m_karras"), "{unknown}");
    assert!(error(&|_| (), Some(vec![0.0; 7])).starts_with("noise: has 7 numbers"));
    let id = attach(&model, &[("ink", 1.0)])[0];
    for (id, strength) in [(id, 10.5), (id, f32::NAN), (id + 1, 1.0)] {
        assert!(model.set_adapter(id, true, strength, 1.0).is_err(), "{id} {strength}");
    }
}

#[test]
fn other_sizes_run_and_long_prompts_are_read_whole() {
    let model = Rc::new(demo_model());
    let mut settings = settings(0, "ddim");
    // 14 x 10 latents: halving twice is uneven, as it is for 512 x 360.
    (settings.width, settings.height, settings.steps) = (112, 80, 2);
    settings.prompt = "red apple ".repeat(60) + "zebra";
    let mut work = TextToImage::new(model, settings, None).unwrap();
    let picture = loop {
        if let Some(picture) = work.advance().unwrap().picture {
            break picture;
        }
    };
    assert_eq!(picture.dims(), [1, 3, 80, 112]);
    assert!(values(picture).iter().all(|value| value.is_finite()));
}

// ---- a checkpoint in both layouts ------------------------------------------------------------------

/// The UNet's, and the autoencoder's in bands where a device's buffers are small.
#[test]
fn the_largest_tensor_of_a_picture_is_known_before() {
    let model = demo_model();
    assert_eq!(model.unet.config().block_out_channels[0], 64);
    assert_eq!(model.largest_tensor(256, 256, true), 4 << 20);
    assert_eq!(model.largest_tensor(256, 128, false), 1 << 20);
    assert_eq!(model.decode_plan(256, 256, Limits::NONE).unwrap().largest, 16 << 20, "64 channels");
    let small = Limits { bytes: None, buffer: Some(4 << 20) };
    assert!(model.decode_plan(256, 256, small).unwrap().largest <= 4 << 20);
    let least = model.least_decode_plan(256, 256).unwrap();
    assert!(model.decode_plan(256, 256, Limits { bytes: Some(least.peak - 1), ..small }).is_err());
}

/// Random tensors that keep activations lively: unit variance after each layer, norms near 1.
fn random(name: &str, shape: &[usize], generator: &mut TorchGenerator) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let fan_in: usize = shape[1..].iter().product();
    let norm = name.contains("norm") && name.ends_with("weight");
    let scale = if shape.len() > 1 { 1.0 / (fan_in as f32).sqrt() } else { 0.1 };
    let values = generator.randn(count).into_iter().map(|x| f32::from(norm) + scale * x);
    values.flat_map(f32::to_le_bytes).collect()
}

fn file<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> Vec<u8> {
    let views = tensors.map(|(name, shape, bytes)| {
        (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

/// The shape of an SD 1.5 checkpoint, random weights: one single file in ldm names, and the same
/// numbers as a diffusers folder.
#[test]
fn a_single_file_and_a_folder_of_the_same_weights_are_the_same_model() {
    let tables = sd15::small(49408);
    let mut generator = TorchGenerator::new(15);
    let mut data = BTreeMap::new();
    for row in tables.unet.iter().chain(&tables.vae).chain(&tables.text_encoder) {
        data.insert(row.2.as_str(), random(&row.0, &row.1, &mut generator));
    }
    let rows = || tables.unet.iter().chain(&tables.vae).chain(&tables.text_encoder);
    let keys: BTreeSet<&str> = rows().map(|row| row.2.as_str()).collect();
    assert_eq!((rows().count(), keys.len()), (686 + 248 + 196, 686 + 248 + 196));

    let whole = file(rows().map(|row| (row.2.as_str(), &row.3[..], &data[row.2.as_str()][..])));
    let single = Checkpoint::open(vec![Rc::new(Bytes::new("tiny.safetensors", whole))]).unwrap();
    assert_eq!(single.ignored, [""; 0]);

    let mut files: Vec<Rc<dyn Source>> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| files.push(Rc::new(Bytes::new(name, bytes)));
    add("model_index.json", br#"{"_class_name": "StableDiffusionPipeline"}"#.to_vec());
    add("scheduler/scheduler_config.json", single.scheduler_config.to_string().into());
    for (rows, component, weights) in [
        (&tables.unet, &single.unet, "diffusion_pytorch_model"),
        (&tables.vae, &single.vae, "diffusion_pytorch_model"),
        (&tables.text_encoder, &single.text_encoder, "model"),
    ] {
        let name = component.name;
        add(&format!("{name}/config.json"), component.config.to_string().into());
        let tensors = rows.iter().map(|row| (&row.0[..], &row.1[..], &data[row.2.as_str()][..]));
        add(&format!("{name}/{weights}.safetensors"), file(tensors));
    }
    let folder = Checkpoint::open(files).unwrap();

    // `load` asserts that every key is used.
    let (single, folder) = (Rc::new(load(&single)), Rc::new(load(&folder)));
    let mut settings = settings(0, "ddim");
    (settings.steps, settings.width, settings.height) = (1, 64, 64);
    let a = picture(&single, settings.clone());
    let b = picture(&folder, settings);
    assert!(a.iter().all(|value| value.is_finite()));
    assert!(a.iter().any(|value| (value - a[0]).abs() > 0.1), "a lively picture");
    assert_eq!(a, b, "bit for bit");
}

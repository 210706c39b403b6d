//! Telling the members of the family apart, and opening models whose parts come in several files: over
//! Stable Diffusion's whole key lists with few channels.

#[path = "support/sd15.rs"]
mod sd15;

use std::collections::BTreeMap;
use std::rc::Rc;

use lorakeet::error::Result;
use lorakeet::weights::{Bytes, Checkpoint, FewSteps, Overrides, Prediction, Source, Task};
use sd15::Row;
use serde_json::json;

/// f32 tensors by name; each has its shape and one value throughout.
type Shapes = BTreeMap<String, (Vec<usize>, f32)>;

fn shapes(rows: &[Row]) -> Shapes {
    rows.iter().map(|row| (row.2.clone(), (row.3.clone(), 0.5))).collect()
}

fn diffusers(rows: &[Row]) -> Shapes {
    rows.iter().map(|row| (row.0.clone(), (row.1.clone(), 0.25))).collect()
}

fn whole(rows: &[&[Row]]) -> Shapes {
    rows.iter().flat_map(|rows| shapes(rows)).collect()
}

fn sd1() -> Shapes {
    let tables = sd15::small(50);
    whole(&[&tables.unet, &tables.vae, &tables.text_encoder])
}

/// SD 2's: linear projections, OpenCLIP.
fn sd2() -> Shapes {
    let tables = sd15::small(50);
    let mut all = whole(&[&tables.unet, &tables.vae]);
    for (key, (shape, _)) in &mut all {
        if key.ends_with(".proj_in.weight") || key.ends_with("1.proj_out.weight") {
            shape.truncate(2);
        }
    }
    all.extend(tables.open_clip_ldm.into_iter().map(|(key, shape)| (key, (shape, 0.5))));
    all
}

const TELLING: &str = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";

fn source(name: &str, bytes: impl Into<Vec<u8>>) -> Rc<dyn Source> {
    Rc::new(Bytes::new(name, bytes))
}

/// A file whose tensors hold one value each, computed as they are read; the telling bias swings
/// between plus and minus its value.
struct Computed {
    name: String,
    header: Vec<u8>,
    /// Where each tensor ends, its value, and whether that swings.
    tensors: Vec<(u64, f32, bool)>,
}

impl Source for Computed {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.header.len() as u64 + self.tensors.last().map_or(0, |tensor| tensor.0)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let start = self.header.len() as u64;
        let Some(mut at) = offset.checked_sub(start) else {
            buffer.copy_from_slice(&self.header[offset as usize..][..buffer.len()]);
            return Ok(());
        };
        for number in buffer.chunks_exact_mut(4) {
            let (_, value, swings) = self.tensors.iter().find(|tensor| at < tensor.0).unwrap();
            let sign = if *swings && at / 4 % 2 == 1 { -1.0 } else { 1.0 };
            number.copy_from_slice(&(sign * value).to_le_bytes());
            at += 4;
        }
        Ok(())
    }
}

fn file(name: &str, shapes: &Shapes, metadata: &[(&str, &str)]) -> Rc<dyn Source> {
    let (mut header, mut tensors, mut at) = (serde_json::Map::new(), Vec::new(), 0);
    if !metadata.is_empty() {
        let metadata: BTreeMap<_, _> = metadata.iter().copied().collect();
        header.insert("__metadata__".into(), json!(metadata));
    }
    for (key, (shape, value)) in shapes {
        let end = at + 4 * shape.iter().product::<usize>() as u64;
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
        header.insert(key.clone(), entry);
        tensors.push((end, *value, key == TELLING));
        at = end;
    }
    let json = serde_json::to_vec(&header).unwrap();
    let header = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
    Rc::new(Computed { name: name.into(), header, tensors })
}

fn open(files: Vec<Rc<dyn Source>>) -> Checkpoint {
    Checkpoint::open(files).unwrap()
}

fn message(result: Result<Checkpoint>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn sd_2_is_told_by_one_bias_unless_something_says_what_it_predicts() {
    let mut shapes = sd2();
    let mut opened = |deviation: f32, name: &str, metadata: &[(&str, &str)], yaml: Option<&str>| {
        shapes.get_mut(TELLING).unwrap().1 = deviation;
        let mut files = vec![file(name, &shapes, metadata)];
        files.extend(yaml.map(|yaml| source("v2-inference.yaml", yaml)));
        open(files)
    };
    let v = opened(0.1, "a.safetensors", &[], None);
    assert_eq!((v.family.prediction, v.family.size), (Prediction::VPrediction, 768));
    assert_eq!(v.family.label, "Stable Diffusion 2.x, 768-v");
    assert_eq!(v.scheduler_config["prediction_type"], "v_prediction");
    assert_eq!(v.scheduler_config["_class_name"], "DDIMScheduler");
    let why = v.family.evidence.join("; ");
    assert!(why.contains("a bias in its last transformer deviates by 0.100, above 0.09"), "{why}");
    let note = v.family.notes.join("; ");
    assert!(note.contains("v_prediction was told from its weights"), "{note}");

    let base = opened(0.05, "a.safetensors", &[], None);
    assert_eq!((base.family.prediction, base.family.size), (Prediction::Epsilon, 512));
    assert_eq!(base.family.label, "Stable Diffusion 2.x, base");
    assert!(base.family.notes.join("; ").contains("doesn't tell SD-Turbo"), "{:?}", base.family);
    let turbo = opened(0.05, "sd_turbo.safetensors", &[], None);
    assert_eq!(turbo.family.few_steps, Some(FewSteps::Turbo));
    assert_eq!(turbo.family.notes, [""; 0]);
    let titled = opened(0.05, "a.safetensors", &[("modelspec.title", "My Turbo")], None);
    assert_eq!(titled.family.label, "SD-Turbo");
    assert_eq!(titled.scheduler_config["timestep_spacing"], "trailing");

    // What is said counts more, and is noted where it contradicts itself.
    let spec = [("modelspec.prediction_type", "epsilon"), ("modelspec.resolution", "640x640")];
    let said = opened(0.1, "a.safetensors", &spec, None);
    assert_eq!((said.family.prediction, said.family.size), (Prediction::Epsilon, 640));
    assert_eq!(said.family.notes, [""; 0]);
    let yaml = "model:\n  params:\n    parameterization: \"v\"\n    image_size: 96 # latents\n";
    let both = opened(0.05, "a.safetensors", &spec, Some(yaml));
    assert_eq!((both.family.prediction, both.family.size), (Prediction::VPrediction, 768));
    let notes = both.family.notes.join("; ");
    assert!(notes.contains("contradicts predicts v_prediction (v2-inference.yaml says"), "{notes}");
    let plain = "model:\n  params:\n    unet_config:\n      params:\n        image_size: 32\n";
    let plain = opened(0.1, "a.safetensors", &[], Some(plain));
    assert_eq!(plain.family.prediction, Prediction::Epsilon);
    assert_eq!(plain.family.size, 512, "the UNet's own image_size means nothing");
    for (name, value) in [
        ("modelspec.architecture", "stable-diffusion-v2-768-v"),
        ("ss_base_model_version", "sd_v2_v"),
    ] {
        let said = opened(0.05, "a.safetensors", &[(name, value)], None);
        assert_eq!(said.family.prediction, Prediction::VPrediction, "{name}");
    }
}

#[test]
fn what_is_chosen_by_hand_comes_first() {
    let open = |overrides: Overrides| {
        let mut shapes = sd1();
        shapes.insert("v_pred".into(), (vec![], 1.0));
        shapes.insert("ztsnr".into(), (vec![], 1.0));
        Checkpoint::open_with(vec![file("a.safetensors", &shapes, &[])], &overrides)
    };
    let plain = open(Overrides::default()).unwrap();
    assert!(plain.family.zero_terminal_snr && plain.family.prediction == Prediction::VPrediction);
    assert_eq!(plain.scheduler_config["rescale_betas_zero_snr"], true);
    assert_eq!(plain.scheduler_config["timestep_spacing"], "trailing");
    let chosen = Overrides {
        prediction: Some(Prediction::VPrediction),
        size: Some(768),
        zero_terminal_snr: Some(false),
    };
    let chosen = open(chosen).unwrap();
    assert!(!chosen.family.zero_terminal_snr && chosen.family.size == 768);
    assert!(chosen.family.evidence.iter().any(|line| line == "768 pixels: chosen by hand"));
    assert_ne!(chosen.scheduler_config["timestep_spacing"], "trailing");

    let epsilon = Overrides { prediction: Some(Prediction::Epsilon), ..Overrides::default() };
    let family = open(epsilon).unwrap().family;
    assert_eq!((family.prediction, family.zero_terminal_snr), (Prediction::Epsilon, false));
    assert!(family.notes[0].contains("Zero terminal SNR is off"), "{:?}", family.notes);
    let error = message(open(Overrides { zero_terminal_snr: Some(true), ..epsilon }));
    assert!(error.starts_with("zeroTerminalSnr: can't be on"), "{error}");
    let error = message(open(Overrides { size: Some(500), ..Overrides::default() }));
    assert!(error.starts_with("size: the model's size of 500 pixels"), "{error}");
    let json = json!({"prediction": "v_prediction", "size": 768, "weights": "f16"});
    let read: Overrides = serde_json::from_value(json).unwrap();
    assert_eq!((read.prediction, read.size), (Some(Prediction::VPrediction), Some(768)));
}

#[test]
fn relatives_that_need_more_than_a_text_are_refused_by_name() {
    let opened = |channels: usize| {
        let mut shapes = sd1();
        let key = "model.diffusion_model.input_blocks.0.0.weight";
        shapes.get_mut(key).unwrap().0[1] = channels;
        Checkpoint::open(vec![file("a.safetensors", &shapes, &[])])
    };
    assert_eq!(opened(9).unwrap().family.task, Task::Inpainting);
    for (channels, what) in [(8, "instruct-pix2pix"), (5, "depth"), (7, "upscaler"), (6, "unknown")]
    {
        let error = message(opened(channels));
        let start = format!("a.safetensors: in_channels: is {channels} for 4 latent channels");
        assert!(error.starts_with(&start) && error.contains(what), "{error}");
    }
}

#[test]
fn sgms_layout_of_sd_2_is_no_xl() {
    let rename = |key: String| key.replace("cond_stage_model.", "conditioner.embedders.0.");
    let mut shapes: Shapes = sd2().into_iter().map(|(key, value)| (rename(key), value)).collect();
    let opened = open(vec![file("sd_turbo.safetensors", &shapes, &[])]);
    let usual = open(vec![file("sd_turbo.safetensors", &sd2(), &[])]);
    assert!(opened.text_encoder.tensors.keys().eq(usual.text_encoder.tensors.keys()));
    assert_eq!(opened.family.label, "SD-Turbo");
    shapes.insert("conditioner.embedders.1.model.ln_final.bias".into(), (vec![8], 0.5));
    let error = message(Checkpoint::open(vec![file("a.safetensors", &shapes, &[])]));
    assert!(error.contains("is Stable Diffusion XL"), "{error}");
}

#[test]
fn averaged_weights_alone_are_what_is_used() {
    let usual = open(vec![file("a.safetensors", &sd1(), &[])]);
    let dotless = |key: String| match key.strip_prefix("model.diffusion_model.") {
        Some(rest) => format!("model_ema.diffusion_model{}", rest.replace('.', "")),
        None => key,
    };
    let mut shapes: Shapes = sd1().into_iter().map(|(key, value)| (dotless(key), value)).collect();
    shapes.insert("model_ema.decay".into(), (vec![], 0.9));
    let opened = open(vec![file("ema.safetensors", &shapes, &[])]);
    assert!(opened.unet.tensors.keys().eq(usual.unet.tensors.keys()));
    assert_eq!(opened.unet.config, usual.unet.config);
    assert!(opened.family.notes[0].contains("moving average"), "{:?}", opened.family.notes);
    assert_eq!(opened.ignored.len(), 1);
    // Beside the weights themselves they are not.
    shapes.append(&mut sd1());
    let both = open(vec![file("a.safetensors", &shapes, &[])]);
    assert!(
        both.unet.tensors.values().all(|stored| stored.key.starts_with("model.diffusion_model"))
    );
}

#[test]
fn a_lora_that_was_left_in_a_checkpoint_is_told_of() {
    let mut shapes = sd1();
    for end in ["lora_down.weight", "lora_up.weight", "alpha"] {
        shapes.insert(format!("lora_unet_mid_block_attentions_0_proj_in.{end}"), (vec![1], 0.5));
    }
    let opened = open(vec![file("merge.safetensors", &shapes, &[])]);
    assert!(opened.family.notes[0].contains("3 tensors of a LoRA"), "{:?}", opened.family.notes);
    assert!(
        opened.ignored.iter().all(|line| line.contains("never merged")),
        "{:?}",
        opened.ignored
    );
}

#[test]
fn a_vae_and_a_text_encoder_may_come_in_files_of_their_own() {
    let tables = sd15::small(50);
    let bare = file("bare.safetensors", &shapes(&tables.unet), &[]);
    let error = message(Checkpoint::open(vec![bare.clone()]));
    assert!(error.starts_with("bare.safetensors: holds no text encoder"), "{error}");
    assert!(error.contains("Bring a file of CLIP's text encoder along"), "{error}");

    let strip = |shapes: Shapes, prefix: &str| -> Shapes {
        shapes.into_iter().map(|(k, v)| (k.strip_prefix(prefix).unwrap_or(&k).into(), v)).collect()
    };
    let usual = open(vec![file("a.safetensors", &sd1(), &[])]);
    let ldm_vae = strip(shapes(&tables.vae), "first_stage_model.");
    let text = strip(shapes(&tables.text_encoder), "cond_stage_model.transformer.");
    let vaes = [ldm_vae, diffusers(&tables.vae), shapes(&tables.vae)];
    let texts = [text, diffusers(&tables.text_encoder), shapes(&tables.text_encoder)];
    for (vae, text) in vaes.iter().zip(&texts) {
        let files = vec![
            file("vae-ft-mse.safetensors", vae, &[]),
            bare.clone(),
            file("clip_l.safetensors", text, &[]),
        ];
        let opened = open(files);
        assert_eq!(opened.name, "bare");
        assert_eq!(opened.vae.file, "vae-ft-mse.safetensors");
        assert_eq!(opened.vae.config, usual.vae.config);
        assert!(opened.vae.tensors.keys().eq(usual.vae.tensors.keys()));
        assert!(opened.text_encoder.tensors.keys().eq(usual.text_encoder.tensors.keys()));
        assert_eq!(opened.text_encoder.config, usual.text_encoder.config);
        // Each tensor is read from its own file.
        let stored = opened.vae.tensors.values().next().unwrap();
        assert_eq!(opened.sources[stored.source].name(), "vae-ft-mse.safetensors");
    }

    // One beside a whole model takes the place of the model's own.
    let own = file("whole.safetensors", &sd1(), &[]);
    let vae = file("vae.safetensors", &diffusers(&tables.vae), &[]);
    let opened = open(vec![own.clone(), vae.clone()]);
    assert_eq!(opened.vae.file, "vae.safetensors");
    let note = "The VAE is that of vae.safetensors, in place of the model's own";
    assert_eq!(opened.family.notes, [note]);
    let value = opened.vae.tensors["decoder.conv_in.bias"].read_f32(&opened.sources).unwrap()[0];
    assert_eq!(value, 0.25, "the VAE's own file, and not the model's");

    for (files, problem) in [
        (
            vec![own.clone(), vae.clone(), file("b.safetensors", &diffusers(&tables.vae), &[])],
            "b.safetensors: is a VAE as vae.safetensors is",
        ),
        (vec![own.clone(), bare.clone()], "whole.safetensors: is one of 2 model files"),
        (
            vec![own.clone(), file("sdxl_vae.safetensors", &diffusers(&tables.vae), &[])],
            "sdxl_vae.safetensors: is a VAE of Stable Diffusion XL",
        ),
    ] {
        let error = message(Checkpoint::open(files));
        assert!(error.starts_with(problem), "{error}");
    }
}

/// Its makers give TAESD away as two files, whose layers have numbers for names.
#[test]
fn taesd_comes_as_one_file_or_as_two() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/models/cases.json")).unwrap();
    let weights: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(cases["cases"]["vae.tiny"]["weights"].clone()).unwrap();
    let shapes: Shapes = weights.into_iter().map(|(name, shape)| (name, (shape, 0.5))).collect();
    let half = |part: &str, first: usize| -> Shapes {
        let layers =
            |name: &str| name.strip_prefix(part)?.strip_prefix(".layers.").map(String::from);
        let own = |(name, value): (&String, &(Vec<usize>, f32))| {
            let name = layers(name)?;
            let (layer, rest) = name.split_once('.').unwrap();
            Some((format!("{}.{rest}", layer.parse::<usize>().unwrap() + first), value.clone()))
        };
        shapes.iter().filter_map(own).collect()
    };
    let (encoder, decoder) = (half("encoder", 0), half("decoder", 1));
    assert!(encoder.contains_key("0.weight") && decoder.contains_key("3.conv.4.bias"));

    let whole = file("whole.safetensors", &sd1(), &[]);
    let one = file("diffusion_pytorch_model.safetensors", &shapes, &[]);
    let expected = open(vec![whole.clone(), one.clone()]);
    let first = file("taesd_encoder.safetensors", &encoder, &[]);
    let second = file("taesd_decoder.safetensors", &decoder, &[]);
    for pair in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
        let opened = open([vec![whole.clone()], pair.to_vec()].concat());
        assert_eq!(opened.vae.config, expected.vae.config);
        assert!(opened.vae.tensors.keys().eq(expected.vae.tensors.keys()));
        let from = |name: &str| opened.sources[opened.vae.tensors[name].source].name();
        assert_eq!(from("encoder.layers.0.weight"), "taesd_encoder.safetensors");
        assert_eq!(from("decoder.layers.0.weight"), "taesd_decoder.safetensors");
        assert!(opened.family.notes[0].contains("taesd_encoder.safetensors"));
    }
    let again = file("another.safetensors", &encoder, &[]);
    for (files, problem) in [
        (vec![first.clone()], "taesd_encoder.safetensors: is TAESD's encoder alone"),
        (vec![second.clone()], "taesd_decoder.safetensors: is TAESD's decoder alone"),
        (vec![first.clone(), again], "another.safetensors: is a VAE as taesd_encoder"),
        (vec![first, second, one], "diffusion_pytorch_model.safetensors: is a VAE as taesd_enc"),
    ] {
        let error = message(Checkpoint::open([vec![whole.clone()], files].concat()));
        assert!(error.starts_with(problem), "{error}");
    }
}

#[test]
fn a_unet_alone_opens_in_each_naming_with_the_other_parts() {
    let tables = sd15::small(50);
    let usual = open(vec![file("a.safetensors", &sd1(), &[])]);
    let comfy = |(key, value): (String, _)| {
        (key.replace("model.diffusion_model.", "diffusion_model."), value)
    };
    let bare = |(key, value): (String, _)| (key.replace("model.diffusion_model.", ""), value);
    for unet in [
        shapes(&tables.unet).into_iter().map(comfy).collect(),
        shapes(&tables.unet).into_iter().map(bare).collect(),
        diffusers(&tables.unet),
    ] {
        let files = vec![
            file("unet.safetensors", &unet, &[]),
            file("vae.safetensors", &diffusers(&tables.vae), &[]),
            file("clip.safetensors", &diffusers(&tables.text_encoder), &[]),
        ];
        let opened = open(files);
        assert_eq!(opened.unet.config, usual.unet.config);
        assert!(opened.unet.tensors.keys().eq(usual.unet.tensors.keys()));
        let error = message(Checkpoint::open(vec![file("unet.safetensors", &unet, &[])]));
        assert!(error.starts_with("unet.safetensors: is only a UNet"), "{error}");
    }
}

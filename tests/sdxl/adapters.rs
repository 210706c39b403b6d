//! Adapters on the UNet and both text encoders, in every naming.

use std::rc::Rc;

use lorakeet::adapters::{AdapterFile, Part, file};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::Bytes;

use super::fixture::{NAMES, TABLE, folder, load, off, safetensors, values};
use super::pictures::settings;
use super::support::{self, Tensors, latents};
use super::{TEXT, UNET, given};

const LORA: &str = "tests/fixtures/sdxl/lora.kohya.safetensors";
const LOCON: &str = "tests/fixtures/sdxl/locon.kohya.safetensors";

fn add(model: &StableDiffusion, path: &str, strengths: [f32; 2]) -> u64 {
    let id = model.add_adapter(&Bytes::new(path, support::read(path)), None).unwrap();
    model.set_adapter(id, true, strengths[0], strengths[1]).unwrap();
    id
}

fn output(model: &StableDiffusion) -> Vec<f32> {
    let (sample, context) = given("given");
    values(model.unet.forward(sample, &TABLE.timesteps, context))
}

fn check_text(model: &StableDiffusion, name: &str) {
    let states = model.encode_prompt(&TABLE.prompts[0]).unwrap();
    off(&format!("{name}.embeddings"), &values(states.hidden), 2.0 * TEXT);
    off(&format!("{name}.pooled"), &values(states.pooled.unwrap()), 2.0 * TEXT);
}

#[test]
fn a_lora_acts_on_the_unet_and_both_text_encoders() {
    let model = Rc::new(load(&folder()));
    let base = (output(&model), latents(&model, settings("euler"), None));
    let id = add(&model, LORA, [1.0, 1.0]);
    let report = model.adapters().iter().next().unwrap().report.clone();
    assert_eq!(report.unused, []);
    let count = |part: &str| NAMES.adapter.iter().filter(|row| row[0] == part).count();
    let [unet, first, second] = ["unet", "text_encoder", "text_encoder_2"].map(count);
    assert_eq!([report.unet_modules, report.text_encoder_modules], [unet, first + second]);
    assert_eq!(report.second_encoder_modules, second);
    // The first encoder's last layer counts too, though nothing reads what it gives.
    assert_eq!((first, second), (3 * 6, 4 * 6));
    assert!(report.summary.contains("text encoders 18 and 24"), "{}", report.summary);

    check_text(&model, "text.lora.0");
    off("unet.output.lora", &output(&model), UNET);
    off("run.euler.lora", &latents(&model, settings("euler"), None), 1e-4);
    model.set_adapter(id, true, 0.6, 0.0).unwrap();
    off("unet.output.lora_0.6", &output(&model), UNET);
    off("run.euler.lora_0.6_text_0", &latents(&model, settings("euler"), None), 1e-4);
    // Strength 0 is the base bit for bit, and so is the model without it.
    model.set_adapter(id, true, 0.0, 0.0).unwrap();
    assert_eq!((output(&model), latents(&model, settings("euler"), None)), base);
    model.remove_adapter(id).unwrap();
    assert_eq!((output(&model), latents(&model, settings("euler"), None)), base);
}

/// Convolutions, embeddings (`label_emb_0_0` among them) and `text_projection`, of mixed ranks.
#[test]
fn a_locon_acts_on_every_kind_of_layer() {
    let model = load(&folder());
    add(&model, LOCON, [1.0, 1.0]);
    let report = model.adapters().iter().next().unwrap().report.clone();
    assert_eq!(report.unused, []);
    check_text(&model, "text.locon.0");
    off("unet.output.locon", &output(&model), UNET);
}

/// The adapter's tensors under another tool's names.
fn renamed(naming: usize, ends: [&str; 3]) -> Vec<u8> {
    let kohya = Tensors::new("lora", support::read(LORA));
    let mut tensors = Vec::new();
    for row in &NAMES.adapter {
        let (from, to) = (&row[2], &row[2 + naming]);
        let mut add = |end: &str, name: String, scale: f32| {
            let key = format!("{from}.{end}");
            let numbers = kohya.values(&key).into_iter().map(|value| value * scale);
            let bytes = numbers.flat_map(f32::to_le_bytes).collect();
            tensors.push((name, "F32", kohya.shape(&key), bytes));
        };
        add("lora_down.weight", format!("{to}{}", ends[0]), 1.0);
        // Where there is no place for alpha (2 of rank 4) it is in the factor.
        let scale = if ends[2].is_empty() { 0.5 } else { 1.0 };
        add("lora_up.weight", format!("{to}{}", ends[1]), scale);
        if !ends[2].is_empty() {
            add("alpha", format!("{to}{}", ends[2]), 1.0);
        }
    }
    safetensors(&tensors)
}

fn read(model: &StableDiffusion, bytes: Vec<u8>) -> AdapterFile {
    let source = Bytes::new("lora.safetensors", bytes);
    file::read(&source, None, &model.file_sites(), model.layout()).unwrap()
}

#[test]
fn every_naming_reads_as_the_same_modules() {
    let model = load(&folder());
    let usual = read(&model, support::read(LORA));
    assert_eq!(usual.modules.len(), NAMES.adapter.len());
    let kohya = [".lora_down.weight", ".lora_up.weight", ".alpha"];
    let peft = [".lora_A.weight", ".lora_B.weight", ".alpha"];
    // kohya, kohya with diffusers' paths, ComfyUI, OneTrainer's OMI
    for (naming, ends) in [(0, kohya), (1, kohya), (3, peft), (3, kohya), (4, kohya)] {
        let other = read(&model, renamed(naming, ends));
        assert_eq!(other.report.unused, [], "{naming}");
        assert_eq!(other.modules, usual.modules, "{naming}");
    }
    for ends in
        [[".lora_A.weight", ".lora_B.weight", ""], [".lora.down.weight", ".lora.up.weight", ""]]
    {
        let other = read(&model, renamed(2, ends));
        assert_eq!(other.report.unused, [], "diffusers");
        for (ours, theirs) in other.modules.iter().zip(&usual.modules) {
            assert_eq!((ours.part, &ours.path), (theirs.part, &theirs.path));
            let numbers = |module: &lorakeet::adapters::AdapterModule| {
                let tensors: Vec<_> = module.factors.tensors().cloned().collect();
                let scaled: Vec<f32> = tensors[1].data.iter().map(|it| it * module.scale).collect();
                (tensors[0].data.clone(), scaled)
            };
            assert_eq!(numbers(ours), numbers(theirs));
        }
    }
    assert_eq!(usual.modules.iter().filter(|module| module.part == Part::TextEncoder2).count(), 24);
}

#[test]
fn an_adapter_for_another_base_is_refused_by_name() {
    let model = load(&folder());
    let error = |key: &str, shape: [usize; 2]| {
        let zeros = |shape: &[usize]| vec![0; 4 * shape.iter().product::<usize>()];
        let up = [shape[0], 1];
        let tensors = [
            (format!("{key}.lora_down.weight"), "F32", vec![1, shape[1]], zeros(&[1, shape[1]])),
            (format!("{key}.lora_up.weight"), "F32", up.to_vec(), zeros(&up)),
        ];
        let source = Bytes::new("a.safetensors", safetensors(&tensors));
        let read = file::read(&source, None, &model.file_sites(), model.layout());
        read.err().unwrap().to_string()
    };
    let cross = "transformer_blocks_0_attn2_to_k";
    for (key, input, base) in [
        (
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj".to_string(),
            768,
            "Stable Diffusion 1 or 2",
        ),
        (format!("lora_unet_down_blocks_0_attentions_0_{cross}"), 768, "Stable Diffusion 1 or 2"),
        (format!("lora_unet_input_blocks_1_1_{cross}"), 768, "Stable Diffusion 1 or 2"),
        (format!("lora_unet_up_blocks_3_attentions_0_{cross}"), 768, "Stable Diffusion 1 or 2"),
        (format!("lora_unet_up_blocks_1_attentions_0_{cross}"), 768, "Stable Diffusion 1"),
        (format!("lora_unet_up_blocks_1_attentions_0_{cross}"), 1024, "Stable Diffusion 2"),
        (format!("lora_unet_up_blocks_1_attentions_0_{cross}"), 1280, "the refiner"),
        ("lora_te3_encoder_block_0".to_string(), 8, "Stable Diffusion 3"),
    ] {
        let error = error(&key, [16, input]);
        assert!(error.contains(&format!("belongs to an adapter for {base}")), "{key}: {error}");
    }
}

#[test]
fn an_embedding_has_vectors_for_either_text_encoder() {
    let model = Rc::new(load(&folder()));
    let vector = |width: usize, by: f32| -> Vec<u8> {
        (0..2 * width).flat_map(|i| (by * (i as f32).sin()).to_le_bytes()).collect()
    };
    let file = |tensors: &[(String, &str, Vec<usize>, Vec<u8>)]| {
        Bytes::new("style.safetensors", safetensors(tensors))
    };
    let first = ("clip_l".to_string(), "F32", vec![2, 16], vector(16, 0.1));
    let second = |by| ("clip_g".to_string(), "F32", vec![2, 24], vector(24, by));
    let draw = |by: f32| {
        let id = model.add_adapter(&file(&[first.clone(), second(by)]), None).unwrap();
        let prompt =
            lorakeet::pipelines::Settings { prompt: "a style fox".into(), ..settings("euler") };
        let drawn = latents(&model, prompt, None);
        model.remove_adapter(id).unwrap();
        drawn
    };
    let drawn = draw(0.1);
    assert_eq!(drawn, draw(0.1));
    assert_ne!(drawn, draw(0.2), "the second encoder's vectors count");
    let error =
        model.add_adapter(&file(std::slice::from_ref(&first)), None).unwrap_err().to_string();
    assert!(error.contains("without clip_g"), "{error}");
    let long = ("clip_g".to_string(), "F32", vec![1, 24], vec![0; 96]);
    let error = model.add_adapter(&file(&[first, long]), None).unwrap_err().to_string();
    assert!(error.contains("holds 1 vectors where clip_l has 2"), "{error}");
}

#[test]
fn what_is_written_has_the_names_and_metadata_that_every_tool_knows() {
    use lorakeet::adapters::format::Format;
    use lorakeet::adapters::tools::{Layers, Opened};
    use lorakeet::weights::Index;

    let layers = Layers::of(&folder());
    let opened = Opened::read(&Bytes::new("lora", support::read(LORA)), None, &layers).unwrap();
    let write = |format: Format| {
        let modules = &opened.file.modules;
        let (files, left_out) =
            opened.origin.write(modules, format, None, &layers, "test").unwrap();
        assert_eq!(left_out, []);
        Index::read(&Bytes::new("written", files[0].bytes.clone())).unwrap()
    };
    let kohya = write(Format::Kohya);
    let mine = Tensors::new("lora", support::read(LORA));
    assert!(mine.keys().all(|key| kohya.tensors.contains_key(key)));
    for (key, value) in [
        ("ss_base_model_version", "sdxl_base_v1-0"),
        ("ss_v2", "False"),
        ("modelspec.architecture", "stable-diffusion-xl-v1-base/lora"),
        ("modelspec.implementation", "https://github.com/Stability-AI/generative-models"),
        ("modelspec.prediction_type", "epsilon"),
    ] {
        assert_eq!(kohya.metadata[key], value, "{key}");
    }
    let diffusers = write(Format::Diffusers);
    assert_eq!(diffusers.metadata["modelspec.implementation"], "diffusers");
    for part in ["unet.", "text_encoder.", "text_encoder_2."] {
        assert!(diffusers.tensors.keys().any(|key| key.starts_with(part)), "{part}");
    }
}

//! Adapters as other tools leave them: with extras, in flat shapes, under odd metadata, without their
//! alpha, made for another model. What can be used is used, and what is left out is named.

mod support;
mod tiny;

use lorakeet::adapters::file;
use lorakeet::adapters::{AdapterFile, AdapterModule, Part};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Bytes, FileSource, Index, parse_json};
use support::{demo_model, path};
use tiny::{Host, Values};

const PROJ_IN: &str = "lora_unet_down_blocks_0_attentions_0_proj_in";

/// A demo adapter's tensors.
fn tensors(name: &str) -> Values {
    let file = FileSource::open(path(&format!("web/demo-model/lora/{name}.kohya.safetensors")));
    let file = file.unwrap();
    let index = Index::read(&file).unwrap();
    let host = |key: &String| Host {
        shape: index.tensors[key].shape.clone(),
        data: index.read_f32(&file, key).unwrap(),
    };
    index.tensors.keys().map(|key| (key.clone(), host(key))).collect()
}

fn read(model: &StableDiffusion, bytes: Vec<u8>) -> lorakeet::error::Result<AdapterFile> {
    read_with(model, bytes, None)
}

fn read_with(
    model: &StableDiffusion,
    bytes: Vec<u8>,
    config: Option<&str>,
) -> lorakeet::error::Result<AdapterFile> {
    let config = config.map(|text| parse_json(text).unwrap());
    let source = Bytes::new("style.safetensors", bytes);
    file::read(&source, config.as_ref(), &model.file_sites(), model.layout())
}

fn modules(model: &StableDiffusion, values: &Values) -> Vec<AdapterModule> {
    read(model, tiny::file(values)).unwrap().modules
}

fn filled(shape: &[usize], value: f32) -> Host {
    Host { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
}

#[test]
fn extras_of_other_kinds_are_left_out_and_the_rest_is_used() {
    let model = demo_model();
    let plain = tensors("ink");
    let expected = modules(&model, &plain);
    let extras = [
        ("text_model.embeddings.token_embedding.lora_embedding_A", "embedding LoRA"),
        ("base_model.model.down_blocks.0.attentions.0.proj_in.boft_R", "BOFT"),
        ("base_model.model.down_blocks.0.attentions.0.proj_in.vera_lambda_d", "VeRA"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.oft_diag", "old OFT"),
    ];
    for (key, kind) in extras {
        for value in [0.0, 0.5] {
            let mut values = plain.clone();
            values.insert(key.into(), filled(&[4, 4], value));
            let read = read(&model, tiny::file(&values)).unwrap();
            assert!(read.modules == expected, "{key}");
            let [(unused, reason)] = &read.report.unused[..] else { panic!("{key}") };
            assert!(unused == key && reason.contains(kind), "{unused}: {reason}");
            // Zeros change nothing in any tool.
            let told = read.report.notes.iter().any(|note| note.contains(kind));
            assert_eq!(told, value != 0.0, "{key}: {:?}", read.report.notes);
        }
    }
    // By itself it is refused by name: tests/adapters.rs.
}

/// What ComfyUI and LyCORIS write beside a LoRA, and what they write alone, in every tool's names.
#[test]
fn norms_biases_and_whole_differences_are_used() {
    let model = demo_model();
    let plain = tensors("ink");
    let expected = modules(&model, &plain);
    let (c, wide) = (64, 64 * 64 * 9);
    let extras = [
        ("lora_unet_down_blocks_0_attentions_0_norm.w_norm", vec![c], "norm difference"),
        ("lora_unet_down_blocks_0_attentions_0_norm.b_norm", vec![c], "bias difference"),
        ("lycoris_down_blocks_0_attentions_0_transformer_blocks_0_norm2.w_norm", vec![c], "norm"),
        ("lora_unet_input_blocks_1_0_in_layers_0.w_norm", vec![c], "norm difference"),
        ("diffusion_model.out.0.diff", vec![c], "norm difference"),
        ("unet.conv_norm_out.diff_b", vec![c], "bias difference"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.diff_b", vec![c], "bias difference"),
        ("lora_unet_down_blocks_0_resnets_0_conv1.diff", vec![c, c, 3, 3], "full difference"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.ia3_l", vec![c, 1], "IA3"),
        ("oft_unet_down_blocks_0_attentions_0_proj_in.oft_blocks", vec![16, 4, 4], "OFT"),
        ("lora_te_text_model_final_layer_norm.diff", vec![0], "norm difference"),
    ];
    for (key, shape, kind) in extras {
        let part = if key.starts_with("lora_te_") { Part::TextEncoder } else { Part::UNet };
        let of_text = |site: &&file::Site| site.path == "text_model.final_layer_norm";
        let sites = model.file_sites();
        let width = sites.iter().find(of_text).map_or(0, |site| site.shape[0]);
        let shape = if shape == [0] { vec![width] } else { shape };
        assert!(shape.iter().product::<usize>() <= wide);
        let mut values = plain.clone();
        values.insert(key.into(), filled(&shape, 0.25));
        let read = read(&model, tiny::file(&values)).unwrap();
        assert_eq!(read.report.unused, [], "{key}");
        assert!(read.report.kind.contains(kind), "{key}: {}", read.report.kind);
        let more: Vec<_> = read.modules.iter().filter(|one| !expected.contains(one)).collect();
        assert_eq!((more.len(), more[0].part, more[0].rank), (1, part, 0), "{key}");
        assert_eq!(read.modules.len(), expected.len() + 1, "{key}");
        // Alone it is an adapter too.
        let alone = Values::from([(key.to_string(), filled(&shape, 0.25))]);
        assert_eq!(modules(&model, &alone), [more[0].clone()], "{key}");
    }
}

#[test]
fn modules_that_nothing_can_be_made_of_are_left_out() {
    let model = demo_model();
    let plain = tensors("ink");
    let expected = modules(&model, &plain);
    // An alpha whose factors were pruned.
    let conv = "lora_unet_down_blocks_0_resnets_0_conv1";
    let mut values = plain.clone();
    values.insert(format!("{conv}.alpha"), filled(&[], 4.0));
    let found = read(&model, tiny::file(&values)).unwrap();
    assert!(found.modules == expected);
    assert!(found.report.unused[0].1.contains("no factors"), "{:?}", found.report.unused);
    // ComfyUI makes the layer larger before it adds this; with the layer's own shape it is a LoRA.
    let shape = |output: f32| Host { shape: vec![4], data: vec![output, 64.0, 3.0, 3.0] };
    values.insert(format!("{conv}.lora_down.weight"), filled(&[2, 64, 3, 3], 0.1));
    values.insert(format!("{conv}.lora_up.weight"), filled(&[64, 2, 1, 1], 0.1));
    values.insert(format!("{conv}.reshape_weight"), shape(64.0));
    let found = read(&model, tiny::file(&values)).unwrap();
    assert_eq!((found.modules.len(), found.report.unused.len()), (expected.len() + 1, 0));
    values.insert(format!("{conv}.reshape_weight"), shape(128.0));
    let found = read(&model, tiny::file(&values)).unwrap();
    assert!(found.modules == expected);
    assert_eq!(found.report.unused.len(), 4);
    let note = &found.report.notes[0];
    assert!(note.contains("layers of another shape"), "{note}");
    // With nothing else in the file it is refused.
    values.retain(|key, _| key.starts_with(conv));
    let error = read(&model, tiny::file(&values)).unwrap_err().to_string();
    assert!(error.contains("(reshape_weight), which isn't supported yet"), "{error}");
}

#[test]
fn kernels_stored_as_matrices_are_the_same_adapter() {
    let model = demo_model();
    let plain = tensors("soft");
    let expected = modules(&model, &plain);
    let mut flat = plain.clone();
    let mut kernels = 0;
    for host in flat.values_mut().filter(|host| host.shape.len() == 4) {
        kernels += usize::from(host.shape[2] > 1);
        host.shape = vec![host.shape[0], host.shape[1..].iter().product()];
    }
    assert!(kernels > 0);
    assert!(modules(&model, &flat) == expected);
}

#[test]
fn metadata_never_keeps_an_adapter_from_loading() {
    let model = demo_model();
    let plain = tensors("ink");
    let expected = modules(&model, &plain);
    let header = |metadata: &str| {
        let file = tiny::file(&plain);
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let rest = std::str::from_utf8(&file[9..8 + length]).unwrap();
        let text = format!("{{\"__metadata__\":{metadata},{rest}");
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &file[8 + length..]].concat()
    };
    let long = "x".repeat(20_000);
    for metadata in [
        "null",
        "[1]",
        "3",
        "\"text\"",
        "{}",
        r#"{"ss_tag_frequency": 3, "format": null}"#,
        r#"{"ss_tag_frequency": "{\"a\": {\"b\": -1, \"c\": 18446744073709551615}, \"d\": {\"c\": 9}}"}"#,
        r#"{"lora_adapter_metadata": "{\"unet.r\": NaN}"}"#,
        r#"{"lora_adapter_metadata": "{"}"#,
        r#"{"ss_base_model_version": "\u001b[2J\u0007\r\n\u202e"}"#,
        &format!(r#"{{"modelspec.trigger_phrase": "{long}"}}"#),
    ] {
        let found = read(&model, header(metadata)).unwrap_or_else(|e| panic!("{metadata}: {e}"));
        assert!(found.modules == expected, "{metadata}");
        let report = found.report;
        let words = [&report.notes[..], &report.trigger_words, &[report.summary]].concat();
        for words in words {
            assert!(words.len() < 600 && !words.contains(char::is_control), "{metadata}: {words}");
        }
        let unreadable = metadata.ends_with("\"{\"}");
        let told =
            report.notes.iter().any(|note| note.contains("lora_adapter_metadata isn't JSON"));
        assert_eq!(told, unreadable, "{metadata}");
    }
}

/// The demo's ink as PEFT writes it, alphas left out.
fn peft() -> Values {
    let model = demo_model();
    let names = model.file_sites().into_iter().map(|site| site.path);
    let by_flat: std::collections::BTreeMap<String, String> =
        names.map(|path| (format!("lora_unet_{}", path.replace('.', "_")), path)).collect();
    let renamed = tensors("ink").into_iter().filter_map(|(key, host)| {
        let (module, rest) = key.split_once('.').unwrap();
        let end = match rest {
            "lora_down.weight" => "lora_A.weight",
            "lora_up.weight" => "lora_B.weight",
            _ => return None,
        };
        Some((format!("base_model.model.{}.{end}", by_flat[module]), host))
    });
    renamed.collect()
}

#[test]
fn an_alpha_that_is_not_known_is_said() {
    let model = demo_model();
    let bytes = tiny::file(&peft());
    let found = read(&model, bytes.clone()).unwrap();
    assert!(found.modules.iter().all(|module| module.scale == 1.0));
    assert!(found.report.summary.ends_with("alpha not told"), "{}", found.report.summary);
    assert!(found.report.notes[0].contains("adapter_config.json"), "{:?}", found.report.notes);

    let config = r#"{"r": 8, "lora_alpha": 16}"#;
    let found = read_with(&model, bytes.clone(), Some(config)).unwrap();
    assert!(found.modules.iter().all(|module| module.scale == 2.0));
    assert!(found.report.notes.is_empty(), "{:?}", found.report.notes);

    // A number that no float holds says nothing.
    let config = r#"{"r": 8, "lora_alpha": 1e300}"#;
    let found = read_with(&model, bytes.clone(), Some(config)).unwrap();
    assert!(found.modules.iter().all(|module| module.scale == 1.0));

    // Expressions that Python knows and we don't, or that are bombs, are told once.
    let config = r#"{"r": 8, "lora_alpha": 16,
        "alpha_pattern": {"(?<=a)b": 4, "(a{900}){900}": 2, "proj_in": 8}}"#;
    let found = read_with(&model, bytes, Some(config)).unwrap();
    let scales =
        found.modules.iter().map(|module| (module.path.ends_with("proj_in"), module.scale));
    assert!(scales.into_iter().all(|(is, scale)| scale == if is { 1.0 } else { 2.0 }));
    let [note] = &found.report.notes[..] else { panic!("{:?}", found.report.notes) };
    assert!(note.contains("2 of the expressions in its alpha_pattern can't be read"), "{note}");
}

#[test]
fn an_adapter_of_another_base_says_so() {
    let model = demo_model();
    let ink = tensors("ink");
    let few: Values = ink
        .iter()
        .map(|(key, host)| {
            let known = key.starts_with(PROJ_IN);
            let key = if known { key.clone() } else { key.replace("_0_", "_7_") };
            (key, host.clone())
        })
        .collect();
    let of = |metadata: &[(&str, &str)]| read(&model, tiny::file_with(&few, metadata)).unwrap();
    let notes = of(&[("ss_base_model_version", "sdxl_base_v1-0")]).report.notes;
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.starts_with("Only ") && note.contains(" modules fit this model"), "{note}");
    assert!(note.contains("sdxl_base_v1-0 (Stable Diffusion XL)"), "{note}");
    assert!(of(&[]).report.notes[0].starts_with("Only "));

    // Misshapen: by the header, or by the width of its text embeddings.
    let mut wide = ink.clone();
    for (key, host) in wide.iter_mut().filter(|(key, _)| key.ends_with("lora_down.weight")) {
        let width = if key.contains("attn2_to_k") { 768 } else { 320 };
        *host = filled(&[4, width], 0.1);
    }
    for (metadata, words) in [
        (&[("ss_base_model_version", "sd_v1")][..], "was made for sd_v1 (Stable Diffusion 1)"),
        (&[], "the file was made for Stable Diffusion 1"),
    ] {
        let error = read(&model, tiny::file_with(&wide, metadata)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("where the layer needs"), "{error}");
    }
}

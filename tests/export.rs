//! Adapters written as files: what is read back, what other tools need to find in them, what is
//! never written. `fixtures/training/check_export.py` loads such files with diffusers.

#[allow(unused_imports, reason = "support's reference runs are of no use here")]
mod support;
mod tiny;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;

use lorakeet::adapters::file::{self, Site};
use lorakeet::adapters::kinds::{DoRA, LowRank, loha, lokr};
use lorakeet::adapters::save::{self, BaseModel, Export, Metadata, Precision, kohya_name};
use lorakeet::adapters::{
    AdapterFile, AdapterModule, AdapterSet, CoverageReport, HostFactors, HostTensor, Part,
};
use lorakeet::error::Result;
use lorakeet::keys::ldm::UNetLayout;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Bytes, Dtype, Index, Source};
use serde::Deserialize;
use serde_json::{Value, json};
use tiny::read;

fn metadata() -> Metadata {
    Metadata { title: "ink".into(), resolution: [512, 512], ..Metadata::default() }
}

fn export<'a>(
    modules: &'a [AdapterModule],
    precision: Precision,
    metadata: &'a Metadata,
) -> Export<'a> {
    Export { modules, precision, metadata }
}

fn kohya(modules: &[AdapterModule], precision: Precision) -> Result<Vec<u8>> {
    save::kohya(&export(modules, precision, &metadata()))
}

/// Numbers without an order, the same each time.
fn numbers(shape: &[usize], seed: usize) -> HostTensor {
    let value = |i: usize| ((i + seed) as f32 * 0.7391).sin() * 0.1;
    HostTensor { shape: shape.to_vec(), data: (0..shape.iter().product()).map(value).collect() }
}

fn lora(part: Part, path: &str, shape: &[usize], rank: usize, alpha: f32) -> AdapterModule {
    let ones = vec![1; shape.len() - 2];
    let down = numbers(&[&[rank, shape[1]], &shape[2..]].concat(), path.len());
    let up = numbers(&[&[shape[0], rank], &ones[..]].concat(), 7 * path.len());
    let factors = HostFactors::LowRank(LowRank { down, mid: None, up });
    let scale = alpha / rank as f32;
    AdapterModule { part, path: path.into(), factors, scale, rank, alpha: Some(alpha) }
}

/// `proj_in [16, 16, 1, 1]` and `attn1.to_q [16, 16]`.
fn two() -> Vec<AdapterModule> {
    let block = "down_blocks.0.attentions.0";
    vec![
        lora(Part::UNet, &format!("{block}.proj_in"), &[16, 16, 1, 1], 4, 2.0),
        lora(Part::UNet, &format!("{block}.transformer_blocks.0.attn1.to_q"), &[16, 16], 4, 2.0),
    ]
}

/// What the modules sit on, by their own shapes.
fn sites(modules: &[AdapterModule]) -> Vec<Site> {
    let site = |module: &AdapterModule| {
        let (HostFactors::LowRank(LowRank { down, up, .. })
        | HostFactors::DoRA(DoRA { down, up, .. })) = &module.factors
        else {
            panic!("{} is no LoRA", module.path)
        };
        let shape = [&[up.shape[0], down.shape[1]], &down.shape[2..]].concat();
        Site { part: module.part, path: module.path.clone(), shape }
    };
    modules.iter().map(site).collect()
}

/// The tiny model of the adapters' fixtures.
fn tiny_sites() -> Vec<Site> {
    #[derive(Deserialize)]
    struct Case {
        weights: BTreeMap<String, Vec<usize>>,
    }
    #[derive(Deserialize)]
    struct Cases {
        cases: BTreeMap<String, Value>,
    }
    let cases: Cases = serde_json::from_slice(&read("models/cases.json")).unwrap();
    let of = |part: Part, name: &str| -> Vec<Site> {
        let case: Case = serde_json::from_value(cases.cases[name].clone()).unwrap();
        let site = |(name, shape): (String, Vec<usize>)| {
            let path = name.strip_suffix(".weight").filter(|_| shape.len() > 1)?.to_string();
            Some(Site { part, path, shape })
        };
        case.weights.into_iter().filter_map(site).collect()
    };
    [of(Part::UNet, "unet.sd1"), of(Part::TextEncoder, "text.quick_gelu")].concat()
}

/// Equal but for what the file says of alpha, which another format may say otherwise.
fn without_alpha(modules: &[AdapterModule]) -> Vec<AdapterModule> {
    modules.iter().cloned().map(|module| AdapterModule { alpha: None, ..module }).collect()
}

/// One layer's adapters of every kind and form (`fixtures/adapters/kinds.py`): site, modules.
fn kinds() -> Vec<(String, Site, Vec<AdapterModule>)> {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let fixture: Value = serde_json::from_slice(&read("adapters/kinds.json")).unwrap();
    let case = |(name, case): (&String, &Value)| {
        let prefix = format!("{name}/adapter/");
        let adapter = values
            .iter()
            .filter_map(|(key, host)| Some((key.strip_prefix(&prefix)?.into(), host.clone())))
            .collect();
        let shape = values[&format!("{name}/weight")].shape.clone();
        let site = Site { part: Part::UNet, path: "proj_in".into(), shape };
        let source = Bytes::new(name, tiny::file(&adapter));
        let config = Some(&case["config"]).filter(|config| !config.is_null());
        let modules =
            file::read(&source, config, std::slice::from_ref(&site), None).unwrap().modules;
        (name.clone(), site, modules)
    };
    fixture["cases"].as_object().unwrap().iter().map(case).collect()
}

#[test]
fn every_kind_survives_kohyas_format() {
    let all = kinds();
    assert_eq!(all.len(), 40);
    for (name, site, modules) in all {
        let sites = [site];
        let bytes = kohya(&modules, Precision::F32).unwrap();
        save::verify(&bytes, None, &sites, None, &modules).unwrap();
        let source = Bytes::new("saved", bytes.clone());
        let read = file::read(&source, None, &sites, None).unwrap();
        assert_eq!(read.report.naming, "kohya", "{name}");
        // A LoKr of whole factors that PEFT scaled has the scale in a factor now.
        if modules[0].rank > 0 || modules[0].scale == 1.0 {
            assert_eq!(without_alpha(&read.modules), without_alpha(&modules), "{name}");
        } else {
            assert_eq!(read.modules[0].scale, 1.0, "{name}");
            assert_ne!(read.modules[0].factors, modules[0].factors, "{name}");
        }

        let half = kohya(&modules, Precision::F16).unwrap();
        save::verify(&half, None, &sites, None, &modules).unwrap();
        assert!(half.len() < bytes.len(), "{name}");
    }
}

#[test]
fn what_diffusers_and_peft_know_survives_their_formats() {
    let mut refused = BTreeSet::new();
    for (name, site, modules) in kinds() {
        let (sites, kind) = ([site], modules[0].kind());
        for precision in [Precision::F32, Precision::F16] {
            let metadata = metadata();
            let export = export(&modules, precision, &metadata);
            let (diffusers, peft) = (save::diffusers(&export), save::peft(&export));
            let columns = matches!(&modules[0].factors,
                HostFactors::DoRA(DoRA { magnitude, .. }) if magnitude.columns() > 1);
            if [loha::LOHA, lokr::LOKR].contains(&kind) || columns {
                let error = diffusers.unwrap_err();
                assert_eq!(peft.unwrap_err(), error);
                let words = if columns { "input channels" } else { "go out as kohya files only" };
                assert!(error.to_string().contains(words), "{error}");
                assert!(error.to_string().contains("Save it as a kohya file"), "{error}");
                refused.insert(kind.label());
                continue;
            }
            let bytes = diffusers.unwrap();
            save::verify(&bytes, None, &sites, None, &modules).unwrap();
            let (peft, config) = peft.unwrap();
            let config: Value = serde_json::from_str(&config).unwrap();
            save::verify(&peft, Some(&config), &sites, None, &modules).unwrap();
            if precision == Precision::F32 {
                for (bytes, config) in [(bytes, None), (peft, Some(&config))] {
                    let source = Bytes::new("saved", bytes);
                    let read = file::read(&source, config, &sites, None).unwrap();
                    assert_eq!(without_alpha(&read.modules), without_alpha(&modules), "{name}");
                    assert_eq!(read.report.naming, "PEFT");
                }
            }
        }
    }
    assert_eq!(refused, ["DoRA", "LoHa", "LoKr"].into());
}

/// Files of diffusers and PEFT themselves: text encoder, ranks and alphas that differ, rank-stabilised
/// scales, kernels.
#[test]
fn whole_adapters_survive_every_format() {
    let sites = tiny_sites();
    let layout = UNetLayout::stable_diffusion();
    let config: Value = serde_json::from_slice(&read("adapters/peft/adapter_config.json")).unwrap();
    let given = [
        (read("adapters/diffusers.safetensors"), None),
        (read("adapters/peft/adapter_model.safetensors"), Some(&config)),
    ];
    for (at, (bytes, config)) in given.into_iter().enumerate() {
        let source = Bytes::new("given", bytes);
        let original = file::read(&source, config, &sites, Some(&layout)).unwrap().modules;
        let check = |bytes: &[u8], config: Option<&Value>| {
            save::verify(bytes, config, &sites, Some(&layout), &original).unwrap();
        };
        for precision in [Precision::F16, Precision::F32] {
            let metadata = metadata();
            let export = export(&original, precision, &metadata);
            check(&save::kohya(&export).unwrap(), None);
            check(&save::diffusers(&export).unwrap(), None);
            match save::peft(&export) {
                Ok((bytes, config)) => {
                    check(&bytes, Some(&serde_json::from_str(&config).unwrap()));
                    assert_eq!(at, 1);
                }
                Err(error) => {
                    assert!(error.to_string().contains("UNet and text encoder"), "{error}");
                    assert_eq!(at, 0);
                }
            }
        }
    }
}

/// A LoCon in Tucker form keeps its core in kohya's format and loses it, not its effect, in PEFT's.
#[test]
fn a_tucker_core_goes_into_the_factor_where_a_format_has_none() {
    let mut module = lora(Part::UNet, "conv_in", &[8, 6, 3, 3], 3, 3.0);
    let HostFactors::LowRank(LowRank { down, mid, .. }) = &mut module.factors else { panic!() };
    (*down, *mid) = (numbers(&[3, 6, 1, 1], 1), Some(numbers(&[3, 3, 3, 3], 2)));
    let site = Site { part: Part::UNet, path: "conv_in".into(), shape: vec![8, 6, 3, 3] };
    let modules = [module];
    let metadata = metadata();
    let export = export(&modules, Precision::F32, &metadata);
    let sites = [site];
    let read = |bytes: Vec<u8>| {
        save::verify(&bytes, None, &sites, None, &modules).unwrap();
        file::read(&Bytes::new("saved", bytes), None, &sites, None).unwrap().modules.remove(0)
    };
    assert_eq!(read(save::kohya(&export).unwrap()), modules[0]);
    let plain = read(save::diffusers(&export).unwrap());
    let HostFactors::LowRank(LowRank { down, mid: None, .. }) = &plain.factors else { panic!() };
    assert_eq!(down.shape, [3, 6, 3, 3]);
}

/// Every module of SD 1.5 that kohya trains, by name and shape (T6 of docs/specs/training.md).
#[test]
fn the_keys_are_kohyas_for_stable_diffusion_1() {
    #[derive(Deserialize)]
    struct Tables {
        unet: Vec<(String, Vec<usize>, String, Vec<usize>)>,
        text_encoder: Vec<(String, Vec<usize>, String, Vec<usize>)>,
    }
    let tables: Tables = serde_json::from_slice(&read("sd15-keys/keys.json")).unwrap();
    let unet = tables.unet.iter().map(|row| (Part::UNet, row));
    let all: Vec<AdapterModule> = unet
        .chain(tables.text_encoder.iter().map(|row| (Part::TextEncoder, row)))
        .filter_map(|(part, (name, shape, _, _))| {
            let path = name.strip_suffix(".weight").filter(|_| shape.len() > 1)?;
            let trained = match part {
                Part::UNet => path.contains(".attentions."),
                Part::TextEncoder | Part::TextEncoder2 => path.contains(".layers."),
            };
            trained.then(|| lora(part, path, shape, 1, 1.0))
        })
        .collect();
    let table = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/specs/sd15_kohya_modules.tsv"
    ));
    let table = table.unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .map(|row: Vec<&str>| (row[0], row))
        .collect();
    assert_eq!((all.len(), rows.len()), (264, 264));

    let check = |modules: &[AdapterModule], wanted: usize, keep: &dyn Fn(&str) -> bool| {
        let source = Bytes::new("saved", kohya(modules, Precision::F16).unwrap());
        let index = Index::read(&source).unwrap();
        let names: BTreeSet<&str> = rows.keys().copied().filter(|name| keep(name)).collect();
        assert_eq!(names.len(), wanted);
        let found: BTreeSet<String> = index.tensors.keys().cloned().collect();
        let expected: BTreeSet<String> = names
            .iter()
            .flat_map(|name| {
                ["alpha", "lora_down.weight", "lora_up.weight"].map(|end| format!("{name}.{end}"))
            })
            .collect();
        assert_eq!(found, expected);
        for name in names {
            let [_, input, output, kind, _] = rows[name][..] else { panic!("{name}") };
            let ones = if kind == "1x1conv" { vec![1, 1] } else { vec![] };
            let [input, output] = [input, output].map(|size| size.parse::<usize>().unwrap());
            let shape = |end: &str| index.info(&format!("{name}.{end}")).unwrap().shape.clone();
            assert_eq!(shape("lora_down.weight"), [&[1, input], &ones[..]].concat(), "{name}");
            assert_eq!(shape("lora_up.weight"), [&[output, 1], &ones[..]].concat(), "{name}");
            assert_eq!(shape("alpha"), [0; 0], "{name}");
        }
        assert!(index.tensors.values().all(|info| info.dtype == Dtype::F16));
    };
    check(&all, 264, &|_| true);
    let unet: Vec<_> = all.iter().filter(|m| m.part == Part::UNet).cloned().collect();
    check(&unet, 192, &|name| name.starts_with("lora_unet_"));
    let attention: Vec<_> = unet.iter().filter(|m| m.path.contains(".attn")).cloned().collect();
    check(&attention, 128, &|name| name.contains("_attn1_") || name.contains("_attn2_"));
}

/// A file of more than a MiB, as kohya's script hashes it (`fixtures/adapters/kinds.py`).
#[test]
fn the_hashes_are_kohyas() {
    #[derive(Deserialize)]
    struct Golden {
        modules: Vec<(String, usize, usize, usize, f32)>,
        metadata: BTreeMap<String, String>,
        files: BTreeMap<String, BTreeMap<String, String>>,
    }
    let fixture: Value = serde_json::from_slice(&read("adapters/kinds.json")).unwrap();
    let golden: Golden = serde_json::from_value(fixture["hashes"].clone()).unwrap();
    let modules: Vec<AdapterModule> = golden
        .modules
        .iter()
        .map(|(path, rank, input, output, alpha)| {
            let convolution = path.ends_with("proj_in");
            let shape =
                if convolution { vec![*output, *input, 1, 1] } else { vec![*output, *input] };
            let mut module = lora(Part::UNet, path, &shape, *rank, *alpha);
            module.factors = module.factors.map(|tensor| {
                let value = |i: usize| ((i * 7 % 251) as f32 - 125.0) / 64.0;
                let data = (0..tensor.data.len()).map(value).collect();
                HostTensor { shape: tensor.shape.clone(), data }
            });
            module
        })
        .collect();
    let given = ["ss_learning_rate", "ss_tag_frequency"];
    let mut entries: BTreeMap<String, String> =
        given.map(|key| (key.to_string(), golden.metadata[key].clone())).into();
    for author in ["someone", "someone else with a longer name"] {
        // What isn't kohya's doesn't move the hashes.
        entries.insert("modelspec.author".into(), author.into());
        let metadata = Metadata {
            title: "golden".into(),
            entries: entries.clone(),
            trigger_phrase: Some("golden".into()),
            ..metadata()
        };
        for (precision, name) in [(Precision::F16, "F16"), (Precision::F32, "F32")] {
            let bytes = save::kohya(&export(&modules, precision, &metadata)).unwrap();
            let index = Index::read(&Bytes::new("saved", bytes)).unwrap();
            for (key, wanted) in &golden.files[name] {
                assert_eq!(&index.metadata[key], wanted, "{name} {key}");
            }
            let own: BTreeMap<_, _> =
                index.metadata.into_iter().filter(|(key, _)| key.starts_with("ss_")).collect();
            assert_eq!(own, golden.metadata);
        }
    }
}

#[test]
fn the_header_says_what_tools_look_for() {
    let modules = two();
    let entries = [
        ("ss_learning_rate", "0.002"),
        ("ss_steps", "100"),
        ("ss_sd_model_name", "emoji-diffusion"),
        ("ss_network_dim", "16"),
        ("modelspec.author", "me"),
        ("modelspec.title", "Ink, second try"),
        ("note", "kept"),
        ("sshs_model_hash", "dropped"),
        ("lora_adapter_metadata", "dropped"),
    ];
    let metadata = Metadata {
        base: BaseModel { v2: true, v_prediction: true },
        resolution: [640, 512],
        date: Some("2026-11-25T12:00:00".into()),
        trigger_phrase: Some("in ink style".into()),
        thumbnail: Some("data:image/png;base64,AAAA".into()),
        entries: entries.map(|(key, value)| (key.to_string(), value.to_string())).into(),
        ..metadata()
    };
    let export = export(&modules, Precision::F16, &metadata);
    let bytes = save::kohya(&export).unwrap();
    assert_eq!(save::kohya(&export).unwrap(), bytes, "the same bytes each time");
    let index = Index::read(&Bytes::new("saved", bytes)).unwrap();
    let mut found = index.metadata;
    // Of a file of less than a MiB: the hash of nothing.
    assert_eq!(found.remove("sshs_legacy_hash").unwrap(), "e3b0c442");
    assert_eq!(found.remove("sshs_model_hash").unwrap().len(), 64);
    let wanted = [
        ("modelspec.architecture", "stable-diffusion-v2-768-v/lora"),
        ("modelspec.author", "me"),
        ("modelspec.date", "2026-11-25T12:00:00"),
        ("modelspec.implementation", "diffusers"),
        ("modelspec.prediction_type", "v"),
        ("modelspec.resolution", "640x512"),
        ("modelspec.sai_model_spec", "1.0.0"),
        ("modelspec.thumbnail", "data:image/png;base64,AAAA"),
        ("modelspec.title", "Ink, second try"),
        ("modelspec.trigger_phrase", "in ink style"),
        ("note", "kept"),
        ("ss_base_model_version", "sd_v2_v"),
        ("ss_learning_rate", "0.002"),
        ("ss_network_alpha", "2.0"),
        ("ss_network_args", "{}"),
        ("ss_network_dim", "16"),
        ("ss_network_module", "networks.lora"),
        ("ss_output_name", "ink"),
        ("ss_resolution", "(640, 512)"),
        ("ss_sd_model_name", "emoji-diffusion"),
        ("ss_steps", "100"),
        ("ss_v2", "True"),
    ];
    assert_eq!(found, wanted.map(|(key, value)| (key.to_string(), value.to_string())).into());

    // LyCORIS' algorithms by kind.
    let by_name: BTreeMap<String, Vec<AdapterModule>> =
        kinds().into_iter().map(|(name, _, modules)| (name, modules)).collect();
    for (name, arguments) in [
        ("loha.linear", json!({"algo": "loha"})),
        ("lokr.conv3", json!({"algo": "lokr"})),
        ("dora.linear.rows", json!({"algo": "locon", "dora_wd": "True"})),
        (
            "dora.conv3.rows",
            json!({"algo": "locon", "dora_wd": "True", "conv_dim": "2", "conv_alpha": "2.0"}),
        ),
    ] {
        let bytes = kohya(&by_name[name], Precision::F16).unwrap();
        let metadata = Index::read(&Bytes::new("saved", bytes)).unwrap().metadata;
        assert_eq!(metadata["ss_network_module"], "lycoris.kohya", "{name}");
        let found: Value = serde_json::from_str(&metadata["ss_network_args"]).unwrap();
        assert_eq!(found, arguments, "{name}");
        assert_eq!(metadata["ss_base_model_version"], "sd_v1");
        assert_eq!(metadata["modelspec.architecture"], "stable-diffusion-v1/lora");
    }
}

/// Without it diffusers would take every alpha for the rank.
#[test]
fn diffusers_is_told_every_rank_and_alpha() {
    let mut modules = two();
    modules.push(lora(Part::UNet, "mid_block.attentions.0.proj_out", &[16, 16, 1, 1], 2, 1.5));
    modules.push(lora(
        Part::TextEncoder,
        "text_model.encoder.layers.0.self_attn.q_proj",
        &[16, 16],
        4,
        4.0,
    ));
    let metadata = metadata();
    let bytes = save::diffusers(&export(&modules, Precision::F16, &metadata)).unwrap();
    let index = Index::read(&Bytes::new("saved", bytes)).unwrap();
    assert_eq!(index.metadata["format"], "pt");
    assert_eq!(index.metadata["modelspec.title"], "ink");
    let keys: Vec<&str> = index.tensors.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 8);
    assert!(keys.contains(&"unet.mid_block.attentions.0.proj_out.lora_A.weight"));
    let q = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight";
    assert!(keys.contains(&q));
    let header: Value = serde_json::from_str(&index.metadata["lora_adapter_metadata"]).unwrap();
    assert_eq!((&header["unet.r"], &header["unet.lora_alpha"]), (&json!(4), &json!(2)));
    let proj_out = "mid_block.attentions.0.proj_out";
    assert_eq!(header["unet.rank_pattern"], json!({proj_out: 2}));
    assert_eq!(header["unet.alpha_pattern"], json!({proj_out: 1.5}));
    assert_eq!(header["unet.target_modules"].as_array().unwrap().len(), 3);
    assert_eq!(header["unet.use_dora"], json!(false));
    let target = json!(["encoder.layers.0.self_attn.q_proj"]);
    assert_eq!(header["text_encoder.target_modules"], target);
    assert_eq!(header["text_encoder.lora_alpha"], json!(4));
}

/// An alpha that float16 would round stays what it is.
#[test]
fn a_strength_is_never_rounded() {
    let mut modules = two();
    modules[0].scale = 16.0 / 5f32.sqrt();
    modules[0].alpha = Some(16.0);
    let bytes = kohya(&modules, Precision::F16).unwrap();
    let index = Index::read(&Bytes::new("saved", bytes.clone())).unwrap();
    let dtype =
        |path: &str| index.info(&format!("{}.alpha", kohya_name(Part::UNet, path))).unwrap().dtype;
    assert_eq!(dtype(&modules[0].path), Dtype::F32);
    assert_eq!(dtype(&modules[1].path), Dtype::F16);
    save::verify(&bytes, None, &sites(&modules), None, &modules).unwrap();
}

#[test]
fn what_would_change_nothing_or_is_broken_is_never_written() {
    let change = |change: &dyn Fn(&mut AdapterModule)| {
        let mut modules = two();
        modules.iter_mut().for_each(change);
        modules
    };
    let filled = |value: f32| {
        change(&|module| {
            let HostFactors::LowRank(LowRank { up, .. }) = &mut module.factors else { panic!() };
            up.data.fill(value);
        })
    };
    let mut one_infinite = two();
    let HostFactors::LowRank(LowRank { down, .. }) = &mut one_infinite[1].factors else { panic!() };
    down.data[3] = f32::INFINITY;
    let zero = "its up weights are all zero: it would change nothing";
    let path = "down_blocks.0.attentions.0.proj_in";
    let all = [Precision::F16, Precision::F32];
    for (modules, precisions, says) in [
        (vec![], &all[..], "it has no modules"),
        (filled(0.0), &all, zero),
        (filled(-0.0), &all, zero),
        // Less than the smallest number of float16.
        (filled(1e-9), &all[..1], zero),
        (filled(f32::NAN), &all, "holds NaN or infinity"),
        (one_infinite, &all, "attn1.to_q holds NaN or infinity"),
        (filled(1e5), &all[..1], "holds numbers too large for float16"),
        (change(&|module| module.scale = 0.0), &all, "has the scale 0"),
        (change(&|module| module.scale = f32::NAN), &all, "holds NaN or infinity"),
    ] {
        for &precision in precisions {
            let metadata = metadata();
            let export = export(&modules, precision, &metadata);
            let errors = [
                save::kohya(&export).unwrap_err(),
                save::diffusers(&export).unwrap_err(),
                save::peft(&export).unwrap_err(),
            ];
            for error in errors {
                assert!(error.to_string().starts_with("adapter to save: "), "{error}");
                assert!(error.to_string().contains(says), "{error}\n  lacks: {says}");
            }
        }
    }
    // One module that does nothing is no reason to lose the others.
    let mut partly = two();
    let HostFactors::LowRank(LowRank { up, .. }) = &mut partly[0].factors else { panic!() };
    up.data.fill(0.0);
    assert_eq!(partly[0].path, path);
    let bytes = kohya(&partly, Precision::F16).unwrap();
    save::verify(&bytes, None, &sites(&partly), None, &partly).unwrap();
    kohya(&filled(1e-9), Precision::F32).unwrap();

    // Of the other kinds, whatever makes the product zero.
    for (name, _, modules) in kinds() {
        for at in 0..modules[0].factors.named().len() {
            let mut zero = modules.clone();
            let role = zero[0].factors.named()[at].0;
            let count = std::cell::Cell::new(0);
            zero[0].factors = zero[0].factors.map(|tensor| {
                let mut tensor = tensor.clone();
                if count.replace(count.get() + 1) == at {
                    tensor.data.fill(0.0);
                }
                tensor
            });
            let magnitude = role == lorakeet::adapters::kinds::Role::DORA_SCALE;
            let result = kohya(&zero, Precision::F32);
            assert_eq!(result.is_ok(), magnitude, "{name}: {role:?}");
        }
    }
}

#[test]
fn reading_back_names_the_first_key_that_differs() {
    let modules = two();
    let sites = sites(&modules);
    let bytes = kohya(&modules, Precision::F32).unwrap();
    let check = |bytes: &[u8], original: &[AdapterModule]| {
        save::verify(bytes, None, &sites, None, original).unwrap_err().to_string()
    };
    let prefix = "the saved adapter: lora_unet_down_blocks_0_attentions_0_";
    let index = Index::read(&Bytes::new("saved", bytes.clone())).unwrap();
    let to_q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";

    let mut changed = bytes.clone();
    let place = index.info(&format!("{to_q}.lora_up.weight")).unwrap().offset as usize;
    changed[place + 3 * 4..place + 4 * 4].copy_from_slice(&0.5f32.to_le_bytes());
    let error = check(&changed, &modules);
    assert!(
        error.starts_with(&format!("the saved adapter: {to_q}.lora_up.weight: element 3")),
        "{error}"
    );

    let mut changed = bytes.clone();
    let place = index.info(&format!("{to_q}.alpha")).unwrap().offset as usize;
    changed[place..place + 4].copy_from_slice(&2.01f32.to_le_bytes());
    let error = check(&changed, &modules);
    assert!(error.contains(&format!("{to_q}.alpha: gives the scale 0.5025, not 0.5")), "{error}");

    let error = check(&kohya(&modules[..1], Precision::F32).unwrap(), &modules);
    assert!(error.contains("attn1.to_q: is missing"), "{error}");
    let error = check(&bytes, &modules[..1]);
    assert!(error.contains("is not in the adapter"), "{error}");

    let mut other = modules.clone();
    let HostFactors::LowRank(LowRank { down, up, .. }) = &modules[0].factors else { panic!() };
    let (down, up, magnitude) = (down.clone(), up.clone(), numbers(&[16, 1], 3));
    other[0].factors = HostFactors::DoRA(DoRA { down, up, magnitude });
    let error = check(&bytes, &other);
    assert!(error.starts_with(prefix) && error.contains("reads as a LoRA, not a DoRA"), "{error}");

    // Half precision that was not asked for is no difference, anything coarser is.
    let half = kohya(&modules, Precision::F16).unwrap();
    save::verify(&half, None, &sites, None, &modules).unwrap();
    let error = check(&bytes[..bytes.len() - 4], &modules);
    assert!(error.starts_with("the saved adapter: "), "{error}");
    assert!(Bytes::new("saved", bytes).len() > 0);
}

/// The layers of a loaded model.
fn model_sites(model: &StableDiffusion) -> Vec<Site> {
    [Part::UNet, Part::TextEncoder]
        .into_iter()
        .flat_map(|part| {
            model.sites(part).iter().map(move |site| Site {
                part,
                path: site.path.clone(),
                shape: site.shape.clone(),
            })
        })
        .collect()
}

/// Exports adapters of the demo model for `check_export.py`, each with a run of our own:
/// `LORAKEET_EXPORT=/tmp/export cargo test --test export -- --ignored`, with `LORAKEET_TUNED=FILE` also
/// an adapter that `examples/tune` made, then
/// `python check_export.py web/demo-model/model ADAPTER/kohya.safetensors ..` for each folder.
#[test]
#[ignore = "writes files for tests/fixtures/training/check_export.py"]
fn write_files_for_diffusers() {
    let folder = std::path::PathBuf::from(std::env::var("LORAKEET_EXPORT").unwrap());
    let model = support::demo_model();
    let sites = model_sites(&model);
    let open = |path: &str| -> Vec<AdapterModule> {
        let source = Bytes::new(path, support::read(path));
        file::read(&source, None, &sites, None).unwrap().modules
    };
    let ink = open("web/demo-model/lora/ink.kohya.safetensors");
    let rescaled = |alpha: &dyn Fn(usize) -> f32| -> Vec<AdapterModule> {
        let change = |(at, module): (usize, &AdapterModule)| {
            let alpha = alpha(at);
            let scale = alpha / module.rank as f32;
            AdapterModule { alpha: Some(alpha), scale, ..module.clone() }
        };
        ink.iter().enumerate().map(change).collect()
    };
    let lengths = |module: &AdapterModule| {
        let site = model.sites(Part::UNet).iter().find(|site| site.path == module.path).unwrap();
        let norm = site.weight().unwrap().square().sum_dim(1).sqrt();
        let norm = support::values(norm).into_iter().enumerate();
        norm.map(|(at, norm)| norm * (1.0 + 0.2 * (at as f32).sin())).collect::<Vec<_>>()
    };
    let dora = |modules: &[AdapterModule]| -> Vec<AdapterModule> {
        let change = |module: &AdapterModule| {
            let HostFactors::LowRank(LowRank { down, up, .. }) = module.factors.clone() else {
                panic!()
            };
            let data = lengths(module);
            let magnitude = HostTensor { shape: vec![data.len(), 1], data };
            let factors = HostFactors::DoRA(DoRA { down, up, magnitude });
            AdapterModule { factors, ..module.clone() }
        };
        modules.iter().map(change).collect()
    };
    let soft = open("web/demo-model/lora/soft.kohya.safetensors");
    let text: Vec<AdapterModule> = sites
        .iter()
        .filter(|site| site.part == Part::TextEncoder && site.path.contains(".layers."))
        .map(|site| lora(site.part, &site.path, &site.shape, 4, 2.0))
        .chain(ink.iter().cloned())
        .collect();
    let tuned = std::env::var("LORAKEET_TUNED").ok().map(|path| ("tuned", open(&path)));
    let mut cases = vec![
        ("night", open("tests/fixtures/demo-model/light-tuning/night.kohya.safetensors")),
        // In diffusers a kohya file's alphas must be alike: it keys those that differ wrongly.
        ("alpha", rescaled(&|_| 5.0)),
        ("uneven", rescaled(&|at| 3.0 + (at % 3) as f32)),
        ("dora", dora(&ink)),
        ("dora-locon", dora(&soft)),
        ("text", text),
        ("ink", ink.clone()),
        ("soft", soft),
    ];
    cases.extend(tuned);
    let given = support::fixture("demo-model/reference/unet.safetensors");
    let ids: Vec<u32> = (0..77).map(|at| if at < 9 { 7 * at + 1 } else { 2113 }).collect();
    for (name, modules) in cases {
        let folder = folder.join(name);
        let (metadata, device) = (metadata(), Device::flex());
        let export = export(&modules, Precision::F32, &metadata);
        let (kohya, diffusers) = (save::kohya(&export).unwrap(), save::diffusers(&export).unwrap());
        for bytes in [&kohya, &diffusers] {
            save::verify(bytes, None, &sites, None, &modules).unwrap();
        }
        std::fs::create_dir_all(folder.join("peft")).unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
        write("kohya.safetensors", &kohya);
        write("pytorch_lora_weights.safetensors", &diffusers);
        if let Ok((bytes, config)) = save::peft(&export) {
            write("peft/adapter_model.safetensors", &bytes);
            write("peft/adapter_config.json", config.as_bytes());
        }

        let mut set = AdapterSet::default();
        let report = CoverageReport::default();
        let file = AdapterFile {
            name: name.into(),
            modules: modules.clone(),
            embeddings: Vec::new(),
            report,
        };
        let parts = [Part::UNet, Part::TextEncoder].map(|part| model.sites(part));
        let id = set.attach(file, [parts[0], parts[1], &[]], None, &device).unwrap();
        let latent = given.tensor::<4>("latent", &device);
        let embedding = given.tensor::<3>("embedding", &device);
        let timestep = f64::from(given.values("timestep")[0]);
        let output = model.unet.forward(latent.clone(), &[timestep], embedding.clone());
        let hidden = model.text_encoder().unwrap().forward(std::slice::from_ref(&ids)).unwrap();
        let numbers = |values: Vec<f32>| tiny::Host { shape: vec![values.len()], data: values };
        let run = [
            ("latent", tiny::host(latent)),
            ("timestep", numbers(vec![timestep as f32])),
            ("embedding", tiny::host(embedding)),
            ("output", tiny::host(output)),
            ("hidden", tiny::host(hidden)),
            ("ids", numbers(ids.iter().map(|&id| id as f32).collect())),
        ];
        let run = run.map(|(key, host)| (key.to_string(), host)).into();
        write("run.safetensors", &tiny::file(&run));
        set.detach(id, &parts).unwrap();
    }
}

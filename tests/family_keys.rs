//! The members of the family by their UNets' whole lists of tensors at their real sizes
//! (`fixtures/families/keys.json`): names in both vocabularies, configs, and what they are told to be.

use std::collections::BTreeMap;

use lorakeet::keys::clues::{self, Clues};
use lorakeet::keys::detect::{self, FileKind};
use lorakeet::keys::family::{Base, Family, Overrides, Task};
use lorakeet::keys::ldm::{self, UNetLayout};
use serde::Deserialize;
use serde_json::{Value, json};

/// diffusers name and shape, ldm name and shape.
type Row = (String, Vec<usize>, String, Vec<usize>);

/// Every tensor of a member: of BK-SDM its own, of the others SD 1.5's with what differs.
fn rows(member: &str) -> Vec<Row> {
    #[derive(Deserialize)]
    struct Tables {
        unet: Vec<Row>,
    }
    let sd1: Tables = serde_json::from_str(include_str!("fixtures/sd15-keys/keys.json")).unwrap();
    let mut all: BTreeMap<String, Vec<Row>> =
        serde_json::from_str(include_str!("fixtures/families/keys.json")).unwrap();
    let base = if member.starts_with("bk_sdm") { Vec::new() } else { sd1.unet };
    let mut rows: BTreeMap<String, Row> =
        base.into_iter().map(|row| (row.0.clone(), row)).collect();
    let own = all.remove(member).unwrap_or_default();
    rows.extend(own.into_iter().map(|row| (row.0.clone(), row)));
    rows.into_values().collect()
}

/// Translates every name both ways, and tells config and family from names and shapes.
fn told(member: &str, tensors: usize) -> (Value, Family) {
    let rows = rows(member);
    assert_eq!(rows.len(), tensors, "{member}");
    let bare = |key: &str| key.strip_prefix("model.diffusion_model.").unwrap().to_string();
    let names: Vec<String> = rows.iter().map(|row| bare(&row.2)).collect();
    assert_eq!(detect::file_kind(rows.iter().map(|row| row.2.as_str())), FileKind::Checkpoint);
    let layout = UNetLayout::from_ldm_keys(names.iter().map(String::as_str)).unwrap();
    let known = ldm::unet_names();
    for (row, name) in rows.iter().zip(&names) {
        assert_eq!(
            ldm::unet_to_diffusers(name, &layout).as_ref(),
            Some(&row.0),
            "{member}: {name}"
        );
        let (module, _) = row.0.rsplit_once('.').unwrap();
        let (ldm_module, _) = name.rsplit_once('.').unwrap();
        assert_eq!(ldm::unet_module_to_ldm(module, &layout).as_deref(), Some(ldm_module));
        assert!(known.contains(name), "{member}: {name}");
    }
    let shapes = rows.iter().map(|row| (row.0.clone(), row.1.clone())).collect();
    let unet = detect::unet_config(&shapes).unwrap();
    let clues = Clues { unet: unet.clone(), ..Clues::default() };
    (unet, clues::decide(&clues, &Overrides::default()).unwrap())
}

/// Names without dots stand for one name each, or averages couldn't be told.
#[test]
fn names_without_dots_are_of_one_tensor_each() {
    let mut without: Vec<String> =
        ldm::unet_names().iter().map(|name| name.replace('.', "")).collect();
    let count = without.len();
    without.sort();
    without.dedup();
    // conv_in and such stand in two lists.
    let mut names = ldm::unet_names();
    names.sort();
    names.dedup();
    assert_eq!(without.len(), names.len());
    assert!(count - names.len() < 20);
}

#[test]
fn stable_diffusion_1_and_2_and_their_variants() {
    let (unet, family) = told("sd1", 686);
    assert_eq!(family.label, "Stable Diffusion 1.x");
    assert_eq!((family.base, family.size, family.defaults), (Base::Sd1, 512, None));
    assert_eq!(unet["attention_head_dim"], 8);

    let (unet, family) = told("sd2", 686);
    assert_eq!((family.base, family.pad_token()), (Base::Sd2, "!"));
    assert_eq!(unet["attention_head_dim"], json!([5, 10, 20, 20]));
    assert_eq!(
        (&unet["use_linear_projection"], &unet["cross_attention_dim"]),
        (&json!(true), &json!(1024))
    );

    let (unet, family) = told("inpainting", 686);
    assert_eq!((family.task, &unet["in_channels"]), (Task::Inpainting, &json!(9)));
    assert_eq!(family.label, "Stable Diffusion 1.x, inpainting");

    let (unet, family) = told("lcm", 687);
    assert_eq!(unet["time_cond_proj_dim"], 256);
    assert_eq!(family.label, "Stable Diffusion 1.x, LCM");
    assert_eq!(family.scheduler_config()["_class_name"], "LCMScheduler");
}

#[test]
fn bk_sdm_has_fewer_blocks() {
    for (member, tensors, levels, middle) in [
        ("bk_sdm_base", 442, 4, json!("UNetMidBlock2DCrossAttn")),
        ("bk_sdm_small", 396, 4, json!(null)),
        ("bk_sdm_tiny", 358, 3, json!(null)),
    ] {
        let (unet, family) = told(member, tensors);
        assert_eq!(unet["layers_per_block"], 1, "{member}");
        assert_eq!(unet["block_out_channels"].as_array().unwrap().len(), levels, "{member}");
        assert_eq!(unet["mid_block_type"], middle, "{member}");
        assert!(family.compact && family.base == Base::Sd1, "{member}");
        assert!(family.label.contains("fewer blocks"), "{member}: {}", family.label);
    }
}

/// TAESD's config comes from its names and shapes too.
#[test]
fn a_tiny_vae_is_told_from_its_shapes() {
    let cases: Value = serde_json::from_str(include_str!("fixtures/models/cases.json")).unwrap();
    let case = &cases["cases"]["vae.tiny"];
    let shapes: detect::Shapes = serde_json::from_value(case["weights"].clone()).unwrap();
    let told = detect::vae_config(&shapes).unwrap();
    assert_eq!(told["_class_name"], "AutoencoderTiny");
    for field in [
        "act_fn",
        "decoder_block_out_channels",
        "encoder_block_out_channels",
        "in_channels",
        "latent_channels",
        "num_decoder_blocks",
        "num_encoder_blocks",
        "out_channels",
        "scaling_factor",
        "upsampling_scaling_factor",
    ] {
        assert_eq!(told[field], case["config"][field], "{field}");
    }
    let names: Vec<&str> = shapes.keys().map(String::as_str).collect();
    assert_eq!(detect::file_kind(names.iter().copied()), FileKind::Part("a VAE"));
    for name in names {
        assert_eq!(lorakeet::keys::vae::to_diffusers(name, 0).as_deref(), Some(name));
    }
}

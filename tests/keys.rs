//! Names: every tensor of Stable Diffusion 1.5, and of SD 2's text encoder, in both vocabularies.

use std::collections::{BTreeMap, BTreeSet};

use lorakeet::keys::clip::{self, ClipName};
use lorakeet::keys::detect::{self, FileKind};
use lorakeet::keys::ldm::{self, UNetLayout};
use lorakeet::keys::vae;
use serde::Deserialize;
use serde_json::json;

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";

/// diffusers name and shape, ldm name and shape.
type Row = (String, Vec<usize>, String, Vec<usize>);

#[derive(Deserialize)]
struct Tables {
    unet: Vec<Row>,
    vae: Vec<Row>,
    text_encoder: Vec<Row>,
    open_clip_ldm: Vec<(String, Vec<usize>)>,
    open_clip_diffusers: Vec<(String, Vec<usize>)>,
}

fn tables() -> Tables {
    serde_json::from_str(include_str!("fixtures/sd15-keys/keys.json")).unwrap()
}

fn strip<'a>(rows: &'a [Row], prefix: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row.2.strip_prefix(prefix).unwrap()).collect()
}

fn shapes(rows: &[Row]) -> detect::Shapes {
    rows.iter().map(|row| (row.0.clone(), row.1.clone())).collect()
}

#[test]
fn the_tables_are_complete() {
    let tables = tables();
    let sizes = [&tables.unet, &tables.text_encoder, &tables.vae].map(Vec::len);
    assert_eq!(sizes, [686, 196, 248]);
    for rows in [&tables.unet, &tables.text_encoder, &tables.vae] {
        assert_eq!(rows.iter().map(|row| &row.0).collect::<BTreeSet<_>>().len(), rows.len());
        assert_eq!(rows.iter().map(|row| &row.2).collect::<BTreeSet<_>>().len(), rows.len());
    }
}

#[test]
fn every_unet_name_translates_both_ways() {
    let tables = tables();
    let layout = UNetLayout::from_ldm_keys(strip(&tables.unet, UNET)).unwrap();
    assert_eq!(layout, UNetLayout::stable_diffusion());
    for (diffusers, _, ldm, _) in &tables.unet {
        let ldm = ldm.strip_prefix(UNET).unwrap();
        assert_eq!(ldm::unet_to_diffusers(ldm, &layout).as_ref(), Some(diffusers), "{ldm}");
        let (module, parameter) = diffusers.rsplit_once('.').unwrap();
        let back = ldm::unet_module_to_ldm(module, &layout).unwrap();
        assert_eq!(format!("{back}.{parameter}"), ldm);
    }
}

#[test]
fn modules_that_hold_modules_translate_too() {
    let layout = UNetLayout::stable_diffusion();
    for (ldm, diffusers) in [
        ("input_blocks.1.0", "down_blocks.0.resnets.0"),
        ("input_blocks.8.1", "down_blocks.2.attentions.1"),
        ("middle_block.1", "mid_block.attentions.0"),
        ("middle_block.2", "mid_block.resnets.1"),
        ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"),
        ("output_blocks.11.1", "up_blocks.3.attentions.2"),
    ] {
        assert_eq!(ldm::unet_module_to_diffusers(ldm, &layout).as_deref(), Some(diffusers));
        assert_eq!(ldm::unet_module_to_ldm(diffusers, &layout).as_deref(), Some(ldm));
    }
}

#[test]
fn what_a_unet_has_not_translates_to_nothing() {
    let layout = UNetLayout::stable_diffusion();
    for ldm in [
        "",
        ".",
        "weight",
        "input_blocks",
        "input_blocks.",
        "input_blocks.0.1.proj_in",
        "input_blocks.3.0.in_layers.2",
        "input_blocks.2.0.op",
        "input_blocks.01.0.in_layers.2",
        "input_blocks.+1.0.in_layers.2",
        "input_blocks.1.0.in_layers.9",
        "input_blocks.1.1.projection",
        "input_blocks.13.0.in_layers.2",
        "input_blocks.99999999999999999999.0.in_layers.2",
        "output_blocks.12.0.in_layers.2",
        "output_blocks.1.1.conv",
        "middle_block.3.in_layers.2",
        "label_emb.0.1",
    ] {
        assert_eq!(ldm::unet_module_to_diffusers(ldm, &layout), None, "{ldm}");
    }
    for diffusers in [
        "down_blocks.0.resnets.2.conv1",
        "down_blocks.4.resnets.0.conv1",
        "down_blocks.0.resnets.0.conv3",
        "up_blocks.4.resnets.0.conv1",
        "up_blocks.0.resnets.3.conv1",
        "mid_block.resnets.2.conv1",
        "mid_block.attentions.1.proj_in",
        "up_blocks.18446744073709551615.upsamplers.0.conv",
    ] {
        assert_eq!(ldm::unet_module_to_ldm(diffusers, &layout), None, "{diffusers}");
    }
}

#[test]
fn other_layouts_translate_back_and_forth() {
    let config = json!({
        "layers_per_block": 1,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    });
    let layout = UNetLayout::from_config(&config).unwrap();
    assert_eq!(layout, UNetLayout { level: 2, up_attentions: vec![false, true, true] });
    for (diffusers, ldm) in [
        ("down_blocks.1.resnets.0.conv1", "input_blocks.3.0.in_layers.2"),
        ("down_blocks.1.downsamplers.0.conv", "input_blocks.4.0.op"),
        ("up_blocks.2.resnets.1.conv_shortcut", "output_blocks.5.0.skip_connection"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.3.2.conv"),
    ] {
        assert_eq!(ldm::unet_module_to_ldm(diffusers, &layout).as_deref(), Some(ldm));
        assert_eq!(ldm::unet_module_to_diffusers(ldm, &layout).as_deref(), Some(diffusers));
    }
    let uneven = json!({"layers_per_block": [1, 2], "up_block_types": ["UpBlock2D", "UpBlock2D"]});
    assert_eq!(UNetLayout::from_config(&uneven), None);
}

/// Distilled UNets (BK-SDM) converted by diffusers' convert_diffusers_to_original_stable_diffusion.py
/// keep SD 1's numbers: one ResNet and one transformer less on each level, no middle block, the
/// upsamplers where they were.
#[test]
fn a_distilled_unet_with_gaps_in_its_numbers_is_understood() {
    let tables = tables();
    let dropped = |name: &str| {
        name.starts_with("mid_block.")
            || (name.starts_with("down_blocks.")
                && ["resnets.1.", "attentions.1."].iter().any(|layer| name.contains(layer)))
            || (name.starts_with("up_blocks.")
                && ["resnets.2.", "attentions.2."].iter().any(|layer| name.contains(layer)))
    };
    let kept: Vec<Row> = tables.unet.into_iter().filter(|row| !dropped(&row.0)).collect();
    let layout = UNetLayout::from_ldm_keys(strip(&kept, UNET)).unwrap();
    for (diffusers, _, ldm, _) in &kept {
        let ldm = ldm.strip_prefix(UNET).unwrap();
        assert_eq!(ldm::unet_to_diffusers(ldm, &layout).as_ref(), Some(diffusers));
    }
    let config = detect::unet_config(&shapes(&kept)).unwrap();
    assert_eq!(config["layers_per_block"], 1);
    assert_eq!(config["mid_block_type"], json!(null));
    assert_eq!(config["block_out_channels"], json!([320, 640, 1280, 1280]));
}

#[test]
fn every_vae_name_translates() {
    let tables = tables();
    let levels = vae::ldm_levels(strip(&tables.vae, VAE));
    assert_eq!(levels, 4);
    let mut seen = BTreeSet::new();
    for (diffusers, _, ldm, _) in &tables.vae {
        let ldm = ldm.strip_prefix(VAE).unwrap();
        assert_eq!(vae::to_diffusers(ldm, levels).as_ref(), Some(diffusers), "{ldm}");
        assert!(seen.insert(diffusers));
        // diffusers' own names stay, whatever the levels.
        assert_eq!(vae::to_diffusers(diffusers, 0).as_ref(), Some(diffusers));
        let old = [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ]
        .iter()
        .fold(diffusers.clone(), |name, (new, old)| name.replace(new, old));
        assert_eq!(vae::to_diffusers(&old, 0).as_ref(), Some(diffusers), "{old}");
        // diffusers' script back to ldm renames the block and leaves the projections in it.
        let mixed = diffusers.replace("mid_block.attentions.0.", "mid.attn_1.");
        assert_eq!(vae::to_diffusers(&mixed, levels).as_ref(), Some(diffusers), "{mixed}");
    }
    for other in [
        "",
        "encoder",
        "encoder.weight",
        "encoder.mid.block_0.conv1.weight",
        "encoder.mid.attn_1.x.weight",
        "decoder.up.4.block.0.conv1.weight",
        "decoder.up_blocks.0.downsamplers.0.conv.weight",
        "loss.logvar",
        "quant_conv.extra.weight",
    ] {
        assert_eq!(vae::to_diffusers(other, levels), None, "{other}");
    }
}

#[test]
fn every_text_encoder_name_translates() {
    for (diffusers, _, ldm, _) in &tables().text_encoder {
        let whole = Some(ClipName::Whole(diffusers.clone()));
        assert_eq!(clip::to_diffusers(ldm.strip_prefix(CLIP).unwrap()), whole);
        assert_eq!(clip::to_diffusers(diffusers), whole);
        assert_eq!(clip::to_diffusers(diffusers.strip_prefix("text_model.").unwrap()), whole);
    }
    for unused in ["text_model.embeddings.position_ids", "embeddings.position_ids", "logit_scale"] {
        assert!(matches!(clip::to_diffusers(unused), Some(ClipName::Unused(_))), "{unused}");
    }
    assert_eq!(clip::to_diffusers("vision_model.embeddings.class_embedding"), None);
}

#[test]
fn every_open_clip_name_translates() {
    let tables = tables();
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut unused = Vec::new();
    for (ldm, shape) in &tables.open_clip_ldm {
        let ldm = ldm.strip_prefix(OPEN_CLIP).unwrap();
        match clip::open_clip_to_diffusers(ldm).unwrap_or_else(|| panic!("{ldm} unknown")) {
            ClipName::Whole(name) => assert!(found.insert(name, shape.clone()).is_none()),
            ClipName::Thirds(names) => {
                let mut shape = shape.clone();
                shape[0] /= 3;
                for name in names {
                    assert!(found.insert(name, shape.clone()).is_none());
                }
            }
            ClipName::Unused(_) => unused.push(ldm),
            ClipName::Transposed(name) => panic!("{name}"),
        }
    }
    assert_eq!(found, tables.open_clip_diffusers.into_iter().collect());
    let counter = "transformer.text_model.embeddings.position_ids";
    assert!(matches!(clip::open_clip_to_diffusers(counter), Some(ClipName::Unused(_))));
    // One layer of 12 tensors, the projection and the scale.
    assert_eq!(unused.len(), 14);
    for other in ["transformer.resblocks.0.attn.in_proj_x", "transformer.resblocks.x.ln_1.weight"] {
        assert_eq!(clip::open_clip_to_diffusers(other), None);
    }
    let names = clip::open_clip_to_diffusers("transformer.resblocks.7.attn.in_proj_bias");
    assert_eq!(
        names,
        Some(ClipName::Thirds(
            ["q", "k", "v"].map(|p| format!("text_model.encoder.layers.7.self_attn.{p}_proj.bias"))
        ))
    );
}

#[test]
fn stable_diffusion_15_is_told_from_its_shapes() {
    let tables = tables();
    let config = detect::unet_config(&shapes(&tables.unet)).unwrap();
    for (field, expected) in [
        ("attention_head_dim", json!(8)),
        ("block_out_channels", json!([320, 640, 1280, 1280])),
        ("cross_attention_dim", json!(768)),
        (
            "down_block_types",
            json!([
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D"
            ]),
        ),
        ("in_channels", json!(4)),
        ("layers_per_block", json!(2)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("out_channels", json!(4)),
        ("time_cond_proj_dim", json!(null)),
        ("transformer_layers_per_block", json!(1)),
        (
            "up_block_types",
            json!(["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]),
        ),
        ("use_linear_projection", json!(false)),
    ] {
        assert_eq!(config[field], expected, "{field}");
    }
    let config = detect::vae_config(&shapes(&tables.vae)).unwrap();
    for (field, expected) in [
        ("block_out_channels", json!([128, 256, 512, 512])),
        ("latent_channels", json!(4)),
        ("layers_per_block", json!(2)),
        ("scaling_factor", json!(0.18215)),
        ("use_quant_conv", json!(true)),
    ] {
        assert_eq!(config[field], expected, "{field}");
    }
    let config = detect::clip_config(&shapes(&tables.text_encoder), false).unwrap();
    for (field, expected) in [
        ("hidden_act", json!("quick_gelu")),
        ("hidden_size", json!(768)),
        ("intermediate_size", json!(3072)),
        ("max_position_embeddings", json!(77)),
        ("num_attention_heads", json!(12)),
        ("num_hidden_layers", json!(12)),
        ("vocab_size", json!(49408)),
    ] {
        assert_eq!(config[field], expected, "{field}");
    }
}

#[test]
fn stable_diffusion_2_is_told_from_its_shapes() {
    let tables = tables();
    let mut unet = shapes(&tables.unet);
    for (name, shape) in &mut unet {
        if name.ends_with("proj_in.weight") || name.ends_with("proj_out.weight") {
            shape.truncate(2);
        } else if name.ends_with("attn2.to_k.weight") || name.ends_with("attn2.to_v.weight") {
            shape[1] = 1024;
        }
    }
    let config = detect::unet_config(&unet).unwrap();
    assert_eq!(config["use_linear_projection"], true);
    assert_eq!(config["attention_head_dim"], json!([5, 10, 20, 20]));
    assert_eq!(config["cross_attention_dim"], 1024);
    let config =
        detect::clip_config(&tables.open_clip_diffusers.into_iter().collect(), true).unwrap();
    assert_eq!(config["hidden_act"], "gelu");
    assert_eq!(config["num_attention_heads"], 16);
    assert_eq!(config["num_hidden_layers"], 23);
}

#[test]
fn a_config_that_cant_be_told_names_what_is_missing() {
    let mut unet = shapes(&tables().unet);
    assert_eq!(
        detect::unet_config(&detect::Shapes::new()),
        Err("down_blocks.0.resnets.0.conv1.weight".into())
    );
    unet.insert("conv_out.weight".into(), vec![]);
    assert_eq!(detect::unet_config(&unet), Err("conv_out.weight".into()));
}

#[test]
fn files_are_told_apart_by_their_names() {
    let tables = tables();
    let diffusers = |rows: &[Row]| detect::file_kind(rows.iter().map(|row| row.0.as_str()));
    let ldm = |rows: &[Row]| detect::file_kind(rows.iter().map(|row| row.2.as_str()));
    assert_eq!(ldm(&tables.unet), FileKind::Checkpoint);
    assert_eq!(ldm(&tables.vae), FileKind::Part("a VAE"));
    assert_eq!(ldm(&tables.text_encoder), FileKind::Part("a text encoder"));
    assert_eq!(diffusers(&tables.unet), FileKind::Part("a UNet"));
    assert_eq!(diffusers(&tables.vae), FileKind::Part("a VAE"));
    assert_eq!(diffusers(&tables.text_encoder), FileKind::Part("a text encoder"));
    for (key, kind) in [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", FileKind::Adapter),
        ("lora_unet_mid_block_attentions_0_proj_in.diff", FileKind::Adapter),
        ("unet.down_blocks.0.attentions.0.proj_in.lora_A.weight", FileKind::Adapter),
        ("base_model.model.mid_block.attentions.0.proj_in.lora_B.weight", FileKind::Adapter),
        ("diffusion_model.input_blocks.1.1.proj_in.lora_up.weight", FileKind::Adapter),
        ("lycoris_mid_block_attentions_0_proj_in.hada_w1_a", FileKind::Adapter),
        (
            "conditioner.embedders.1.model.ln_final.bias",
            FileKind::OtherModel("Stable Diffusion XL"),
        ),
        (
            "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
            FileKind::OtherModel("Stable Diffusion 3"),
        ),
        ("double_blocks.0.img_attn.qkv.weight", FileKind::OtherModel("Flux")),
        ("control_model.input_blocks.0.0.weight", FileKind::OtherModel("a ControlNet")),
        ("emb_params", FileKind::Embedding),
        ("<my-cat>", FileKind::Embedding),
        ("encoder.layers.0.weight", FileKind::Part("a VAE")),
        ("conditioner.embedders.0.model.ln_final.bias", FileKind::Part("a text encoder")),
        ("transformer.resblocks.0.ln_1.weight", FileKind::Part("a text encoder")),
        ("model_ema.diffusion_modelinput_blocks00weight", FileKind::Checkpoint),
        ("down_blocks.0.motion_modules.0.norm.bias", FileKind::OtherModel("a video model")),
        ("something.weight", FileKind::Unknown),
    ] {
        assert_eq!(detect::file_kind([key]), kind, "{key}");
    }
    assert_eq!(detect::file_kind([]), FileKind::Unknown);
}

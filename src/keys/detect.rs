//! What a file is, and what its model looks like, off names and shapes alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ldm::head_number;
use super::vae::TinyHalf;

/// What the names in a safetensors file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A single-file Stable Diffusion checkpoint (ldm names).
    Checkpoint,
    /// A LoRA or one of its relatives.
    Adapter,
    /// One part of a model in diffusers or transformers names; says which.
    Part(&'static str),
    /// A model of another kind, by name.
    OtherModel(&'static str),
    /// A textual-inversion embedding.
    Embedding,
    /// Nothing known.
    Unknown,
}

/// Tells what a file is from its tensors' names.
pub fn file_kind<'a>(keys: impl IntoIterator<Item = &'a str>) -> FileKind {
    let keys: Vec<&str> = keys.into_iter().collect();
    let any = |parts: &[&str]| keys.iter().any(|key| parts.iter().any(|part| key.contains(part)));
    let starts =
        |parts: &[&str]| keys.iter().any(|key| parts.iter().any(|part| key.starts_with(part)));
    // A merge may have left a LoRA's tensors in a checkpoint: its own input convolution tells.
    let whole = keys.contains(&"model.diffusion_model.input_blocks.0.0.weight");
    if any(&ADAPTER) && !whole {
        return FileKind::Adapter;
    }
    if any(&["joint_blocks."]) {
        return FileKind::OtherModel("Stable Diffusion 3");
    }
    if any(&["double_blocks.", "single_transformer_blocks."]) {
        return FileKind::OtherModel("Flux");
    }
    // sgm's layout, which SD 2 is found in too. XL has a second text encoder, or (its refiner) class
    // embeddings.
    let sgm = starts(&["conditioner.embedders."]);
    let classes = starts(&["model.diffusion_model.label_emb."]);
    if starts(&["conditioner.embedders.1."]) || (sgm && classes) {
        return FileKind::OtherModel("Stable Diffusion XL");
    }
    if starts(&["control_model.", "controlnet_cond_embedding."]) {
        return FileKind::OtherModel("a ControlNet");
    }
    if any(&["motion_modules.", ".time_stack.", ".time_mixer."]) {
        return FileKind::OtherModel("a video model");
    }
    if classes {
        return FileKind::OtherModel("an upscaler or unCLIP model (it has class embeddings)");
    }
    if starts(&["model.diffusion_model.input_blocks.", "model_ema.diffusion_modelinput_blocks"]) {
        return FileKind::Checkpoint;
    }
    if any(&["down_blocks.0.resnets.0.time_emb_proj.", "input_blocks.0.0."]) {
        return FileKind::Part("a UNet");
    }
    let open_clip = starts(&["transformer.resblocks."]);
    if open_clip || sgm || any(&["embeddings.token_embedding.", "cond_stage_model."]) {
        return FileKind::Part("a text encoder");
    }
    if starts(&["encoder.", "decoder.", "first_stage_model.", "vae."])
        && any(&["coder.conv_in.", "coder.layers."])
    {
        return FileKind::Part("a VAE");
    }
    if let Some(half) = TinyHalf::of(keys.iter().copied()) {
        return FileKind::Part(half.label());
    }
    if any(&["emb_params", "string_to_param", "<"]) || keys == ["clip_g", "clip_l"] {
        return FileKind::Embedding;
    }
    FileKind::Unknown
}

/// Whether only an adapter has a tensor of this name.
pub fn is_adapter_key(key: &str) -> bool {
    ADAPTER.iter().any(|part| key.contains(part))
}

/// Parts of names that only adapters have (specs of kohya, diffusers, PEFT and LyCORIS).
const ADAPTER: [&str; 22] = [
    "lora_down",
    "lora_up",
    "lora_A",
    "lora_B",
    "lora.down",
    "lora.up",
    "lora_linear_layer",
    "lora_magnitude_vector",
    "hada_w",
    "lokr_w",
    "oft_blocks",
    "oft_diag",
    "oft_R",
    "dora_scale",
    "glora_",
    "ia3_l",
    ".on_input",
    "vera_lambda",
    "lora_unet_",
    "lora_te",
    "lycoris_",
    "_unet_down_blocks_",
];

/// Shapes by diffusers name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// A UNet's `config.json` from its tensors in diffusers names. Heads are not in the shapes: SD 1 has 8
/// everywhere, SD 2 64 channels to each. The two are told apart by the text embeddings' width (768,
/// 1024) or else by `proj_in`, which is a convolution in SD 1 and a matrix in SD 2.
///
/// # Errors
/// Names the tensor without which it can't be told.
pub fn unet_config(shapes: &Shapes) -> Result<Value, String> {
    let blocks = count(shapes, "down_blocks.");
    if blocks == 0 {
        return Err("down_blocks.0.resnets.0.conv1.weight".into());
    }
    let channels = (0..blocks)
        .map(|b| dim(shapes, &format!("down_blocks.{b}.resnets.0.conv1.weight"), 0))
        .collect::<Result<Vec<_>, _>>()?;
    let down: Vec<bool> =
        (0..blocks).map(|b| any(shapes, &format!("down_blocks.{b}.attentions."))).collect();
    let up: Vec<bool> = (0..count(shapes, "up_blocks."))
        .map(|b| any(shapes, &format!("up_blocks.{b}.attentions.")))
        .collect();
    let names = |attentions: &[bool], place: &str| -> Vec<String> {
        let name = |&with: &bool| format!("{}{place}Block2D", if with { "CrossAttn" } else { "" });
        attentions.iter().map(name).collect()
    };
    let mid = match (any(shapes, "mid_block.resnets."), any(shapes, "mid_block.attentions.")) {
        (_, true) => json!("UNetMidBlock2DCrossAttn"),
        (true, false) => json!("UNetMidBlock2D"),
        (false, false) => Value::Null,
    };
    let layers = (0..blocks).map(|b| count(shapes, &format!("down_blocks.{b}.resnets."))).collect();
    let depths = (0..blocks)
        .map(|b| count(shapes, &format!("down_blocks.{b}.attentions.0.transformer_blocks.")).max(1))
        .collect();
    let context = find(shapes, ".attn2.to_k.weight").and_then(|shape| shape.get(1).copied());
    let linear = find(shapes, ".proj_in.weight").is_some_and(|shape| shape.len() == 2);
    let second = match context {
        Some(768) => false,
        Some(1024) => true,
        _ => linear,
    };
    let heads = if second {
        json!(channels.iter().map(|c| (c / 64).max(1)).collect::<Vec<_>>())
    } else {
        json!(8)
    };
    let condition =
        shapes.get("time_embedding.cond_proj.weight").and_then(|shape| shape.get(1).copied());
    Ok(json!({
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": heads,
        "block_out_channels": channels,
        "center_input_sample": false,
        "cross_attention_dim": context,
        "down_block_types": names(&down, "Down"),
        "downsample_padding": 1,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": dim(shapes, "conv_in.weight", 1)?,
        "layers_per_block": one_or_list(layers),
        "mid_block_scale_factor": 1,
        "mid_block_type": mid,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": dim(shapes, "conv_out.weight", 0)?,
        "sample_size": 64,
        "time_cond_proj_dim": condition,
        "transformer_layers_per_block": one_or_list(depths),
        "up_block_types": names(&up, "Up"),
        "use_linear_projection": linear,
    }))
}

/// A VAE's `config.json` from its tensors in diffusers names, whether it is the full one or TAESD.
///
/// # Errors
/// Names the tensor without which it can't be told.
pub fn vae_config(shapes: &Shapes) -> Result<Value, String> {
    if any(shapes, "decoder.layers.") {
        return tiny_vae_config(shapes);
    }
    let blocks = count(shapes, "encoder.down_blocks.");
    if blocks == 0 {
        return Err("encoder.down_blocks.0.resnets.0.conv1.weight".into());
    }
    let channels = (0..blocks)
        .map(|b| dim(shapes, &format!("encoder.down_blocks.{b}.resnets.0.conv1.weight"), 0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": channels,
        "down_block_types": vec!["DownEncoderBlock2D"; blocks],
        "in_channels": dim(shapes, "encoder.conv_in.weight", 1)?,
        "latent_channels": dim(shapes, "decoder.conv_in.weight", 1)?,
        "layers_per_block": count(shapes, "encoder.down_blocks.0.resnets."),
        "mid_block_add_attention": any(shapes, "encoder.mid_block.attentions."),
        "norm_num_groups": 32,
        "out_channels": dim(shapes, "decoder.conv_out.weight", 0)?,
        "sample_size": 512,
        // LDM_VAE_DEFAULT_SCALING_FACTOR in single_file_utils.py.
        "scaling_factor": 0.18215,
        "up_block_types": vec!["UpDecoderBlock2D"; blocks],
        "use_post_quant_conv": shapes.contains_key("post_quant_conv.weight"),
        "use_quant_conv": shapes.contains_key("quant_conv.weight"),
    }))
}

/// TAESD's: a convolution begins each level, blocks of three follow it, and one more ends them all.
fn tiny_vae_config(shapes: &Shapes) -> Result<Value, String> {
    let levels = |part: &str| {
        let mut levels: Vec<usize> = Vec::new();
        for layer in 0..count(shapes, &format!("{part}.layers.")) {
            if shapes.contains_key(&format!("{part}.layers.{layer}.weight")) {
                levels.push(0);
            } else if any(shapes, &format!("{part}.layers.{layer}.conv."))
                && let Some(blocks) = levels.last_mut()
            {
                *blocks += 1;
            }
        }
        levels.pop();
        levels
    };
    let (encoder, decoder) = (levels("encoder"), levels("decoder"));
    let last = count(shapes, "decoder.layers.").saturating_sub(1);
    Ok(json!({
        "_class_name": "AutoencoderTiny",
        "act_fn": "relu",
        "decoder_block_out_channels": vec![dim(shapes, "decoder.layers.0.weight", 0)?; decoder.len()],
        "encoder_block_out_channels": vec![dim(shapes, "encoder.layers.0.weight", 0)?; encoder.len()],
        "in_channels": dim(shapes, "encoder.layers.0.weight", 1)?,
        "latent_channels": dim(shapes, "decoder.layers.0.weight", 1)?,
        "num_decoder_blocks": decoder,
        "num_encoder_blocks": encoder,
        "out_channels": dim(shapes, &format!("decoder.layers.{last}.weight"), 0)?,
        "scaling_factor": 1.0,
        "upsampling_scaling_factor": 2,
    }))
}

/// A text encoder's `config.json` from its tensors in transformers names. SD 2's encoder is OpenCLIP's
/// ViT-H, recognised by the caller from the names, or by its width.
///
/// # Errors
/// Names the tensor without which it can't be told.
pub fn clip_config(shapes: &Shapes, open_clip: bool) -> Result<Value, String> {
    let tokens = "text_model.embeddings.token_embedding.weight";
    let (vocabulary, hidden) = (dim(shapes, tokens, 0)?, dim(shapes, tokens, 1)?);
    let gelu = open_clip || hidden == 1024;
    Ok(json!({
        "architectures": ["CLIPTextModel"],
        "bos_token_id": vocabulary.saturating_sub(2),
        "eos_token_id": vocabulary.saturating_sub(1),
        "hidden_act": if gelu { "gelu" } else { "quick_gelu" },
        "hidden_size": hidden,
        "intermediate_size": dim(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings":
            dim(shapes, "text_model.embeddings.position_embedding.weight", 0)?,
        "model_type": "clip_text_model",
        // Every CLIP that Stable Diffusion uses has 64 channels to a head.
        "num_attention_heads": (hidden / 64).max(1),
        "num_hidden_layers": count(shapes, "text_model.encoder.layers."),
        "vocab_size": vocabulary,
    }))
}

fn any(shapes: &Shapes, prefix: &str) -> bool {
    shapes.range(prefix.to_string()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
}

/// How many numbers follow the prefix: one more than the highest.
fn count(shapes: &Shapes, prefix: &str) -> usize {
    shapes
        .range(prefix.to_string()..)
        .map_while(|(name, _)| name.strip_prefix(prefix))
        .filter_map(|rest| Some(head_number(rest)?.0 + 1))
        .max()
        .unwrap_or(0)
}

fn find<'a>(shapes: &'a Shapes, suffix: &str) -> Option<&'a [usize]> {
    shapes.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, shape)| shape.as_slice())
}

fn dim(shapes: &Shapes, name: &str, axis: usize) -> Result<usize, String> {
    shapes.get(name).and_then(|shape| shape.get(axis)).copied().ok_or_else(|| name.to_string())
}

fn one_or_list(values: Vec<usize>) -> Value {
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => json!(first),
        _ => json!(values),
    }
}

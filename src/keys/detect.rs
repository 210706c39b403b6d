//! What a file is, and what its model looks like, off names and shapes alone.

use serde_json::{Value, json};

use super::depths::depths;
pub use super::shapes::Shapes;
use super::shapes::{any, count, dim, find, one_or_list};
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
    // SDXL's shapes, with another noise schedule and other latents.
    if starts(&["edm_mean", "edm_std"]) {
        return FileKind::OtherModel("Playground v2.5");
    }
    if starts(&["edm_vpred.sigma_max"]) {
        return FileKind::OtherModel("CosXL");
    }
    // sgm's layout, which SD 2 is found in too. XL has a second text encoder; its refiner has that one
    // alone, and what XL adds to the time embedding (class embeddings, by name).
    let sgm = starts(&["conditioner.embedders."]);
    let classes = starts(&["model.diffusion_model.label_emb."]);
    let second = starts(&["conditioner.embedders.1."]);
    if starts(&["conditioner.embedders.0.model."]) && classes && !second {
        return FileKind::OtherModel("the refiner of Stable Diffusion XL");
    }
    let xl = second && classes;
    if second && !classes {
        return FileKind::OtherModel(HALF_XL);
    }
    if starts(&["control_model.", "controlnet_cond_embedding."]) {
        return FileKind::OtherModel("a ControlNet");
    }
    if any(&["motion_modules.", ".time_stack.", ".time_mixer."]) {
        return FileKind::OtherModel("a video model");
    }
    // A UNet of XL alone: its second transformer has two blocks. Who opens it says what is missing.
    let deep = starts(&["model.diffusion_model.input_blocks.4.1.transformer_blocks.1."]);
    if classes && !xl && !deep {
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
    if any(&["emb_params", "string_to_param", "<"]) || CLIP_WORDS.contains(&keys.as_slice()) {
        return FileKind::Embedding;
    }
    FileKind::Unknown
}

/// All names of a textual inversion of SDXL, or of what is left of one.
const CLIP_WORDS: [&[&str]; 3] = [&["clip_g", "clip_l"], &["clip_l"], &["clip_g"]];

/// What a file is that has SDXL's text encoders and not what its UNet adds to the time.
pub const HALF_XL: &str = "Stable Diffusion XL";

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
    let (down_depths, up_depths) = depths(shapes, blocks);
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
    let mut config = json!({
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
        "transformer_layers_per_block": down_depths,
        "up_block_types": names(&up, "Up"),
        "use_linear_projection": linear,
    });
    if !up_depths.is_null() {
        config["reverse_transformer_layers_per_block"] = up_depths;
    }
    if let Some(shape) = shapes.get("add_embedding.linear_1.weight") {
        config["addition_embed_type"] = "text_time".into();
        config["projection_class_embeddings_input_dim"] = shape.get(1).copied().into();
        // SDXL's; where the second text encoder is at hand, its width tells.
        config["addition_time_embed_dim"] = 256.into();
        config["sample_size"] = 128.into();
    }
    Ok(config)
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

/// The `config.json` of SDXL's second text encoder, OpenCLIP's ViT-bigG with its projection.
///
/// # Errors
/// Names the tensor without which it can't be told.
pub fn second_clip_config(shapes: &Shapes) -> Result<Value, String> {
    let mut config = clip_config(shapes, true)?;
    config["architectures"] = json!(["CLIPTextModelWithProjection"]);
    config["projection_dim"] = dim(shapes, "text_projection.weight", 0)?.into();
    Ok(config)
}

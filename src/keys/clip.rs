//! Text-encoder names: transformers' with and without `text_model.`, and OpenCLIP's (SD 2), to
//! transformers' with `text_model.`, which every file on the hub has.

use super::ldm::head_number;

/// What a text-encoder tensor becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClipName {
    /// The same tensor under this name.
    Whole(String),
    /// Three tensors of equal size, one after the other along the first dimension: the fused
    /// projections of OpenCLIP.
    Thirds([String; 3]),
    /// The same numbers with rows and columns exchanged: OpenCLIP keeps a matrix that rows are multiplied
    /// by, transformers a layer's weight.
    Transposed(String),
    /// Not part of the text encoder as Stable Diffusion uses it, with the reason.
    Unused(&'static str),
}

/// The name with `text_model.`, of a transformers name with or without it; `None` when it is no
/// name of a CLIP text model.
pub fn to_diffusers(key: &str) -> Option<ClipName> {
    let name = key.strip_prefix("text_model.").unwrap_or(key);
    Some(match name {
        "embeddings.position_ids" => ClipName::Unused(COUNTER),
        "text_projection.weight" | "logit_scale" => ClipName::Unused(NOT_FOR_IMAGES),
        _ if ["embeddings.", "encoder.layers.", "final_layer_norm."]
            .iter()
            .any(|start| name.starts_with(start)) =>
        {
            ClipName::Whole(format!("text_model.{name}"))
        }
        _ => return None,
    })
}

/// The same of SDXL's second text encoder, which has a use for its projection.
pub fn second_to_diffusers(key: &str) -> Option<ClipName> {
    match key {
        PROJECTION => Some(ClipName::Whole(key.into())),
        _ => to_diffusers(key),
    }
}

/// The name of a tensor of SDXL's second text encoder, OpenCLIP's ViT-bigG (without
/// `conditioner.embedders.1.model.`), of which every layer counts. Its projection is transposed, but in
/// files that say `text_projection.weight`: those hold transformers' matrix already (ComfyUI,
/// `comfy/utils.py`, `clip_text_transformers_convert`).
pub fn second_open_clip_to_diffusers(key: &str) -> Option<ClipName> {
    match key {
        "text_projection" => Some(ClipName::Transposed(PROJECTION.into())),
        PROJECTION => Some(ClipName::Whole(key.into())),
        _ => open_clip(key, None),
    }
}

/// The name of an OpenCLIP tensor of SD 2 (without `cond_stage_model.model.`). Source: diffusers
/// `loaders/single_file_utils.py`, `convert_open_clip_checkpoint`.
pub fn open_clip_to_diffusers(key: &str) -> Option<ClipName> {
    open_clip(key, Some(UNUSED_LAYER))
}

fn open_clip(key: &str, unused: Option<usize>) -> Option<ClipName> {
    let whole = |name: &str| Some(ClipName::Whole(format!("text_model.{name}")));
    match key {
        "positional_embedding" => return whole("embeddings.position_embedding.weight"),
        "token_embedding.weight" => return whole("embeddings.token_embedding.weight"),
        "ln_final.weight" | "ln_final.bias" => {
            return whole(&key.replace("ln_final", "final_layer_norm"));
        }
        "text_projection" | "logit_scale" => return Some(ClipName::Unused(NOT_FOR_IMAGES)),
        "attn_mask" => return Some(ClipName::Unused("a causal mask, made anew")),
        // Left over by diffusers' convert_diffusers_to_original_stable_diffusion.py.
        _ if key.ends_with(".position_ids") => return Some(ClipName::Unused(COUNTER)),
        _ => {}
    }
    let (layer, rest) = head_number(key.strip_prefix("transformer.resblocks.")?)?;
    if Some(layer) == unused {
        return Some(ClipName::Unused("SD 2 reads the text one layer before the last"));
    }
    let at = format!("encoder.layers.{layer}");
    if let Some(parameter) = rest.strip_prefix("attn.in_proj_") {
        return matches!(parameter, "weight" | "bias").then(|| {
            ClipName::Thirds(
                ["q", "k", "v"].map(|p| format!("text_model.{at}.self_attn.{p}_proj.{parameter}")),
            )
        });
    }
    let (module, parameter) = rest.rsplit_once('.')?;
    let name = match module {
        "ln_1" => "layer_norm1",
        "ln_2" => "layer_norm2",
        "attn.out_proj" => "self_attn.out_proj",
        "mlp.c_fc" => "mlp.fc1",
        "mlp.c_proj" => "mlp.fc2",
        _ => return None,
    };
    whole(&format!("{at}.{name}.{parameter}"))
}

/// The last of OpenCLIP ViT-H's 24 layers. The number, not "the last": files converted back from
/// diffusers stop at 22.
const UNUSED_LAYER: usize = 23;

/// The second text encoder's, under transformers' name.
const PROJECTION: &str = "text_projection.weight";

const COUNTER: &str = "a counter, made anew";

const NOT_FOR_IMAGES: &str = "compares texts with pictures; Stable Diffusion doesn't use it";

//! A single-file checkpoint in ldm names, as trainers and model sites hand them out.

use std::rc::Rc;

use super::averaged::Averaged;
use super::checkpoint::{Component, Stored, WHAT_TO_BRING};
use super::draft::Draft;
use super::parts::{Part, cannot_infer};
use super::scales::Scales;
use super::{Index, Source, clues};
use crate::error::{Error, Result};
use crate::keys::detect::{self, FileKind};
use crate::keys::ldm::{self, UNetLayout};
use crate::keys::xl::is_xl;

const UNET: &str = "model.diffusion_model.";

/// Where files have the UNet: whole checkpoints, UNets alone as ComfyUI saves them, bare ones.
const UNET_PREFIXES: [&str; 3] = [UNET, "diffusion_model.", ""];

/// Opens a single file. `yaml` is the configuration that lies beside it.
///
/// # Errors
/// When it is no Stable Diffusion checkpoint, with what it is instead if that shows.
pub(super) fn open(source: Rc<dyn Source>, yaml: Option<&dyn Source>) -> Result<Draft> {
    let index = Index::read(source.as_ref())?;
    let kind = detect::file_kind(index.tensors.keys().map(String::as_str));
    refuse(&index.file, kind)?;
    draft(source, &index, yaml)
}

/// The draft of a checkpoint, or of a UNet alone: text encoder and VAE may be missing.
///
/// # Errors
/// When the UNet's blocks can't be told, or a fused tensor can't be cut.
pub(super) fn draft(
    source: Rc<dyn Source>,
    index: &Index,
    yaml: Option<&dyn Source>,
) -> Result<Draft> {
    let file = index.file.as_str();
    let (mut unet, mut text, mut second, mut vae) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut ignored = Vec::new();
    let averaged = Averaged::of(index);
    let has = |prefix: &str| index.tensors.keys().any(|key| key.starts_with(prefix));
    let prefix = UNET_PREFIXES.into_iter().find(|prefix| has(prefix)).unwrap_or_default();
    let scales = Scales::read(index, source.as_ref())?;
    for stored in Stored::all(index, 0, &scales) {
        let key = &stored.key;
        let rest = match (key.strip_prefix(prefix), &averaged) {
            (_, Some(averaged)) => averaged.name(key),
            (rest, None) => rest.map(str::to_string),
        };
        if let Some(why) = Scales::reason(key) {
            ignored.push(format!("{key}: {why}"));
        } else if Part::TextEncoder.owns(key) {
            text.push(stored);
        } else if Part::TextEncoder2.owns(key) {
            second.push(stored);
        } else if Part::Vae.owns(key) {
            vae.push(stored);
        } else if let Some(rest) = rest {
            unet.push((rest, stored));
        } else {
            ignored.push(match reason(key) {
                Some(reason) => format!("{key}: {reason}"),
                None => key.clone(),
            });
        }
    }
    let mut unet = unet_component(file, unet, &mut ignored)?;
    let mut part = |part: Part, tensors: Vec<Stored>| {
        let component = part.build(file, tensors, &mut ignored)?;
        Ok((!component.tensors.is_empty()).then_some(component))
    };
    let text_encoder = part(Part::TextEncoder, text)?;
    let text_encoder_2 = part(Part::TextEncoder2, second)?;
    let vae = part(Part::Vae, vae)?;
    tell_sinusoids(&mut unet, text_encoder_2.as_ref());
    if is_xl(&unet.config) && text_encoder.is_none() && text_encoder_2.is_none() {
        return Err(Error::file(
            file,
            "is a UNet of Stable Diffusion XL without its text encoders",
            "Use a whole checkpoint (of Lightning, Hyper or DMD2 the LoRA on top of one), or a diffusers \
             folder",
        ));
    }

    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".safetensors").unwrap_or(name).to_string();
    let clues = clues::of_file(index, source.as_ref(), yaml, &unet.config)?;
    let notes = [averaged.map(|_| AVERAGED.to_string()), left_over_adapter(index)];
    Ok(Draft {
        name,
        file: file.into(),
        sources: vec![source],
        unet,
        text_encoder,
        text_encoder_2,
        vae,
        scheduler_config: None,
        tokenizer: None,
        tokenizer_2: None,
        force_zeros: true,
        clues,
        ignored,
        notes: notes.into_iter().flatten().collect(),
    })
}

/// The UNet, from its names without prefix: ldm's, or diffusers'. A name that nothing knows stays as
/// it is: loading reports it unused.
fn unet_component(
    file: &str,
    tensors: Vec<(String, Stored)>,
    ignored: &mut Vec<String>,
) -> Result<Component> {
    let mut unet = Component::new("unet", file);
    let names = || tensors.iter().map(|(name, _)| name.as_str());
    let layout = if names().any(|name| name.starts_with("down_blocks.")) {
        None
    } else {
        let layout = UNetLayout::from_ldm_keys(names()).ok_or_else(|| {
            Error::key(
                file,
                format!("{UNET}output_blocks.0.0.in_layers.0.weight"),
                "is missing: the UNet's blocks can't be told",
                "Check that the file holds a whole Stable Diffusion model",
            )
        })?;
        Some(layout)
    };
    for (name, stored) in tensors {
        let known = match &layout {
            Some(layout) => ldm::unet_to_diffusers(&name, layout),
            None => Some(name),
        };
        unet.add(known.unwrap_or_else(|| stored.key.clone()), stored, ignored);
    }
    unet.config = detect::unet_config(&unet.shapes()).map_err(|key| cannot_infer(file, key))?;
    unet.config_inferred = true;
    Ok(unet)
}

/// How wide the sinusoid of each of SDXL's six numbers is: what the pooled vector leaves, in equal parts.
fn tell_sinusoids(unet: &mut Component, second: Option<&Component>) {
    let input = unet.config["projection_class_embeddings_input_dim"].as_u64();
    let pooled = second.and_then(|second| second.config["projection_dim"].as_u64());
    if let (Some(input), Some(pooled)) = (input, pooled)
        && let Some(rest) = input.checked_sub(pooled)
    {
        unet.config["addition_time_embed_dim"] = (rest / 6).into();
    }
}

const AVERAGED: &str = "The file holds the moving average of the UNet's weights alone (model_ema), which is what is used";

/// A merge that only copied a LoRA's tensors beside the model's does nothing with them.
fn left_over_adapter(index: &Index) -> Option<String> {
    let count = index.tensors.keys().filter(|key| detect::is_adapter_key(key)).count();
    (count > 0).then(|| {
        format!(
            "The file holds {count} tensors of a LoRA beside the model's: they were never merged and \
             change nothing"
        )
    })
}

fn reason(key: &str) -> Option<&'static str> {
    const SCHEDULE: [&str; 8] = [
        "alphas_cumprod",
        "betas",
        "sqrt_",
        "log_one_minus_",
        "posterior_",
        "lvlb_weights",
        "logvar",
        "denoiser.sigmas",
    ];
    if key.starts_with("model_ema.") {
        Some("a moving average of the weights, kept for training")
    } else if SCHEDULE.iter().any(|start| key.starts_with(start)) {
        Some("the noise schedule, computed anew")
    } else if matches!(key, "v_pred" | "ztsnr") {
        Some("a marker of how the model was trained")
    } else if detect::is_adapter_key(key) {
        Some("part of a LoRA that was never merged")
    } else if key.ends_with("logit_scale") || key.ends_with("text_projection") {
        Some("compares texts with pictures; Stable Diffusion doesn't use it")
    } else {
        None
    }
}

/// Says what a file is that isn't a checkpoint.
fn refuse(file: &str, kind: FileKind) -> Result<()> {
    let (problem, remedy) = match kind {
        FileKind::Checkpoint => return Ok(()),
        FileKind::Adapter => (
            "is an adapter (LoRA), not a model".to_string(),
            "Load a model first, then drop this file again on top of it",
        ),
        FileKind::Embedding => (
            "is a textual-inversion embedding, not a model".to_string(),
            "Load a model first, then drop this file again on top of it",
        ),
        FileKind::OtherModel(detect::HALF_XL) => (
            format!("is {}, not all of it: its UNet has no label_emb", detect::HALF_XL),
            "Use a checkpoint of Stable Diffusion 1.x, 2.x or XL that is whole",
        ),
        FileKind::OtherModel(what) => (
            format!("is {what}, not Stable Diffusion 1, 2 or XL"),
            "Use a checkpoint of Stable Diffusion 1.x, 2.x or XL",
        ),
        FileKind::Part(what) => (format!("is only {what}, one part of a model"), WHAT_TO_BRING),
        FileKind::Unknown => {
            ("is no Stable Diffusion model that we know".to_string(), WHAT_TO_BRING)
        }
    };
    Err(Error::file(file, problem, remedy))
}

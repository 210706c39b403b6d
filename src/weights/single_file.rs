//! A single-file checkpoint in ldm names, as trainers and model sites hand them out.

use std::rc::Rc;

use super::checkpoint::{Checkpoint, Component, Stored, WHAT_TO_BRING};
use super::{Index, Source};
use crate::error::{Error, Result};
use crate::keys::clip::{self, ClipName};
use crate::keys::detect::{self, FileKind};
use crate::keys::ldm::{self, UNetLayout};
use crate::keys::vae;

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";

/// Opens a single file.
///
/// # Errors
/// When it is no Stable Diffusion checkpoint, with what it is instead if that shows.
pub(super) fn open(source: Rc<dyn Source>) -> Result<Checkpoint> {
    let index = Index::read(source.as_ref())?;
    let file = index.file.as_str();
    refuse(file, detect::file_kind(index.tensors.keys().map(String::as_str)))?;

    let strip =
        |prefix: &'static str| index.tensors.keys().filter_map(move |key| key.strip_prefix(prefix));
    let layout = UNetLayout::from_ldm_keys(strip(UNET)).ok_or_else(|| {
        Error::key(
            file,
            format!("{UNET}output_blocks.0.0.in_layers.0.weight"),
            "is missing: the UNet's blocks can't be told",
            "Check that the file holds a whole Stable Diffusion model",
        )
    })?;
    let vae_levels = vae::ldm_levels(strip(VAE));
    let open_clip = strip(OPEN_CLIP).next().is_some();

    let [mut unet, mut text_encoder, mut vae] =
        ["unet", "text_encoder", "vae"].map(|name| Component::new(name, file));
    let mut ignored = Vec::new();
    for (key, info) in &index.tensors {
        let stored = Stored { source: 0, key: key.clone(), info: info.clone() };
        // A name within a component that nothing knows stays as it is: loading reports it unused.
        if let Some(rest) = key.strip_prefix(UNET) {
            let name = ldm::unet_to_diffusers(rest, &layout).unwrap_or_else(|| key.clone());
            unet.add(name, stored, &mut ignored);
        } else if let Some(rest) = key.strip_prefix(VAE) {
            match vae::to_diffusers(rest, vae_levels) {
                Some(name) => vae.add(name, stored, &mut ignored),
                None if rest.starts_with("loss.") => {
                    ignored.push(format!("{key}: {FOR_TRAINING}"));
                }
                None => vae.add(key.clone(), stored, &mut ignored),
            }
        } else if key.starts_with(CLIP) || key.starts_with(OPEN_CLIP) {
            add_text(&mut text_encoder, stored, file, &mut ignored)?;
        } else {
            ignored.push(match reason(key) {
                Some(reason) => format!("{key}: {reason}"),
                None => key.clone(),
            });
        }
    }
    for (component, prefix) in [(&unet, UNET), (&text_encoder, "cond_stage_model."), (&vae, VAE)] {
        if component.tensors.is_empty() {
            return Err(Error::file(
                file,
                format!("holds no {} (no tensor starts with {prefix})", plain(component.name)),
                "Use a full checkpoint, with UNet, text encoder and VAE in one file",
            ));
        }
    }

    let cannot_infer = |key: String| {
        Error::key(
            file,
            key,
            "is missing or misshapen, so the model's sizes can't be told",
            "Check that the file holds a whole Stable Diffusion model",
        )
    };
    unet.config = detect::unet_config(&unet.shapes()).map_err(cannot_infer)?;
    vae.config = detect::vae_config(&vae.shapes()).map_err(cannot_infer)?;
    text_encoder.config =
        detect::clip_config(&text_encoder.shapes(), open_clip).map_err(cannot_infer)?;
    for component in [&mut unet, &mut text_encoder, &mut vae] {
        component.config_inferred = true;
    }
    if unet.config["cross_attention_dim"] == 2048 {
        refuse(file, FileKind::OtherModel("Stable Diffusion XL"))?;
    }

    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".safetensors").unwrap_or(name).to_string();
    let scheduler_config = detect::scheduler_config(predicts_v(&index));
    Ok(Checkpoint {
        name,
        sources: vec![source],
        unet,
        text_encoder,
        vae,
        scheduler_config,
        tokenizer: None,
        ignored,
    })
}

fn add_text(
    component: &mut Component,
    stored: Stored,
    file: &str,
    ignored: &mut Vec<String>,
) -> Result<()> {
    let key = stored.key.clone();
    let name = match (key.strip_prefix(CLIP), key.strip_prefix(OPEN_CLIP)) {
        (Some(rest), _) => clip::to_diffusers(rest),
        (_, Some(rest)) => clip::open_clip_to_diffusers(rest),
        _ => None,
    };
    match name {
        Some(ClipName::Whole(name)) => component.add(name, stored, ignored),
        Some(ClipName::Unused(why)) => ignored.push(format!("{key}: {why}")),
        Some(ClipName::Thirds(names)) => {
            for (i, name) in names.into_iter().enumerate() {
                component.add(name, third(&stored, i, file)?, ignored);
            }
        }
        None => component.add(key, stored, ignored),
    }
    Ok(())
}

/// The `i`th of three equal parts along the first dimension.
fn third(stored: &Stored, i: usize, file: &str) -> Result<Stored> {
    let mut part = stored.clone();
    match part.info.shape.first_mut() {
        Some(rows) if *rows % 3 == 0 => *rows /= 3,
        _ => {
            return Err(Error::key(
                file,
                &stored.key,
                format!("has the shape {:?}, not three equal parts", stored.info.shape),
                "Check that the file isn't damaged",
            ));
        }
    }
    part.info.bytes /= 3;
    part.info.offset += part.info.bytes * i as u64;
    Ok(part)
}

/// Whether the header says that the model predicts v: the model spec's field, or the marker tensor
/// that some trainers write. Names and shapes alone can't tell.
fn predicts_v(index: &Index) -> bool {
    let field = |name: &str| index.metadata.get(name).map(String::as_str).unwrap_or_default();
    index.tensors.contains_key("v_pred")
        // The specification's field, and what ComfyUI writes in its place.
        || ["modelspec.prediction_type", "modelspec.predict_key"]
            .iter()
            .any(|name| matches!(field(name), "v" | "v_prediction" | "v-prediction"))
        || field("modelspec.architecture") == "stable-diffusion-v2-768-v"
}

fn plain(component: &str) -> String {
    match component {
        "unet" => "UNet".into(),
        "vae" => "VAE".into(),
        name => name.replace('_', " "),
    }
}

const FOR_TRAINING: &str = "is for training only";

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
            "Embeddings aren't supported yet",
        ),
        FileKind::OtherModel(what) => (
            format!("is {what}, not Stable Diffusion 1 or 2"),
            "Use a checkpoint of Stable Diffusion 1.x or 2.x",
        ),
        FileKind::Part(what) => (format!("is only {what}, one part of a model"), WHAT_TO_BRING),
        FileKind::Unknown => {
            ("is no Stable Diffusion model that we know".to_string(), WHAT_TO_BRING)
        }
    };
    Err(Error::file(file, problem, remedy))
}

//! What is SDXL's own of deciding which member of the family a model is.

use serde_json::Value;

use super::family::Defaults;
use crate::error::{Error, Result};

/// Whether a UNet, by its config, is one of SDXL's.
pub fn is_xl(unet: &Value) -> bool {
    unet["addition_embed_type"] == "text_time"
}

/// Refuses relatives of SDXL that need another input than text and size.
///
/// # Errors
/// Names the relative.
pub(super) fn refuse(file: &str, unet: &Value, input: u64, latents: u64) -> Result<()> {
    // 1280 is bigG's width: the refiner has that text encoder alone.
    let refiner = unet["cross_attention_dim"] == 1280;
    let (key, what) = match input {
        _ if refiner => ("cross_attention_dim", "the refiner of Stable Diffusion XL"),
        _ if input == latents => return Ok(()),
        _ if input == 2 * latents + 1 => {
            ("in_channels", "an inpainting model of Stable Diffusion XL")
        }
        _ if input == 2 * latents => {
            ("in_channels", "an instruct-pix2pix model of Stable Diffusion XL")
        }
        _ => ("in_channels", "a model of Stable Diffusion XL of an unknown kind"),
    };
    Err(Error::key(
        file,
        key,
        format!("belongs to {what}, which doesn't run here"),
        "Use a text-to-image model of Stable Diffusion XL: any of them also draws from a picture, and into \
         a masked part of one",
    ))
}

/// diffusers' guidance for SDXL (`pipeline_stable_diffusion_xl.py`), and everybody's steps.
pub(super) const DEFAULTS: Defaults = Defaults { steps: 20, guidance: 5.0 };

/// Of a single file of XL that says nothing.
pub(super) fn unsure(names: &str) -> String {
    let names = names.to_ascii_lowercase();
    if ["vpred", "v-pred", "v_pred"].iter().any(|word| names.contains(word)) {
        return "This model's name says v-prediction, and nothing in the file does: it is taken to predict \
                epsilon. If pictures are noise or burnt, choose v_prediction (and zero terminal SNR)"
            .into();
    }
    "Nothing in the file tells Stable Diffusion XL from its distilled children: it is taken to predict \
     epsilon and to need guidance. If it is Turbo, Lightning, Hyper, DMD2 or LCM, set the steps, guidance \
     and scheduler that its page names"
        .into()
}

//! A model that is being opened: what the main file or folder gave, then what was brought along.

use std::rc::Rc;

use serde_json::Value;

use super::checkpoint::{Checkpoint, Component, TokenizerFiles};
use super::parts::Part;
use super::{Index, Source};
use crate::error::{Error, Result};
use crate::keys::clues::{self, Clues};
use crate::keys::family::{Base, Overrides};
use crate::keys::xl::is_xl;

/// Everything but the decision on the family, and perhaps without a text encoder or a VAE.
pub(super) struct Draft {
    pub(super) name: String,
    /// The main file, or the folder's index: for messages.
    pub(super) file: String,
    pub(super) sources: Vec<Rc<dyn Source>>,
    pub(super) unet: Component,
    pub(super) text_encoder: Option<Component>,
    /// Of SDXL.
    pub(super) text_encoder_2: Option<Component>,
    pub(super) vae: Option<Component>,
    /// A folder's own.
    pub(super) scheduler_config: Option<Value>,
    pub(super) tokenizer: Option<TokenizerFiles>,
    pub(super) tokenizer_2: Option<TokenizerFiles>,
    /// See [`Checkpoint::force_zeros_for_empty_prompt`].
    pub(super) force_zeros: bool,
    pub(super) clues: Clues,
    pub(super) ignored: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// Takes in a text encoder or a VAE from files of its own, in place of the one that is there.
    ///
    /// # Errors
    /// When its configuration can't be told, or it belongs to another family.
    pub(super) fn take(&mut self, part: Part, files: Vec<(Rc<dyn Source>, Index)>) -> Result<()> {
        let component = part.read(&files, self.sources.len(), &mut self.ignored)?;
        self.sources.extend(files.into_iter().map(|(source, _)| source));
        let xl = is_xl(&self.unet.config);
        if part == Part::Vae && is_xl_vae(&component.file) != xl {
            let file = component.file.as_str();
            match xl {
                // Nothing in the tensors tells them apart.
                true => self.notes.push(format!(
                    "The VAE of {file} is taken to be Stable Diffusion XL's, whose latents have another \
                     scale than those of 1 and 2: nothing in the file tells"
                )),
                false => {
                    return Err(Error::file(
                        file,
                        "is a VAE of Stable Diffusion XL, by its name",
                        "Use one of Stable Diffusion 1 or 2, such as vae-ft-mse-840000",
                    ));
                }
            }
        }
        let place = match part {
            Part::TextEncoder => &mut self.text_encoder,
            Part::TextEncoder2 => &mut self.text_encoder_2,
            Part::Vae => &mut self.vae,
        };
        let instead = if place.is_some() { ", in place of the model's own" } else { "" };
        self.notes.push(format!("The {} is that of {}{instead}", part.label(), component.file));
        *place = Some(component);
        Ok(())
    }

    /// Decides on the family.
    ///
    /// # Errors
    /// When a component is missing, or the model is of a family that isn't run.
    pub(super) fn finish(self, overrides: &Overrides) -> Result<Checkpoint> {
        let missing = |part: Part| {
            Error::file(
                &self.file,
                format!("holds no {} (no tensor starts with {})", part.label(), part.ldm_prefix()),
                part.remedy(),
            )
        };
        let text_encoder = self.text_encoder.ok_or_else(|| missing(Part::TextEncoder))?;
        if is_xl(&self.unet.config) && self.text_encoder_2.is_none() {
            return Err(missing(Part::TextEncoder2));
        }
        let mut vae = self.vae.ok_or_else(|| missing(Part::Vae))?;
        let mut family = clues::decide(&self.clues, overrides)?;
        family.notes.splice(0..0, self.notes);
        if family.base == Base::Sdxl
            && vae.config_inferred
            && vae.config["scaling_factor"] == SD_SCALE
        {
            // Nothing in its tensors tells it from that of 1 and 2.
            vae.config["scaling_factor"] = XL_SCALE.into();
        }
        let scheduler_config = match self.scheduler_config {
            Some(mut config) => {
                family.correct(&mut config);
                config
            }
            None => family.scheduler_config(),
        };
        let mut checkpoint = Checkpoint {
            name: self.name,
            sources: self.sources,
            unet: self.unet,
            text_encoder,
            text_encoder_2: self.text_encoder_2,
            vae,
            scheduler_config,
            tokenizer: self.tokenizer,
            tokenizer_2: self.tokenizer_2,
            force_zeros_for_empty_prompt: self.force_zeros,
            ignored: self.ignored,
            family,
        };
        checkpoint.drop_last_text_layer();
        Ok(checkpoint)
    }
}

/// What latents are multiplied by after encoding: of Stable Diffusion 1 and 2, and of XL
/// (stabilityai/stable-diffusion-xl-base-1.0, `vae/config.json`).
const SD_SCALE: f64 = 0.18215;
const XL_SCALE: f64 = 0.13025;

/// SDXL's VAE has the same tensors, and another scale: what it decodes is no picture of this family.
fn is_xl_vae(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    ["sdxl", "xl_vae", "xl-vae"].iter().any(|word| name.contains(word))
}

impl Checkpoint {
    /// SD 2 reads the text one layer before the last of OpenCLIP's 24. Its own files stop there; a
    /// text encoder that was made for something else may have all of them.
    fn drop_last_text_layer(&mut self) {
        const LAYERS: u64 = 24;
        let config = &mut self.text_encoder.config;
        let whole = config["num_hidden_layers"].as_u64() == Some(LAYERS);
        if self.family.base != Base::Sd2 || !self.text_encoder.config_inferred || !whole {
            return;
        }
        config["num_hidden_layers"] = (LAYERS - 1).into();
        let last = format!("text_model.encoder.layers.{}.", LAYERS - 1);
        self.text_encoder.tensors.retain(|name, stored| {
            let dropped = name.starts_with(&last);
            if dropped {
                let why = "SD 2 reads the text one layer before the last";
                self.ignored.push(format!("{}: {why}", stored.key));
            }
            !dropped
        });
    }
}

//! A model that is being opened: what the main file or folder gave, then what was brought along.

use std::rc::Rc;

use serde_json::Value;

use super::checkpoint::{Checkpoint, Component, TokenizerFiles};
use super::parts::Part;
use super::{Index, Source};
use crate::error::{Error, Result};
use crate::keys::clues::{self, Clues};
use crate::keys::family::{Base, Overrides};

/// Everything but the decision on the family, and perhaps without a text encoder or a VAE.
pub(super) struct Draft {
    pub(super) name: String,
    /// The main file, or the folder's index: for messages.
    pub(super) file: String,
    pub(super) sources: Vec<Rc<dyn Source>>,
    pub(super) unet: Component,
    pub(super) text_encoder: Option<Component>,
    pub(super) vae: Option<Component>,
    /// A folder's own.
    pub(super) scheduler_config: Option<Value>,
    pub(super) tokenizer: Option<TokenizerFiles>,
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
        let place = match part {
            Part::TextEncoder => &mut self.text_encoder,
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
        let vae = self.vae.ok_or_else(|| missing(Part::Vae))?;
        let mut family = clues::decide(&self.clues, overrides)?;
        family.notes.splice(0..0, self.notes);
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
            vae,
            scheduler_config,
            tokenizer: self.tokenizer,
            ignored: self.ignored,
            family,
        };
        checkpoint.drop_last_text_layer();
        Ok(checkpoint)
    }
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

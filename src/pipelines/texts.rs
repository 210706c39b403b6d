//! A model's text encoders, one or two, and what they make of prompts.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::StableDiffusion;
use crate::error::Result;
use crate::models::{CLIPTextModel, TextStates};
use crate::tokenizer::ClipTokenizer;

/// While it lives, a model's text encoders stay once they are there: for who encodes many prompts. Then they
/// go as is usual for their size.
pub struct KeptTextEncoders(Rc<StableDiffusion>);

impl KeptTextEncoders {
    /// Those of a model.
    pub fn new(model: Rc<StableDiffusion>) -> Self {
        model.keep_text_encoders(Some(true));
        Self(model)
    }
}

impl Drop for KeptTextEncoders {
    fn drop(&mut self) {
        self.0.keep_text_encoders(None);
    }
}

impl StableDiffusion {
    /// The text encoder, the first of two in SDXL, loaded again if it has left the device.
    ///
    /// # Errors
    /// When the model's files can't be read any more.
    pub fn text_encoder(&self) -> Result<Rc<CLIPTextModel>> {
        self.encoders.text_encoder(0)
    }

    /// Its text encoders, one or two.
    pub(super) fn text_encoders(&self) -> usize {
        self.encoders.count()
    }

    /// The tokenizer of one of its text encoders.
    pub(super) fn tokenizer_of(&self, encoder: usize) -> &ClipTokenizer {
        match (encoder, &self.tokenizer_2) {
            (1, Some(second)) => second,
            _ => &self.tokenizer,
        }
    }

    /// Whether text encoders stay on the device once prompts are encoded. Those of SDXL leave it by
    /// themselves, and come back from the model's files for the next prompt that isn't known yet.
    /// None: as is usual for their size.
    pub fn keep_text_encoders(&self, keep: Option<bool>) {
        self.encoders.set_keep(keep);
        (0..self.encoders.count()).for_each(|encoder| self.encoders.used(encoder));
    }

    /// What the text encoder makes of rows of tokens, `[rows, tokens, width]`. It isn't asked, nor
    /// loaded again, for the last few that it made with the adapters as they are.
    ///
    /// # Errors
    /// When the text encoder refuses the tokens, or the model's files can't be read any more.
    pub fn embeddings(&self, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        self.embeddings_without(ids, 0)
    }

    /// The same without the text encoder's last `skipped` layers.
    ///
    /// # Errors
    /// As [`Self::embeddings`].
    pub fn embeddings_without(&self, ids: &[Vec<u32>], skipped: usize) -> Result<Tensor<3>> {
        Ok(self.states(0, ids, skipped)?.hidden)
    }

    /// A prompt as it is, without weights and cut after its first row of tokens, as diffusers'
    /// `encode_prompt` has it: states `[1, tokens, width]`, of SDXL's two encoders side by side, and the
    /// pooled vector `[1, width]`, where there is one.
    ///
    /// # Errors
    /// When a text encoder can't be loaded again.
    pub fn encode_prompt(&self, prompt: &str) -> Result<TextStates> {
        let each = (0..self.encoders.count())
            .map(|encoder| {
                let ids = self.tokenizer_of(encoder).encode(prompt)?.ids;
                self.states(encoder, &[ids], 0)
            })
            .collect::<Result<Vec<_>>>()?;
        let pooled = each.iter().filter_map(|states| states.pooled.clone()).next_back();
        let hidden = each.into_iter().map(|states| states.hidden).collect();
        Ok(TextStates { hidden: Tensor::cat(hidden, 2), pooled })
    }

    /// What one of the text encoders gives the UNet: of SD 1 and 2 hidden states after the final norm, of
    /// SDXL those of the last layer but one without it, and a pooled vector.
    pub(super) fn states(
        &self,
        encoder: usize,
        ids: &[Vec<u32>],
        skipped: usize,
    ) -> Result<TextStates> {
        let lexicon = self.lexicon.borrow();
        let taught = |id| lexicon.vector(encoder, id);
        let sites = self.encoders.text_sites(encoder);
        self.prompts.get(encoder, ids, skipped, sites, || {
            let model = self.encoders.text_encoder(encoder)?;
            let states = if self.encoders.count() == 1 {
                let hidden = model.hidden_with(ids, skipped, taught)?;
                TextStates { hidden, pooled: None }
            } else {
                model.states(ids, skipped, taught)?
            };
            drop(model);
            self.encoders.used(encoder);
            Ok(states)
        })
    }
}

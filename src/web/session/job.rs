//! A picture in the making.

use crate::pipelines::{StableDiffusion, TextToImage};

/// Its work, and when it began.
pub(super) struct Job {
    pub(super) work: TextToImage,
    /// The adapter in training, attached for this picture alone.
    pub(super) borrowed: Option<u64>,
    pub(super) started: f64,
    pub(super) step_started: f64,
    pub(super) slow: bool,
}

impl Job {
    /// Takes off what was attached for this picture alone.
    pub(super) fn give_back(&self, model: &StableDiffusion) {
        if let Some(id) = self.borrowed {
            // It can only be gone already.
            let _ = model.remove_adapter(id);
        }
    }
}

//! What stays of a run's evaluations.

use serde::{Deserialize, Serialize};

/// A mean loss and its ratio to the base model's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stable {
    /// Mean over pictures and timesteps.
    pub loss: f64,
    /// Mean over timesteps of loss / the base's loss.
    pub ratio: f64,
}

/// What stays of an evaluation, to compare later ones with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// After this many steps.
    pub step: usize,
    /// On the pictures trained on.
    pub train: Stable,
    /// On those held out.
    pub held_out: Option<Stable>,
    /// How far prompts other than the captions have moved, in units of the base's own error there.
    pub drift: f64,
}

impl Evaluated {
    /// The ratio that runs are judged by: that on held-out pictures where there are any.
    pub fn judged(&self) -> f64 {
        self.held_out.unwrap_or(self.train).ratio
    }
}

//! What every kind reads from the config: the noise schedule, what the model predicts, how the
//! timesteps lie.

use super::config::word;
use super::{NoiseSchedule, SchedulerConfig};
use crate::error::Result;

pub(super) use super::defaults::{BetaSchedule, Defaults, Prediction, Spacing};

/// The config's common part with a kind's defaults filled in and its words understood.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub noise: NoiseSchedule,
    pub prediction: Prediction,
    pub spacing: Spacing,
    pub steps_offset: usize,
    /// The noise levels to go down, where they aren't those of the timesteps.
    pub levels: Option<Vec<f64>>,
}

impl Base {
    pub fn resolve(config: &SchedulerConfig, defaults: &Defaults) -> Result<Self> {
        let spacing = match &config.timestep_spacing {
            None => defaults.spacing,
            given => {
                let known = [
                    ("leading", Spacing::Leading),
                    ("trailing", Spacing::Trailing),
                    ("linspace", Spacing::Linspace),
                ];
                word("timestep_spacing", given, &known)?
            }
        };
        let predictions = [
            ("epsilon", Prediction::Epsilon),
            ("v_prediction", Prediction::Velocity),
            ("sample", Prediction::Sample),
        ];
        let count = if defaults.predicts_sample { 3 } else { 2 };
        Ok(Self {
            noise: NoiseSchedule::resolve(config, defaults)?,
            prediction: word("prediction_type", &config.prediction_type, &predictions[..count])?,
            spacing,
            steps_offset: config.steps_offset.unwrap_or(0),
            levels: config.given_levels()?,
        })
    }

    /// The number of training timesteps, 1 or more.
    pub fn train(&self) -> usize {
        self.noise.alphas_cumprod.len()
    }
}

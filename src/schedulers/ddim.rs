//! DDIM with eta 0: <https://arxiv.org/abs/2010.02502>, `scheduling_ddim.py`.

use super::config::{Prediction, Settings, Spacing};
use super::{NoiseSchedule, Step, timesteps};
use crate::error::Result;

/// The timesteps that DDIM and DDPM share.
pub(super) fn spaced_timesteps(settings: &Settings, n: usize) -> Vec<usize> {
    let train = settings.num_train_timesteps;
    match settings.spacing {
        Spacing::Linspace => {
            let points = timesteps::linspace((train - 1) as f64, n);
            points.into_iter().rev().map(|t| t.round_ties_even() as usize).collect()
        }
        Spacing::Leading => timesteps::leading(train / n, n, settings.steps_offset),
        Spacing::Trailing => timesteps::trailing(train, train, n),
    }
}

/// The `n` steps.
pub(super) fn steps(settings: &Settings, noise: &NoiseSchedule, n: usize) -> Result<Vec<Step>> {
    let stride = settings.num_train_timesteps / n;
    spaced_timesteps(settings, n)
        .into_iter()
        .map(|t| {
            let abar = noise.abar(t)?;
            let abar_previous = match t.checked_sub(stride) {
                Some(previous) => noise.abar(previous)?,
                None if settings.set_alpha_to_one => 1.0,
                None => noise.abar(0)?,
            };
            let (signal, spread) = (abar.sqrt(), (1.0 - abar).sqrt());
            // "direction pointing to x_t", formula (12)
            let direction = (1.0 - abar_previous).sqrt();
            // The noise as the model sees it, from the unclipped x0.
            let (noise_from_sample, noise_from_model) = match settings.prediction {
                Prediction::Epsilon => (0.0, 1.0),
                Prediction::Velocity => (spread, signal),
                Prediction::Sample => (1.0 / spread, -signal / spread),
            };
            Ok(Step {
                from_sample: direction * noise_from_sample,
                from_model: direction * noise_from_model,
                from_x0: abar_previous.sqrt(),
                ..Step::variance_preserving(
                    t as f64,
                    settings.prediction,
                    signal,
                    spread,
                    settings.clip,
                )
            })
        })
        .collect()
}

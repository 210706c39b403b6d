//! DDPM: <https://arxiv.org/abs/2006.11239>, `scheduling_ddpm.py`.

use super::config::{Settings, Variance};
use super::{NoiseSchedule, Step, ddim};
use crate::error::Result;

/// The `n` steps.
pub(super) fn steps(settings: &Settings, noise: &NoiseSchedule, n: usize) -> Result<Vec<Step>> {
    let timesteps = ddim::spaced_timesteps(settings, n);
    timesteps
        .iter()
        .enumerate()
        .map(|(i, &t)| {
            let abar = noise.abar(t)?;
            let abar_previous = match timesteps.get(i + 1) {
                Some(&previous) => noise.abar(previous)?,
                None => 1.0,
            };
            let (beta, beta_previous) = (1.0 - abar, 1.0 - abar_previous);
            let current_alpha = abar / abar_previous;
            let current_beta = 1.0 - current_alpha;
            // Formula (7); the variance is that of formula (6) with either choice of sigma.
            let variance = match settings.variance {
                Variance::FixedSmall => (beta_previous / beta * current_beta).max(1e-20),
                Variance::FixedLarge => current_beta,
            };
            Ok(Step {
                from_x0: abar_previous.sqrt() * current_beta / beta,
                from_sample: current_alpha.sqrt() * beta_previous / beta,
                from_noise: if t > 0 { variance.sqrt() } else { 0.0 },
                ..Step::variance_preserving(
                    t as f64,
                    settings.prediction,
                    abar.sqrt(),
                    beta.sqrt(),
                    settings.clip,
                )
            })
        })
        .collect()
}

//! Latent consistency models: <https://arxiv.org/abs/2310.04378>, `scheduling_lcm.py`.

use super::config::Settings;
use super::{NoiseSchedule, Step, too_many};
use crate::error::Result;

/// The `n` steps.
pub(super) fn steps(settings: &Settings, noise: &NoiseSchedule, n: usize) -> Result<Vec<Step>> {
    let original = settings.original_inference_steps;
    if n > original {
        return Err(too_many(n, original));
    }
    // Evenly spaced picks out of the timesteps that the model was distilled on.
    let stride = settings.num_train_timesteps / original;
    let pick = original as f64 / n as f64;
    let timesteps: Vec<usize> =
        (0..n).map(|i| (original - (i as f64 * pick).floor() as usize) * stride - 1).collect();
    timesteps
        .iter()
        .enumerate()
        .map(|(i, &t)| {
            let abar = noise.abar(t)?;
            // Boundary condition: sigma_data is 0.5.
            let scaled = t as f64 * settings.timestep_scaling;
            let c_skip = 0.25 / (scaled * scaled + 0.25);
            let c_out = scaled / (scaled * scaled + 0.25).sqrt();
            // All but the last step noise the denoised latents again.
            let (keep, from_noise) = match timesteps.get(i + 1) {
                Some(&next) => noise.add_noise(next)?,
                None => (1.0, 0.0),
            };
            Ok(Step {
                from_x0: keep * c_out,
                from_sample: keep * c_skip,
                from_noise,
                ..Step::variance_preserving(
                    t as f64,
                    settings.prediction,
                    abar.sqrt(),
                    (1.0 - abar).sqrt(),
                    settings.clip,
                )
            })
        })
        .collect()
}

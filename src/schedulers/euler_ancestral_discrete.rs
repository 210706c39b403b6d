//! Euler ancestral: a longer Euler step, then noise up to the next level
//! (k-diffusion's `sample_euler_ancestral`, `scheduling_euler_ancestral_discrete.py`).

use super::config::Settings;
use super::{NoiseSchedule, Step, euler_discrete, sigmas};
use crate::error::Result;

/// `init_noise_sigma` and the `n` steps.
pub(super) fn steps(
    settings: &Settings,
    noise: &NoiseSchedule,
    n: usize,
) -> Result<(f64, Vec<Step>)> {
    let table = noise.sigmas();
    let timesteps = euler_discrete::spaced_timesteps(settings, n);
    let mut levels: Vec<f64> =
        timesteps.iter().map(|&t| f64::from(sigmas::interpolate(t, &table) as f32)).collect();
    levels.push(0.0);

    let list = timesteps
        .iter()
        .zip(levels.windows(2))
        .map(|(&t, pair)| {
            let (from, to) = (pair[0], pair[1]);
            let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
            let down = (to * to - up * up).sqrt();
            Step { from_noise: up, ..euler_discrete::euler(t, settings.prediction, from, down) }
        })
        .collect();
    Ok((euler_discrete::init_noise_sigma(settings, &levels), list))
}

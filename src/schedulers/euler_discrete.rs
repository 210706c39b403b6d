//! Euler: algorithm 2 of <https://arxiv.org/abs/2206.00364> without churn,
//! `scheduling_euler_discrete.py`.

use super::config::{Prediction, Settings, Spacing};
use super::noise_schedule::linspace;
use super::{NoiseSchedule, Step, sigmas, timesteps};
use crate::error::Result;

/// The f32 timesteps that both Euler samplers share.
pub(super) fn spaced_timesteps(settings: &Settings, n: usize) -> Vec<f64> {
    let train = settings.num_train_timesteps;
    match settings.spacing {
        Spacing::Linspace => {
            let points = timesteps::linspace((train - 1) as f64, n);
            points.into_iter().rev().map(|t| f64::from(t as f32)).collect()
        }
        Spacing::Leading => {
            let points = timesteps::leading(train / n, n, settings.steps_offset);
            points.into_iter().map(|t| t as f64).collect()
        }
        Spacing::Trailing => {
            timesteps::trailing(train, train, n).into_iter().map(|t| t as f64).collect()
        }
    }
}

/// The standard deviation of the first sample, of noise levels `sigmas`.
pub(super) fn init_noise_sigma(settings: &Settings, sigmas: &[f64]) -> f64 {
    let most = sigmas.iter().copied().fold(0.0, f64::max);
    match settings.spacing {
        Spacing::Leading => (most * most + 1.0).sqrt(),
        Spacing::Linspace | Spacing::Trailing => most,
    }
}

/// The part that both Euler samplers share: input scaling and `x0` at noise level `sigma`.
pub(super) fn denoise(timestep: f64, prediction: Prediction, sigma: f64) -> Step {
    let variance = sigma * sigma + 1.0;
    let (x0_from_sample, x0_from_model) = match prediction {
        Prediction::Epsilon => (1.0, -sigma),
        Prediction::Velocity => (1.0 / variance, -sigma / variance.sqrt()),
        Prediction::Sample => (0.0, 1.0),
    };
    Step {
        timestep,
        input_scale: 1.0 / variance.sqrt(),
        x0_from_sample,
        x0_from_model,
        clip: None,
        from_sample: 0.0,
        from_model: 0.0,
        from_x0: 0.0,
        from_previous_x0: 0.0,
        from_noise: 0.0,
    }
}

/// An Euler step from noise level `from` to `to`, along the line through sample and `x0`.
pub(super) fn euler(timestep: f64, prediction: Prediction, from: f64, to: f64) -> Step {
    let step = denoise(timestep, prediction, from);
    match prediction {
        // The slope is the model's output itself.
        Prediction::Epsilon => Step { from_sample: 1.0, from_model: to - from, ..step },
        Prediction::Velocity | Prediction::Sample => {
            Step { from_sample: to / from, from_x0: 1.0 - to / from, ..step }
        }
    }
}

/// `init_noise_sigma` and the `n` steps.
pub(super) fn steps(
    settings: &Settings,
    noise: &NoiseSchedule,
    n: usize,
) -> Result<(f64, Vec<Step>)> {
    let table = noise.sigmas();
    let log_table: Vec<f32> = table.iter().map(|s| s.ln()).collect();
    let mut timesteps = spaced_timesteps(settings, n);
    let mut levels: Vec<f64> = if settings.log_linear {
        // One level more than steps, so the last step does not reach the final sigma: as diffusers.
        let (low, high) = (log_table[0], log_table[log_table.len() - 1]);
        let logs = linspace(f64::from(high), f64::from(low), n + 1);
        logs.into_iter().map(|log| f64::from(log.exp())).collect()
    } else {
        timesteps.iter().map(|&t| sigmas::interpolate(t, &table)).collect()
    };
    if settings.karras && log_table.len() > 1 {
        let min = settings.sigma_min.unwrap_or(levels[levels.len() - 1]);
        let max = settings.sigma_max.unwrap_or(levels[0]);
        levels = sigmas::karras(min, max, n);
        timesteps = levels
            .iter()
            .map(|&sigma| f64::from(sigmas::sigma_to_t(sigma, &log_table) as f32))
            .collect();
    }
    levels.push(if settings.final_sigma_zero { 0.0 } else { f64::from(table[0]) });
    let levels: Vec<f64> = levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect();

    let list = timesteps
        .iter()
        .zip(levels.windows(2))
        .map(|(&t, pair)| euler(t, settings.prediction, pair[0], pair[1]))
        .collect();
    Ok((init_noise_sigma(settings, &levels), list))
}

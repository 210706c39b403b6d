//! Latent consistency models: <https://arxiv.org/abs/2310.04378>, `scheduling_lcm.py`.

use super::base::{Base, BetaSchedule, Defaults};
use super::call::{Call, Mix};
use super::config::within;
use super::{Plan, Run, SchedulerConfig, too_many};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults {
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: BetaSchedule::ScaledLinear,
    ..Defaults::PRODUCTS
};

/// Evenly spaced picks out of the `original_inference_steps` timesteps that a model was distilled on.
pub(super) fn distilled_timesteps(
    base: &Base,
    config: &SchedulerConfig,
    run: Run,
) -> Result<Vec<usize>> {
    let n = run.steps;
    let train = base.train();
    let original = within(
        "original_inference_steps",
        config.original_inference_steps.unwrap_or(50),
        1..=train,
        "LCM models have 50",
    )?;
    if n > original {
        return Err(too_many(n, original));
    }
    let stride = train / original;
    let pick = original as f64 / n as f64;
    let pick = |i: usize| (original - (i as f64 * pick).floor() as usize) * stride - 1;
    let mut timesteps = (0..n).map(pick).collect();
    run.cut(&mut timesteps);
    Ok(timesteps)
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    config.refuse(&["thresholding"])?;
    let clip = config.clip(false)?;
    let scaling = config.timestep_scaling.unwrap_or(10.0);
    let timesteps = distilled_timesteps(&base, config, run)?;
    let call = |(i, &t): (usize, &usize)| {
        let abar = base.noise.abar(t)?;
        // Boundary condition: sigma_data is 0.5.
        let scaled = t as f64 * scaling;
        let c_skip = 0.25 / (scaled * scaled + 0.25);
        let c_out = scaled / (scaled * scaled + 0.25).sqrt();
        let denoised = Mix::X0 * c_out + Mix::SAMPLE * c_skip;
        // All but the last step noise the denoised latents again.
        let next = match timesteps.get(i + 1) {
            Some(&next) => {
                let (signal, spread) = base.noise.add_noise(next)?;
                denoised * signal + Mix::NOISE * spread
            }
            None => denoised,
        };
        let (signal, spread) = (abar.sqrt(), (1.0 - abar).sqrt());
        let start = Call::variance_preserving(t as f64, base.prediction, signal, spread);
        Ok(Call { clip, next, ..start })
    };
    let calls = timesteps.iter().enumerate().map(call).collect::<Result<_>>()?;
    Ok(Plan { init_noise_sigma: 1.0, calls })
}

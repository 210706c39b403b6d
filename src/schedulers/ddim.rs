//! DDIM: <https://arxiv.org/abs/2010.02502>, `scheduling_ddim.py`.

use super::base::{Base, Defaults, Spacing};
use super::call::{Call, Mix, noise_seen};
use super::{Plan, Run, SchedulerConfig, timesteps};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::PRODUCTS;

/// The timesteps that DDIM, DDPM and PNDM share, descending.
pub(super) fn spaced_timesteps(base: &Base, run: Run) -> Vec<usize> {
    let (train, n) = (base.train(), run.steps);
    let mut timesteps = match base.spacing {
        Spacing::Linspace => {
            let points = timesteps::linspace((train - 1) as f64, n);
            points.into_iter().rev().map(|t| t.round_ties_even() as usize).collect()
        }
        Spacing::Leading => timesteps::leading(train / n, n, base.steps_offset),
        Spacing::Trailing => timesteps::trailing(train, train, n),
    };
    run.cut(&mut timesteps);
    timesteps
}

/// The alpha product where a run ends: that of before the first timestep.
pub(super) fn final_product(base: &Base, config: &SchedulerConfig, default: bool) -> Result<f64> {
    if config.set_alpha_to_one.unwrap_or(default) { Ok(1.0) } else { base.noise.abar(0) }
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    config.refuse(&["thresholding"])?;
    let clip = config.clip(true)?;
    let final_product = final_product(&base, config, true)?;
    let eta = config.eta(0.0)?;
    let stride = base.train() / run.steps;
    let call = |t: usize| {
        let abar = base.noise.abar(t)?;
        let abar_previous = match t.checked_sub(stride) {
            Some(previous) => base.noise.abar(previous)?,
            None => final_product,
        };
        let (signal, spread) = (abar.sqrt(), (1.0 - abar).sqrt());
        // formula (16), without noise in a step that makes the sample no cleaner
        let variance = (1.0 - abar_previous) / (1.0 - abar) * (1.0 - abar / abar_previous);
        let fresh = eta * variance.max(0.0).sqrt();
        // "direction pointing to x_t", formula (12), from the unclipped x0
        let direction = noise_seen(base.prediction, signal, spread)
            * (1.0 - abar_previous - fresh * fresh).max(0.0).sqrt();
        Ok(Call {
            clip,
            next: Mix::X0 * abar_previous.sqrt() + direction + Mix::NOISE * fresh,
            ..Call::variance_preserving(t as f64, base.prediction, signal, spread)
        })
    };
    let calls = spaced_timesteps(&base, run).into_iter().map(call).collect::<Result<_>>()?;
    Ok(Plan { init_noise_sigma: 1.0, calls })
}

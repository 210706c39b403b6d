//! Trajectory consistency: steps that go further than they end, then noise
//! (<https://arxiv.org/abs/2402.19159>, `scheduling_tcd.py`).

use super::base::{Base, Defaults};
use super::call::{Call, Mix, noise_seen};
use super::lcm::{self, distilled_timesteps};
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = lcm::DEFAULTS;

/// How stochastic a step is where nobody says: the argument's default in diffusers.
const ETA: f64 = 0.3;

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let eta = config.eta(ETA)?;
    let timesteps = distilled_timesteps(&base, config, run)?;
    let call = |(i, &t): (usize, &usize)| {
        let next_t = timesteps.get(i + 1).copied();
        let further = ((1.0 - eta) * next_t.unwrap_or(0) as f64).floor() as usize;
        let (signal, spread) = base.noise.add_noise(t)?;
        let (signal_further, spread_further) = base.noise.add_noise(further)?;
        let denoised =
            Mix::X0 * signal_further + noise_seen(base.prediction, signal, spread) * spread_further;
        let next = match next_t {
            Some(next) if eta > 0.0 => {
                let ratio = base.noise.abar(next)? / base.noise.abar(further)?;
                denoised * ratio.sqrt() + Mix::NOISE * (1.0 - ratio).sqrt()
            }
            _ => denoised,
        };
        Ok(Call { next, ..Call::variance_preserving(t as f64, base.prediction, signal, spread) })
    };
    let calls = timesteps.iter().enumerate().map(call).collect::<Result<_>>()?;
    Ok(Plan { init_noise_sigma: 1.0, calls })
}

//! Euler: algorithm 2 of <https://arxiv.org/abs/2206.00364> without churn,
//! `scheduling_euler_discrete.py`.

use super::base::{Base, Defaults, Prediction};
use super::call::{Call, Mix};
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

/// An Euler step from noise level `from` to `to`, along the line through sample and `x0`.
pub(super) fn euler(timestep: f64, prediction: Prediction, from: f64, to: f64) -> Call {
    let next = match prediction {
        // The slope is the model's output itself.
        Prediction::Epsilon => Mix::SAMPLE + Mix::MODEL * (to - from),
        Prediction::Velocity | Prediction::Sample => line(from, to),
    };
    Call { next, ..Call::variance_exploding(timestep, prediction, from) }
}

/// From noise level `from` to `to` on the line through sample and `x0`.
pub(super) fn line(from: f64, to: f64) -> Mix {
    Mix::SAMPLE * (to / from) + Mix::X0 * (1.0 - to / from)
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let layout = Layout::resolve(config, false)?;
    let options = EulerOptions::resolve(config, layout)?;
    let ladder = ladder::of_euler(&base, layout, false, options, run);
    let calls = ladder.pairs().map(|(t, from, to)| euler(t, base.prediction, from, to));
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls: calls.collect() })
}

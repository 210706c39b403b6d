//! Heun: Euler's step, then its slope and the one at its end in equal parts (algorithm 1 of
//! <https://arxiv.org/abs/2206.00364>, `scheduling_heun_discrete.py`). Two calls a step, the last
//! step one.

use super::base::{Base, Defaults, Prediction};
use super::call::{Call, Mix, slope};
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults =
    Defaults { beta_start: 0.00085, beta_end: 0.012, ..Defaults::LEVELS };

/// A step between two levels, each with its timestep; to level 0 it is Euler's.
pub(super) fn step(
    prediction: Prediction,
    clip: Option<f64>,
    (t, from): (f64, f64),
    (next_t, to): (f64, f64),
) -> Vec<Call> {
    let first = slope(prediction, from, clip);
    let start = Call {
        clip,
        next: Mix::SAMPLE + first * (to - from),
        ..Call::variance_exploding(t, prediction, from)
    };
    if to == 0.0 {
        return vec![start];
    }
    let second = slope(prediction, to, clip);
    let end = Call {
        clip,
        next: Mix::ANCHOR + (Mix::kept(0) + second) * (0.5 * (to - from)),
        ..Call::variance_exploding(next_t, prediction, to)
    };
    let start = Call { anchor: Some(Mix::SAMPLE), keep: Some(first), ends_step: false, ..start };
    vec![start, end]
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let clip = config.clip(false)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, false, EulerOptions::default(), run);
    let mut calls = Vec::new();
    for (i, (t, from, to)) in ladder.pairs().enumerate() {
        let end = (ladder.timestep_of(i + 1), to);
        calls.extend(step(base.prediction, clip, (t, from), end));
    }
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls })
}

//! Euler ancestral: a longer Euler step, then noise up to the next level
//! (k-diffusion's `sample_euler_ancestral`, `scheduling_euler_ancestral_discrete.py`).

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::euler_discrete::euler;
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults { predicts_sample: false, ..Defaults::LEVELS };

/// Where an ancestral step goes on its way from level `from` to `to`, and how much noise is added
/// then: `(down, up)`; `eta` is 0 for none and 1 for all of it. diffusers' `down` is a small difference
/// in f32: 1 % off on the way from level 14.6 to 0.03.
pub(super) fn ancestral(from: f64, to: f64, eta: f64) -> (f64, f64) {
    let all = (to * to * (from * from - to * to) / (from * from)).sqrt();
    let up = to.min(eta * all);
    ((to * to - up * up).sqrt(), up)
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let ladder = ladder::of_euler(&base, Layout::Timesteps, false, EulerOptions::default(), run);
    let eta = config.eta(1.0)?;
    let calls = ladder.pairs().map(|(t, from, to)| {
        let (down, up) = ancestral(from, to, eta);
        let step = euler(t, base.prediction, from, down);
        Call { next: step.next + Mix::NOISE * up, ..step }
    });
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls: calls.collect() })
}

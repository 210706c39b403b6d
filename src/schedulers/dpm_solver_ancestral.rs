//! DPM-Solver++ 2S ancestral and DPM-Solver++ SDE: half a step to the middle of the levels' logarithms,
//! whose `x0` then serves the whole step; the one adds noise after each step, the other after both
//! halves (k-diffusion's `sample_dpmpp_2s_ancestral` and `sample_dpmpp_sde`,
//! <https://arxiv.org/abs/2211.01095>, `scheduling_dpmsolver_sde.py`). Two calls a step, the last step
//! one.
//!
//! The SDE's noises are those of a Brownian path down given levels: alike as far as their stretches
//! overlap.

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::euler_ancestral_discrete::ancestral;
use super::euler_discrete::line;
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

pub(super) fn plan(config: &SchedulerConfig, run: Run, sde: bool) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let eta = config.eta(1.0)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, false, EulerOptions::default(), run);
    let mut calls = Vec::new();
    for (t, from, to) in ladder.pairs() {
        let start = Call::variance_exploding(t, base.prediction, from);
        let (down, up) = ancestral(from, to, eta);
        if down == 0.0 {
            calls.push(Call { next: line(from, 0.0), ..start });
            continue;
        }
        let target = if sde { to } else { down };
        let (middle, middle_t) = ladder.beside((from * target).sqrt());
        let (half, half_up) = if sde { ancestral(from, middle, eta) } else { (middle, 0.0) };
        calls.push(Call {
            next: line(from, half) + Mix::NOISE * half_up,
            anchor: Some(Mix::SAMPLE),
            ends_step: false,
            between: sde.then_some([from, middle]),
            ..start
        });
        let whole = Mix::ANCHOR * (down / from) + Mix::X0 * (1.0 - down / from);
        calls.push(Call {
            next: whole + Mix::NOISE * up,
            between: sde.then_some([from, to]),
            ..Call::variance_exploding(middle_t, base.prediction, middle)
        });
    }
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls })
}

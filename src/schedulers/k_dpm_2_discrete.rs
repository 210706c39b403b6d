//! DPM2: the slope in the middle of a step, between the levels' logarithms (algorithm 2 of
//! <https://arxiv.org/abs/2206.00364>, `scheduling_k_dpm_2_discrete.py`), and its ancestral kind
//! (`scheduling_k_dpm_2_ancestral_discrete.py`). Two calls a step, the last step one.

use super::base::{Base, Defaults};
use super::call::{Call, Mix, slope};
use super::euler_ancestral_discrete::ancestral;
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults =
    Defaults { beta_start: 0.00085, beta_end: 0.012, predicts_sample: false, ..Defaults::LEVELS };

pub(super) fn plan(config: &SchedulerConfig, run: Run, is_ancestral: bool) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, true, EulerOptions::default(), run);
    let mut calls = Vec::new();
    let eta = if is_ancestral { config.eta(1.0)? } else { 0.0 };
    for (t, from, to) in ladder.pairs() {
        let (down, up) = ancestral(from, to, eta);
        let toward = |to| Call {
            next: Mix::SAMPLE + slope(base.prediction, from, None) * (to - from),
            ..Call::variance_exploding(t, base.prediction, from)
        };
        if down == 0.0 {
            calls.push(toward(0.0));
            continue;
        }
        let (middle, middle_t) = ladder.beside((from * down).sqrt());
        calls.push(Call { anchor: Some(Mix::SAMPLE), ends_step: false, ..toward(middle) });
        calls.push(Call {
            next: Mix::ANCHOR
                + slope(base.prediction, middle, None) * (down - from)
                + Mix::NOISE * up,
            ..Call::variance_exploding(middle_t, base.prediction, middle)
        });
    }
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls })
}

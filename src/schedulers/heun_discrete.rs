//! Heun: Euler's step, then its slope and the one at its end in equal parts (algorithm 1 of
//! <https://arxiv.org/abs/2206.00364>, `scheduling_heun_discrete.py`). Two calls a step, the last
//! step one.

use super::base::{Base, Defaults};
use super::call::{Call, Mix, slope};
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults =
    Defaults { beta_start: 0.00085, beta_end: 0.012, ..Defaults::LEVELS };

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let clip = config.clip(false)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, false, EulerOptions::default(), run);
    let mut calls = Vec::new();
    let pairs: Vec<_> = ladder.pairs().collect();
    for (i, &(t, from, to)) in pairs.iter().enumerate() {
        let first = slope(base.prediction, from, clip);
        let start = Call {
            clip,
            next: Mix::SAMPLE + first * (to - from),
            ..Call::variance_exploding(t, base.prediction, from)
        };
        let Some(&(next_t, ..)) = pairs.get(i + 1) else {
            calls.push(start);
            break;
        };
        calls.push(Call {
            anchor: Some(Mix::SAMPLE),
            keep: Some(first),
            ends_step: false,
            ..start
        });
        let second = slope(base.prediction, to, clip);
        calls.push(Call {
            clip,
            next: Mix::ANCHOR + (Mix::kept(0) + second) * (0.5 * (to - from)),
            ..Call::variance_exploding(next_t, base.prediction, to)
        });
    }
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls })
}

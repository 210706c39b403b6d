//! LMS: a linear multistep method over the last four slopes (k-diffusion's `sample_lms`,
//! `scheduling_lms_discrete.py`).

use super::base::{Base, Defaults};
use super::call::{Call, Mix, slope};
use super::ladder::{self, EulerOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

const ORDER: usize = 4;

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, false, EulerOptions::default(), run);
    let calls = ladder.pairs().enumerate().map(|(i, (t, from, to))| {
        let now = slope(base.prediction, from, None);
        // The levels of this slope and of those before, newest first, as far as they differ: steps
        // past the last training timestep have equal ones, where diffusers divides by zero.
        let mut levels = vec![from];
        for &level in ladder.levels[..i].iter().rev().take(ORDER - 1) {
            if levels.last() == Some(&level) {
                break;
            }
            levels.push(level);
        }
        let mut next = Mix::SAMPLE + now * integral(&levels, 0, from, to);
        for back in 1..levels.len() {
            next = next + Mix::kept(back - 1) * integral(&levels, back, from, to);
        }
        Call { next, keep: Some(now), ..Call::variance_exploding(t, base.prediction, from) }
    });
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls: calls.collect() })
}

/// The integral from `from` to `to` of the polynomial that is 1 at `levels[at]` and 0 at the
/// others. It is a cubic at most, for which Gauss' formula with two points is exact.
fn integral(levels: &[f64], at: usize, from: f64, to: f64) -> f64 {
    let polynomial = |x: f64| -> f64 {
        let others = levels.iter().enumerate().filter(|(i, _)| *i != at);
        others.map(|(_, &level)| (x - level) / (levels[at] - level)).product()
    };
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    let off = half / 3f64.sqrt();
    half * (polynomial(middle - off) + polynomial(middle + off))
}

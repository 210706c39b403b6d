//! Restart: Heun, which from 20 steps on goes back up from level 0.1 to 2 and down again
//! (<https://arxiv.org/abs/2306.14878>, A1111's `sd_samplers_extra.py`). Two calls a step, the last step
//! one.

use super::base::{Base, Defaults};
use super::call::Mix;
use super::heun_discrete::{self, step};
use super::ladder::{self, EulerOptions, Ladder};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = heun_discrete::DEFAULTS;

/// Where a way back begins, and where it leads.
const LOW: f64 = 0.1;
const HIGH: f64 = 2.0;

/// The steps of each way down again, and how many there are.
fn ways(steps: usize) -> Option<(usize, usize)> {
    match steps {
        0..20 => None,
        20..36 => Some((9, 1)),
        _ => Some((steps / 4, 2)),
    }
}

/// Steps from a level to another, each level with its timestep.
type Pairs = Vec<((f64, f64), (f64, f64))>;

fn pairs(ladder: &Ladder) -> Pairs {
    let own = |(i, (t, from, to))| ((t, from), (ladder.timestep_of(i + 1), to));
    let Some((steps, times)) = ways(ladder.timesteps.len()) else {
        return ladder.pairs().enumerate().map(own).collect();
    };
    let beside = |levels: Vec<f64>| -> Vec<(f64, f64)> {
        let with_timestep = |level| {
            let (level, t) = ladder.beside(level);
            (t, level)
        };
        levels.into_iter().map(with_timestep).collect()
    };
    // The steps of the ways back are missing in the way down, which is Karras' whatever was asked for.
    let count = ladder.timesteps.len();
    let lowest = ladder.levels[count - 1];
    let mut down = beside(karras(lowest, ladder.levels[0], count - steps * times));
    down.push((0.0, 0.0));
    let nearest = |level: f64| {
        let off = |i: &usize| (down[*i].1 - level).abs();
        (0..down.len()).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0)
    };
    let (low, high) = (nearest(LOW), nearest(HIGH));
    let mut pairs: Pairs = down.windows(2).map(|pair| (pair[0], pair[1])).collect();
    if high < low {
        let again = beside(karras(down[low].1, down[high].1, steps + 1));
        let again: Pairs = again.windows(2).map(|pair| (pair[0], pair[1])).collect();
        pairs.splice(low..low, again.repeat(times));
    }
    pairs
}

fn karras(min: f64, max: f64, n: usize) -> Vec<f64> {
    Layout::Karras.between(min, max, n).unwrap_or_default()
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let clip = config.clip(false)?;
    let layout = Layout::resolve(config, false)?;
    let ladder = ladder::of_euler(&base, layout, false, EulerOptions::default(), run);
    let pairs = pairs(&ladder);
    let mut calls = Vec::new();
    for (i, &(from, to)) in pairs.iter().enumerate() {
        let mut step = step(base.prediction, clip, from, to);
        let next = pairs.get(i + 1).map_or(0.0, |(from, _)| from.1);
        if next > to.1
            && let Some(last) = step.last_mut()
        {
            last.next = last.next + Mix::NOISE * (next * next - to.1 * to.1).sqrt();
        }
        calls.extend(step);
    }
    Ok(Plan { init_noise_sigma: ladder.init_noise_sigma(base.spacing), calls })
}

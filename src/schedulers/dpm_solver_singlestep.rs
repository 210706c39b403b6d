//! DPM-Solver++ 2S and 3S: steps of rising order, each from where its group started
//! (<https://arxiv.org/abs/2211.01095>, `scheduling_dpmsolver_singlestep.py`). One call a step.

use super::base::{Base, Defaults, Spacing};
use super::call::{Call, Mix};
use super::config::unsupported;
use super::dpm_solver::{self, Algorithm};
use super::ladder;
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

/// The order of each step (`get_order_list`): groups of 1 up to `order`. The last is lowered where the
/// config says so, and where the run ends at level 0. A run that begins within a group has no steps
/// before.
fn orders(order: usize, run: Run, lower_order_final: bool, ends_at_zero: bool) -> Vec<usize> {
    let n = run.steps;
    let lowers = ends_at_zero || (lower_order_final && n.is_multiple_of(order));
    let of_step = |i: usize| if lowers && i + 1 == n { 1 } else { i % order + 1 };
    (run.begin..n).zip(1..).map(|(i, most)| of_step(i).min(most)).collect()
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    // The class knows one spacing.
    let base = Base { spacing: Spacing::Linspace, ..Base::resolve(config, &DEFAULTS)? };
    let order = config.solver_order()?;
    let algorithm = Algorithm::resolve(config)?;
    if algorithm.sde && !algorithm.data {
        return Err(unsupported(
            "algorithm_type",
            "`sde-dpmsolver` is not for DPM++ 2S",
            "Use sde-dpmsolver++, or another scheduler",
        ));
    }
    let heun = dpm_solver::is_heun(config)?;
    let layout = Layout::resolve(config, false)?;
    let options = dpm_solver::ladder_options(config, layout)?;
    let ladder = ladder::of_solver(&base, config, options, run)?;
    let levels = ladder.preserving();
    let lower_order_final = config.lower_order_final.unwrap_or(false);
    let orders = orders(order, run, lower_order_final, config.ends_at_zero()?);

    let calls = ladder.timesteps.iter().zip(orders).enumerate().map(|(i, (&t, order))| {
        // The level at which the group of steps began.
        let (first, from, to) = (levels[i + 1 - order], levels[i], levels[i + 1]);
        let now = algorithm.quantity(base.prediction, from);
        let weights = algorithm.weights(first, to);
        let h = to.lambda() - first.lambda();
        // How far along a level lies.
        let at = |back: usize| (levels[i - back].lambda() - first.lambda()) / h;
        let differ = dpm_solver::most_orders(&levels, i) >= order;
        let start = if order == 1 { Mix::SAMPLE } else { Mix::ANCHOR };
        let oldest = if order == 1 { now } else { Mix::kept(order - 2) };
        let mut next = start * weights.decay + oldest * weights.value;
        match order {
            2 if differ => {
                let difference = (now + oldest * -1.0) * (1.0 / at(0));
                next = next + difference * if heun { weights.slope } else { 0.5 * weights.value };
            }
            3 if differ => {
                let (r0, r1) = (at(0), at(1));
                let near = (now + oldest * -1.0) * (1.0 / r0);
                let far = (Mix::kept(0) + oldest * -1.0) * (1.0 / r1);
                if heun {
                    let slope = (far * r0 + near * -r1) * (1.0 / (r0 - r1));
                    let curve = (near + far * -1.0) * (2.0 / (r0 - r1));
                    next = next + slope * weights.slope + curve * weights.curve;
                } else {
                    next = next + near * weights.slope;
                }
            }
            _ => {}
        }
        Call {
            next: next + Mix::NOISE * weights.noise,
            anchor: (order == 1).then_some(Mix::SAMPLE),
            keep: Some(now),
            ..Call::variance_preserving(t, base.prediction, from.signal, from.spread)
        }
    });
    Ok(Plan { init_noise_sigma: ladder.preserving_start(), calls: calls.collect() })
}

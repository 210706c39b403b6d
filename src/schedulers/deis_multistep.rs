//! DEIS in log-rho: the noise as a polynomial in the logarithm of the noise level
//! (<https://arxiv.org/abs/2204.13902>, `scheduling_deis_multistep.py`).

use super::base::{Base, Defaults};
use super::call::{Call, Mix, noise_seen};
use super::config::word;
use super::dpm_solver::most_orders;
use super::ladder::{self, FinalLevel, Level, SolverOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let order = config.solver_order()?;
    // diffusers takes the words of its other solvers for its own.
    let words = ["deis", "dpmsolver", "dpmsolver++"].map(|word| (word, ()));
    word("algorithm_type", &config.algorithm_type, &words)?;
    let words = ["logrho", "midpoint", "heun", "bh1", "bh2"].map(|word| (word, ()));
    word("solver_type", &config.solver_type, &words)?;
    let options = SolverOptions {
        layout: Layout::resolve(config, false)?,
        lambda_min_clipped: f64::NEG_INFINITY,
        final_level: FinalLevel::Last,
        keeps_cosine_timesteps: false,
    };
    let ladder = ladder::of_solver(&base, config, options, run)?;
    let levels = ladder.preserving();
    let count = ladder.timesteps.len();
    let lowers = config.lower_order_final.unwrap_or(true) && run.begin + count < 15;

    let calls = ladder.timesteps.iter().enumerate().map(|(i, &t)| {
        let (from, to) = (levels[i], levels[i + 1]);
        let now = noise_seen(base.prediction, from.signal, from.spread);
        let lowered = if lowers { order.min(count - i) } else { order };
        let order = lowered.min(i + 1).min(most_orders(&levels, i));
        let mut next = Mix::SAMPLE * (1.0 / from.signal);
        for at in 0..order {
            let value = if at == 0 { now } else { Mix::kept(at - 1) };
            next = next + value * integral(&levels[i + 1 - order..=i], at, from, to);
        }
        Call {
            next: next * to.signal,
            keep: Some(now),
            ..Call::variance_preserving(t, base.prediction, from.signal, from.spread)
        }
    });
    Ok(Plan { init_noise_sigma: 1.0, calls: calls.collect() })
}

/// The integral over sigma from `from` to `to` of the polynomial in `ln sigma` that is 1 at the level
/// `at` places before the last of `levels` and 0 at the others: its antiderivative is
/// `sigma (P - P' + P'')`, with derivatives by `ln sigma`.
fn integral(levels: &[Level], at: usize, from: Level, to: Level) -> f64 {
    let logs: Vec<f64> = levels.iter().rev().map(|level| level.sigma.ln()).collect();
    let others: Vec<f64> = (0..logs.len()).filter(|&i| i != at).map(|i| logs[i]).collect();
    let scale: f64 = others.iter().map(|log| logs[at] - log).product();
    let antiderivative = |sigma: f64| {
        let x = sigma.ln();
        let value = match others[..] {
            [] => 1.0,
            [a] => (x - a) - 1.0,
            [a, b] => (x - a) * (x - b) - (2.0 * x - a - b) + 2.0,
            _ => f64::NAN,
        };
        sigma * value / scale
    };
    antiderivative(to.sigma) - antiderivative(from.sigma)
}

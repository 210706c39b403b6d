//! UniPC: a multistep predictor, corrected with the next call's output
//! (<https://arxiv.org/abs/2302.04867>, `scheduling_unipc_multistep.py`). One call a step.

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::config::{unsupported, word};
use super::dpm_solver::{Algorithm, most_orders};
use super::ladder::{self, FinalLevel, Level, SolverOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

struct Solver {
    /// `predict_x0`: whether it extrapolates `x0` or the noise.
    algorithm: Algorithm,
    /// `solver_type: bh1`: B(h) is h, otherwise exp(h) - 1.
    bh1: bool,
}

impl Solver {
    /// A step from `levels[i]` to the next that starts from `sample`, where `values` are what is
    /// extrapolated: at `levels[i]` first, then at those before, as many as the order. With `new`,
    /// the value at the end, it is the corrector.
    ///
    /// At level 0 diffusers' `bh1` is not a number; the step goes to what the formula tends to.
    fn step(
        &self,
        levels: &[Level],
        i: usize,
        sample: Mix,
        values: &[Mix],
        new: Option<Mix>,
    ) -> Mix {
        let (from, to) = (levels[i], levels[i + 1]);
        let weights = self.algorithm.weights(from, to);
        let next = sample * weights.decay + values[0] * weights.value;
        let h = to.lambda() - from.lambda();
        let ratios: Vec<f64> = (1..values.len())
            .map(|back| (levels[i - back].lambda() - from.lambda()) / h)
            .chain(new.map(|_| 1.0))
            .collect();
        if ratios.is_empty() || h == 0.0 || !h.is_finite() {
            return next;
        }
        let signed = if self.algorithm.data { -h } else { h };
        let scale = if self.algorithm.data { to.signal } else { to.spread };
        let big = if self.bh1 { signed } else { signed.exp_m1() };
        // "for order 2, we use a simplified version", in the predictor; for order 1 in the corrector
        let shares = if ratios.len() == 1 { vec![0.5] } else { shares(&ratios, signed, big) };
        let differences = values[1..].iter().copied().chain(new).zip(ratios.iter().zip(&shares));
        differences.fold(next, |next, (value, (ratio, share))| {
            next + (value + values[0] * -1.0) * (-scale * big * share / ratio)
        })
    }
}

/// Solves `sum_k ratios[k]^(j-1) share_k = b_j` for j = 1, 2, ...
fn shares(ratios: &[f64], h: f64, big: f64) -> Vec<f64> {
    let mut phi = h.exp_m1() / h - 1.0;
    let mut factorial = 1.0;
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for j in 0..ratios.len() {
        let mut row: Vec<f64> = ratios.iter().map(|ratio| ratio.powi(j as i32)).collect();
        row.push(phi * factorial / big);
        rows.push(row);
        factorial *= (j + 2) as f64;
        phi = phi / h - 1.0 / factorial;
    }
    solve(rows)
}

/// Gauss' elimination of a few equations, each with its right side last.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    for column in 0..n {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        rows.swap(column, pivot);
        let pivot = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != column) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let order = config.solver_order()?;
    if config.solver_p.is_some() {
        return Err(unsupported(
            "solver_p",
            "another scheduler as predictor is not supported",
            "Leave it out, or choose another scheduler",
        ));
    }
    // diffusers reads the words of DPM-Solver and DEIS as bh2.
    let words = ["bh2", "bh1", "midpoint", "heun", "logrho"].map(|word| (word, word == "bh1"));
    let solver = Solver {
        algorithm: Algorithm::of_ode(config.predict_x0.unwrap_or(true)),
        bh1: word("solver_type", &config.solver_type, &words)?,
    };
    let options = SolverOptions {
        layout: Layout::resolve(config, false)?,
        lambda_min_clipped: f64::NEG_INFINITY,
        final_level: if config.ends_at_zero()? { FinalLevel::Zero } else { FinalLevel::Last },
        keeps_cosine_timesteps: false,
    };
    let ladder = ladder::of_solver(&base, config, options, run)?;
    let levels = ladder.preserving();
    let count = ladder.timesteps.len();
    let lowers = config.lower_order_final.unwrap_or(true);
    let uncorrected = config.disable_corrector.as_deref().unwrap_or_default();

    let mut calls = Vec::with_capacity(count);
    let mut order_before = 0;
    for (i, &t) in ladder.timesteps.iter().enumerate() {
        let from = levels[i];
        let now = solver.algorithm.quantity(base.prediction, from);
        let kept: [Mix; 3] = std::array::from_fn(Mix::kept);
        // The anchor is the sample, corrected, that the call before started from.
        let corrected = if i == 0 || uncorrected.contains(&(run.begin + i - 1)) {
            Mix::SAMPLE
        } else {
            solver.step(&levels, i - 1, Mix::ANCHOR, &kept[..order_before], Some(now))
        };
        let lowered = if lowers { order.min(count - i) } else { order };
        let this_order = lowered.min(i + 1).min(most_orders(&levels, i));
        let values = [now, kept[0], kept[1]];
        calls.push(Call {
            next: solver.step(&levels, i, corrected, &values[..this_order], None),
            anchor: Some(corrected),
            keep: Some(now),
            ..Call::variance_preserving(t, base.prediction, from.signal, from.spread)
        });
        order_before = this_order;
    }
    Ok(Plan { init_noise_sigma: ladder.preserving_start(), calls })
}

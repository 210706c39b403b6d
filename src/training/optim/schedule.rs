//! The learning rate: how it moves over a run, and how large it has to be.

use std::f64::consts::PI;

pub use crate::training::settings::choices::Schedule;

/// The share of a run in which [`Schedule::ConstantThenLinear`] goes down.
const DECAY: f64 = 0.2;

impl Schedule {
    /// The factor on the learning rate in `step` (from 0) of `steps`, with the first `warmup` steps
    /// rising linearly.
    ///
    /// The warm-up is `(step + 1) / warmup`: diffusers' and kohya's `step / warmup` wastes step 0.
    /// What falls begins after the warm-up, as theirs does (diffusers `optimization.py`). Past the
    /// last step the schedule stays at its end.
    pub fn multiplier(self, step: usize, steps: usize, warmup: usize) -> f64 {
        let rise = ((step + 1) as f64 / warmup.max(1) as f64).min(1.0);
        let share = |step: usize, of: usize| (step as f64 / of.max(1) as f64).min(1.0);
        let fallen = share(step.saturating_sub(warmup), steps.saturating_sub(warmup));
        rise * match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - fallen,
            Self::Cosine => 0.5 * (1.0 + (PI * fallen).cos()),
            Self::ConstantThenLinear => ((1.0 - share(step, steps)) / DECAY).min(1.0),
        }
    }

    /// The sum of all factors of a run: `steps` for a constant rate without warm-up.
    pub fn sum(self, steps: usize, warmup: usize) -> f64 {
        (0..steps).map(|step| self.multiplier(step, steps, warmup)).sum()
    }
}

/// The learning rate at which a LoRA's product grows by `growth` over a run (tuning-sweep.md, end).
///
/// With Adam each entry of A and B moves by about the learning rate a step, so with L, the sum of
/// the learning rates over the run,
///
/// ```text
/// growth = s sqrt(r) L (sigma + L)     so     L = (sqrt(sigma^2 + 4 growth / (s sqrt(r))) - sigma) / 2
/// ```
///
/// `growth` is the RMS of s B A in units of the weights, `scale` is `s = alpha / rank`, `sigma` the
/// standard deviation of A at the start (`init::sigma`), `multipliers_sum` is
/// [`Schedule::sum`]. `growth` 0.184 is what the sweep calls its unchanged settings, for weights of
/// RMS 0.078. All arguments are positive.
pub fn learning_rate(
    growth: f64,
    scale: f64,
    rank: usize,
    sigma: f64,
    multipliers_sum: f64,
) -> f64 {
    let product = growth / (scale * (rank as f64).sqrt());
    // (sqrt(sigma^2 + 4 x) - sigma) / 2 without the cancellation at small x.
    let total = 2.0 * product / ((sigma * sigma + 4.0 * product).sqrt() + sigma);
    total / multipliers_sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} {b}");
    }

    #[test]
    fn schedules_have_their_values() {
        let at = |schedule: Schedule, step| schedule.multiplier(step, 100, 0);
        for step in [0, 50, 99] {
            close(at(Schedule::Constant, step), 1.0, 0.0);
        }
        close(at(Schedule::Linear, 25), 0.75, 1e-12);
        close(at(Schedule::Cosine, 0), 1.0, 0.0);
        close(at(Schedule::Cosine, 50), 0.5, 1e-12);
        close(at(Schedule::Cosine, 25), 0.853_553_390_593, 1e-12);
        close(at(Schedule::Cosine, 100), 0.0, 1e-12);
        close(at(Schedule::ConstantThenLinear, 80), 1.0, 1e-12);
        close(at(Schedule::ConstantThenLinear, 90), 0.5, 1e-12);
        close(at(Schedule::ConstantThenLinear, 99), 0.05, 1e-12);
        close(at(Schedule::Linear, 1000), 0.0, 0.0);
        close(Schedule::Linear.multiplier(0, 0, 0), 1.0, 0.0);
    }

    #[test]
    fn warm_up_wastes_no_step() {
        let at = |step| Schedule::Constant.multiplier(step, 100, 10);
        close(at(0), 0.1, 1e-12);
        close(at(8), 0.9, 1e-12);
        close(at(9), 1.0, 0.0);
        close(at(50), 1.0, 0.0);
        close(Schedule::Linear.multiplier(4, 100, 10), 0.5, 1e-12);
    }

    /// `diffusers.get_scheduler(name, num_warmup_steps=10, num_training_steps=100)`, whose steps from
    /// the end of the warm-up on are ours: `get_last_lr()` of a rate of 1.
    #[test]
    fn what_falls_after_a_warm_up_falls_as_in_diffusers() {
        let at = |schedule: Schedule, step| schedule.multiplier(step, 100, 10);
        let theirs = [
            (10, 1.0, 1.0),
            (11, 0.988_888_888_889, 0.999_695_413_510),
            (33, 0.744_444_444_444, 0.847_329_185_229),
            (55, 0.5, 0.5),
            (78, 0.244_444_444_444, 0.140_330_099_831),
            (99, 0.011_111_111_111, 0.000_304_586_490),
        ];
        for (step, linear, cosine) in theirs {
            close(at(Schedule::Linear, step), linear, 1e-9);
            close(at(Schedule::Cosine, step), cosine, 1e-9);
        }
        // A run that is all warm-up.
        close(Schedule::Cosine.multiplier(99, 100, 200), 0.5, 1e-12);
    }

    #[test]
    fn sums_of_a_run() {
        close(Schedule::Constant.sum(100, 0), 100.0, 1e-9);
        close(Schedule::Constant.sum(100, 10), 95.5, 1e-9);
        close(Schedule::Linear.sum(100, 0), 50.5, 1e-9);
        close(Schedule::Cosine.sum(100, 0), 50.5, 1e-9);
        close(Schedule::ConstantThenLinear.sum(100, 0), 90.5, 1e-9);
        close(Schedule::Cosine.sum(0, 5), 0.0, 0.0);
    }

    /// The table of tuning-sweep.md; its 0.184 is rounded.
    #[test]
    fn the_rule_gives_the_rates_of_the_sweep() {
        let rate = |alpha: f64, rank: usize, sigma, steps: usize| {
            learning_rate(0.184, alpha / rank as f64, rank, sigma, steps as f64)
        };
        let gaussian = |rank: usize| 1.0 / rank as f64;
        for (got, want) in [
            (rate(8.0, 8, gaussian(8), 100), 2e-3),
            (rate(1.0, 8, gaussian(8), 100), 6.6e-3),
            (rate(32.0, 8, gaussian(8), 100), 8e-4),
            (rate(8.0, 8, gaussian(8), 50), 4e-3),
            (rate(8.0, 8, gaussian(8), 200), 1e-3),
            (rate(2.0, 2, gaussian(2), 100), 1.84e-3),
            (rate(32.0, 32, gaussian(32), 100), 1.65e-3),
        ] {
            close(got / want, 1.0, 0.03);
        }
        // The rule holds for its own result, also where L is tiny against sigma.
        for growth in [1e-9, 0.1, 10.0] {
            let total = learning_rate(growth, 0.5, 4, 0.25, 1.0);
            close(0.5 * 2.0 * total * (0.25 + total) / growth, 1.0, 1e-12);
        }
    }

    #[test]
    fn serde_names() {
        let json = serde_json::to_string(&Schedule::ConstantThenLinear).unwrap();
        assert_eq!(json, "\"constantThenLinear\"");
        assert_eq!(serde_json::from_str::<Schedule>("\"cosine\"").unwrap(), Schedule::Cosine);
    }
}

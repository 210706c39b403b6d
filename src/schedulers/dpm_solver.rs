//! What the solvers of DPM-Solver's family share: <https://arxiv.org/abs/2206.00927>,
//! <https://arxiv.org/abs/2211.01095>, `scheduling_dpmsolver_*.py`.

use super::SchedulerConfig;
use super::base::Prediction;
use super::call::{Mix, noise_seen};
use super::config::{unsupported, word};
use super::ladder::{FinalLevel, Level, SolverOptions};
use super::sigmas::Layout;
use crate::error::Result;

/// Which equation is solved, and of what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Algorithm {
    /// `++`: of `x0`; otherwise of the noise.
    pub data: bool,
    /// The stochastic equation: each step adds noise.
    pub sde: bool,
    /// How much noise that of `x0` adds, 0 to 1.
    pub eta: f64,
    /// diffusers' third order of the stochastic equation has the other sign in the first part of its
    /// curve, so that it tends to -1 instead of 0 for small steps; k-diffusion's hasn't.
    pub slips: bool,
}

impl Algorithm {
    /// `algorithm_type`, and whether a run may end at noise level 0 with it.
    pub fn resolve(config: &SchedulerConfig) -> Result<Self> {
        let known = [
            ("dpmsolver++", (true, false)),
            ("dpmsolver", (false, false)),
            ("sde-dpmsolver++", (true, true)),
            ("sde-dpmsolver", (false, true)),
            // diffusers too turns it into "dpmsolver++".
            ("deis", (true, false)),
        ];
        let (data, sde) = word("algorithm_type", &config.algorithm_type, &known)?;
        if !data && config.ends_at_zero()? {
            return Err(unsupported(
                "final_sigmas_type",
                "`zero` is not for algorithms without ++",
                "Set it to sigma_min, or algorithm_type to dpmsolver++",
            ));
        }
        Ok(Self { data, sde, eta: 1.0, slips: true })
    }

    /// The one without noise, of `x0` or of the noise.
    pub fn of_ode(data: bool) -> Self {
        Self { data, sde: false, eta: 0.0, slips: false }
    }

    /// What the solver extrapolates: `x0`, or the noise that the model sees.
    pub fn quantity(self, prediction: Prediction, from: Level) -> Mix {
        if self.data { Mix::X0 } else { noise_seen(prediction, from.signal, from.spread) }
    }

    /// The factors of a step from one level to another. At equal levels it is no step.
    pub fn weights(self, from: Level, to: Level) -> Weights {
        let h = to.lambda() - from.lambda();
        // exp(-h)
        let ratio = to.sigma / from.sigma;
        if self.data {
            let eta = if self.sde { self.eta } else { 0.0 };
            let g = (1.0 + eta) * h;
            let left = ratio.powf(1.0 + eta);
            let decay = to.spread / from.spread * ratio.powf(eta);
            let bend = 1.0 - (1.0 - left) / g;
            let curve = if self.sde && self.slips { bend / g + 0.5 } else { bend / g - 0.5 };
            return Weights {
                decay,
                value: to.signal * (1.0 - left),
                slope: to.signal * bend,
                curve: -to.signal * curve,
                noise: to.spread * (1.0 - ratio.powf(2.0 * eta)).sqrt(),
            };
        }
        let times = if self.sde { 2.0 } else { 1.0 };
        // to.spread * (exp(h) - 1), finite at level 0 too.
        let grown = to.signal * from.sigma - to.spread;
        Weights {
            decay: to.signal / from.signal,
            value: -times * grown,
            slope: -times * (grown / h - to.spread),
            curve: -((grown - to.spread * h) / (h * h) - 0.5 * to.spread),
            noise: if self.sde {
                to.spread * ((from.sigma / to.sigma).powi(2) - 1.0).sqrt()
            } else {
                0.0
            },
        }
    }
}

/// A step: `sample * decay + D0 * value + D1 * slope + D2 * curve + noise`, where `D0` is what the
/// solver extrapolates, `D1` and `D2` its first and second difference. `solver_type: midpoint`
/// takes `value / 2` for the slope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub decay: f64,
    pub value: f64,
    pub slope: f64,
    pub curve: f64,
    pub noise: f64,
}

/// `solver_type`: whether it is Heun's.
pub(super) fn is_heun(config: &SchedulerConfig) -> Result<bool> {
    let known = [
        ("midpoint", false),
        ("heun", true),
        // As diffusers' DPM-Solver reads the words of DEIS and UniPC.
        ("logrho", false),
        ("bh1", false),
        ("bh2", false),
    ];
    word("solver_type", &config.solver_type, &known)
}

/// The ladder as the config asks for it.
pub(super) fn ladder_options(config: &SchedulerConfig, layout: Layout) -> Result<SolverOptions> {
    Ok(SolverOptions {
        layout,
        lambda_min_clipped: config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY),
        final_level: if config.ends_at_zero()? { FinalLevel::Zero } else { FinalLevel::Table },
        keeps_cosine_timesteps: false,
    })
}

/// The most orders that a step at `levels[i]` to the next can have: a step and its predecessors must
/// differ, which many steps rounded to whole timesteps don't (diffusers divides by zero there).
pub(super) fn most_orders(levels: &[Level], i: usize) -> usize {
    let differ = |at: usize| levels[at].sigma != levels[at + 1].sigma;
    (0..=i.min(2)).take_while(|back| differ(i - back)).count().max(1)
}

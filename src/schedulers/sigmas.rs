//! Noise levels of the samplers that work with them.

use super::config::unsupported;
use super::{SchedulerConfig, timesteps};
use crate::error::Result;

/// `np.interp(t, arange(len), table)`: linear between the table's entries, constant outside.
pub(super) fn interpolate(t: f64, table: &[f32]) -> f64 {
    let last = table.len() - 1;
    if t >= last as f64 {
        return f64::from(table[last]);
    }
    let low = t.max(0.0).floor() as usize;
    let (a, b) = (f64::from(table[low]), f64::from(table[low + 1]));
    (b - a) * (t.max(0.0) - low as f64) + a
}

/// The training timestep, between two of the table's, that has noise level `sigma`
/// (`_sigma_to_t` in diffusers, whose log table is f32). `log_sigmas` rises and has one
/// entry or more.
pub(super) fn sigma_to_t(sigma: f64, log_sigmas: &[f32]) -> f64 {
    if log_sigmas.len() < 2 {
        return 0.0;
    }
    let log_sigma = sigma.max(1e-10).ln();
    let at_or_below = log_sigmas.partition_point(|&s| log_sigma - f64::from(s) >= 0.0);
    let low_index = at_or_below.saturating_sub(1).min(log_sigmas.len() - 2);
    let (low, high) = (log_sigmas[low_index], log_sigmas[low_index + 1]);
    let w = (f64::from(low) - log_sigma) / f64::from(low - high);
    let w = w.clamp(0.0, 1.0);
    (1.0 - w) * low_index as f64 + w * (low_index + 1) as f64
}

/// How the levels of a run lie between the largest and the smallest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Layout {
    /// Those of the timesteps.
    Timesteps,
    /// Karras et al.: <https://arxiv.org/abs/2206.00364>, equation 5, rho 7.
    Karras,
    /// Even logarithms.
    Exponential,
    /// By the quantiles of a beta distribution, denser at both ends:
    /// <https://arxiv.org/abs/2407.12173>.
    Beta,
    /// Lu et al. with rho 1: even logarithms as well, but other timesteps
    /// (<https://arxiv.org/abs/2211.01095>, appendix E).
    Lu,
}

impl Layout {
    /// What the config's `use_*_sigmas` say; `lu` where the kind reads `use_lu_lambdas`.
    ///
    /// # Errors
    /// More than one of them.
    pub fn resolve(config: &SchedulerConfig, lu: bool) -> Result<Self> {
        let flags = [
            ("use_karras_sigmas", config.use_karras_sigmas, Self::Karras),
            ("use_lu_lambdas", config.use_lu_lambdas.filter(|_| lu), Self::Lu),
            ("use_exponential_sigmas", config.use_exponential_sigmas, Self::Exponential),
            ("use_beta_sigmas", config.use_beta_sigmas, Self::Beta),
        ];
        let mut set = flags.into_iter().filter(|(_, value, _)| *value == Some(true));
        match (set.next(), set.next()) {
            (None, _) => Ok(Self::Timesteps),
            (Some((_, _, layout)), None) => Ok(layout),
            (Some((first, ..)), Some((second, ..))) => Err(unsupported(
                second,
                format!("true beside {first} contradicts it"),
                "Set one of them to false, or choose another scheduler",
            )),
        }
    }

    /// `n` levels from `max` down to `min`; none where the timesteps give them.
    pub fn between(self, min: f64, max: f64, n: usize) -> Option<Vec<f64>> {
        let ramp = timesteps::linspace(1.0, n).into_iter();
        Some(match self {
            Self::Timesteps => return None,
            Self::Karras => {
                const RHO: f64 = 7.0;
                let (min, max) = (min.powf(1.0 / RHO), max.powf(1.0 / RHO));
                ramp.map(|at| (max + at * (min - max)).powf(RHO)).collect()
            }
            Self::Exponential | Self::Lu => {
                let (min, max) = (min.ln(), max.ln());
                ramp.map(|at| (max + at * (min - max)).exp()).collect()
            }
            Self::Beta => ramp.map(|at| min + beta_quantile(1.0 - at) * (max - min)).collect(),
        })
    }
}

/// The quantile `q` of the beta distribution with both parameters 0.6: the `x` at which the
/// incomplete beta function is `q` of the whole.
fn beta_quantile(q: f64) -> f64 {
    if q > 0.5 {
        return 1.0 - beta_quantile(1.0 - q);
    }
    let whole = 2.0 * incomplete_beta(0.5);
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if incomplete_beta(middle) < q * whole {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The integral of `t^-0.4 (1 - t)^-0.4` from 0 to `x`, which is at most 1/2: the binomial series
/// of the second factor, term by term.
fn incomplete_beta(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 0.0;
    for k in 0..60 {
        let k = f64::from(k);
        sum += term / (k + 0.6);
        term *= x * (k + 0.4) / (k + 1.0);
    }
    sum * x.powf(0.6)
}

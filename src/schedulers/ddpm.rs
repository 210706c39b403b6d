//! DDPM: <https://arxiv.org/abs/2006.11239>, `scheduling_ddpm.py`.

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::config::word;
use super::ddim::spaced_timesteps;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::PRODUCTS;

/// The variance of the added noise.
#[derive(Clone, Copy)]
enum Variance {
    FixedSmall,
    FixedLarge,
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    config.refuse(&["thresholding"])?;
    let clip = config.clip(true)?;
    let known = [
        ("fixed_small", Variance::FixedSmall),
        // The same number by way of its logarithm.
        ("fixed_small_log", Variance::FixedSmall),
        ("fixed_large", Variance::FixedLarge),
    ];
    let variance = word("variance_type", &config.variance_type, &known)?;
    let timesteps = spaced_timesteps(&base, run);
    let call = |(i, &t): (usize, &usize)| {
        let abar = base.noise.abar(t)?;
        let abar_previous = match timesteps.get(i + 1) {
            Some(&previous) => base.noise.abar(previous)?,
            None => 1.0,
        };
        let (beta, beta_previous) = (1.0 - abar, 1.0 - abar_previous);
        let current_alpha = abar / abar_previous;
        let current_beta = 1.0 - current_alpha;
        // Formula (7); the variance is that of formula (6) with either choice of sigma.
        let variance = match variance {
            Variance::FixedSmall => (beta_previous / beta * current_beta).max(1e-20),
            Variance::FixedLarge => current_beta,
        };
        let next = Mix::X0 * (abar_previous.sqrt() * current_beta / beta)
            + Mix::SAMPLE * (current_alpha.sqrt() * beta_previous / beta)
            + Mix::NOISE * if t > 0 { variance.sqrt() } else { 0.0 };
        let start = Call::variance_preserving(t as f64, base.prediction, abar.sqrt(), beta.sqrt());
        Ok(Call { clip, next, ..start })
    };
    let calls = timesteps.iter().enumerate().map(call).collect::<Result<_>>()?;
    Ok(Plan { init_noise_sigma: 1.0, calls })
}

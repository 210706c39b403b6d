//! The forward process: how much signal and how much noise a training timestep has.

use super::config::{unsupported, within, word};
use super::defaults::{BetaSchedule, Defaults};
use super::{SchedulerConfig, SchedulerKind};
use crate::error::{Error, Result};

/// The cumulative products `abar_t` of the alphas: `x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps`.
///
/// Rounded to f32 where diffusers' tables are (`scheduling_ddpm.py`, `__init__`).
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    /// `abar_t`, falling from nearly 1 (t = 0) to nearly 0; `num_train_timesteps` of them.
    pub alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// The noise schedule that `kind` makes of `config`. Training uses [`SchedulerKind::Ddpm`].
    ///
    /// # Errors
    /// A field of the config with a value that we don't know, by name.
    pub fn new(kind: SchedulerKind, config: &SchedulerConfig) -> Result<Self> {
        Self::resolve(config, kind.defaults())
    }

    /// `rescale_betas_zero_snr` holds for every kind, since it tells how the model was trained:
    /// PNDM, LMS, Heun, DPM2 and DEIS don't read it in diffusers.
    pub(super) fn resolve(config: &SchedulerConfig, defaults: &Defaults) -> Result<Self> {
        let mut betas = betas(config, defaults)?;
        if let Some(t) = betas.iter().position(|beta| !(0.0..1.0).contains(beta)) {
            return Err(unsupported(
                if config.trained_betas.is_some() { "trained_betas" } else { "beta_end" },
                format!("beta at timestep {t} is {}, not within 0..1", betas[t]),
                "Stable Diffusion has beta_start 0.00085 and beta_end 0.012",
            ));
        }
        let zero_snr = config.rescale_betas_zero_snr.unwrap_or(false);
        if zero_snr {
            rescale_zero_terminal_snr(&mut betas);
        }
        let mut table = cumulative_products(&betas);
        if zero_snr && defaults.finite_sigmas {
            // "Close to 0 without being 0 so first sigma is not inf" (scheduling_euler_discrete.py)
            if let Some(last) = table.last_mut() {
                *last = 2f32.powi(-24);
            }
        }
        Ok(Self { alphas_cumprod: table.into_iter().map(f64::from).collect() })
    }

    /// The factors `(sqrt(abar_t), sqrt(1 - abar_t))` of `x0` and noise at timestep `t`.
    ///
    /// # Errors
    /// `t` past the last training timestep.
    pub fn add_noise(&self, t: usize) -> Result<(f64, f64)> {
        let abar = self.abar(t)?;
        Ok((abar.sqrt(), (1.0 - abar).sqrt()))
    }

    /// The signal-to-noise ratio `abar_t / (1 - abar_t)` at timestep `t`.
    ///
    /// # Errors
    /// `t` past the last training timestep.
    pub fn snr(&self, t: usize) -> Result<f64> {
        let abar = self.abar(t)?;
        Ok(abar / (1.0 - abar))
    }

    /// `abar_t`, or the error that names the timestep.
    pub(super) fn abar(&self, t: usize) -> Result<f64> {
        self.alphas_cumprod.get(t).copied().ok_or_else(|| {
            let last = self.alphas_cumprod.len() - 1;
            Error::setting(
                "timestep",
                format!("{t} is past the last training timestep, {last}"),
                "Use fewer steps, or set steps_offset in scheduler_config.json to 0",
            )
        })
    }

    /// `sigma_t = sqrt((1 - abar_t) / abar_t)` in f32 arithmetic, as diffusers' tables are.
    pub(super) fn sigmas(&self) -> Vec<f32> {
        self.alphas_cumprod.iter().map(|&abar| ((1.0 - abar as f32) / abar as f32).sqrt()).collect()
    }
}

/// The betas of `scheduling_*.py`, f32.
fn betas(config: &SchedulerConfig, defaults: &Defaults) -> Result<Vec<f32>> {
    let n = within(
        "num_train_timesteps",
        config.num_train_timesteps.unwrap_or(1000),
        1..=100_000,
        "Stable Diffusion has 1000",
    )?;
    if let Some(trained) = &config.trained_betas {
        if trained.len() != n {
            return Err(unsupported(
                "trained_betas",
                format!("{} betas for {n} training timesteps", trained.len()),
                "Give one beta for each of num_train_timesteps",
            ));
        }
        return Ok(trained.iter().map(|&beta| beta as f32).collect());
    }
    let start = config.beta_start.unwrap_or(defaults.beta_start);
    let end = config.beta_end.unwrap_or(defaults.beta_end);
    let known = [
        ("linear", BetaSchedule::Linear),
        ("scaled_linear", BetaSchedule::ScaledLinear),
        ("squaredcos_cap_v2", BetaSchedule::SquaredcosCapV2),
    ];
    let schedule = match &config.beta_schedule {
        None => defaults.beta_schedule,
        given => word("beta_schedule", given, &known)?,
    };
    Ok(match schedule {
        BetaSchedule::Linear => linspace(start, end, n),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), n).into_iter().map(|x| x * x).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            // https://arxiv.org/abs/2102.09672, equation 17, with beta at most 0.999
            let alpha_bar = |i: usize| {
                let t = i as f64 / n as f64;
                ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2)
            };
            (0..n).map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(0.999) as f32).collect()
        }
    })
}

/// `torch.linspace` in f32: from both ends to the middle, each value with one rounding.
pub(super) fn linspace(start: f64, end: f64, n: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    if n == 1 {
        return vec![start];
    }
    let step = (end - start) / (n - 1) as f32;
    (0..n)
        .map(|i| {
            if i < n / 2 {
                step.mul_add(i as f32, start)
            } else {
                (-step).mul_add((n - 1 - i) as f32, end)
            }
        })
        .collect()
}

/// `torch.cumprod(1 - betas)`: f32 factors and results, f64 in between.
fn cumulative_products(betas: &[f32]) -> Vec<f32> {
    betas
        .iter()
        .scan(1f64, |product, &beta| {
            *product *= f64::from(1.0 - beta);
            Some(*product as f32)
        })
        .collect()
}

/// Scales betas to zero terminal SNR: algorithm 1 of <https://arxiv.org/abs/2305.08891>
/// (`rescale_zero_terminal_snr` in `scheduling_ddim.py`).
fn rescale_zero_terminal_snr(betas: &mut [f32]) {
    let mut roots: Vec<f32> = cumulative_products(betas).into_iter().map(f32::sqrt).collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else {
        return;
    };
    let scale = first / (first - last);
    for root in &mut roots {
        *root = (*root - last) * scale;
    }
    let mut previous = 1f32;
    for (beta, root) in betas.iter_mut().zip(roots) {
        let product = root * root;
        *beta = 1.0 - product / previous;
        previous = product;
    }
}

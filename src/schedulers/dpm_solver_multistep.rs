//! DPM-Solver++ 2M and its kin: <https://arxiv.org/abs/2211.01095>,
//! `scheduling_dpmsolver_multistep.py`; down given levels as k-diffusion's `sample_dpmpp_2m`,
//! `sample_dpmpp_2m_sde` and `sample_dpmpp_3m_sde`.

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::config::unsupported;
use super::dpm_solver::{self, Algorithm};
use super::ladder::{self, SolverOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

/// What makes one class of diffusers several kinds: it holds whatever the config says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flavor {
    pub sde: bool,
    pub karras: bool,
    /// Second order by Heun's slope.
    pub heun: bool,
    /// k-diffusion's third order, whose second is Heun's.
    pub third: bool,
}

impl Flavor {
    pub const ODE: Self = Self { sde: false, karras: false, heun: false, third: false };
    pub const ODE_KARRAS: Self = Self { karras: true, ..Self::ODE };
    pub const SDE: Self = Self { sde: true, ..Self::ODE };
    pub const SDE_KARRAS: Self = Self { karras: true, ..Self::SDE };
    pub const SDE_HEUN: Self = Self { heun: true, ..Self::SDE };
    pub const THIRD_SDE: Self = Self { third: true, ..Self::SDE_HEUN };
}

pub(super) fn plan(config: &SchedulerConfig, run: Run, flavor: Flavor) -> Result<Plan> {
    let Flavor { sde, karras, third, .. } = flavor;
    let base = Base::resolve(config, &DEFAULTS)?;
    let order = config.solver_order()?;
    let order = if third { 3 } else { order };
    let eta = if sde { config.eta(1.0)? } else { 0.0 };
    let algorithm = Algorithm { sde, eta, slips: !third, ..Algorithm::resolve(config)? };
    let heun = flavor.heun || dpm_solver::is_heun(config)?;
    if order == 3 && sde && !algorithm.data {
        return Err(unsupported("solver_order", "3 has no sde-dpmsolver", "Use 2"));
    }
    let layout = if karras {
        Layout::Karras
    } else {
        // A kind that has a Karras twin isn't it.
        let karras = config.use_karras_sigmas.filter(|_| flavor.heun);
        Layout::resolve(&SchedulerConfig { use_karras_sigmas: karras, ..config.clone() }, true)?
    };
    let options = SolverOptions {
        keeps_cosine_timesteps: true,
        ..dpm_solver::ladder_options(config, layout)?
    };
    let ladder = ladder::of_solver(&base, config, options, run)?;
    let levels = ladder.preserving();
    let count = ladder.timesteps.len();
    // "Improve numerical stability for small number of steps"
    let is_few = run.begin + count < 15;
    let lowers = config.lower_order_final.unwrap_or(true) && is_few && !ladder.is_given && !third;
    let ends_at_zero = levels[count].sigma == 0.0;
    let euler_at_final = lowers || ends_at_zero || config.euler_at_final.unwrap_or(false);

    let calls = ladder.timesteps.iter().enumerate().map(|(i, &t)| {
        let (from, to) = (levels[i], levels[i + 1]);
        let now = algorithm.quantity(base.prediction, from);
        let weights = algorithm.weights(from, to);
        let lowered = match count - i {
            1 if euler_at_final => 1,
            2 if lowers => 2,
            _ => order,
        };
        let h = to.lambda() - from.lambda();
        let back = |k: usize| (levels[i + 1 - k].lambda() - levels[i - k].lambda()) / h;
        // Weights of the differences are infinite where there is no step.
        let mut next = Mix::SAMPLE * weights.decay + now * weights.value;
        match order.min(lowered).min(i + 1).min(dpm_solver::most_orders(&levels, i)) {
            1 => {}
            2 => {
                let difference = (now + Mix::kept(0) * -1.0) * (1.0 / back(1));
                next = next + difference * if heun { weights.slope } else { 0.5 * weights.value };
            }
            _ => {
                let (r0, r1) = (back(1), back(2));
                let near = (now + Mix::kept(0) * -1.0) * (1.0 / r0);
                let far = (Mix::kept(0) + Mix::kept(1) * -1.0) * (1.0 / r1);
                let bend = (near + far * -1.0) * (1.0 / (r0 + r1));
                next = next + (near + bend * r0) * weights.slope + bend * weights.curve;
            }
        }
        let start = Call::variance_preserving(t, base.prediction, from.signal, from.spread);
        Call {
            next: next + Mix::NOISE * weights.noise,
            keep: Some(now),
            between: (weights.noise != 0.0).then_some([from.sigma, to.sigma]),
            ..start
        }
    });
    Ok(Plan { init_noise_sigma: ladder.preserving_start(), calls: calls.collect() })
}

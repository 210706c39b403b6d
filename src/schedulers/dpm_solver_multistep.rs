//! DPM-Solver++ 2M and its kin: <https://arxiv.org/abs/2211.01095>,
//! `scheduling_dpmsolver_multistep.py`.

use super::base::{Base, Defaults};
use super::call::{Call, Mix};
use super::config::unsupported;
use super::dpm_solver::{self, Algorithm};
use super::ladder::{self, SolverOptions};
use super::sigmas::Layout;
use super::{Plan, Run, SchedulerConfig};
use crate::error::Result;

pub(super) const DEFAULTS: Defaults = Defaults::LEVELS;

/// `sde` and `karras` are what makes one class of diffusers four kinds: they hold whatever the
/// config says.
pub(super) fn plan(config: &SchedulerConfig, run: Run, sde: bool, karras: bool) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let order = config.solver_order()?;
    let algorithm = Algorithm { sde, ..Algorithm::resolve(config)? };
    let heun = dpm_solver::is_heun(config)?;
    if order == 3 && sde && !algorithm.data {
        return Err(unsupported("solver_order", "3 has no sde-dpmsolver", "Use 2"));
    }
    let layout = if karras {
        Layout::Karras
    } else {
        let others = SchedulerConfig { use_karras_sigmas: None, ..config.clone() };
        Layout::resolve(&others, true)?
    };
    let options = SolverOptions {
        keeps_cosine_timesteps: true,
        ..dpm_solver::ladder_options(config, layout)?
    };
    let ladder = ladder::of_solver(&base, config, options, run)?;
    let levels = ladder.preserving();
    let count = ladder.timesteps.len();
    // "Improve numerical stability for small number of steps"
    let lowers = config.lower_order_final.unwrap_or(true) && run.begin + count < 15;
    let euler_at_final =
        lowers || config.euler_at_final.unwrap_or(false) || config.ends_at_zero()?;

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
        Call { next: next + Mix::NOISE * weights.noise, keep: Some(now), ..start }
    });
    Ok(Plan { init_noise_sigma: 1.0, calls: calls.collect() })
}

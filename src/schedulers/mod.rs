//! Schedulers as numbers: a [`Schedule`] is a list of [`Call`]s of the model, each with linear maps
//! whose f64 coefficients the pipeline applies to its tensors. Nothing here knows a tensor or a
//! device.
//!
//! The numbers reproduce diffusers' `scheduling_*.py`: its tables are f32 (betas, cumulative
//! products, sigmas), so ours are rounded to f32 at the same places, and everything derived from
//! them is f64.

mod base;
mod call;
mod config;
mod ddim;
mod ddpm;
mod defaults;
mod deis_multistep;
mod dpm_solver;
mod dpm_solver_ancestral;
mod dpm_solver_multistep;
mod dpm_solver_singlestep;
mod euler_ancestral_discrete;
mod euler_discrete;
mod heun_discrete;
mod k_dpm_2_discrete;
mod kind;
mod ladder;
mod lcm;
mod levels;
mod lms_discrete;
mod noise_schedule;
mod pndm;
mod restart;
mod sigmas;
mod tcd;
mod timesteps;
mod unipc_multistep;

use crate::error::{Error, Result};

pub use call::{Call, Mix};
pub use config::SchedulerConfig;
pub use kind::{ModelScheduler, SchedulerKind};
pub use levels::Levels;
pub use noise_schedule::NoiseSchedule;

use call::{Plan, Run};
use config::too_many;
use defaults::Defaults;

/// All calls of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The sampler.
    pub kind: SchedulerKind,
    /// Factor on the unit normal noise that a run starts from.
    pub init_noise_sigma: f64,
    /// The calls, first to last; one or more.
    pub calls: Vec<Call>,
    /// Where [`Call::between`] cuts stretches out of one Brownian path, as k-diffusion does: the lowest
    /// level above 0 and the highest, of the whole schedule where a run begins later. None: each call's
    /// noise is a fresh one.
    pub path: Option<[f64; 2]>,
}

impl SchedulerKind {
    fn defaults(self) -> &'static Defaults {
        match self {
            Self::Ddim => &ddim::DEFAULTS,
            Self::EulerDiscrete => &euler_discrete::DEFAULTS,
            Self::EulerAncestralDiscrete => &euler_ancestral_discrete::DEFAULTS,
            Self::HeunDiscrete => &heun_discrete::DEFAULTS,
            Self::KDpm2Discrete | Self::KDpm2AncestralDiscrete => &k_dpm_2_discrete::DEFAULTS,
            Self::LmsDiscrete => &lms_discrete::DEFAULTS,
            Self::DpmSolverMultistep
            | Self::DpmSolverMultistepKarras
            | Self::DpmSolverMultistepSde
            | Self::DpmSolverMultistepSdeKarras
            | Self::DpmSolverMultistepSdeHeun
            | Self::DpmSolverMultistep3Sde => &dpm_solver_multistep::DEFAULTS,
            Self::DpmSolver2sAncestral | Self::DpmSolverSde => &dpm_solver_ancestral::DEFAULTS,
            Self::Restart => &restart::DEFAULTS,
            Self::DpmSolverSinglestep => &dpm_solver_singlestep::DEFAULTS,
            Self::UniPcMultistep => &unipc_multistep::DEFAULTS,
            Self::DeisMultistep => &deis_multistep::DEFAULTS,
            Self::Pndm => &pndm::DEFAULTS,
            Self::Lcm => &lcm::DEFAULTS,
            Self::Tcd => &tcd::DEFAULTS,
            Self::Ddpm => &ddpm::DEFAULTS,
        }
    }

    fn plan(self, config: &SchedulerConfig, run: Run) -> Result<Plan> {
        use dpm_solver_multistep::{Flavor, plan as multistep};
        match self {
            Self::Ddim => ddim::plan(config, run),
            Self::EulerDiscrete => euler_discrete::plan(config, run),
            Self::EulerAncestralDiscrete => euler_ancestral_discrete::plan(config, run),
            Self::HeunDiscrete => heun_discrete::plan(config, run),
            Self::KDpm2Discrete => k_dpm_2_discrete::plan(config, run, false),
            Self::KDpm2AncestralDiscrete => k_dpm_2_discrete::plan(config, run, true),
            Self::LmsDiscrete => lms_discrete::plan(config, run),
            Self::DpmSolverMultistep => multistep(config, run, Flavor::ODE),
            Self::DpmSolverMultistepKarras => multistep(config, run, Flavor::ODE_KARRAS),
            Self::DpmSolverMultistepSde => multistep(config, run, Flavor::SDE),
            Self::DpmSolverMultistepSdeKarras => multistep(config, run, Flavor::SDE_KARRAS),
            Self::DpmSolverMultistepSdeHeun => multistep(config, run, Flavor::SDE_HEUN),
            Self::DpmSolverMultistep3Sde => multistep(config, run, Flavor::THIRD_SDE),
            Self::DpmSolver2sAncestral => dpm_solver_ancestral::plan(config, run, false),
            Self::DpmSolverSde => dpm_solver_ancestral::plan(config, run, true),
            Self::Restart => restart::plan(config, run),
            Self::DpmSolverSinglestep => dpm_solver_singlestep::plan(config, run),
            Self::UniPcMultistep => unipc_multistep::plan(config, run),
            Self::DeisMultistep => deis_multistep::plan(config, run),
            Self::Pndm => pndm::plan(config, run),
            Self::Lcm => lcm::plan(config, run),
            Self::Tcd => tcd::plan(config, run),
            Self::Ddpm => ddpm::plan(config, run),
        }
    }
}

impl Schedule {
    /// The schedule of `steps` steps (1 to 1000) of sampler `kind` on a model's `config`, as
    /// diffusers' `Kind.from_config(config).set_timesteps(steps)` makes it.
    ///
    /// With `trailing` spacing diffusers appends, through rounding, a step at timestep -1 for some
    /// step counts (61, 103, ...); ours leaves it out.
    ///
    /// # Errors
    /// Names the config's field or the setting: a step count that the kind can't do, a value of the
    /// config that it does not know, a combination that divides by zero (zero terminal SNR with
    /// epsilon prediction).
    pub fn new(kind: SchedulerKind, config: &SchedulerConfig, steps: usize) -> Result<Self> {
        Self::beginning(kind, config, steps, 0)
    }

    /// The same without its first `begin` steps, as diffusers' `set_begin_index`: what a run makes that
    /// starts from a noised picture, of which it remembers no call before. PNDM begins with its two calls
    /// anew (diffusers begins one step earlier and takes the first of them for the second).
    ///
    /// # Errors
    /// As [`new`](Self::new), and where no step is left.
    pub fn beginning(
        kind: SchedulerKind,
        config: &SchedulerConfig,
        steps: usize,
        begin: usize,
    ) -> Result<Self> {
        if !(1..=1000).contains(&steps) {
            return Err(Error::setting(
                "steps",
                format!("{steps} is out of range"),
                "Use 1 to 1000 steps",
            ));
        }
        let train = NoiseSchedule::new(kind, config)?.alphas_cumprod.len();
        if steps > train {
            return Err(too_many(steps, train));
        }
        let levels = config.given_levels()?.filter(|_| kind.takes_levels());
        let steps = levels.as_ref().map_or(steps, |levels| levels.len() - 1);
        if begin >= steps {
            let problem = format!("leaves none of {steps} steps");
            return Err(Error::setting("strength", problem, "Use more steps, or more strength"));
        }
        let Plan { init_noise_sigma, calls } = kind.plan(config, Run { steps, begin })?;
        if let Some(bad) = calls.iter().find(|call| !call.is_finite()) {
            return Err(config::unsupported(
                "prediction_type",
                format!(
                    "{} divides by zero at timestep {}: this noise schedule leaves no signal (or \
                     no noise) there",
                    kind.label(),
                    bad.timestep
                ),
                "Choose another scheduler or number of steps, or use a model with v-prediction",
            ));
        }
        let path = levels.filter(|_| calls.iter().any(|call| call.between.is_some()));
        let path = path.map(|levels| {
            let lowest = levels.iter().rev().copied().find(|level| *level > 0.0);
            [lowest.unwrap_or_default(), levels[0]]
        });
        Ok(Self { kind, init_noise_sigma, calls, path })
    }

    /// Of the first `calls` calls, the steps that end, as a person counts them. All together they
    /// are as many as asked for; DPM++ 2M with `trailing` spacing and a finite `lambda_min_clipped`
    /// has fewer, as in diffusers.
    pub fn steps_within(&self, calls: usize) -> usize {
        self.calls.iter().take(calls).filter(|call| call.ends_step).count()
    }
}

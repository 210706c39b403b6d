//! Schedulers as numbers: a [`Schedule`] is a list of [`Step`]s, each a linear map with f64
//! coefficients that the pipeline applies to its tensors. Nothing here knows a tensor or a device.
//!
//! The numbers reproduce diffusers' `scheduling_*.py`: its tables are f32 (betas, cumulative
//! products, sigmas), so ours are rounded to f32 at the same places, and everything derived from
//! them is f64.

mod config;
mod ddim;
mod ddpm;
mod dpm_solver_multistep;
mod euler_ancestral_discrete;
mod euler_discrete;
mod lcm;
mod noise_schedule;
mod sigmas;
mod timesteps;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

pub use config::SchedulerConfig;
pub use noise_schedule::NoiseSchedule;

use config::{Prediction, Settings};

/// The samplers to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// DDIM with eta 0 (diffusers `DDIMScheduler`).
    Ddim,
    /// Euler (`EulerDiscreteScheduler`).
    EulerDiscrete,
    /// Euler ancestral: adds noise in each step (`EulerAncestralDiscreteScheduler`).
    EulerAncestralDiscrete,
    /// DPM-Solver++ 2M (`DPMSolverMultistepScheduler`).
    DpmSolverMultistep,
    /// DPM-Solver++ 2M on Karras sigmas (the same class with `use_karras_sigmas`).
    DpmSolverMultistepKarras,
    /// Latent consistency models: 1 to 8 steps (`LCMScheduler`).
    Lcm,
    /// DDPM: adds noise in each step, wants many (`DDPMScheduler`).
    Ddpm,
}

impl SchedulerKind {
    /// Every kind, in the order in which a person sees them.
    pub const ALL: [Self; 7] = [
        Self::Ddim,
        Self::EulerDiscrete,
        Self::EulerAncestralDiscrete,
        Self::DpmSolverMultistep,
        Self::DpmSolverMultistepKarras,
        Self::Lcm,
        Self::Ddpm,
    ];

    /// The name on the command line and in the page's form: `ddim`, `euler`, `euler_a`,
    /// `dpmpp_2m`, `dpmpp_2m_karras`, `lcm`, `ddpm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::EulerDiscrete => "euler",
            Self::EulerAncestralDiscrete => "euler_a",
            Self::DpmSolverMultistep => "dpmpp_2m",
            Self::DpmSolverMultistepKarras => "dpmpp_2m_karras",
            Self::Lcm => "lcm",
            Self::Ddpm => "ddpm",
        }
    }

    /// The name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ddim => "DDIM",
            Self::EulerDiscrete => "Euler",
            Self::EulerAncestralDiscrete => "Euler ancestral",
            Self::DpmSolverMultistep => "DPM++ 2M",
            Self::DpmSolverMultistepKarras => "DPM++ 2M Karras",
            Self::Lcm => "LCM",
            Self::Ddpm => "DDPM",
        }
    }

    /// The kind that a model's `scheduler_config.json` asks for with `_class_name`.
    ///
    /// A class that we don't have gives the nearest of ours, with the same noise schedule:
    /// `PNDMScheduler` (SD 1.5's default) and `DDIMParallelScheduler` DDIM, the other ODE solvers
    /// in sigma space (`LMSDiscreteScheduler`, `HeunDiscreteScheduler`, `KDPM2DiscreteScheduler`)
    /// Euler, the other multistep solvers (`UniPCMultistepScheduler`, `DEISMultistepScheduler`,
    /// `DPMSolverSinglestepScheduler`) DPM++ 2M, with Karras sigmas where the config asks for
    /// them, the stochastic ones Euler ancestral, `TCDScheduler` LCM. A config without
    /// `_class_name` gives DDIM.
    ///
    /// # Errors
    /// A class for another kind of model (flow matching and the like).
    pub fn from_config(config: &SchedulerConfig) -> Result<Self> {
        let Some(class) = config.class_name.as_deref() else {
            return Ok(Self::Ddim);
        };
        Ok(match class {
            "DDIMScheduler" | "DDIMParallelScheduler" | "PNDMScheduler" => Self::Ddim,
            "EulerDiscreteScheduler"
            | "LMSDiscreteScheduler"
            | "HeunDiscreteScheduler"
            | "KDPM2DiscreteScheduler" => Self::EulerDiscrete,
            "EulerAncestralDiscreteScheduler"
            | "KDPM2AncestralDiscreteScheduler"
            | "DPMSolverSDEScheduler" => Self::EulerAncestralDiscrete,
            "DPMSolverMultistepScheduler"
            | "DPMSolverSinglestepScheduler"
            | "DEISMultistepScheduler"
            | "UniPCMultistepScheduler" => match config.use_karras_sigmas {
                Some(true) => Self::DpmSolverMultistepKarras,
                _ => Self::DpmSolverMultistep,
            },
            "LCMScheduler" | "TCDScheduler" => Self::Lcm,
            "DDPMScheduler" | "DDPMParallelScheduler" => Self::Ddpm,
            other => {
                return Err(config::unsupported(
                    "_class_name",
                    format!("`{other}` is not a scheduler for Stable Diffusion that we know"),
                    "Choose one of our schedulers in the settings, if this is a Stable Diffusion \
                     model at all",
                ));
            }
        })
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchedulerKind {
    type Err = Error;

    /// Parses [`SchedulerKind::name`].
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::setting(
                "scheduler",
                format!("there is no scheduler `{name}`"),
                format!("Use one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

/// One sampling step as a linear map, for any tensor shape:
///
/// ```text
/// model = UNet(sample * input_scale, timestep)
/// x0    = sample * x0_from_sample + model * x0_from_model        (clamped to ±clip, if any)
/// next  = sample * from_sample + model * from_model + x0 * from_x0
///       + previous_x0 * from_previous_x0 + noise * from_noise
/// ```
///
/// `x0` is the model's guess of the finished latents, good for a preview; `previous_x0` is that of
/// the step before; `noise` is fresh and unit normal. A term whose coefficient is 0 is not needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What the UNet gets as its timestep.
    pub timestep: f64,
    /// Factor on the sample before it goes into the UNet.
    pub input_scale: f64,
    /// `x0` per sample.
    pub x0_from_sample: f64,
    /// `x0` per UNet output.
    pub x0_from_model: f64,
    /// Clamp `x0` to this range either side of 0.
    pub clip: Option<f64>,
    /// Next sample per sample.
    pub from_sample: f64,
    /// Next sample per UNet output.
    pub from_model: f64,
    /// Next sample per `x0`.
    pub from_x0: f64,
    /// Next sample per `x0` of the step before; 0 in a first step.
    pub from_previous_x0: f64,
    /// Next sample per unit normal noise; 0 where the sampler draws none.
    pub from_noise: f64,
}

impl Step {
    /// A step at `timestep` whose `x0` is what the prediction type says for a variance-preserving
    /// sample `sqrt_abar * x0 + sqrt_beta * noise`; it goes nowhere yet (`from_*` are 0).
    fn variance_preserving(
        timestep: f64,
        prediction: Prediction,
        sqrt_abar: f64,
        sqrt_beta: f64,
        clip: Option<f64>,
    ) -> Self {
        let (x0_from_sample, x0_from_model) = match prediction {
            Prediction::Epsilon => (1.0 / sqrt_abar, -sqrt_beta / sqrt_abar),
            Prediction::Velocity => (sqrt_abar, -sqrt_beta),
            Prediction::Sample => (0.0, 1.0),
        };
        Self {
            timestep,
            input_scale: 1.0,
            x0_from_sample,
            x0_from_model,
            clip,
            from_sample: 0.0,
            from_model: 0.0,
            from_x0: 0.0,
            from_previous_x0: 0.0,
            from_noise: 0.0,
        }
    }

    fn is_finite(&self) -> bool {
        [
            self.timestep,
            self.input_scale,
            self.x0_from_sample,
            self.x0_from_model,
            self.from_sample,
            self.from_model,
            self.from_x0,
            self.from_previous_x0,
            self.from_noise,
        ]
        .iter()
        .all(|x| x.is_finite())
    }
}

/// All steps of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The sampler.
    pub kind: SchedulerKind,
    /// Factor on the unit normal noise that a run starts from.
    pub init_noise_sigma: f64,
    /// The steps, first to last. As many as asked for; DPM++ 2M with `trailing` spacing and a
    /// finite `lambda_min_clipped` has fewer, as in diffusers.
    pub steps: Vec<Step>,
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
        if !(1..=1000).contains(&steps) {
            return Err(Error::setting(
                "steps",
                format!("{steps} is out of range"),
                "Use 1 to 1000 steps",
            ));
        }
        let settings = Settings::resolve(config, kind)?;
        if steps > settings.num_train_timesteps {
            return Err(too_many(steps, settings.num_train_timesteps));
        }
        let noise = NoiseSchedule::from_settings(&settings)?;
        let (init_noise_sigma, list) = match kind {
            SchedulerKind::Ddim => (1.0, ddim::steps(&settings, &noise, steps)?),
            SchedulerKind::EulerDiscrete => euler_discrete::steps(&settings, &noise, steps)?,
            SchedulerKind::EulerAncestralDiscrete => {
                euler_ancestral_discrete::steps(&settings, &noise, steps)?
            }
            SchedulerKind::DpmSolverMultistep | SchedulerKind::DpmSolverMultistepKarras => {
                (1.0, dpm_solver_multistep::steps(&settings, &noise, steps)?)
            }
            SchedulerKind::Lcm => (1.0, lcm::steps(&settings, &noise, steps)?),
            SchedulerKind::Ddpm => (1.0, ddpm::steps(&settings, &noise, steps)?),
        };
        if let Some(bad) = list.iter().find(|step| !step.is_finite()) {
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
        Ok(Self { kind, init_noise_sigma, steps: list })
    }
}

/// The error for more steps than `most`.
fn too_many(steps: usize, most: usize) -> Error {
    Error::setting(
        "steps",
        format!("{steps} steps are more than this scheduler has timesteps for"),
        format!("Use 1 to {most} steps, or another scheduler"),
    )
}

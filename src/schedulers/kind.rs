//! The samplers to choose from, by name.

use std::fmt;
use std::str::FromStr;

use super::SchedulerConfig;
use super::config::unsupported;
use crate::error::{Error, Result};

/// The samplers to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// DDIM with eta 0 (diffusers `DDIMScheduler`).
    Ddim,
    /// Euler (`EulerDiscreteScheduler`).
    EulerDiscrete,
    /// Euler ancestral: adds noise in each step (`EulerAncestralDiscreteScheduler`).
    EulerAncestralDiscrete,
    /// Heun: two model calls a step (`HeunDiscreteScheduler`).
    HeunDiscrete,
    /// DPM2: two model calls a step (`KDPM2DiscreteScheduler`).
    KDpm2Discrete,
    /// DPM2 ancestral: the same, with noise (`KDPM2AncestralDiscreteScheduler`).
    KDpm2AncestralDiscrete,
    /// LMS: linear multistep (`LMSDiscreteScheduler`).
    LmsDiscrete,
    /// DPM-Solver++ 2M (`DPMSolverMultistepScheduler`).
    DpmSolverMultistep,
    /// DPM-Solver++ 2M on Karras sigmas (the same class with `use_karras_sigmas`).
    DpmSolverMultistepKarras,
    /// DPM-Solver++ 2M SDE: adds noise (the same class with `algorithm_type` sde-dpmsolver++).
    DpmSolverMultistepSde,
    /// DPM-Solver++ 2M SDE on Karras sigmas.
    DpmSolverMultistepSdeKarras,
    /// DPM-Solver++ 2M SDE of Heun's slope (the same class with `solver_type` heun).
    DpmSolverMultistepSdeHeun,
    /// DPM-Solver++ 3M SDE (k-diffusion's `sample_dpmpp_3m_sde`; diffusers' third order has a slip).
    DpmSolverMultistep3Sde,
    /// DPM-Solver++ 2S ancestral: two model calls a step (k-diffusion's `sample_dpmpp_2s_ancestral`).
    DpmSolver2sAncestral,
    /// DPM-Solver++ SDE: two model calls a step (`DPMSolverSDEScheduler`).
    DpmSolverSde,
    /// Restart: Heun with ways back up (A1111's `restart_sampler`).
    Restart,
    /// DPM-Solver++ 2S (`DPMSolverSinglestepScheduler`).
    DpmSolverSinglestep,
    /// UniPC (`UniPCMultistepScheduler`).
    UniPcMultistep,
    /// DEIS (`DEISMultistepScheduler`).
    DeisMultistep,
    /// PNDM, which is PLMS where Runge-Kutta steps are skipped (`PNDMScheduler`).
    Pndm,
    /// Latent consistency models: 1 to 8 steps (`LCMScheduler`).
    Lcm,
    /// Trajectory consistency distillation: 1 to 8 steps (`TCDScheduler`).
    Tcd,
    /// DDPM: adds noise in each step, wants many (`DDPMScheduler`).
    Ddpm,
}

/// The kind that a model comes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelScheduler {
    /// What runs.
    pub kind: SchedulerKind,
    /// What the file asked for, as a sentence, where that isn't what runs.
    pub note: Option<String>,
}

impl SchedulerKind {
    /// Every kind, in the order in which a person sees them.
    pub const ALL: [Self; 23] = [
        Self::Ddim,
        Self::EulerDiscrete,
        Self::DpmSolverMultistep,
        Self::DpmSolverMultistepKarras,
        Self::UniPcMultistep,
        Self::EulerAncestralDiscrete,
        Self::DpmSolverMultistepSde,
        Self::DpmSolverMultistepSdeKarras,
        Self::DpmSolverMultistepSdeHeun,
        Self::DpmSolverMultistep3Sde,
        Self::HeunDiscrete,
        Self::KDpm2Discrete,
        Self::Restart,
        Self::DpmSolverSde,
        Self::DpmSolver2sAncestral,
        Self::KDpm2AncestralDiscrete,
        Self::Lcm,
        Self::Tcd,
        Self::DpmSolverSinglestep,
        Self::DeisMultistep,
        Self::LmsDiscrete,
        Self::Pndm,
        Self::Ddpm,
    ];

    /// The name on the command line and in the page's form: `ddim`, `euler`, `euler_a`, `heun`,
    /// `dpmpp_2m`, `dpmpp_2m_karras`, `lcm`, ...
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// The name for people.
    pub fn label(self) -> &'static str {
        self.words().1
    }

    /// Model calls of a step; the last may have fewer.
    pub fn calls_a_step(self) -> usize {
        match self {
            Self::HeunDiscrete
            | Self::KDpm2Discrete
            | Self::KDpm2AncestralDiscrete
            | Self::DpmSolver2sAncestral
            | Self::DpmSolverSde
            | Self::Restart => 2,
            _ => 1,
        }
    }

    /// The group that it belongs to, for people.
    pub fn group(self) -> &'static str {
        match self {
            Self::Ddim
            | Self::EulerDiscrete
            | Self::DpmSolverMultistep
            | Self::DpmSolverMultistepKarras
            | Self::UniPcMultistep => "For most pictures",
            Self::EulerAncestralDiscrete
            | Self::DpmSolverMultistepSde
            | Self::DpmSolverMultistepSdeKarras
            | Self::DpmSolverMultistepSdeHeun
            | Self::DpmSolverMultistep3Sde => "With fresh noise in each step",
            Self::HeunDiscrete | Self::KDpm2Discrete | Self::Restart => {
                "Two model calls a step: twice the time"
            }
            Self::DpmSolverSde | Self::DpmSolver2sAncestral | Self::KDpm2AncestralDiscrete => {
                "Two model calls, and fresh noise"
            }
            Self::Lcm | Self::Tcd => "For models of few steps",
            Self::DpmSolverSinglestep
            | Self::DeisMultistep
            | Self::LmsDiscrete
            | Self::Pndm
            | Self::Ddpm => "Others",
        }
    }

    /// What it is for, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Ddim => "plain and predictable; 20 to 50 steps",
            Self::EulerDiscrete => "the simplest; 20 to 30 steps",
            Self::DpmSolverMultistep => "a good picture in 15 to 25 steps; the usual advice",
            Self::DpmSolverMultistepKarras => "DPM++ 2M with diffusers’ Karras levels",
            Self::UniPcMultistep => "good with few steps, from 8 on",
            Self::EulerAncestralDiscrete => "soft and varied; other step counts, another picture",
            Self::DpmSolverMultistepSde => "much texture; 20 to 40 steps",
            Self::DpmSolverMultistepSdeKarras => "DPM++ 2M SDE with diffusers’ Karras levels",
            Self::DpmSolverMultistepSdeHeun => "as DPM++ 2M SDE, a little smoother",
            Self::DpmSolverMultistep3Sde => "fine texture; wants 30 steps or more",
            Self::HeunDiscrete => "more exact than Euler; good with 10 to 15 steps",
            Self::KDpm2Discrete => "as Heun, the slope taken in the middle",
            Self::Restart => "Heun that goes back up and down again from 20 steps on",
            Self::DpmSolverSde => "rich detail with 10 to 15 steps",
            Self::DpmSolver2sAncestral => "as Euler ancestral, more exact",
            Self::KDpm2AncestralDiscrete => "DPM2 with noise",
            Self::Lcm => "for LCM models and LoRAs; 2 to 8 steps, guidance 1 to 2",
            Self::Tcd => "for TCD and Hyper-SD LoRAs; 1 to 8 steps",
            Self::DpmSolverSinglestep => "DPM++ without a memory beyond its step",
            Self::DeisMultistep => "near to DPM++ 2M",
            Self::LmsDiscrete => "older; can fall apart with few steps",
            Self::Pndm => "what Stable Diffusion 1 came with; 50 steps",
            Self::Ddpm => "how the model was trained; hundreds of steps",
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ddim => ("ddim", "DDIM"),
            Self::EulerDiscrete => ("euler", "Euler"),
            Self::EulerAncestralDiscrete => ("euler_a", "Euler ancestral"),
            Self::HeunDiscrete => ("heun", "Heun"),
            Self::KDpm2Discrete => ("dpm2", "DPM2"),
            Self::KDpm2AncestralDiscrete => ("dpm2_a", "DPM2 ancestral"),
            Self::DpmSolverMultistepSdeHeun => ("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun"),
            Self::DpmSolverMultistep3Sde => ("dpmpp_3m_sde", "DPM++ 3M SDE"),
            Self::DpmSolver2sAncestral => ("dpmpp_2s_a", "DPM++ 2S ancestral"),
            Self::DpmSolverSde => ("dpmpp_sde", "DPM++ SDE"),
            Self::Restart => ("restart", "Restart"),
            Self::LmsDiscrete => ("lms", "LMS"),
            Self::DpmSolverMultistep => ("dpmpp_2m", "DPM++ 2M"),
            Self::DpmSolverMultistepKarras => ("dpmpp_2m_karras", "DPM++ 2M Karras"),
            Self::DpmSolverMultistepSde => ("dpmpp_2m_sde", "DPM++ 2M SDE"),
            Self::DpmSolverMultistepSdeKarras => ("dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras"),
            Self::DpmSolverSinglestep => ("dpmpp_2s", "DPM++ 2S"),
            Self::UniPcMultistep => ("unipc", "UniPC"),
            Self::DeisMultistep => ("deis", "DEIS"),
            Self::Pndm => ("pndm", "PNDM (PLMS)"),
            Self::Lcm => ("lcm", "LCM"),
            Self::Tcd => ("tcd", "TCD"),
            Self::Ddpm => ("ddpm", "DDPM"),
        }
    }

    /// The kind that a model's `scheduler_config.json` asks for with `_class_name`; DDIM without one.
    /// A class that we don't have gives DDIM on the same noise schedule, and a note.
    ///
    /// # Errors
    /// Flow matching: another kind of model.
    pub fn from_config(config: &SchedulerConfig) -> Result<ModelScheduler> {
        let class = config.class_name.as_deref().unwrap_or("DDIMScheduler");
        let flows = [
            ("_class_name", class.contains("FlowMatch"), class),
            (
                "prediction_type",
                config.prediction_type.as_deref() == Some("flow_prediction"),
                "flow_prediction",
            ),
            ("use_flow_sigmas", config.use_flow_sigmas == Some(true), "true"),
        ];
        if let Some((field, _, value)) = flows.into_iter().find(|(_, is, _)| *is) {
            return Err(unsupported(
                field,
                format!("`{value}` is for flow matching, which no Stable Diffusion 1 or 2 does"),
                "Use a model of the Stable Diffusion 1 or 2 family",
            ));
        }
        let karras = config.use_karras_sigmas == Some(true);
        let sde = config.algorithm_type.as_deref().is_some_and(|word| word.starts_with("sde-"));
        let kind = match class {
            "DDIMScheduler" | "DDIMParallelScheduler" => Self::Ddim,
            "EulerDiscreteScheduler" => Self::EulerDiscrete,
            "EulerAncestralDiscreteScheduler" => Self::EulerAncestralDiscrete,
            "HeunDiscreteScheduler" => Self::HeunDiscrete,
            "KDPM2DiscreteScheduler" => Self::KDpm2Discrete,
            "KDPM2AncestralDiscreteScheduler" => Self::KDpm2AncestralDiscrete,
            "LMSDiscreteScheduler" => Self::LmsDiscrete,
            "DPMSolverMultistepScheduler" => match (sde, karras) {
                (false, false) => Self::DpmSolverMultistep,
                (false, true) => Self::DpmSolverMultistepKarras,
                (true, false) => Self::DpmSolverMultistepSde,
                (true, true) => Self::DpmSolverMultistepSdeKarras,
            },
            "DPMSolverSDEScheduler" => Self::DpmSolverSde,
            "DPMSolverSinglestepScheduler" => Self::DpmSolverSinglestep,
            "UniPCMultistepScheduler" => Self::UniPcMultistep,
            "DEISMultistepScheduler" => Self::DeisMultistep,
            "PNDMScheduler" => Self::Pndm,
            "LCMScheduler" => Self::Lcm,
            "TCDScheduler" => Self::Tcd,
            "DDPMScheduler" | "DDPMParallelScheduler" => Self::Ddpm,
            other => {
                let note = format!(
                    "The model's own scheduler, {other}, is not one of ours: DDIM stands in for it"
                );
                return Ok(ModelScheduler { kind: Self::Ddim, note: Some(note) });
            }
        };
        Ok(ModelScheduler { kind, note: None })
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

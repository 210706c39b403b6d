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
    pub const ALL: [Self; 18] = [
        Self::Ddim,
        Self::EulerDiscrete,
        Self::EulerAncestralDiscrete,
        Self::HeunDiscrete,
        Self::DpmSolverMultistep,
        Self::DpmSolverMultistepKarras,
        Self::DpmSolverMultistepSde,
        Self::DpmSolverMultistepSdeKarras,
        Self::DpmSolverSinglestep,
        Self::KDpm2Discrete,
        Self::KDpm2AncestralDiscrete,
        Self::UniPcMultistep,
        Self::DeisMultistep,
        Self::LmsDiscrete,
        Self::Pndm,
        Self::Lcm,
        Self::Tcd,
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
            Self::HeunDiscrete | Self::KDpm2Discrete | Self::KDpm2AncestralDiscrete => 2,
            _ => 1,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ddim => ("ddim", "DDIM"),
            Self::EulerDiscrete => ("euler", "Euler"),
            Self::EulerAncestralDiscrete => ("euler_a", "Euler ancestral"),
            Self::HeunDiscrete => ("heun", "Heun (2 calls a step)"),
            Self::KDpm2Discrete => ("dpm2", "DPM2 (2 calls a step)"),
            Self::KDpm2AncestralDiscrete => ("dpm2_a", "DPM2 ancestral (2 calls a step)"),
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

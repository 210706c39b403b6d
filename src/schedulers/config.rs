//! `scheduler_config.json`: the fields of all diffusers schedulers that we read, and what they come
//! to for one kind of scheduler.

use serde::Deserialize;

use super::SchedulerKind;
use crate::error::{Error, Result};

/// A model's `scheduler_config.json`, whatever class wrote it.
///
/// A field that the file leaves out (or sets to null) is `None` and gets the default of the kind
/// that is going to read it, as diffusers' `Kind.from_config(config)` does; so one config serves
/// every [`SchedulerKind`]. Fields that no kind of ours reads are ignored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are diffusers' own, documented in scheduling_*.py")]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    pub class_name: Option<String>,
    pub num_train_timesteps: Option<usize>,
    pub beta_start: Option<f64>,
    pub beta_end: Option<f64>,
    pub beta_schedule: Option<String>,
    pub trained_betas: Option<Vec<f64>>,
    pub prediction_type: Option<String>,
    pub steps_offset: Option<usize>,
    pub timestep_spacing: Option<String>,
    pub timestep_type: Option<String>,
    pub rescale_betas_zero_snr: Option<bool>,
    pub set_alpha_to_one: Option<bool>,
    pub clip_sample: Option<bool>,
    pub clip_sample_range: Option<f64>,
    pub thresholding: Option<bool>,
    pub use_karras_sigmas: Option<bool>,
    pub use_exponential_sigmas: Option<bool>,
    pub use_beta_sigmas: Option<bool>,
    pub use_lu_lambdas: Option<bool>,
    pub use_flow_sigmas: Option<bool>,
    pub final_sigmas_type: Option<String>,
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    pub interpolation_type: Option<String>,
    pub algorithm_type: Option<String>,
    pub solver_type: Option<String>,
    pub solver_order: Option<usize>,
    pub lower_order_final: Option<bool>,
    pub euler_at_final: Option<bool>,
    pub lambda_min_clipped: Option<f64>,
    pub variance_type: Option<String>,
    pub original_inference_steps: Option<usize>,
    pub timestep_scaling: Option<f64>,
}

const FILE: &str = "scheduler_config.json";

/// The error for a value of the config that we can't use.
pub(super) fn unsupported(
    field: &str,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Error {
    Error::key(FILE, field, problem, remedy)
}

impl SchedulerConfig {
    /// Reads the JSON text of `file` (its name, for messages).
    ///
    /// Python writes infinities as bare words (`"lambda_min_clipped": -Infinity`), which is no
    /// JSON: they read as null.
    ///
    /// # Errors
    /// Text that is no JSON object; a field of the wrong type, by name.
    pub fn from_json(file: &str, json: &str) -> Result<Self> {
        let remedy = "Take the scheduler_config.json of a diffusers model";
        let value: serde_json::Value = serde_json::from_str(&without_infinities(json))
            .map_err(|e| Error::file(file, format!("not valid JSON: {e}"), remedy))?;
        let serde_json::Value::Object(fields) = value else {
            return Err(Error::file(file, "not a JSON object", remedy));
        };
        // serde's message does not say which field it was: try them one by one.
        for (name, value) in &fields {
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(one.into())
                .map_err(|e| Error::key(file, name, e.to_string(), remedy))?;
        }
        serde_json::from_value(fields.into()).map_err(|e| Error::file(file, e.to_string(), remedy))
    }

    /// The config as diffusers' `StableDiffusionPipeline` corrects it: `steps_offset` 1 and
    /// `clip_sample` false, whatever an old file says (`pipeline_stable_diffusion.py`,
    /// `__init__`). Fields that the file leaves out stay out, except that DDIM's and DDPM's default
    /// `clip_sample` true is corrected too.
    pub fn for_stable_diffusion(mut self) -> Self {
        self.steps_offset = Some(1);
        self.clip_sample = Some(false);
        self
    }
}

/// Replaces the bare words `Infinity`, `-Infinity` and `NaN` outside strings by `null`.
fn without_infinities(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| rest.starts_with(w));
        let length = match (in_string, word) {
            (false, Some(word)) => {
                out.push_str("null");
                word.len()
            }
            // An escaped character never ends a string.
            (true, _) if c == '\\' => {
                let escaped = rest.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&rest[..escaped]);
                escaped
            }
            _ => {
                in_string ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Prediction {
    Epsilon,
    Velocity,
    Sample,
}

/// How the timesteps lie in the training range (table 2 of <https://arxiv.org/abs/2305.08891>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Spacing {
    Leading,
    Trailing,
    Linspace,
}

/// How betas grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    SquaredcosCapV2,
}

/// DDPM's variance of the added noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Variance {
    FixedSmall,
    FixedLarge,
}

/// The config with the defaults of one kind filled in and its words understood.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub trained_betas: Option<Vec<f64>>,
    pub zero_snr: bool,
    /// The sigma samplers replace a final alpha product of 0 by 2^-24, so that sigma is finite.
    pub finite_sigmas: bool,
    pub prediction: Prediction,
    pub spacing: Spacing,
    pub steps_offset: usize,
    pub clip: Option<f64>,
    pub set_alpha_to_one: bool,
    pub karras: bool,
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    pub final_sigma_zero: bool,
    pub log_linear: bool,
    pub solver_order: usize,
    pub heun: bool,
    pub lower_order_final: bool,
    pub euler_at_final: bool,
    pub lambda_min_clipped: f64,
    pub variance: Variance,
    pub original_inference_steps: usize,
    pub timestep_scaling: f64,
}

/// Looks `value` up among the words of a field; the first is the default.
fn word<T: Copy>(field: &str, value: &Option<String>, words: &[(&str, T)]) -> Result<T> {
    let Some(value) = value else {
        return Ok(words[0].1);
    };
    words.iter().find(|(name, _)| name == value).map(|(_, t)| *t).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        unsupported(
            field,
            format!("`{value}` is not supported"),
            format!("Use one of {}, or another scheduler", known.join(", ")),
        )
    })
}

impl Settings {
    /// Fills in the defaults of `kind` (the `__init__` of its `scheduling_*.py`).
    pub fn resolve(config: &SchedulerConfig, kind: SchedulerKind) -> Result<Self> {
        use SchedulerKind as K;
        let dpm = matches!(kind, K::DpmSolverMultistep | K::DpmSolverMultistepKarras);
        let euler = kind == K::EulerDiscrete;
        let sigma_space = dpm || euler || kind == K::EulerAncestralDiscrete;

        let flags = [
            ("thresholding", config.thresholding, !euler && kind != K::EulerAncestralDiscrete),
            ("use_exponential_sigmas", config.use_exponential_sigmas, euler || dpm),
            ("use_beta_sigmas", config.use_beta_sigmas, euler || dpm),
            ("use_lu_lambdas", config.use_lu_lambdas, dpm),
            ("use_flow_sigmas", config.use_flow_sigmas, dpm),
        ];
        for (field, value, read) in flags {
            if read && value == Some(true) {
                return Err(unsupported(
                    field,
                    "true is not supported",
                    "Set it to false, or choose another scheduler",
                ));
            }
        }
        if euler {
            word("timestep_type", &config.timestep_type, &[("discrete", ())])?;
        }
        if dpm {
            // diffusers too turns "deis" into "dpmsolver++".
            let known = [("dpmsolver++", ()), ("deis", ())];
            word("algorithm_type", &config.algorithm_type, &known)?;
        }

        let spacings = [
            ("leading", Spacing::Leading),
            ("trailing", Spacing::Trailing),
            ("linspace", Spacing::Linspace),
        ];
        let spacing = match (&config.timestep_spacing, sigma_space) {
            (None, true) => Spacing::Linspace,
            (given, _) => word("timestep_spacing", given, &spacings)?,
        };
        let beta_schedules = [
            ("linear", BetaSchedule::Linear),
            ("scaled_linear", BetaSchedule::ScaledLinear),
            ("squaredcos_cap_v2", BetaSchedule::SquaredcosCapV2),
        ];
        let beta_schedule = match (&config.beta_schedule, kind) {
            (None, K::Lcm) => BetaSchedule::ScaledLinear,
            (given, _) => word("beta_schedule", given, &beta_schedules)?,
        };
        let predictions = [
            ("epsilon", Prediction::Epsilon),
            ("v_prediction", Prediction::Velocity),
            ("sample", Prediction::Sample),
        ];
        // Euler ancestral has no sample prediction in diffusers.
        let count = if kind == K::EulerAncestralDiscrete { 2 } else { 3 };
        let prediction = word("prediction_type", &config.prediction_type, &predictions[..count])?;

        let clips = match kind {
            K::Ddim | K::Ddpm => config.clip_sample.unwrap_or(true),
            K::Lcm => config.clip_sample.unwrap_or(false),
            _ => false,
        };
        let (beta_start, beta_end) = if kind == K::Lcm { (0.00085, 0.012) } else { (0.0001, 0.02) };
        let settings = Self {
            num_train_timesteps: config.num_train_timesteps.unwrap_or(1000),
            beta_start: config.beta_start.unwrap_or(beta_start),
            beta_end: config.beta_end.unwrap_or(beta_end),
            beta_schedule,
            trained_betas: config.trained_betas.clone(),
            zero_snr: config.rescale_betas_zero_snr.unwrap_or(false),
            finite_sigmas: sigma_space,
            prediction,
            spacing,
            steps_offset: config.steps_offset.unwrap_or(0),
            clip: clips.then(|| config.clip_sample_range.unwrap_or(1.0)),
            set_alpha_to_one: config.set_alpha_to_one.unwrap_or(true),
            // DPM++ 2M is two kinds, so there the kind says it.
            karras: kind == K::DpmSolverMultistepKarras
                || (euler && config.use_karras_sigmas.unwrap_or(false)),
            // diffusers' DPM-Solver has no such fields.
            sigma_min: config.sigma_min.filter(|_| euler),
            sigma_max: config.sigma_max.filter(|_| euler),
            final_sigma_zero: if euler || dpm {
                let known = [("zero", true), ("sigma_min", false)];
                word("final_sigmas_type", &config.final_sigmas_type, &known)?
            } else {
                true
            },
            log_linear: euler
                && word(
                    "interpolation_type",
                    &config.interpolation_type,
                    &[("linear", false), ("log_linear", true)],
                )?,
            solver_order: config.solver_order.unwrap_or(2),
            heun: dpm && {
                let known = [
                    ("midpoint", false),
                    ("heun", true),
                    // As diffusers' DPM-Solver reads the words of DEIS and UniPC.
                    ("logrho", false),
                    ("bh1", false),
                    ("bh2", false),
                ];
                word("solver_type", &config.solver_type, &known)?
            },
            lower_order_final: config.lower_order_final.unwrap_or(true),
            euler_at_final: config.euler_at_final.unwrap_or(false),
            lambda_min_clipped: config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY),
            variance: if kind == K::Ddpm {
                let known = [
                    ("fixed_small", Variance::FixedSmall),
                    // The same number by way of its logarithm.
                    ("fixed_small_log", Variance::FixedSmall),
                    ("fixed_large", Variance::FixedLarge),
                ];
                word("variance_type", &config.variance_type, &known)?
            } else {
                Variance::FixedSmall
            },
            original_inference_steps: config.original_inference_steps.unwrap_or(50),
            timestep_scaling: config.timestep_scaling.unwrap_or(10.0),
        };
        settings.check(dpm)
    }

    /// Refuses numbers that no formula could take.
    fn check(self, dpm: bool) -> Result<Self> {
        let fail = |field: &str, value: String, remedy: &str| {
            Err(unsupported(field, format!("{value} is out of range"), remedy))
        };
        let n = self.num_train_timesteps;
        if !(1..=100_000).contains(&n) {
            return fail("num_train_timesteps", n.to_string(), "Stable Diffusion has 1000");
        }
        if !(1..=n).contains(&self.original_inference_steps) {
            let given = self.original_inference_steps.to_string();
            return fail("original_inference_steps", given, "LCM models have 50");
        }
        if dpm && !(1..=2).contains(&self.solver_order) {
            let given = self.solver_order.to_string();
            return fail("solver_order", given, "Use 2, or another scheduler");
        }
        if self.clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
            let given = format!("{:?}", self.clip);
            return fail("clip_sample_range", given, "Use a number above 0, 1.0 for instance");
        }
        if self.karras {
            for (field, sigma) in [("sigma_min", self.sigma_min), ("sigma_max", self.sigma_max)] {
                if sigma.is_some_and(|sigma| !sigma.is_finite() || sigma <= 0.0) {
                    let given = format!("{sigma:?}");
                    return fail(field, given, "Leave it out: the noise schedule gives it");
                }
            }
        }
        Ok(self)
    }
}

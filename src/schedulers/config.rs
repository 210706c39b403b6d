//! `scheduler_config.json`: the fields of all diffusers schedulers that we read.

use serde::Deserialize;

use crate::error::{Error, Result};

/// A model's `scheduler_config.json`, whatever class wrote it.
///
/// A field that the file leaves out (or sets to null) is `None` and gets the default of the kind
/// that is going to read it, as diffusers' `Kind.from_config(config)` does; so one config serves
/// every [`super::SchedulerKind`]. Fields that no kind of ours reads are ignored.
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
    pub skip_prk_steps: Option<bool>,
    pub predict_x0: Option<bool>,
    pub disable_corrector: Option<Vec<usize>>,
    pub solver_p: Option<serde_json::Value>,
    /// How much of a step's noise is fresh, which diffusers takes with every step and no file has: of
    /// TCD (0.3 by default), DDIM (0) and the samplers that add noise in k-diffusion's form (1).
    pub eta: Option<f64>,
    /// Noise levels to go down in place of those of the timesteps, and where the last step ends: what
    /// diffusers' `set_timesteps` takes as `sigmas`. Kinds that take none
    /// ([`super::SchedulerKind::takes_levels`]) don't read it.
    #[serde(skip)]
    pub levels: Option<Vec<f64>>,
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

/// The error for more steps than `most`.
pub(super) fn too_many(steps: usize, most: usize) -> Error {
    Error::setting(
        "steps",
        format!("{steps} steps are more than this scheduler has timesteps for"),
        format!("Use 1 to {most} steps, or another scheduler"),
    )
}

/// Looks `value` up among the words of a field; the first is the default.
pub(super) fn word<T: Copy>(field: &str, value: &Option<String>, words: &[(&str, T)]) -> Result<T> {
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

/// A number of the config that has to lie within `range`.
pub(super) fn within(
    field: &str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
    remedy: &str,
) -> Result<usize> {
    if !range.contains(&value) {
        return Err(unsupported(field, format!("{value} is out of range"), remedy));
    }
    Ok(value)
}

impl SchedulerConfig {
    /// Reads what `file` (its name, for messages) holds.
    ///
    /// # Errors
    /// No JSON object; a field of the wrong type, by name.
    pub fn from_value(file: &str, value: &serde_json::Value) -> Result<Self> {
        let remedy = "Take the scheduler_config.json of a diffusers model";
        let serde_json::Value::Object(fields) = value else {
            return Err(Error::file(file, "not a JSON object", remedy));
        };
        // serde's message does not say which field it was: try them one by one.
        for (name, value) in fields {
            let one = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(one.into())
                .map_err(|e| Error::key(file, name, e.to_string(), remedy))?;
        }
        serde_json::from_value(value.clone()).map_err(|e| Error::file(file, e.to_string(), remedy))
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

    /// Refuses flags that a kind reads in diffusers and that ours doesn't have.
    pub(super) fn refuse(&self, fields: &[&str]) -> Result<()> {
        for &field in fields {
            let value = match field {
                "thresholding" => self.thresholding,
                "use_flow_sigmas" => self.use_flow_sigmas,
                _ => None,
            };
            if value == Some(true) {
                return Err(unsupported(
                    field,
                    "true is not supported",
                    "Set it to false, or choose another scheduler",
                ));
            }
        }
        Ok(())
    }

    /// The order of a solver of DPM-Solver's family, 1 to 3; refuses the flags that no such solver of
    /// ours has.
    pub(super) fn solver_order(&self) -> Result<usize> {
        self.refuse(&["thresholding", "use_flow_sigmas"])?;
        let order = self.solver_order.unwrap_or(2);
        within("solver_order", order, 1..=3, "Use 2 for guided pictures")
    }

    /// `eta`, 0 to 1.
    pub(super) fn eta(&self, default: f64) -> Result<f64> {
        let eta = self.eta.unwrap_or(default);
        if !(0.0..=1.0).contains(&eta) {
            return Err(unsupported("eta", format!("{eta} is out of range"), "Use 0 to 1"));
        }
        Ok(eta)
    }

    /// The range that `x0` is clamped to, where `clip_sample` (or its default) says so.
    pub(super) fn clip(&self, default: bool) -> Result<Option<f64>> {
        if !self.clip_sample.unwrap_or(default) {
            return Ok(None);
        }
        let range = self.clip_sample_range.unwrap_or(1.0);
        if range.is_nan() || range <= 0.0 {
            return Err(unsupported(
                "clip_sample_range",
                format!("{range} is out of range"),
                "Use a number above 0, 1.0 for instance",
            ));
        }
        Ok(Some(range))
    }

    /// `final_sigmas_type`: does the last step go to noise level 0?
    pub(super) fn ends_at_zero(&self) -> Result<bool> {
        let known = [("zero", true), ("sigma_min", false)];
        word("final_sigmas_type", &self.final_sigmas_type, &known)
    }
}

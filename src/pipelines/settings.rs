//! What a person sets of a picture.

use crate::error::{Error, Result};
use crate::noise::{Generator, Rng, varied};
use crate::prompt::Emphasis;
use crate::schedulers::{SchedulerConfig, SchedulerKind};

/// What to make.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// What to draw.
    pub prompt: String,
    /// What to keep away from.
    #[serde(default)]
    pub negative_prompt: String,
    /// How the weights of words act.
    #[serde(default)]
    pub emphasis: Emphasis,
    /// The text encoder's layers are counted from its end, as A1111 does: 1 (all of them) to 12.
    #[serde(default = "all_layers")]
    pub clip_skip: usize,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 or less means none, and half the work.
    pub guidance: f64,
    /// The generator is seeded with it.
    pub seed: u64,
    /// Which generator.
    #[serde(default)]
    pub rng: Rng,
    /// The seed of a variation.
    #[serde(default)]
    pub variation_seed: u64,
    /// How far the noise is on the way to the variation's, 0 to 1.
    #[serde(default)]
    pub variation_strength: f64,
    /// A scheduler's name, or none for the model's own.
    #[serde(default)]
    pub scheduler: Option<String>,
    /// How the timesteps lie: `leading`, `trailing` or `linspace`; none, or nothing in it: as the
    /// model's scheduler config says.
    #[serde(default)]
    pub spacing: Option<String>,
    /// How the noise levels lie, by the name of a [`Levels`](crate::schedulers::Levels); none, or nothing in it: as the model's
    /// timesteps do.
    #[serde(default)]
    pub schedule: Option<String>,
    /// How much of a step's noise is fresh, 0 to 1: of TCD (0.3 where nothing is said), DDIM (0), and of
    /// ancestral and SDE samplers (1); others don't read it.
    #[serde(default)]
    pub eta: Option<f64>,
    /// Pixels, a multiple of 8.
    pub width: usize,
    /// Pixels, a multiple of 8.
    pub height: usize,
}

fn all_layers() -> usize {
    1
}

impl Settings {
    /// The generator, after it gave the noise of latents `[channels, height, width]`; and that.
    ///
    /// # Errors
    /// When the variation's strength is out of range.
    pub(super) fn noise(&self, shape: [usize; 3]) -> Result<(Generator, Vec<f32>)> {
        let strength = self.variation_strength;
        if !(0.0..=1.0).contains(&strength) {
            let problem = format!("{strength} is not within 0..1");
            return Err(Error::setting("variation_strength", problem, "Use 0 for no variation"));
        }
        let count = shape.iter().product();
        let mut generator = Generator::new(self.rng, self.seed);
        let mut noise = generator.randn(count);
        if strength > 0.0 {
            let other = Generator::new(self.rng, self.variation_seed).randn(count);
            noise = varied(&noise, &other, [shape[1], shape[2]], strength as f32);
        }
        Ok((generator, noise))
    }

    /// The model's scheduler config with what is set here in place of its own, for the scheduler `kind`.
    pub(super) fn scheduler_config(
        &self,
        kind: SchedulerKind,
        own: &SchedulerConfig,
    ) -> Result<SchedulerConfig> {
        let said = |word: &Option<String>| word.clone().filter(|word| !word.is_empty());
        let mut config = own.clone();
        let schedule = said(&self.schedule);
        if let Some(spacing) = said(&self.spacing) {
            if let Some(schedule) = &schedule {
                let problem = format!("`{spacing}` timesteps contradict the schedule `{schedule}`");
                return Err(Error::setting("spacing", problem, "Leave one of them out"));
            }
            if !["leading", "trailing", "linspace"].contains(&&*spacing) {
                let problem = format!("there is no timestep spacing `{spacing}`");
                return Err(Error::setting(
                    "spacing",
                    problem,
                    "Use leading, trailing or linspace",
                ));
            }
            config.timestep_spacing = Some(spacing);
        }
        if let Some(eta) = self.eta {
            if !(0.0..=1.0).contains(&eta) {
                return Err(Error::setting("eta", format!("{eta} is not within 0..1"), "Use 0.3"));
            }
            config.eta = Some(eta);
        }
        match schedule {
            Some(name) => config.with_levels(kind, name.parse()?, self.steps),
            None => Ok(config),
        }
    }
}

//! What a person sets of a picture.

use super::{Hires, Start};
use crate::error::{Error, Result};
use crate::noise::{Generator, Rng, varied};
use crate::prompt::Emphasis;
use crate::schedulers::{SchedulerConfig, SchedulerKind};

/// What SDXL's UNet is told of a picture's size: pixels, each pair the width's first. What isn't said is
/// that of the picture, uncropped; of the negative prompt, as of the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sizes {
    /// The picture's before it was cut.
    pub original: Option<[f64; 2]>,
    /// The cut's left and top.
    pub crop: Option<[f64; 2]>,
    /// The picture's.
    pub target: Option<[f64; 2]>,
    /// The same, as the negative prompt is drawn away from it.
    pub negative_original: Option<[f64; 2]>,
    /// See the others.
    pub negative_crop: Option<[f64; 2]>,
    /// See the others.
    pub negative_target: Option<[f64; 2]>,
}

impl Sizes {
    /// The numbers that go with the negative prompt and with the prompt: original height and width, the
    /// crop's top and left, target height and width (diffusers' `_get_add_time_ids`).
    pub(super) fn time_ids(&self, [width, height]: [usize; 2]) -> [[f64; 6]; 2] {
        let picture = [width as f64, height as f64];
        let row = |original: [f64; 2], crop: [f64; 2], target: [f64; 2]| {
            [original[1], original[0], crop[1], crop[0], target[1], target[0]]
        };
        let original = self.original.unwrap_or(picture);
        let crop = self.crop.unwrap_or_default();
        let target = self.target.unwrap_or(picture);
        let negative = row(
            self.negative_original.unwrap_or(original),
            self.negative_crop.unwrap_or(crop),
            self.negative_target.unwrap_or(target),
        );
        [negative, row(original, crop, target)]
    }

    fn check(&self) -> Result<()> {
        let pairs = [
            self.original,
            self.crop,
            self.target,
            self.negative_original,
            self.negative_crop,
            self.negative_target,
        ];
        let numbers = pairs.into_iter().flatten().flatten();
        for number in numbers {
            if !(0.0..=65536.0).contains(&number) {
                let problem = format!("{number} is not from 0 to 65536 pixels");
                return Err(Error::setting("sizes", problem, "Leave it out for the picture's own"));
            }
        }
        Ok(())
    }
}

/// What to make.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// What to draw.
    pub prompt: String,
    /// What to keep away from.
    #[serde(default)]
    pub negative_prompt: String,
    /// Of SDXL: whether an empty negative prompt is encoded (as ComfyUI does it), where a model's own way,
    /// and diffusers' and A1111's, are zeros in its place.
    #[serde(default)]
    pub encode_empty_negative: bool,
    /// Of SDXL: what the UNet is told of the picture's size, where that isn't the size it has.
    #[serde(default)]
    pub sizes: Sizes,
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
    /// What it starts from, if not from noise alone.
    #[serde(default)]
    pub start: Option<Start>,
    /// A second, larger pass after the first.
    #[serde(default)]
    pub hires: Option<Hires>,
}

impl Default for Settings {
    /// No prompt, 20 steps, 512 by 512 pixels, and the model's own ways.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            encode_empty_negative: false,
            sizes: Sizes::default(),
            emphasis: Emphasis::default(),
            clip_skip: all_layers(),
            steps: 20,
            guidance: 7.5,
            seed: 0,
            rng: Rng::default(),
            variation_seed: 0,
            variation_strength: 0.0,
            scheduler: None,
            spacing: None,
            schedule: None,
            eta: None,
            width: 512,
            height: 512,
            start: None,
            hires: None,
        }
    }
}

fn all_layers() -> usize {
    1
}

impl Settings {
    /// The most pixels in either direction.
    pub const MOST_PIXELS: usize = 2048;

    /// The noise of latents `[channels, height, width]` that this generator gives next, with the
    /// variation's share in it.
    pub(super) fn noise(&self, generator: &mut Generator, shape: [usize; 3]) -> Vec<f32> {
        let count = shape.iter().product();
        let noise = generator.randn(count);
        let strength = self.variation_strength;
        if strength == 0.0 {
            return noise;
        }
        let other = Generator::new(self.rng, self.variation_seed).randn(count);
        varied(&noise, &other, [shape[1], shape[2]], strength as f32)
    }

    /// Width and height of the picture that is drawn in the end.
    ///
    /// # Errors
    /// When the second pass would be too large.
    pub fn size_drawn(&self) -> Result<[usize; 2]> {
        let first = [self.width, self.height];
        self.hires.as_ref().map_or(Ok(first), |hires| hires.size(first, Self::MOST_PIXELS))
    }

    /// The second pass, as a run that starts from what the first one made.
    ///
    /// # Errors
    /// When it would be too large.
    pub(super) fn second_pass(&self) -> Result<Option<Self>> {
        let Some(hires) = &self.hires else { return Ok(None) };
        let [width, height] = self.size_drawn()?;
        let (steps, start) = (hires.steps(self.steps), Some(hires.start()));
        Ok(Some(Self { width, height, steps, start, hires: None, ..self.clone() }))
    }

    /// # Errors
    /// Names the setting that is out of range.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("width", self.width), ("height", self.height)] {
            if value == 0 || value % 8 != 0 || value > Self::MOST_PIXELS {
                return Err(Error::setting(
                    name,
                    format!("{value} is not a multiple of 8 from 8 to {}", Self::MOST_PIXELS),
                    "Choose a multiple of 8",
                ));
            }
        }
        if !self.guidance.is_finite() || !(0.0..=100.0).contains(&self.guidance) {
            return Err(Error::setting(
                "guidance",
                format!("{} is not between 0 and 100", self.guidance),
                "Choose a value from 1 (none) to 15",
            ));
        }
        if !(1..=12).contains(&self.clip_skip) {
            let problem = format!("{} is not within 1..12", self.clip_skip);
            return Err(Error::setting("clip_skip", problem, "Use 1, which leaves nothing out"));
        }
        if !(0.0..=1.0).contains(&self.variation_strength) {
            let problem = format!("{} is not within 0..1", self.variation_strength);
            return Err(Error::setting("variation_strength", problem, "Use 0 for no variation"));
        }
        if self.hires.is_some() && self.start.is_some() {
            let problem = "a picture that starts from another is drawn once";
            return Err(Error::setting("hires", problem, "Leave one of the two out"));
        }
        self.sizes.check()?;
        self.size_drawn()?;
        Ok(())
    }

    /// The model's scheduler config with what is set here in place of its own, for `steps` steps of the
    /// scheduler `kind`.
    pub(super) fn scheduler_config(
        &self,
        kind: SchedulerKind,
        steps: usize,
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
            Some(name) => config.with_levels(kind, name.parse()?, steps),
            None => Ok(config),
        }
    }
}

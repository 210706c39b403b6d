//! A picture that a run starts from, and a mask of what is painted anew (img2img, inpainting).
//! [`prepared`] makes pixels ready, [`starting`] brings them into latents, [`blend`] keeps what stays.

pub(super) mod blend;
mod prepared;
pub(super) mod starting;

use crate::error::{Error, Result};
use crate::image::Rgba;
use crate::image::resample::Fit;
use crate::weights::Task;

/// How a run starts from a picture.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// How far the result may be from the picture: 0 (hardly at all) to 1 (all the way). A1111's
    /// "Denoising strength".
    #[serde(default = "usual_strength")]
    pub strength: f64,
    /// Makes as many steps as asked for; otherwise their share by the strength.
    #[serde(default)]
    pub exact_steps: bool,
    /// How a picture of another size comes to the size asked for.
    #[serde(default)]
    pub resize: Fit,
    /// What is painted anew; all of it where there is no mask.
    #[serde(default)]
    pub inpaint: Option<Inpaint>,
    /// Whose rules.
    #[serde(default)]
    pub convention: Convention,
}

/// How what the mask says is painted anew.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inpaint {
    /// The deviation of the Gaussian that softens the mask's rim, in pixels.
    pub blur: f64,
    /// What is there before.
    pub content: Content,
    /// Which part is worked on.
    pub area: Area,
    /// Pixels around the mask that are worked on with it, for [`Area::Masked`].
    pub padding: usize,
    /// Paints what is black in the mask, and not what is white.
    pub inverted: bool,
}

impl Default for Inpaint {
    /// A1111's.
    fn default() -> Self {
        Self {
            blur: 4.0,
            content: Content::default(),
            area: Area::default(),
            padding: 32,
            inverted: false,
        }
    }
}

/// What is under the mask before it is painted: A1111's "Masked content".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// The picture as it is.
    #[default]
    Original,
    /// The colours around the mask.
    Fill,
    /// Noise in the latents.
    Noise,
    /// Latents of zeros.
    Nothing,
}

/// A1111's "Inpaint area".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Area {
    /// The whole picture at the size asked for.
    #[default]
    Whole,
    /// The part around the mask alone, at the size asked for; the result has the picture's own size.
    Masked,
}

/// Where programs differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Convention {
    /// A1111's: `int(strength * steps) + 1` calls; the mean of what the encoder gives; what stays is put
    /// into each `x0`.
    #[default]
    A1111,
    /// diffusers': `int(strength * steps)` calls; a sample of what the encoder gives; after each step
    /// what stays is put back, as noisy as the next step wants it.
    Diffusers,
}

fn usual_strength() -> f64 {
    0.75
}

impl Default for Start {
    fn default() -> Self {
        Self {
            strength: usual_strength(),
            exact_steps: false,
            resize: Fit::default(),
            inpaint: None,
            convention: Convention::default(),
        }
    }
}

/// The pixels that a [`Start`] speaks of.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// What is started from.
    pub picture: Rgba,
    /// White where it is painted anew; of another size it is stretched.
    pub mask: Option<Rgba>,
}

impl Start {
    /// Of `steps` steps that are asked for: by how many the levels are laid out, and the first that is
    /// made. A1111's `setup_img2img_steps`, diffusers' `get_timesteps`, both in f64.
    ///
    /// # Errors
    /// When the strength is out of range, or leaves no step.
    pub fn steps(&self, steps: usize) -> Result<(usize, usize)> {
        let strength = self.strength;
        if !(0.0..=1.0).contains(&strength) {
            let problem = format!("{strength} is not within 0..1");
            return Err(Error::setting("strength", problem, "Use 0.75"));
        }
        let share = strength.min(0.999);
        let none = |remedy: &str| {
            let problem = format!("{strength} leaves none of {steps} steps");
            Err(Error::setting("strength", problem, remedy))
        };
        match self.convention {
            Convention::A1111 if self.exact_steps => {
                if strength * 1000.0 < steps as f64 {
                    return none("Use more strength, or fewer steps");
                }
                let all = (steps as f64 / share) as usize;
                Ok((all, all - steps))
            }
            Convention::A1111 => {
                Ok((steps, (steps - 1).saturating_sub((share * steps as f64) as usize)))
            }
            Convention::Diffusers => match ((steps as f64 * strength) as usize).min(steps) {
                0 => none("Use more strength, or more steps"),
                made => Ok((steps, steps - made)),
            },
        }
    }

    /// Whether the run draws a sample of the picture's latents before its noise, which is diffusers' way
    /// unless an inpainting UNet starts from noise alone.
    pub(super) fn draws_a_sample(&self, task: Task) -> bool {
        let from_noise = task == Task::Inpainting && self.strength >= 1.0;
        self.convention == Convention::Diffusers && !from_noise
    }

    /// The mask's part; the usual one where nobody set it.
    pub(super) fn inpaint(&self) -> Result<Inpaint> {
        let inpaint = self.inpaint.clone().unwrap_or_default();
        if !(0.0..=256.0).contains(&inpaint.blur) {
            let problem = format!("{} is not within 0..256", inpaint.blur);
            return Err(Error::setting("blur", problem, "Use 4"));
        }
        Ok(inpaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_page_writes_them() {
        let json = r#"{"picture": "ab", "strength": 0.5, "exactSteps": true, "resize": "fill",
            "inpaint": {"blur": 8, "content": "noise", "area": "masked", "padding": 16}}"#;
        let inpaint = Inpaint {
            blur: 8.0,
            content: Content::Noise,
            area: Area::Masked,
            padding: 16,
            inverted: false,
        };
        let start = Start {
            strength: 0.5,
            exact_steps: true,
            resize: Fit::Fill,
            inpaint: Some(inpaint),
            convention: Convention::A1111,
        };
        assert_eq!(serde_json::from_str::<Start>(json).unwrap(), start);
        assert_eq!(serde_json::from_str::<Start>("{}").unwrap(), Start::default());
        let error = Start { strength: 1.5, ..Start::default() }.steps(20).unwrap_err();
        assert!(error.to_string().starts_with("strength: 1.5 is not within 0..1"), "{error}");
    }
}

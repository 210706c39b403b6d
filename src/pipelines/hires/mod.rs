//! A second, larger pass over a picture (A1111's "hires fix"). [`enlarge`] brings what the first one made
//! to the size of the second, which goes on from there as [`Start`] goes on from a picture.

mod enlarge;

use super::Start;
use crate::error::{Error, Result};

pub use enlarge::Upscaler;

/// How the second pass is made.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hires {
    /// How many times as wide and high it is.
    pub scale: f64,
    /// What makes it larger.
    pub upscaler: Upscaler,
    /// How far the result may be from what the first pass made, 0 to 1.
    pub strength: f64,
    /// Its steps; 0: as many as the first pass has.
    pub steps: usize,
}

impl Default for Hires {
    /// A1111's.
    fn default() -> Self {
        Self { scale: 2.0, upscaler: Upscaler::default(), strength: 0.7, steps: 0 }
    }
}

impl Hires {
    /// The largest scale.
    const MOST: f64 = 4.0;

    /// Width and height of the result in pixels, whole latents as A1111 has them, neither over `most`.
    ///
    /// # Errors
    /// When they would be, or the scale is out of range.
    pub fn size(&self, first: [usize; 2], most: usize) -> Result<[usize; 2]> {
        let scale = self.scale;
        if !(1.0..=Self::MOST).contains(&scale) {
            let problem = format!("{scale} is not within 1..{}", Self::MOST);
            return Err(Error::setting("hires scale", problem, "Use 2"));
        }
        let size = first.map(|side| (side as f64 * scale) as usize / 8 * 8);
        if size.iter().any(|side| *side > most) {
            let [width, height] = size;
            let longest = first.into_iter().max().unwrap_or(most).max(1);
            // Cut to two places: what is proposed fits.
            let fits = (100.0 * most as f64 / longest as f64).floor() / 100.0;
            let problem = format!("{scale} makes {width}x{height}, and {most} pixels are the most");
            return Err(Error::setting("hires scale", problem, format!("Use {fits} or less")));
        }
        Ok(size)
    }

    /// Its steps after a first pass of `first`.
    pub fn steps(&self, first: usize) -> usize {
        if self.steps == 0 { first } else { self.steps }
    }

    /// How it starts: A1111 makes all the steps that are asked for, whatever its other settings say.
    pub(super) fn start(&self) -> Start {
        Start { strength: self.strength, exact_steps: true, ..Start::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_page_writes_them() {
        let json = r#"{"scale": 1.5, "upscaler": "latent-nearest", "strength": 0.45, "steps": 12}"#;
        let upscaler = Upscaler::LatentNearest;
        let hires = Hires { scale: 1.5, upscaler, strength: 0.45, steps: 12 };
        assert_eq!(serde_json::from_str::<Hires>(json).unwrap(), hires);
        assert_eq!(serde_json::from_str::<Hires>("{}").unwrap(), Hires::default());
        assert_eq!((hires.steps(20), Hires::default().steps(20)), (12, 20));
    }

    #[test]
    fn sizes_are_whole_latents_and_what_is_too_large_is_refused() {
        let at = |scale| Hires { scale, ..Hires::default() };
        assert_eq!(at(1.0).size([512, 520], 2048).unwrap(), [512, 520]);
        assert_eq!(at(4.0).size([512, 320], 2048).unwrap(), [2048, 1280]);
        let message = |scale| at(scale).size([768, 1024], 2048).unwrap_err().to_string();
        let large = message(2.25);
        assert!(large.starts_with("hires scale: 2.25 makes 1728x2304, and 2048 pixels"), "{large}");
        assert!(large.ends_with("Use 2 or less"), "{large}");
        for scale in [0.5, 4.5, f64::NAN] {
            assert!(message(scale).contains("is not within 1..4"), "{scale}");
        }
    }
}

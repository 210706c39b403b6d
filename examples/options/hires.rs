//! Options of a second, larger pass.

use lorakeet::error::{Error, Result};
use lorakeet::pipelines::Hires;

use super::Given;

/// Their lines of `--help`.
pub const USAGE: &str = "\
  --hires X             draws the picture once more, X times as wide and high (1 to 4), from what it was
  --hires-upscaler HOW  what makes it larger: latent (by default), latent-nearest, or lanczos, which is
                        done to the decoded picture
  --hires-strength X    how far the result may be from it, 0 to 1; 0.7 by default
  --hires-steps N       0 (by default): as many as before
";

/// What was given.
#[derive(Default)]
pub struct HiresOptions {
    hires: Hires,
    scale: Option<f64>,
    /// The last option that means nothing without a scale.
    more: Option<String>,
}

impl HiresOptions {
    /// Takes an option that is one of these; false: it is another.
    pub fn take(&mut self, given: &Given<'_>) -> Result<bool> {
        match given.name {
            "--hires" => self.scale = Some(given.number()?),
            "--hires-upscaler" => {
                self.hires.upscaler = given.named("latent, latent-nearest, lanczos")?;
            }
            "--hires-strength" => self.hires.strength = given.number()?,
            "--hires-steps" => self.hires.steps = given.whole()?,
            _ => return Ok(false),
        }
        if given.name != "--hires" {
            self.more = Some(given.name.into());
        }
        Ok(true)
    }

    /// The setting; None: the picture is drawn once.
    ///
    /// # Errors
    /// Names the option that means nothing without `--hires`.
    pub fn read(&self) -> Result<Option<Hires>> {
        match (self.scale, &self.more) {
            (Some(scale), _) => Ok(Some(Hires { scale, ..self.hires.clone() })),
            (None, None) => Ok(None),
            (None, Some(name)) => {
                Err(Error::setting(name, "means nothing without --hires", "See --help"))
            }
        }
    }
}

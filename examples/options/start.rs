//! Options of a picture to start from.

use std::path::Path;

use lorakeet::error::{Error, Result};
use lorakeet::image::Rgba;
use lorakeet::pipelines::{Area, Inpaint, Pictures, Start};

use super::Given;

/// Their lines of `--help`.
pub const USAGE: &str = "\
  --image FILE          a picture to start from (PNG, JPEG, WebP)
  --strength X          how far from it the result may be, 0 to 1; 0.75 by default. Of the steps
                        that share is made, and one more, as A1111 does
  --exact-steps         makes all the steps
  --resize HOW          how a picture of another size is fitted: crop (by default), fill or stretch
  --mask FILE           what is painted anew: white, or what isn't transparent
  --invert-mask         paints what is black
  --mask-blur X         softens the mask's rim, in pixels; 4 by default
  --mask-content WHAT   what is there before: original (by default), fill, noise or nothing
  --only-masked N       works on the part around the mask alone, with N pixels around it (32 in A1111),
                        at the size asked for; the result has the picture's own size
  --convention WHO      a1111 (by default) or diffusers: how steps are counted and what stays is kept
";

/// Those that nothing follows.
pub const FLAGS: [&str; 2] = ["--exact-steps", "--invert-mask"];

/// What was given.
#[derive(Default)]
pub struct StartOptions {
    image: Option<String>,
    mask: Option<String>,
    /// The last option that means nothing without a picture, and without a mask.
    of_image: Option<String>,
    of_mask: Option<String>,
    start: Start,
    inpaint: Inpaint,
}

impl StartOptions {
    /// Takes an option that is one of these; false: it is another.
    pub fn take(&mut self, given: &Given<'_>) -> Result<bool> {
        match given.name {
            "--image" => self.image = Some(given.text()?),
            "--mask" => self.mask = Some(given.text()?),
            "--strength" => self.start.strength = given.number()?,
            "--exact-steps" => self.start.exact_steps = true,
            "--resize" => self.start.resize = given.named("crop, fill, stretch")?,
            "--convention" => self.start.convention = given.named("a1111, diffusers")?,
            "--invert-mask" => self.inpaint.inverted = true,
            "--mask-blur" => self.inpaint.blur = given.number()?,
            "--mask-content" => {
                self.inpaint.content = given.named("original, fill, noise, nothing")?;
            }
            "--only-masked" => {
                (self.inpaint.area, self.inpaint.padding) = (Area::Masked, given.whole()?);
            }
            _ => return Ok(false),
        }
        let name = Some(given.name.to_string());
        match given.name {
            "--image" => {}
            "--strength" | "--exact-steps" | "--resize" | "--convention" | "--mask" => {
                self.of_image = name;
            }
            _ => self.of_mask = name,
        }
        Ok(true)
    }

    /// The settings and pixels; None: no picture was given.
    ///
    /// # Errors
    /// Names the file that can't be read, or the option that means nothing without another.
    pub fn read(&self) -> Result<Option<(Start, Pictures)>> {
        let lonely = |name: &Option<String>, of: &str| match name {
            Some(name) => {
                Err(Error::setting(name, format!("means nothing without {of}"), "See --help"))
            }
            None => Ok(()),
        };
        if self.mask.is_none() {
            lonely(&self.of_mask, "--mask")?;
        }
        let Some(image) = &self.image else {
            return lonely(&self.of_image, "--image").map(|()| None);
        };
        let mask = self.mask.as_deref().map(pixels).transpose()?;
        let inpaint = mask.is_some().then(|| self.inpaint.clone());
        let start = Start { inpaint, ..self.start.clone() };
        Ok(Some((start, Pictures { picture: pixels(image)?, mask })))
    }
}

fn pixels(path: &str) -> Result<Rgba> {
    let picture = decoded(Path::new(path)).map_err(|error| {
        let remedy = "Give a PNG, JPEG or WebP picture";
        Error::file(path, format!("can't be decoded: {error}"), remedy)
    })?;
    let [width, height] = [picture.width(), picture.height()].map(|length| length as usize);
    Ok(Rgba { width, height, bytes: picture.into_raw() })
}

/// A picture's pixels, turned as its camera says.
pub fn decoded(path: &Path) -> image::ImageResult<image::RgbaImage> {
    use image::ImageDecoder;
    let reader = image::ImageReader::open(path)?.with_guessed_format()?;
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = image::DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgba8())
}

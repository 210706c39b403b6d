//! Pixels made ready: sizes, masks, what is laid over the result. Source: A1111,
//! `modules/processing.py`, `StableDiffusionProcessingImg2Img.init`.

use super::{Area, Content, Inpaint, Pictures, Start};
use crate::error::{Error, Result};
use crate::image::Rgb;
use crate::image::fill::filled;
use crate::image::mask::{Mask, Region, laid_over};
use crate::image::resample::Fit;

/// What goes through the encoder, and what comes over the decoder's picture.
pub struct Prepared {
    /// `[3, height, width]` in -1..1.
    pub planes: Vec<f32>,
    /// What is painted anew, if not all is.
    pub masked: Option<Masked>,
}

/// A mask, in all the shapes in which it is needed.
pub struct Masked {
    pub inpaint: Inpaint,
    /// One number a latent, 1 is painted anew.
    pub latents: Vec<f32>,
    /// The same as inpainting UNets and diffusers have it.
    pub corners: Vec<f32>,
    /// The picture with grey where it is painted anew, for an inpainting UNet.
    pub hidden: Vec<f32>,
    /// What stays.
    picture: Rgb,
    /// Where it doesn't.
    mask: Mask,
    /// The part that was worked on; None: all.
    region: Option<Region>,
}

impl Prepared {
    /// Of a size in pixels, multiples of 8.
    ///
    /// # Errors
    /// When there is a mask to be used and none given, or a picture has no pixels.
    pub fn new(start: &Start, pictures: &Pictures, size: [usize; 2]) -> Result<Self> {
        for (what, picture) in
            [("picture", Some(&pictures.picture)), ("mask", pictures.mask.as_ref())]
        {
            let area = picture.map(|picture| (picture.width * picture.height, picture.bytes.len()));
            if area.is_some_and(|(pixels, bytes)| pixels == 0 || 4 * pixels != bytes) {
                return Err(Error::setting(what, "has no pixels", "Choose another file"));
            }
        }
        let picture = Rgb::on_white(&pictures.picture);
        let inpaint = start.inpaint()?;
        let mask = match &pictures.mask {
            Some(mask) => mask_of(mask, &inpaint, &picture),
            None if start.inpaint.is_some() => {
                let problem = "is missing";
                return Err(Error::setting("mask", problem, "Paint one, or choose a file"));
            }
            None => None,
        };
        let Some(mask) = mask else {
            let planes = start.resize.of(&picture, size).planes();
            return Ok(Self { planes, masked: None });
        };
        Ok(Self::with_mask(start.resize, picture, mask, inpaint, size))
    }

    fn with_mask(fit: Fit, picture: Rgb, mask: Mask, inpaint: Inpaint, size: [usize; 2]) -> Self {
        let own = [picture.width, picture.height];
        let region = match inpaint.area {
            Area::Whole => None,
            Area::Masked => mask.region(inpaint.padding).map(|region| region.shaped(size, own)),
        };
        let (mut work, small, picture, mask) = match region {
            Some(region) => {
                let [width, height] = region.size();
                let bytes = region.cut(&picture.bytes, 3, picture.width);
                let work = Fit::Fill.of(&Rgb { width, height, bytes }, size);
                (work, mask.cut(region).fitted(Fit::Fill, size), picture, mask)
            }
            None => {
                let (picture, mask) = (fit.of(&picture, size), mask.fitted(fit, size));
                (picture.clone(), mask.clone(), picture, mask.doubled())
            }
        };
        if inpaint.content != Content::Original {
            work = filled(&work, &small);
        }
        let planes = work.planes();
        let shown = |value: (&f32, &u8)| if *value.1 >= 128 { 0.0 } else { *value.0 };
        let hidden = planes.iter().zip(small.bytes.iter().cycle()).map(shown).collect();
        let (latents, corners) = (small.of_latents(), small.of_corners());
        Self {
            planes,
            masked: Some(Masked { inpaint, latents, corners, hidden, picture, mask, region }),
        }
    }
}

/// The mask, of its picture's size, soft; None: all of it is black, which A1111 takes for no mask.
fn mask_of(mask: &crate::image::Rgba, inpaint: &Inpaint, picture: &Rgb) -> Option<Mask> {
    let mask = Mask::of(mask).fitted(Fit::Stretch, [picture.width, picture.height]);
    let mask = if inpaint.inverted { mask.inverted() } else { mask };
    (!mask.is_black()).then(|| mask.blurred(inpaint.blur))
}

impl Masked {
    /// What stays, over what was painted: of the picture's own size where only a part was worked on.
    pub fn lay_over(&self, painted: Rgb) -> Rgb {
        let painted = match self.region {
            None => painted,
            Some(region) => {
                let part = Fit::Crop.of(&painted, region.size());
                let mut whole = self.picture.clone();
                let rows = whole.bytes.chunks_exact_mut(3 * self.picture.width);
                let rows = rows.skip(region.from[1]).zip(part.bytes.chunks_exact(3 * part.width));
                for (row, new) in rows {
                    row[3 * region.from[0]..3 * region.to[0]].copy_from_slice(new);
                }
                whole
            }
        };
        laid_over(&painted, &self.picture, &self.mask)
    }
}

//! Masks of what is painted anew: white is, black stays. Sources: A1111, `modules/masking.py`,
//! `modules/processing.py` (`StableDiffusionProcessingImg2Img.init`, `apply_overlay`).

use std::ops::Range;

use super::resample::{Filter, Fit, resize};
use super::{Rgb, Rgba};

/// One byte a pixel: 255 is painted anew, 0 stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` bytes.
    pub bytes: Vec<u8>,
}

/// A part of a picture: from its left upper corner up to, and without, its right lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Left and upper edge.
    pub from: [usize; 2],
    /// Right and lower edge.
    pub to: [usize; 2],
}

impl Region {
    /// Width and height.
    pub fn size(self) -> [usize; 2] {
        [self.to[0] - self.from[0], self.to[1] - self.from[1]]
    }

    /// As wide for its height as `shape`, larger where it can be, within a picture of `limits`.
    pub fn shaped(self, shape: [usize; 2], limits: [usize; 2]) -> Self {
        let [width, height] = self.size().map(|length| length as f64);
        let ratio = shape[0] as f64 / shape[1] as f64;
        let mut shaped = self;
        let (axis, wanted) =
            if width / height > ratio { (1, width / ratio) } else { (0, height * ratio) };
        let more = (wanted - self.size()[axis] as f64) as isize;
        let low = self.from[axis] as isize - more.div_euclid(2);
        let high = self.to[axis] as isize + more - more.div_euclid(2);
        let limit = limits[axis] as isize;
        let over = (high - limit).max(0);
        let under = (low - over).min(0);
        shaped.from[axis] = (low - over - under) as usize;
        shaped.to[axis] = (high - over - under).min(limit) as usize;
        shaped
    }

    /// Bytes of `channels` a pixel in it, of a picture `width` wide.
    pub fn cut(self, bytes: &[u8], channels: usize, width: usize) -> Vec<u8> {
        let [x0, x1] = [self.from[0], self.to[0]].map(|x| x * channels);
        let rows = bytes.chunks_exact(width * channels).take(self.to[1]).skip(self.from[1]);
        rows.flat_map(|row| &row[x0..x1]).copied().collect()
    }
}

impl Mask {
    /// Of a picture whose alpha tells something, its alpha: above 128 is white. Otherwise its grey
    /// (`create_binary_mask`, and Pillow's `convert("L")`).
    pub fn of(picture: &Rgba) -> Self {
        let opaque = picture.bytes.chunks_exact(4).all(|pixel| pixel[3] == u8::MAX);
        let value = |pixel: &[u8]| {
            if !opaque {
                return if pixel[3] > 128 { u8::MAX } else { 0 };
            }
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8
        };
        let bytes = picture.bytes.chunks_exact(4).map(value).collect();
        Self { width: picture.width, height: picture.height, bytes }
    }

    /// Black for white.
    pub fn inverted(mut self) -> Self {
        self.bytes.iter_mut().for_each(|byte| *byte = u8::MAX - *byte);
        self
    }

    /// Whether nothing is painted anew.
    pub fn is_black(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    /// With a rim as soft as a Gaussian of deviation `sigma` pixels, cut off at 2.5 deviations: rows,
    /// then columns, rounded each time; edges are mirrored at the last pixel.
    pub fn blurred(&self, sigma: f64) -> Self {
        let half = (2.5 * sigma + 0.5) as usize;
        // Past its reach all is black, and stays so.
        let Some(Region { from, to }) = self.region(half).filter(|_| sigma > 0.0) else {
            return self.clone();
        };
        let weights = gaussian(sigma, half);
        let (width, height) = (self.width, self.height);
        let rows = Lines { length: width, step: 1, next: width };
        let columns = Lines { length: height, step: width, next: 1 };
        let (across, down) = (from[0]..to[0], from[1]..to[1]);
        let bytes = rows.weighed(&self.bytes, down.clone(), across.clone(), &weights);
        Self { width, height, bytes: columns.weighed(&bytes, across, down, &weights) }
    }

    /// At a size, as its picture comes to it.
    pub fn fitted(&self, fit: Fit, to: [usize; 2]) -> Self {
        let bytes = fit.of_bytes(&self.bytes, 1, [self.width, self.height], to);
        Self { width: to[0], height: to[1], bytes }
    }

    /// A part of it.
    pub fn cut(&self, region: Region) -> Self {
        let [width, height] = region.size();
        Self { width, height, bytes: region.cut(&self.bytes, 1, self.width) }
    }

    /// The part that isn't black, and `padding` pixels around it. None: all is black.
    pub fn region(&self, padding: usize) -> Option<Region> {
        let is_painted = |x: usize, y: usize| self.bytes[y * self.width + x] > 0;
        let rows = (0..self.height).filter(|&y| (0..self.width).any(|x| is_painted(x, y)));
        let columns = (0..self.width).filter(|&x| (0..self.height).any(|y| is_painted(x, y)));
        let ends = |mut places: Vec<usize>, limit: usize| {
            let last = places.pop()?;
            let first = places.first().copied().unwrap_or(last);
            Some((first.saturating_sub(padding), (last + 1 + padding).min(limit)))
        };
        let (left, right) = ends(columns.collect(), self.width)?;
        let (top, bottom) = ends(rows.collect(), self.height)?;
        Some(Region { from: [left, top], to: [right, bottom] })
    }

    /// One number for each latent, 8 pixels each way: Pillow's bicubic, rounded to 0 or 1.
    pub fn of_latents(&self) -> Vec<f32> {
        let size = [self.width / 8, self.height / 8];
        let bytes = resize(&self.bytes, 1, [self.width, self.height], size, Filter::Bicubic);
        bytes.into_iter().map(|byte| (f32::from(byte) / 255.0).round_ties_even()).collect()
    }

    /// The same of the upper left one of each 8 by 8 pixels, as diffusers and inpainting UNets have it.
    pub fn of_corners(&self) -> Vec<f32> {
        let rows = self.bytes.chunks_exact(8 * self.width);
        rows.flat_map(|rows| rows[..self.width].iter().step_by(8))
            .map(|byte| if *byte >= 128 { 1.0 } else { 0.0 })
            .collect()
    }

    /// Twice as white: the rim comes to lie outside of what is painted (for what is laid over the
    /// result).
    pub fn doubled(&self) -> Self {
        let bytes = self.bytes.iter().map(|byte| byte.saturating_mul(2)).collect();
        Self { bytes, ..*self }
    }
}

/// Weights of neighbours up to `half` away, one in all.
fn gaussian(sigma: f64, half: usize) -> Vec<f64> {
    let half = half as isize;
    let weights: Vec<f64> =
        (-half..=half).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// How rows or columns lie in the bytes.
struct Lines {
    length: usize,
    /// To the next place of a line.
    step: usize,
    /// To the next line.
    next: usize,
}

impl Lines {
    /// The means of each place's neighbours, for some places of some lines; the rest stays.
    fn weighed(
        &self,
        bytes: &[u8],
        lines: Range<usize>,
        places: Range<usize>,
        weights: &[f64],
    ) -> Vec<u8> {
        let half = (weights.len() / 2) as isize;
        let mut out = bytes.to_vec();
        for start in lines.map(|line| line * self.next) {
            for at in places.clone() {
                let value = |(weight, x): (&f64, isize)| {
                    let place = mirrored(at as isize + x, self.length as isize);
                    weight * f64::from(bytes[start + place * self.step])
                };
                let sum: f64 = weights.iter().zip(-half..).map(value).sum();
                out[start + at * self.step] = sum.round_ties_even().clamp(0.0, 255.0) as u8;
            }
        }
        out
    }
}

fn mirrored(at: isize, count: isize) -> usize {
    if count == 1 {
        return 0;
    }
    let period = 2 * (count - 1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// What stays of a picture, over one that was painted anew: `mask` of the picture's size says where.
pub fn laid_over(painted: &Rgb, picture: &Rgb, mask: &Mask) -> Rgb {
    let pixels = painted.bytes.chunks_exact(3).zip(picture.bytes.chunks_exact(3)).zip(&mask.bytes);
    let mixed = pixels.flat_map(|((new, old), mask)| {
        let share = f64::from(*mask) / 255.0;
        [0, 1, 2].map(|i| {
            let value = f64::from(new[i]) * share + f64::from(old[i]) * (1.0 - share);
            value.round_ties_even() as u8
        })
    });
    Rgb { width: picture.width, height: picture.height, bytes: mixed.collect() }
}

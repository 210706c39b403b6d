//! A person's pictures: what is wrong with them, and how they become what the VAE reads.

use image::imageops::{self, FilterType};
use image::{RgbImage, RgbaImage};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a picture is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// To learn from.
    Train,
    /// Only to measure with.
    HeldOut,
    /// Something else of the same class, to keep what the base knows (prior preservation).
    Class,
}

/// A decoded picture, upright.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its file's name.
    pub name: String,
    /// What it shows, in words; without the trigger phrase.
    pub caption: String,
    /// What it is for.
    pub role: Role,
    pixels: RgbaImage,
}

impl Picture {
    /// Takes `4 * width * height` bytes, row by row.
    ///
    /// # Errors
    /// When the number of bytes is another, or the picture is empty.
    pub fn new(
        name: impl Into<String>,
        caption: impl Into<String>,
        role: Role,
        [width, height]: [usize; 2],
        rgba: Vec<u8>,
    ) -> Result<Self> {
        let name = name.into();
        let count = rgba.len();
        let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let pixels = sides
            .and_then(|(width, height)| RgbaImage::from_raw(width, height, rgba))
            .filter(|pixels| pixels.width() > 0 && pixels.height() > 0 && count > 0);
        let Some(pixels) = pixels else {
            let problem = format!("has {count} bytes where {width} x {height} pixels need 4 each");
            return Err(Error::file(name, problem, "Open the picture and save it anew"));
        };
        Ok(Self { name, caption: caption.into(), role, pixels })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.pixels.width() as usize, self.pixels.height() as usize]
    }

    /// Resized to cover `[width, height]` and cropped in the middle, `[3, height, width]` in -1..1.
    /// Transparent pixels lie on white.
    pub fn planes(&self, [width, height]: [usize; 2]) -> Vec<f32> {
        let pixels = self.covering([width, height]);
        let mut planes = vec![0.0; 3 * width * height];
        for (i, pixel) in pixels.pixels().enumerate() {
            for (channel, level) in pixel.0.into_iter().enumerate() {
                planes[channel * width * height + i] = f32::from(level) / 127.5 - 1.0;
            }
        }
        planes
    }

    /// Its size once it is scaled to cover these pixels, and where what is kept of it lies: width and
    /// height, left and top.
    pub fn placed(&self, [width, height]: [usize; 2]) -> [[usize; 2]; 2] {
        let [from_width, from_height] = self.size();
        if [from_width, from_height] == [width, height] {
            return [[width, height], [0, 0]];
        }
        let scale = (width as f64 / from_width as f64).max(height as f64 / from_height as f64);
        let size = |from: usize, least: usize| ((from as f64 * scale).round() as usize).max(least);
        let (w, h) = (size(from_width, width), size(from_height, height));
        [[w, h], [(w - width) / 2, (h - height) / 2]]
    }

    fn covering(&self, [width, height]: [usize; 2]) -> RgbImage {
        let mut opaque = RgbImage::new(self.pixels.width(), self.pixels.height());
        for (to, from) in opaque.pixels_mut().zip(self.pixels.pixels()) {
            let [r, g, b, a] = from.0.map(u32::from);
            to.0 = [r, g, b].map(|level| ((level * a + 255 * (255 - a) + 127) / 255) as u8);
        }
        if self.size() == [width, height] {
            return opaque;
        }
        let [[w, h], [x, y]] = self.placed([width, height]).map(|pair| pair.map(|it| it as u32));
        // Lanczos over the whole source area: no aliasing when a photo becomes 256 pixels wide.
        let resized = imageops::resize(&opaque, w, h, FilterType::Lanczos3);
        imageops::crop_imm(&resized, x, y, width as u32, height as u32).to_image()
    }

    /// 16 x 16 levels of grey, enough to tell duplicates; and how far the levels of the picture itself,
    /// of whose texture a thumbnail has lost all, lie from their mean.
    fn thumbnail(&self) -> (Vec<f32>, f32) {
        let grey = |pixel: &image::Rgb<u8>| pixel.0.map(f32::from).iter().sum::<f32>() / 3.0;
        let whole = self.covering(self.size());
        let small = imageops::thumbnail(&whole, 16, 16);
        (small.pixels().map(grey).collect(), spread(whole.pixels().map(grey)))
    }
}

/// The sizes that pictures are brought to: a square, and two of the same area at 4:3 and 3:4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    sizes: [[usize; 2]; 3],
}

impl Buckets {
    /// `side` in pixels, a multiple of 8. Sides are multiples of 64 where the picture is large
    /// enough, as SD's three halvings of its latents like them.
    pub fn new(side: usize) -> Self {
        let unit = if side >= 256 { 64 } else { 16 };
        let round = |length: f64| ((length / unit as f64).round() as usize).max(1) * unit;
        let long = round(side as f64 * (4.0f64 / 3.0).sqrt());
        let short = round(side as f64 * (3.0f64 / 4.0).sqrt());
        Self { sizes: [[side, side], [long, short], [short, long]] }
    }

    /// The size `[width, height]` whose shape is nearest.
    pub fn nearest(&self, [width, height]: [usize; 2]) -> [usize; 2] {
        let shape = |[w, h]: [usize; 2]| (w as f64 / h as f64).ln();
        let distance = |size: [usize; 2]| (shape(size) - shape([width, height])).abs();
        let mut best = self.sizes[0];
        for size in self.sizes {
            if distance(size) < distance(best) {
                best = size;
            }
        }
        best
    }
}

/// Levels of grey that differ less than this from their mean show nothing.
const BLANK: f32 = 2.0;

/// The standard deviation.
fn spread(levels: impl Iterator<Item = f32>) -> f32 {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for level in levels.map(f64::from) {
        (count, sum, squares) = (count + 1.0, sum + level, squares + level * level);
    }
    let mean = sum / f64::max(count, 1.0);
    (squares / f64::max(count, 1.0) - mean * mean).max(0.0).sqrt() as f32
}

/// What a person should know of each picture before training on it, as sentences.
pub fn warnings(pictures: &[Picture], side: usize) -> Vec<Vec<String>> {
    let (thumbnails, spreads): (Vec<Vec<f32>>, Vec<f32>) =
        pictures.iter().map(Picture::thumbnail).unzip();
    let each = pictures.iter().zip(&thumbnails).enumerate();
    each.map(|(i, (picture, thumbnail))| {
        let mut found = Vec::new();
        let [width, height] = picture.size();
        if 2 * width.min(height) < side {
            found.push(format!(
                "Only {width} x {height} pixels: blown up to {side} it teaches blur."
            ));
        }
        let alike = |other: &Vec<f32>| {
            let apart: f32 = other.iter().zip(thumbnail).map(|(a, b)| (a - b).abs()).sum();
            apart / (thumbnail.len().max(1) as f32) < 2.0
        };
        if spreads[i] < BLANK {
            found.push("Nearly blank: there is nothing in it to learn.".into());
        } else if spread(thumbnail.iter().copied()) < BLANK {
            // Its thumbnail is that of every even texture.
        } else if let Some(twin) = thumbnails[..i].iter().position(alike) {
            found.push(format!(
                "The same picture as {}: what is there twice is learned twice.",
                pictures[twin].name
            ));
        }
        found
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize, turn: bool) -> Picture {
        let level = |x: usize, y: usize| if turn { 255 * y / height } else { 255 * x / width };
        let rgba = (0..width * height)
            .flat_map(|i| {
                let level = level(i % width, i / width) as u8;
                [level, level, 255 - level, 255]
            })
            .collect();
        Picture::new(format!("{width}x{height}"), "", Role::Train, [width, height], rgba).unwrap()
    }

    /// Black and white lines of this many pixels, which have grown grey in a thumbnail.
    fn weave(lines: usize) -> Picture {
        let level = |x: usize, y: usize| ((x / lines + y / lines) % 2 * 255) as u8;
        let rgba = (0..600 * 600).flat_map(|i| {
            let level = level(i % 600, i / 600);
            [level, level, level, 255]
        });
        Picture::new("weave", "", Role::Train, [600, 600], rgba.collect()).unwrap()
    }

    #[test]
    fn bad_sizes_are_refused() {
        let error = Picture::new("a.png", "", Role::Train, [2, 2], vec![0; 15]).unwrap_err();
        assert!(error.to_string().starts_with("a.png: has 15 bytes"), "{error}");
        assert!(Picture::new("a.png", "", Role::Train, [0, 0], vec![]).is_err());
    }

    #[test]
    fn pictures_cover_their_bucket() {
        let buckets = Buckets::new(512);
        assert_eq!(buckets.nearest([3000, 3000]), [512, 512]);
        assert_eq!(buckets.nearest([4000, 3000]), [576, 448]);
        assert_eq!(buckets.nearest([1080, 1920]), [448, 576]);
        let planes = gradient(300, 100, false).planes([64, 64]);
        assert_eq!(planes.len(), 3 * 64 * 64);
        // the middle third of the gradient, left to right
        assert!((planes[0] + 1.0 / 3.0).abs() < 0.03, "{}", planes[0]);
        assert!((planes[63] - 1.0 / 3.0).abs() < 0.03, "{}", planes[63]);
    }

    #[test]
    fn a_picture_of_the_right_size_is_kept_to_the_bit_and_transparency_is_white() {
        let picture =
            Picture::new("p", "", Role::Train, [2, 1], vec![0, 128, 255, 255, 9, 9, 9, 0]);
        let planes = picture.unwrap().planes([2, 1]);
        let level = |x: f32| x / 127.5 - 1.0;
        assert_eq!(planes, [level(0.0), 1.0, level(128.0), 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let blank = Picture::new("blank", "", Role::Train, [64, 64], vec![200; 4 * 64 * 64]);
        let pictures = [
            gradient(600, 600, false),
            gradient(600, 600, true),
            gradient(512, 512, false),
            gradient(100, 400, false),
            blank.unwrap(),
            weave(4),
            weave(6),
        ];
        let warnings = warnings(&pictures, 512);
        assert!(warnings[0].is_empty() && warnings[1].is_empty(), "{warnings:?}");
        assert!(warnings[2][0].contains("same picture as 600x600"), "{warnings:?}");
        assert!(warnings[3][0].contains("Only 100 x 400"), "{warnings:?}");
        assert!(warnings[4].iter().any(|w| w.contains("blank")), "{warnings:?}");
        // A texture is no blank, and two textures are no twins.
        assert!(warnings[5].is_empty() && warnings[6].is_empty(), "{warnings:?}");
    }
}

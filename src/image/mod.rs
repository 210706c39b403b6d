//! Numbers to pixels, and pixels to others.

pub mod fill;
pub mod mask;
pub mod resample;

/// Pixels for a canvas or a PNG: RGBA, eight bits each, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgba {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `4 * width * height` bytes.
    pub bytes: Vec<u8>,
}

/// Pixels without an alpha: three bytes each, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub bytes: Vec<u8>,
}

impl Rgb {
    /// A picture on white.
    pub fn on_white(picture: &Rgba) -> Self {
        let pixel = |pixel: &[u8]| {
            let alpha = u32::from(pixel[3]);
            [0, 1, 2]
                .map(|i| ((u32::from(pixel[i]) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        };
        let bytes = picture.bytes.chunks_exact(4).flat_map(pixel).collect();
        Self { width: picture.width, height: picture.height, bytes }
    }

    /// For a canvas or a PNG.
    pub fn to_rgba(&self) -> Rgba {
        let pixels = self.bytes.chunks_exact(3);
        let bytes = pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], u8::MAX]).collect();
        Rgba { width: self.width, height: self.height, bytes }
    }

    /// `[3, height, width]` in -1..1, as an encoder takes it.
    pub fn planes(&self) -> Vec<f32> {
        let plane = |i: usize| self.bytes.iter().skip(i).step_by(3);
        (0..3).flat_map(plane).map(|byte| f32::from(*byte) / 127.5 - 1.0).collect()
    }
}

/// The VAE's output to pixels: `[3, height, width]` in -1..1, as diffusers' `VaeImageProcessor`
/// rounds it (`clamp(x / 2 + 0.5, 0, 1) * 255`).
pub fn to_rgba(planes: &[f32], width: usize, height: usize) -> Rgba {
    let area = width * height;
    let level = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    let mut bytes = Vec::with_capacity(4 * area);
    for i in 0..area {
        bytes.extend([0, 1, 2].map(|channel| level(planes[channel * area + i])));
        bytes.push(u8::MAX);
    }
    Rgba { width, height, bytes }
}

/// What to say of a VAE's output of which some isn't a number. A picture shows that black.
pub fn not_finite(planes: &[f32]) -> Option<String> {
    let lost = planes.iter().filter(|value| !value.is_finite()).count();
    (lost > 0).then(|| {
        let share = 100.0 * lost as f64 / planes.len() as f64;
        format!(
            "{share:.0} % of the picture is black because its numbers became NaN or infinite: choose \
             weights in full (f32), another VAE, or adapters of less strength"
        )
    })
}

/// A linear map from the four latent channels to red, green and blue in -1..1: the cheapest
/// preview there is, eight times smaller than the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentRgb {
    /// One row for each latent channel.
    pub factors: [[f32; 3]; 4],
    /// Added at the end.
    pub bias: [f32; 3],
}

impl LatentRgb {
    /// SD 1 and 2 (ComfyUI, `comfy/latent_formats.py`, `SD15.latent_rgb_factors`).
    pub const STABLE_DIFFUSION: Self = Self {
        factors: [
            [0.3512, 0.2297, 0.3227],
            [0.3250, 0.4974, 0.2350],
            [-0.2829, 0.1762, 0.2721],
            [-0.2120, -0.2616, -0.7177],
        ],
        bias: [0.0; 3],
    };

    /// SDXL (ComfyUI, `comfy/latent_formats.py`, `SDXL.latent_rgb_factors`).
    pub const STABLE_DIFFUSION_XL: Self = Self {
        factors: [
            [0.3651, 0.4232, 0.4341],
            [-0.2533, -0.0042, 0.1068],
            [0.1076, 0.1111, -0.0362],
            [-0.3165, -0.2492, -0.2188],
        ],
        bias: [0.1084, -0.0175, -0.0011],
    };

    /// The factors that a VAE's config brings along (`latent_rgb_factors`, 4 rows of 3, and
    /// `latent_rgb_factors_bias`), or Stable Diffusion's.
    pub fn from_config(config: &serde_json::Value) -> Self {
        Self::from_config_or(config, Self::STABLE_DIFFUSION)
    }

    /// The same, or others where it brings none.
    pub fn from_config_or(config: &serde_json::Value, others: Self) -> Self {
        let row = |value: &serde_json::Value| -> Option<[f32; 3]> {
            let row: Vec<f32> =
                value.as_array()?.iter().filter_map(|x| Some(x.as_f64()? as f32)).collect();
            row.try_into().ok()
        };
        let factors = config["latent_rgb_factors"].as_array().and_then(|rows| {
            let rows: Vec<[f32; 3]> = rows.iter().filter_map(row).collect();
            rows.try_into().ok()
        });
        match factors {
            Some(factors) => {
                let bias = row(&config["latent_rgb_factors_bias"]).unwrap_or_default();
                Self { factors, bias }
            }
            None => others,
        }
    }

    /// Latents `[4, height, width]` (scaled, as the UNet has them) to pixels of the same size.
    pub fn preview(&self, latents: &[f32], width: usize, height: usize) -> Rgba {
        let area = width * height;
        let mut planes = vec![0.0; 3 * area];
        for (rgb, plane) in planes.chunks_exact_mut(area.max(1)).enumerate() {
            for (i, value) in plane.iter_mut().enumerate() {
                *value = self.bias[rgb]
                    + (0..4).map(|c| self.factors[c][rgb] * latents[c * area + i]).sum::<f32>();
            }
        }
        to_rgba(&planes, width, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_no_number_is_black_and_said() {
        let planes = [0.0, f32::NAN, f32::INFINITY, 1.0, f32::NAN, -1.0];
        let picture = to_rgba(&planes, 2, 1);
        assert_eq!(picture.bytes, [128, 255, 0, 255, 0, 255, 0, 255]);
        assert!(not_finite(&planes).unwrap().starts_with("50 % of the picture is black"));
        assert_eq!(not_finite(&[0.0, -1.0, 2.0]), None);
    }
}

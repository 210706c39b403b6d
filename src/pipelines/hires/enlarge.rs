//! Latents and pixels at another size, on the device: nothing is read back between two passes.

use burn::tensor::{Device, Tensor, TensorData};

use crate::image::resample::{Filter, windows};
use crate::layers::mixed;

/// What makes a picture larger between two passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upscaler {
    /// Latents, mixed from their neighbours: A1111's "Latent", and as well its "Latent (antialiased)",
    /// which differs where things shrink.
    #[default]
    Latent,
    /// Latents, each the nearest: A1111's "Latent (nearest-exact)".
    LatentNearest,
    /// The decoded picture, which is encoded again.
    Lanczos,
}

/// For each new place the first old one and the weights from there on.
type Windows = Vec<(usize, Vec<f64>)>;

impl Upscaler {
    /// Whether it works on latents.
    pub fn takes_latents(self) -> bool {
        self != Self::Lanczos
    }

    /// Latents, or pixels in -1..1, as it takes them: `[1, channels, h, w]` at a size of `[width, height]`.
    pub fn enlarge(self, x: Tensor<4>, [width, height]: [usize; 2]) -> Tensor<4> {
        let [_, _, from_height, from_width] = x.dims();
        let windows: fn(usize, usize) -> Windows = match self {
            Self::Latent => bilinear,
            Self::LatentNearest => nearest,
            Self::Lanczos => |from, to| windows(from, to, Filter::Lanczos),
        };
        let device = x.device();
        let across = weights(&windows(from_width, width), from_width, &device);
        let down = weights(&windows(from_height, height), from_height, &device);
        let columns = |x: Tensor<4>| mixed(x.swap_dims(2, 3), down.clone()).swap_dims(2, 3);
        if self.takes_latents() {
            return columns(mixed(x, across));
        }
        // As Pillow does it: bytes before, between and after.
        let bytes = |x: Tensor<4>| x.add_scalar(0.5).floor().clamp(0.0, 255.0);
        let picture = (x.clamp(-1.0, 1.0).add_scalar(1.0).mul_scalar(127.5)).round();
        bytes(columns(bytes(mixed(picture, across)))).div_scalar(127.5).sub_scalar(1.0)
    }
}

/// torch's `interpolate(mode="bilinear")`.
fn bilinear(from: usize, to: usize) -> Windows {
    let ratio = from as f64 / to as f64;
    let window = |i: usize| {
        let place = ((i as f64 + 0.5) * ratio - 0.5).clamp(0.0, from as f64 - 1.0);
        let share = place.fract();
        let both = vec![1.0 - share, share];
        (place as usize, if share == 0.0 { vec![1.0] } else { both })
    };
    (0..to).map(window).collect()
}

/// torch's `interpolate(mode="nearest-exact")`, in f32 as there: where a place is between two, rounding
/// decides.
fn nearest(from: usize, to: usize) -> Windows {
    let ratio = from as f32 / to as f32;
    let place = |i: usize| (((i as f32 + 0.5) * ratio) as usize).min(from - 1);
    (0..to).map(|i| (place(i), vec![1.0])).collect()
}

/// `[new, old]`.
fn weights(windows: &Windows, from: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; windows.len() * from];
    for (row, (first, weights)) in values.chunks_exact_mut(from).zip(windows) {
        for (place, weight) in row[*first..].iter_mut().zip(weights) {
            *place = *weight as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [windows.len(), from]), device)
}

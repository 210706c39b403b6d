//! Normalisation and activations, each in one sweep over what the cache holds.

use super::math;
use super::threads::{operations, share_lines};

/// How a line is normalised: `(x - mean) * inverse`.
struct Moments {
    mean: f32,
    inverse: f32,
}

impl Moments {
    /// Two passes (mean, then squared distances): the one-pass form loses the variance of lines
    /// whose mean is large.
    fn of(line: &[f32], epsilon: f32) -> Self {
        let count = line.len() as f32;
        let mean = math::sum(line, |x| x) / count;
        let variance = math::sum(line, |x| (x - mean) * (x - mean)) / count;
        Self { mean, inverse: 1.0 / (variance + epsilon).sqrt() }
    }

    /// The input's gradient of a normalised line, in place of `g`, which is that of the normal
    /// values, from `[sum(g), sum(g * normal)]`: `inverse * (g - mean(g) - normal * mean(g * normal))`.
    fn back(&self, x: &[f32], g: &mut [f32], sums: [f32; 2]) {
        let [mean, along] = sums.map(|sum| sum / x.len() as f32);
        for (g, x) in g.iter_mut().zip(x) {
            *g = self.inverse * (*g - mean - (x - self.mean) * self.inverse * along);
        }
    }

    /// Each g becomes `f(g, normal)`; the sums for [`back`](Self::back).
    #[inline(always)]
    fn change(&self, x: &[f32], g: &mut [f32], f: impl Fn(f32, f32) -> f32) -> [f32; 2] {
        math::sums_changed(g, x, |g, x| {
            let normal = (x - self.mean) * self.inverse;
            let g = f(g, normal);
            [g, g * normal]
        })
    }
}

/// Sizes of a group normalisation of `[n, channels, pixels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Groups {
    /// Channels.
    pub channels: usize,
    /// Groups of them.
    pub groups: usize,
    /// Height times width.
    pub pixels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Time of a value's way through a norm or an activation, in simple operations.
const OPERATIONS: usize = 4;

/// `x [n, channels, pixels]`, `weight` and `bias [channels]`.
pub fn group_norm(x: &[f32], weight: &[f32], bias: &[f32], shape: Groups) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let members = shape.channels / shape.groups;
    let size = members * shape.pixels;
    share_lines(&mut y, x.len() / size, operations(&[size, OPERATIONS]), |y, start| {
        let inputs = x[start * size..].chunks_exact(size);
        for (i, (group, x)) in y.chunks_exact_mut(size).zip(inputs).enumerate() {
            let moments = Moments::of(x, shape.epsilon);
            let first = (start + i) % shape.groups * members;
            let lines = group.chunks_exact_mut(shape.pixels).zip(x.chunks_exact(shape.pixels));
            for (c, (line, x)) in lines.enumerate() {
                let scale = moments.inverse * weight[first + c];
                let shift = bias[first + c] - moments.mean * scale;
                if shape.silu {
                    for (y, x) in line.iter_mut().zip(x) {
                        let z = *x * scale + shift;
                        *y = z * math::sigmoid(z);
                    }
                } else {
                    line.iter_mut().zip(x).for_each(|(y, x)| *y = *x * scale + shift);
                }
            }
        }
    });
    y
}

/// The gradient of the input of [`group_norm`] in place of `g`, that of its output.
pub fn group_norm_gradient(x: &[f32], weight: &[f32], bias: &[f32], g: &mut [f32], shape: Groups) {
    let members = shape.channels / shape.groups;
    let size = members * shape.pixels;
    share_lines(g, x.len() / size, operations(&[2, size, OPERATIONS]), |g, start| {
        let inputs = x[start * size..].chunks_exact(size);
        for (i, (x, g)) in inputs.zip(g.chunks_exact_mut(size)).enumerate() {
            let moments = Moments::of(x, shape.epsilon);
            let first = (start + i) % shape.groups * members;
            let lines = x.chunks_exact(shape.pixels).zip(g.chunks_exact_mut(shape.pixels));
            let mut sums = [0.0; 2];
            for (c, (x, g)) in lines.enumerate() {
                let (weight, bias) = (weight[first + c], bias[first + c]);
                let of_line = if shape.silu {
                    moments
                        .change(x, g, |g, normal| g * weight * silu_slope(normal * weight + bias))
                } else {
                    moments.change(x, g, |g, _| g * weight)
                };
                sums = [sums[0] + of_line[0], sums[1] + of_line[1]];
            }
            moments.back(x, g, sums);
        }
    });
}

/// `x [.., width]`, `weight` and `bias [width]`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    each_line(x, [width, width], |x, y| {
        let Moments { mean, inverse } = Moments::of(x, epsilon);
        for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
            *y = (*x - mean) * inverse * weight + bias;
        }
    })
}

/// The gradient of the input of [`layer_norm`] in place of `g`, that of its output.
pub fn layer_norm_gradient(x: &[f32], weight: &[f32], g: &mut [f32], epsilon: f32) {
    let width = weight.len();
    change(g, x, [width; 2], |g, x| {
        g.iter_mut().zip(weight).for_each(|(g, weight)| *g *= weight);
        let moments = Moments::of(x, epsilon);
        let sums = moments.change(x, g, |g, _| g);
        moments.back(x, g, sums);
    });
}

/// `f(line, output)` for all lines of `width` elements, `out` of output each.
fn each_line(
    x: &[f32],
    [width, out]: [usize; 2],
    f: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / width * out];
    change(&mut y, x, [out, width], |y, x| f(x, y));
    y
}

/// `f(line, partner)` for all lines of `values` and of `partners`, of these widths. What changes in
/// place isn't filled with zeros before, and takes no second way through memory.
fn change(
    values: &mut [f32],
    partners: &[f32],
    [width, partner]: [usize; 2],
    f: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    let lines = values.len() / width;
    let each = operations(&[width + partner, OPERATIONS]);
    share_lines(values, lines, each, |values, first| {
        let partners = partners[first * partner..].chunks_exact(partner);
        values.chunks_exact_mut(width).zip(partners).for_each(|(line, partner)| f(line, partner));
    });
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = math::sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// Elements that an activation takes at a time.
const CHUNK: usize = if cfg!(test) { 8 } else { 1024 };

/// `x sigmoid(x)`.
pub fn silu(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    elementwise(&mut y, x, |y, x| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * math::sigmoid(*x))
    });
    y
}

/// The gradient of the input of [`silu`] in place of `g`, that of its output.
pub fn silu_gradient(x: &[f32], g: &mut [f32]) {
    elementwise(g, x, |g, x| g.iter_mut().zip(x).for_each(|(g, x)| *g *= silu_slope(*x)));
}

/// [`change`] for chunks of values and partners, as many of the one as of the other.
fn elementwise(values: &mut [f32], partners: &[f32], f: impl Fn(&mut [f32], &[f32]) + Sync) {
    let whole = values.len() / CHUNK * CHUNK;
    let (chunks, rest) = values.split_at_mut(whole);
    change(chunks, &partners[..whole], [CHUNK; 2], &f);
    f(rest, &partners[whole..]);
}

/// `x [.., 2 * width] -> [.., width]`: the first half times GELU of the second.
pub fn geglu(x: &[f32], width: usize) -> Vec<f32> {
    each_line(x, [2 * width, width], |x, y| {
        let (value, gate) = x.split_at(width);
        let inputs = value.iter().zip(gate);
        y.iter_mut().zip(inputs).for_each(|(y, (value, gate))| *y = value * math::gelu(*gate));
    })
}

/// The gradient of the input of [`geglu`] in place of `x`, from `g`, that of its output.
pub fn geglu_gradient(x: &mut [f32], g: &[f32], width: usize) {
    change(x, g, [2 * width, width], |x, g| {
        let (value, gate) = x.split_at_mut(width);
        for ((g, value), gate) in g.iter().zip(value).zip(gate) {
            (*value, *gate) = (g * math::gelu(*gate), g * *value * math::gelu_slope(*gate));
        }
    });
}

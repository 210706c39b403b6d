//! Normalisation and activations, each in one sweep over what the cache holds.

use super::math;
use super::threads::share_lines;

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
    share_lines(&mut y, x.len() / size, size * OPERATIONS, |y, start| {
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

/// The gradient of the input of [`group_norm`].
pub fn group_norm_gradient(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    g: &[f32],
    shape: Groups,
) -> Vec<f32> {
    let mut gradient = g.to_vec();
    let members = shape.channels / shape.groups;
    let size = members * shape.pixels;
    share_lines(&mut gradient, x.len() / size, 2 * size * OPERATIONS, |gradient, start| {
        let inputs = x[start * size..].chunks_exact(size);
        for (i, (x, g)) in inputs.zip(gradient.chunks_exact_mut(size)).enumerate() {
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
    gradient
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

/// The gradient of the input of [`layer_norm`].
pub fn layer_norm_gradient(x: &[f32], weight: &[f32], g: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    each_pair([x, g], [width; 3], |[x, g], gradient| {
        gradient.iter_mut().zip(g.iter().zip(weight)).for_each(|(y, (g, weight))| *y = g * weight);
        let moments = Moments::of(x, epsilon);
        let sums = moments.change(x, gradient, |g, _| g);
        moments.back(x, gradient, sums);
    })
}

/// `f(line, output)` for all lines of `widths[0]` elements, `widths[1]` of output each.
fn each_line(x: &[f32], widths: [usize; 2], f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    each_pair([x, x], [widths[0], widths[0], widths[1]], |[x, _], y| f(x, y))
}

/// The same for lines of two inputs.
fn each_pair(
    [a, b]: [&[f32]; 2],
    [in_a, in_b, out]: [usize; 3],
    f: impl Fn([&[f32]; 2], &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0.0; a.len() / in_a * out];
    fill([a, b], [in_a, in_b, out], &mut y, f);
    y
}

/// The same into what is there.
fn fill(
    [a, b]: [&[f32]; 2],
    [in_a, in_b, out]: [usize; 3],
    y: &mut [f32],
    f: impl Fn([&[f32]; 2], &mut [f32]) + Sync,
) {
    share_lines(y, a.len() / in_a, (in_a + out) * OPERATIONS, |y, first| {
        let inputs = a[first * in_a..].chunks_exact(in_a).zip(b[first * in_b..].chunks_exact(in_b));
        for ((a, b), y) in inputs.zip(y.chunks_exact_mut(out)) {
            f([a, b], y);
        }
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
    elementwise([x, x], |[x, _], y| {
        x.iter().zip(y).for_each(|(x, y)| *y = x * math::sigmoid(*x));
    })
}

/// The gradient of the input of [`silu`].
pub fn silu_gradient(x: &[f32], g: &[f32]) -> Vec<f32> {
    elementwise([x, g], |[x, g], y| {
        x.iter().zip(g).zip(y).for_each(|((x, g), y)| *y = g * silu_slope(*x));
    })
}

/// `f` on chunks of inputs and output that are all of one length.
fn elementwise(inputs: [&[f32]; 2], f: impl Fn([&[f32]; 2], &mut [f32]) + Sync) -> Vec<f32> {
    let whole = inputs[0].len() / CHUNK * CHUNK;
    let mut y = vec![0.0; inputs[0].len()];
    let (chunks, rest) = y.split_at_mut(whole);
    fill(inputs.map(|x| &x[..whole]), [CHUNK; 3], chunks, &f);
    f(inputs.map(|x| &x[whole..]), rest);
    y
}

/// `x [.., 2 * width] -> [.., width]`: the first half times GELU of the second.
pub fn geglu(x: &[f32], width: usize) -> Vec<f32> {
    each_line(x, [2 * width, width], |x, y| {
        let (value, gate) = x.split_at(width);
        let inputs = value.iter().zip(gate);
        y.iter_mut().zip(inputs).for_each(|(y, (value, gate))| *y = value * math::gelu(*gate));
    })
}

/// The gradient of the input of [`geglu`].
pub fn geglu_gradient(x: &[f32], g: &[f32], width: usize) -> Vec<f32> {
    each_pair([x, g], [2 * width, width, 2 * width], |[x, g], gradient| {
        let ((value, gate), (to_value, to_gate)) =
            (x.split_at(width), gradient.split_at_mut(width));
        let outputs = to_value.iter_mut().zip(to_gate);
        for (((g, value), gate), (to_value, to_gate)) in g.iter().zip(value).zip(gate).zip(outputs)
        {
            *to_value = g * math::gelu(*gate);
            *to_gate = g * value * math::gelu_slope(*gate);
        }
    })
}

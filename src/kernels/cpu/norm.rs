//! Normalisation and activations, each in one sweep over what the cache holds.

use super::math;

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
    /// values: `inverse * (g - mean(g) - normal * mean(g * normal))`.
    fn back(&self, x: &[f32], g: &mut [f32]) {
        let count = x.len() as f32;
        let mean = math::sum(g, |g| g) / count;
        let along = math::sum_pairs(x, g, |x, g| (x - self.mean) * self.inverse * g) / count;
        for (g, x) in g.iter_mut().zip(x) {
            *g = self.inverse * (*g - mean - (x - self.mean) * self.inverse * along);
        }
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

/// `x [n, channels, pixels]`, `weight` and `bias [channels]`.
pub fn group_norm(x: &[f32], weight: &[f32], bias: &[f32], shape: Groups) -> Vec<f32> {
    let mut y = x.to_vec();
    let members = shape.channels / shape.groups;
    for (i, group) in y.chunks_exact_mut(members * shape.pixels).enumerate() {
        let moments = Moments::of(group, shape.epsilon);
        let first = i % shape.groups * members;
        for (c, line) in group.chunks_exact_mut(shape.pixels).enumerate() {
            let scale = moments.inverse * weight[first + c];
            let shift = bias[first + c] - moments.mean * scale;
            if shape.silu {
                for x in line {
                    let y = *x * scale + shift;
                    *x = y * math::sigmoid(y);
                }
            } else {
                line.iter_mut().for_each(|x| *x = *x * scale + shift);
            }
        }
    }
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
    for (i, (x, g)) in x.chunks_exact(size).zip(gradient.chunks_exact_mut(size)).enumerate() {
        let moments = Moments::of(x, shape.epsilon);
        let first = i % shape.groups * members;
        let lines = x.chunks_exact(shape.pixels).zip(g.chunks_exact_mut(shape.pixels));
        for (c, (x, g)) in lines.enumerate() {
            let (weight, bias) = (weight[first + c], bias[first + c]);
            for (g, x) in g.iter_mut().zip(x) {
                let slope = if shape.silu {
                    let y = (x - moments.mean) * moments.inverse * weight + bias;
                    silu_slope(y)
                } else {
                    1.0
                };
                *g *= weight * slope;
            }
        }
        moments.back(x, g);
    }
    gradient
}

/// `x [.., width]`, `weight` and `bias [width]`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let mut y = x.to_vec();
    for line in y.chunks_exact_mut(weight.len()) {
        let Moments { mean, inverse } = Moments::of(line, epsilon);
        for (x, (weight, bias)) in line.iter_mut().zip(weight.iter().zip(bias)) {
            *x = (*x - mean) * inverse * weight + bias;
        }
    }
    y
}

/// The gradient of the input of [`layer_norm`].
pub fn layer_norm_gradient(x: &[f32], weight: &[f32], g: &[f32], epsilon: f32) -> Vec<f32> {
    let mut gradient = g.to_vec();
    let width = weight.len();
    for (x, g) in x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
        g.iter_mut().zip(weight).for_each(|(g, weight)| *g *= weight);
        Moments::of(x, epsilon).back(x, g);
    }
    gradient
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = math::sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// `x sigmoid(x)`.
pub fn silu(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x * math::sigmoid(*x)).collect()
}

/// The gradient of the input of [`silu`].
pub fn silu_gradient(x: &[f32], g: &[f32]) -> Vec<f32> {
    x.iter().zip(g).map(|(x, g)| g * silu_slope(*x)).collect()
}

/// `x [.., 2 * width] -> [.., width]`: the first half times GELU of the second.
pub fn geglu(x: &[f32], width: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len() / 2);
    for line in x.chunks_exact(2 * width) {
        let (value, gate) = line.split_at(width);
        y.extend(value.iter().zip(gate).map(|(value, gate)| value * math::gelu(*gate)));
    }
    y
}

/// The gradient of the input of [`geglu`].
pub fn geglu_gradient(x: &[f32], g: &[f32], width: usize) -> Vec<f32> {
    let mut gradient = vec![0.0; x.len()];
    let lines = x.chunks_exact(2 * width).zip(gradient.chunks_exact_mut(2 * width));
    for ((x, gradient), g) in lines.zip(g.chunks_exact(width)) {
        let ((value, gate), (to_value, to_gate)) =
            (x.split_at(width), gradient.split_at_mut(width));
        for (i, g) in g.iter().enumerate() {
            to_value[i] = g * math::gelu(gate[i]);
            to_gate[i] = g * value[i] * math::gelu_slope(gate[i]);
        }
    }
    gradient
}

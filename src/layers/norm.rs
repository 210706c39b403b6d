use burn::tensor::module::layer_norm;
use burn::tensor::{Tensor, activation};

use super::Parameters;
use crate::kernels::{self, Operation};

/// Normalises groups of channels, then scales and shifts each channel.
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// Loads `weight [channels]` and `bias [channels]`.
    pub fn load(parameters: &Parameters, groups: usize, channels: usize, epsilon: f64) -> Self {
        let weight = parameters.tensor("weight", [channels]);
        let bias = parameters.tensor("bias", [channels]);
        Self { weight, bias, groups, epsilon }
    }

    /// A norm of given weights.
    pub(super) fn new(weight: Tensor<1>, bias: Tensor<1>, groups: usize, epsilon: f64) -> Self {
        Self { weight, bias, groups, epsilon }
    }

    /// `[n, c, h, w] -> [n, c, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if kernels::serve(Operation::GroupNorm, &x) {
            return self.kernel(x, false);
        }
        self.composed(x)
    }

    /// The same with SiLU after it.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        if kernels::serve(Operation::GroupNorm, &x) {
            return self.kernel(x, true);
        }
        activation::silu(self.composed(x))
    }

    fn kernel(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let [weight, bias] = [weight, bias].map(|tensor| tensor.cast(x.dtype()));
        kernels::group_norm(x, weight, bias, self.groups, self.epsilon, silu)
    }

    fn composed(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let grouped = x.reshape([n, self.groups, c / self.groups * h * w]);
        // Two passes (mean, then squared distances): the one-pass form loses the variance of
        // channels whose mean is large.
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        let normal = centred / (variance + self.epsilon).sqrt();
        let weight = self.weight.clone().cast(normal.dtype()).reshape([1, c, 1, 1]);
        let bias = self.bias.clone().cast(normal.dtype()).reshape([1, c, 1, 1]);
        normal.reshape([n, c, h, w]) * weight + bias
    }
}

/// Normalises the last dimension, then scales and shifts it.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    /// Loads `weight [width]` and `bias [width]`.
    pub fn load(parameters: &Parameters, width: usize, epsilon: f64) -> Self {
        let weight = parameters.tensor("weight", [width]);
        let bias = parameters.tensor("bias", [width]);
        Self { weight, bias, epsilon }
    }

    /// A norm of given weights.
    pub(super) fn new(weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Self {
        Self { weight, bias, epsilon }
    }

    /// `[.., width] -> [.., width]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.clone().cast(x.dtype());
        let bias = self.bias.clone().cast(x.dtype());
        if kernels::serve(Operation::LayerNorm, &x) {
            return kernels::layer_norm(x, weight, bias, self.epsilon);
        }
        layer_norm(x, weight, Some(bias), self.epsilon)
    }
}

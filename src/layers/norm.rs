use burn::tensor::module::layer_norm;
use burn::tensor::{DType, Tensor, activation};

use super::{Parameters, Slot, Weight, silu};
use crate::kernels::{self, Operation};

/// What a norm multiplies and adds, channel by channel, with the attach point of adapters.
#[derive(Debug)]
struct Affine {
    weight: Tensor<1>,
    bias: Tensor<1>,
    slot: Slot,
}

impl Affine {
    fn load(parameters: &Parameters, channels: usize) -> Self {
        let weight = parameters.tensor("weight", [channels]);
        let bias = parameters.tensor("bias", [channels]);
        let slot = parameters.slot(&Weight::new(weight.clone()));
        Self { weight, bias, slot }
    }

    /// Weight and bias with what adapters make of them.
    fn parameters(&self, dtype: DType) -> [Tensor<1>; 2] {
        let (mut weight, mut bias) = (self.weight.clone(), self.bias.clone());
        if self.slot.changes_weight() {
            weight = self.slot.weight(weight);
        }
        if let Some(changed) = self.slot.bias(Some(bias.clone())) {
            bias = changed;
        }
        [weight, bias].map(|tensor| tensor.cast(dtype))
    }
}

/// Normalises groups of channels, then scales and shifts each channel.
#[derive(Debug)]
pub struct GroupNorm {
    affine: Affine,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// Loads `weight [channels]` and `bias [channels]`.
    pub fn load(parameters: &Parameters, groups: usize, channels: usize, epsilon: f64) -> Self {
        Self { affine: Affine::load(parameters, channels), groups, epsilon }
    }

    /// A norm of given weights.
    pub(super) fn new(weight: Tensor<1>, bias: Tensor<1>, groups: usize, epsilon: f64) -> Self {
        Self { affine: Affine { weight, bias, slot: Slot::default() }, groups, epsilon }
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

    /// As [`forward_silu`](Self::forward_silu), by statistics that are given: x is some rows of what
    /// they are of.
    pub fn forward_silu_by(&self, x: Tensor<4>, moments: &Moments) -> Tensor<4> {
        let [n, groups] = moments.mean.dims();
        let channels = x.dims()[1];
        let each = |of_groups: Tensor<2>| {
            let spread = [n, groups, channels / groups];
            of_groups.reshape([n, groups, 1]).expand(spread).reshape([n, channels, 1, 1])
        };
        let variance = moments.squares.clone().div_scalar(moments.count);
        let parameters = self.affine.parameters(x.dtype());
        let [weight, bias] = parameters.map(|tensor| tensor.reshape([1, channels, 1, 1]));
        let scale = weight / each((variance + self.epsilon).sqrt());
        let shift = bias - each(moments.mean.clone()) * scale.clone();
        silu(x * scale + shift)
    }

    /// Groups of channels.
    pub fn groups(&self) -> usize {
        self.groups
    }

    fn kernel(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        let [weight, bias] = self.affine.parameters(x.dtype());
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
        let parameters = self.affine.parameters(normal.dtype());
        let [weight, bias] = parameters.map(|tensor| tensor.reshape([1, c, 1, 1]));
        normal.reshape([n, c, h, w]) * weight + bias
    }
}

/// Statistics of the groups of a picture or of some of its rows, each over `count` numbers.
#[derive(Debug, Clone)]
pub struct Moments {
    count: f64,
    /// `[n, groups]`.
    mean: Tensor<2>,
    /// Sums of squared distances to the mean, `[n, groups]`.
    squares: Tensor<2>,
}

impl Moments {
    /// Of `x [n, c, h, w]`.
    pub fn of(x: Tensor<4>, groups: usize) -> Self {
        let [n, c, h, w] = x.dims();
        let count = c / groups * h * w;
        // Line by line first: few long sums would leave a GPU idle.
        let sum = |x: Tensor<3>| {
            let lines = x.reshape([n, c * h, w]).sum_dim(2);
            lines.reshape([n, groups, c / groups * h]).sum_dim(2)
        };
        let grouped = x.reshape([n, groups, count]);
        let mean = sum(grouped.clone()).div_scalar(count as f64);
        let squares = sum((grouped - mean.clone()).square());
        let [mean, squares] = [mean, squares].map(|sums| sums.reshape([n, groups]));
        Self { count: count as f64, mean, squares }
    }

    /// Those of all rows from those of bands of rows (Chan, Golub and LeVeque, 1979).
    ///
    /// # Panics
    /// Without a band.
    pub fn merge(bands: &[Self]) -> Self {
        let count: f64 = bands.iter().map(|band| band.count).sum();
        let weighted = |of: &dyn Fn(&Self) -> Tensor<2>| {
            let terms = bands.iter().map(|band| of(band).mul_scalar(band.count / count));
            terms.reduce(|sum, term| sum + term).expect("a picture has rows")
        };
        let mean = weighted(&|band| band.mean.clone());
        let between = weighted(&|band| (band.mean.clone() - mean.clone()).square());
        let within = bands.iter().map(|band| band.squares.clone());
        let within = within.reduce(|sum, squares| sum + squares).expect("a picture has rows");
        Self { count, squares: within + between.mul_scalar(count), mean }
    }
}

/// Normalises the last dimension, then scales and shifts it.
#[derive(Debug)]
pub struct LayerNorm {
    affine: Affine,
    epsilon: f64,
}

impl LayerNorm {
    /// Loads `weight [width]` and `bias [width]`.
    pub fn load(parameters: &Parameters, width: usize, epsilon: f64) -> Self {
        Self { affine: Affine::load(parameters, width), epsilon }
    }

    /// A norm of given weights.
    pub(super) fn new(weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Self {
        Self { affine: Affine { weight, bias, slot: Slot::default() }, epsilon }
    }

    /// `[.., width] -> [.., width]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [weight, bias] = self.affine.parameters(x.dtype());
        if kernels::serve(Operation::LayerNorm, &x) {
            return kernels::layer_norm(x, weight, bias, self.epsilon);
        }
        layer_norm(x, weight, Some(bias), self.epsilon)
    }
}

//! Products and convolutions of tensors that lie ready, with our kernels where they serve and burn's
//! operations elsewhere.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

use crate::kernels::{self, Operation};

/// What an adapter of low rank adds to a linear layer: `factor * hidden up^T`.
pub(super) struct LowRank<const D: usize> {
    /// `[.., rank]`.
    pub(super) hidden: Tensor<D>,
    /// `[out, rank]`.
    pub(super) up: Tensor<2>,
    pub(super) factor: f32,
}

impl<const D: usize> LowRank<D> {
    /// On top of `y [.., out]`.
    pub(super) fn onto(self, y: Tensor<D>) -> Tensor<D> {
        if kernels::serve(Operation::Linear, &y) {
            return kernels::linear_onto(y, self.hidden, self.up, self.factor);
        }
        y + linear(self.hidden.mul_scalar(self.factor), self.up, None, None)
    }
}

/// `x [.., in]`, `weight [out, in]`, `bias [out] -> x weight^T + bias [.., out]`, and what an adapter
/// adds. The bias has no gradient.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    more: Option<LowRank<D>>,
) -> Tensor<D> {
    if kernels::serve(Operation::Linear, &x) {
        return match more {
            None => kernels::linear(x, weight, bias),
            Some(LowRank { hidden, up, factor }) => {
                kernels::linear_adapted(x, weight, bias, hidden, up, factor)
            }
        };
    }
    let y = module::linear(x, weight.transpose(), bias);
    match more {
        None => y,
        Some(more) => more.onto(y),
    }
}

/// Kernel, stride and padding of a square convolution.
#[derive(Debug, Clone, Copy)]
pub struct Conv2dConfig {
    /// Kernel height and width.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Padding before and after, in both directions.
    pub padding: (usize, usize),
    /// Whether it has a bias.
    pub bias: bool,
}

impl Conv2dConfig {
    /// 1x1.
    pub const POINT: Self = Self { kernel: 1, stride: 1, padding: (0, 0), bias: true };
    /// 3x3 that keeps height and width.
    pub const SAME: Self = Self { kernel: 3, stride: 1, padding: (1, 1), bias: true };
    /// 3x3 that halves height and width.
    pub const HALVE: Self = Self { stride: 2, ..Self::SAME };

    fn options(self) -> ConvOptions<2> {
        let mut options = ConvOptions::new([self.stride; 2], [0, 0], [1, 1], 1);
        options.padding = [self.padding; 2];
        options
    }
}

/// `x [n, in, h, w]`, `weight [out, in, k, k]`, `bias [out] -> [n, out, h', w']`. The bias has no
/// gradient.
pub(super) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    config: Conv2dConfig,
) -> Tensor<4> {
    if kernels::serve(Operation::Conv2d, &x) {
        return kernels::conv2d(x, weight, bias, config.stride, config.padding);
    }
    module::conv2d(x, weight, bias, config.options())
}

/// Lines of pixels mixed into others: `x [n, c, h, w]`, `weight [w', w] -> [n, c, h, w']`.
pub fn mixed(x: Tensor<4>, weight: Tensor<2>) -> Tensor<4> {
    linear(x, weight, None, None)
}

/// Each pixel twice in both directions (nearest-neighbour interpolation by 2).
pub fn enlarge(x: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n * c, h, 1, w, 1]).expand([n * c, h, 2, w, 2]).reshape([n, c, 2 * h, 2 * w])
}

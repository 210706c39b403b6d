use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use super::{Factors, Parameters, Slot};

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

/// A 2D convolution, plus the branches of the adapters attached to it.
#[derive(Debug)]
pub struct Conv2d {
    /// `[out, in, k, k]`.
    weight: Tensor<4>,
    /// `[out]`.
    bias: Option<Tensor<1>>,
    config: Conv2dConfig,
    slot: Slot,
}

impl Conv2d {
    /// Loads `weight [out, in, k, k]` and `bias [out]`.
    pub fn load(
        parameters: &Parameters,
        input: usize,
        output: usize,
        config: Conv2dConfig,
    ) -> Self {
        let shape = [output, input, config.kernel, config.kernel];
        let weight = parameters.tensor("weight", shape);
        let bias = config.bias.then(|| parameters.tensor("bias", [output]));
        let slot = parameters.slot(&weight);
        Self { weight, bias, config, slot }
    }

    /// `[n, in, h, w] -> [n, out, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.slot.weight(self.weight.clone().cast(x.dtype()));
        let bias = self.bias.clone().map(|bias| bias.cast(x.dtype()));
        let point = || Conv2dConfig::POINT.options();
        let mut y = conv2d(x.clone(), weight, bias, self.config.options());
        for branch in self.slot.branches().iter() {
            let factor = branch.factor();
            let Factors::Conv2d { down, mid, up } = &branch.factors else { continue };
            if factor != 0.0 {
                let hidden = match mid {
                    None => conv2d(x.clone(), down.clone(), None, self.config.options()),
                    Some(mid) => {
                        let hidden = conv2d(x.clone(), down.clone(), None, point());
                        conv2d(hidden, mid.clone(), None, self.config.options())
                    }
                };
                let hidden = branch.drop(hidden, 1).mul_scalar(factor);
                y = y + conv2d(hidden, up.clone(), None, point());
            }
        }
        y
    }
}

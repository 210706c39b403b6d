use burn::tensor::Tensor;

use super::functional::{Conv2dConfig, conv2d, enlarge};
use super::{Factors, Parameters, Slot, Weight};

/// A 2D convolution, plus the branches of the adapters attached to it.
#[derive(Debug)]
pub struct Conv2d {
    /// `[out, in, k, k]`.
    weight: Weight<4>,
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
        let weight = parameters.weight("weight", shape).packed();
        let bias = config.bias.then(|| parameters.tensor("bias", [output]));
        let slot = parameters.slot(&weight);
        Self { weight, bias, config, slot }
    }

    /// As [`forward`](Self::forward) of [`enlarge`]d x, of a convolution that keeps height and width:
    /// `[n, in, h, w] -> [n, out, 2 h, 2 w]`.
    pub fn forward_enlarged(&self, x: Tensor<4>) -> Tensor<4> {
        let plain = self.slot.branches().iter().all(|branch| branch.strength.get() == 0.0);
        if !plain {
            // A branch reads the enlarged x too.
            return self.forward(enlarge(x));
        }
        self.weight.conv2d_enlarged(x, self.bias.clone())
    }

    /// `[n, in, h, w] -> [n, out, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.slot.bias(self.bias.clone());
        let point = Conv2dConfig::POINT;
        let mut y = if self.slot.changes_weight() {
            let weight = self.slot.weight(self.weight.widened());
            conv2d(x.clone(), weight, bias, self.config)
        } else {
            self.weight.conv2d(x.clone(), bias, self.config)
        };
        for branch in self.slot.branches().iter() {
            let factor = branch.factor();
            let Factors::Conv2d { down, mid, up } = &branch.factors else { continue };
            if factor != 0.0 {
                let hidden = match mid {
                    None => conv2d(x.clone(), down.clone(), None, self.config),
                    Some(mid) => {
                        let hidden = conv2d(x.clone(), down.clone(), None, point);
                        conv2d(hidden, mid.clone(), None, self.config)
                    }
                };
                let hidden = branch.drop(hidden, 1).mul_scalar(factor);
                y = y + conv2d(hidden, up.clone(), None, point);
            }
        }
        y
    }
}

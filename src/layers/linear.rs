use burn::tensor::Tensor;
use burn::tensor::module;

use super::{Factors, Parameters, Slot, Weight};
use crate::kernels::{self, Operation};

/// `x [.., in]`, `weight [out, in]`, `bias [out] -> x weight^T + bias [.., out]`. The bias has no
/// gradient.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    if kernels::serve(Operation::Linear, &x) {
        return kernels::linear(x, weight, bias);
    }
    module::linear(x, weight.transpose(), bias)
}

/// `y + factor * x weight^T`.
fn linear_onto<const D: usize>(
    y: Tensor<D>,
    x: Tensor<D>,
    weight: Tensor<2>,
    factor: f32,
) -> Tensor<D> {
    if kernels::serve(Operation::Linear, &x) {
        return kernels::linear_onto(y, x, weight, factor);
    }
    y + linear(x.mul_scalar(factor), weight, None)
}

/// `y = x W^T + b`, plus the branches of the adapters attached to it.
#[derive(Debug)]
pub struct Linear {
    /// `[out, in]`, as the checkpoint has it.
    weight: Weight<2>,
    /// `[out]`.
    bias: Option<Tensor<1>>,
    slot: Slot,
}

impl Linear {
    /// Loads `weight [out, in]` and, where it has one, `bias [out]`.
    pub fn load(parameters: &Parameters, input: usize, output: usize, bias: bool) -> Self {
        let weight = parameters.weight("weight", [output, input]);
        let bias = bias.then(|| parameters.tensor("bias", [output]));
        let slot = parameters.slot(&weight);
        Self { weight, bias, slot }
    }

    /// `[.., in] -> [.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.clone();
        let mut y = if self.slot.changes_weight() {
            linear(x.clone(), self.slot.weight(self.weight.widened()), bias)
        } else {
            self.weight.linear(x.clone(), bias)
        };
        for branch in self.slot.branches().iter() {
            let factor = branch.factor();
            let Factors::Linear { down, up } = &branch.factors else { continue };
            // Strength 0 is the base model bit for bit, not the base plus zeros.
            if factor != 0.0 {
                let hidden = linear(x.clone(), down.clone().transpose(), None);
                let hidden = branch.drop(hidden, D - 1);
                y = linear_onto(y, hidden, up.clone().transpose(), factor);
            }
        }
        y
    }
}

use burn::tensor::Tensor;
use burn::tensor::module;

use super::{Factors, Parameters, Slot, Weight};
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
        let branches = self.slot.branches();
        let mut more = branches.iter().filter_map(|branch| match &branch.factors {
            // Strength 0 is the base model bit for bit, not the base plus zeros.
            Factors::Linear { down, up } if branch.factor() != 0.0 => {
                let hidden = linear(x.clone(), down.clone().transpose(), None, None);
                let hidden = branch.drop(hidden, D - 1);
                Some(LowRank { hidden, up: up.clone().transpose(), factor: branch.factor() })
            }
            _ => None,
        });
        // The first goes along with the layer's own product.
        let first = more.next();
        let y = if self.slot.changes_weight() {
            linear(x.clone(), self.slot.weight(self.weight.widened()), bias, first)
        } else {
            self.weight.linear(x.clone(), bias, first)
        };
        more.fold(y, |y, more| more.onto(y))
    }
}

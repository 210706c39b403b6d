use burn::tensor::Tensor;

use super::functional::{LowRank, linear};
use super::{Factors, Parameters, Slot, Weight};

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
        let bias = self.slot.bias(self.bias.clone());
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

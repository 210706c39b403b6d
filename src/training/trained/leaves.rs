//! The adapter on the device: slices of the flat vector, attached to their layers, and the gradient
//! that comes back.

use burn::tensor::{Device, Gradients, Tensor};

use super::adapter::{Adapter, Module, Piece};
use crate::adapters::kinds::{self, LowRank};
use crate::error::Result;
use crate::layers::{Branch, Dropout, Factors, Strength};
use crate::training::settings::config::Kind;

/// Which adapter the branches in training belong to: no file gets this number.
const ID: u64 = u64::MAX;

/// The factors of every module, on the device.
pub struct Leaves(Vec<Vec<Tensor<2>>>);

impl Leaves {
    /// Moves the gradients of the modules of one stage (all, without one) from a graph to `sums`,
    /// adding to what is there.
    pub fn collect(
        &self,
        adapter: &Adapter,
        stage: Option<usize>,
        gradients: &mut Gradients,
        sums: &mut Vec<Option<Tensor<1>>>,
    ) {
        let pieces = self.0.iter().map(Vec::len).sum();
        sums.resize(pieces, None);
        let mut sum = sums.iter_mut();
        for (module, leaves) in adapter.modules.iter().zip(&self.0) {
            for (leaf, sum) in leaves.iter().zip(&mut sum) {
                if stage.is_none_or(|stage| stage == module.stage)
                    && let Some(gradient) = leaf.grad_remove(gradients)
                {
                    let gradient: Tensor<1> = gradient.flatten(0, 1);
                    *sum = Some(match sum.take() {
                        Some(sum) => sum + gradient,
                        None => gradient,
                    });
                }
            }
        }
    }
}

/// The gradient of the whole flat vector, from those of its pieces; pieces that took no part in a
/// pass have zeros.
pub fn flatten(adapter: &Adapter, sums: Vec<Option<Tensor<1>>>, device: &Device) -> Tensor<1> {
    let mut sums = sums.into_iter();
    let pieces = adapter.modules.iter().flat_map(|module| &module.pieces);
    let each = pieces.map(|piece| {
        sums.next().flatten().unwrap_or_else(|| Tensor::zeros([piece.range.len()], device))
    });
    Tensor::cat(each.collect(), 0)
}

impl Adapter {
    /// Slices the flat vector `[parameters]` on the device into factors; with `graph` they are the
    /// leaves of a graph.
    pub fn leaves(&self, flat: &Tensor<1>, graph: bool) -> Leaves {
        let slice = |piece: &Piece| {
            let leaf = flat.clone().slice([piece.range.clone()]).reshape(piece.shape);
            if graph { leaf.autodiff().require_grad() } else { leaf }
        };
        let of = |module: &Module| module.pieces.iter().map(slice).collect();
        Leaves(self.modules.iter().map(of).collect())
    }

    /// Attaches the factors to their layers in place of those before. `drop` says what a module
    /// leaves out in this pass; none: the whole module.
    pub fn attach(
        &self,
        leaves: &Leaves,
        strength: &Strength,
        drop: impl Fn(usize) -> Option<Option<Dropout>>,
    ) {
        for (i, (module, leaves)) in self.modules.iter().zip(&leaves.0).enumerate() {
            module.site.slot.detach(ID);
            if let (Some(dropout), Some(factors)) = (drop(i), factors(module, leaves)) {
                let (strength, scale) = (strength.clone(), module.scale);
                module.site.slot.attach(Branch { adapter: ID, strength, scale, factors, dropout });
            }
        }
    }

    /// Takes every factor off its layer.
    pub fn detach(&self) {
        for module in &self.modules {
            module.site.slot.detach(ID);
        }
    }

    /// Of each module whose norm the host can't tell, the squared norm of what it adds, on the
    /// device: `[modules]`, 0 for the others.
    ///
    /// # Errors
    /// When a layer's weight isn't at hand.
    pub fn dense_norms_squared(&self, leaves: &Leaves) -> Result<Option<Tensor<1>>> {
        if self.kind == Kind::Lora {
            return Ok(None);
        }
        let norm = |(module, leaves): (&Module, &Vec<Tensor<2>>)| {
            let base = module.site.weight()?;
            Ok(match factors(module, leaves) {
                Some(Factors::Change(change)) => change.weight(base, module.scale).square().sum(),
                _ => base.sum().mul_scalar(0.0),
            })
        };
        let norms = self.modules.iter().zip(&leaves.0).map(norm).collect::<Result<_>>()?;
        Ok(Some(Tensor::cat(norms, 0)))
    }
}

/// What a module does to its layer; its pieces were laid out by the layer's shape and fit it.
fn factors(module: &Module, leaves: &[Tensor<2>]) -> Option<Factors> {
    let constant = |values: &[f32], shape: [usize; 2]| {
        let data = burn::tensor::TensorData::new(values.to_vec(), shape);
        Tensor::<2>::from_data(data, &leaves[0].device())
    };
    let mut factors = module.factors.map(|&piece| leaves[piece].clone());
    if let (Some((down0, up0)), kinds::Factors::LowRank(LowRank { down, up, .. })) =
        (&module.frozen, &mut factors)
    {
        let (down0, up0) = (constant(down0, down.dims()), constant(up0, up.dims()));
        *down = Tensor::cat(vec![down.clone(), down0], 0);
        *up = Tensor::cat(vec![up.clone(), up0.neg()], 1);
    }
    factors.action(&module.shape)
}

//! BOFT: rotations of blocks in stages, between which the outputs change places as in a butterfly
//! (`lycoris/functional/boft.py`; <https://arxiv.org/abs/2311.06243>).
//!
//! At a strength m LyCORIS and ComfyUI have `m (R - I) + I` in every stage, so that the change isn't in
//! proportion to m (ComfyUI then multiplies it by m once more); LyCORIS is followed. Its `rescale` is
//! `1 + m (rescale - 1)` here, so that 0 is the base; LyCORIS applies it whole.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::oft::{self, RESCALE};
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::adapters::remedies::BROKEN;
use crate::error::Result;
use crate::layers::{self, Change};

/// Blocks `[stages, k, n, n]`, of which the skew-symmetric part counts. In files they are called as
/// OFT's are, which have no stages.
pub const BLOCKS: Role = oft::STAGES;

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[Kind::new("BOFT", Some("boft"))];
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = None;
/// alpha is a limit here, and no scale.
pub const SCALED: bool = false;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// Rotations in stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Boft<T> {
    /// `R - I` of every block, one below the other, stage by stage: `[stages * out, n]`.
    pub turns: T,
    /// `[out, 1]`.
    pub rescale: Option<T>,
}

impl<T> Boft<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let rescale = self.rescale.as_ref().map(|rescale| (RESCALE, rescale));
        [(BLOCKS, &self.turns)].into_iter().chain(rescale).collect()
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> Boft<U> {
        Boft { turns: each(&self.turns), rescale: self.rescale.as_ref().map(&mut *each) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    has(BLOCKS)
}

/// Whether so many stages of blocks of n fit so many outputs.
fn fits(stages: usize, size: usize, output: usize) -> bool {
    // The last stage mixes 2^(stages - 1) blocks.
    let mixed = u32::try_from(stages.saturating_sub(1)).ok();
    let mixed = mixed.and_then(|stage| size.checked_mul(2usize.checked_pow(stage)?));
    stages > 0
        && size.is_multiple_of(2)
        && size > 0
        && mixed.is_some_and(|mixed| output.is_multiple_of(mixed))
}

/// Reads the blocks and makes rotations of them.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<Boft<HostTensor>>> {
    let HostTensor { shape, data } = tensors.tensor(BLOCKS, 4)?;
    let (output, [stages, count, size, width]) =
        (tensors.output(), [shape[0], shape[1], shape[2], shape[3]]);
    let whole = size == width && count.checked_mul(size) == Some(output);
    if whole && !fits(stages, size, output) {
        let problem = format!(
            "has {stages} stages of blocks of {size}, which {output} outputs can't be mixed in"
        );
        return Err(tensors.error(BLOCKS, problem, BROKEN));
    }
    if !whole {
        let wanted = [stages, output / size.max(1), size, size];
        return Err(tensors.misfit(BLOCKS, &shape, &wanted));
    }
    oft::limit(tensors, BLOCKS, size)?;
    let skew = oft::skew(&data, size);
    let skew = oft::limited(tensors, skew)?;
    let turns = skew.iter().flat_map(|block| block.turn().into_floats());
    let turns = HostTensor { shape: vec![stages * output, size], data: turns.collect() };
    let rescale = tensors.has(RESCALE).then(|| oft::rescale(tensors)).transpose()?;
    Ok(Found::Factors(Boft { turns, rescale }, 0))
}

impl Boft<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        KINDS[0]
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Always: only the rotations are kept, not what they were made of.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        Err(oft::UNWRITTEN)
    }

    /// Whether nothing is rotated.
    pub fn is_zero(&self) -> bool {
        self.turns.is_zero() && oft::is_one(self.rescale.as_ref())
    }
}

impl Boft<Tensor<2>> {
    /// What it does to a layer of this shape; none where the blocks don't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let output = *shape.first()?;
        let [rows, size] = self.turns.dims();
        let fit = shape.len() > 1
            && output > 0
            && rows.is_multiple_of(output)
            && fits(rows / output, size, output)
            && self.rescale.as_ref().is_none_or(|rescale| rescale.dims() == [output, 1]);
        fit.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for Boft<Tensor<2>> {
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        self.weight_at(base, scale, 1.0)
    }

    fn weight_at(&self, base: Tensor<2>, scale: f32, strength: f32) -> Tensor<2> {
        let ([rows, size], [output, width]) = (self.turns.dims(), base.dims());
        let strength = strength * scale;
        let mut x = base.clone();
        for stage in 0..rows / output {
            let half = (1 << stage) * size / 2;
            let turns = self.turns.clone().slice([stage * output..(stage + 1) * output, 0..size]);
            let turns = turns.reshape([output / size, size, size]);
            let pairs = x.reshape([output / (2 * half), 2, half, width]).swap_dims(1, 2);
            let blocks = pairs.reshape([output / size, size, width]);
            let moved = turns.matmul(blocks.clone()).mul_scalar(strength) + blocks;
            let pairs = moved.reshape([output / (2 * half), half, 2, width]).swap_dims(1, 2);
            x = pairs.reshape([output, width]);
        }
        if let Some(rescale) = &self.rescale {
            x = x * (rescale.clone().sub_scalar(1.0).mul_scalar(strength).add_scalar(1.0));
        }
        x - base
    }
}

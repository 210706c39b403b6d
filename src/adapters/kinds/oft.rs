//! OFT: blocks of outputs (kohya `networks/oft.py`, `lycoris/modules/diag_oft.py`) or of inputs
//! (`peft/tuners/oft/layer.py`) are rotated by matrices `R` that are made of skew-symmetric ones.
//!
//! At a strength m kohya and LyCORIS have `m (R - I) + I`, which is what is done here for PEFT's too.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::square::Square;
use super::tensors::{Found, Tensors};
use crate::adapters::remedies::BROKEN;
use crate::error::Result;
use crate::layers::{self, Change};

/// kohya's and LyCORIS' blocks `[k, n, n]`, of which the skew-symmetric part counts.
pub const BLOCKS: Role = Role::new("oft_blocks");
/// LyCORIS' scale of each output after the rotation.
pub const RESCALE: Role = Role::new("rescale");
/// PEFT's blocks `[k, n (n - 1) / 2]`: the upper triangles, row by row.
pub const TRIANGLES: Role = Role::new("oft_R");
/// BOFT's blocks, which files call as OFT's: they have a dimension more.
pub const STAGES: Role = Role::new("boft_blocks");

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[Kind::new("OFT", Some("diag-oft"))];
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = None;
/// alpha is a limit here, and no scale.
pub const SCALED: bool = false;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[BLOCKS, RESCALE, TRIANGLES];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// Elements of the largest block: an inverse of more would take minutes.
const MOST: usize = 2048;

/// Rotations of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Oft<T> {
    /// What is added to each block for every element of it, `T = R^T - I` for outputs and `R - I` for
    /// inputs: `[k * n, n]`, or one block for all, `[n, n]`.
    pub turns: T,
    /// `[out, 1]`.
    pub rescale: Option<T>,
    /// Whether inputs are rotated: columns of the weight as a matrix.
    pub on_input: bool,
}

impl<T> Oft<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let rescale = self.rescale.as_ref().map(|rescale| (RESCALE, rescale));
        [(BLOCKS, &self.turns)].into_iter().chain(rescale).collect()
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> Oft<U> {
        let (turns, on_input) = (each(&self.turns), self.on_input);
        Oft { turns, rescale: self.rescale.as_ref().map(&mut *each), on_input }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    has(BLOCKS) || has(TRIANGLES) || (has(RESCALE) && !has(STAGES))
}

/// Reads the blocks and makes rotations of them.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<Oft<HostTensor>>> {
    tensors.not_both([TRIANGLES, BLOCKS])?;
    if tensors.has(TRIANGLES) {
        return of_inputs(tensors);
    }
    let HostTensor { shape, data } = tensors.tensor(BLOCKS, 3)?;
    let [count, size, width] = shape[..] else {
        let wanted = [1, tensors.output(), tensors.output()];
        return Err(tensors.misfit(BLOCKS, &shape, &wanted));
    };
    if size != width || count.checked_mul(size) != Some(tensors.output()) {
        let size = size.max(1);
        return Err(tensors.misfit(BLOCKS, &shape, &[tensors.output() / size, size, size]));
    }
    limit(tensors, BLOCKS, size)?;
    let skew = limited(tensors, skew(&data, size))?;
    let turns = skew.iter().flat_map(|block| block.turn().transposed().into_floats());
    let turns = HostTensor { shape: vec![count * size, size], data: turns.collect() };
    let rescale = tensors.has(RESCALE).then(|| rescale(tensors)).transpose()?;
    Ok(Found::Factors(Oft { turns, rescale, on_input: false }, 0))
}

/// The skew-symmetric parts of blocks.
pub(super) fn skew(data: &[f32], size: usize) -> Vec<Square> {
    let blocks = data.chunks_exact(size * size);
    let skew = |block: &[f32]| {
        Square::from_fn(size, |i, j| f64::from(block[i * size + j] - block[j * size + i]))
    };
    blocks.map(skew).collect()
}

/// "constraint in original paper is alpha * out_dim * out_dim, but we use alpha * out_dim": all blocks
/// together. 0 or none: no limit (LyCORIS).
pub(super) fn limited(tensors: &Tensors, mut skew: Vec<Square>) -> Result<Vec<Square>> {
    let most = f64::from(tensors.number(Role::ALPHA)?.unwrap_or(0.0)) * tensors.output() as f64;
    let norm = skew.iter().map(Square::squares).sum::<f64>().sqrt();
    if most > 0.0 && norm > most {
        skew.iter_mut().for_each(|block| block.scale(most / norm));
    }
    Ok(skew)
}

/// Whether every scale of the outputs is 1.
pub(super) fn is_one(rescale: Option<&HostTensor>) -> bool {
    rescale.is_none_or(|rescale| rescale.data.iter().all(|&x| x == 1.0))
}

/// Why no file is written.
pub(super) const UNWRITTEN: &str = "keeps its rotations, not the matrices that they were made of";

pub(super) fn rescale(tensors: &Tensors) -> Result<HostTensor> {
    let HostTensor { shape, data } = tensors.tensor(RESCALE, 1)?;
    let wanted = [tensors.output(), 1];
    if shape[0] != wanted[0] || data.len() != wanted[0] {
        return Err(tensors.misfit(RESCALE, &shape, &wanted));
    }
    Ok(HostTensor { shape: wanted.to_vec(), data })
}

pub(super) fn limit(tensors: &Tensors, role: Role, size: usize) -> Result<()> {
    let problem = || format!("has blocks of {size}, where {MOST} are the most that is read");
    if size > MOST { Err(tensors.error(role, problem(), BROKEN)) } else { Ok(()) }
}

/// PEFT's: `x R` for each block of inputs. Its config tells how R is made of Q: by its default a
/// Neumann series of some terms in place of the inverse.
fn of_inputs(tensors: &Tensors) -> Result<Found<Oft<HostTensor>>> {
    let HostTensor { shape, data } = tensors.tensor(TRIANGLES, 2)?;
    let entries: usize = shape[1..].iter().product();
    let size = (1..).take_while(|n| n * (n - 1) / 2 <= entries).last().unwrap_or(1);
    let (count, columns) = (shape[0], tensors.columns());
    let shared = count == 1 && columns.is_multiple_of(size);
    if size * (size - 1) / 2 != entries || !(count * size == columns || shared) {
        let blocks = columns / size.max(1);
        return Err(tensors.misfit(TRIANGLES, &shape, &[blocks, size * (size - 1) / 2]));
    }
    limit(tensors, TRIANGLES, size)?;
    let setting = |name: &str| tensors.settings.field(tensors.part, name);
    let is = |name: &str, usual: bool| setting(name).and_then(|x| x.as_bool()).unwrap_or(usual);
    let number = |name: &str, usual: f64| setting(name).and_then(|x| x.as_f64()).unwrap_or(usual);
    let mut turns = Vec::with_capacity(count * size * size);
    for triangle in data.chunks_exact(entries.max(1)) {
        let at = |i: usize, j: usize| {
            let place = i * (2 * size - i - 1) / 2 + (j - i - 1);
            f64::from(triangle[place])
        };
        let mut block = Square::from_fn(size, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => at(i, j),
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => -at(j, i),
        });
        if is("coft", false) {
            let most = number("eps", 6e-5) / (count as f64).sqrt();
            let norm = block.squares().sqrt();
            if norm > most {
                block.scale(most / norm);
            }
        }
        let turn = if is("use_cayley_neumann", true) {
            block.neumann(number("num_cayley_neumann_terms", 5.0) as usize)
        } else {
            // R = (I - Q) (I + Q)^-1, so R - I = -2 Q (I + Q)^-1.
            block.times(&block.scaled(-1.0).less_from_identity().inverse()).scaled(-2.0)
        };
        turns.extend(turn.into_floats());
    }
    if turns.iter().any(|value: &f32| !value.is_finite()) {
        return Err(tensors.error(TRIANGLES, "makes no rotation".into(), BROKEN));
    }
    let turns = HostTensor { shape: vec![count * size, size], data: turns };
    Ok(Found::Factors(Oft { turns, rescale: None, on_input: true }, 0))
}

impl Oft<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        KINDS[0]
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Always: only the rotations are kept, not what they were made of.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        Err(UNWRITTEN)
    }

    /// Whether nothing is rotated.
    pub fn is_zero(&self) -> bool {
        self.turns.is_zero() && is_one(self.rescale.as_ref())
    }
}

impl Oft<Tensor<2>> {
    /// What it does to a layer of this shape; none where the blocks don't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, columns) = (*shape.first()?, shape.iter().skip(1).product::<usize>());
        let ([rows, size], rotated) =
            (self.turns.dims(), if self.on_input { columns } else { output });
        let fits = shape.len() > 1
            && (rows == rotated || rows == size)
            && rows.is_multiple_of(size)
            && rotated.is_multiple_of(size)
            && self.rescale.as_ref().is_none_or(|rescale| rescale.dims() == [output, 1]);
        fits.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for Oft<Tensor<2>> {
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        let [rows, size] = self.turns.dims();
        let turns = self.turns.clone().reshape([rows / size, size, size]);
        let lines = if self.on_input { base.clone().transpose() } else { base.clone() };
        let [all, width] = lines.dims();
        let lines = lines.reshape([all / size, size, width]);
        let moved = turns.expand([all / size, size, size]).matmul(lines).reshape([all, width]);
        let moved = if self.on_input { moved.transpose() } else { moved };
        let change = match &self.rescale {
            None => moved,
            Some(rescale) => (moved + base.clone()) * rescale.clone() - base,
        };
        change.mul_scalar(scale)
    }
}

//! DoRA: low rank with a magnitude for every output row or input channel (`docs/specs/adapter-formats.md`,
//! E3 and B.4).

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece, absorb_core};
use super::low_rank::{self, DOWN, LowRank, MID, UP};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::adapters::remedies::OTHER_MODEL;
use crate::error::Result;
use crate::layers::{self, Change};

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[DORA];
/// What it is called.
pub const DORA: Kind = Kind::new("DoRA", Some("locon"));
/// See [`low_rank::FAMILY`].
pub const FAMILY: Option<&str> = low_rank::FAMILY;
/// See [`low_rank::SCALED`].
pub const SCALED: bool = true;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`low_rank::PARAMETERS`].
pub const PARAMETERS: &[Role] = &Role::MAGNITUDES;
/// See [`low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// `V = W + scale * up down`, brought to the lengths in `magnitude`.
#[derive(Debug, Clone, PartialEq)]
pub struct DoRA<T> {
    /// `[r, in]` or `[r, in, kh, kw]`.
    pub down: T,
    /// `[out, r]` or `[out, r, 1, 1]`.
    pub up: T,
    /// `[out, 1]`: of every output row; `[1, in]`: of every input channel.
    pub magnitude: T,
}

impl<T> DoRA<T> {
    /// Every tensor with its role, that next to the input first.
    pub fn named(&self) -> Vec<(Role, &T)> {
        vec![(DOWN, &self.down), (UP, &self.up), (Role::DORA_SCALE, &self.magnitude)]
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> DoRA<U> {
        DoRA { down: each(&self.down), up: each(&self.up), magnitude: each(&self.magnitude) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    [DOWN, MID, UP].into_iter().any(has) && Role::MAGNITUDES.into_iter().any(has)
}

/// Reads the factors; a Tucker core goes into the factor next to the input, which gives the same
/// weight.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<DoRA<HostTensor>>> {
    let (factors, rank) = match low_rank::read(tensors)? {
        Found::Factors(factors, rank) => (factors, rank),
        Found::LeftOut(kind, reason) => return Ok(Found::LeftOut(kind, reason)),
    };
    let magnitude = magnitude(tensors)?;
    let LowRank { mut down, mid, up } = factors;
    if let Some(mid) = mid {
        down = absorb_core(&mid, &down);
        down.shape = [&[rank, tensors.input()], tensors.kernel()].concat();
    }
    Ok(Found::Factors(DoRA { down, up, magnitude }, rank))
}

/// The magnitudes, `[out, 1]` or `[1, in]`. PEFT writes `[out]`, of a convolution
/// `[1, out, 1, 1]`; LyCORIS `[out, 1, ..]`, or `[1, in, ..]` without its `wd_on_out`.
pub(super) fn magnitude(tensors: &Tensors) -> Result<HostTensor> {
    tensors.not_both(Role::MAGNITUDES)?;
    let role = if tensors.has(Role::DORA_SCALE) { Role::DORA_SCALE } else { Role::MAGNITUDE_VECTOR };
    let HostTensor { shape, data } = tensors.tensor(role, 1)?;
    let (output, input) = (tensors.output(), tensors.input());
    // Where the one dimension stands that isn't 1; a lone number may stand anywhere.
    let wide: Vec<usize> = (0..shape.len()).filter(|&at| shape[at] != 1).collect();
    let at = match wide[..] {
        [] => Some(usize::from(output != 1)),
        [at] => Some(at),
        _ => None,
    };
    let rows = match at {
        Some(_) if role == Role::MAGNITUDE_VECTOR => (data.len() == output).then_some(true),
        Some(0) if data.len() == output => Some(true),
        Some(0) if shape.len() == 1 && data.len() == input => Some(false),
        Some(1) if data.len() == input => Some(false),
        _ => None,
    };
    let Some(rows) = rows else {
        let wanted = if role == Role::MAGNITUDE_VECTOR {
            format!("[{output}]")
        } else {
            format!("[{output}, 1] or [1, {input}]")
        };
        let problem = format!("has the shape {shape:?} where the layer needs {wanted}");
        return Err(tensors.error(role, problem, OTHER_MODEL));
    };
    Ok(HostTensor { shape: if rows { vec![output, 1] } else { vec![1, input] }, data })
}

impl DoRA<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        DORA
    }

    /// See [`LowRank::written`]. LyCORIS' magnitudes have as many dimensions as the factors.
    ///
    /// # Errors
    /// Never.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        let mut shape = self.magnitude.shape.clone();
        shape.resize(self.down.shape.len(), 1);
        let magnitude = HostTensor { shape, data: self.magnitude.data.clone() };
        Ok(vec![
            Piece::new("lora_down.weight", &self.down),
            Piece::new("lora_up.weight", &self.up),
            Piece::new(Role::DORA_SCALE.label(), &magnitude),
        ])
    }

    /// Whether the product is zero: then it was never trained.
    pub fn is_zero(&self) -> bool {
        self.up.is_zero() || self.down.is_zero()
    }
}

impl DoRA<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, input) = (*shape.first()?, *shape.get(1)?);
        let columns: usize = shape[1..].iter().product();
        let [rank, width] = self.down.dims();
        let fits = width == columns
            && self.up.dims() == [output, rank]
            && [[output, 1], [1, input]].contains(&self.magnitude.dims());
        fits.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for DoRA<Tensor<2>> {
    /// `V = W + scale * up down`, every output row of it brought to a length of its own:
    /// `magnitude * V / ||V||`. As in PEFT (and section 4.3 of the paper) no gradient flows through
    /// the norm. Some tools take the norm of every input channel instead, over all outputs and the
    /// kernel.
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        let moved = self.up.clone().matmul(self.down.clone()).mul_scalar(scale) + base.clone();
        moved.clone() * gain(moved, self.magnitude.clone()) - base
    }
}

/// What every element of `moved` `[out, in * k * k]` is multiplied by so that its rows, or its input
/// channels, have the lengths in `magnitude`: `[out, 1]` or `[1, in * k * k]`.
pub(super) fn gain(moved: Tensor<2>, magnitude: Tensor<2>) -> Tensor<2> {
    let squares = moved.detach().square();
    let ([_, columns], [rows, channels]) = (squares.dims(), magnitude.dims());
    // A row of zeros has no direction; PEFT divides by zero there.
    let lengths = |sums: Tensor<2>| sums.sqrt().clamp_min(1e-12);
    if channels == 1 && (rows > 1 || squares.dims()[0] == 1) {
        return magnitude / lengths(squares.sum_dim(1));
    }
    let kernel = columns / channels;
    let sums = squares.sum_dim(0).reshape([channels, kernel]).sum_dim(1);
    let gain = magnitude.reshape([channels, 1]) / lengths(sums);
    gain.expand([channels, kernel]).reshape([1, columns])
}

//! GLoRA: `scale * (W A + B)`, where A and B are low rank (`lycoris/modules/glora.py`; ComfyUI's
//! `comfy/weight_adapter/glora.py` knows the two shapes of its files apart).

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece, absorb_core};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::Result;
use crate::layers::{self, Change};

/// A's left factor `[in, r]`; in the old form its right one `[r, in]`.
pub const A1: Role = Role::new("a1");
/// A's right factor `[r, in]`; in the old form its left one.
pub const A2: Role = Role::new("a2");
/// B's left factor `[out, r]`; in the old form its right one.
pub const B1: Role = Role::new("b1");
/// B's right factor `[r, in]`, or a kernel `[r, in, kh, kw]`; in the old form its left one.
pub const B2: Role = Role::new("b2");
/// The core of B in Tucker form.
pub const BM: Role = Role::new("bm");

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[Kind::new("GLoRA", Some("glora"))];
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = Some("GLoRA");
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = true;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[
    (".a1.weight", A1),
    (".a2.weight", A2),
    (".b1.weight", B1),
    (".b2.weight", B2),
    (".bm.weight", BM),
];

/// `W (left right) + up down`.
#[derive(Debug, Clone, PartialEq)]
pub struct GLoRA<T> {
    /// `[in, r]`; the old form's of a kernel `[in * kh * kw, r]`.
    pub left: T,
    /// `[r, in]`, likewise.
    pub right: T,
    /// `[out, r]`.
    pub up: T,
    /// `[r, in]` or `[r, in, kh, kw]`.
    pub down: T,
}

impl<T> GLoRA<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        vec![(A1, &self.left), (A2, &self.right), (B1, &self.up), (B2, &self.down)]
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> GLoRA<U> {
        let Self { left, right, up, down } = self;
        GLoRA { left: each(left), right: each(right), up: each(up), down: each(down) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    [A1, A2, B1, B2, BM].into_iter().any(has)
}

/// Reads the factors, in either form.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<GLoRA<HostTensor>>> {
    let [a1, a2, b1, mut b2] = {
        let read = |role| tensors.factor(role);
        [read(A1)?, read(A2)?, read(B1)?, read(B2)?]
    };
    if tensors.has(BM) {
        let (core, rank) = (tensors.factor(BM)?, b2.shape[0]);
        tensors.expect_core(BM, &core, rank)?;
        let b = tensors.matrix(B2, b2, [rank, tensors.input()])?;
        b2 = absorb_core(&core, &b);
    }
    let (output, input, columns) = (tensors.output(), tensors.input(), tensors.columns());
    let size = |tensor: &HostTensor| [tensor.shape[0], tensor.columns()];
    let ([rows1, columns1], [rows2, columns2]) = (size(&a1), size(&a2));
    // As ComfyUI tells them apart.
    let old = size(&b2)[1] == rows1 && size(&b1)[0] == rows1 && columns2 == rows1;
    let new = size(&b2)[0] == columns1 && size(&b1)[1] == columns1 && rows2 == columns1;
    let old = old && (!new || (rows2 == output && output == input));
    let rank = if old { rows1 } else { rows2 };
    let roles = if old { [A2, A1, B2, B1] } else { [A1, A2, B1, B2] };
    let [left, right, up, down] = if old { [a2, a1, b2, b1] } else { [a1, a2, b1, b2] };
    // The old form multiplies the weight as a matrix.
    let width = if old { columns } else { input };
    let ones = vec![1; tensors.kernel().len()];
    let shaped = |tensor: HostTensor, shape: &[usize]| HostTensor {
        shape: shape.to_vec(),
        data: tensor.data,
    };
    let factors = GLoRA {
        left: tensors.matrix(roles[0], left, [width, rank])?,
        right: tensors.matrix(roles[1], right, [rank, width])?,
        up: tensors.matrix(roles[2], up, [output, rank])?,
        down: tensors.matrix(roles[3], down, [rank, columns])?,
    };
    let down = [&[rank, input], tensors.kernel()].concat();
    let factors = GLoRA {
        left: shaped(factors.left, &[&[width, rank], &ones[..]].concat()),
        right: shaped(factors.right, &[&[rank, width], &ones[..]].concat()),
        up: shaped(factors.up, &[&[output, rank], &ones[..]].concat()),
        down: shaped(factors.down, &down),
    };
    Ok(Found::Factors(factors, rank))
}

impl GLoRA<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        KINDS[0]
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Of the old form for kernels, which LyCORIS doesn't have any more.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        if self.left.shape[0] != self.down.shape[1] {
            return Err("multiplies kernels as matrices, which only its old files can say");
        }
        let piece = |(role, tensor): (Role, &HostTensor)| {
            Piece::new(format!("{}.weight", role.label()), tensor)
        };
        Ok(self.named().into_iter().map(piece).collect())
    }

    /// Whether both products are zero.
    pub fn is_zero(&self) -> bool {
        (self.left.is_zero() || self.right.is_zero()) && (self.up.is_zero() || self.down.is_zero())
    }
}

impl GLoRA<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, input) = (*shape.first()?, *shape.get(1)?);
        let columns: usize = shape[1..].iter().product();
        let [width, rank] = self.left.dims();
        let fits = [input, columns].contains(&width)
            && self.right.dims() == [rank, width]
            && self.up.dims() == [output, rank]
            && self.down.dims() == [rank, columns];
        fits.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for GLoRA<Tensor<2>> {
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        let ([output, columns], [width, _]) = (base.dims(), self.left.dims());
        // Every place of a kernel has all inputs.
        let area = columns / width;
        let lines = base.reshape([output, width, area]).swap_dims(1, 2);
        let lines = lines.reshape([output * area, width]);
        let moved = lines.matmul(self.left.clone()).matmul(self.right.clone());
        let moved = moved.reshape([output, area, width]).swap_dims(1, 2);
        let moved = moved.reshape([output, columns]);
        (moved + self.up.clone().matmul(self.down.clone())).mul_scalar(scale)
    }
}

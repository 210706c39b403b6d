//! LoHa: the product, entry by entry, of two low-rank products (FedPara; `docs/specs/adapter-formats.md`,
//! E3 and B.5).

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece, absorb_core, transposed};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::{Error, Result};
use crate::layers::{self, Change};

/// The first product's left factor.
pub const W1_A: Role = Role::new("hada_w1_a");
/// The first product's right factor.
pub const W1_B: Role = Role::new("hada_w1_b");
/// The second product's left factor.
pub const W2_A: Role = Role::new("hada_w2_a");
/// The second product's right factor.
pub const W2_B: Role = Role::new("hada_w2_b");
/// The core of the first product in Tucker form.
pub const T1: Role = Role::new("hada_t1");
/// The core of the second product in Tucker form.
pub const T2: Role = Role::new("hada_t2");

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[LOHA];
/// What it is called.
pub const LOHA: Kind = Kind::new("LoHa", Some("loha"));
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = Some("LoHa");
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = true;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = false;
/// Parameters are no layers, so that LyCORIS writes nothing behind them; PEFT may write an adapter's
/// name, `.weight` or both.
pub const PARAMETERS: &[Role] = &[W1_A, W1_B, W2_A, W2_B, T1, T2];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// `scale * (w1_a w1_b) * (w2_a w2_b)`, elementwise between the products. Matrices, of a convolution
/// too.
#[derive(Debug, Clone, PartialEq)]
pub struct LoHa<T> {
    /// `[out, r]`.
    pub w1_a: T,
    /// `[r, in * kh * kw]`.
    pub w1_b: T,
    /// `[out, r]`.
    pub w2_a: T,
    /// `[r, in * kh * kw]`.
    pub w2_b: T,
}

impl<T> LoHa<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let Self { w1_a, w1_b, w2_a, w2_b } = self;
        vec![(W1_A, w1_a), (W1_B, w1_b), (W2_A, w2_a), (W2_B, w2_b)]
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> LoHa<U> {
        let Self { w1_a, w1_b, w2_a, w2_b } = self;
        LoHa { w1_a: each(w1_a), w1_b: each(w1_b), w2_a: each(w2_a), w2_b: each(w2_b) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    PARAMETERS.iter().copied().any(has) && !Role::MAGNITUDES.into_iter().any(has)
}

/// Reads the factors. Tucker form: cores `[r, r, kh, kw]`, `w*_a [r, out]`, `w*_b [r, in]`; a core goes
/// into the factor next to the input, which gives the same weight.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<LoHa<HostTensor>>> {
    let tucker = tensors.has(T1) || tensors.has(T2);
    let (output, input) = (tensors.output(), tensors.input());
    let product = |a: Role, b: Role, core: Role, rank: Option<usize>| {
        let (left, right) = (tensors.factor(a)?, tensors.factor(b)?);
        let rank = rank.unwrap_or(right.shape[0]);
        if tucker {
            let core_tensor = tensors.factor(core)?;
            tensors.expect_core(core, &core_tensor, rank)?;
            let left = tensors.matrix(a, left, [rank, output])?;
            let right = tensors.matrix(b, right, [rank, input])?;
            return Ok((transposed(&left), absorb_core(&core_tensor, &right)));
        }
        let left = tensors.matrix(a, left, [output, rank])?;
        let right = tensors.matrix(b, right, [rank, tensors.columns()])?;
        Ok::<_, Error>((left, right))
    };
    let (w1_a, w1_b) = product(W1_A, W1_B, T1, None)?;
    let rank = w1_b.shape[0];
    let (w2_a, w2_b) = product(W2_A, W2_B, T2, Some(rank))?;
    Ok(Found::Factors(LoHa { w1_a, w1_b, w2_a, w2_b }, rank))
}

impl LoHa<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        LOHA
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Never.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        Ok(Piece::all(self.named()))
    }

    /// Whether the product is zero.
    pub fn is_zero(&self) -> bool {
        self.named().into_iter().any(|(_, tensor)| tensor.is_zero())
    }
}

impl LoHa<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, columns) = (*shape.first()?, shape.iter().skip(1).product::<usize>());
        let fits = |a: &Tensor<2>, b: &Tensor<2>| {
            let ([rows, rank], [inner, width]) = (a.dims(), b.dims());
            (rows, rank, width) == (output, inner, columns)
        };
        let both = fits(&self.w1_a, &self.w1_b) && fits(&self.w2_a, &self.w2_b);
        (shape.len() > 1 && both).then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for LoHa<Tensor<2>> {
    fn weight(&self, _base: Tensor<2>, scale: f32) -> Tensor<2> {
        let first = self.w1_a.clone().matmul(self.w1_b.clone()).mul_scalar(scale);
        first * self.w2_a.clone().matmul(self.w2_b.clone())
    }
}

//! Which product: how its factors lie, and what is added to it.

use super::super::stored::Stored;
use super::super::text::{Buffer, F32, VEC4, product_buffers};

/// Numbers of `info` that all kernels here have, before the place of the grid's part.
pub(super) const SIZES: usize = 8;

/// How the factors lie; y is `[M, N]` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `a [M, K]`, `b [N, K]`, transposed: a linear layer.
    Nt,
    /// `a [M, K]`, `b [K, N]`: the gradient of a linear layer's input; a convolution of size 1, with
    /// its weights as a and the pixels as N.
    Nn,
    /// `a [K, M]`, transposed, `b [K, N]`: gradients of weights.
    Tn,
}

/// What is added to the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bias {
    /// Nothing, and there is no such binding.
    None,
    /// `[N]`: a number for each column.
    Columns,
    /// `[M]`: a number for each row.
    Rows,
}

/// Whether a product of low rank is added, `h [M, R]` times `u [R, N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LowRank {
    /// It isn't.
    None,
    /// Of any rank.
    Any,
    /// Of a rank that is a multiple of 4.
    Fours,
}

impl LowRank {
    /// By the rank, 0 for none.
    pub fn of(rank: u32) -> Self {
        match rank {
            0 => Self::None,
            _ if rank.is_multiple_of(4) => Self::Fours,
            _ => Self::Any,
        }
    }
}

/// Which product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// How the factors lie.
    pub form: Form,
    /// What is added.
    pub bias: Bias,
    /// Whether a tensor like y is added too.
    pub residual: bool,
    /// Whether another product is.
    pub low_rank: LowRank,
    /// How a lies.
    pub a: Stored,
    /// How b lies.
    pub b: Stored,
}

impl Product {
    /// The buffers, given the element types of a, b, bias and y.
    pub(super) fn bindings(
        self,
        [a, b, bias, y]: [&'static str; 4],
    ) -> impl Iterator<Item = Buffer> {
        let bias = (self.bias != Bias::None).then_some(("bias", bias));
        let residual = self.residual.then_some(("res", y));
        let low_rank = |name, element| (self.low_rank != LowRank::None).then_some((name, element));
        let hidden = low_rank("h", if self.low_rank == LowRank::Fours { VEC4 } else { F32 });
        product_buffers([("a", a), ("b", b)], [bias, residual, hidden, low_rank("u", y)], y)
    }
}

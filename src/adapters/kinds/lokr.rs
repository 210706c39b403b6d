//! LoKr: a Kronecker product (`docs/specs/adapter-formats.md`, E3 and B.5).

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece, absorb_core, transposed};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::adapters::remedies::{BROKEN, OTHER_MODEL};
use crate::error::{Error, Result};
use crate::layers::{self, Change};

/// The first factor, whole.
pub const W1: Role = Role::new("lokr_w1");
/// The first factor's left half.
pub const W1_A: Role = Role::new("lokr_w1_a");
/// The first factor's right half.
pub const W1_B: Role = Role::new("lokr_w1_b");
/// The second factor, whole.
pub const W2: Role = Role::new("lokr_w2");
/// The second factor's left half.
pub const W2_A: Role = Role::new("lokr_w2_a");
/// The second factor's right half.
pub const W2_B: Role = Role::new("lokr_w2_b");
/// The core of the second factor in Tucker form.
pub const T2: Role = Role::new("lokr_t2");

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[LOKR];
/// What it is called.
pub const LOKR: Kind = Kind::new("LoKr", Some("lokr"));
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = Some("LoKr");
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = true;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = false;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[W1, W1_A, W1_B, W2, W2_A, W2_B, T2];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// One of the two factors, whole or as a product of two.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred exist; a tensor handle is what is large"
)]
pub enum KroneckerFactor<T> {
    /// `[b, d]`, or `[b, d, kh, kw]` where it carries a kernel.
    Full(T),
    /// `[b, r]` and `[r, d * kh * kw]`.
    Product(T, T),
}

impl<T> KroneckerFactor<T> {
    fn named(&self, [whole, left, right]: [Role; 3]) -> Vec<(Role, &T)> {
        match self {
            Self::Full(matrix) => vec![(whole, matrix)],
            Self::Product(a, b) => vec![(left, a), (right, b)],
        }
    }

    fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> KroneckerFactor<U> {
        match self {
            Self::Full(matrix) => KroneckerFactor::Full(each(matrix)),
            Self::Product(a, b) => KroneckerFactor::Product(each(a), each(b)),
        }
    }
}

impl KroneckerFactor<HostTensor> {
    fn is_zero(&self) -> bool {
        match self {
            Self::Full(matrix) => matrix.is_zero(),
            Self::Product(a, b) => a.is_zero() || b.is_zero(),
        }
    }

    /// As a matrix: rows and columns.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Full(matrix) => [matrix.shape.first().copied().unwrap_or(0), matrix.columns()],
            Self::Product(a, b) => [a.shape.first().copied().unwrap_or(0), b.columns()],
        }
    }

    /// The inner dimension, if it is decomposed.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::Full(_) => None,
            Self::Product(_, b) => b.shape.first().copied(),
        }
    }
}

impl KroneckerFactor<Tensor<2>> {
    /// Rows and columns; none where its halves don't fit each other.
    fn size(&self) -> Option<[usize; 2]> {
        match self {
            Self::Full(matrix) => Some(matrix.dims()),
            Self::Product(a, b) => {
                let ([rows, rank], [inner, columns]) = (a.dims(), b.dims());
                (rank == inner).then_some([rows, columns])
            }
        }
    }

    fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Full(matrix) => matrix.clone(),
            Self::Product(a, b) => a.clone().matmul(b.clone()),
        }
    }
}

/// `scale * kron(w1, w2)`; of a convolution w2 carries the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct LoKr<T> {
    /// `[a, c]`.
    pub w1: KroneckerFactor<T>,
    /// `[b, d]` and the kernel, with `out = a * b` and `in = c * d`.
    pub w2: KroneckerFactor<T>,
}

impl<T> LoKr<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        [self.w1.named([W1, W1_A, W1_B]), self.w2.named([W2, W2_A, W2_B])].concat()
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> LoKr<U> {
        LoKr { w1: self.w1.map(each), w2: self.w2.map(each) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    PARAMETERS.iter().copied().any(has) && !Role::MAGNITUDES.into_iter().any(has)
}

/// Reads the factors. Tucker form of the second: core `[r, r, kh, kw]`, `w2_a [r, b]`, `w2_b [r, d]`.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<LoKr<HostTensor>>> {
    use KroneckerFactor::{Full, Product};
    let twice = |whole: Role, a: Role, b: Role| {
        let half = [a, b].into_iter().find(|role| tensors.has(*role) && tensors.has(whole));
        half.map_or(Ok(()), |half| {
            let problem = format!("stands beside the whole {}", whole.label());
            Err(tensors.error(half, problem, BROKEN))
        })
    };
    twice(W1, W1_A, W1_B)?;
    twice(W2, W2_A, W2_B)?;
    // Of a decomposed factor either half may be what is missing.
    let product = |a: Role, b: Role| {
        let (left, right) = (tensors.factor(a)?.flattened(), tensors.factor(b)?.flattened());
        let rank = right.shape[0];
        Ok::<_, Error>((tensors.matrix(a, left.clone(), [left.shape[0], rank])?, right))
    };
    let w1 = if tensors.has(W1_A) || tensors.has(W1_B) {
        let (a, b) = product(W1_A, W1_B)?;
        Product(a, b)
    } else {
        Full(tensors.factor(W1)?.flattened())
    };
    let (w2, key) = if tensors.has(T2) {
        let (a, b) = (tensors.factor(W2_A)?, tensors.factor(W2_B)?.flattened());
        let (rank, core) = (b.shape[0], tensors.factor(T2)?);
        tensors.expect_core(T2, &core, rank)?;
        let columns = a.columns();
        let a = transposed(&tensors.matrix(W2_A, a, [rank, columns])?);
        (Product(a, absorb_core(&core, &b)), W2_B)
    } else if tensors.has(W2_A) || tensors.has(W2_B) {
        let (a, b) = product(W2_A, W2_B)?;
        (Product(a, b), W2_B)
    } else {
        (Full(tensors.factor(W2)?), W2)
    };
    let w2 = fit(tensors, &w1, w2, key)?;
    let rank = w2.rank().or(w1.rank()).unwrap_or(0);
    Ok(Found::Factors(LoKr { w1, w2 }, rank))
}

/// The second factor in the shape that the layer and the first one give it.
fn fit(
    tensors: &Tensors,
    w1: &KroneckerFactor<HostTensor>,
    w2: KroneckerFactor<HostTensor>,
    key: Role,
) -> Result<KroneckerFactor<HostTensor>> {
    use KroneckerFactor::Full;
    let kernel = tensors.kernel();
    let ([a, c], [b, columns]) = (w1.size(), w2.size());
    let fits = a.checked_mul(b) == Some(tensors.output())
        && c.checked_mul(columns) == Some(tensors.columns())
        && tensors.input().is_multiple_of(c);
    let own_kernel = match &w2 {
        Full(whole) if whole.shape.len() > 2 => &whole.shape[2..],
        _ => kernel,
    };
    let same_kernel = own_kernel == kernel || own_kernel.iter().chain(kernel).all(|&k| k == 1);
    if !fits || !same_kernel {
        let problem = format!(
            "makes a {b} x {columns} matrix, whose Kronecker product with the first factor's \
             {a} x {c} isn't the layer's {:?}",
            tensors.shape
        );
        return Err(tensors.error(key, problem, OTHER_MODEL));
    }
    Ok(match w2 {
        // fits: c divides the inputs.
        Full(HostTensor { data, .. }) => {
            Full(HostTensor { shape: [&[b, tensors.input() / c], kernel].concat(), data })
        }
        product => product,
    })
}

impl LoKr<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        LOKR
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
        self.w1.is_zero() || self.w2.is_zero()
    }
}

impl LoKr<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, columns) = (*shape.first()?, shape.iter().skip(1).product::<usize>());
        let ([a, c], [b, d]) = (self.w1.size()?, self.w2.size()?);
        let fits = a.checked_mul(b) == Some(output) && c.checked_mul(d) == Some(columns);
        (shape.len() > 1 && fits).then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for LoKr<Tensor<2>> {
    fn weight(&self, _base: Tensor<2>, scale: f32) -> Tensor<2> {
        let (w1, w2) = (self.w1.matrix().mul_scalar(scale), self.w2.matrix());
        let [a, c] = w1.dims();
        let [b, d] = w2.dims();
        let product = w1.reshape([a, 1, c, 1]) * w2.reshape([1, b, 1, d]);
        product.reshape([a * b, c * d])
    }
}

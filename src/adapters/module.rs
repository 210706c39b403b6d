//! One module of an adapter in host memory, whatever its kind: what [`super::file`] reads,
//! [`super::AdapterSet`] attaches and [`super::save`] writes. Formulas:
//! `docs/specs/adapter-formats.md`, E3, B.4 and B.5.

use super::Part;
use crate::keys::adapter_names::Role;

/// A tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// Whether every element is zero.
    pub fn is_zero(&self) -> bool {
        self.data.iter().all(|&value| value == 0.0)
    }

    /// The number of columns of the tensor as a matrix: all dimensions but the first.
    pub fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The same numbers as `[first, the rest]`.
    pub fn flattened(&self) -> Self {
        let first = self.shape.first().copied().unwrap_or(1);
        Self { shape: vec![first, self.columns()], data: self.data.clone() }
    }
}

/// One of the two factors of a Kronecker product.
#[derive(Debug, Clone, PartialEq)]
pub enum HostKroneckerFactor {
    /// `[b, d]`, or `[b, d, kh, kw]` where it carries a kernel.
    Full(HostTensor),
    /// `[b, r]` and `[r, d * kh * kw]`.
    Product(HostTensor, HostTensor),
}

impl HostKroneckerFactor {
    fn named(&self, [whole, left, right]: [Role; 3]) -> Vec<(Role, &HostTensor)> {
        match self {
            Self::Full(matrix) => vec![(whole, matrix)],
            Self::Product(a, b) => vec![(left, a), (right, b)],
        }
    }

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

/// What a module is made of. Tucker forms other than LoCon's are read into the plain form: their
/// cores are multiplied into the factor next to the input, which gives the same weight.
#[derive(Debug, Clone, PartialEq)]
pub enum HostFactors {
    /// LoRA and LoCon: `scale * up mid down`.
    LowRank {
        /// `[r, in]`, or for a convolution `[r, in, kh, kw]` (`[r, in, 1, 1]` with `mid`).
        down: HostTensor,
        /// `[r, r, kh, kw]`, Tucker form only.
        mid: Option<HostTensor>,
        /// `[out, r]`, or for a convolution `[out, r, 1, 1]`.
        up: HostTensor,
    },
    /// `scale * (w1_a w1_b) * (w2_a w2_b)`, elementwise between the products. Matrices, of a
    /// convolution too.
    LoHa {
        /// `[out, r]`.
        w1_a: HostTensor,
        /// `[r, in * kh * kw]`.
        w1_b: HostTensor,
        /// `[out, r]`.
        w2_a: HostTensor,
        /// `[r, in * kh * kw]`.
        w2_b: HostTensor,
    },
    /// `scale * kron(w1, w2)`.
    LoKr {
        /// `[a, c]`.
        w1: HostKroneckerFactor,
        /// `[b, d]` and the kernel, with `out = a * b` and `in = c * d`.
        w2: HostKroneckerFactor,
    },
    /// `V = W + scale * up down`, brought to the lengths in `magnitude`.
    DoRA {
        /// `[r, in]` or `[r, in, kh, kw]`.
        down: HostTensor,
        /// `[out, r]` or `[out, r, 1, 1]`.
        up: HostTensor,
        /// `[out, 1]`: of every output row; `[1, in]`: of every input channel.
        magnitude: HostTensor,
    },
}

impl HostFactors {
    /// Every tensor with its role, that next to the input first.
    pub fn named(&self) -> Vec<(Role, &HostTensor)> {
        match self {
            Self::LowRank { down, mid, up } => {
                let mid = mid.as_ref().map(|mid| (Role::Mid, mid));
                [Some((Role::Down, down)), mid, Some((Role::Up, up))]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::LoHa { w1_a, w1_b, w2_a, w2_b } => vec![
                (Role::HadaW1A, w1_a),
                (Role::HadaW1B, w1_b),
                (Role::HadaW2A, w2_a),
                (Role::HadaW2B, w2_b),
            ],
            Self::LoKr { w1, w2 } => {
                let first = w1.named([Role::LokrW1, Role::LokrW1A, Role::LokrW1B]);
                [first, w2.named([Role::LokrW2, Role::LokrW2A, Role::LokrW2B])].concat()
            }
            Self::DoRA { down, up, magnitude } => {
                vec![(Role::Down, down), (Role::Up, up), (Role::DoraScale, magnitude)]
            }
        }
    }

    /// The same with every tensor changed.
    pub fn map(&self, change: impl Fn(&HostTensor) -> HostTensor) -> Self {
        let factor = |factor: &HostKroneckerFactor| match factor {
            HostKroneckerFactor::Full(whole) => HostKroneckerFactor::Full(change(whole)),
            HostKroneckerFactor::Product(a, b) => {
                HostKroneckerFactor::Product(change(a), change(b))
            }
        };
        match self {
            Self::LowRank { down, mid, up } => {
                Self::LowRank { down: change(down), mid: mid.as_ref().map(&change), up: change(up) }
            }
            Self::LoHa { w1_a, w1_b, w2_a, w2_b } => Self::LoHa {
                w1_a: change(w1_a),
                w1_b: change(w1_b),
                w2_a: change(w2_a),
                w2_b: change(w2_b),
            },
            Self::LoKr { w1, w2 } => Self::LoKr { w1: factor(w1), w2: factor(w2) },
            Self::DoRA { down, up, magnitude } => {
                Self::DoRA { down: change(down), up: change(up), magnitude: change(magnitude) }
            }
        }
    }

    /// Every tensor.
    pub fn tensors(&self) -> impl Iterator<Item = &HostTensor> {
        self.named().into_iter().map(|(_, tensor)| tensor)
    }

    /// Whether the kernel of a convolution that is larger than 1x1 is part of it.
    pub fn has_kernel(&self) -> bool {
        let wide = |tensor: &HostTensor| tensor.shape.iter().skip(2).any(|&size| size > 1);
        self.tensors().any(wide)
    }

    /// Whether the product that it adds is zero whatever the layer: then it changes nothing, or
    /// (DoRA) was never trained.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::LowRank { down, mid, up } => {
                up.is_zero() || down.is_zero() || mid.as_ref().is_some_and(HostTensor::is_zero)
            }
            Self::LoHa { .. } => self.tensors().any(HostTensor::is_zero),
            Self::LoKr { w1, w2 } => w1.is_zero() || w2.is_zero(),
            Self::DoRA { down, up, .. } => up.is_zero() || down.is_zero(),
        }
    }
}

/// A kind of adapter, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Low rank, of matrices and 1x1 convolutions.
    LoRA,
    /// Low rank with kernels.
    LoCon,
    /// Low rank with magnitudes.
    DoRA,
    /// Hadamard product.
    LoHa,
    /// Kronecker product.
    LoKr,
}

impl Kind {
    /// What all these modules together are called: that of each, and LoCon for LoRA where any has a
    /// kernel. A file may hold several, as LyCORIS' presets make them.
    pub fn of(modules: &[AdapterModule]) -> Vec<Self> {
        let mut kinds: Vec<Self> = modules.iter().map(AdapterModule::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.contains(&Self::LoCon) {
            kinds.retain(|kind| *kind != Self::LoRA);
        }
        kinds
    }

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::LoRA => "LoRA",
            Self::LoCon => "LoCon",
            Self::DoRA => "DoRA",
            Self::LoHa => "LoHa",
            Self::LoKr => "LoKr",
        }
    }
}

/// One module of an adapter: what it does to one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterModule {
    /// Which part of the model it is for.
    pub part: Part,
    /// Its layer's path in diffusers' names.
    pub path: String,
    /// What it is made of.
    pub factors: HostFactors,
    /// alpha / rank, alpha / sqrt(rank) (rank-stabilised), or the file's own `.scale`; 1 for a LoKr
    /// of whole factors.
    pub scale: f32,
    /// The low rank; 0 for a LoKr of whole factors, which has none.
    pub rank: usize,
    /// What the file says of it.
    pub alpha: Option<f32>,
}

impl AdapterModule {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match &self.factors {
            HostFactors::LowRank { mid: Some(_), .. } => Kind::LoCon,
            HostFactors::LowRank { .. } if self.factors.has_kernel() => Kind::LoCon,
            HostFactors::LowRank { .. } => Kind::LoRA,
            HostFactors::DoRA { .. } => Kind::DoRA,
            HostFactors::LoHa { .. } => Kind::LoHa,
            HostFactors::LoKr { .. } => Kind::LoKr,
        }
    }

    /// Whether it adds nothing at any strength.
    pub fn is_zero(&self) -> bool {
        self.scale == 0.0 || self.factors.is_zero()
    }
}

/// A Tucker core and the factor next to the input as one matrix `[r, in * kh * kw]`:
/// `inner[n, j, k, l] = sum over m of core[n, m, k, l] down[m, j]`. `core` is `[r, m, kh, kw]`,
/// `down` `[m, in, ..]` with ones behind.
pub(super) fn absorb_core(core: &HostTensor, down: &HostTensor) -> HostTensor {
    let (rank, inputs) = (core.shape[0], down.columns());
    let (middle, area) = (core.shape[1], core.shape[2..].iter().product::<usize>());
    let mut data = vec![0.0; rank * inputs * area];
    for n in 0..rank {
        let inner = &mut data[n * inputs * area..(n + 1) * inputs * area];
        for m in 0..middle {
            let kernel = &core.data[(n * middle + m) * area..(n * middle + m + 1) * area];
            for (place, &down) in inner.chunks_exact_mut(area).zip(&down.data[m * inputs..]) {
                for (sum, &core) in place.iter_mut().zip(kernel) {
                    *sum += core * down;
                }
            }
        }
    }
    HostTensor { shape: vec![rank, inputs * area], data }
}

/// `[m, n]` to `[n, m]`.
pub(super) fn transposed(matrix: &HostTensor) -> HostTensor {
    let (rows, columns) = (matrix.shape[0], matrix.columns());
    let at = |place: usize| matrix.data[place % rows * columns + place / rows];
    HostTensor { shape: vec![columns, rows], data: (0..rows * columns).map(at).collect() }
}

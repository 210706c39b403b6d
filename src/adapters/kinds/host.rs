//! Tensors in host memory.

use super::role::Role;

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

    /// Whether it carries a kernel larger than 1x1.
    pub fn has_kernel(&self) -> bool {
        self.shape.iter().skip(2).any(|&size| size > 1)
    }
}

/// A tensor as it is written: the end of its key, its shape and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// What follows the module's name and a point.
    pub suffix: String,
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

impl Piece {
    /// The same numbers under this name.
    pub fn new(suffix: impl Into<String>, tensor: &HostTensor) -> Self {
        Self { suffix: suffix.into(), shape: tensor.shape.clone(), data: tensor.data.clone() }
    }

    /// Each under its role's own name.
    pub fn all(named: Vec<(Role, &HostTensor)>) -> Vec<Self> {
        named.into_iter().map(|(role, tensor)| Self::new(role.label(), tensor)).collect()
    }
}

/// A Tucker core and the factor next to the input as one matrix `[r, in * kh * kw]`:
/// `inner[n, j, k, l] = sum over m of core[n, m, k, l] down[m, j]`. `core` is `[r, m, kh, kw]`,
/// `down` `[m, in, ..]` with ones behind.
pub fn absorb_core(core: &HostTensor, down: &HostTensor) -> HostTensor {
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
pub fn transposed(matrix: &HostTensor) -> HostTensor {
    let (rows, columns) = (matrix.shape[0], matrix.columns());
    let at = |place: usize| matrix.data[place % rows * columns + place / rows];
    HostTensor { shape: vec![columns, rows], data: (0..rows * columns).map(at).collect() }
}

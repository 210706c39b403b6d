//! Activations: burn's, or the kernels that take less.

use burn::tensor::{Tensor, activation};

use crate::kernels::{self, Operation};

/// `x sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::serve(Operation::Silu, &x) { kernels::silu(x) } else { activation::silu(x) }
}

/// Gated linear unit with GELU, `[.., 2 * width] -> [.., width]`: the first half times GELU of the
/// second.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::serve(Operation::Geglu, &x) {
        return kernels::geglu(x);
    }
    let inner = x.dims()[D - 1] / 2;
    let value = x.clone().narrow(D - 1, 0, inner);
    let gate = x.narrow(D - 1, inner, inner);
    value * activation::gelu(gate)
}

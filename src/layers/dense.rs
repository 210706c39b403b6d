//! Adapter kinds that need the layer's dense weight: LoHa, LoKr, DoRA and whole differences.
//! Formulas: `docs/specs/adapter-formats.md`, E3, B.4 and B.5. Every weight is a matrix here,
//! `[out, in]`, a convolution's being flattened to `[out, in * kh * kw]`.

use burn::tensor::Tensor;

/// One factor of a Kronecker product, whole or as a product of two.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred exist; a tensor handle is what is large"
)]
pub enum KroneckerFactor {
    /// The matrix itself.
    Full(Tensor<2>),
    /// `a b`.
    Product(Tensor<2>, Tensor<2>),
}

impl KroneckerFactor {
    fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Full(matrix) => matrix.clone(),
            Self::Product(a, b) => a.clone().matmul(b.clone()),
        }
    }
}

/// A change of a layer's weight, given by factors.
#[derive(Debug, Clone)]
pub enum Dense {
    /// `scale * (w1_a w1_b) * (w2_a w2_b)`, elementwise between the products (FedPara).
    LoHa {
        /// `[out, r]`.
        w1_a: Tensor<2>,
        /// `[r, in * k * k]`.
        w1_b: Tensor<2>,
        /// `[out, r]`.
        w2_a: Tensor<2>,
        /// `[r, in * k * k]`.
        w2_b: Tensor<2>,
    },
    /// `scale * kron(w1, w2)`; of a convolution w2 carries the kernel.
    LoKr {
        /// `[a, c]`.
        w1: KroneckerFactor,
        /// `[b, d * k * k]`, with `out = a * b` and `in = c * d`.
        w2: KroneckerFactor,
    },
    /// The weight `V = W + scale * up down`, every output row of it brought to a length of its own:
    /// `magnitude * V / ||V||`. As in PEFT (and section 4.3 of the paper) no gradient flows through
    /// the norm. Some tools take the norm of every input channel instead.
    DoRA {
        /// `[r, in * k * k]`.
        down: Tensor<2>,
        /// `[out, r]`.
        up: Tensor<2>,
        /// `[out, 1]`, or `[1, in]` where the norm is that of the input channels, over all outputs
        /// and the kernel.
        magnitude: Tensor<2>,
    },
    /// `scale * difference`: a difference that is stored whole, or had no cheaper form.
    Difference(Tensor<2>),
}

impl Dense {
    /// What is added to the base weight `[out, in * k * k]` at strength 1.
    pub fn change(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        match self {
            Self::LoHa { w1_a, w1_b, w2_a, w2_b } => {
                let first = w1_a.clone().matmul(w1_b.clone()).mul_scalar(scale);
                first * w2_a.clone().matmul(w2_b.clone())
            }
            Self::LoKr { w1, w2 } => {
                let (w1, w2) = (w1.matrix().mul_scalar(scale), w2.matrix());
                let [a, c] = w1.dims();
                let [b, d] = w2.dims();
                let product = w1.reshape([a, 1, c, 1]) * w2.reshape([1, b, 1, d]);
                product.reshape([a * b, c * d])
            }
            Self::DoRA { down, up, magnitude } => {
                let moved = up.clone().matmul(down.clone()).mul_scalar(scale) + base.clone();
                moved.clone() * gain(moved, magnitude.clone()) - base
            }
            Self::Difference(difference) => difference.clone().mul_scalar(scale),
        }
    }
}

/// What every element of `moved` `[out, in * k * k]` is multiplied by so that its rows, or its input
/// channels, have the lengths in `magnitude`: `[out, 1]` or `[1, in * k * k]`.
fn gain(moved: Tensor<2>, magnitude: Tensor<2>) -> Tensor<2> {
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

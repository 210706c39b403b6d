//! A layer's constant weight, in whatever precision it is kept.

use std::rc::Rc;

use burn::tensor::{DType, Tensor};

use super::functional::{Conv2dConfig, LowRank, conv2d, enlarge, linear};
use crate::kernels::{self, Blocks, Operation, PackedWeight};

/// A weight `[out, ..]` on the device. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Weight<const D: usize> {
    shape: [usize; D],
    kept: Kept<D>,
}

#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred exist; a tensor handle is what is large"
)]
enum Kept<const D: usize> {
    /// As it is, in f32 or in halves.
    Whole(Tensor<D>),
    /// f32 or halves in a device's own order, of a convolution of size 3 x 3.
    Packed(Rc<PackedWeight>),
    /// 8-bit blocks.
    Blocks(Rc<Blocks>),
}

impl<const D: usize> Weight<D> {
    /// A weight in f32 or in halves.
    pub fn new(weight: Tensor<D>) -> Self {
        Self { shape: weight.dims(), kept: Kept::Whole(weight) }
    }

    /// A weight in 8-bit blocks.
    pub(super) fn in_blocks(blocks: Blocks, shape: [usize; D]) -> Self {
        Self { shape, kept: Kept::Blocks(Rc::new(blocks)) }
    }

    /// `[out, ..]`.
    pub fn dims(&self) -> [usize; D] {
        self.shape
    }

    /// Bytes that it takes as it is stored.
    pub(super) fn bytes(&self) -> u64 {
        let numbers = self.shape.iter().map(|&length| length as u64).product::<u64>();
        match &self.kept {
            Kept::Whole(weight) => bytes_of(weight.dtype()) * numbers,
            Kept::Packed(weight) => bytes_of(weight.dtype()) * numbers,
            Kept::Blocks(_) => Blocks::bytes(numbers),
        }
    }

    /// The weight in f32.
    pub fn widened(&self) -> Tensor<D> {
        match &self.kept {
            Kept::Whole(weight) => kernels::widen(weight.clone()),
            Kept::Packed(weight) => weight.widened().reshape(self.shape),
            Kept::Blocks(weight) => weight.widened().reshape(self.shape),
        }
    }

    /// The same as a matrix `[out, ..]`.
    pub(super) fn flatten(&self) -> Weight<2> {
        let shape = [self.shape[0], self.shape[1..].iter().product()];
        let kept = match &self.kept {
            Kept::Whole(weight) => Kept::Whole(weight.clone().reshape(shape)),
            Kept::Packed(weight) => Kept::Packed(weight.clone()),
            Kept::Blocks(weight) => Kept::Blocks(weight.clone()),
        };
        Weight { shape, kept }
    }
}

/// Bytes of a number.
fn bytes_of(dtype: DType) -> u64 {
    if dtype == DType::F16 { 2 } else { 4 }
}

/// Whether this device's operations take a weight in halves as it is.
fn read_as_halves<const D: usize>(weight: &Tensor<D>) -> bool {
    weight.dtype() == DType::F16 && kernels::read_halves(&weight.device())
}

impl Weight<2> {
    /// As [`linear`].
    pub(super) fn linear<const D: usize>(
        &self,
        x: Tensor<D>,
        bias: Option<Tensor<1>>,
        more: Option<LowRank<D>>,
    ) -> Tensor<D> {
        let y = match &self.kept {
            Kept::Blocks(weight) if kernels::serve_constant(Operation::Linear, &x) => {
                kernels::linear_blocks(x, weight, bias)
            }
            Kept::Whole(weight)
                if read_as_halves(weight) && kernels::serve_constant(Operation::Linear, &x) =>
            {
                if kernels::serve(Operation::Linear, &x) {
                    return linear(x, weight.clone(), bias, more);
                }
                kernels::linear(x, weight.clone(), bias)
            }
            _ => return linear(x, self.widened(), bias, more),
        };
        match more {
            None => y,
            Some(more) => more.onto(y),
        }
    }
}

impl Weight<4> {
    /// A weight of size 3 x 3 in the order that the device's kernel reads, if it has one.
    pub(super) fn packed(self) -> Self {
        let shape = self.shape;
        match &self.kept {
            Kept::Whole(weight)
                if shape[2..] == [3, 3]
                    && kernels::keep_packed(&weight.device(), weight.dtype()) =>
            {
                let packed = PackedWeight::new(weight.clone());
                Self { shape, kept: Kept::Packed(Rc::new(packed)) }
            }
            _ => self,
        }
    }

    /// As [`conv2d`].
    pub(super) fn conv2d(
        &self,
        x: Tensor<4>,
        bias: Option<Tensor<1>>,
        config: Conv2dConfig,
    ) -> Tensor<4> {
        let Conv2dConfig { stride, padding, .. } = config;
        let constant = kernels::serve_constant(Operation::Conv2d, &x);
        match &self.kept {
            Kept::Packed(weight) if constant => {
                kernels::conv2d_packed(x, weight, bias, stride, padding)
            }
            Kept::Blocks(weight) if constant => {
                kernels::conv2d_blocks(x, weight, bias, stride, padding, false)
            }
            Kept::Whole(weight) if constant && read_as_halves(weight) => {
                kernels::conv2d(x, weight.clone(), bias, stride, padding)
            }
            _ => conv2d(x, self.widened(), bias, config),
        }
    }

    /// As [`enlarge`] and then [`conv2d`] that keeps height and width, of size 3 x 3.
    pub(super) fn conv2d_enlarged(&self, x: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        if !kernels::serve(Operation::Enlarged, &x) {
            return self.conv2d(enlarge(x), bias, Conv2dConfig::SAME);
        }
        match &self.kept {
            Kept::Packed(weight) => kernels::conv2d_enlarged_packed(x, weight, bias),
            Kept::Blocks(weight) => kernels::conv2d_blocks(x, weight, bias, 1, (1, 1), true),
            Kept::Whole(_) => kernels::conv2d_enlarged(x, self.widened(), bias),
        }
    }
}

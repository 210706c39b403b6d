//! Constant weights that aren't f32 on the CPU backend: read as they lie by the kernels of
//! [`super::cpu`], or, where burn's operations compute, widened for as long as one takes.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::{FloatTensorOps, ModuleOps};
use burn::tensor::{DType, Shape};
use half::f16;

use super::cpu::conv;
use super::cpu::gemm::{Start, multiply};
use super::cpu::weights::{Straight, Turned, Weights};
use super::ops::conv_options;
use super::slices::{Dense, matrix, tensor, view};
use super::{Operation, ours};

/// A weight that has no gradient, `[out, ..]`.
pub(super) struct Constant {
    /// Its numbers in order: halves, or the words of blocks.
    stored: FlexTensor,
    shape: Shape,
}

impl Constant {
    /// One in halves, if that is what it is.
    pub(super) fn halves(weight: &FlexTensor) -> Option<Self> {
        let shape = weight.shape();
        (weight.dtype() == DType::F16).then(|| Self { stored: weight.to_contiguous(), shape })
    }

    /// One in 8-bit blocks.
    pub(super) fn blocks(words: FlexTensor, shape: impl Into<Shape>) -> Self {
        Self { stored: words, shape: shape.into() }
    }

    fn weights(&self) -> Weights<'_> {
        match self.stored.dtype() {
            DType::F16 => Weights::Halves(self.stored.storage::<f16>()),
            _ => Weights::Blocks(bytemuck::cast_slice(self.stored.storage::<i32>())),
        }
    }

    /// Channels that go out, and numbers for each.
    fn size(&self) -> [usize; 2] {
        let output = self.shape[0];
        [output, self.shape.num_elements() / output.max(1)]
    }

    /// In f32.
    pub(super) fn widened(&self) -> FlexTensor {
        let mut values = vec![0.0; self.shape.num_elements()];
        self.weights().read(0, &mut values);
        tensor(values, self.shape.clone())
    }

    /// `x [rows, in] -> x weight^T + bias [rows, out]`.
    pub(super) fn linear(&self, x: FlexTensor, bias: Option<Dense>) -> FlexTensor {
        let ([m, k], [n, row]) = (x.shape().dims::<2>(), self.size());
        if !ours(Operation::Linear) {
            let y = Flex::float_matmul(x, Flex::float_transpose(self.widened()));
            let add = |bias: Dense| Flex::float_reshape(bias.0, [1, n].into());
            return match bias {
                None => y,
                Some(bias) => Flex::float_add(y, add(bias)),
            };
        }
        let (x, weights) = (matrix(x), self.weights());
        let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Columns(bias.values()));
        let mut y = vec![0.0; m * n];
        multiply([m, n, k], view(&x), &Turned { weights, row }, &mut y, n, start);
        tensor(y, [m, n])
    }

    /// `a [rows, out] -> a weight [rows, in]`.
    pub(super) fn product(&self, a: FlexTensor) -> FlexTensor {
        if !ours(Operation::Linear) {
            return Flex::float_matmul(a, self.widened());
        }
        let ([m, k], [_, row]) = (a.shape().dims::<2>(), self.size());
        let (a, weights) = (matrix(a), self.weights());
        let mut y = vec![0.0; m * row];
        multiply([m, row, k], view(&a), &Straight { weights, row }, &mut y, row, Start::Zero);
        tensor(y, [m, row])
    }

    /// `x [n, in, h, w] -> [n, out, h', w']`; x may be `enlarged` to the shape's size first.
    pub(super) fn conv2d(
        &self,
        x: FlexTensor,
        bias: Option<Dense>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> FlexTensor {
        if !ours(Operation::Conv2d) {
            let x = if enlarged { enlarge(x, shape) } else { x };
            let weight = Flex::float_reshape(self.widened(), shape.weight().into());
            return Flex::conv2d(x, weight, bias.map(|bias| bias.0), conv_options(shape));
        }
        let x = Dense::new(x);
        let bias = bias.as_ref().map(Dense::values);
        let convolve = if enlarged { conv::conv2d_enlarged } else { conv::conv2d };
        let y = convolve(x.values(), self.weights(), bias, shape);
        let [h, w] = shape.out();
        tensor(y, [shape.n, shape.output, h, w])
    }

    /// `g [n, out, h', w'] -> [n, in, h, w]`.
    pub(super) fn conv2d_input_gradient(&self, g: FlexTensor, shape: conv::Shape) -> FlexTensor {
        let size = [shape.n, shape.input, shape.size[0], shape.size[1]];
        if !ours(Operation::Conv2d) {
            let weight = Flex::float_reshape(self.widened(), shape.weight().into());
            // Of x, only the size is asked for.
            let x = FlexTensor::zeros(size.into(), DType::F32);
            return Flex::conv2d_x_backward(x, weight, g, conv_options(shape));
        }
        let g = Dense::new(g);
        tensor(conv::conv2d_input_gradient(g.values(), self.weights(), shape), size)
    }
}

/// x at twice its height and width, the shape's.
fn enlarge(x: FlexTensor, shape: conv::Shape) -> FlexTensor {
    let (rows, [h, w]) = (shape.n * shape.input, [shape.size[0] / 2, shape.size[1] / 2]);
    let x = Flex::float_reshape(x, [rows, h, 1, w, 1].into());
    let x = Flex::float_expand(x, [rows, h, 2, w, 2].into());
    Flex::float_reshape(x, [shape.n, shape.input, 2 * h, 2 * w].into())
}

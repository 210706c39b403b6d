//! Constant weights that take less memory than f32 does, and the operations on them.

use std::cell::OnceCell;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::ops::{Bias, Kernels, Packed};
use super::{blocks, conv_shape, enlarged, is_cpu, rows, run_on};

/// Whether a device keeps and reads halves without burn, which can't where a GPU's shaders lack the
/// type.
pub fn read_halves(device: &Device) -> bool {
    super::allowed(super::Operation::Halves) && run_on(device) && !is_cpu(device)
}

/// A weight in f32: itself, or widened from halves.
pub fn widen<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    if weight.dtype() == DType::F16 && read_halves(&weight.device()) {
        return Tensor::from_dispatch(Dispatch::kernel_widen(weight.into_dispatch()));
    }
    weight.cast(DType::F32)
}

/// The weight of a convolution of size 3 x 3 in halves, in the order in which a GPU reads it, and in
/// that alone. For training there is a second one in the order of the gradient, made when first
/// needed.
#[derive(Debug)]
pub struct PackedHalves {
    /// Channels that go out, and that come in.
    size: [usize; 2],
    forward: Tensor<4>,
    gradient: OnceCell<Tensor<4>>,
}

impl PackedHalves {
    /// Of `weight [out, in, 3, 3]` in halves.
    pub fn new(weight: Tensor<4>) -> Self {
        let [output, input, ..] = weight.dims();
        let forward = Dispatch::kernel_conv2d_pack(weight.into_dispatch(), false);
        let forward = Tensor::from_dispatch(forward);
        Self { size: [output, input], forward, gradient: OnceCell::new() }
    }

    /// `[out, in, 3, 3]` in f32.
    pub fn widened(&self) -> Tensor<4> {
        let packed = self.forward.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::kernel_conv2d_unpack(packed, self.size))
    }

    fn packed(&self, gradient: bool) -> Packed<Dispatch> {
        let forward = self.forward.clone().into_dispatch();
        if !gradient {
            return Packed::One(forward);
        }
        let turn = || {
            let packed = self.forward.clone().into_dispatch();
            Tensor::from_dispatch(Dispatch::kernel_conv2d_turn(packed, self.size))
        };
        Packed::Both(forward, self.gradient.get_or_init(turn).clone().into_dispatch())
    }
}

/// As [`conv2d`](super::conv2d), with a weight in halves of size 3 x 3 that has no gradient.
pub fn conv2d_halves(
    x: Tensor<4>,
    weight: &PackedHalves,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: (usize, usize),
) -> Tensor<4> {
    let [output, input] = weight.size;
    let shape = conv_shape(&x, [output, input, 3, 3], stride, padding);
    let packed = weight.packed(x.is_autodiff());
    super::convolve(x, weight.forward.clone(), packed, bias, shape)
}

/// As [`conv2d_enlarged`](super::conv2d_enlarged), with a weight in halves.
pub fn conv2d_enlarged_halves(
    x: Tensor<4>,
    weight: &PackedHalves,
    bias: Option<Tensor<1>>,
) -> Tensor<4> {
    let packed = weight.packed(x.is_autodiff());
    enlarged(x, weight.forward.clone(), packed, bias, weight.size[0])
}

/// A matrix `[out, in]` in 8-bit blocks: a little more than a quarter of f32's memory.
#[derive(Debug)]
pub struct Blocks {
    size: [usize; 2],
    words: Tensor<1, Int>,
}

impl Blocks {
    /// Whether rows of this length are whole blocks.
    pub fn fit(input: usize) -> bool {
        input > 0 && input.is_multiple_of(blocks::BLOCK)
    }

    /// Rounds `values [out, in]`, whose rows are whole blocks.
    pub fn new(values: &[f32], size: [usize; 2], device: &Device) -> Self {
        let words: Vec<i32> = blocks::encode(values).into_iter().map(u32::cast_signed).collect();
        let count = words.len();
        let data = TensorData::new(words, [count]);
        Self { size, words: Tensor::from_data(data, (device, DType::I32)) }
    }

    /// `[out, in]` in f32.
    pub fn widened(&self) -> Tensor<2> {
        let words = self.words.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::kernel_widen_blocks(words, self.size))
    }
}

/// As [`linear`](super::linear), with a weight that has no gradient.
pub fn linear_blocks<const D: usize>(
    x: Tensor<D>,
    weight: &Blocks,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    dims[D - 1] = weight.size[0];
    let words = weight.words.clone().into_dispatch();
    let y = Dispatch::kernel_linear_blocks(rows(x), words, weight.size, Bias::from(bias));
    Tensor::<2>::from_dispatch(y).reshape(dims)
}

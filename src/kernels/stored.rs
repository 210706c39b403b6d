//! Constant weights that take less memory than f32 does, and the operations on them.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::ops::{Bias, Kernels, Packed};
use super::{Operation, blocks, conv_shape, enlarged, is_cpu, rows, run_on, tape};

/// Whether a device keeps and reads halves without burn, which can't where a GPU's shaders lack the
/// type, and which elsewhere keeps what it widened for as long as there is a graph.
pub fn read_halves(device: &Device) -> bool {
    super::allowed(Operation::Halves) && read_blocks(device)
}

/// Whether a device reads 8-bit blocks.
pub fn read_blocks(device: &Device) -> bool {
    is_cpu(device) || run_on(device)
}

/// Whether an operation takes a constant weight in halves or in blocks with this tensor. On the CPU
/// that doesn't depend on kernels: where burn's operations compute, the weight is widened for one.
pub fn serve_constant<const D: usize>(operation: Operation, x: &Tensor<D>) -> bool {
    super::serve(operation, x) || x.dtype() == DType::F32 && is_cpu(&x.device())
}

/// A weight in f32: itself, or widened from halves.
pub fn widen<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    if weight.dtype() == DType::F16 && read_halves(&weight.device()) {
        return Tensor::from_dispatch(Dispatch::kernel_widen(weight.into_dispatch()));
    }
    weight.cast(DType::F32)
}

/// Whether a weight `[out, in, 3, 3]` of this type is best kept as [`PackedWeight`] on this device.
pub fn keep_packed(device: &Device, dtype: DType) -> bool {
    match dtype {
        DType::F16 => read_halves(device),
        DType::F32 => !is_cpu(device) && run_on(device) && super::allowed(Operation::Conv2d),
        _ => false,
    }
}

/// The weight of a convolution of size 3 x 3 in f32 or in halves, in the order in which a GPU reads it in
/// a forward pass, and in that alone: both orders would double the weights' memory.
#[derive(Debug)]
pub struct PackedWeight {
    /// Channels that go out, and that come in.
    size: [usize; 2],
    forward: Tensor<4>,
}

impl PackedWeight {
    /// Of `weight [out, in, 3, 3]`.
    pub fn new(weight: Tensor<4>) -> Self {
        let [output, input, ..] = weight.dims();
        let forward = Dispatch::kernel_conv2d_pack(weight.into_dispatch());
        Self { size: [output, input], forward: Tensor::from_dispatch(forward) }
    }

    /// `[out, in, 3, 3]` in f32.
    pub fn widened(&self) -> Tensor<4> {
        let packed = self.forward.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::kernel_conv2d_unpack(packed, self.size))
    }

    /// Numbers as stored.
    pub fn dtype(&self) -> DType {
        self.forward.dtype()
    }

    fn packed(&self) -> Packed<Dispatch> {
        Packed::Kept(self.forward.clone().into_dispatch())
    }
}

/// As [`conv2d`](super::conv2d), with a packed weight of size 3 x 3 that has no gradient.
pub fn conv2d_packed(
    x: Tensor<4>,
    weight: &PackedWeight,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: (usize, usize),
) -> Tensor<4> {
    let [output, input] = weight.size;
    let shape = conv_shape(&x, [output, input, 3, 3], stride, padding);
    super::convolve(x, weight.forward.clone(), weight.packed(), bias, shape)
}

/// As [`conv2d_enlarged`](super::conv2d_enlarged), with a packed weight.
pub fn conv2d_enlarged_packed(
    x: Tensor<4>,
    weight: &PackedWeight,
    bias: Option<Tensor<1>>,
) -> Tensor<4> {
    enlarged(x, weight.forward.clone(), weight.packed(), bias, weight.size[0])
}

/// A weight `[out, in]` or `[out, in, kh, kw]` in 8-bit blocks: a little more than a quarter of f32's
/// memory. A block is 32 numbers of a row `[in * kh * kw]`, but of a convolution of size 3 x 3 on a GPU
/// 32 channels that go out, as [`PackedWeight`] has them.
#[derive(Debug)]
pub struct Blocks {
    shape: Vec<usize>,
    words: Tensor<1, Int>,
    error: f64,
}

impl Blocks {
    /// Whether a weight of this shape can be kept in blocks.
    pub fn fit(shape: &[usize]) -> bool {
        let whole = |length: &usize| *length > 0 && length.is_multiple_of(blocks::BLOCK);
        match shape {
            [_, input] | [_, input, 1, 1] => whole(input),
            [output, input, 3, 3] => whole(output) && whole(input),
            _ => false,
        }
    }

    /// Bytes of whole blocks of this many numbers.
    pub fn bytes(numbers: u64) -> u64 {
        numbers.div_ceil(blocks::BLOCK as u64) * 4 * blocks::WORDS as u64
    }

    /// Rounds `values` of a shape that [`fit`](Self::fit)s.
    pub fn new(values: &[f32], shape: &[usize], device: &Device) -> Self {
        let count = values.len() / blocks::BLOCK;
        let (words, error) = match shape {
            [output, input, 3, 3] if !is_cpu(device) => {
                let taps = 9 * input;
                blocks::encode(count, |block, into| {
                    let across = output / blocks::BLOCK;
                    let first = block % across * blocks::BLOCK * taps + block / across;
                    for (i, value) in into.iter_mut().enumerate() {
                        *value = values[first + i * taps];
                    }
                })
            }
            _ => blocks::encode(count, |block, into| {
                into.copy_from_slice(&values[block * blocks::BLOCK..][..blocks::BLOCK]);
            }),
        };
        let words: Vec<i32> = words.into_iter().map(u32::cast_signed).collect();
        let data = TensorData::new(words, [count * blocks::WORDS]);
        let words = Tensor::from_data(data, (device, DType::I32));
        Self { shape: shape.to_vec(), words, error }
    }

    /// The sum of squares of what rounding changed.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// In f32, as a matrix `[out, ..]`.
    pub fn widened(&self) -> Tensor<2> {
        let size = [self.shape[0], self.shape[1], self.shape[2..].iter().product()];
        let words = self.words.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::kernel_widen_blocks(words, size))
    }
}

/// As [`linear`](super::linear), with a weight that has no gradient.
pub fn linear_blocks<const D: usize>(
    x: Tensor<D>,
    weight: &Blocks,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let size = [weight.shape[0], dims[D - 1]];
    dims[D - 1] = size[0];
    let words = weight.words.clone().into_dispatch();
    let y = Dispatch::kernel_linear_blocks(rows(x), words, size, Bias::from(bias));
    Tensor::<2>::from_dispatch(y).reshape(dims)
}

/// As [`conv2d`](super::conv2d), with a weight that has no gradient; `enlarged` as
/// [`conv2d_enlarged`](super::conv2d_enlarged), which keeps the larger height and width.
pub fn conv2d_blocks(
    x: Tensor<4>,
    weight: &Blocks,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: (usize, usize),
    enlarged: bool,
) -> Tensor<4> {
    let kernel = weight.shape.get(2).copied().unwrap_or(1);
    let size = [weight.shape[0], weight.shape[1], kernel, kernel];
    let mut shape = conv_shape(&x, size, stride, padding);
    if enlarged {
        shape.size = shape.size.map(|length| 2 * length);
    }
    let all = (x.into_dispatch(), weight.words.clone().into_dispatch());
    let compute =
        |(x, words)| Dispatch::kernel_conv2d_blocks(x, words, Bias::from(bias), shape, enlarged);
    if kernel == 1 {
        // Cheap for its size.
        return Tensor::from_dispatch(compute(all));
    }
    let y = tape::convolution(all, compute, |(x, words), y| {
        Dispatch::kernel_conv2d_blocks_known(x, words, y, shape, enlarged)
    });
    Tensor::from_dispatch(y)
}

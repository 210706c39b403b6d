//! Convolutions on their way to the kernels.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::DType;

use super::super::cpu::conv::Shape;
use super::conv::{Conv, Convolution, Mode, Sizes};
use super::launch::{launch, launch_parts, output, output_of};
use super::matmul::{Bias, Form};
use super::pack::{Pack, Unpack};
use super::product::{Batch, Sum, product, stored};
use super::software;
use super::stored::{Stored, Widen};
use super::weight_gradient::WeightGradient;

/// Whether the convolution is a product for each picture.
pub fn is_point(shape: Shape) -> bool {
    shape.kernel == [1, 1] && shape.stride == 1 && shape.before == [0; 2] && shape.after == [0; 2]
}

/// Whether [`convolve`] and [`weight_gradient`] do it.
pub fn has_kernel(shape: Shape) -> bool {
    let small = |padding: [usize; 2]| padding.iter().all(|padding| *padding <= 1);
    shape.kernel == [3, 3]
        && (1..=2).contains(&shape.stride)
        && small(shape.before)
        && small(shape.after)
}

/// The convolution kernel's view of a shape: of the output, or of the input's gradient.
fn sizes(shape: Shape, gradient: bool) -> Sizes {
    let small = |size: [usize; 2]| size.map(|length| length as u32);
    let inner = (shape.input as u32, small(shape.size));
    let outer = (shape.output as u32, small(shape.out()));
    let ((x_channels, x), (y_channels, y)) = if gradient { (outer, inner) } else { (inner, outer) };
    Sizes { n: shape.n as u32, x_channels, x, y_channels, y }
}

/// The convolution, or the gradient of its input. [`Mode::Upsample`] enlarges x to the shape's size.
pub fn convolve(
    mode: Mode,
    x: &CubeTensor,
    packed: &CubeTensor,
    bias: Option<&CubeTensor>,
    shape: Shape,
) -> CubeTensor {
    let convolution = Convolution {
        mode,
        stride: shape.stride as u32,
        before: shape.before.map(|padding| padding as u32),
        bias: bias.is_some(),
        residual: false,
        weights: stored(packed),
    };
    let mut sizes = sizes(shape, mode == Mode::Gradient);
    if mode == Mode::Upsample {
        sizes.x = sizes.x.map(|length| length / 2);
    }
    let Sizes { n, y_channels, y: [h, w], .. } = sizes;
    let y = output(x, [n, y_channels, h, w].map(|size| size as usize));
    let kernel = Conv::choose(convolution, &sizes, software());
    let mut inputs = vec![x, packed];
    inputs.extend(bias);
    let grid = kernel.grid(&sizes);
    launch_parts(kernel, &inputs, &[&y], &sizes.info(false), grid, sizes.work());
    y
}

/// `[parts, out, in, 3, 3]`, to be added up.
pub fn weight_gradient(x: &CubeTensor, g: &CubeTensor, shape: Shape) -> CubeTensor {
    let sizes = sizes(shape, false);
    let before = shape.before.map(|padding| padding as u32);
    let kernel = WeightGradient::choose(shape.stride as u32, before, &sizes, software());
    let parts = kernel.parts(&sizes, software());
    let y = output(x, [parts[0] as usize, shape.output, shape.input, 3, 3]);
    launch(kernel, &[x, g], &[&y], &kernel.info(&sizes, parts), kernel.grid(&sizes, parts));
    y
}

/// The weight `[out, in, 3, 3]`, in f32 or in halves, in the order of one of the passes.
pub fn pack(weight: &CubeTensor, gradient: bool) -> CubeTensor {
    let [out, input, kh, kw] = weight.shape().dims::<4>();
    let (a, b) = if gradient { (out, input) } else { (input, out) };
    let padded = b.next_multiple_of(4);
    let packed = output_of(weight, [a, kh, kw, padded], weight.dtype);
    let kernel = if weight.dtype == DType::F16 { Pack::Halves } else { Pack::F32 };
    let [a, b, padded] = [a, b, padded].map(|size| size as u32);
    let info = [a, b, padded, u32::from(gradient)];
    launch(kernel, &[weight], &[&packed], &info, kernel.grid(a, padded));
    packed
}

/// `[in, 3, 3, out]` in f32 or halves, packed for the forward pass, in the order of the gradient; 8-bit
/// blocks in that order likewise, but as f32.
pub fn turn(packed: &CubeTensor, [out, input]: [usize; 2]) -> CubeTensor {
    let padded = input.next_multiple_of(4);
    let (kernel, dtype) = match stored(packed) {
        Stored::Blocks => (Pack::TurnBlocks, DType::F32),
        Stored::F32 => (Pack::TurnF32, DType::F32),
        _ => (Pack::Turn, DType::F16),
    };
    let turned = output_of(packed, [out, 3, 3, padded], dtype);
    let sizes = [out, input, padded, out.next_multiple_of(4)].map(|size| size as u32);
    launch(kernel, &[packed], &[&turned], &sizes, kernel.grid(sizes[0], sizes[2]));
    turned
}

/// f32, halves or 8-bit blocks `[in, 3, 3, out]`, packed for the forward pass, as `[out, in, 3, 3]` in f32.
pub fn unpack(packed: &CubeTensor, [out, input]: [usize; 2]) -> CubeTensor {
    let weight = output(packed, [out, input, 3, 3]);
    let sizes = [input, out, out.next_multiple_of(4)].map(|size| size as u32);
    let stored = match stored(packed) {
        // One number at a time: f16 would win nothing.
        Stored::Native => Stored::Halves,
        other => other,
    };
    let kernel = Unpack { stored };
    launch(kernel, &[packed], &[&weight], &sizes, kernel.grid(sizes[0] * sizes[1]));
    weight
}

/// A whole tensor of halves, or the words of 8-bit blocks, as f32 of this shape.
pub fn widen(weight: &CubeTensor, shape: &[usize]) -> CubeTensor {
    let count = shape.iter().product::<usize>() as u32;
    let vectors = count.is_multiple_of(4);
    let stored = if weight.dtype == DType::F16 { Stored::halves() } else { Stored::Blocks };
    let y = output(weight, shape.to_vec());
    let kernel = Widen { stored, vectors };
    let count = if vectors { count / 4 } else { count };
    launch(kernel, &[weight], &[&y], &[count], kernel.grid(count));
    y
}

/// The products of a convolution of size 1: `weight [out, in]` or its transpose times each picture's
/// `[channels, pixels]`.
pub fn point(
    form: Form,
    x: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    [m, k]: [usize; 2],
    shape: Shape,
) -> CubeTensor {
    let [h, w] = shape.size;
    let y = output(x, [shape.n, m, h, w]);
    let batch = Batch { size: [m, h * w, k], count: shape.n, strides: [0, k * h * w, m * h * w] };
    let bias = bias.map(|bias| (bias, Bias::Rows));
    product(form, weight, x, &Sum { bias, ..Sum::PRODUCT }, &y, &batch);
    y
}

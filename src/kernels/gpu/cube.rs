//! burn's WebGPU tensors on their way to the kernels.

use burn::backend::ops::{FloatTensorOps, ModuleOps};
use burn::backend::wgpu::{CubeTensor, into_contiguous};
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::ops::ConvOptions;

use super::super::cpu::norm::Groups;
use super::super::cpu::{attention, conv};
use super::super::ops::{Bias, Kernels, Packed};
use super::conv::{Conv, Convolution, Mode, Pack, Sizes};
use super::flash;
use super::launch::{launch, output};
use super::matmul::{self, Form, Matmul, Product};
use super::norm::Operation;
use super::software;
use super::sweep::{each, gated, group_rows, layer_rows, normalise};
use super::weight_gradient::WeightGradient;

/// A matrix in order, or the transpose of one.
struct Factor {
    tensor: CubeTensor,
    transposed: bool,
}

impl Factor {
    fn new(tensor: CubeTensor) -> Self {
        let [rows, columns] = tensor.shape().dims::<2>();
        let strides = tensor.meta.strides();
        let transposed = rows > 1 && columns > 1 && strides[0] == 1 && strides[1] == rows;
        let tensor = if transposed { tensor } else { into_contiguous(tensor) };
        Self { tensor, transposed }
    }
}

/// One product, or a batch of them: sizes and, from one of the batch to the next, elements of a, b
/// and y.
struct Batch {
    size: [usize; 3],
    count: usize,
    strides: [usize; 3],
}

/// What becomes of a product: `factor * product + bias + onto`.
struct Sum<'a> {
    factor: f32,
    bias: Option<(&'a CubeTensor, matmul::Bias)>,
    onto: Option<&'a CubeTensor>,
}

impl Sum<'_> {
    const PRODUCT: Self = Self { factor: 1.0, bias: None, onto: None };
}

fn product(
    form: Form,
    a: &CubeTensor,
    b: &CubeTensor,
    sum: &Sum<'_>,
    y: &CubeTensor,
    batch: &Batch,
) {
    let [m, n, k] = batch.size.map(|size| size as u32);
    let bias = sum.bias.map_or(matmul::Bias::None, |(_, kind)| kind);
    let product = Product { form, bias, residual: sum.onto.is_some() };
    let kernel = Matmul::choose(product, [m, n, k], software());
    let [of_a, of_b, of_y] = batch.strides.map(|stride| stride as u32);
    let sizes = [m, n, k, of_a, of_b, of_y, sum.factor.to_bits()];
    let mut inputs = vec![a, b];
    inputs.extend(sum.bias.map(|(bias, _)| bias));
    inputs.extend(sum.onto);
    launch(kernel, &inputs, &[y], &sizes, kernel.grid(m, n, batch.count as u32));
}

/// `a [m, k]`, `b [k, n]` as they lie.
fn multiply(a: CubeTensor, b: CubeTensor, sum: &Sum<'_>) -> CubeTensor {
    let ([m, k], [_, n]) = (a.shape().dims::<2>(), b.shape().dims::<2>());
    let (a, mut b) = (Factor::new(a), Factor::new(b));
    if a.transposed && b.transposed {
        // No kernel has both turned; it doesn't happen but in tests.
        b = Factor { tensor: into_contiguous(b.tensor), transposed: false };
    }
    let form = match (a.transposed, b.transposed) {
        (false, true) => Form::Nt,
        (false, false) => Form::Nn,
        (true, _) => Form::Tn,
    };
    let y = output(&a.tensor, [m, n]);
    let batch = Batch { size: [m, n, k], count: 1, strides: [0; 3] };
    product(form, &a.tensor, &b.tensor, sum, &y, &batch);
    y
}

fn bias(bias: Bias<Cube>) -> Option<CubeTensor> {
    match bias {
        Bias::Absent => None,
        Bias::Each(tensor) => Some(into_contiguous(tensor)),
    }
}

/// Sizes of a convolution that is a product for each picture.
fn is_point(shape: conv::Shape) -> bool {
    shape.kernel == [1, 1] && shape.stride == 1 && shape.before == [0; 2] && shape.after == [0; 2]
}

fn has_kernel(shape: conv::Shape) -> bool {
    let small = |padding: [usize; 2]| padding.iter().all(|padding| *padding <= 1);
    shape.kernel == [3, 3]
        && (1..=2).contains(&shape.stride)
        && small(shape.before)
        && small(shape.after)
}

fn options(shape: conv::Shape) -> ConvOptions<2> {
    let mut options = ConvOptions::new([shape.stride; 2], [0, 0], [1, 1], 1);
    options.padding = [0, 1].map(|i| (shape.before[i], shape.after[i]));
    options
}

/// The convolution kernel's view of a shape: of the output, or of the input's gradient.
fn sizes(shape: conv::Shape, gradient: bool) -> Sizes {
    let small = |size: [usize; 2]| size.map(|length| length as u32);
    let inner = (shape.input as u32, small(shape.size));
    let outer = (shape.output as u32, small(shape.out()));
    let ((x_channels, x), (y_channels, y)) = if gradient { (outer, inner) } else { (inner, outer) };
    Sizes { n: shape.n as u32, x_channels, x, y_channels, y }
}

fn convolve(
    mode: Mode,
    x: &CubeTensor,
    packed: &CubeTensor,
    bias: Option<&CubeTensor>,
    shape: conv::Shape,
) -> CubeTensor {
    let convolution = Convolution {
        mode,
        stride: shape.stride as u32,
        before: shape.before.map(|padding| padding as u32),
        bias: bias.is_some(),
        residual: false,
    };
    let sizes = sizes(shape, mode == Mode::Gradient);
    let Sizes { n, y_channels, y: [h, w], .. } = sizes;
    let y = output(x, [n, y_channels, h, w].map(|size| size as usize));
    let kernel = Conv::choose(convolution, &sizes, software());
    let mut inputs = vec![x, packed];
    inputs.extend(bias);
    launch(kernel, &inputs, &[&y], &sizes.info(false), kernel.grid(&sizes));
    y
}

/// `[parts, out, in, 3, 3]`, to be added up.
fn weight_gradient(x: &CubeTensor, g: &CubeTensor, shape: conv::Shape) -> CubeTensor {
    let sizes = sizes(shape, false);
    let before = shape.before.map(|padding| padding as u32);
    let kernel = WeightGradient::choose(shape.stride as u32, before, &sizes, software());
    let parts = kernel.parts(&sizes, software());
    let y = output(x, [parts[0] as usize, shape.output, shape.input, 3, 3]);
    launch(kernel, &[x, g], &[&y], &kernel.info(&sizes, parts), kernel.grid(&sizes, parts));
    y
}

fn pack(weight: &CubeTensor, gradient: bool) -> CubeTensor {
    let [out, input, kh, kw] = weight.shape().dims::<4>();
    let (a, b) = if gradient { (out, input) } else { (input, out) };
    let padded = b.next_multiple_of(4);
    let packed = output(weight, [a, kh, kw, padded]);
    let [a, b, padded] = [a, b, padded].map(|size| size as u32);
    launch(Pack, &[weight], &[&packed], &[a, b, padded, u32::from(gradient)], Pack.grid(a, padded));
    packed
}

/// The products of a convolution of size 1: `a [out, in]` or its transpose times each picture's
/// `[channels, pixels]`.
fn point(
    form: Form,
    x: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    [m, k]: [usize; 2],
    shape: conv::Shape,
) -> CubeTensor {
    let [h, w] = shape.size;
    let y = output(x, [shape.n, m, h, w]);
    let batch = Batch { size: [m, h * w, k], count: shape.n, strides: [0, k * h * w, m * h * w] };
    let bias = bias.map(|bias| (bias, matmul::Bias::Rows));
    product(form, weight, x, &Sum { bias, ..Sum::PRODUCT }, &y, &batch);
    y
}

impl Kernels for Cube {
    fn kernel_linear(x: CubeTensor, weight: CubeTensor, bias: Bias<Self>) -> CubeTensor {
        let bias = self::bias(bias);
        let bias = bias.as_ref().map(|bias| (bias, matmul::Bias::Columns));
        multiply(x, Self::float_transpose(weight), &Sum { bias, ..Sum::PRODUCT })
    }

    fn kernel_linear_onto(
        y: CubeTensor,
        x: CubeTensor,
        weight: CubeTensor,
        factor: f32,
    ) -> CubeTensor {
        let sum = Sum { factor, bias: None, onto: Some(&into_contiguous(y)) };
        multiply(x, Self::float_transpose(weight), &sum)
    }

    fn kernel_product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
        multiply(a, b, &Sum::PRODUCT)
    }

    fn kernel_conv2d(
        x: CubeTensor,
        weight: CubeTensor,
        packed: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> CubeTensor {
        let (x, bias) = (into_contiguous(x), self::bias(bias));
        if is_point(shape) {
            let size = [shape.output, shape.input];
            return point(Form::Nn, &x, &into_contiguous(weight), bias.as_ref(), size, shape);
        }
        if !has_kernel(shape) {
            return Self::conv2d(x, weight, bias, options(shape));
        }
        let packed = match packed {
            Packed::Absent => pack(&into_contiguous(weight), false),
            Packed::One(packed) | Packed::Both(packed, _) => packed,
        };
        convolve(Mode::Forward, &x, &packed, bias.as_ref(), shape)
    }

    fn kernel_conv2d_pack(weight: CubeTensor, gradient: bool) -> CubeTensor {
        pack(&into_contiguous(weight), gradient)
    }

    fn kernel_conv2d_input_gradient(
        g: CubeTensor,
        weight: CubeTensor,
        packed: Packed<Self>,
        shape: conv::Shape,
    ) -> CubeTensor {
        let g = into_contiguous(g);
        if is_point(shape) {
            let size = [shape.input, shape.output];
            return point(Form::Tn, &g, &into_contiguous(weight), None, size, shape);
        }
        if !has_kernel(shape) {
            let x = output(&g, [shape.n, shape.input, shape.size[0], shape.size[1]]);
            return Self::conv2d_x_backward(x, weight, g, options(shape));
        }
        let packed = match packed {
            Packed::Absent => pack(&into_contiguous(weight), true),
            Packed::One(packed) | Packed::Both(_, packed) => packed,
        };
        convolve(Mode::Gradient, &g, &packed, None, shape)
    }

    fn kernel_conv2d_weight_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        g: CubeTensor,
        shape: conv::Shape,
    ) -> CubeTensor {
        if !is_point(shape) && !has_kernel(shape) {
            return Self::conv2d_weight_backward(x, weight, g, options(shape));
        }
        let (x, g) = (into_contiguous(x), into_contiguous(g));
        if has_kernel(shape) {
            let parts = weight_gradient(&x, &g, shape);
            let size = [shape.output, shape.input, 3, 3];
            return Self::float_reshape(Self::float_sum_dim(parts, 0), size.into());
        }
        let (m, n, pixels) = (shape.output, shape.input, shape.size[0] * shape.size[1]);
        let each = output(&x, [shape.n, m, n]);
        let strides = [m * pixels, n * pixels, m * n];
        let batch = Batch { size: [m, n, pixels], count: shape.n, strides };
        product(Form::Nt, &g, &x, &Sum::PRODUCT, &each, &batch);
        Self::float_reshape(Self::float_sum_dim(each, 0), [m, n, 1, 1].into())
    }

    fn kernel_attention(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        shape: attention::Shape,
    ) -> (CubeTensor, CubeTensor) {
        let [q, k, v] = [q, k, v].map(into_contiguous);
        flash::attention(&q, &k, &v, shape)
    }

    fn kernel_attention_gradients(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        o: CubeTensor,
        kept: CubeTensor,
        g: CubeTensor,
        shape: attention::Shape,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [q, k, v, o, g] = [q, k, v, o, g].map(into_contiguous);
        flash::gradients([&q, &k, &v], &o, &kept, &g, shape)
    }

    fn kernel_group_norm(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        shape: Groups,
    ) -> CubeTensor {
        let tensors = [x, weight, bias].map(into_contiguous);
        normalise(&tensors, &group_rows(&tensors[0], shape), shape.silu, false, shape.epsilon)
    }

    fn kernel_group_norm_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        g: CubeTensor,
        shape: Groups,
    ) -> CubeTensor {
        let mut tensors = vec![x, g, weight];
        // Only SiLU's slope depends on the bias.
        tensors.extend(shape.silu.then_some(bias));
        let tensors: Vec<_> = tensors.into_iter().map(into_contiguous).collect();
        normalise(&tensors, &group_rows(&tensors[0], shape), shape.silu, true, shape.epsilon)
    }

    fn kernel_layer_norm(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        epsilon: f32,
    ) -> CubeTensor {
        let tensors = [x, weight, bias].map(into_contiguous);
        normalise(&tensors, &layer_rows(&tensors[0]), false, false, epsilon)
    }

    fn kernel_layer_norm_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        g: CubeTensor,
        epsilon: f32,
    ) -> CubeTensor {
        let tensors = [x, g, weight].map(into_contiguous);
        normalise(&tensors, &layer_rows(&tensors[0]), false, true, epsilon)
    }

    fn kernel_silu(x: CubeTensor) -> CubeTensor {
        each(Operation::Silu, &[into_contiguous(x)])
    }

    fn kernel_silu_gradient(x: CubeTensor, g: CubeTensor) -> CubeTensor {
        each(Operation::SiluGradient, &[x, g].map(into_contiguous))
    }

    fn kernel_geglu(x: CubeTensor) -> CubeTensor {
        gated(Operation::Geglu, &[into_contiguous(x)])
    }

    fn kernel_geglu_gradient(x: CubeTensor, g: CubeTensor) -> CubeTensor {
        gated(Operation::GegluGradient, &[x, g].map(into_contiguous))
    }
}

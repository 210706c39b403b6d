//! The few operations in which the time goes, as kernels of our own. Each function here has a twin
//! in [`crate::layers`] that is made of burn's operations, says what it computes, and is what runs
//! where a backend has no kernel: [`serve`] tells.
//!
//! - [`cpu`]: for the CPU backend in the browser, whose own products reach a third of what 128-bit
//!   SIMD can do. Native builds have wider vectors and burn's threads, and keep burn's.
//! - [`gpu`]: for WebGPU.

use std::cell::Cell;

use burn::backend::{Dispatch, DispatchDevice, DispatchTensor};
use burn::tensor::{DType, Device, Tensor};

mod autodiff;
mod blocks;
mod constant;
pub mod cpu;
mod flex;
pub mod gpu;
mod ops;
mod own;
mod slices;
mod steps;
mod stored;
mod tape;

use cpu::norm::Groups;
use cpu::{attention as attend, conv};
use ops::{Bias, Kernels, Packed};
pub use own::{OwnBuffers, own_buffers};
pub use stored::{
    Blocks, PackedWeight, conv2d_blocks, conv2d_enlarged_packed, conv2d_packed, keep_packed,
    linear_blocks, read_blocks, read_halves, serve_constant, widen,
};
pub use tape::{Kept, keep, recall};

/// Which kernels run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Those that are faster than burn's here.
    Best,
    /// All that there are.
    All,
    /// None: burn's operations only.
    None,
}

/// What has a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`linear`].
    Linear,
    /// [`conv2d`].
    Conv2d,
    /// [`attention`].
    Attention,
    /// [`group_norm`].
    GroupNorm,
    /// [`layer_norm`].
    LayerNorm,
    /// [`silu`].
    Silu,
    /// [`geglu`].
    Geglu,
    /// [`conv2d_enlarged`].
    Enlarged,
    /// Reading weights in halves, whatever is computed with them.
    Halves,
}

impl Operation {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Conv2d => "convolution",
            Self::Attention => "attention",
            Self::GroupNorm => "group norm",
            Self::LayerNorm => "layer norm",
            Self::Silu => "SiLU",
            Self::Geglu => "GEGLU",
            Self::Enlarged => "enlarging convolution",
            Self::Halves => "half-precision weights",
        }
    }
}

thread_local! {
    static FORBIDDEN: Cell<u16> = const { Cell::new(0) };
    static CHOICE: Cell<Choice> = const { Cell::new(Choice::Best) };
}

/// Chooses the kernels of this thread. Results differ by rounding.
pub fn choose(choice: Choice) {
    CHOICE.set(choice);
}

/// Takes an operation's kernel out of use on this thread: its twin does the work.
pub fn forbid(operation: Operation) {
    FORBIDDEN.set(FORBIDDEN.get() | 1 << operation as u8);
}

/// Whether kernels run on this device at all.
pub fn run_on(device: &Device) -> bool {
    // Native GPU backends have compilers and autotuning of their own.
    wanted() && (is_cpu(device) || cfg!(target_arch = "wasm32"))
}

fn wanted() -> bool {
    match CHOICE.get() {
        Choice::Best => cfg!(target_arch = "wasm32"),
        Choice::All => true,
        Choice::None => false,
    }
}

/// Whether our arithmetic does an operation on the CPU, or burn's.
fn ours(operation: Operation) -> bool {
    allowed(operation) && wanted()
}

/// Frees the memory that kernels keep from one call to the next, some tens of MB at most.
pub fn release_scratch() {
    conv::release_scratch();
    cpu::threads::release_scratch();
}

/// Whether a device is the CPU backend.
pub fn is_cpu(device: &Device) -> bool {
    // A device with autodiff is another variant, whatever it computes on.
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the operation's kernel works on this tensor: where it does, its function of this module
/// may be called with it.
pub fn serve<const D: usize>(operation: Operation, x: &Tensor<D>) -> bool {
    allowed(operation) && x.dtype() == DType::F32 && run_on(&x.device())
}

fn allowed(operation: Operation) -> bool {
    FORBIDDEN.get() & 1 << operation as u8 == 0
}

/// Whether a tensor is on the CPU backend.
pub fn on_cpu<const D: usize>(x: &Tensor<D>) -> bool {
    is_cpu(&x.device())
}

/// Whether [`attention`] works on heads of this width: a GPU's registers don't hold wider ones, which
/// only autoencoders have.
pub fn serve_attention<const D: usize>(q: &Tensor<D>, width: usize) -> bool {
    serve(Operation::Attention, q) && (on_cpu(q) || (width.is_multiple_of(4) && width <= 160))
}

/// `x [.., in]`, `weight [out, in]`, `bias [out] -> x weight^T + bias [.., out]`. The bias has no
/// gradient. A weight in halves, which has none either, is for where [`read_halves`] says so.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    dims[D - 1] = weight.dims()[0];
    let y = Dispatch::kernel_linear(rows(x), weight.into_dispatch(), Bias::from(bias));
    Tensor::<2>::from_dispatch(y).reshape(dims)
}

/// `[.., width]` as a matrix.
fn rows<const D: usize>(tensor: Tensor<D>) -> DispatchTensor {
    let width = tensor.dims()[D - 1];
    let count = tensor.dims().iter().product::<usize>() / width;
    tensor.reshape([count, width]).into_dispatch()
}

/// `y [.., out]`, `x [.., in]`, `weight [out, in] -> y + factor * x weight^T`.
pub fn linear_onto<const D: usize>(
    y: Tensor<D>,
    x: Tensor<D>,
    weight: Tensor<2>,
    factor: f32,
) -> Tensor<D> {
    let dims = y.dims();
    let sum = Dispatch::kernel_linear_onto(rows(y), rows(x), weight.into_dispatch(), factor);
    Tensor::<2>::from_dispatch(sum).reshape(dims)
}

/// As [`linear`], with an adapter of low rank: `hidden [.., rank]`, `up [out, rank] -> x weight^T + bias +
/// factor * hidden up^T`.
pub fn linear_adapted<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    hidden: Tensor<D>,
    up: Tensor<2>,
    factor: f32,
) -> Tensor<D> {
    let mut dims = x.dims();
    dims[D - 1] = weight.dims()[0];
    let (weight, up) = (weight.into_dispatch(), up.into_dispatch());
    let (x, hidden, bias) = (rows(x), rows(hidden), Bias::from(bias));
    let y = Dispatch::kernel_linear_adapted(x, weight, bias, hidden, up, factor);
    Tensor::<2>::from_dispatch(y).reshape(dims)
}

/// `x [n, in, h, w]`, `weight [out, in, kh, kw]`, `bias [out] -> [n, out, h', w']`. The bias has no
/// gradient. A weight in halves, which has no gradient, is for where [`read_halves`] says so.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: (usize, usize),
) -> Tensor<4> {
    let shape = conv_shape(&x, weight.dims(), stride, padding);
    convolve(x, weight, Packed::Absent, bias, shape)
}

fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    packed: Packed<Dispatch>,
    bias: Option<Tensor<1>>,
    shape: conv::Shape,
) -> Tensor<4> {
    let all = (x.into_dispatch(), weight.into_dispatch(), packed);
    let compute =
        |(x, weight, packed)| Dispatch::kernel_conv2d(x, weight, packed, Bias::from(bias), shape);
    if shape.kernel == [1, 1] {
        // Cheap for its size.
        return Tensor::from_dispatch(compute(all));
    }
    let y = tape::convolution(all, compute, |(x, weight, packed), y| {
        Dispatch::kernel_conv2d_known(x, weight, packed, y, shape)
    });
    Tensor::from_dispatch(y)
}

/// As [`conv2d`] with a weight of size 3 x 3, stride 1 and padding 1, of `x [n, in, h, w]` enlarged to
/// twice its height and width (nearest): `[n, out, 2 h, 2 w]`. The weight has no gradient.
pub fn conv2d_enlarged(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let output = weight.dims()[0];
    enlarged(x, weight, Packed::Absent, bias, output)
}

fn enlarged(
    x: Tensor<4>,
    weight: Tensor<4>,
    packed: Packed<Dispatch>,
    bias: Option<Tensor<1>>,
    output: usize,
) -> Tensor<4> {
    let shape = conv_shape(&x, [output, x.dims()[1], 3, 3], 1, (1, 1));
    let shape = conv::Shape { size: shape.size.map(|length| 2 * length), ..shape };
    let y = tape::convolution(
        (x.into_dispatch(), weight.into_dispatch(), packed),
        |(x, weight, packed)| {
            Dispatch::kernel_conv2d_enlarged(x, weight, packed, Bias::from(bias), shape)
        },
        |(x, weight, packed), y| {
            Dispatch::kernel_conv2d_enlarged_known(x, weight, packed, y, shape)
        },
    );
    Tensor::from_dispatch(y)
}

/// Of `x [n, in, h, w]` and a weight `[out, in, kh, kw]`.
fn conv_shape(
    x: &Tensor<4>,
    [output, input, kh, kw]: [usize; 4],
    stride: usize,
    (before, after): (usize, usize),
) -> conv::Shape {
    let [n, _, h, w] = x.dims();
    conv::Shape {
        n,
        input,
        output,
        size: [h, w],
        kernel: [kh, kw],
        stride,
        before: [before; 2],
        after: [after; 2],
    }
}

impl From<Option<Tensor<1>>> for Bias<Dispatch> {
    fn from(bias: Option<Tensor<1>>) -> Self {
        bias.map_or(Self::Absent, |bias| Self::Each(bias.into_dispatch()))
    }
}

/// As [`crate::layers::attention`].
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
) -> Tensor<3> {
    let ([n, queries, row], [_, keys, _]) = (q.dims(), k.dims());
    let (width, statistics) = (row / heads, tape::keeps());
    let shape = attend::Shape { n, queries, keys, heads, width, causal, statistics };
    let output = tape::attention(
        [q, k, v].map(Tensor::into_dispatch),
        |[q, k, v]| Dispatch::kernel_attention(q, k, v, shape),
        |[q, k, v], output, kept| Dispatch::kernel_attention_known(q, k, v, output, kept, shape),
    );
    Tensor::from_dispatch(output)
}

/// Group normalisation of `x [n, channels, h, w]`, SiLU after it where `silu` is set. `weight` and
/// `bias [channels]` have no gradients.
pub fn group_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Tensor<4> {
    let [_, channels, h, w] = x.dims();
    let shape = Groups { channels, groups, pixels: h * w, epsilon: epsilon as f32, silu };
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_group_norm(x.into_dispatch(), weight, bias, shape))
}

/// Layer normalisation of the last dimension. `weight` and `bias [width]` have no gradients.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let y = Dispatch::kernel_layer_norm(x.into_dispatch(), weight, bias, epsilon as f32);
    Tensor::from_dispatch(y)
}

/// `x sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::kernel_silu(x.into_dispatch()))
}

/// `[.., 2 * width] -> [.., width]`: the first half times GELU of the second.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::kernel_geglu(x.into_dispatch()))
}

//! The operations that the kernels add to burn's backends, and their way through `Dispatch`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};
use burn::tensor::ops::ConvOptions;

use super::cpu::norm::Groups;
use super::cpu::{attention, conv};

/// A bias, where there is one.
#[derive(Debug, ExtensionType)]
pub enum Bias<B: Backend> {
    /// None.
    Absent,
    /// `[out]`.
    Each(FloatTensor<B>),
}

/// A convolution's weight in the order in which the GPU reads it in a forward pass, where it was kept.
/// The order for the input's gradient is made for each use: kept, it would double the weights' memory.
#[derive(Debug, ExtensionType)]
pub enum Packed<B: Backend> {
    /// It was not, or the backend has no use for it.
    Absent,
    /// As it was packed.
    Kept(FloatTensor<B>),
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Packed<B> {
    fn from(packed: Option<FloatTensor<B>>) -> Self {
        packed.map_or(Self::Absent, Self::Kept)
    }
}

/// What a backend with kernels can do. All tensors are f32; the functions of [`super`] see to that.
/// Only weights that aren't trained may also be halves, or in [`blocks`](super::blocks). Biases and the weights
/// of norms are never trained here: they have no gradients.
#[backend_extension(Flex, Cube: cfg(target_arch = "wasm32"), Autodiff)]
pub trait Kernels: Backend {
    /// `x [rows, in]`, `weight [out, in] -> x weight^T + bias [rows, out]`.
    fn kernel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
    ) -> FloatTensor<Self>;

    /// `y [rows, out]`, `x [rows, in]`, `weight [out, in] -> y + factor * x weight^T`.
    fn kernel_linear_onto(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self>;

    /// `x [rows, in]`, `weight [out, in]`, `hidden [rows, rank]`, `up [out, rank] -> x weight^T + bias +
    /// factor * hidden up^T`: a linear layer with an adapter of low rank.
    fn kernel_linear_adapted(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        hidden: FloatTensor<Self>,
        up: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        Self::kernel_linear_onto(Self::kernel_linear(x, weight, bias), hidden, up, factor)
    }

    /// `a [m, k]`, `b [k, n] -> [m, n]`.
    fn kernel_product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// A constant weight in halves, in f32.
    fn kernel_widen(weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `[out, in * taps]` in f32 from [`blocks`](super::blocks) of a weight of that size.
    fn kernel_widen_blocks(words: IntTensor<Self>, size: [usize; 3]) -> FloatTensor<Self>;

    /// As [`kernel_linear`](Self::kernel_linear), with a constant weight `[out, in]` in
    /// [`blocks`](super::blocks).
    fn kernel_linear_blocks(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        size: [usize; 2],
        #[extension_type] bias: Bias<Self>,
    ) -> FloatTensor<Self>;

    /// `a [m, k]`, b `[k, n]` in [`blocks`](super::blocks) `-> [m, n]`.
    fn kernel_product_blocks(
        a: FloatTensor<Self>,
        words: IntTensor<Self>,
        size: [usize; 2],
    ) -> FloatTensor<Self>;

    /// `x [n, in, h, w]`, `weight [out, in, kh, kw] -> [n, out, h', w']`. Where the weight is kept
    /// packed alone, it is the packed one once more, and not read.
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] packed: Packed<Self>,
        #[extension_type] bias: Bias<Self>,
        shape: conv::Shape,
    ) -> FloatTensor<Self>;

    /// As [`kernel_conv2d`](Self::kernel_conv2d) where its result `y` is known already.
    fn kernel_conv2d_known(
        _x: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        #[extension_type] _packed: Packed<Self>,
        y: FloatTensor<Self>,
        _shape: conv::Shape,
    ) -> FloatTensor<Self> {
        y
    }

    /// As [`kernel_conv2d`](Self::kernel_conv2d), or where x is `enlarged` first as
    /// [`kernel_conv2d_enlarged`](Self::kernel_conv2d_enlarged), with a constant weight in
    /// [`blocks`](super::blocks).
    fn kernel_conv2d_blocks(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> FloatTensor<Self>;

    /// The same where its result `y` is known already.
    fn kernel_conv2d_blocks_known(
        _x: FloatTensor<Self>,
        _words: IntTensor<Self>,
        y: FloatTensor<Self>,
        _shape: conv::Shape,
        _enlarged: bool,
    ) -> FloatTensor<Self> {
        y
    }

    /// `g [n, out, h', w'] -> [n, in, h, w]`, before what enlarging adds up.
    fn kernel_conv2d_blocks_input_gradient(
        g: FloatTensor<Self>,
        words: IntTensor<Self>,
        shape: conv::Shape,
    ) -> FloatTensor<Self>;

    /// From now on new tensors on x's device have buffers of their own, or those of its pool again:
    /// [`own_buffers`](super::own_buffers).
    fn kernel_own_buffers(x: FloatTensor<Self>, _own: bool) -> FloatTensor<Self> {
        x
    }

    /// The weight `[out, in, kh, kw]` in the backend's own order for the forward pass.
    fn kernel_conv2d_pack(weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// A weight `[out, in, 3, 3]` in f32 from halves that are packed for the forward pass.
    fn kernel_conv2d_unpack(packed: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    /// `g [n, out, h', w'] -> [n, in, h, w]`.
    fn kernel_conv2d_input_gradient(
        g: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] packed: Packed<Self>,
        shape: conv::Shape,
    ) -> FloatTensor<Self>;

    /// As [`kernel_conv2d`](Self::kernel_conv2d), of size 3 x 3, stride 1 and padding 1, of x enlarged
    /// to twice its height and width (nearest); the shape is that of the convolution, after enlarging.
    /// The weight has no gradient.
    fn kernel_conv2d_enlarged(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] packed: Packed<Self>,
        #[extension_type] bias: Bias<Self>,
        shape: conv::Shape,
    ) -> FloatTensor<Self>;

    /// The same where its result `y` is known already.
    fn kernel_conv2d_enlarged_known(
        _x: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        #[extension_type] _packed: Packed<Self>,
        y: FloatTensor<Self>,
        _shape: conv::Shape,
    ) -> FloatTensor<Self> {
        y
    }

    /// `[n, channels, 2 h, 2 w] -> [n, channels, h, w]`, the sum of each 2 x 2 pixels: the gradient of
    /// enlarging.
    fn kernel_sum_blocks(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x [n, in, h, w]`, `g [n, out, h', w'] -> [out, in, kh, kw]`, `weight`'s shape.
    fn kernel_conv2d_weight_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: conv::Shape,
    ) -> FloatTensor<Self>;

    /// `q [n, queries, heads * width]`, `k`, `v [n, keys, ..]`: the output, like q, and what the
    /// backend wants to have for the gradients.
    fn kernel_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: attention::Shape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The output, where all that [`kernel_attention`](Self::kernel_attention) gives is known already.
    fn kernel_attention_known(
        _q: FloatTensor<Self>,
        _k: FloatTensor<Self>,
        _v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        _kept: FloatTensor<Self>,
        _shape: attention::Shape,
    ) -> FloatTensor<Self> {
        output
    }

    /// The gradients of q, k and v, from what [`kernel_attention`](Self::kernel_attention) gave.
    fn kernel_attention_gradients(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: attention::Shape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `x [n, channels, h, w]`, `weight` and `bias [channels]`.
    fn kernel_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Groups,
    ) -> FloatTensor<Self>;

    /// The gradient of x.
    fn kernel_group_norm_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: Groups,
    ) -> FloatTensor<Self>;

    /// `x [.., width]`, `weight` and `bias [width]`.
    fn kernel_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// The gradient of x.
    fn kernel_layer_norm_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        g: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// `x sigmoid(x)`.
    fn kernel_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of x.
    fn kernel_silu_gradient(x: FloatTensor<Self>, g: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x [.., 2 * width] -> [.., width]`.
    fn kernel_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of x.
    fn kernel_geglu_gradient(x: FloatTensor<Self>, g: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What burn's convolutions ask for.
pub(super) fn conv_options(shape: conv::Shape) -> ConvOptions<2> {
    let mut options = ConvOptions::new([shape.stride; 2], [0, 0], [1, 1], 1);
    options.padding = [0, 1].map(|i| (shape.before[i], shape.after[i]));
    options
}

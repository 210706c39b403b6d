//! burn's WebGPU tensors on their way to the kernels.

use burn::backend::ops::{FloatTensorOps, ModuleOps};
use burn::backend::wgpu::{CubeTensor, into_contiguous};
use burn::backend::{Cube, TensorMetadata};
use cubecl::MemoryAllocationMode;

use super::super::cpu::norm::Groups;
use super::super::cpu::{attention, conv};
use super::super::ops::{Bias, Kernels, Packed, conv_options};
use super::conv::Mode;
use super::convolve::{
    convolve, has_kernel, is_point, pack, point, turn, unpack, weight_gradient, widen,
};
use super::flash;
use super::launch::{output, submit_by_bytes};
use super::matmul::{self, Form};
use super::norm::Operation;
use super::product::{Batch, Sum, is_narrow, linear, multiply, narrow, product};
use super::sweep::{each, gated, group_rows, layer_rows, normalise, sum_blocks};

fn bias(bias: Bias<Cube>) -> Option<CubeTensor> {
    match bias {
        Bias::Absent => None,
        Bias::Each(tensor) => Some(into_contiguous(tensor)),
    }
}

/// In f32, as burn's operations want it.
fn whole(weight: CubeTensor) -> CubeTensor {
    if is_narrow(&weight) { widen(&weight, &weight.shape()) } else { weight }
}

/// A convolution's weight in f32, from 8-bit blocks.
fn blocks(words: &CubeTensor, shape: conv::Shape) -> CubeTensor {
    let [out, input, kh, kw] = shape.weight();
    let weight = Cube::kernel_widen_blocks(words.clone(), [out, input, kh * kw]);
    Cube::float_reshape(weight, shape.weight().into())
}

impl Kernels for Cube {
    fn kernel_linear(x: CubeTensor, weight: CubeTensor, bias: Bias<Self>) -> CubeTensor {
        let bias = self::bias(bias);
        let bias = bias.as_ref().map(|bias| (bias, matmul::Bias::Columns));
        linear(x, weight, &Sum { bias, ..Sum::PRODUCT })
    }

    fn kernel_linear_adapted(
        x: CubeTensor,
        weight: CubeTensor,
        bias: Bias<Self>,
        hidden: CubeTensor,
        up: CubeTensor,
        factor: f32,
    ) -> CubeTensor {
        let bias = self::bias(bias);
        let bias = bias.as_ref().map(|bias| (bias, matmul::Bias::Columns));
        let [hidden, up] = [hidden, Self::float_transpose(up)].map(into_contiguous);
        linear(x, weight, &Sum { factor, bias, onto: None, low_rank: Some([&hidden, &up]) })
    }

    fn kernel_linear_onto(
        y: CubeTensor,
        x: CubeTensor,
        weight: CubeTensor,
        factor: f32,
    ) -> CubeTensor {
        let sum = Sum { factor, onto: Some(&into_contiguous(y)), ..Sum::PRODUCT };
        linear(x, weight, &sum)
    }

    fn kernel_product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
        multiply(a, b, &Sum::PRODUCT)
    }

    fn kernel_widen(weight: CubeTensor) -> CubeTensor {
        widen(&weight, &weight.shape())
    }

    fn kernel_widen_blocks(words: CubeTensor, [out, input, taps]: [usize; 3]) -> CubeTensor {
        if taps == 1 {
            return widen(&words, &[out, input]);
        }
        Self::float_reshape(unpack(&words, [out, input]), [out, taps * input].into())
    }

    fn kernel_linear_blocks(
        x: CubeTensor,
        words: CubeTensor,
        [n, k]: [usize; 2],
        bias: Bias<Self>,
    ) -> CubeTensor {
        let bias = self::bias(bias);
        let bias = bias.as_ref().map(|bias| (bias, matmul::Bias::Columns));
        let m = x.shape()[0];
        narrow(Form::Nt, x, &words, &Sum { bias, ..Sum::PRODUCT }, [m, n, k])
    }

    fn kernel_product_blocks(a: CubeTensor, words: CubeTensor, [k, n]: [usize; 2]) -> CubeTensor {
        let m = a.shape()[0];
        narrow(Form::Nn, a, &words, &Sum::PRODUCT, [m, n, k])
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
            return Self::conv2d(x, whole(weight), bias, conv_options(shape));
        }
        let packed = match packed {
            Packed::Absent => pack(&into_contiguous(weight), false),
            Packed::Kept(packed) => packed,
        };
        convolve(Mode::Forward, &x, &packed, bias.as_ref(), shape)
    }

    fn kernel_conv2d_blocks(
        x: CubeTensor,
        words: CubeTensor,
        bias: Bias<Self>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> CubeTensor {
        let (x, bias, size) = (into_contiguous(x), self::bias(bias), [shape.output, shape.input]);
        if is_point(shape) {
            return point(Form::Nn, &x, &words, bias.as_ref(), size, shape);
        }
        if !has_kernel(shape) {
            return Self::conv2d(x, blocks(&words, shape), bias, conv_options(shape));
        }
        let mode = if enlarged { Mode::Upsample } else { Mode::Forward };
        convolve(mode, &x, &words, bias.as_ref(), shape)
    }

    fn kernel_conv2d_blocks_input_gradient(
        g: CubeTensor,
        words: CubeTensor,
        shape: conv::Shape,
    ) -> CubeTensor {
        let (g, size) = (into_contiguous(g), [shape.output, shape.input]);
        if is_point(shape) {
            return point(Form::Tn, &g, &words, None, [shape.input, shape.output], shape);
        }
        if !has_kernel(shape) {
            let x = output(&g, [shape.n, shape.input, shape.size[0], shape.size[1]]);
            let weight = blocks(&words, shape);
            return Self::conv2d_x_backward(x, weight, g, conv_options(shape));
        }
        // For this once: a second order that stays would take more than the blocks do.
        convolve(Mode::Gradient, &g, &turn(&words, size), None, shape)
    }

    fn kernel_own_buffers(x: CubeTensor, own: bool) -> CubeTensor {
        let mode = if own { MemoryAllocationMode::Dedicated } else { MemoryAllocationMode::Auto };
        // SAFETY: one thread has the device, and what is opened is closed ([`super::super::OwnBuffers`]).
        unsafe { x.client.allocation_mode(mode) };
        submit_by_bytes(own);
        x
    }

    fn kernel_conv2d_pack(weight: CubeTensor) -> CubeTensor {
        pack(&into_contiguous(weight), false)
    }

    fn kernel_conv2d_unpack(packed: CubeTensor, size: [usize; 2]) -> CubeTensor {
        unpack(&packed, size)
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
            return Self::conv2d_x_backward(x, whole(weight), g, conv_options(shape));
        }
        let packed = match packed {
            Packed::Kept(packed) => turn(&packed, [shape.output, shape.input]),
            Packed::Absent => pack(&into_contiguous(weight), true),
        };
        convolve(Mode::Gradient, &g, &packed, None, shape)
    }

    fn kernel_conv2d_enlarged(
        x: CubeTensor,
        weight: CubeTensor,
        packed: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> CubeTensor {
        let (x, bias) = (into_contiguous(x), self::bias(bias));
        let packed = match packed {
            Packed::Absent => pack(&into_contiguous(weight), false),
            Packed::Kept(packed) => packed,
        };
        convolve(Mode::Upsample, &x, &packed, bias.as_ref(), shape)
    }

    fn kernel_sum_blocks(x: CubeTensor) -> CubeTensor {
        sum_blocks(&into_contiguous(x))
    }

    fn kernel_conv2d_weight_gradient(
        x: CubeTensor,
        weight: CubeTensor,
        g: CubeTensor,
        shape: conv::Shape,
    ) -> CubeTensor {
        if !is_point(shape) && !has_kernel(shape) {
            return Self::conv2d_weight_backward(x, weight, g, conv_options(shape));
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

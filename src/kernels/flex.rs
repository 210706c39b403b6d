//! The CPU backend's side: burn-flex's tensors as slices for the kernels of [`super::cpu`].

use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::FloatDType;

use super::constant::Constant;
use super::cpu::gemm::{Start, multiply};
use super::cpu::norm::{self, Groups};
use super::cpu::pack::Matrix;
use super::cpu::weights::Weights;
use super::cpu::{attention, attention_gradients, conv};
use super::ops::{Bias, Kernels, Packed};
use super::slices::{Dense, bias, matrix, tensor, view};

impl Kernels for Flex {
    fn kernel_linear(x: FlexTensor, weight: FlexTensor, bias: Bias<Self>) -> FlexTensor {
        if let Some(weight) = Constant::halves(&weight) {
            return weight.linear(x, self::bias(bias));
        }
        let (x, weight, bias) = (matrix(x), matrix(weight), self::bias(bias));
        let ([m, k], [n, _]) = (x.shape().dims::<2>(), weight.shape().dims::<2>());
        let transposed = view(&weight);
        let transposed = Matrix { row: transposed.column, column: transposed.row, ..transposed };
        let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Columns(bias.values()));
        let mut y = vec![0.0; m * n];
        multiply([m, n, k], view(&x), &transposed, &mut y, n, start);
        tensor(y, [m, n])
    }

    fn kernel_linear_onto(
        y: FlexTensor,
        x: FlexTensor,
        weight: FlexTensor,
        factor: f32,
    ) -> FlexTensor {
        let weight = matrix(weight);
        let ([m, k], [n, _]) = (x.shape().dims::<2>(), weight.shape().dims::<2>());
        let x: Vec<f32> = Dense::new(x).values().iter().map(|x| x * factor).collect();
        let a = Matrix { data: &x, row: k, column: 1 };
        let b = view(&weight);
        let transposed = Matrix { row: b.column, column: b.row, ..b };
        let mut y = Dense::new(y);
        multiply([m, n, k], a, &transposed, y.values_mut(), n, Start::Given);
        y.0
    }

    fn kernel_product(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        if let Some(weight) = Constant::halves(&b) {
            return weight.product(a);
        }
        let (a, b) = (matrix(a), matrix(b));
        let ([m, k], [_, n]) = (a.shape().dims::<2>(), b.shape().dims::<2>());
        // A tall left side whose rows don't lie side by side, such as the gradient in a weight of low
        // rank has: as the right side of the transposed product, lines of it are packed as they lie.
        if n < m && view(&a).column != 1 {
            let product = Self::kernel_product(Self::float_transpose(b), Self::float_transpose(a));
            return Self::float_transpose(product);
        }
        let mut y = vec![0.0; m * n];
        multiply([m, n, k], view(&a), &view(&b), &mut y, n, Start::Zero);
        tensor(y, [m, n])
    }

    fn kernel_widen(weight: FlexTensor) -> FlexTensor {
        Self::float_cast(weight, FloatDType::F32)
    }

    fn kernel_widen_blocks(words: FlexTensor, [out, input, taps]: [usize; 3]) -> FlexTensor {
        Constant::blocks(words, [out, input * taps]).widened()
    }

    fn kernel_linear_blocks(
        x: FlexTensor,
        words: FlexTensor,
        size: [usize; 2],
        bias: Bias<Self>,
    ) -> FlexTensor {
        Constant::blocks(words, size).linear(x, self::bias(bias))
    }

    fn kernel_product_blocks(a: FlexTensor, words: FlexTensor, size: [usize; 2]) -> FlexTensor {
        Constant::blocks(words, size).product(a)
    }

    fn kernel_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        _: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> FlexTensor {
        if let Some(weight) = Constant::halves(&weight) {
            return weight.conv2d(x, self::bias(bias), shape, false);
        }
        let (x, weight, bias) = (Dense::new(x), Dense::new(weight), self::bias(bias));
        let weights = Weights::Full(weight.values());
        let y = conv::conv2d(x.values(), weights, bias.as_ref().map(Dense::values), shape);
        let [h, w] = shape.out();
        tensor(y, [shape.n, shape.output, h, w])
    }

    fn kernel_conv2d_blocks(
        x: FlexTensor,
        words: FlexTensor,
        bias: Bias<Self>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> FlexTensor {
        Constant::blocks(words, shape.weight()).conv2d(x, self::bias(bias), shape, enlarged)
    }

    fn kernel_conv2d_blocks_input_gradient(
        g: FlexTensor,
        words: FlexTensor,
        shape: conv::Shape,
    ) -> FlexTensor {
        Constant::blocks(words, shape.weight()).conv2d_input_gradient(g, shape)
    }

    // One order serves all passes: what is packed is the weight as it is.
    fn kernel_conv2d_pack(weight: FlexTensor) -> FlexTensor {
        weight
    }

    fn kernel_conv2d_unpack(packed: FlexTensor, _: [usize; 2]) -> FlexTensor {
        Self::kernel_widen(packed)
    }

    fn kernel_conv2d_input_gradient(
        g: FlexTensor,
        weight: FlexTensor,
        _: Packed<Self>,
        shape: conv::Shape,
    ) -> FlexTensor {
        if let Some(weight) = Constant::halves(&weight) {
            return weight.conv2d_input_gradient(g, shape);
        }
        let (g, weight) = (Dense::new(g), Dense::new(weight));
        let weights = Weights::Full(weight.values());
        let gradient = conv::conv2d_input_gradient(g.values(), weights, shape);
        tensor(gradient, [shape.n, shape.input, shape.size[0], shape.size[1]])
    }

    fn kernel_conv2d_enlarged(
        x: FlexTensor,
        weight: FlexTensor,
        _: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> FlexTensor {
        if let Some(weight) = Constant::halves(&weight) {
            return weight.conv2d(x, self::bias(bias), shape, true);
        }
        let (x, weight, bias) = (Dense::new(x), Dense::new(weight), self::bias(bias));
        let bias = bias.as_ref().map(Dense::values);
        let y = conv::conv2d_enlarged(x.values(), Weights::Full(weight.values()), bias, shape);
        let [h, w] = shape.out();
        tensor(y, [shape.n, shape.output, h, w])
    }

    fn kernel_sum_blocks(x: FlexTensor) -> FlexTensor {
        let [n, channels, h, w] = x.shape().dims::<4>();
        let x = Self::float_reshape(x, [n * channels, h / 2, 2, w / 2, 2].into());
        let sum = Self::float_sum_dim(Self::float_sum_dim(x, 4), 2);
        Self::float_reshape(sum, [n, channels, h / 2, w / 2].into())
    }

    fn kernel_conv2d_weight_gradient(
        x: FlexTensor,
        _: FlexTensor,
        g: FlexTensor,
        shape: conv::Shape,
    ) -> FlexTensor {
        let (x, g) = (Dense::new(x), Dense::new(g));
        let gradient = conv::conv2d_weight_gradient(x.values(), g.values(), shape);
        tensor(gradient, [shape.output, shape.input, shape.kernel[0], shape.kernel[1]])
    }

    fn kernel_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        shape: attention::Shape,
    ) -> (FlexTensor, FlexTensor) {
        let dims = q.shape();
        let [q, k, v] = [q, k, v].map(Dense::new);
        let [output, kept] = attention::attention(q.values(), k.values(), v.values(), shape);
        let size = [kept.len()];
        (tensor(output, dims), tensor(kept, size))
    }

    fn kernel_attention_gradients(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        output: FlexTensor,
        kept: FlexTensor,
        g: FlexTensor,
        shape: attention::Shape,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (queries, keys) = (q.shape(), k.shape());
        let all = [q, k, v, output, kept, g].map(Dense::new);
        let [q, k, v, output, logarithms, g] = all.each_ref().map(Dense::values);
        let passed = attention_gradients::Passed { q, k, v, output, logarithms, g };
        let [dq, dk, dv] = attention_gradients::attention_gradients(passed, shape);
        (tensor(dq, queries), tensor(dk, keys.clone()), tensor(dv, keys))
    }

    fn kernel_group_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shape: Groups,
    ) -> FlexTensor {
        let dims = x.shape();
        let [x, weight, bias] = [x, weight, bias].map(Dense::new);
        tensor(norm::group_norm(x.values(), weight.values(), bias.values(), shape), dims)
    }

    fn kernel_group_norm_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        g: FlexTensor,
        shape: Groups,
    ) -> FlexTensor {
        let ([x, weight, bias], mut g) = ([x, weight, bias].map(Dense::new), Dense::new(g));
        let (weight, bias) = (weight.values(), bias.values());
        norm::group_norm_gradient(x.values(), weight, bias, g.values_mut(), shape);
        g.0
    }

    fn kernel_layer_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
    ) -> FlexTensor {
        let dims = x.shape();
        let [x, weight, bias] = [x, weight, bias].map(Dense::new);
        tensor(norm::layer_norm(x.values(), weight.values(), bias.values(), epsilon), dims)
    }

    fn kernel_layer_norm_gradient(
        x: FlexTensor,
        weight: FlexTensor,
        g: FlexTensor,
        epsilon: f32,
    ) -> FlexTensor {
        let ([x, weight], mut g) = ([x, weight].map(Dense::new), Dense::new(g));
        norm::layer_norm_gradient(x.values(), weight.values(), g.values_mut(), epsilon);
        g.0
    }

    fn kernel_silu(x: FloatTensor<Self>) -> FlexTensor {
        let dims = x.shape();
        tensor(norm::silu(Dense::new(x).values()), dims)
    }

    fn kernel_silu_gradient(x: FlexTensor, g: FlexTensor) -> FlexTensor {
        let mut g = Dense::new(g);
        norm::silu_gradient(Dense::new(x).values(), g.values_mut());
        g.0
    }

    fn kernel_geglu(x: FlexTensor) -> FlexTensor {
        let mut dims = x.shape().to_vec();
        let last = dims.len() - 1;
        dims[last] /= 2;
        tensor(norm::geglu(Dense::new(x).values(), dims[last]), dims)
    }

    fn kernel_geglu_gradient(x: FlexTensor, g: FlexTensor) -> FlexTensor {
        let width = x.shape().to_vec().last().map_or(0, |width| width / 2);
        let mut x = Dense::new(x);
        norm::geglu_gradient(x.values_mut(), Dense::new(g).values(), width);
        x.0
    }
}

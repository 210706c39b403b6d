//! The kernels under autodiff: each forward pass with its own backward pass, of [`super::steps`].

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend};

use super::cpu::norm::Groups;
use super::cpu::{attention, conv};
use super::ops::{Bias, Kernels, Packed};
use super::steps::{
    GegluStep, GroupNormStep, LayerNormStep, LinearAdaptedStep, LinearBlocksStep, LinearOntoStep,
    LinearStep, ProductStep, SiluStep, Tracked, attended, convolved, convolved_blocks, enlarged,
    needed, run,
};

/// What has no backward pass of its own.
macro_rules! first_order {
    ($($name:ident($($type:ty),+) -> $result:ty;)+) => {
        $(fn $name($(_: $type),+) -> $result {
            no_second_order()
        })+
    };
}

fn constant<B: Backend, C: CheckpointStrategy>(bias: Bias<Autodiff<B, C>>) -> Bias<B> {
    match bias {
        Bias::Absent => Bias::Absent,
        Bias::Each(bias) => Bias::Each(bias.into_primitive()),
    }
}

fn kept<B: Backend, C: CheckpointStrategy>(
    packed: Packed<Autodiff<B, C>>,
) -> Option<FloatTensor<B>> {
    match packed {
        Packed::Absent => None,
        Packed::Kept(packed) => Some(packed.into_primitive()),
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn kernel_linear(x: Tracked<B, C>, weight: Tracked<B, C>, bias: Bias<Self>) -> Tracked<B, C> {
        let bias = constant(bias);
        run!(
            LinearStep,
            C,
            [x, weight],
            (needed::<B, C>(&x, &weight), needed::<B, C>(&weight, &x)),
            B::kernel_linear(x.into_primitive(), weight.into_primitive(), bias)
        )
    }

    fn kernel_linear_onto(
        y: Tracked<B, C>,
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        factor: f32,
    ) -> Tracked<B, C> {
        run!(
            LinearOntoStep,
            C,
            [y, x, weight],
            (needed::<B, C>(&x, &weight), needed::<B, C>(&weight, &x), factor),
            B::kernel_linear_onto(
                y.into_primitive(),
                x.into_primitive(),
                weight.into_primitive(),
                factor
            )
        )
    }

    fn kernel_linear_adapted(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Bias<Self>,
        hidden: Tracked<B, C>,
        up: Tracked<B, C>,
        factor: f32,
    ) -> Tracked<B, C> {
        let bias = constant(bias);
        let (on_x, on_weight) = (needed::<B, C>(&x, &weight), needed::<B, C>(&weight, &x));
        let (on_hidden, on_up) = (needed::<B, C>(&hidden, &up), needed::<B, C>(&up, &hidden));
        run!(
            LinearAdaptedStep,
            C,
            [x, weight, hidden, up],
            (on_x, on_weight, on_hidden, on_up, factor),
            B::kernel_linear_adapted(
                x.into_primitive(),
                weight.into_primitive(),
                bias,
                hidden.into_primitive(),
                up.into_primitive(),
                factor
            )
        )
    }

    fn kernel_product(a: Tracked<B, C>, b: Tracked<B, C>) -> Tracked<B, C> {
        run!(
            ProductStep,
            C,
            [a, b],
            (needed::<B, C>(&a, &b), needed::<B, C>(&b, &a)),
            B::kernel_product(a.into_primitive(), b.into_primitive())
        )
    }

    fn kernel_widen(weight: Tracked<B, C>) -> Tracked<B, C> {
        Tracked::<B, C>::new(B::kernel_widen(weight.into_primitive()))
    }

    fn kernel_widen_blocks(words: IntTensor<B>, size: [usize; 3]) -> Tracked<B, C> {
        Tracked::<B, C>::new(B::kernel_widen_blocks(words, size))
    }

    fn kernel_linear_blocks(
        x: Tracked<B, C>,
        words: IntTensor<B>,
        size: [usize; 2],
        bias: Bias<Self>,
    ) -> Tracked<B, C> {
        let bias = constant(bias);
        run!(
            LinearBlocksStep,
            C,
            [x],
            (words.clone(), size),
            B::kernel_linear_blocks(x.into_primitive(), words, size, bias)
        )
    }

    fn kernel_conv2d(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        packed: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> Tracked<B, C> {
        let packed = kept(packed);
        let [on, by] = [&x, &weight].map(|tensor| tensor.primitive().clone());
        let y = B::kernel_conv2d(on, by, packed.clone().into(), constant(bias), shape);
        convolved::<B, C>(x, weight, packed, y, shape)
    }

    fn kernel_conv2d_known(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        packed: Packed<Self>,
        y: Tracked<B, C>,
        shape: conv::Shape,
    ) -> Tracked<B, C> {
        convolved::<B, C>(x, weight, kept(packed), y.into_primitive(), shape)
    }

    fn kernel_conv2d_enlarged(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        packed: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> Tracked<B, C> {
        let packed = kept(packed);
        let [on, by] = [&x, &weight].map(|tensor| tensor.primitive().clone());
        let y = B::kernel_conv2d_enlarged(on, by, packed.clone().into(), constant(bias), shape);
        enlarged::<B, C>(x, weight, packed, y, shape)
    }

    fn kernel_conv2d_enlarged_known(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        packed: Packed<Self>,
        y: Tracked<B, C>,
        shape: conv::Shape,
    ) -> Tracked<B, C> {
        enlarged::<B, C>(x, weight, kept(packed), y.into_primitive(), shape)
    }

    fn kernel_conv2d_blocks(
        x: Tracked<B, C>,
        words: IntTensor<B>,
        bias: Bias<Self>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> Tracked<B, C> {
        let (bias, on) = (constant(bias), x.primitive().clone());
        let y = B::kernel_conv2d_blocks(on, words.clone(), bias, shape, enlarged);
        convolved_blocks::<B, C>(x, words, y, shape, enlarged)
    }

    fn kernel_conv2d_blocks_known(
        x: Tracked<B, C>,
        words: IntTensor<B>,
        y: Tracked<B, C>,
        shape: conv::Shape,
        enlarged: bool,
    ) -> Tracked<B, C> {
        convolved_blocks::<B, C>(x, words, y.into_primitive(), shape, enlarged)
    }

    fn kernel_conv2d_pack(weight: Tracked<B, C>) -> Tracked<B, C> {
        // What is kept is a constant.
        Tracked::<B, C>::new(B::kernel_conv2d_pack(weight.into_primitive()))
    }

    fn kernel_conv2d_unpack(packed: Tracked<B, C>, size: [usize; 2]) -> Tracked<B, C> {
        Tracked::<B, C>::new(B::kernel_conv2d_unpack(packed.into_primitive(), size))
    }

    fn kernel_attention(
        q: Tracked<B, C>,
        k: Tracked<B, C>,
        v: Tracked<B, C>,
        shape: attention::Shape,
    ) -> (Tracked<B, C>, Tracked<B, C>) {
        let shape = attention::Shape { statistics: true, ..shape };
        let [on, keys, values] = [&q, &k, &v].map(|tensor| tensor.primitive().clone());
        let (output, kept) = B::kernel_attention(on, keys, values, shape);
        let constant = Tracked::<B, C>::new(kept.clone());
        (attended::<B, C>([q, k, v], output, kept, shape), constant)
    }

    fn kernel_attention_known(
        q: Tracked<B, C>,
        k: Tracked<B, C>,
        v: Tracked<B, C>,
        output: Tracked<B, C>,
        kept: Tracked<B, C>,
        shape: attention::Shape,
    ) -> Tracked<B, C> {
        attended::<B, C>([q, k, v], output.into_primitive(), kept.into_primitive(), shape)
    }

    fn kernel_group_norm(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Tracked<B, C>,
        shape: Groups,
    ) -> Tracked<B, C> {
        let (weight, bias) = (weight.into_primitive(), bias.into_primitive());
        run!(
            GroupNormStep,
            C,
            [x],
            (x.primitive().clone(), weight.clone(), bias.clone(), shape),
            B::kernel_group_norm(x.into_primitive(), weight, bias, shape)
        )
    }

    fn kernel_layer_norm(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Tracked<B, C>,
        epsilon: f32,
    ) -> Tracked<B, C> {
        let weight = weight.into_primitive();
        run!(
            LayerNormStep,
            C,
            [x],
            (x.primitive().clone(), weight.clone(), epsilon),
            B::kernel_layer_norm(x.into_primitive(), weight, bias.into_primitive(), epsilon)
        )
    }

    fn kernel_silu(x: Tracked<B, C>) -> Tracked<B, C> {
        run!(SiluStep, C, [x], x.primitive().clone(), B::kernel_silu(x.into_primitive()))
    }

    fn kernel_geglu(x: Tracked<B, C>) -> Tracked<B, C> {
        run!(GegluStep, C, [x], x.primitive().clone(), B::kernel_geglu(x.into_primitive()))
    }

    first_order! {
        kernel_product_blocks(Tracked<B, C>, IntTensor<B>, [usize; 2]) -> Tracked<B, C>;
        kernel_sum_blocks(Tracked<B, C>) -> Tracked<B, C>;
        kernel_conv2d_blocks_input_gradient(
            Tracked<B, C>, IntTensor<B>, conv::Shape
        ) -> Tracked<B, C>;
        kernel_conv2d_input_gradient(
            Tracked<B, C>, Tracked<B, C>, Packed<Self>, conv::Shape
        ) -> Tracked<B, C>;
        kernel_conv2d_weight_gradient(
            Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, conv::Shape
        ) -> Tracked<B, C>;
        kernel_attention_gradients(
            Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, Tracked<B, C>,
            Tracked<B, C>, attention::Shape
        ) -> (Tracked<B, C>, Tracked<B, C>, Tracked<B, C>);
        kernel_group_norm_gradient(
            Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, Groups
        ) -> Tracked<B, C>;
        kernel_layer_norm_gradient(
            Tracked<B, C>, Tracked<B, C>, Tracked<B, C>, f32
        ) -> Tracked<B, C>;
        kernel_silu_gradient(Tracked<B, C>, Tracked<B, C>) -> Tracked<B, C>;
        kernel_geglu_gradient(Tracked<B, C>, Tracked<B, C>) -> Tracked<B, C>;
    }
}

/// Only the backward passes above call the gradients, and those run on plain tensors: burn's
/// autodiff knows first derivatives only.
fn no_second_order<T>() -> T {
    unreachable!("gradients of gradients aren't computed")
}

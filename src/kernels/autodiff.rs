//! The kernels under autodiff: each forward pass with its own backward pass, whose formulas are in
//! [`super::cpu`].

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend};

use super::cpu::norm::Groups;
use super::cpu::{attention, conv};
use super::ops::{Bias, Kernels, Packed};

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// An operation with one way back for each tensor that a gradient may be asked for.
///
/// `step!(Name, how many, |gradient, state => type of the state| [way back of each])`
macro_rules! step {
    ($name:ident, $inputs:literal, |$g:ident, $state:pat_param => $types:ty| [$($back:expr),+ $(,)?]) => {
        #[derive(Debug)]
        struct $name;

        impl<B: Kernels> Backward<B, $inputs> for $name {
            type State = $types;

            fn backward(
                self,
                ops: Ops<Self::State, $inputs>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let $g = grads.consume::<B>(&ops.node);
                let $state = ops.state;
                let mut parents = ops.parents.into_iter();
                $(if let Some(parent) = parents.next().flatten() {
                    grads.register::<B>(parent.id, $back);
                })+
            }
        }
    };
}

/// Runs `forward` on the plain tensors, and notes the step where one of `inputs` is tracked.
macro_rules! run {
    ($name:ident, $c:ty, [$($input:ident),+], $state:expr, $forward:expr) => {
        match $name.prepare::<$c>([$($input.node()),+]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = $state;
                prep.finish(state, $forward)
            }
            OpsKind::UnTracked(prep) => prep.finish($forward),
        }
    };
}

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

/// What the forward pass reads, and what the input's gradient does.
fn passes<B: Backend, C: CheckpointStrategy>(
    packed: Packed<Autodiff<B, C>>,
) -> (Packed<B>, Option<FloatTensor<B>>) {
    match packed {
        Packed::Absent => (Packed::Absent, None),
        Packed::One(forward) => (Packed::One(forward.into_primitive()), None),
        Packed::Both(forward, backward) => {
            (Packed::One(forward.into_primitive()), Some(backward.into_primitive()))
        }
    }
}

step!(LinearStep, 2, |g, (x, weight) => (FloatTensor<B>, FloatTensor<B>)| [
    B::kernel_product(g.clone(), weight),
    B::kernel_product(B::float_transpose(g), x),
]);

step!(LinearBlocksStep, 1, |g, (words, size) => (IntTensor<B>, [usize; 2])| [
    B::kernel_product_blocks(g, words, size)
]);

step!(LinearOntoStep, 3, |g, (x, weight, factor) => (FloatTensor<B>, FloatTensor<B>, f32)| [
    g.clone(),
    B::float_mul_scalar(B::kernel_product(g.clone(), weight), factor.into()),
    B::float_mul_scalar(B::kernel_product(B::float_transpose(g), x), factor.into()),
]);

step!(ProductStep, 2, |g, (a, b) => (FloatTensor<B>, FloatTensor<B>)| [
    B::kernel_product(g.clone(), B::float_transpose(b)),
    B::kernel_product(B::float_transpose(a), g),
]);

step!(ConvStep, 2, |g, (x, weight, packed, shape) => (
    FloatTensor<B>,
    FloatTensor<B>,
    Option<FloatTensor<B>>,
    conv::Shape
)| [
    {
        let packed = packed.map_or(Packed::Absent, Packed::One);
        B::kernel_conv2d_input_gradient(g.clone(), weight.clone(), packed, shape)
    },
    B::kernel_conv2d_weight_gradient(x, weight, g, shape),
]);

step!(ConvEnlargedStep, 1, |g, (weight, packed, shape) => (
    FloatTensor<B>,
    Option<FloatTensor<B>>,
    conv::Shape
)| [
    {
        let packed = packed.map_or(Packed::Absent, Packed::One);
        B::kernel_sum_blocks(B::kernel_conv2d_input_gradient(g, weight, packed, shape))
    }
]);

step!(SiluStep, 1, |g, x => FloatTensor<B>| [B::kernel_silu_gradient(x, g)]);

step!(GegluStep, 1, |g, x => FloatTensor<B>| [B::kernel_geglu_gradient(x, g)]);

step!(GroupNormStep, 1, |g, (x, weight, bias, shape) => (
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    Groups
)| [B::kernel_group_norm_gradient(x, weight, bias, g, shape)]);

step!(LayerNormStep, 1, |g, (x, weight, epsilon) => (FloatTensor<B>, FloatTensor<B>, f32)| [
    B::kernel_layer_norm_gradient(x, weight, g, epsilon)
]);

/// q, k, v, the output and what the backend keeps.
type AttentionState<B> = [FloatTensor<B>; 5];

/// Its three gradients come from one kernel.
#[derive(Debug)]
struct AttentionStep;

impl<B: Kernels> Backward<B, 3> for AttentionStep {
    type State = (AttentionState<B>, attention::Shape);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<B>(&ops.node);
        let ([q, k, v, output, kept], shape) = ops.state;
        let (dq, dk, dv) = B::kernel_attention_gradients(q, k, v, output, kept, g, shape);
        for (parent, gradient) in ops.parents.into_iter().zip([dq, dk, dv]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn kernel_linear(x: Tracked<B, C>, weight: Tracked<B, C>, bias: Bias<Self>) -> Tracked<B, C> {
        let bias = constant(bias);
        run!(
            LinearStep,
            C,
            [x, weight],
            (x.primitive().clone(), weight.primitive().clone()),
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
            (x.primitive().clone(), weight.primitive().clone(), factor),
            B::kernel_linear_onto(
                y.into_primitive(),
                x.into_primitive(),
                weight.into_primitive(),
                factor
            )
        )
    }

    fn kernel_product(a: Tracked<B, C>, b: Tracked<B, C>) -> Tracked<B, C> {
        run!(
            ProductStep,
            C,
            [a, b],
            (a.primitive().clone(), b.primitive().clone()),
            B::kernel_product(a.into_primitive(), b.into_primitive())
        )
    }

    fn kernel_widen(weight: Tracked<B, C>) -> Tracked<B, C> {
        Tracked::<B, C>::new(B::kernel_widen(weight.into_primitive()))
    }

    fn kernel_widen_blocks(words: IntTensor<B>, size: [usize; 2]) -> Tracked<B, C> {
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
        let bias = constant(bias);
        let (forward, backward) = passes(packed);
        run!(
            ConvStep,
            C,
            [x, weight],
            (x.primitive().clone(), weight.primitive().clone(), backward, shape),
            B::kernel_conv2d(x.into_primitive(), weight.into_primitive(), forward, bias, shape)
        )
    }

    fn kernel_conv2d_enlarged(
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        packed: Packed<Self>,
        bias: Bias<Self>,
        shape: conv::Shape,
    ) -> Tracked<B, C> {
        let bias = constant(bias);
        let (forward, backward) = passes(packed);
        let weight = weight.into_primitive();
        run!(
            ConvEnlargedStep,
            C,
            [x],
            (weight.clone(), backward, shape),
            B::kernel_conv2d_enlarged(x.into_primitive(), weight, forward, bias, shape)
        )
    }

    fn kernel_conv2d_pack(weight: Tracked<B, C>, gradient: bool) -> Tracked<B, C> {
        // What is kept is a constant.
        Tracked::<B, C>::new(B::kernel_conv2d_pack(weight.into_primitive(), gradient))
    }

    fn kernel_conv2d_turn(packed: Tracked<B, C>, size: [usize; 2]) -> Tracked<B, C> {
        Tracked::<B, C>::new(B::kernel_conv2d_turn(packed.into_primitive(), size))
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
        let nodes = [q.node(), k.node(), v.node()];
        let [q, k, v] = [q, k, v].map(Tracked::<B, C>::into_primitive);
        let (output, kept) = B::kernel_attention(q.clone(), k.clone(), v.clone(), shape);
        let constant = Tracked::<B, C>::new(kept.clone());
        let output = match AttentionStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([q, k, v, output.clone(), kept], shape), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        };
        (output, constant)
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

//! The kernels' ways back, whose formulas are in [`super::cpu`], and how an operation notes its own.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};

use super::cpu::norm::Groups;
use super::cpu::{attention, conv};
use super::ops::Kernels;

pub(super) type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// An operation with one way back for each tensor that a gradient may be asked for.
///
/// `step!(Name, how many, |gradient, state => type of the state| [way back of each])`
macro_rules! step {
    ($name:ident, $inputs:literal, |$g:ident, $state:pat_param => $types:ty| [$($back:expr),+ $(,)?]) => {
        #[derive(Debug)]
        pub(in crate::kernels) struct $name;

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
pub(super) use run;

/// What a way back reads, kept only where that way is there: a frozen layer's input isn't.
pub(super) type Needed<B> = Option<FloatTensor<B>>;

/// `tensor`, where a gradient of `other` will be asked for.
pub(super) fn needed<B: Kernels, C: CheckpointStrategy>(
    tensor: &Tracked<B, C>,
    other: &Tracked<B, C>,
) -> Needed<B> {
    other.is_tracked().then(|| tensor.primitive().clone())
}

/// The tensor again, on that way.
fn there<T>(needed: Option<T>) -> T {
    needed.expect("what a way back reads is kept with it")
}

step!(LinearStep, 2, |g, (x, weight) => (Needed<B>, Needed<B>)| [
    B::kernel_product(g.clone(), there(weight)),
    B::kernel_product(B::float_transpose(g), there(x)),
]);

step!(LinearBlocksStep, 1, |g, (words, size) => (IntTensor<B>, [usize; 2])| [
    B::kernel_product_blocks(g, words, size)
]);

step!(LinearOntoStep, 3, |g, (x, weight, factor) => (Needed<B>, Needed<B>, f32)| [
    g.clone(),
    B::float_mul_scalar(B::kernel_product(g.clone(), there(weight)), factor.into()),
    B::float_mul_scalar(B::kernel_product(B::float_transpose(g), there(x)), factor.into()),
]);

step!(LinearAdaptedStep, 4, |g, (x, weight, hidden, up, factor) => (
    Needed<B>,
    Needed<B>,
    Needed<B>,
    Needed<B>,
    f32
)| [
    B::kernel_product(g.clone(), there(weight)),
    B::kernel_product(B::float_transpose(g.clone()), there(x)),
    B::float_mul_scalar(B::kernel_product(g.clone(), there(up)), factor.into()),
    B::float_mul_scalar(B::kernel_product(B::float_transpose(g), there(hidden)), factor.into()),
]);

step!(ProductStep, 2, |g, (a, b) => (Needed<B>, Needed<B>)| [
    B::kernel_product(g.clone(), B::float_transpose(there(b))),
    B::kernel_product(B::float_transpose(there(a)), g),
]);

step!(ConvStep, 2, |g, (x, weight, packed, shape) => (
    Needed<B>,
    FloatTensor<B>,
    Option<FloatTensor<B>>,
    conv::Shape
)| [
    B::kernel_conv2d_input_gradient(g.clone(), weight.clone(), packed.into(), shape),
    B::kernel_conv2d_weight_gradient(there(x), weight, g, shape),
]);

step!(ConvEnlargedStep, 1, |g, (weight, packed, shape) => (
    FloatTensor<B>,
    Option<FloatTensor<B>>,
    conv::Shape
)| [
    B::kernel_sum_blocks(B::kernel_conv2d_input_gradient(g, weight, packed.into(), shape))
]);

step!(ConvBlocksStep, 1, |g, (words, shape, enlarged) => (IntTensor<B>, conv::Shape, bool)| [
    {
        let gradient = B::kernel_conv2d_blocks_input_gradient(g, words, shape);
        if enlarged { B::kernel_sum_blocks(gradient) } else { gradient }
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

/// `y`, which attention gave for q, k and v, with its way back.
pub(super) fn attended<B: Kernels, C: CheckpointStrategy>(
    inputs: [Tracked<B, C>; 3],
    y: FloatTensor<B>,
    kept: FloatTensor<B>,
    shape: attention::Shape,
) -> Tracked<B, C> {
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let [q, k, v] = inputs.map(Tracked::<B, C>::into_primitive);
    match AttentionStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(([q, k, v, y.clone(), kept], shape), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

/// `y`, which a convolution of x gave, with its way back.
pub(super) fn convolved<B: Kernels, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    weight: Tracked<B, C>,
    packed: Option<FloatTensor<B>>,
    y: FloatTensor<B>,
    shape: conv::Shape,
) -> Tracked<B, C> {
    let state = (needed::<B, C>(&x, &weight), weight.primitive().clone(), packed, shape);
    run!(ConvStep, C, [x, weight], state, y)
}

/// `y`, which a convolution of enlarged x gave, with its way back.
pub(super) fn enlarged<B: Kernels, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    weight: Tracked<B, C>,
    packed: Option<FloatTensor<B>>,
    y: FloatTensor<B>,
    shape: conv::Shape,
) -> Tracked<B, C> {
    run!(ConvEnlargedStep, C, [x], (weight.into_primitive(), packed, shape), y)
}

/// `y`, which a convolution of x by a weight in blocks gave, with its way back.
pub(super) fn convolved_blocks<B: Kernels, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    words: IntTensor<B>,
    y: FloatTensor<B>,
    shape: conv::Shape,
    enlarged: bool,
) -> Tracked<B, C> {
    run!(ConvBlocksStep, C, [x], (words, shape, enlarged), y)
}

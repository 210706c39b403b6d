//! One pass through the UNet and back, at once or block by block.

use burn::tensor::Tensor;

use super::loss::Diffusion;
use crate::kernels::{self, Kept};
use crate::layers::{Dropout, Strength};
use crate::models::{Context, UNet2DConditionModel};
use crate::training::trained::adapter::Adapter;
use crate::training::trained::leaves::Leaves;

/// What the UNet is asked, and what it should have said.
pub struct Batch {
    /// Noisy latents, `[n, 4, h, w]`.
    pub noisy: Tensor<4>,
    /// One for each sample.
    pub timesteps: Vec<f64>,
    /// Text embeddings, `[n, tokens, width]`, and of SDXL what is added to the time.
    pub context: Context,
    /// Noise, velocity, or what another pass said, `[n, 4, h, w]`.
    pub target: Tensor<4>,
    /// How much each sample counts, `[n, 1]`; the loss is the sum of weight times error.
    pub weights: Tensor<2>,
    /// Threshold of the Huber loss for each sample, `[n, 1]`; none: squared error.
    pub thresholds: Option<Tensor<2>>,
}

impl Batch {
    /// The loss, `[1]`, and each sample's error, `[n]`: the mean over its elements of the squared
    /// difference, or of kohya's `2 c (sqrt(d^2 + c^2) - c)` (`huber_loss` in `train_util.py`).
    fn loss(&self, prediction: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
        let [n, c, h, w] = prediction.dims();
        let difference = (prediction - self.target.clone()).reshape([n, c * h * w]);
        let errors = match &self.thresholds {
            None => difference.square(),
            Some(c) => {
                let root = (difference.square() + c.clone().square()).sqrt();
                (root - c.clone()) * c.clone().mul_scalar(2.0)
            }
        };
        let errors = errors.mean_dim(1);
        ((errors.clone() * self.weights.clone()).sum(), errors.flatten(0, 1))
    }

    /// What the model takes the first sample's picture to be, `[4 h w]`: a preview for nothing.
    pub fn guess(&self, diffusion: &Diffusion, answer: Tensor<4>) -> Tensor<1> {
        let first = |x: Tensor<4>| x.narrow(0, 0, 1);
        let t = self.timesteps.first().map_or(0, |&t| t as usize);
        let (noisy, own) = diffusion.denoised(t).unwrap_or((1.0, 0.0));
        let guess = first(self.noisy.clone()).mul_scalar(noisy) + first(answer).mul_scalar(own);
        guess.flatten(0, 3)
    }
}

/// Says what a module leaves out of this pass; none: the whole module.
pub type Drop<'a> = &'a dyn Fn(usize) -> Option<Option<Dropout>>;

/// Everything off: what the base model says, no graph.
pub fn base(unet: &UNet2DConditionModel, adapter: &Adapter, batch: &Batch) -> Tensor<4> {
    adapter.detach();
    unet.forward(batch.noisy.clone(), &batch.timesteps, batch.context.clone())
}

/// The gradient of the loss in each factor, added to `sums`; each sample's error, `[n]`, and the
/// UNet's answer. With `blocks` one block's graph exists at a time: every block is run twice, the
/// second time without what was kept of the first ([`kernels::keep`]), and the memory is that of the
/// largest block and of what is kept instead of all blocks'.
///
/// `flat` is the vector of parameters on the device.
pub fn gradient(
    unet: &UNet2DConditionModel,
    adapter: &Adapter,
    flat: &Tensor<1>,
    batch: &Batch,
    drop: Drop,
    blocks: bool,
    sums: &mut Vec<Option<Tensor<1>>>,
) -> (Tensor<1>, Tensor<4>) {
    let _own = kernels::own_buffers(flat);
    let strength = Strength::new(1.0);
    let leaves = adapter.leaves(flat, true);
    let (errors, answer) = if blocks {
        // Without a graph first: what each block got is kept, by handle.
        adapter.attach(&adapter.leaves(flat, false), &strength, drop);
        by_blocks(unet, batch, adapter, sums, &leaves, || {
            adapter.attach(&leaves, &strength, drop);
        })
    } else {
        adapter.attach(&leaves, &strength, drop);
        let prediction = unet.forward(batch.noisy.clone(), &batch.timesteps, batch.context.clone());
        let (loss, errors) = batch.loss(prediction.clone());
        if loss.is_tracked() {
            leaves.collect(adapter, None, &mut loss.backward(), sums);
        }
        (errors, prediction)
    };
    adapter.detach();
    (errors.inner(), answer.inner())
}

fn by_blocks(
    unet: &UNet2DConditionModel,
    batch: &Batch,
    adapter: &Adapter,
    sums: &mut Vec<Option<Tensor<1>>>,
    leaves: &Leaves,
    attach_leaves: impl Fn(),
) -> (Tensor<1>, Tensor<4>) {
    let mut pass = unet.begin(batch.noisy.clone(), &batch.timesteps, batch.context.clone(), None);
    let mut before = Vec::with_capacity(unet.stages());
    // What lies before the first trained layer is run once.
    let first = adapter.first_stage();
    let output = loop {
        let start = pass.clone();
        let (output, kept) = if before.len() < first {
            (unet.advance(&mut pass), Kept::default())
        } else {
            kernels::keep(|| unet.advance(&mut pass))
        };
        before.push((start, kept));
        if let Some(output) = output {
            break output;
        }
    };
    let answer = output;
    let output = answer.clone().autodiff().require_grad();
    let (loss, errors) = batch.loss(output.clone());
    let mut gradients = loss.backward();
    let Some(mut of_output) = output.grad_remove(&mut gradients) else {
        return (errors, answer);
    };

    attach_leaves();
    // The gradient of each skip connection, by its place in the order of pushing.
    let mut of_skips: Vec<Option<Tensor<4>>> = Vec::new();
    for (stage, (mut pass, kept)) in before.into_iter().enumerate().rev() {
        if stage < first {
            break;
        }
        let leaf = |x: &Tensor<4>| x.clone().autodiff().require_grad();
        let hidden = leaf(&pass.hidden);
        pass.hidden = hidden.clone();
        let skips: Vec<_> = pass.skips.iter().map(leaf).collect();
        pass.skips = skips.clone();
        let output = kernels::recall(kept, || unet.advance(&mut pass));
        let output = output.unwrap_or_else(|| pass.hidden.clone());
        // Its gradient in the block's inputs is the chain rule's.
        let mut surrogate = (output * of_output).sum();
        of_skips.resize(of_skips.len().max(skips.len()).max(pass.skips.len()), None);
        for (pushed, gradient) in pass.skips.iter().zip(&mut of_skips).skip(skips.len()) {
            if let Some(gradient) = gradient.take() {
                surrogate = surrogate + (pushed.clone() * gradient).sum();
            }
        }
        let mut gradients = surrogate.backward();
        leaves.collect(adapter, Some(stage), &mut gradients, sums);
        for (taken, gradient) in skips.iter().zip(&mut of_skips).skip(pass.skips.len()) {
            *gradient = taken.grad_remove(&mut gradients);
        }
        of_output = match hidden.grad_remove(&mut gradients) {
            Some(gradient) => gradient,
            None => break,
        };
    }
    (errors, answer)
}

//! A schedule's calls on tensors: the sample and what a sampler remembers of it.

use burn::tensor::Tensor;

use super::start::blend::Blend;
use crate::schedulers::{Call, Mix};

/// The latents of a run between two model calls.
pub(super) struct Sampler {
    sample: Tensor<4>,
    anchor: Option<Tensor<4>>,
    /// Newest first.
    kept: Vec<Tensor<4>>,
}

impl Sampler {
    /// Starts from noisy latents, `[1, 4, h, w]`.
    pub fn new(sample: Tensor<4>) -> Self {
        Self { sample, anchor: None, kept: Vec::new() }
    }

    /// The latents as they are.
    pub fn sample(&self) -> Tensor<4> {
        self.sample.clone()
    }

    /// What `call` makes of the UNet's `output` (see [`Call`]) and of fresh `noise`, where it takes some.
    /// Returns `x0`, with what stays of a picture in it; the output is then the one that would have given
    /// this `x0`.
    pub fn apply(
        &mut self,
        call: &Call,
        output: Tensor<4>,
        noise: Option<&Tensor<4>>,
        blend: Option<&Blend>,
    ) -> Tensor<4> {
        let mut x0 = self.sample.clone().mul_scalar(call.x0_from_sample)
            + output.clone().mul_scalar(call.x0_from_model);
        if let Some(range) = call.clip {
            x0 = x0.clamp(-range, range);
        }
        let mut output = output;
        if let Some(blend) = blend {
            let guess = blend.guess(x0.clone());
            output = output + (guess.clone() - x0).div_scalar(call.x0_from_model);
            x0 = guess;
        }
        let mix = |mix: &Mix| self.mix(mix, &output, &x0, noise);
        let next = mix(&call.next);
        let anchor = call.anchor.as_ref().map(mix);
        let keep = call.keep.as_ref().map(mix);

        self.sample = next;
        self.anchor = anchor.or(self.anchor.take());
        self.kept.drain(..call.drops.min(self.kept.len()));
        self.kept.splice(..0, keep);
        self.kept.truncate(Mix::HISTORY);
        x0
    }

    /// Puts back what stays of a picture, after a call; `next` is the one that comes then.
    pub fn keep(&mut self, blend: &Blend, next: Option<&Call>) {
        self.sample = blend.sample(self.sample.clone(), next);
    }

    fn mix(
        &self,
        mix: &Mix,
        output: &Tensor<4>,
        x0: &Tensor<4>,
        noise: Option<&Tensor<4>>,
    ) -> Tensor<4> {
        let terms = [
            (Some(&self.sample), mix.sample),
            (Some(output), mix.model),
            (Some(x0), mix.x0),
            (self.anchor.as_ref(), mix.anchor),
            (noise, mix.noise),
        ];
        let kept = self.kept.iter().map(Some).zip(mix.kept);
        terms
            .into_iter()
            .chain(kept)
            .filter(|(_, factor)| *factor != 0.0)
            .filter_map(|(tensor, factor)| {
                let tensor = tensor?.clone();
                Some(if factor == 1.0 { tensor } else { tensor.mul_scalar(factor) })
            })
            .reduce(|sum, term| sum + term)
            .unwrap_or_else(|| self.sample.zeros_like())
    }
}

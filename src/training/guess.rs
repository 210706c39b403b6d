//! What a run shows of itself for nothing: a guess of a picture with each pass, and which training
//! picture another one looks like.

use burn::tensor::Tensor;

use super::pass;
use super::picture::Role;
use super::trainer::Trainer;

impl Trainer {
    /// What the model takes the first sample's picture to be, `[4 h w]`: a preview for nothing.
    pub(super) fn guess(&self, batch: &pass::Batch, answer: Tensor<4>) -> Tensor<1> {
        let first = |x: Tensor<4>| x.narrow(0, 0, 1);
        let t = batch.timesteps.first().map_or(0, |&t| t as usize);
        let (noisy, own) = self.diffusion.denoised(t).unwrap_or((1.0, 0.0));
        let guess = first(batch.noisy.clone()).mul_scalar(noisy) + first(answer).mul_scalar(own);
        guess.flatten(0, 3)
    }

    /// The latents that the model took the first sample of the last pass to be, and their shape
    /// `[4, h, w]`.
    pub fn first_guess(&self) -> Option<(&[f32], [usize; 3])> {
        let (latents, shape) = &self.guess;
        (!latents.is_empty()).then_some((latents, *shape))
    }

    /// The training picture whose latents are nearest to these of this shape `[4, h, w]`, and the
    /// cosine between the two: close to 1, the picture is a copy. A picture of another shape isn't
    /// compared, also where it has as many numbers.
    pub fn nearest(&self, latents: &[f32], shape: [usize; 3]) -> Option<(&str, f64)> {
        let cosine = |other: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            dot(latents, other) / (dot(latents, latents) * dot(other, other)).sqrt().max(1e-12)
        };
        let train = self.dataset.of(Role::Train).into_iter();
        let alike = train.filter(|example| example.latents.shape == shape);
        let each = alike.map(|example| (example.name.as_str(), cosine(&example.latents.mean)));
        each.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

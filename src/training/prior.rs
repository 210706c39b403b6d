//! Prior preservation: what the base knows stays as it is while the adapter learns something else.

use super::check;
use super::dataset::Example;
use super::draws::Draws;
use super::pass;
use super::trainer::Trainer;
use crate::error::{Error, Result};

impl Trainer {
    /// The same noisy latents under the class prompt, where the model with the adapter shall say
    /// what it says without (differential output preservation; ai-toolkit).
    pub(super) fn prior_by_prompt(
        &self,
        batches: &[(pass::Batch, Vec<f64>)],
    ) -> Vec<(pass::Batch, Vec<f64>)> {
        let prompt = self.dataset.class_prompt.as_ref().unwrap_or(&self.dataset.empty);
        let samples: usize = batches.iter().map(|(_, weights)| weights.len()).sum();
        let weight = self.config.prior.weight / samples as f64;
        let [tokens, width] = self.dataset.text_shape;
        let of_batch = |(batch, _): &(pass::Batch, Vec<f64>)| {
            let n = batch.timesteps.len();
            let context = self.assembly().upload(prompt.repeat(n), [n, tokens, width]);
            let mut prior = pass::Batch {
                noisy: batch.noisy.clone(),
                timesteps: batch.timesteps.clone(),
                context,
                target: batch.target.clone(),
                weights: self.assembly().upload(vec![weight as f32; n], [n, 1]),
                thresholds: None,
            };
            prior.target = pass::base(&self.model.unet, &self.adapter, &prior);
            (prior, vec![weight; n])
        };
        batches.iter().map(of_batch).collect()
    }

    /// diffusers' prior preservation: the mean loss on pictures of the class.
    pub(super) fn prior_by_pictures(
        &self,
        class: &[&Example],
        counter: usize,
        weight: f64,
    ) -> Result<Vec<(pass::Batch, Vec<f64>)>> {
        let draws = match &self.reference {
            None => Draws::new(&self.config, class, &self.diffusion, counter as u64, true),
            Some(reference) => reference.class_draws(counter).cloned().ok_or_else(|| {
                Error::setting("reference", "has no class_index", "Train without a prior")
            })?,
        };
        check::draws(&draws, class)?;
        self.assembly().batches(&draws, class, weight)
    }
}

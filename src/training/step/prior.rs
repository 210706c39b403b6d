//! Prior preservation: what the base knows stays as it is while the adapter learns something else.

use super::draws::Assembly;
use super::pass::{self, Batch};
use crate::models::UNet2DConditionModel;
use crate::training::trained::adapter::Adapter;

/// The same noisy latents under the class prompt, where the model with the adapter shall say what it
/// says without (differential output preservation; ai-toolkit). With the weights of the samples.
pub fn by_prompt(
    assembly: &Assembly,
    unet: &UNet2DConditionModel,
    adapter: &Adapter,
    batches: &[(Batch, Vec<f64>)],
) -> Vec<(Batch, Vec<f64>)> {
    let dataset = assembly.dataset;
    let prompt = dataset.class_prompt.as_ref().unwrap_or(&dataset.empty);
    let samples: usize = batches.iter().map(|(_, weights)| weights.len()).sum();
    let weight = assembly.config.prior.weight / samples as f64;
    let of_batch = |(batch, _): &(Batch, Vec<f64>)| {
        let n = batch.timesteps.len();
        // The picture's size stays what it is.
        let sizes = batch.context.added.as_ref().map(|added| added.time_ids.clone());
        let context = assembly.context(&vec![prompt.as_slice(); n], sizes.unwrap_or_default());
        let mut prior = Batch {
            noisy: batch.noisy.clone(),
            timesteps: batch.timesteps.clone(),
            context,
            target: batch.target.clone(),
            weights: assembly.upload(vec![weight as f32; n], [n, 1]),
            thresholds: None,
        };
        prior.target = pass::base(unet, adapter, &prior);
        (prior, vec![weight; n])
    };
    batches.iter().map(of_batch).collect()
}

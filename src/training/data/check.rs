//! Whether a model and its pictures can be trained on, said before anything is computed.

use super::dataset::Dataset;
use super::picture::Role;
use crate::error::{Error, Result};
use crate::models::UNet2DConditionConfig;
use crate::pipelines::StableDiffusion;
use crate::training::settings::config::Config;
use crate::weights::Task;

/// Refuses models whose UNet takes more than latents: a run has no masks to give it.
///
/// # Errors
/// For an inpainting model.
pub fn model(model: &StableDiffusion) -> Result<()> {
    if model.family.task == Task::TextToImage {
        return Ok(());
    }
    Err(Error::setting(
        "model",
        "is an inpainting model, and training has no masks to give it",
        "Train on the text-to-image model that it was made from: what comes out fits both",
    ))
}

/// Checks a data set against the settings and the UNet.
///
/// # Errors
/// Names the setting or the picture.
pub fn dataset(config: &Config, dataset: &Dataset, unet: &UNet2DConditionConfig) -> Result<()> {
    if dataset.of(Role::Train).is_empty() {
        return Err(Error::setting("pictures", "there is none to train on", "Add some"));
    }
    if config.prior.weight > 0.0
        && dataset.of(Role::Class).is_empty()
        && dataset.class_prompt.is_none()
    {
        return Err(Error::setting(
            "prior",
            "the pictures were prepared without a class prompt",
            "Start the run anew with prior preservation on",
        ));
    }
    let [tokens, width] = dataset.text_shape;
    if width != unet.cross_attention_dim {
        return Err(Error::setting(
            "pictures",
            format!(
                "their texts are {width} numbers wide where this model takes {}",
                unet.cross_attention_dim
            ),
            "Prepare the pictures anew with this model",
        ));
    }
    let pooled = unet.pooled_width().unwrap_or(0);
    if dataset.pooled != pooled {
        let problem = format!(
            "their texts have a pooled vector of {} numbers where this model takes {pooled}",
            dataset.pooled
        );
        return Err(Error::setting(
            "pictures",
            problem,
            "Prepare the pictures anew with this model",
        ));
    }
    let all = tokens * width + pooled;
    let prompts = [Some(&dataset.empty), dataset.class_prompt.as_ref()];
    if prompts.iter().flatten().any(|text| text.len() != all) {
        let problem = "the text of a prompt has a wrong size";
        return Err(Error::setting("pictures", problem, "Prepare the pictures anew"));
    }
    for example in &dataset.examples {
        let shape = example.latents.shape;
        let count: usize = shape.iter().product();
        let both = [Some(&example.latents), example.mirrored.as_ref()];
        let fits = both.iter().flatten().all(|latents| {
            let deviation = latents.deviation.as_ref().map_or(count, Vec::len);
            latents.shape == shape && latents.mean.len() == count && deviation == count
        });
        if !fits || shape[0] != unet.in_channels || example.text.len() != all {
            let problem = "has latents or a text embedding of a wrong size";
            return Err(Error::file(&example.name, problem, "Prepare the pictures anew"));
        }
        let numbers = both
            .iter()
            .flatten()
            .flat_map(|latents| latents.mean.iter().chain(latents.deviation.iter().flatten()));
        if numbers.chain(&example.text).any(|value| !value.is_finite()) {
            let problem = "has latents or a text embedding with NaN or infinity in them";
            return Err(Error::file(&example.name, problem, "Prepare the pictures anew"));
        }
    }
    Ok(())
}

/// Checks that there are pictures enough to leave one out.
///
/// # Errors
/// When there are not.
pub fn leave_one_out(pictures: usize) -> Result<()> {
    if pictures < 2 {
        let problem = format!("with {pictures} training picture nothing is left to train on");
        return Err(Error::setting("leaveOneOut", problem, "Add pictures, or switch it off"));
    }
    Ok(())
}

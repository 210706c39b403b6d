//! What can't be trained is said before anything is computed.

use super::config::{Config, Kind};
use super::dataset::{Dataset, Example};
use super::draws::Draws;
use super::init::Init;
use super::loss::Weighting;
use super::optimizer_config::OptimizerConfig;
use super::picture::Role;
use crate::error::{Error, Result};
use crate::models::UNet2DConditionConfig;
use crate::pipelines::StableDiffusion;
use crate::weights::Task;

/// Largest rank, steps, batch and the like: more is a slip of the finger.
const MOST_RANK: usize = 256;
const MOST_STEPS: usize = 100_000;
const MOST_BATCH: usize = 64;

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

impl Config {
    /// Checks every setting by itself and those that exclude each other.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<()> {
        let config = self;
        let whole = [
            ("rank", config.rank, 1, MOST_RANK),
            ("steps", config.steps, 1, MOST_STEPS),
            ("batch", config.batch, 1, MOST_BATCH),
            ("accumulation", config.accumulation, 1, MOST_BATCH),
        ];
        for (name, value, least, most) in whole {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is not between {least} and {most}");
                return Err(Error::setting(name, problem, "Choose a whole number in that range"));
            }
        }
        let shares = [
            ("captionDropout", config.caption_dropout),
            ("dropout", config.dropout),
            ("rankDropout", config.rank_dropout),
            ("moduleDropout", config.module_dropout),
        ];
        for (name, value) in shares {
            // All captions may be dropped; nothing learns from a layer of which all is dropped.
            let fits = (0.0..1.0).contains(&value) || (name == "captionDropout" && value == 1.0);
            if !fits {
                let problem = format!("{value} is not from 0 to below 1");
                return Err(Error::setting(name, problem, "Choose a share such as 0.1"));
            }
        }
        let amounts = [
            ("noiseOffset", config.noise_offset),
            ("huberC", config.huber_c),
            ("clip", config.clip),
            ("l1", config.l1),
            ("l2", config.l2),
            ("maxNorm", config.max_norm),
            ("prior.weight", config.prior.weight),
        ];
        for (name, value) in amounts {
            if !(value.is_finite() && value >= 0.0) {
                let problem = format!("{value} is not a number of at least 0");
                return Err(Error::setting(name, problem, "Choose 0 to switch it off"));
            }
        }
        let gamma = match config.weighting {
            Weighting::MinSnr { gamma } => gamma,
            _ => 1.0,
        };
        let factors = [
            ("alpha", config.alpha, "Choose the rank, or a half of it"),
            // With 0 the up factors, which start at 0, would stay there and nothing would be learned.
            ("loraPlus", config.lora_plus, "Choose 1, or 4 to 16 for LoRA+"),
            ("weighting.gamma", gamma, "Choose 5"),
        ];
        for (name, value, remedy) in factors {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, format!("{value} is not above 0"), remedy));
            }
        }
        if let Some(rate) = config.learning_rate
            && !(rate.is_finite() && rate > 0.0)
        {
            let problem = format!("{rate} is not above 0: nothing could be learned with it");
            let remedy = "Leave it out (null; the page's empty field) to have it chosen by strength, or set \
                      one such as 1e-3, 1 for Prodigy";
            return Err(Error::setting("learningRate", problem, remedy));
        }
        config.optimizer.check()?;
        if config.lora_plus != 1.0 && matches!(config.optimizer, OptimizerConfig::Prodigy(_)) {
            return Err(Error::setting(
                "loraPlus",
                "asks for two learning rates where Prodigy finds one",
                "Set it to 1, or use AdamW",
            ));
        }
        if config.lora_plus != 1.0 && matches!(config.kind, Kind::Loha | Kind::Lokr) {
            return Err(Error::setting(
                "loraPlus",
                "is for up factors, which LoHa and LoKr haven't",
                "Set it to 1, or train a LoRA",
            ));
        }
        if let Some(side) = config.resolution
            && (!(64..=2048).contains(&side) || side % 64 != 0)
        {
            let problem = format!("{side} is not a multiple of 64 from 64 to 2048");
            return Err(Error::setting("resolution", problem, "Choose 256, 384 or 512"));
        }
        if config.lokr_factor == Some(0) {
            return Err(Error::setting("lokrFactor", "is 0", "Leave it out, or choose 4 to 16"));
        }
        let activation = config.kind == Kind::Lora;
        if !activation && (config.dropout > 0.0 || config.rank_dropout > 0.0) {
            return Err(Error::setting(
                "dropout",
                "leaves out hidden values, which only LoRA and LoCon have",
                "Set dropout and rankDropout to 0, use moduleDropout, or train a LoRA",
            ));
        }
        if !activation && config.l2 > 0.0 {
            return Err(Error::setting(
                "l2",
                "is that of the product of two factors, which LoRA and LoCon have",
                "Set it to 0, use weight decay, or train a LoRA",
            ));
        }
        if config.max_norm > 0.0 && !matches!(config.kind, Kind::Lora | Kind::Dora) {
            return Err(Error::setting(
                "maxNorm",
                "limits the product of two factors, which this kind hasn't",
                "Set it to 0, or train a LoRA",
            ));
        }
        if config.init == Init::Orthogonal
            && matches!(config.kind, Kind::Lora | Kind::Dora)
            && !config.rank.is_multiple_of(2)
        {
            return Err(Error::setting(
                "rank",
                format!("{} is odd, and the orthogonal start needs two halves", config.rank),
                "Use an even rank, or the gaussian start",
            ));
        }
        if config.init == Init::Pissa {
            if !activation {
                return Err(Error::setting(
                    "init",
                    "PiSSA is a start of LoRA alone",
                    "Choose another",
                ));
            }
            if config.dropout > 0.0 || config.rank_dropout > 0.0 {
                return Err(Error::setting(
                    "init",
                    "PiSSA's factors hold the main part of the weight, and dropout would leave out some of \
                 it and none of the copy that is taken away again",
                    "Set dropout and rankDropout to 0, or choose another start",
                ));
            }
            if config.l1 > 0.0 || config.l2 > 0.0 || config.max_norm > 0.0 {
                return Err(Error::setting(
                    "init",
                    "with PiSSA the factors' product is not what is added to the weight, so l1, l2 and \
                     maxNorm would pull at the wrong thing",
                    "Set them to 0, or choose another start",
                ));
            }
        }
        Ok(())
    }
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
    let prompts = [Some(&dataset.empty), dataset.class_prompt.as_ref()];
    if prompts.iter().flatten().any(|text| text.len() != tokens * width) {
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
        if !fits || shape[0] != unet.in_channels || example.text.len() != tokens * width {
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

/// Checks what a reference brings: our own draws always fit.
///
/// # Errors
/// Names what doesn't.
pub fn draws(draws: &Draws, examples: &[&Example]) -> Result<()> {
    let bad = |problem: String| {
        Err(Error::setting("reference", problem, "Give the file that belongs to these pictures"))
    };
    if draws.index.is_empty() {
        return bad("its batches are empty".into());
    }
    for (j, &i) in draws.index.iter().enumerate() {
        let Some(example) = examples.get(i) else {
            return bad(format!("picture {i} of {} is asked for", examples.len()));
        };
        if draws.noise[j].len() != example.latents.mean.len() {
            return bad(format!(
                "its noise has {} numbers a picture where latents have {}",
                draws.noise[j].len(),
                example.latents.mean.len()
            ));
        }
    }
    Ok(())
}

//! The networks of Stable Diffusion, with diffusers' names. Each is built from its `config.json`
//! and loads from a checkpoint in diffusers' vocabulary; none knows that adapters exist.

pub mod attention;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod bands;
pub mod clip_text;
pub mod embeddings;
pub mod per_block;
pub mod resnet;
pub mod transformer_2d;
pub mod unet_2d_blocks;
pub mod unet_2d_condition;
pub mod unet_2d_config;
mod unet_stages;

pub use autoencoder_kl::{AutoencoderKL, AutoencoderKLConfig};
pub use autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig};
pub use clip_text::{CLIPTextConfig, CLIPTextModel, TextStates};
pub use unet_2d_condition::{Added, Context, UNet2DConditionModel};
pub use unet_2d_config::UNet2DConditionConfig;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::weights::Component;

/// The widest that anything in this family is taken to be, far above what there is: a file that
/// asks for more is wrong, and is refused before memory is asked for.
const WIDEST: usize = 8192;

/// The most repetitions of a layer in a block.
const DEEPEST: usize = 16;

/// The most levels of a UNet or an autoencoder.
const LEVELS: usize = 8;

/// Fields whose null says something; everywhere else it stands for the default.
const NULLABLE: [&str; 1] = ["mid_block_type"];

/// Reads a component's config, naming the field that can't be understood.
pub(crate) fn parse_config<C: serde::de::DeserializeOwned>(component: &Component) -> Result<C> {
    let Value::Object(fields) = &component.config else {
        return Err(unreadable(component, "config.json", "it isn't an object"));
    };
    let said =
        |(name, value): &(&String, &Value)| !value.is_null() || NULLABLE.contains(&name.as_str());
    let own = |(name, value): (&String, &Value)| (name.clone(), value.clone());
    let fields: serde_json::Map<_, _> = fields.iter().filter(said).map(own).collect();
    C::deserialize(Value::Object(fields.clone())).map_err(|error| {
        // serde tells what is wrong, but not where: each field alone does.
        let alone = |(name, value): (&String, &Value)| {
            let error = C::deserialize(serde_json::json!({ name: value })).err()?;
            Some((name.clone(), error))
        };
        match fields.iter().find_map(alone) {
            Some((name, error)) => unreadable(component, &name, error),
            None => unreadable(component, "config.json", error),
        }
    })
}

fn unreadable(component: &Component, key: &str, why: impl std::fmt::Display) -> Error {
    Error::key(
        &component.file,
        key,
        format!("of the {}'s config.json can't be understood: {why}", component.name),
        "Use the config that belongs to these weights",
    )
}

/// Checks numbers of a config, each with its field and the most that it may be; the least is 1.
pub(crate) fn check_sizes(component: &Component, sizes: &[(&str, usize, usize)]) -> Result<()> {
    for (field, value, most) in sizes {
        if !(1..=*most).contains(value) {
            return Err(unsupported(component, field, value));
        }
    }
    Ok(())
}

/// Checks the channels of each level.
pub(crate) fn check_levels(component: &Component, field: &str, channels: &[usize]) -> Result<()> {
    let fits = |channels: &usize| (1..=WIDEST).contains(channels);
    if !(1..=LEVELS).contains(&channels.len()) || !channels.iter().all(fits) {
        return Err(unsupported(component, field, format!("{channels:?}")));
    }
    Ok(())
}

/// An error about a config field whose value this program doesn't support.
pub(crate) fn unsupported(
    component: &Component,
    field: &str,
    value: impl std::fmt::Display,
) -> Error {
    Error::key(
        &component.file,
        field,
        format!("the value {value} isn't supported"),
        "Only models of Stable Diffusion 1, 2 and XL run here",
    )
}

//! The networks of Stable Diffusion, with diffusers' names. Each is built from its `config.json`
//! and loads from a checkpoint in diffusers' vocabulary; none knows that adapters exist.

pub mod attention;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod bands;
pub mod clip_text;
pub mod embeddings;
pub mod resnet;
pub mod transformer_2d;
pub mod unet_2d_blocks;
pub mod unet_2d_condition;

pub use autoencoder_kl::{AutoencoderKL, AutoencoderKLConfig};
pub use autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig};
pub use clip_text::{CLIPTextConfig, CLIPTextModel};
pub use unet_2d_condition::{UNet2DConditionConfig, UNet2DConditionModel};

use crate::error::{Error, Result};
use crate::weights::Component;

/// Reads a component's config, naming the field that can't be understood.
pub(crate) fn parse_config<C: serde::de::DeserializeOwned>(component: &Component) -> Result<C> {
    C::deserialize(&component.config).map_err(|error| {
        Error::key(
            &component.file,
            "config.json",
            format!("can't be understood: {error}"),
            "Use the config that belongs to these weights",
        )
    })
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
        "Only models of the Stable Diffusion 1 and 2 family run here",
    )
}

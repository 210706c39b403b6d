use burn::tensor::Tensor;

use super::loader::Loader;
use crate::error::Result;
use crate::layers::Parameters;
use crate::models::{AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig};
use crate::weights::Component;

/// Either autoencoder.
#[derive(Debug)]
pub enum Vae {
    /// The full one.
    Kl(Box<AutoencoderKL>),
    /// TAESD.
    Tiny(AutoencoderTiny),
}

impl Vae {
    /// Loads the kind that its config names.
    pub(super) fn load(loader: &mut Loader<'_, '_>, component: &Component) -> Result<Self> {
        if component.config["_class_name"] == "AutoencoderTiny" {
            let config = AutoencoderTinyConfig::parse(component)?;
            let load = |parameters: &Parameters| AutoencoderTiny::load(&config, parameters);
            Ok(Self::Tiny(loader.load(component, &[], load)?.0))
        } else {
            let config = AutoencoderKLConfig::parse(component)?;
            let load = |parameters: &Parameters| AutoencoderKL::load(&config, parameters);
            Ok(Self::Kl(Box::new(loader.load(component, &[], load)?.0)))
        }
    }

    /// Values of the largest tensor that decoding latents of `[.., height, width]` makes, by the
    /// component's config.
    pub(super) fn largest_decoded(component: &Component, [height, width]: [usize; 2]) -> usize {
        if component.config["_class_name"] == "AutoencoderTiny" {
            let channels = AutoencoderTinyConfig::parse(component).map_or(0, |config| {
                config.decoder_block_out_channels.into_iter().max().unwrap_or(0)
            });
            return channels * 64 * height * width;
        }
        AutoencoderKLConfig::parse(component)
            .map_or(0, |config| config.largest_decoded(height, width))
    }

    /// What the UNet's latents are divided by before decoding.
    pub fn scaling_factor(&self) -> f64 {
        match self {
            Self::Kl(vae) => vae.config().scaling_factor,
            Self::Tiny(vae) => vae.config().scaling_factor,
        }
    }

    /// How many times [`Self::decode_stage`] is called for one picture.
    pub fn decode_stages(&self) -> usize {
        match self {
            Self::Kl(vae) => vae.decode_stages(),
            Self::Tiny(vae) => vae.decode_stages(),
        }
    }

    /// One stage of decoding unscaled latents `[n, 4, h, w]` to `[n, 3, 8h, 8w]`.
    pub fn decode_stage(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(vae) => vae.decode_stage(stage, x),
            Self::Tiny(vae) => vae.decode_stage(stage, x),
        }
    }
}

//! How many bytes a run takes, and what a device offers.

use std::fmt;

use super::passes::{self, Layer, Means, Needs, Shape};
use crate::adapters::Part;
use crate::error::Result;
use crate::kernels;
use crate::models::UNet2DConditionConfig;
use crate::pipelines::StableDiffusion;
use crate::training::data::dataset::Dataset;
use crate::training::settings::config::{Checkpointing, Config};
use crate::training::settings::targets::is_chosen;
use crate::training::trained::adapter::Adapter;

/// Samples that an evaluation asks for at once, at least: for the drift and the diversity.
const EVALUATED: usize = 4;
/// Tokens of a text embedding.
const TOKENS: usize = 77;

/// What a device has for a run, in bytes. None: nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// That nothing holds, once text encoder and VAE have left the device.
    pub free: Option<u64>,
    /// The largest buffer that it takes.
    pub buffer: Option<u64>,
}

/// A UNet on a device, as far as memory goes.
#[derive(Debug, Clone)]
pub struct Unet<'a> {
    /// Its sizes.
    pub config: &'a UNet2DConditionConfig,
    /// Its layers that an adapter can sit on.
    pub layers: Vec<Layer<'a>>,
    /// How the device computes.
    pub means: Means,
    /// Bytes of these layers' weights, as they are stored.
    pub weights: u64,
    /// Pixels of a picture's side where the settings don't say.
    pub native: usize,
}

/// Bytes that a run takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Parameters, their gradient and averages, on host and device.
    pub adapter: u64,
    /// Of passes.
    pub passes: Needs,
    /// Of an evaluation's forward pass.
    pub evaluation: u64,
    /// The largest single tensor.
    pub buffer: u64,
}

impl Total {
    /// All of it, with blocks run twice or not.
    pub fn bytes(&self, checkpointed: bool) -> u64 {
        let Needs { whole, by_blocks, .. } = self.passes;
        self.adapter + self.evaluation.max(if checkpointed { by_blocks } else { whole })
    }
}

impl<'a> Unet<'a> {
    /// That of a model.
    pub fn of(model: &'a StableDiffusion) -> Self {
        let (sites, device) = (model.sites(Part::UNet), model.device());
        let layers: Vec<Layer> =
            sites.iter().map(|site| Layer { path: &site.path, shape: &site.shape }).collect();
        let weights = sites.iter().map(|site| site.bytes()).sum();
        let in_full: u64 = 4 * layers.iter().map(Layer::numbers).sum::<u64>();
        let means = Means {
            kernels: kernels::run_on(device),
            cpu: kernels::is_cpu(device),
            narrow: weights < in_full,
        };
        Self { config: model.unet.config(), layers, means, weights, native: model.native_size() }
    }

    /// What settings take, with `latents` `[height, width]` of the largest picture.
    ///
    /// # Errors
    /// When no layer is left to train.
    pub fn total(&self, config: &Config, latents: [usize; 2], tokens: usize) -> Result<Total> {
        let chosen = self.layers.iter().filter(|layer| is_chosen(layer.path, config));
        let parameters = Adapter::parameters_of(chosen.map(|layer| layer.shape), config);
        if parameters == 0 {
            return Err(Adapter::nothing_to_train(config));
        }
        let needs = |batch| {
            let shape = Shape { batch, latents, tokens };
            passes::needs(self.config, &self.layers, config, self.means, shape)
        };
        let passes = needs(config.batch);
        // The host has parameters, gradient and two averages, the device the first two; all of them
        // come back in one tensor.
        let each = 4 * parameters as u64;
        Ok(Total {
            adapter: 6 * each,
            passes,
            evaluation: needs(config.batch.max(EVALUATED)).forward,
            buffer: passes.buffer.max(each),
        })
    }

    /// The same of square pictures of the settings' size.
    ///
    /// # Errors
    /// As [`Self::total`].
    pub fn told(&self, config: &Config) -> Result<Total> {
        let side = config.resolution.unwrap_or(self.native) / 8;
        self.total(config, [side; 2], TOKENS)
    }
}

/// Whether blocks are run twice.
pub(super) fn checkpointed(config: &Config, total: &Total, offer: &Offer) -> bool {
    match config.checkpointing {
        Checkpointing::On => true,
        Checkpointing::Off => false,
        // What is told may be a little too small.
        Checkpointing::Auto => match offer.free {
            Some(free) => total.bytes(false) > free - free / 8,
            None => total.passes.whole > config.memory_budget,
        },
    }
}

/// Whether the passes of a data set are run block by block, where nobody has settled it.
///
/// # Errors
/// Where no layer is left to train.
pub fn by_blocks(model: &StableDiffusion, config: &Config, dataset: &Dataset) -> Result<bool> {
    let unet = Unet::of(model);
    let sizes = dataset.examples.iter().map(|example| example.latents.shape);
    let side = config.resolution.unwrap_or(model.native_size()) / 8;
    let [_, h, w] = sizes.max_by_key(|[_, h, w]| h * w).unwrap_or([4, side, side]);
    let total = unet.total(config, [h, w], dataset.text_shape[0])?;
    Ok(checkpointed(config, &total, &Offer::default()))
}

/// Bytes for people, in two or three digits.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = self.0 as f64 / 1e6;
        if mega < 1000.0 { write!(f, "{mega:.0} MB") } else { write!(f, "{:.1} GB", mega / 1e3) }
    }
}

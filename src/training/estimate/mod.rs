//! How much memory a run takes, told from its settings before anything runs; whether the device has as
//! much; and what would fit where it hasn't.

mod advice;
pub mod passes;
mod walk;

use std::fmt;

use super::adapter::Adapter;
use super::config::{Checkpointing, Config, Kind};
use super::dataset::Dataset;
use super::measuring::Plan;
use super::targets::is_chosen;
use crate::adapters::Part;
use crate::error::{Error, Result};
use crate::kernels;
use crate::models::UNet2DConditionConfig;
use crate::pipelines::StableDiffusion;
use passes::{Layer, Means, Needs, Shape};

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

/// What a run will need, for people.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Modules that are trained.
    pub modules: usize,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Bytes that training takes at most, measuring included, on top of the UNet's weights: text
    /// encoder and VAE have left the device by then.
    pub bytes: u64,
    /// Whether blocks are run twice to save memory.
    pub checkpointed: bool,
    /// How the run is measured, and how much of that there is.
    pub measuring: Plan,
    /// The full learning rate; none before the weights have been looked at.
    pub learning_rate: Option<f64>,
    /// Things worth knowing, as sentences.
    pub notes: Vec<String>,
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
fn checkpointed(config: &Config, total: &Total, offer: &Offer) -> bool {
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
pub(super) fn by_blocks(
    model: &StableDiffusion,
    config: &Config,
    dataset: &Dataset,
) -> Result<bool> {
    let unet = Unet::of(model);
    let sizes = dataset.examples.iter().map(|example| example.latents.shape);
    let side = config.resolution.unwrap_or(model.native_size()) / 8;
    let [_, h, w] = sizes.max_by_key(|[_, h, w]| h * w).unwrap_or([4, side, side]);
    let total = unet.total(config, [h, w], dataset.text_shape[0])?;
    Ok(checkpointed(config, &total, &Offer::default()))
}

/// What a run of these settings will need; `pictures` of `[train, held out, class]`. Nothing is known of
/// what the device has: [`Offer::estimate`].
///
/// # Errors
/// Names the setting that is out of range.
pub fn estimate(
    model: &StableDiffusion,
    config: &Config,
    pictures: [usize; 3],
) -> Result<Estimate> {
    Offer::default().estimate(model, config, pictures)
}

impl Offer {
    /// As [`estimate`], on a device that offers as much.
    ///
    /// # Errors
    /// Names the setting that is out of range; says what would fit where the run needs more.
    pub fn estimate(
        &self,
        model: &StableDiffusion,
        config: &Config,
        pictures: [usize; 3],
    ) -> Result<Estimate> {
        config.check()?;
        let unet = Unet::of(model);
        let total = unet.told(config)?;
        let notes = notes(config, pictures)?;
        let checkpointed = unet.fit(config, &total, self)?;
        let chosen = || unet.layers.iter().filter(|layer| is_chosen(layer.path, config));
        Ok(Estimate {
            modules: chosen().count(),
            parameters: Adapter::parameters_of(chosen().map(|layer| layer.shape), config),
            bytes: total.bytes(checkpointed),
            checkpointed,
            measuring: measuring(config, pictures),
            learning_rate: config.learning_rate,
            notes,
        })
    }
}

impl Estimate {
    /// What was told holds for the run: whether blocks are run twice is no longer left open.
    pub fn settle(&self, config: &mut Config) {
        config.checkpointing =
            if self.checkpointed { Checkpointing::On } else { Checkpointing::Off };
    }
}

impl Unet<'_> {
    /// Whether blocks are to be run twice.
    ///
    /// # Errors
    /// When the device can't offer what the run takes either way.
    pub fn fit(&self, config: &Config, total: &Total, offer: &Offer) -> Result<bool> {
        let checkpointed = checkpointed(config, total, offer);
        let bytes = total.bytes(checkpointed);
        let short = |(need, there): (u64, Option<u64>)| there.filter(|&there| need > there);
        let (name, problem) = if let Some(free) = short((bytes, offer.free)) {
            let free = Size(free);
            ("memory", format!("this run needs about {}, and {free} are free", Size(bytes)))
        } else if let Some(most) = short((total.buffer, offer.buffer)) {
            let (need, most) = (Size(total.buffer), Size(most));
            (
                "batch",
                format!("this run needs a buffer of {need}, and the GPU takes {most} at most"),
            )
        } else {
            return Ok(checkpointed);
        };
        Err(Error::setting(name, problem, advice::advice(self, config, offer, bytes)))
    }
}

fn measuring(config: &Config, [train, held_out, class]: [usize; 3]) -> Plan {
    let prompt = usize::from(config.prior.weight > 0.0 && class == 0);
    Plan::new(config, train + held_out, 1 + prompt)
}

fn notes(config: &Config, [train, held_out, class]: [usize; 3]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if train > 0 && train < 4 {
        notes.push(format!("{train} pictures are few: five to ten teach more than one thing."));
    }
    if config.steps < 100 {
        notes.push("Under 100 steps teach a style and its colours, hardly a face.".into());
    }
    if config.kind == Kind::Dora || config.kind == Kind::Loha || config.kind == Kind::Lokr {
        notes.push("This kind computes every weight anew in each step, which takes longer.".into());
    }
    if config.leave_one_out && train > 0 {
        // Those that the run will hold out by itself are none to leave out.
        let taken = if held_out == 0 { config.hold_out } else { 0 };
        let pictures = train.saturating_sub(taken);
        super::check::leave_one_out(pictures)?;
        notes.push(format!(
            "Leaving one out in turn trains {pictures} adapters more, after the run."
        ));
    }
    if config.prior.weight > 0.0 && class == 0 {
        notes.push("Prior preservation without class pictures: about twice the time.".into());
    }
    Ok(notes)
}

/// Bytes for people, in two or three digits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = self.0 as f64 / 1e6;
        if mega < 1000.0 { write!(f, "{mega:.0} MB") } else { write!(f, "{:.1} GB", mega / 1e3) }
    }
}

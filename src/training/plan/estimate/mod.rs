//! How much memory a run takes, told from its settings before anything runs; whether the device has as
//! much; and what would fit where it hasn't.

mod advice;
mod need;
pub mod passes;
mod sizes;
mod walk;

use need::{Size, checkpointed};

use super::measuring::Plan;
use crate::error::{Error, Result};
use crate::pipelines::StableDiffusion;
use crate::training::data::check;
use crate::training::settings::config::{Checkpointing, Config, Kind};
use crate::training::settings::targets::is_chosen;
use crate::training::trained::adapter::Adapter;

pub use need::{Offer, Total, Unet, by_blocks};

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
        Err(Error::memory(name, problem, advice::advice(self, config, offer, bytes)))
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
        check::leave_one_out(pictures)?;
        notes.push(format!(
            "Leaving one out in turn trains {pictures} adapters more, after the run."
        ));
    }
    if config.prior.weight > 0.0 && class == 0 {
        notes.push("Prior preservation without class pictures: about twice the time.".into());
    }
    Ok(notes)
}

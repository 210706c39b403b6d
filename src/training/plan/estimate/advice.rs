//! What would fit, where a run doesn't.

use super::need::{Offer, Size, Total, Unet, checkpointed};
use crate::training::settings::config::{Checkpointing, Config, Kind, Targets};

/// The smallest side that is proposed, in pixels, and its steps.
const SMALLEST: usize = 192;
const STEP: usize = 64;

/// Up to three ways that fit, each a change of one thing as far as that goes; as a sentence without its
/// full stop. `bytes`: what the run itself takes.
pub(super) fn advice(unet: &Unet, config: &Config, offer: &Offer, bytes: u64) -> String {
    let free = Config { checkpointing: Checkpointing::Auto, ..config.clone() };
    let mut found = Vec::new();
    let mut changes = vec![twice(config)];
    changes.push(first(unet, offer, smaller_batches(&free)));
    changes.push(first(unet, offer, smaller_pictures(unet, &free)));
    changes.push(first(unet, offer, fewer_layers(&free)));
    for change in changes.into_iter().flatten() {
        if let Some(bytes) = fits(unet, &change.config, offer) {
            found.push(format!("{} ({})", change.words, Size(bytes)));
        }
    }
    found.truncate(3);
    if found.is_empty() {
        let all = first(unet, offer, everything(unet, &free));
        found.extend(all.map(|change| change.words));
    }
    if let Some(words) = in_blocks(unet, offer, bytes) {
        found.push(words);
    }
    if found.is_empty() {
        return "Nothing smaller fits here either: use a smaller model, or close other tabs".into();
    }
    format!("These fit: {}", found.join("; "))
}

struct Change {
    words: String,
    config: Config,
}

/// Bytes of what fits.
fn fits(unet: &Unet, config: &Config, offer: &Offer) -> Option<u64> {
    let total: Total = unet.told(config).ok()?;
    let bytes = total.bytes(checkpointed(config, &total, offer));
    let within = |need: u64, there: Option<u64>| there.is_none_or(|there| need <= there);
    (within(bytes, offer.free) && within(total.buffer, offer.buffer)).then_some(bytes)
}

fn first(unet: &Unet, offer: &Offer, mut all: impl Iterator<Item = Change>) -> Option<Change> {
    all.find(|change| fits(unet, &change.config, offer).is_some())
}

/// Blocks run twice, where that was switched off.
fn twice(config: &Config) -> Option<Change> {
    (config.checkpointing == Checkpointing::Off).then(|| Change {
        words: "checkpointing on".into(),
        config: Config { checkpointing: Checkpointing::On, ..config.clone() },
    })
}

/// The same samples in each step, fewer at once.
fn smaller_batches(config: &Config) -> impl Iterator<Item = Change> {
    let Config { batch, accumulation, .. } = *config;
    let of = move |part: usize| (batch % part == 0).then_some((batch / part, accumulation * part));
    (2..=batch).filter_map(of).map(move |(batch, accumulation)| Change {
        words: format!("batch {batch} with accumulation {accumulation}"),
        config: Config { batch, accumulation, ..config.clone() },
    })
}

fn smaller_pictures(unet: &Unet, config: &Config) -> impl Iterator<Item = Change> {
    let side = config.resolution.unwrap_or(unet.native);
    let sides = (SMALLEST..side).step_by(STEP).collect::<Vec<_>>();
    sides.into_iter().rev().map(move |side| Change {
        words: format!("pictures of {side} px"),
        config: Config { resolution: Some(side), ..config.clone() },
    })
}

/// Fewer layers, or a kind that leaves the weights alone.
fn fewer_layers(config: &Config) -> impl Iterator<Item = Change> {
    let kind = (config.kind != Kind::Lora).then(|| Change {
        words: "a LoRA".into(),
        config: Config { kind: Kind::Lora, ..config.clone() },
    });
    let fewer = match config.targets {
        Targets::Convolution => &[Targets::Linear, Targets::Attention][..],
        Targets::Linear => &[Targets::Attention],
        Targets::Attention | Targets::CrossAttention => &[],
    };
    let targets = fewer.iter().map(|&targets| Change {
        words: match targets {
            Targets::Linear => "linear layers alone".into(),
            _ => "attention alone".into(),
        },
        config: Config { targets, ..config.clone() },
    });
    kind.into_iter().chain(targets)
}

/// Pictures one at a time, and those smaller.
fn everything(unet: &Unet, config: &Config) -> impl Iterator<Item = Change> {
    let accumulation = (config.batch * config.accumulation).min(64);
    let least = Config { batch: 1, accumulation, ..config.clone() };
    let both = smaller_pictures(unet, &least).collect::<Vec<_>>().into_iter();
    both.map(move |change| Change {
        words: format!("batch 1 with accumulation {accumulation} and {}", change.words),
        ..change
    })
}

/// The model's weights in 8-bit blocks, where what that frees is enough.
fn in_blocks(unet: &Unet, offer: &Offer, bytes: u64) -> Option<String> {
    let short = bytes.saturating_sub(offer.free?);
    let fit = |shape: &[usize]| shape.iter().skip(2).all(|&length| length == 1);
    let kept: u64 = unet
        .layers
        .iter()
        .map(|layer| {
            let numbers = layer.numbers();
            // 32 numbers in 9 words.
            if fit(layer.shape) { numbers.div_ceil(32) * 36 } else { 2 * numbers }
        })
        .sum();
    (short > 0 && unet.weights.saturating_sub(kept) >= short)
        .then(|| "the model loaded again with weights in 8 bits".into())
}

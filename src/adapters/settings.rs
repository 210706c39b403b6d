//! Rank and alpha that stand outside an adapter's tensors: in the header's metadata, or in an
//! `adapter_config.json` beside the file.

use regex::Regex;
use serde_json::Value;

use super::file::{BROKEN, Part};
use crate::error::{Error, Result};
use crate::weights::Index;

/// What the two places say of each part of the model.
pub(super) struct Settings {
    unet: PartSettings,
    text_encoder: PartSettings,
}

struct PartSettings {
    alpha: Option<f32>,
    /// Of those that fit a path the first counts.
    alpha_patterns: Vec<(Regex, f32)>,
    rank: Option<f32>,
    /// As those of alpha.
    rank_patterns: Vec<(Regex, f32)>,
    rank_stabilised: bool,
}

impl Settings {
    /// Reads diffusers' `lora_adapter_metadata` (`{"unet.r": 8, "unet.lora_alpha": 16, ...}`,
    /// `loaders/lora_base.py`) and PEFT's config; what the header says wins.
    ///
    /// # Errors
    /// When the header's entry isn't JSON.
    pub fn new(index: &Index, config: Option<&Value>) -> Result<Self> {
        const KEY: &str = "lora_adapter_metadata";
        let parse = |text: &String| {
            serde_json::from_str::<Value>(text).map_err(|error| {
                Error::key(&index.file, KEY, format!("isn't JSON ({error})"), BROKEN)
            })
        };
        let header = index.metadata.get(KEY).map(parse).transpose()?;
        let part = |prefix: &str| {
            let get = |field: &str| {
                let header = header.as_ref();
                header
                    .and_then(|json| {
                        json.get(format!("{prefix}.{field}")).or_else(|| json.get(field))
                    })
                    .or_else(|| config?.get(field))
                    .filter(|value| !value.is_null())
            };
            PartSettings {
                // PEFT's LoHa and LoKr call it alpha.
                alpha: get("lora_alpha").or_else(|| get("alpha")).and_then(number),
                alpha_patterns: get("alpha_pattern").map(patterns).unwrap_or_default(),
                rank: get("r").and_then(number),
                rank_patterns: get("rank_pattern").map(patterns).unwrap_or_default(),
                rank_stabilised: get("use_rslora") == Some(&Value::Bool(true)),
            }
        };
        Ok(Self { unet: part("unet"), text_encoder: part("text_encoder") })
    }

    /// PEFT's alpha of a module: `alpha_pattern` wins over `lora_alpha`.
    pub fn alpha(&self, part: Part, path: &str) -> Option<f32> {
        let settings = self.part(part);
        special(&settings.alpha_patterns, path).or(settings.alpha)
    }

    /// PEFT's rank of a module, for factors whose shapes don't tell it: `rank_pattern` wins over `r`.
    pub fn rank(&self, part: Part, path: &str) -> Option<f32> {
        let settings = self.part(part);
        special(&settings.rank_patterns, path).or(settings.rank)
    }

    /// Whether the scale is alpha / sqrt(rank) (`use_rslora`).
    pub fn rank_stabilised(&self, part: Part) -> bool {
        self.part(part).rank_stabilised
    }

    fn part(&self, part: Part) -> &PartSettings {
        match part {
            Part::UNet => &self.unet,
            Part::TextEncoder => &self.text_encoder,
        }
    }
}

/// The number of the first pattern that fits.
fn special(patterns: &[(Regex, f32)], path: &str) -> Option<f32> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(path)).map(|(_, number)| *number)
}

/// A key is a regular expression for a module's path or the end of it (`peft/utils/other.py`,
/// `get_pattern_key`). PEFT takes the first in the file that fits, we the longest, which is that
/// one wherever the order makes sense.
fn patterns(value: &Value) -> Vec<(Regex, f32)> {
    let mut keys: Vec<_> = value.as_object().into_iter().flatten().collect();
    keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    let compile = |(key, alpha): (&String, &Value)| {
        Some((Regex::new(&format!("^(?:.*\\.)?(?:{key})$")).ok()?, number(alpha)?))
    };
    keys.into_iter().filter_map(compile).collect()
}

fn number(value: &Value) -> Option<f32> {
    Some(value.as_f64()? as f32)
}

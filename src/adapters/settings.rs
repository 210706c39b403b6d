//! Rank and alpha that stand outside an adapter's tensors: in the header's metadata, or in an
//! `adapter_config.json` beside the file.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::keys::adapter_names::Part;
use crate::weights::{Index, parse_json};

/// Stable Diffusion has some hundred layers: more patterns than that are no settings.
const MOST_PATTERNS: usize = 1000;

/// Bytes of a compiled pattern; a module's path takes some thousand.
const MOST_COMPILED: usize = 1 << 18;

/// What the two places say of each part of the model.
pub struct Settings {
    unet: PartSettings,
    text_encoder: PartSettings,
    text_encoder_2: PartSettings,
    /// What of them can't be used, as sentences.
    pub notes: Vec<String>,
    /// The header's and the config's own JSON, for what only some kinds ask.
    json: [Option<Value>; 2],
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
    pub fn new(index: &Index, config: Option<&Value>) -> Self {
        const KEY: &str = "lora_adapter_metadata";
        let mut notes = Vec::new();
        let header = match index.metadata.get(KEY).map(|text| parse_json(text)).transpose() {
            Ok(header) => header,
            Err(error) => {
                notes.push(format!(
                    "The header's {KEY} isn't JSON ({error}), so that rank and alpha aren't taken from it"
                ));
                None
            }
        };
        let mut part = |prefix: &str| {
            let get = |field: &str| find([header.as_ref(), config], prefix, field);
            PartSettings {
                // PEFT's LoHa and LoKr call it alpha.
                alpha: get("lora_alpha").or_else(|| get("alpha")).and_then(number),
                alpha_patterns: patterns("alpha_pattern", get("alpha_pattern"), &mut notes),
                rank: get("r").and_then(number),
                rank_patterns: patterns("rank_pattern", get("rank_pattern"), &mut notes),
                rank_stabilised: get("use_rslora") == Some(&Value::Bool(true)),
            }
        };
        let [unet, text_encoder, text_encoder_2] = Part::ALL.map(|it| part(it.name()));
        // Both parts of the model read the same.
        notes.sort();
        notes.dedup();
        Self { unet, text_encoder, text_encoder_2, notes, json: [header, config.cloned()] }
    }

    /// A field of a part's settings.
    pub fn field(&self, part: Part, name: &str) -> Option<&Value> {
        find(self.json.each_ref().map(Option::as_ref), part.name(), name)
    }

    /// A field that lists words.
    pub fn words(&self, part: Part, name: &str) -> Option<Vec<String>> {
        let list = self.field(part, name)?.as_array()?;
        Some(list.iter().filter_map(|word| Some(word.as_str()?.to_string())).collect())
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
            Part::TextEncoder2 => &self.text_encoder_2,
        }
    }
}

/// What header and config, in this order, say of a field.
fn find<'a>(
    [header, config]: [Option<&'a Value>; 2],
    prefix: &str,
    field: &str,
) -> Option<&'a Value> {
    header
        .and_then(|json| json.get(format!("{prefix}.{field}")).or_else(|| json.get(field)))
        .or_else(|| config?.get(field))
        .filter(|value| !value.is_null())
}

/// The number of the first pattern that fits.
fn special(patterns: &[(Regex, f32)], path: &str) -> Option<f32> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(path)).map(|(_, number)| *number)
}

/// A key is a regular expression for a module's path or the end of it (`peft/utils/other.py`,
/// `get_pattern_key`). PEFT takes the first in the file that fits, we the longest, which is that
/// one wherever the order makes sense.
fn patterns(field: &str, value: Option<&Value>, notes: &mut Vec<String>) -> Vec<(Regex, f32)> {
    let mut keys: Vec<_> = value.and_then(Value::as_object).into_iter().flatten().collect();
    keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    let mut unread = Vec::new();
    let mut read = Vec::new();
    for (key, number) in keys {
        let pattern = format!("^(?:.*\\.)?(?:{key})$");
        let regex = RegexBuilder::new(&pattern).size_limit(MOST_COMPILED).build();
        match (regex, self::number(number)) {
            (Ok(regex), Some(number)) if read.len() < MOST_PATTERNS => read.push((regex, number)),
            _ => unread.push(key.as_str()),
        }
    }
    if let Some(first) = unread.first() {
        notes.push(format!(
            "{} of the expressions in its {field} can't be read, the first being `{first}`: layers that \
             they are for take what the others have",
            unread.len()
        ));
    }
    read
}

fn number(value: &Value) -> Option<f32> {
    Some(value.as_f64()? as f32).filter(|number| number.is_finite())
}

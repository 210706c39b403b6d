//! What an adapter's file holds and how much of it is used, for people.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::base;
use super::embedding::Embedding;
use super::speed::Advice;
use crate::error::shown;

/// How an adapter's file fits the model. Serialised for the page.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CoverageReport {
    /// `LoRA`, `IA3`, `norm difference` and so on ([`super::Kind`]); several with ` + ` between them.
    pub kind: String,
    /// The tool whose names the file uses.
    pub naming: String,
    /// All of this in one line.
    pub summary: String,
    /// Modules attached.
    pub modules_used: usize,
    /// Modules that the file holds.
    pub modules_in_file: usize,
    /// Of those attached, how many sit in the UNet.
    pub unet_modules: usize,
    /// Of those attached, how many sit in the text encoder, or in both.
    pub text_encoder_modules: usize,
    /// Of these, how many sit in the second one (SDXL).
    pub second_encoder_modules: usize,
    /// Smallest and largest rank; 0 where no module has one.
    pub ranks: [usize; 2],
    /// Smallest and largest alpha; the rank where the file says none.
    pub alphas: [f32; 2],
    /// Words that it teaches the text encoder (textual inversion).
    pub embeddings: Vec<Taught>,
    /// The base model that the file says it was trained on.
    pub base_model: Option<String>,
    /// Words that wake it, the likeliest first.
    pub trigger_words: Vec<String>,
    /// Each key that is not used, with the reason.
    pub unused: Vec<(String, String)>,
    /// Things worth knowing, as sentences.
    pub notes: Vec<String>,
    /// The settings to draw with, where the adapter is made for few steps.
    pub advice: Option<Advice>,
}

/// A word that an embedding teaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taught {
    /// What it is called in a prompt.
    pub name: String,
    /// How many tokens' places it takes.
    pub vectors: usize,
}

impl CoverageReport {
    /// That of a file with nothing but embeddings.
    pub(super) fn of_embeddings(embeddings: &[Embedding]) -> Self {
        let taught = taught(embeddings);
        let vectors: usize = taught.iter().map(|word| word.vectors).sum();
        let plural = if vectors == 1 { "" } else { "s" };
        let names: Vec<String> = taught.iter().map(|word| format!("“{}”", word.name)).collect();
        Self {
            kind: "Textual inversion".into(),
            summary: format!(
                "{vectors} vector{plural}, where a prompt has the word {}",
                names.join(" or ")
            ),
            trigger_words: taught.iter().map(|word| word.name.clone()).collect(),
            embeddings: taught,
            ..Self::default()
        }
    }

    /// Adds embeddings that came bundled.
    pub(super) fn bundled(&mut self, embeddings: &[Embedding]) {
        let taught = taught(embeddings);
        for word in &taught {
            let Taught { name, vectors } = word;
            self.notes.push(format!(
                "It brings the word “{name}” along ({vectors} vectors), which works while it is on."
            ));
            if !self.trigger_words.contains(name) {
                self.trigger_words.push(name.clone());
            }
        }
        self.embeddings = taught;
    }

    /// Fills in what the header's metadata tells, then the summary. `alpha_told`: by any module.
    pub(super) fn finish(mut self, metadata: &BTreeMap<String, String>, alpha_told: bool) -> Self {
        self.base_model = base::told(metadata).map(short);
        self.trigger_words = trigger_words(metadata).iter().map(|words| short(words)).collect();
        let range = |[low, high]: [String; 2]| {
            if low == high { low } else { format!("{low} to {high}") }
        };
        let text = match (self.text_encoder_modules, self.second_encoder_modules) {
            (all, 0) => format!("text encoder {all}"),
            (all, second) => format!("text encoders {} and {second}", all - second),
        };
        self.summary = format!(
            "{} of {} modules: UNet {}, {text}; ",
            self.modules_used, self.modules_in_file, self.unet_modules,
        );
        self.summary += &match self.ranks {
            [_, 0] if self.kind == "LoKr" => "whole factors".to_string(),
            [_, 0] => "no ranks".to_string(),
            ranks => {
                let ranks = range(ranks.map(|rank| rank.to_string()));
                let alphas = range(self.alphas.map(|alpha| alpha.to_string()));
                let alphas = if alpha_told { alphas } else { "not told".into() };
                format!("rank {ranks}, alpha {alphas}")
            }
        };
        if let Some(base) = &self.base_model {
            self.summary += &format!("; trained on {base}");
        }
        if !self.trigger_words.is_empty() {
            self.summary += &format!("; trigger words: {}", self.trigger_words.join(", "));
        }
        self
    }
}

/// Each under the first of its names.
fn taught(embeddings: &[Embedding]) -> Vec<Taught> {
    let word = |embedding: &Embedding| Taught {
        name: short(embedding.names.first().map_or("", String::as_str)),
        vectors: embedding.vectors(),
    };
    embeddings.iter().map(word).collect()
}

/// What metadata says, of which anything may be in it, for one line.
fn short(text: &str) -> String {
    shown(text, 120)
}

/// `modelspec.trigger_phrase` first, then the tags of kohya's `ss_tag_frequency`, the most frequent
/// first; ten at most.
fn trigger_words(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let phrase = metadata.get("modelspec.trigger_phrase").cloned();
    let mut words: Vec<String> = phrase.filter(|phrase| !phrase.is_empty()).into_iter().collect();
    for (tag, _) in tag_counts(metadata) {
        if words.len() < 10 && !words.contains(&tag) {
            words.push(tag);
        }
    }
    words
}

/// The tags of kohya's `ss_tag_frequency` (`{"data set": {"tag": count}}`) and how often they came, the
/// most frequent first.
pub fn tag_counts(metadata: &BTreeMap<String, String>) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let sets = metadata.get("ss_tag_frequency").and_then(|text| serde_json::from_str(text).ok());
    if let Some(Value::Object(sets)) = sets {
        for (tag, count) in sets.values().filter_map(Value::as_object).flatten() {
            let count = count.as_u64().unwrap_or(0);
            let sum: &mut u64 = counts.entry(tag.trim().to_string()).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    let mut tags: Vec<_> = counts.into_iter().filter(|(tag, _)| !tag.is_empty()).collect();
    tags.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    tags
}

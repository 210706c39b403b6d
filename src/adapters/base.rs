//! Which base model an adapter's file was made for, as far as it tells.

use std::collections::BTreeMap;

use super::kinds::{self, loha, low_rank};
use super::width;
use crate::weights::Index;

/// What the header says of its base model, as it is written there.
pub(super) fn told(metadata: &BTreeMap<String, String>) -> Option<&str> {
    ["ss_base_model_version", "ss_sd_model_name", "modelspec.architecture"]
        .into_iter()
        .filter_map(|key| metadata.get(key))
        .map(String::as_str)
        .find(|value| !value.is_empty() && *value != "None")
}

/// Ends a sentence about what doesn't fit: `; the file says that it was made for sd_v1 (Stable
/// Diffusion 1)`. Without metadata the width of the text embeddings tells; empty where nothing does.
pub(super) fn words(index: &Index) -> String {
    match told(&index.metadata) {
        Some(base) => {
            let known = family(base).map_or(String::new(), |name| format!(" ({name})"));
            format!("; the file says that it was made for {base}{known}")
        }
        None => match by_width(index) {
            Some((_, name)) => format!("; by its text embeddings the file was made for {name}"),
            None => String::new(),
        },
    }
}

/// The family that metadata names in kohya's words or modelspec's.
pub(super) fn family(base: &str) -> Option<&'static str> {
    let base = base.to_lowercase();
    let marks = [
        ("xl", "Stable Diffusion XL"),
        ("pony", "Stable Diffusion XL"),
        ("illustrious", "Stable Diffusion XL"),
        ("flux", "Flux"),
        ("sd3", "Stable Diffusion 3"),
        ("diffusion-3", "Stable Diffusion 3"),
        ("sd_v2", "Stable Diffusion 2"),
        ("diffusion-v2", "Stable Diffusion 2"),
        ("sd_v1", "Stable Diffusion 1"),
        ("diffusion-v1", "Stable Diffusion 1"),
    ];
    marks.iter().find(|(mark, _)| base.contains(mark)).map(|(_, name)| *name)
}

/// SDXL and its relatives.
pub(super) const XL: &str = "Stable Diffusion XL";

/// By what the layers that read text embeddings take in: the key of one, and the model.
pub(super) fn by_width(index: &Index) -> Option<(&str, &'static str)> {
    index.tensors.iter().find_map(|(key, info)| {
        let (module, role) = kinds::split(index, key)?;
        let reads = ["attn2_to_k", "attn2.to_k", "attn2_to_v", "attn2.to_v"];
        let inner = [low_rank::DOWN, loha::W1_B].contains(&role);
        let reads = reads.iter().any(|end| module.ends_with(end));
        let model = (inner && reads).then(|| width::model_of(*info.shape.get(1)?)).flatten()?;
        Some((key.as_str(), model))
    })
}

/// Whether it was made for Stable Diffusion 2.
pub(super) fn is_second(index: &Index) -> bool {
    let told = told(&index.metadata).and_then(family);
    by_width(index).map(|(_, name)| name).or(told) == Some("Stable Diffusion 2")
}

/// What to say of an adapter of which this much fits the model, which is SDXL or 1 or 2.
pub(super) fn note(index: &Index, used: usize, in_file: usize, xl: bool) -> Option<String> {
    let ours: &[&str] = if xl { &[XL] } else { &["Stable Diffusion 1", "Stable Diffusion 2"] };
    let other = told(&index.metadata).and_then(family).is_some_and(|name| !ours.contains(&name));
    (used < in_file && (other || 2 * used < in_file)).then(|| {
        format!(
            "Only {used} of its {in_file} modules fit this model{}: little of what it was trained for \
             will show",
            words(index)
        )
    })
}

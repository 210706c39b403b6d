//! What an adapter's file holds, layer by layer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::change::norm;
use super::opened::Opened;
use super::sites::Layers;
use crate::adapters::CoverageReport;
use crate::adapters::file::Part;
use crate::adapters::report::tag_counts;
use crate::error::{Result, shown};

/// Everything that there is to say about a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// How it fits the model.
    pub report: CoverageReport,
    /// Its modules, by part and path.
    pub layers: Vec<Layer>,
    /// Words of the captions that it was trained with and how often they came, the commonest first
    /// (kohya's `ss_tag_frequency`).
    pub tags: Vec<(String, u64)>,
    /// What the header says.
    pub metadata: BTreeMap<String, String>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// `unet`, `text_encoder` or `text_encoder_2`.
    pub part: &'static str,
    /// The layer's path in diffusers' names.
    pub path: String,
    /// What it is.
    pub kind: &'static str,
    /// 0 for what has none.
    pub rank: usize,
    /// Where the file says one.
    pub alpha: Option<f32>,
    /// What the product of its factors is multiplied by.
    pub scale: f32,
    /// The Frobenius norm of what it adds at strength 1; none where that depends on the model's own
    /// weight.
    pub norm: Option<f64>,
}

/// The name of a part of the model, as diffusers' folders have it.
pub(super) fn part_name(part: Part) -> &'static str {
    part.name()
}

/// Looks into a file that was read.
///
/// # Errors
/// When a factor doesn't fit its layer.
pub fn inspect(opened: &Opened, layers: &Layers) -> Result<Inspection> {
    let shapes = layers.shapes();
    let layer = |module: &crate::adapters::AdapterModule| {
        let shape = shapes.get(&(module.part, module.path.as_str())).copied().unwrap_or_default();
        Ok(Layer {
            part: part_name(module.part),
            path: module.path.clone(),
            kind: module.kind().label(),
            rank: module.rank,
            alpha: module.alpha,
            scale: module.scale,
            norm: norm(module, shape)?,
        })
    };
    Ok(Inspection {
        report: opened.file.report.clone(),
        layers: opened.file.modules.iter().map(layer).collect::<Result<_>>()?,
        tags: tag_counts(&opened.origin.metadata),
        metadata: opened.origin.metadata.clone(),
    })
}

impl std::fmt::Display for Inspection {
    /// For people: the report, the words, the layers, the metadata.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CoverageReport { kind, naming, summary, unused, notes, .. } = &self.report;
        writeln!(to, "{kind}, in the names of {naming}\n{summary}")?;
        for note in notes {
            writeln!(to, "{}", shown(note, 1000))?;
        }
        for (key, why) in unused {
            writeln!(to, "not used: {}: {}", shown(key, 200), shown(why, 400))?;
        }
        if !self.tags.is_empty() {
            writeln!(to, "\nWords of its captions:")?;
        }
        for (tag, count) in self.tags.iter().take(50) {
            writeln!(to, "{count:6}  {}", shown(tag, 120))?;
        }
        writeln!(to, "\n  rank  alpha      norm  layer")?;
        for layer in &self.layers {
            let Layer { part, path, kind, rank, alpha, norm, .. } = layer;
            let rank = if *rank > 0 { rank.to_string() } else { "-".into() };
            let alpha = alpha.map_or("-".into(), |alpha| alpha.to_string());
            let norm = norm.map_or("by base".into(), |norm| format!("{norm:.4}"));
            writeln!(to, "{rank:>6} {alpha:>6} {norm:>9}  {part}.{path} ({kind})")?;
        }
        if !self.metadata.is_empty() {
            writeln!(to, "\nMetadata:")?;
        }
        for (key, value) in &self.metadata {
            writeln!(to, "{} = {}", shown(key, 120), shown(value, 200))?;
        }
        Ok(())
    }
}

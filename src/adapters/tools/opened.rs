//! An adapter's file as the tools take it, and as they write it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sites::Layers;
use crate::adapters::file::{self, AdapterFile, Part};
use crate::adapters::format::{self, File, Format, LeftOut, Wanted};
use crate::adapters::module::AdapterModule;
use crate::adapters::save::{BaseModel, Metadata, Precision};
use crate::error::Result;
use crate::weights::{Dtype, Index, Source};

/// A file, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What it holds.
    pub file: AdapterFile,
    /// What of it is carried into what is made of it.
    pub origin: Origin,
}

/// Where something came from: what a new file says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// The name for people.
    pub title: String,
    /// What the header says.
    pub metadata: BTreeMap<String, String>,
    /// Whether all its numbers are halves, which is what then is written.
    pub half: bool,
}

/// What a header says of the adapter's numbers, which other numbers make untrue.
const STALE: [&str; 7] = [
    "ss_network_dim",
    "ss_network_alpha",
    "ss_network_args",
    "ss_network_module",
    "lora_adapter_metadata",
    "modelspec.hash_sha256",
    "modelspec.architecture",
];

impl Opened {
    /// Reads a file for a model with these layers. `config` is an `adapter_config.json` beside it.
    ///
    /// # Errors
    /// As [`file::read`].
    pub fn read(source: &dyn Source, config: Option<&Value>, layers: &Layers) -> Result<Self> {
        let file = file::read(source, config, &layers.sites, layers.layout.as_ref())?;
        let Index { tensors, metadata, .. } = Index::read(source)?;
        let half = tensors.values().all(|info| info.dtype == Dtype::F16);
        let stem = file.name.rsplit('/').next().unwrap_or(&file.name);
        let stem = stem.strip_suffix(".safetensors").unwrap_or(stem);
        let told = ["modelspec.title", "ss_output_name"].into_iter().find_map(|key| {
            metadata.get(key).filter(|title| !title.is_empty() && *title != "None")
        });
        let title = told.map_or(stem, String::as_str).to_string();
        Ok(Self { file, origin: Origin { title, metadata, half } })
    }
}

impl Origin {
    /// What a new file's header says. `made`: how it came about, in words.
    pub fn metadata(&self, layers: &Layers, made: &str) -> Metadata {
        let stale = |key: &str| STALE.contains(&key) || key.starts_with("sshs_");
        let kept = self.metadata.iter().filter(|(key, _)| !stale(key));
        let mut entries: BTreeMap<_, _> =
            kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        entries.insert("lorakeet_made".into(), made.into());
        let says =
            |key: &str, end: &str| self.metadata.get(key).is_some_and(|value| value.ends_with(end));
        let v2 = layers.sites.iter().any(|site| {
            site.part == Part::UNet
                && site.path.ends_with("attn2.to_k")
                && site.shape.get(1) == Some(&1024)
        });
        let v_prediction =
            says("ss_base_model_version", "_v") || says("modelspec.prediction_type", "v");
        let base = BaseModel { v2, v_prediction };
        let xl = layers.sites.iter().any(|site| site.part == Part::TextEncoder2);
        let xl = layers.layout.clone().filter(|_| xl);
        Metadata { title: self.title.clone(), base, xl, entries, ..Metadata::default() }
    }

    /// Writes modules as a file of this format, and reads what was written. What the format has no room
    /// for is left out and named, each with the reason.
    ///
    /// # Errors
    /// When nothing is left, and as [`format::write`].
    pub fn write(
        &self,
        modules: &[AdapterModule],
        format: Format,
        half: Option<bool>,
        layers: &Layers,
        made: &str,
    ) -> Result<(Vec<File>, Vec<LeftOut>)> {
        let (kept, left_out) = format::sorted(format, modules);
        let metadata = self.metadata(layers, made);
        let half = half.unwrap_or(self.half);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        // All that can't be written says so best by itself.
        let modules = if kept.is_empty() { modules } else { &kept };
        let wanted = Wanted { modules, precision, metadata: &metadata, format };
        let files = format::write(&wanted, &layers.sites, layers.layout.as_ref())?;
        Ok((files, left_out))
    }
}

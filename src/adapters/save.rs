//! An adapter to the bytes of a file that other tools read: kohya's format (the default; what A1111,
//! ComfyUI and Forge expect), diffusers' and PEFT's. Formats and metadata:
//! `docs/specs/adapter-formats.md`, B.9.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;

use super::Part;
use super::kinds::{HostFactors, HostTensor, Kind, KroneckerFactor, LoKr, dora};
use super::module::AdapterModule;
use crate::error::{Error, Result};
use crate::keys::ldm::{UNetLayout, unet_module_to_ldm};
use crate::weights::save::{Named, legacy_hash, model_hash, write};

pub use super::peft::{diffusers, peft};
pub use super::verify::verify;
pub use crate::weights::save::Precision;

/// Where diffusers keeps the configs of all parts (`LORA_ADAPTER_METADATA_KEY` in
/// `loaders/lora_base.py`).
pub(super) const HEADER: &str = "lora_adapter_metadata";

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The adapter.
    pub modules: &'a [AdapterModule],
    /// The type of its numbers.
    pub precision: Precision,
    /// What is said of it.
    pub metadata: &'a Metadata,
}

/// The model that an adapter was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BaseModel {
    /// Stable Diffusion 2 rather than 1.
    pub v2: bool,
    /// The model predicts velocity rather than noise.
    pub v_prediction: bool,
}

/// What the header tells of an adapter.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// `modelspec.title` and `ss_output_name`.
    pub title: String,
    /// `ss_base_model_version` and `modelspec.architecture`.
    pub base: BaseModel,
    /// Of an adapter for SDXL: how its UNet's blocks are grouped. kohya's files are in sgm's names then,
    /// which are the only ones that every tool reads.
    pub xl: Option<UNetLayout>,
    /// Width and height of the training pictures; 0 where nobody knows.
    pub resolution: [usize; 2],
    /// ISO 8601, `modelspec.date`.
    pub date: Option<String>,
    /// `modelspec.trigger_phrase`.
    pub trigger_phrase: Option<String>,
    /// A `data:` URL with a small picture, `modelspec.thumbnail`.
    pub thumbnail: Option<String>,
    /// Anything else under its full name, `ss_learning_rate`, `ss_tag_frequency`,
    /// `modelspec.author` ..; an entry here wins over what is written by itself.
    pub entries: BTreeMap<String, String>,
}

/// kohya's format, `lora_unet_<path with underscores>.lora_down.weight`; LoHa, LoKr and DoRA as
/// LyCORIS writes them under the same prefixes.
///
/// # Errors
/// When the adapter is empty, changes nothing, isn't finite, or doesn't fit into the precision.
pub fn kohya(export: &Export<'_>) -> Result<Vec<u8>> {
    check(export)?;
    let mut tensors = Vec::new();
    for module in export.modules {
        let module = with_scale_in_factors(module);
        let name = name(export.metadata, module.part, &module.path);
        let pieces = module.factors.written().map_err(|why| unwritten(&module, why))?;
        for piece in pieces {
            let key = format!("{name}.{}", piece.suffix);
            tensors.push(Named::new(key, piece.shape, &piece.data, export.precision));
        }
        if !module.factors.is_scaled() {
            continue;
        }
        let alpha = alpha(&module);
        // As the other tensors' wherever that is exact: a rounded alpha would be another strength.
        let precision =
            if export.precision.round(alpha) == alpha { export.precision } else { Precision::F32 };
        tensors.push(Named::new(format!("{name}.alpha"), vec![], &[alpha], precision));
    }
    // kohya hashes the file as it would be with its own entries alone, so that a title edited later
    // changes nothing (`precalculate_safetensors_hashes` in library/train_util.py).
    let mut metadata = training_entries(export);
    let hashed = write(&tensors, &metadata)?;
    metadata.extend(common_entries(export.metadata));
    if export.metadata.xl.is_some() {
        // By its names: kohya's `sai_model_spec.py`.
        let sgm = concat!("https:/", "/github.com/Stability-AI/generative-models");
        metadata.insert("modelspec.implementation".into(), sgm.into());
    }
    metadata.insert("sshs_model_hash".into(), model_hash(&hashed));
    metadata.insert("sshs_legacy_hash".into(), legacy_hash(&hashed));
    write(&tensors, &metadata)
}

/// kohya's name of a module for the model that the metadata speak of.
fn name(metadata: &Metadata, part: Part, path: &str) -> String {
    let Some(layout) = &metadata.xl else { return kohya_name(part, path) };
    let flat = |path: &str| path.replace('.', "_");
    match (part, unet_module_to_ldm(path, layout)) {
        (Part::UNet, Some(ldm)) => format!("lora_unet_{}", flat(&ldm)),
        (Part::TextEncoder, _) => format!("lora_te1_{}", flat(path)),
        _ => kohya_name(part, path),
    }
}

/// kohya's name of a module, of Stable Diffusion 1 and 2 with diffusers' paths.
pub fn kohya_name(part: Part, path: &str) -> String {
    let prefix = match part {
        Part::UNet => "lora_unet_",
        Part::TextEncoder => "lora_te_",
        Part::TextEncoder2 => "lora_te2_",
    };
    format!("{prefix}{}", path.replace('.', "_"))
}

/// The alpha that gives a module its scale: the file's own, where it does.
pub(super) fn alpha(module: &AdapterModule) -> f32 {
    let rank = module.rank.max(1) as f32;
    let own = module.alpha.filter(|alpha| alpha / rank == module.scale);
    own.unwrap_or(module.scale * rank)
}

/// What no alpha can scale has its scale in its factors: a LoKr of whole ones, in the first; a difference;
/// IA3.
pub(super) fn with_scale_in_factors(module: &AdapterModule) -> Cow<'_, AdapterModule> {
    let scaled = |tensor: &HostTensor| HostTensor {
        shape: tensor.shape.clone(),
        data: tensor.data.iter().map(|value| value * module.scale).collect(),
    };
    let factors = match &module.factors {
        HostFactors::LoKr(LoKr { w1: KroneckerFactor::Full(w1), w2 }) if module.rank == 0 => {
            HostFactors::LoKr(LoKr { w1: KroneckerFactor::Full(scaled(w1)), w2: w2.clone() })
        }
        HostFactors::Difference(_) | HostFactors::IA3(_) if module.scale != 1.0 => {
            module.factors.map(scaled)
        }
        _ => return Cow::Borrowed(module),
    };
    Cow::Owned(AdapterModule { factors, scale: 1.0, alpha: None, ..module.clone() })
}

/// The error about a kind that has no form in a file.
fn unwritten(module: &AdapterModule, why: &str) -> Error {
    let kind = module.kind().label();
    let problem = format!("{} is of the kind {kind}, which {why}", module.path);
    Error::setting("adapter to save", problem, "Keep the file that it was read from")
}

/// Refuses what would be a useless or broken file.
pub(super) fn check(export: &Export<'_>) -> Result<()> {
    let refuse =
        |problem: String, remedy: &str| Err(Error::setting("adapter to save", problem, remedy));
    for module in export.modules {
        let (path, scale) = (&module.path, module.scale);
        let values = || module.factors.tensors().flat_map(|tensor| &tensor.data);
        if let Err(why) = module.factors.written() {
            return Err(unwritten(module, why));
        }
        if !scale.is_finite() || values().any(|value| !value.is_finite()) {
            return refuse(
                format!("{path} holds NaN or infinity"),
                "The training went astray: lower the learning rate and train again",
            );
        }
        if scale == 0.0 {
            // kohya's loaders take an alpha of 0 for the rank.
            return refuse(
                format!("{path} has the scale 0, which no file can say"),
                "Leave the module out",
            );
        }
        if values().any(|&value| export.precision.round(value).is_infinite()) {
            return refuse(
                format!("{path} holds numbers too large for float16"),
                "Save it in float32",
            );
        }
    }
    if export.modules.is_empty() {
        return refuse("it has no modules".into(), "Train at least one layer");
    }
    let zero = |tensor: &HostTensor| {
        let data = tensor.data.iter().map(|&value| export.precision.round(value)).collect();
        HostTensor { shape: tensor.shape.clone(), data }
    };
    let nothing = |module: &AdapterModule| module.factors.map(zero).is_zero();
    if export.modules.iter().all(nothing) {
        return refuse(
            "its up weights are all zero: it would change nothing".into(),
            "Train at least one step before you save it",
        );
    }
    Ok(())
}

/// kohya's `ss_` entries: those that follow from the adapter, under those that the caller gives.
fn training_entries(export: &Export<'_>) -> BTreeMap<String, String> {
    let Export { modules, metadata, .. } = export;
    let kinds = Kind::of(modules);
    let of_kernel = |kernel: bool| {
        let same = move |module: &&AdapterModule| module.factors.has_kernel() == kernel;
        commonest(modules.iter().filter(same).map(|module| (module.rank, alpha(module).to_bits())))
    };
    let (linear, convolution) = (of_kernel(false), of_kernel(true));
    let (rank, alpha) = linear.or(convolution).unwrap_or_default();
    let text = |alpha: u32| format!("{:?}", f32::from_bits(alpha));
    let mut arguments = BTreeMap::new();
    // Plain LoRA is kohya's own; the rest are LyCORIS' algorithms.
    let algorithm = kinds.iter().rev().find_map(|kind| kind.algorithm());
    if let Some(algorithm) = algorithm {
        arguments.insert("algo", algorithm.to_string());
    }
    if let Some((rank, alpha)) = convolution {
        arguments.insert("conv_dim", rank.to_string());
        arguments.insert("conv_alpha", text(alpha));
    }
    if kinds.contains(&dora::DORA) {
        arguments.insert("dora_wd", "True".into());
    }
    let BaseModel { v2, v_prediction } = metadata.base;
    let version = match (&metadata.xl, v2, v_prediction) {
        // One name, whatever the model predicts.
        (Some(_), ..) => "sdxl_base_v1-0",
        (None, false, false) => "sd_v1",
        (None, false, true) => "sd_v1_v",
        (None, true, false) => "sd_v2",
        (None, true, true) => "sd_v2_v",
    };
    let module = if algorithm.is_some() { "lycoris.kohya" } else { "networks.lora" };
    let [width, height] = metadata.resolution;
    let entries = [
        ("ss_base_model_version", version.to_string()),
        ("ss_network_alpha", text(alpha)),
        ("ss_network_args", json!(arguments).to_string()),
        ("ss_network_dim", rank.to_string()),
        ("ss_network_module", module.to_string()),
        ("ss_output_name", metadata.title.clone()),
        ("ss_v2", if v2 { "True" } else { "False" }.to_string()),
    ];
    let mut entries: BTreeMap<_, _> =
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    if width > 0 {
        entries.insert("ss_resolution".into(), format!("({width}, {height})"));
    }
    let given = metadata.entries.iter().filter(|(key, _)| key.starts_with("ss_"));
    entries.extend(given.map(|(key, value)| (key.clone(), value.clone())));
    entries
}

/// Everything else that the header says: Stability's modelspec as kohya fills it in
/// (`library/sai_model_spec.py`, which writes no hash), and what the caller gives.
pub(super) fn common_entries(metadata: &Metadata) -> BTreeMap<String, String> {
    let BaseModel { v2, v_prediction } = metadata.base;
    let architecture = match (&metadata.xl, v2, v_prediction) {
        (Some(_), ..) => "stable-diffusion-xl-v1-base",
        (None, false, _) => "stable-diffusion-v1",
        (None, true, false) => "stable-diffusion-v2-512",
        (None, true, true) => "stable-diffusion-v2-768-v",
    };
    let [width, height] = metadata.resolution;
    let entries = [
        ("sai_model_spec", Some("1.0.0".to_string())),
        ("architecture", Some(format!("{architecture}/lora"))),
        ("implementation", Some("diffusers".to_string())),
        ("title", Some(metadata.title.clone())),
        ("resolution", (width > 0).then(|| format!("{width}x{height}"))),
        ("prediction_type", Some(if v_prediction { "v" } else { "epsilon" }.to_string())),
        ("date", metadata.date.clone()),
        ("trigger_phrase", metadata.trigger_phrase.clone()),
        ("thumbnail", metadata.thumbnail.clone()),
    ];
    let mut entries: BTreeMap<_, _> = entries
        .into_iter()
        .filter_map(|(key, value)| Some((format!("modelspec.{key}"), value?)))
        .collect();
    let given = metadata
        .entries
        .iter()
        .filter(|(key, _)| !key.starts_with("ss_") && !key.starts_with("sshs_"))
        // Its presence decides how diffusers reads a file.
        .filter(|(key, _)| *key != HEADER && *key != "format");
    entries.extend(given.map(|(key, value)| (key.clone(), value.clone())));
    entries
}

/// The value that occurs most often, of those the smallest.
pub(super) fn commonest<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

//! Writing diffusers' and PEFT's formats: `..lora_A.weight`, `..lora_B.weight` and, as neither has
//! tensors for alpha, a `LoraConfig` in JSON beside them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Part;
use super::kinds::host::{HostTensor, absorb_core};
use super::kinds::{DoRA, HostFactors, LowRank, dora};
use super::module::AdapterModule;
use super::save::{Export, HEADER, alpha, check, common_entries, commonest};
use crate::error::{Error, Result};
use crate::weights::save::{Named, write};

/// diffusers' `pytorch_lora_weights.safetensors`, for `load_lora_weights`.
///
/// # Errors
/// As [`super::save::kohya`], and for kinds that diffusers doesn't load.
pub fn diffusers(export: &Export<'_>) -> Result<Vec<u8>> {
    check(export)?;
    let (mut tensors, mut header) = (Vec::new(), Map::new());
    for (part, prefix) in Part::ALL.map(|part| (part, part.name())) {
        let modules = plain(export, part)?;
        if modules.is_empty() {
            continue;
        }
        push(&mut tensors, &modules, prefix, export);
        let config = config(&modules);
        header.extend(config.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)));
    }
    let mut metadata = common_entries(export.metadata);
    metadata.insert("format".into(), "pt".into());
    metadata.insert(HEADER.into(), Value::Object(header).to_string());
    write(&tensors, &metadata)
}

/// PEFT's folder: `adapter_model.safetensors` and `adapter_config.json`.
///
/// # Errors
/// As [`diffusers`], and when the adapter has modules in both parts of the model: a PEFT folder is
/// for one.
pub fn peft(export: &Export<'_>) -> Result<(Vec<u8>, String)> {
    check(export)?;
    let unet = plain(export, Part::UNet)?;
    let text_encoder = plain(export, Part::TextEncoder)?;
    let second = plain(export, Part::TextEncoder2)?;
    let parts = [&unet, &text_encoder, &second].iter().filter(|part| !part.is_empty()).count();
    if parts > 1 {
        return Err(Error::setting(
            "format",
            "a PEFT folder holds an adapter of one model, this one is for UNet and text encoder",
            "Save it as a kohya or diffusers file",
        ));
    }
    let (modules, class) = match (unet.is_empty(), text_encoder.is_empty()) {
        (true, true) => {
            (second, ["CLIPTextModelWithProjection", "transformers.models.clip.modeling_clip"])
        }
        (false, _) => (unet, ["UNet2DConditionModel", "diffusers.models.unets.unet_2d_condition"]),
        (true, false) => {
            (text_encoder, ["CLIPTextModel", "transformers.models.clip.modeling_clip"])
        }
    };
    let mut tensors = Vec::new();
    push(&mut tensors, &modules, "base_model.model", export);
    let mut config = config(&modules);
    config.insert(
        "auto_mapping".into(),
        json!({"base_model_class": class[0], "parent_library": class[1]}),
    );
    config.insert("base_model_name_or_path".into(), Value::Null);
    config.insert("task_type".into(), Value::Null);
    let config = serde_json::to_string_pretty(&config).map_err(|error| {
        Error::setting("adapter_config.json", error.to_string(), "Save it as a kohya file")
    })?;
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    Ok((write(&tensors, &metadata)?, config))
}

/// The modules of one part in a form that PEFT has: A and B alone.
fn plain<'a>(export: &Export<'a>, part: Part) -> Result<Vec<Cow<'a, AdapterModule>>> {
    let modules = export.modules.iter().filter(|module| module.part == part);
    modules.map(without_core).collect()
}

/// PEFT knows no Tucker form: its core goes into the factor next to the input.
pub(super) fn without_core(module: &AdapterModule) -> Result<Cow<'_, AdapterModule>> {
    let refuse = |problem: String| {
        Err(Error::setting("format", problem, "Save it as a kohya file, which all such tools read"))
    };
    match &module.factors {
        HostFactors::DoRA(DoRA { magnitude, .. }) if magnitude.columns() != 1 => refuse(format!(
            "{} has the magnitudes of its input channels, PEFT's DoRA has those of the outputs",
            module.path
        )),
        HostFactors::LowRank(LowRank { mid: Some(_), .. }) => {
            Ok(Cow::Owned(AdapterModule { factors: absorbed(&module.factors), ..module.clone() }))
        }
        HostFactors::LowRank(_) | HostFactors::DoRA(_) => Ok(Cow::Borrowed(module)),
        _ => refuse(format!("{} adapters go out as kohya files only", module.kind().label())),
    }
}

/// The same product without a Tucker core.
pub(super) fn absorbed(factors: &HostFactors) -> HostFactors {
    let HostFactors::LowRank(LowRank { down, mid: Some(mid), up }) = factors else {
        return factors.clone();
    };
    let shape = [&[mid.shape[0], down.shape[1]], &mid.shape[2..]].concat();
    let down = HostTensor { shape, data: absorb_core(mid, down).data };
    HostFactors::LowRank(LowRank { down, mid: None, up: up.clone() })
}

fn push(
    tensors: &mut Vec<Named>,
    modules: &[Cow<'_, AdapterModule>],
    prefix: &str,
    export: &Export<'_>,
) {
    for module in modules {
        let mut add = |suffix: &str, shape: Vec<usize>, data: &[f32]| {
            let key = format!("{prefix}.{}.{suffix}", module.path);
            tensors.push(Named::new(key, shape, data, export.precision));
        };
        if let HostFactors::LowRank(LowRank { down, up, .. })
        | HostFactors::DoRA(DoRA { down, up, .. }) = &module.factors
        {
            add("lora_A.weight", down.shape.clone(), &down.data);
            add("lora_B.weight", up.shape.clone(), &up.data);
        }
        if let HostFactors::DoRA(DoRA { down, magnitude, .. }) = &module.factors {
            // `[out]`; of a convolution `[1, out, 1, 1]` (peft/tuners/lora/dora.py).
            let length = magnitude.data.len();
            let shape = if down.shape.len() == 2 { vec![length] } else { vec![1, length, 1, 1] };
            add("lora_magnitude_vector", shape, &magnitude.data);
        }
    }
}

/// What PEFT's `LoraConfig` must say for the modules to get their ranks and scales. Every module is
/// named by its whole path: the ends of paths could fit layers that the adapter leaves alone.
fn config(modules: &[Cow<'_, AdapterModule>]) -> Map<String, Value> {
    // transformers 5 has no `text_model.` in its paths; PEFT looks for the end of a path.
    let path = |module: &AdapterModule| {
        module.path.strip_prefix("text_model.").unwrap_or(&module.path).to_string()
    };
    let rank = commonest(modules.iter().map(|module| module.rank)).unwrap_or(1);
    let usual = commonest(modules.iter().map(|module| alpha(module).to_bits())).unwrap_or_default();
    let ranks: Map<_, _> = modules
        .iter()
        .filter(|module| module.rank != rank)
        .map(|module| (path(module), json!(module.rank)))
        .collect();
    let alphas: Map<_, _> = modules
        .iter()
        .filter(|module| alpha(module).to_bits() != usual)
        .map(|module| (path(module), number(alpha(module))))
        .collect();
    let mut targets: Vec<String> = modules.iter().map(|module| path(module)).collect();
    targets.sort_unstable();
    let dora = modules.iter().any(|module| module.kind() == dora::DORA);
    let fields = [
        ("peft_type", json!("LORA")),
        ("r", json!(rank)),
        ("lora_alpha", number(f32::from_bits(usual))),
        ("rank_pattern", Value::Object(ranks)),
        ("alpha_pattern", Value::Object(alphas)),
        ("target_modules", json!(targets)),
        ("use_dora", json!(dora)),
        ("use_rslora", json!(false)),
        ("lora_dropout", json!(0.0)),
        ("bias", json!("none")),
        ("lora_bias", json!(false)),
        ("fan_in_fan_out", json!(false)),
        ("init_lora_weights", json!(true)),
        ("inference_mode", json!(true)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

/// Whole numbers without a point, as PEFT writes them.
fn number(value: f32) -> Value {
    let whole = value.fract() == 0.0 && value.abs() < 1e9;
    if whole { json!(value as i64) } else { json!(value) }
}

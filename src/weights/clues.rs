//! What a model's files say of its place in the family, collected for [`crate::keys::clues`]: metadata,
//! marker tensors, the `.yaml` beside a file, one bias, a folder's configs.

use serde_json::Value;

use super::{Index, Source, text};
use crate::error::Result;
use crate::keys::clues::Clues;
use crate::keys::family::Prediction;

/// The bias by which SD 2's two predictions are told apart, under its ldm name.
const TELLING_BIAS: &str =
    "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";

/// The clues of a single file; `unet` is the UNet's config. Only one small tensor is read.
///
/// # Errors
/// When that can't be read, or the `.yaml` beside the file isn't text.
pub(super) fn of_file(
    index: &Index,
    source: &dyn Source,
    yaml: Option<&dyn Source>,
    unet: &Value,
) -> Result<Clues> {
    let title = index.metadata.get("modelspec.title").map(String::as_str).unwrap_or_default();
    let mut clues = Clues {
        file: index.file.clone(),
        names: format!("{} {title}", index.file.rsplit('/').next().unwrap_or_default()),
        unet: unet.clone(),
        deviation: deviation(index, source)?,
        ..Clues::default()
    };
    if let Some(yaml) = yaml {
        from_yaml(yaml, &mut clues)?;
    }
    for (tensor, says) in [("v_pred", true), ("ztsnr", false)] {
        if index.tensors.contains_key(tensor) {
            let why = format!("a tensor {tensor} marks it");
            match says {
                true => clues.prediction.push((Prediction::VPrediction, why)),
                false => clues.zero_terminal_snr.push((true, why)),
            }
        }
    }
    from_metadata(index, &mut clues);
    Ok(clues)
}

/// The clues of a diffusers folder, by its configs.
pub(super) fn of_folder(file: &str, name: &str, unet: &Value, scheduler: &Value) -> Clues {
    let says = || "its scheduler_config.json says so".to_string();
    let prediction = scheduler["prediction_type"].as_str().and_then(Prediction::from_word);
    let sample = match &unet["sample_size"] {
        Value::Array(sides) => sides.first().and_then(Value::as_u64),
        side => side.as_u64(),
    };
    // 8: what the VAE makes smaller. A number that no picture has is left out.
    let size = sample.and_then(|side| usize::try_from(side.checked_mul(8)?).ok());
    let size = size.filter(|size| (64..=2048).contains(size));
    let zero = scheduler["rescale_betas_zero_snr"] == true;
    Clues {
        file: file.into(),
        names: name.into(),
        unet: unet.clone(),
        scheduler: Some(scheduler.clone()),
        prediction: prediction.map(|prediction| (prediction, says())).into_iter().collect(),
        size: size.map(|size| (size, "its unet/config.json says so".into())).into_iter().collect(),
        zero_terminal_snr: zero.then(|| (true, says())).into_iter().collect(),
        deviation: None,
    }
}

/// Standard deviation of the telling bias (of all its numbers, not of a sample of them).
fn deviation(index: &Index, source: &dyn Source) -> Result<Option<f64>> {
    // Stable Diffusion's has 320 numbers; a file that has more there is another model.
    const MOST: usize = 4096;
    match index.tensors.get(TELLING_BIAS) {
        Some(info) if (1..=MOST).contains(&info.elements()) => {
            let values = index.read_f32(source, TELLING_BIAS)?;
            let count = values.len() as f64;
            let mean = values.iter().copied().map(f64::from).sum::<f64>() / count;
            let square = |value: &f32| (f64::from(*value) - mean).powi(2);
            Ok(Some((values.iter().map(square).sum::<f64>() / count).sqrt()))
        }
        _ => Ok(None),
    }
}

/// The fields of the model spec (<https://github.com/Stability-AI/ModelSpec>) and kohya's own.
fn from_metadata(index: &Index, clues: &mut Clues) {
    let field = |name: &str| index.metadata.get(name).map(String::as_str).unwrap_or_default();
    let says = |name: &str| format!("its metadata's {name} is {}", field(name));
    // The specification's field, and what ComfyUI writes in its place.
    for name in ["modelspec.prediction_type", "modelspec.predict_key"] {
        if let Some(prediction) = Prediction::from_word(field(name)) {
            clues.prediction.push((prediction, says(name)));
        }
    }
    for (name, value) in [
        ("modelspec.architecture", "stable-diffusion-v2-768-v"),
        ("ss_base_model_version", "sd_v2_v"),
    ] {
        if field(name).split('/').next() == Some(value) {
            clues.prediction.push((Prediction::VPrediction, says(name)));
        }
    }
    if field("ss_zero_terminal_snr") == "True" {
        clues.zero_terminal_snr.push((true, says("ss_zero_terminal_snr")));
    }
    // `768x768`; where it isn't square it tells of the training set, not of the model.
    let name = "modelspec.resolution";
    let sides = field(name).split_once('x').map(|(width, height)| (width.trim(), height.trim()));
    if let Some((width, height)) = sides
        && width == height
        && let Ok(size) = width.parse::<usize>()
        && size.is_multiple_of(8)
        && (64..=2048).contains(&size)
    {
        clues.size.push((size, says(name)));
    }
}

/// The two fields that matter of an ldm configuration (such as `v2-inference-v.yaml`).
fn from_yaml(yaml: &dyn Source, clues: &mut Clues) -> Result<()> {
    let bytes = yaml.read_all()?;
    let text = text::unicode(&bytes).unwrap_or_else(|| String::from_utf8_lossy(&bytes).into());
    let file = yaml.name().rsplit('/').next().unwrap_or_default();
    let says = |field: &str, value: &str| format!("{file} says {field}: {value}");
    let unet = yaml_field(&text, "unet_config");
    match yaml_field(&text, "parameterization") {
        Some((_, word)) => {
            if let Some(prediction) = Prediction::from_word(word) {
                clues.prediction.push((prediction, says("parameterization", word)));
            }
        }
        // ldm's default (`ddpm.py`, `DDPM.__init__`), where the file is such a configuration.
        None if unet.is_some() => {
            clues.prediction.push((Prediction::Epsilon, format!("{file} has no parameterization")));
        }
        None => {}
    }
    // The UNet's own field of this name is 32 everywhere and means nothing.
    if let Some((indent, word)) = yaml_field(&text, "image_size")
        && unet.is_none_or(|(unet, _)| indent <= unet)
        && let Ok(side) = word.parse::<usize>()
        && (8..=256).contains(&side)
    {
        clues.size.push((8 * side, says("image_size", word)));
    }
    Ok(())
}

/// How far a field is indented and its value, wherever it stands; of several the one that is indented
/// least, which is the model's own and not one of its parts'. Comments and quotes are taken off.
fn yaml_field<'a>(text: &'a str, field: &str) -> Option<(usize, &'a str)> {
    let value = |line: &'a str| {
        let inner = line.trim_start();
        let (name, value) = inner.split_once(':')?;
        let value = value.split(" #").next().unwrap_or_default().trim();
        let plain = name.trim_end().trim_matches(['"', '\'']) == field;
        plain.then(|| (line.len() - inner.len(), value.trim_matches(['"', '\''])))
    };
    text.lines().filter_map(value).min_by_key(|(indent, _)| *indent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yaml_field_is_the_outermost_and_without_quotes_and_comments() {
        let text = "model:\n  params:\n    unet_config:\n      params:\n        image_size: 32 # unused\n    \
                    parameterization: \"v\"\n    image_size: 96\n    # image_size: 1\n    'quoted' : 'x' # y\n";
        assert_eq!(yaml_field(text, "image_size"), Some((4, "96")));
        assert_eq!(yaml_field(text, "parameterization"), Some((4, "v")));
        assert_eq!(yaml_field(text, "quoted"), Some((4, "x")));
        assert_eq!(yaml_field(text, "unet_config"), Some((4, "")));
        assert_eq!(yaml_field(text, "image"), None);
    }
}

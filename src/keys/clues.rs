//! Which member of the family a model is: decided once, from whatever its files say of it, and told
//! with the evidence.

use serde_json::Value;

use super::family::{Base, Defaults, Family, FewSteps, Overrides, Prediction, Task};
use super::xl;
use crate::error::{Error, Result};

/// A value, and what says so, as a clause such as "its metadata says so".
pub type Told<T> = (T, String);

/// What a model's files say of it; of several values the first counts.
#[derive(Debug, Clone, Default)]
pub struct Clues {
    /// The UNet's file, for messages.
    pub file: String,
    /// The model's name and title, in which a distilled model is called what it is.
    pub names: String,
    /// The UNet's `config.json`, whether from a folder or told from shapes.
    pub unet: Value,
    /// A folder's `scheduler_config.json`.
    pub scheduler: Option<Value>,
    /// What it predicts.
    pub prediction: Vec<Told<Prediction>>,
    /// Pixels.
    pub size: Vec<Told<usize>>,
    /// Whether its noise schedule ends in noise alone.
    pub zero_terminal_snr: Vec<Told<bool>>,
    /// Standard deviation of the bias that tells SD 2's two predictions apart; see [`V_DEVIATION`].
    pub deviation: Option<f64>,
}

/// Above this, the first norm's bias of an SD 2 UNet's last transformer belongs to a model that
/// predicts v. Source: ComfyUI, `comfy/supported_models.py`, `SD20.model_type`.
pub const V_DEVIATION: f64 = 0.09;

/// Decides. What a person chose comes first.
///
/// # Errors
/// When it is a relative that needs another input than text, or zero terminal SNR is asked of a
/// model that doesn't predict v.
pub fn decide(clues: &Clues, overrides: &Overrides) -> Result<Family> {
    let (mut evidence, mut notes) = (Vec::new(), Vec::new());
    let task = task(clues, &mut evidence)?;
    let base = base(&clues.unet, &mut evidence);
    let few_steps = few_steps(clues, base, &mut evidence);
    let compact = is_compact(&clues.unet, base);
    if compact {
        evidence.push("its UNet has fewer blocks than Stable Diffusion's".into());
    }

    let by_hand = |chosen: bool| chosen.then(|| "chosen by hand".to_string());
    let prediction = pick(
        overrides.prediction.zip(by_hand(overrides.prediction.is_some())),
        &clues.prediction,
        |prediction| format!("predicts {}", prediction.name()),
        &mut notes,
    );
    let told = prediction.is_some() || clues.scheduler.is_some() || few_steps.is_some();
    let (prediction, why) =
        prediction.unwrap_or_else(|| guess_prediction(clues, base, task, few_steps));
    evidence.push(format!("predicts {}: {why}", prediction.name()));
    if base == Base::Sd2 && task == Task::TextToImage && !told {
        notes.push(unsure(prediction, clues.deviation));
    }
    if base == Base::Sdxl && !told {
        notes.push(xl::unsure(&clues.names));
    }

    let size = pick(
        overrides.size.zip(by_hand(overrides.size.is_some())),
        &clues.size,
        |size| format!("{size} pixels"),
        &mut notes,
    );
    let size = match size {
        Some((size, why)) => {
            evidence.push(format!("{size} pixels: {why}"));
            size
        }
        None if base == Base::Sd2 && prediction == Prediction::VPrediction => 768,
        None if base == Base::Sdxl && few_steps == Some(FewSteps::Turbo) => 512,
        None if base == Base::Sdxl => 1024,
        None => 512,
    };
    check_size(size)?;
    let zero_terminal_snr = zero_snr(clues, overrides, prediction, &mut evidence, &mut notes)?;

    let mut family = Family {
        label: String::new(),
        base,
        task,
        prediction,
        size,
        zero_terminal_snr,
        few_steps,
        compact,
        defaults: match few_steps {
            Some(few_steps) => Some(defaults(few_steps)),
            None => (base == Base::Sdxl).then_some(xl::DEFAULTS),
        },
        evidence,
        notes,
    };
    family.label = family.to_label();
    Ok(family)
}

/// Text to image, inpainting, or a relative that is refused by its name.
fn task(clues: &Clues, evidence: &mut Vec<String>) -> Result<Task> {
    let channels = |field: &str| clues.unet[field].as_u64().unwrap_or(4);
    let (input, latents) = (channels("in_channels"), channels("out_channels"));
    if xl::is_xl(&clues.unet) {
        xl::refuse(&clues.file, &clues.unet, input, latents)?;
    }
    let what = match input {
        _ if input == latents => return Ok(Task::TextToImage),
        _ if input == 2 * latents + 1 => {
            evidence
                .push(format!("its UNet takes {input} channels: latents, mask, masked picture"));
            return Ok(Task::Inpainting);
        }
        8 => "edits a picture (instruct-pix2pix or the like)",
        5 => "takes a depth map (depth-to-image)",
        7 => "enlarges a picture (the x4 upscaler)",
        _ => "is of an unknown kind",
    };
    Err(Error::key(
        &clues.file,
        "in_channels",
        format!("is {input} for {latents} latent channels: a model that {what}"),
        "Use a text-to-image or an inpainting model, with 4 or 9 input channels",
    ))
}

fn base(unet: &Value, evidence: &mut Vec<String>) -> Base {
    if xl::is_xl(unet) {
        evidence.push("its UNet is told the picture's size and a pooled text".into());
        return Base::Sdxl;
    }
    let width = unet["cross_attention_dim"].as_u64();
    let linear = unet["use_linear_projection"] == true;
    let (base, why) = match width {
        Some(768) => (Base::Sd1, "its text embeddings are 768 wide".to_string()),
        Some(1024) => (Base::Sd2, "its text embeddings are 1024 wide".into()),
        _ if linear => (Base::Sd2, "its transformers begin with linear layers".into()),
        _ => (Base::Sd1, "its transformers begin with convolutions".into()),
    };
    evidence.push(why);
    base
}

/// Whether a UNet has fewer levels, layers or blocks than Stable Diffusion's four, two and one.
/// (XL has three levels, and attention between them.)
fn is_compact(unet: &Value, base: Base) -> bool {
    let levels = unet["block_out_channels"].as_array().map_or(4, Vec::len);
    let layers = match &unet["layers_per_block"] {
        Value::Array(each) => each.iter().filter_map(Value::as_u64).min(),
        one => one.as_u64(),
    };
    // A config that leaves the field out has the default; one that sets it to null has no mid block.
    let middle = unet.get("mid_block_type").is_none_or(Value::is_string);
    if base == Base::Sdxl {
        let plain = unet["mid_block_type"] == "UNetMidBlock2D";
        return layers.unwrap_or(2) < 2 || !middle || plain;
    }
    levels < 4 || layers.unwrap_or(2) < 2 || !middle
}

fn few_steps(clues: &Clues, base: Base, evidence: &mut Vec<String>) -> Option<FewSteps> {
    if clues.unet["time_cond_proj_dim"].is_u64() {
        evidence.push("its UNet takes the guidance as an input".into());
        return Some(FewSteps::Lcm);
    }
    let scheduler = clues.scheduler.as_ref();
    let class = scheduler.and_then(|config| config["_class_name"].as_str()).unwrap_or_default();
    let trailing = scheduler.is_some_and(|config| config["timestep_spacing"] == "trailing");
    let named = |word: &str| clues.names.to_ascii_lowercase().contains(word);
    let (found, why) = match base {
        _ if class == "LCMScheduler" => (FewSteps::LcmMerge, "its scheduler is LCM's"),
        Base::Sd2 if class == "EulerDiscreteScheduler" && trailing => {
            (FewSteps::Turbo, "its scheduler is SD-Turbo's")
        }
        Base::Sdxl if class == "EulerAncestralDiscreteScheduler" && trailing => {
            (FewSteps::Turbo, "its scheduler is SDXL-Turbo's")
        }
        Base::Sdxl if scheduler.is_none() && named("lightning") => {
            (FewSteps::Lightning, "its name says Lightning")
        }
        Base::Sdxl if scheduler.is_none() && named("turbo") => {
            (FewSteps::Turbo, "its name says Turbo")
        }
        Base::Sdxl if scheduler.is_none() && named("dmd2") => {
            (FewSteps::LcmMerge, "its name says DMD2")
        }
        Base::Sd2 if named("turbo") => (FewSteps::Turbo, "its name says Turbo"),
        // A folder says by its scheduler how it is to be run.
        _ if scheduler.is_none() && named("lcm") => (FewSteps::LcmMerge, "its name says LCM"),
        _ => return None,
    };
    evidence.push(why.into());
    Some(found)
}

/// SD-Turbo's model card; SDXL-Lightning's; LCM_Dreamshaper_v7's; the LCM-LoRA's, which such merges hold.
fn defaults(few_steps: FewSteps) -> Defaults {
    match few_steps {
        FewSteps::Turbo => Defaults { steps: 1, guidance: 1.0 },
        FewSteps::Lightning => Defaults { steps: 4, guidance: 1.0 },
        FewSteps::Lcm => Defaults { steps: 4, guidance: 8.0 },
        FewSteps::LcmMerge => Defaults { steps: 6, guidance: 1.5 },
    }
}

/// Where nothing says what a model predicts.
fn guess_prediction(
    clues: &Clues,
    base: Base,
    task: Task,
    few_steps: Option<FewSteps>,
) -> Told<Prediction> {
    let epsilon = |why: &str| (Prediction::Epsilon, why.to_string());
    match (base, clues.deviation) {
        _ if clues.scheduler.is_some() => epsilon("its scheduler_config.json says nothing else"),
        (Base::Sdxl, _) => epsilon("as Stable Diffusion XL does, and nothing says otherwise"),
        (Base::Sd1, _) => epsilon("as Stable Diffusion 1 does, and nothing says otherwise"),
        _ if task == Task::Inpainting => epsilon("as SD 2's inpainting model does"),
        _ if few_steps == Some(FewSteps::Turbo) => epsilon("as SD-Turbo does"),
        (Base::Sd2, Some(deviation)) if deviation > V_DEVIATION => (
            Prediction::VPrediction,
            format!(
                "a bias in its last transformer deviates by {deviation:.3}, above {V_DEVIATION}"
            ),
        ),
        (Base::Sd2, Some(deviation)) => epsilon(&format!(
            "a bias in its last transformer deviates by {deviation:.3}, not above {V_DEVIATION}"
        )),
        (Base::Sd2, None) => epsilon("nothing says otherwise"),
    }
}

fn unsure(prediction: Prediction, deviation: Option<f64>) -> String {
    let how = match deviation {
        Some(_) => "was told from its weights",
        None => "is a guess",
    };
    let turbo = match prediction {
        Prediction::Epsilon => {
            ". A file doesn't tell SD-Turbo from SD 2 base either: if it is Turbo, use one to four \
             steps of Euler with guidance 1"
        }
        _ => "",
    };
    format!(
        "This Stable Diffusion 2 file doesn't say what it predicts: {} {how}. If pictures are noise \
         or burnt, choose the other prediction type{turbo}",
        prediction.name()
    )
}

/// The first value that is told; the others are noted if they contradict it.
fn pick<T: Copy + PartialEq>(
    by_hand: Option<Told<T>>,
    told: &[Told<T>],
    name: impl Fn(T) -> String,
    notes: &mut Vec<String>,
) -> Option<Told<T>> {
    if by_hand.is_some() {
        return by_hand;
    }
    let (value, why) = told.first()?;
    for (other, says) in told.iter().filter(|(other, _)| other != value) {
        notes.push(format!(
            "{} ({says}) contradicts {} ({why}), which counts",
            name(*other),
            name(*value)
        ));
    }
    Some((*value, why.clone()))
}

fn check_size(size: usize) -> Result<()> {
    if size.is_multiple_of(8) && (64..=2048).contains(&size) {
        return Ok(());
    }
    Err(Error::setting(
        "size",
        format!("the model's size of {size} pixels is no multiple of 8 from 64 to 2048"),
        "Choose 512 or 768, which Stable Diffusion 1 and 2 were trained at",
    ))
}

fn zero_snr(
    clues: &Clues,
    overrides: &Overrides,
    prediction: Prediction,
    evidence: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<bool> {
    let possible = prediction != Prediction::Epsilon;
    // A folder's own configuration is run as it stands.
    let as_it_stands = clues.scheduler.is_some();
    match overrides.zero_terminal_snr {
        Some(true) if !possible => {
            return Err(Error::setting(
                "zeroTerminalSnr",
                "can't be on where the model predicts epsilon: noise alone says nothing of a picture",
                "Choose v_prediction too, or leave it off",
            ));
        }
        Some(chosen) => {
            evidence.push(format!(
                "zero terminal SNR {}: chosen by hand",
                if chosen { "on" } else { "off" }
            ));
            return Ok(chosen);
        }
        None => {}
    }
    let Some((true, why)) = clues.zero_terminal_snr.first() else {
        return Ok(false);
    };
    if possible || as_it_stands {
        evidence.push(format!("zero terminal SNR on: {why}"));
        return Ok(true);
    }
    notes.push(format!("Zero terminal SNR is off, although {why}: it needs v-prediction"));
    Ok(false)
}

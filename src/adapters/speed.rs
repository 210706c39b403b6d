//! Speed adapters: LoRA files that make a model draw in few steps, and the settings that each was
//! made for. They are told by their names, by what their metadata says, by their content's hash, and
//! by which layers they sit on.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::kinds::{Kind, low_rank};
use super::module::AdapterModule;
use crate::error::Result;
use crate::keys::adapter_names::Part;
use crate::weights::Source;

/// The settings that an adapter was made for. Serialised for the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// What the adapter is.
    pub name: String,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 is none.
    pub guidance: f64,
    /// A scheduler by its name, as the command line and the page have it.
    pub scheduler: &'static str,
    /// `timestep_spacing`, where it isn't the model's own.
    pub spacing: Option<&'static str>,
    /// TCD's `eta`.
    pub eta: Option<f64>,
    /// The settings in one line, for people.
    pub settings: String,
    /// How it was told, and who says that these are its settings.
    pub why: String,
}

/// A family of speed adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Lcm,
    Tcd,
    HyperSd,
    HyperSdCfg,
    PcmSmallCfg,
    PcmNormalCfg,
    Lightning,
    Turbo,
}

/// What a family wants. Files are made for a number of steps, or for a range of them.
struct Recipe {
    name: &'static str,
    scheduler: (&'static str, &'static str),
    steps: usize,
    guidance: f64,
    spacing: Option<&'static str>,
    eta: Option<f64>,
    /// The page that says so.
    source: &'static str,
}

impl Family {
    /// `steps` as the file's name says it.
    fn recipe(self, steps: Option<usize>) -> Recipe {
        const HYPER_SD: &str = "huggingface.co/ByteDance/Hyper-SD";
        const PCM: &str = "huggingface.co/wangfuyun/PCM_Weights";
        let trailing = Some("trailing");
        match self {
            // "2 to 8 steps", guidance off "or values between 1.0 and 2.0"
            Self::Lcm => Recipe {
                name: "LCM-LoRA",
                scheduler: ("lcm", "LCM"),
                steps: steps.unwrap_or(4).min(8),
                guidance: 1.0,
                spacing: None,
                eta: None,
                source: "huggingface.co/latent-consistency/lcm-lora-sdv1-5",
            },
            Self::Tcd => Recipe {
                name: "TCD-LoRA",
                scheduler: ("tcd", "TCD"),
                steps: steps.unwrap_or(4),
                guidance: 1.0,
                spacing: None,
                eta: Some(0.3),
                source: "huggingface.co/h1t/TCD-SD15-LoRA",
            },
            // The file of one step serves one to eight, with TCD and an eta of its own.
            Self::HyperSd if steps == Some(1) => Recipe {
                name: "Hyper-SD",
                scheduler: ("tcd", "TCD"),
                steps: 1,
                guidance: 1.0,
                spacing: None,
                eta: Some(1.0),
                source: HYPER_SD,
            },
            Self::HyperSd => Recipe {
                name: "Hyper-SD",
                scheduler: ("ddim", "DDIM"),
                steps: steps.unwrap_or(8),
                guidance: 1.0,
                spacing: trailing,
                eta: None,
                source: HYPER_SD,
            },
            // "support 5~8 guidance scales"
            Self::HyperSdCfg => Recipe {
                name: "Hyper-SD with guidance",
                scheduler: ("ddim", "DDIM"),
                steps: steps.unwrap_or(8),
                guidance: 5.0,
                spacing: trailing,
                eta: None,
                source: HYPER_SD,
            },
            Self::PcmSmallCfg => Recipe {
                name: "PCM",
                scheduler: ("tcd", "TCD"),
                steps: steps.unwrap_or(4),
                guidance: 1.0,
                spacing: None,
                eta: Some(0.3),
                source: PCM,
            },
            Self::PcmNormalCfg => Recipe {
                name: "PCM with guidance",
                scheduler: ("tcd", "TCD"),
                steps: steps.unwrap_or(4),
                guidance: 7.5,
                spacing: None,
                eta: Some(0.3),
                source: PCM,
            },
            Self::Lightning => Recipe {
                name: "Lightning",
                scheduler: ("euler", "Euler"),
                steps: steps.unwrap_or(4),
                guidance: 1.0,
                spacing: trailing,
                eta: None,
                source: "huggingface.co/ByteDance/SDXL-Lightning",
            },
            // "1 to 4 steps", no guidance
            Self::Turbo => Recipe {
                name: "Turbo",
                scheduler: ("euler_a", "Euler ancestral"),
                steps: steps.unwrap_or(4),
                guidance: 1.0,
                spacing: trailing,
                eta: None,
                source: "huggingface.co/stabilityai/sd-turbo",
            },
        }
    }

    fn advice(self, steps: Option<usize>, told: &str) -> Advice {
        let recipe = self.recipe(steps);
        let (scheduler, label) = recipe.scheduler;
        let count =
            if recipe.steps == 1 { "1 step".into() } else { format!("{} steps", recipe.steps) };
        let mut settings = format!("{count}, guidance {}, {label}", recipe.guidance);
        if let Some(spacing) = recipe.spacing {
            settings += &format!(", {spacing} timesteps");
        }
        if let Some(eta) = recipe.eta {
            settings += &format!(", eta {eta}");
        }
        Advice {
            name: recipe.name.into(),
            steps: recipe.steps,
            guidance: recipe.guidance,
            scheduler,
            spacing: recipe.spacing,
            eta: recipe.eta,
            settings,
            why: format!("{told}; the settings are those of {}", recipe.source),
        }
    }
}

/// Files that are handed out under a name that says nothing (`pytorch_lora_weights.safetensors`).
const KNOWN: [(&str, Family, &str); 2] = [
    (
        "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4",
        Family::Lcm,
        "latent-consistency/lcm-lora-sdv1-5",
    ),
    (
        "eaecb24a1cda4411eab67275b1d991071216ac93693e8fa0c9226c9df0386232",
        Family::Tcd,
        "h1t/TCD-SD15-LoRA",
    ),
];

/// The advice for an adapter, or none if nothing says that it makes a model fast.
///
/// # Errors
/// When the file can't be read: its hash is asked only where the layers are those of a speed
/// adapter and no name tells which.
pub(super) fn advice(
    source: &dyn Source,
    metadata: &BTreeMap<String, String>,
    modules: &[AdapterModule],
) -> Result<Option<Advice>> {
    // All of them leave the text encoder alone: a subject called "lightning" rarely does.
    if modules.iter().any(|module| module.part != Part::UNet) {
        return Ok(None);
    }
    let file = ("its name says so", source.name());
    let titles = ["modelspec.title", "ss_output_name", "name", "title"];
    let titles = titles.iter().filter_map(|&key| metadata.get(key));
    let names =
        std::iter::once(file).chain(titles.map(|title| ("its metadata says so", &title[..])));
    for (told, name) in names {
        if let Some((family, steps)) = by_name(name) {
            return Ok(Some(family.advice(steps, told)));
        }
    }
    // A trainer's own metadata would have told.
    if !sits_everywhere(modules) || metadata.keys().any(|key| key.starts_with("ss_")) {
        return Ok(None);
    }
    let hash = sha256(source)?;
    Ok(Some(match KNOWN.iter().find(|(known, ..)| *known == hash) {
        Some((_, family, repository)) => {
            family.advice(None, &format!("it is the file of {repository}, by its hash"))
        }
        None => Advice {
            name: "LCM-LoRA, TCD or Hyper-SD".into(),
            ..Family::Lcm.advice(
                None,
                "it sits on every layer as these do, and nothing in it says which of them it is \
                 (give the file the name it had, if it had another); LCM's are a start",
            )
        },
    }))
}

/// What a name says: a family, and for how many steps.
fn by_name(name: &str) -> Option<(Family, Option<usize>)> {
    let name = name.to_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    let starts = |start: &str| words.iter().any(|word| word.starts_with(start));
    let steps = steps(&words);
    let family = if has("tcd") {
        Family::Tcd
    } else if has("pcm") && starts("normalcfg") {
        Family::PcmNormalCfg
    } else if has("pcm") && (starts("smallcfg") || steps.is_some()) {
        Family::PcmSmallCfg
    } else if starts("hypersd") || (has("hyper") && (steps.is_some() || starts("sd"))) {
        if starts("cfg") { Family::HyperSdCfg } else { Family::HyperSd }
    } else if has("lcm") {
        Family::Lcm
    } else if has("lightning") && steps.is_some() {
        Family::Lightning
    } else if has("turbo") && (starts("sd") || steps.is_some()) {
        Family::Turbo
    } else {
        return None;
    };
    Some((family, steps))
}

/// "4steps", "4step", "4-step", "4 steps": 1 to 50.
fn steps(words: &[&str]) -> Option<usize> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=50).contains(n));
    words.iter().enumerate().find_map(|(i, word)| {
        let stem = word.strip_suffix("steps").or_else(|| word.strip_suffix("step"))?;
        if stem.is_empty() { number(words.get(i.checked_sub(1)?)?) } else { number(stem) }
    })
}

/// Whether it is a LoRA of one rank on each kind of layer that the UNet has, as the scripts that
/// distil a model choose them: attention, feed-forward, convolutions and time embeddings.
fn sits_everywhere(modules: &[AdapterModule]) -> bool {
    const KINDS: [&str; 8] = [
        ".to_q",
        ".to_out.0",
        ".proj_in",
        ".ff.net.0.proj",
        ".conv1",
        ".conv2",
        ".time_emb_proj",
        ".upsamplers.0.conv",
    ];
    let rank = modules.first().map_or(0, |module| module.rank);
    rank >= 32
        && modules.iter().all(|module| module.rank == rank)
        && Kind::of(modules)
            .into_iter()
            .all(|kind| [low_rank::LORA, low_rank::LOCON].contains(&kind))
        && KINDS.iter().all(|kind| modules.iter().any(|module| module.path.ends_with(kind)))
}

/// The SHA-256 of a whole file, read in parts.
fn sha256(source: &dyn Source) -> Result<String> {
    const PART: u64 = 4 << 20;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PART.min(source.len()) as usize];
    let mut at = 0;
    while at < source.len() {
        let part = &mut buffer[..PART.min(source.len() - at) as usize];
        source.read(at, part)?;
        hasher.update(&*part);
        at += part.len() as u64;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

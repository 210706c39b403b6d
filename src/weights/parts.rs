//! A text encoder or a VAE: within a single file, or in a file of its own.

use std::rc::Rc;

use super::checkpoint::{Component, Stored};
use super::scales::Scales;
use super::{Index, Source};
use crate::error::{Error, Result};
use crate::keys::clip::{self, ClipName};
use crate::keys::detect::{self, FileKind};
use crate::keys::vae::{self, TinyHalf};

/// What may come in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    TextEncoder,
    /// SDXL's second.
    TextEncoder2,
    Vae,
}

/// Where single files, and files of a text encoder alone, have it. The empty prefix is the last.
const TEXT_PREFIXES: [&str; 8] = [
    "cond_stage_model.transformer.",
    "cond_stage_model.model.",
    // sgm's layout, with one text encoder.
    "conditioner.embedders.0.transformer.",
    "conditioner.embedders.0.model.",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_h.transformer.",
    "text_encoder.",
    "",
];

const TEXT_2_PREFIXES: [&str; 3] = [
    "conditioner.embedders.1.model.",
    "conditioner.embedders.1.transformer.",
    "text_encoders.clip_g.transformer.",
];

const VAE_PREFIXES: [&str; 3] = ["first_stage_model.", "vae.", ""];

impl Part {
    /// The part that a file is, by its tensors' names.
    pub(super) fn of(index: &Index) -> Option<Self> {
        match detect::file_kind(index.tensors.keys().map(String::as_str)) {
            FileKind::Part("a VAE") => Some(Self::Vae),
            FileKind::Part("a text encoder") => Some(Self::TextEncoder),
            _ => tiny_half(index).map(|_| Self::Vae),
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::TextEncoder => "text encoder",
            Self::TextEncoder2 => "second text encoder",
            Self::Vae => "VAE",
        }
    }

    pub(super) fn ldm_prefix(self) -> &'static str {
        match self {
            Self::TextEncoder => "cond_stage_model.",
            Self::TextEncoder2 => "conditioner.embedders.1.",
            Self::Vae => "first_stage_model.",
        }
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::TextEncoder => {
                "Bring a file of CLIP's text encoder along with it, or use a full checkpoint, with \
                 UNet, text encoder and VAE in one file"
            }
            Self::TextEncoder2 => {
                "Use a full checkpoint of Stable Diffusion XL, with UNet, both text encoders and VAE in \
                 one file, or a whole diffusers folder"
            }
            Self::Vae => {
                "Bring a VAE's file (such as vae-ft-mse-840000) along with it, or use a full \
                 checkpoint, with UNet, text encoder and VAE in one file"
            }
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Vae => "vae",
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::TextEncoder => &TEXT_PREFIXES,
            Self::TextEncoder2 => &TEXT_2_PREFIXES,
            Self::Vae => &VAE_PREFIXES,
        }
    }

    /// Whether a single file's tensor belongs to this part.
    pub(super) fn owns(self, key: &str) -> bool {
        let named = |prefix: &&&str| !prefix.is_empty() && key.starts_with(**prefix);
        self.prefixes().iter().find(named).is_some()
    }

    /// Reads files that are this part alone: one, or the two of TAESD. `at` is the number that the first
    /// one's source is to have.
    ///
    /// # Errors
    /// When its sizes can't be told, or it belongs to another family.
    pub(super) fn read(
        self,
        files: &[(Rc<dyn Source>, Index)],
        at: usize,
        ignored: &mut Vec<String>,
    ) -> Result<Component> {
        let mut tensors = Vec::new();
        for (i, (source, index)) in files.iter().enumerate() {
            let (scales, half) = (Scales::read(index, source.as_ref())?, tiny_half(index));
            for mut stored in Stored::all(index, at + i, &scales) {
                if let Some(why) = Scales::reason(&stored.key) {
                    ignored.push(format!("{}: {why}", stored.key));
                    continue;
                }
                if let Some(name) = half.and_then(|half| half.to_diffusers(&stored.key)) {
                    stored.key = name;
                }
                tensors.push(stored);
            }
        }
        let names: Vec<&str> = files.iter().map(|(source, _)| source.name()).collect();
        self.build(&names.join(" and "), tensors, ignored)
    }

    /// A component from its tensors, whatever naming they have.
    ///
    /// # Errors
    /// When a fused tensor can't be cut, or the sizes can't be told.
    pub(super) fn build(
        self,
        file: &str,
        tensors: Vec<Stored>,
        ignored: &mut Vec<String>,
    ) -> Result<Component> {
        let prefix = self
            .prefixes()
            .iter()
            .find(|prefix| tensors.iter().any(|stored| stored.key.starts_with(**prefix)));
        let prefix = prefix.copied().unwrap_or_default();
        let mut component = Component::new(self.component(), file);
        let names: Vec<&str> =
            tensors.iter().filter_map(|stored| stored.key.strip_prefix(prefix)).collect();
        let (levels, open_clip) = (
            vae::ldm_levels(names.iter().copied()),
            names.iter().any(|name| name.starts_with("transformer.resblocks.")),
        );
        for stored in tensors {
            let Some(rest) = stored.key.strip_prefix(prefix) else {
                ignored.push(stored.key);
                continue;
            };
            match self {
                Self::TextEncoder | Self::TextEncoder2 => {
                    let name = match (self, open_clip) {
                        (Self::TextEncoder, true) => clip::open_clip_to_diffusers(rest),
                        (Self::TextEncoder, false) => clip::to_diffusers(rest),
                        (_, true) => clip::second_open_clip_to_diffusers(rest),
                        (_, false) => clip::second_to_diffusers(rest),
                    };
                    add_text(&mut component, &stored, rest, name, file, ignored)?
                }
                Self::Vae => add_vae(&mut component, &stored, rest, levels, ignored),
            }
        }
        if component.tensors.is_empty() {
            return Ok(component);
        }
        let config = match self {
            Self::TextEncoder => detect::clip_config(&component.shapes(), open_clip),
            Self::TextEncoder2 => detect::second_clip_config(&component.shapes()),
            Self::Vae => detect::vae_config(&component.shapes()),
        };
        component.config = config.map_err(|key| cannot_infer(file, key))?;
        component.config_inferred = true;
        Ok(component)
    }
}

/// The half of TAESD that a file is, if it is one.
pub(super) fn tiny_half(index: &Index) -> Option<TinyHalf> {
    TinyHalf::of(index.tensors.keys().map(String::as_str))
}

/// The error for a tensor without which a model's sizes can't be told.
pub(super) fn cannot_infer(file: &str, key: String) -> Error {
    Error::key(
        file,
        key,
        "is missing or misshapen, so the model's sizes can't be told",
        "Check that the file holds a whole Stable Diffusion model",
    )
}

fn add_vae(
    component: &mut Component,
    stored: &Stored,
    rest: &str,
    levels: usize,
    ignored: &mut Vec<String>,
) {
    match vae::to_diffusers(rest, levels) {
        Some(name) => component.add(name, stored.clone(), ignored),
        None if rest.starts_with("loss.") || rest.starts_with("model_ema.") => {
            ignored.push(format!("{}: {FOR_TRAINING}", stored.key));
        }
        None => component.add(stored.key.clone(), stored.clone(), ignored),
    }
}

fn add_text(
    component: &mut Component,
    stored: &Stored,
    rest: &str,
    name: Option<ClipName>,
    file: &str,
    ignored: &mut Vec<String>,
) -> Result<()> {
    let key = stored.key.clone();
    match name {
        Some(ClipName::Whole(name)) => component.add(name, stored.clone(), ignored),
        Some(ClipName::Transposed(name)) => {
            let mut turned = Stored { transposed: true, ..stored.clone() };
            turned.info.shape.reverse();
            component.add(name, turned, ignored);
        }
        Some(ClipName::Unused(why)) => ignored.push(format!("{key}: {why}")),
        Some(ClipName::Thirds(names)) => {
            for (i, name) in names.into_iter().enumerate() {
                component.add(name, third(stored, i, file)?, ignored);
            }
        }
        // A whole CLIP has a picture's side too.
        None if rest.starts_with("visual") || rest.starts_with("vision_model.") => {
            ignored.push(format!("{key}: CLIP's side for pictures"));
        }
        None => component.add(key, stored.clone(), ignored),
    }
    Ok(())
}

/// The `i`th of three equal parts along the first dimension.
fn third(stored: &Stored, i: usize, file: &str) -> Result<Stored> {
    let mut part = stored.clone();
    match part.info.shape.first_mut() {
        Some(rows) if *rows % 3 == 0 => *rows /= 3,
        _ => {
            return Err(Error::key(
                file,
                &stored.key,
                format!("has the shape {:?}, not three equal parts", stored.info.shape),
                "Check that the file isn't damaged",
            ));
        }
    }
    part.info.bytes /= 3;
    part.info.offset += part.info.bytes * i as u64;
    Ok(part)
}

pub(super) const FOR_TRAINING: &str = "is for training only";

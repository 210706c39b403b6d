//! A Stable Diffusion model opened from whatever layout its files have, every tensor under its
//! diffusers name. Reads headers and configs; no tensor is read yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use serde_json::Value;

use super::scales::Scales;
use super::{Dtype, Index, Source, TensorInfo, to_f32};
use crate::error::{Error, Result};
use crate::keys::family::Family;
use crate::keys::{clip, detect, vae};

/// One stored tensor of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Which of the checkpoint's sources it is in.
    pub source: usize,
    /// Its name in that file, for messages.
    pub key: String,
    /// Its type, shape and place; for a part of a fused tensor, that part's. The shape is as
    /// stored: a matrix may be a 1x1 convolution with ones at the end.
    pub info: TensorInfo,
    /// What its numbers are to be multiplied by, where 8-bit floats were scaled.
    pub scale: Option<f32>,
    /// Whether the file holds the matrix with rows and columns exchanged. The shape is as it is wanted.
    pub transposed: bool,
}

impl Stored {
    /// The tensor's bytes as they are in the file.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn read(&self, sources: &[Rc<dyn Source>]) -> Result<Vec<u8>> {
        let source = sources.get(self.source).ok_or_else(|| {
            Error::key(
                format!("file number {}", self.source),
                &self.key,
                "isn't among the opened files",
                "Open the model again",
            )
        })?;
        let mut bytes = vec![0; self.info.bytes as usize];
        source.read(self.info.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The tensor's values as f32, whatever its stored type, scaled where it has a scale.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn read_f32(&self, sources: &[Rc<dyn Source>]) -> Result<Vec<f32>> {
        let (dtype, bytes) = self.unscaled(self.read(sources)?);
        Ok(to_f32(dtype, &bytes))
    }

    /// Bytes as they are in the file to the type and bytes of the tensor's own numbers: f32 where it
    /// has a scale, in the order of its shape.
    pub fn unscaled(&self, bytes: Vec<u8>) -> (Dtype, Vec<u8>) {
        let dtype = self.info.dtype;
        let bytes = if self.transposed { self.turned(&bytes) } else { bytes };
        let Some(scale) = self.scale else { return (dtype, bytes) };
        let values = to_f32(dtype, &bytes).into_iter();
        (Dtype::F32, values.flat_map(|value| (value * scale).to_le_bytes()).collect())
    }

    /// Bytes of a matrix `[columns, rows]` to those of `[rows, columns]`, which the shape is.
    fn turned(&self, bytes: &[u8]) -> Vec<u8> {
        let (size, [rows, columns]) = (self.info.dtype.size(), self.sides());
        let mut turned = Vec::with_capacity(bytes.len());
        for row in 0..rows {
            for column in 0..columns {
                let at = (column * rows + row) * size;
                turned.extend(bytes.get(at..at + size).unwrap_or_default());
            }
        }
        turned
    }

    /// Rows and columns of a matrix.
    fn sides(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.info.shape.get(axis).copied().unwrap_or(1))
    }

    /// The same numbers in this order, in which a file holds a matrix that is stored with rows and columns
    /// exchanged: what [`Self::read_f32`] gave goes back to it.
    pub fn as_stored(&self, values: Vec<f32>) -> Vec<f32> {
        if !self.transposed {
            return values;
        }
        let [rows, columns] = self.sides();
        let row_of = |column: usize| (0..rows).map(move |row| row * columns + column);
        (0..columns).flat_map(row_of).filter_map(|at| values.get(at).copied()).collect()
    }

    /// Every tensor of a file, which has this number among the checkpoint's sources.
    pub(super) fn all<'a>(
        index: &'a Index,
        source: usize,
        scales: &'a Scales,
    ) -> impl Iterator<Item = Self> + 'a {
        index.tensors.iter().map(move |(key, info)| Self {
            source,
            key: key.clone(),
            info: info.clone(),
            scale: scales.of(key),
            transposed: false,
        })
    }
}

/// One model of a pipeline: its config and where its tensors are.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// `unet`, `text_encoder`, `text_encoder_2` or `vae`.
    pub name: &'static str,
    /// The file that its weights come from, for messages.
    pub file: String,
    /// Its `config.json`.
    pub config: Value,
    /// Whether the config was told from names and shapes, since the file brings none.
    pub config_inferred: bool,
    /// Every tensor by its diffusers name.
    pub tensors: BTreeMap<String, Stored>,
}

impl Component {
    /// A component from one safetensors file in diffusers or transformers names. Its tensors are in
    /// source 0, which is that file.
    ///
    /// # Errors
    /// When the header can't be read.
    pub fn from_safetensors(
        name: &'static str,
        source: &dyn Source,
        config: Value,
    ) -> Result<Self> {
        let mut component = Self::new(name, source.name());
        component.config = config;
        component.add_file(&Index::read(source)?, source, 0, &mut Vec::new())?;
        Ok(component)
    }

    pub(super) fn new(name: &'static str, file: &str) -> Self {
        Self {
            name,
            file: file.into(),
            config: Value::Null,
            config_inferred: false,
            tensors: BTreeMap::new(),
        }
    }

    /// Takes in every tensor of a file in diffusers or transformers names. What nothing knows keeps
    /// its name, so that loading reports it as unused. `at` is the file's number among the sources.
    ///
    /// # Errors
    /// When 8-bit weights are scaled in a way that isn't read.
    pub(super) fn add_file(
        &mut self,
        index: &Index,
        source: &dyn Source,
        at: usize,
        ignored: &mut Vec<String>,
    ) -> Result<()> {
        let scales = Scales::read(index, source)?;
        for stored in Stored::all(index, at, &scales) {
            let key = &stored.key;
            if let Some(why) = Scales::reason(key) {
                ignored.push(format!("{key}: {why}"));
                continue;
            }
            let name = match self.name {
                "text_encoder" | "text_encoder_2" => {
                    let second = self.name == "text_encoder_2";
                    let name = if second {
                        clip::second_to_diffusers(key)
                    } else {
                        clip::to_diffusers(key)
                    };
                    match name {
                        Some(clip::ClipName::Whole(name)) => Some(name),
                        Some(clip::ClipName::Unused(why)) => {
                            ignored.push(format!("{key}: {why}"));
                            continue;
                        }
                        _ => None,
                    }
                }
                "vae" => vae::to_diffusers(key, 0),
                _ => None,
            };
            self.add(name.unwrap_or_else(|| key.clone()), stored, ignored);
        }
        Ok(())
    }

    /// Takes in one tensor; of two with the same name the first stays.
    pub(super) fn add(&mut self, name: String, stored: Stored, ignored: &mut Vec<String>) {
        match self.tensors.entry(name) {
            Entry::Vacant(place) => {
                place.insert(stored);
            }
            Entry::Occupied(place) => {
                let (name, first) = (place.key(), &place.get().key);
                ignored.push(format!("{}: {first} is already {name}", stored.key));
            }
        }
    }

    /// Shapes by name, as [`detect`] wants them.
    pub(super) fn shapes(&self) -> detect::Shapes {
        self.tensors
            .iter()
            .map(|(name, stored)| (name.clone(), stored.info.shape.clone()))
            .collect()
    }
}

/// The files of a CLIP tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// `vocab.json`.
    pub vocab: Vec<u8>,
    /// `merges.txt`.
    pub merges: Vec<u8>,
    /// `tokenizer_config.json`.
    pub config: Option<Value>,
    /// `special_tokens_map.json`.
    pub special_tokens: Option<Value>,
}

/// An opened model.
pub struct Checkpoint {
    /// The folder's or the file's name, for people.
    pub name: String,
    /// The files that hold the tensors.
    pub sources: Vec<Rc<dyn Source>>,
    /// The denoiser.
    pub unet: Component,
    /// CLIP's text model.
    pub text_encoder: Component,
    /// SDXL's second one, of which the UNet takes a pooled vector as well.
    pub text_encoder_2: Option<Component>,
    /// The autoencoder.
    pub vae: Component,
    /// `scheduler_config.json`.
    pub scheduler_config: Value,
    /// The tokenizer's files; a single file brings none.
    pub tokenizer: Option<TokenizerFiles>,
    /// Those of the second text encoder's.
    pub tokenizer_2: Option<TokenizerFiles>,
    /// Whether an empty negative prompt stands for zeros in place of its embeddings (SDXL;
    /// `model_index.json` may say otherwise).
    pub force_zeros_for_empty_prompt: bool,
    /// Tensors that are part of no component, each with the reason if there is a known one.
    pub ignored: Vec<String>,
    /// Which member of the family it is, from which evidence.
    pub family: Family,
}

pub(super) const WHAT_TO_BRING: &str = "Bring one .safetensors checkpoint, or a whole diffusers folder with its model_index.json and its unet, text_encoder and vae folders";

impl Checkpoint {
    /// Its text encoders, one or two.
    pub fn text_encoders(&self) -> impl Iterator<Item = &Component> {
        std::iter::once(&self.text_encoder).chain(&self.text_encoder_2)
    }

    /// Its components: text encoders, UNet, VAE.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.text_encoders().chain([&self.unet, &self.vae])
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint")
            .field("name", &self.name)
            .field("sources", &self.sources.iter().map(|source| source.name()).collect::<Vec<_>>())
            .field("components", &[&self.unet.file, &self.text_encoder.file, &self.vae.file])
            .field("ignored", &self.ignored.len())
            .finish_non_exhaustive()
    }
}

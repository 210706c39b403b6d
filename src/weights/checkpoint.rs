//! A Stable Diffusion model opened from whatever layout its files have, every tensor under its
//! diffusers name. Reads headers and configs; no tensor is read yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use serde_json::Value;

use super::{Index, Source, TensorInfo, to_f32};
use crate::error::{Error, Result};
use crate::keys::{clip, detect, vae};

/// One stored tensor of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which of the checkpoint's sources it is in.
    pub source: usize,
    /// Its name in that file, for messages.
    pub key: String,
    /// Its type, shape and place; for a part of a fused tensor, that part's. The shape is as
    /// stored: a matrix may be a 1x1 convolution with ones at the end.
    pub info: TensorInfo,
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

    /// The tensor's values as f32, whatever its stored type.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn read_f32(&self, sources: &[Rc<dyn Source>]) -> Result<Vec<f32>> {
        Ok(to_f32(self.info.dtype, &self.read(sources)?))
    }
}

/// One model of a pipeline: its config and where its tensors are.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// `unet`, `text_encoder` or `vae`.
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
        component.add_file(&Index::read(source)?, 0, &mut Vec::new());
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
    /// its name, so that loading reports it as unused.
    pub(super) fn add_file(&mut self, index: &Index, source: usize, ignored: &mut Vec<String>) {
        for (key, info) in &index.tensors {
            let stored = Stored { source, key: key.clone(), info: info.clone() };
            let name = match self.name {
                "text_encoder" => match clip::to_diffusers(key) {
                    Some(clip::ClipName::Whole(name)) => Some(name),
                    Some(clip::ClipName::Unused(why)) => {
                        ignored.push(format!("{key}: {why}"));
                        continue;
                    }
                    _ => None,
                },
                "vae" => vae::to_diffusers(key, 0),
                _ => None,
            };
            self.add(name.unwrap_or_else(|| key.clone()), stored, ignored);
        }
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
    /// The autoencoder.
    pub vae: Component,
    /// `scheduler_config.json`.
    pub scheduler_config: Value,
    /// The tokenizer's files; a single file brings none.
    pub tokenizer: Option<TokenizerFiles>,
    /// Tensors that are part of no component, each with the reason if there is a known one.
    pub ignored: Vec<String>,
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

impl Checkpoint {
    /// Opens a model from its files: a diffusers folder or a single safetensors file. A source's
    /// name is its path in the folder, such as `my-model/unet/config.json`; other files among them
    /// do no harm.
    ///
    /// # Errors
    /// When it is something else, a part is missing or a header is damaged.
    pub fn open(files: Vec<Rc<dyn Source>>) -> Result<Self> {
        if let Some(root) = super::folder::find_root(&files) {
            return super::folder::open(&files, &root);
        }
        let mut models = files.clone();
        models.retain(|file| file.name().ends_with(".safetensors"));
        match (models.as_slice(), files.as_slice()) {
            // Whatever a lone file is, its header tells.
            ([only], _) | ([], [only]) => super::single_file::open(Rc::clone(only)),
            ([], []) => Err(Error::file("no file", "there is nothing to open", WHAT_TO_BRING)),
            ([], [first, ..]) => Err(Error::file(
                first.name(),
                format!("there is no model among these {} files", files.len()),
                WHAT_TO_BRING,
            )),
            ([first, ..], _) => Err(Error::file(
                first.name(),
                format!(
                    "is one of {} model files, and no model_index.json says which is what",
                    models.len()
                ),
                WHAT_TO_BRING,
            )),
        }
    }

    /// Opens a model folder or a single file on disk.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and when the path can't be read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_path(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::open(vec![Rc::new(super::FileSource::open(path)?)]);
        }
        let mut files = Vec::new();
        walk(path, "", 2, &mut files)?;
        if files.is_empty() {
            return Err(Error::file(
                path.display().to_string(),
                "there is no model file in this folder",
                WHAT_TO_BRING,
            ));
        }
        let mut checkpoint = Self::open(files)?;
        if let Some(name) = path.canonicalize().ok().as_deref().and_then(std::path::Path::file_name)
        {
            checkpoint.name = name.to_string_lossy().into_owned();
        }
        Ok(checkpoint)
    }
}

pub(super) const WHAT_TO_BRING: &str = "Bring one .safetensors checkpoint, or a whole diffusers folder with its model_index.json and its unet, text_encoder and vae folders";

/// Collects the files of a model folder under their relative paths, `depth` folders deep.
#[cfg(not(target_arch = "wasm32"))]
fn walk(
    folder: &std::path::Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<Rc<dyn Source>>,
) -> Result<()> {
    let fail = |error: std::io::Error| {
        Error::file(
            folder.display().to_string(),
            format!("can't be listed: {error}"),
            "Check the path and its permissions",
        )
    };
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(fail)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            // Git's and the hub's own folders hold no model.
            if depth > 0 && !name.starts_with('.') {
                walk(&path, &format!("{relative}/"), depth - 1, files)?;
            }
        } else if super::folder::is_relevant(&name) && path.is_file() {
            files.push(Rc::new(super::FileSource::open(&path)?.named(relative)));
        }
    }
    Ok(())
}

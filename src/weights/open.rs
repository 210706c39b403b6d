//! Opening a model: which of the files that somebody brought are what.

use std::rc::Rc;

use super::checkpoint::{Checkpoint, WHAT_TO_BRING};
use super::draft::Draft;
use super::parts::{Part, tiny_half};
use super::{Index, Source, folder, single_file};
use crate::error::{Error, Result};
use crate::keys::detect::{self, FileKind};
use crate::keys::family::Overrides;

impl Checkpoint {
    /// Opens a model from its files, as they say that it is; see [`Checkpoint::open_with`].
    ///
    /// # Errors
    /// When it is something else, a part is missing or a header is damaged.
    pub fn open(files: Vec<Rc<dyn Source>>) -> Result<Self> {
        Self::open_with(files, &Overrides::default())
    }

    /// Opens a model from its files: a diffusers folder or a single safetensors file. A source's
    /// name is its path in the folder, such as `my-model/unet/config.json`; other files among them
    /// do no harm. Beside either may lie a VAE or a text encoder in a file of its own, which takes
    /// the place of the model's, and beside a single file its `.yaml`.
    ///
    /// # Errors
    /// When it is something else, a part is missing or a header is damaged; when `overrides` can't
    /// be applied to it.
    pub fn open_with(files: Vec<Rc<dyn Source>>, overrides: &Overrides) -> Result<Self> {
        let mut draft = match folder::find_root(&files) {
            Some(root) => folder::open(&files, &root)?,
            None => open_files(&files)?,
        };
        for (part, files) in separate(&files, &draft)? {
            draft.take(part, files)?;
        }
        draft.finish(overrides)
    }

    /// Opens a model folder or a single file on disk, with the `.yaml` that lies beside a file.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and when the path can't be read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_path(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::open_path_with(path, &[], &Overrides::default())
    }

    /// As [`Checkpoint::open_path`], with the files of a VAE or a text encoder, and with what was chosen
    /// by hand.
    ///
    /// # Errors
    /// As [`Checkpoint::open_with`], and when a path can't be read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_path_with(
        path: impl AsRef<std::path::Path>,
        parts: &[&std::path::Path],
        overrides: &Overrides,
    ) -> Result<Self> {
        let path = path.as_ref();
        let mut files = Vec::new();
        if path.is_dir() {
            walk(path, "", 2, &mut files)?;
            if files.is_empty() {
                return Err(Error::file(
                    path.display().to_string(),
                    "there is no model file in this folder",
                    WHAT_TO_BRING,
                ));
            }
        } else {
            files.push(Rc::new(super::FileSource::open(path)?) as Rc<dyn Source>);
            for ending in YAML {
                let beside = path.with_extension(&ending[1..]);
                if beside.is_file() {
                    files.push(Rc::new(super::FileSource::open(beside)?));
                }
            }
        }
        for part in parts {
            files.push(Rc::new(super::FileSource::open(part)?));
        }
        let mut checkpoint = Self::open_with(files, overrides)?;
        let name = path.canonicalize().ok().filter(|_| path.is_dir());
        if let Some(name) = name.as_deref().and_then(std::path::Path::file_name) {
            checkpoint.name = name.to_string_lossy().into_owned();
        }
        Ok(checkpoint)
    }
}

const YAML: [&str; 2] = [".yaml", ".yml"];

/// The one model among files that are no folder.
fn open_files(files: &[Rc<dyn Source>]) -> Result<Draft> {
    let is_yaml = |file: &&Rc<dyn Source>| YAML.iter().any(|ending| file.name().ends_with(ending));
    let yaml = files.iter().find(is_yaml).map(|file| file.as_ref());
    let models = safetensors(files);
    match (models.as_slice(), files) {
        // Whatever a lone file is, its header tells.
        ([only], _) | ([], [only]) => return single_file::open(Rc::clone(only), yaml),
        ([], []) => {
            return Err(Error::file("no file", "there is nothing to open", WHAT_TO_BRING));
        }
        ([], [first, ..]) => {
            return Err(Error::file(
                first.name(),
                format!("there is no model among these {} files", files.len()),
                WHAT_TO_BRING,
            ));
        }
        _ => {}
    }
    let mut found = Vec::new();
    for file in &models {
        let index = Index::read(file.as_ref())?;
        let kind = detect::file_kind(index.tensors.keys().map(String::as_str));
        if matches!(kind, FileKind::Checkpoint | FileKind::Part("a UNet")) {
            found.push((Rc::clone(file), index));
        } else if Part::of(&index).is_none() {
            // One that can't belong here says what it is.
            return single_file::open(Rc::clone(file), yaml);
        }
    }
    if found.len() == 1
        && let Some((file, index)) = found.pop()
    {
        return single_file::draft(file, &index, yaml);
    }
    Err(Error::file(
        models[0].name(),
        format!(
            "is one of {} model files, and no model_index.json says which is what",
            models.len()
        ),
        "Bring one checkpoint, with at most one VAE and one text encoder in files of their own, or a \
         whole diffusers folder",
    ))
}

fn safetensors(files: &[Rc<dyn Source>]) -> Vec<Rc<dyn Source>> {
    files.iter().filter(|file| file.name().ends_with(".safetensors")).cloned().collect()
}

/// A component in a file of its own, or in two, whose headers have been read.
type Separate = (Part, Vec<(Rc<dyn Source>, Index)>);

/// VAEs and text encoders in files of their own, which lie in no folder; at most one of each.
fn separate(files: &[Rc<dyn Source>], draft: &Draft) -> Result<Vec<Separate>> {
    let mut found: Vec<Separate> = Vec::new();
    for file in safetensors(files) {
        let taken = draft.sources.iter().any(|source| Rc::ptr_eq(source, &file));
        if taken || file.name().contains('/') {
            continue;
        }
        // What lies in a folder beside a model may be anything.
        let Ok(index) = Index::read(file.as_ref()) else { continue };
        let Some(part) = Part::of(&index) else { continue };
        match found.iter_mut().find(|(known, ..)| *known == part) {
            None => found.push((part, vec![(file, index)])),
            Some((_, others)) if is_other_half(others, &index) => others.push((file, index)),
            Some((_, others)) => {
                return Err(Error::file(
                    file.name(),
                    format!("is a {} as {} is", part.label(), others[0].0.name()),
                    "Bring one of them",
                ));
            }
        }
    }
    for (_, files) in &found {
        if let [(file, index)] = files.as_slice()
            && let Some(half) = tiny_half(index)
        {
            return Err(Error::file(
                file.name(),
                format!("is {} alone", half.label()),
                "Bring taesd_encoder.safetensors and taesd_decoder.safetensors together, or TAESD as \
                 one file (diffusion_pytorch_model.safetensors)",
            ));
        }
    }
    Ok(found)
}

/// Whether a file is the half of TAESD that those lack.
fn is_other_half(others: &[(Rc<dyn Source>, Index)], index: &Index) -> bool {
    match (others, tiny_half(index)) {
        ([(_, other)], Some(half)) => tiny_half(other).is_some_and(|there| there != half),
        _ => false,
    }
}

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

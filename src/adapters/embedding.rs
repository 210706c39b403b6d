//! Textual inversion: vectors that a text encoder takes in the place of a word, alone in a file or bundled
//! with a LoRA. Formats: A1111's and kohya's `emb_params`, diffusers' `<word>`, `clip_l`, and
//! `bundle_emb.NAME.` before any of them.

use super::remedies::BROKEN;
use crate::error::{Error, Result};
use crate::keys::detect::{self, FileKind};
use crate::weights::{Index, Source};

/// A word's vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// What it is called in a prompt, the file's own name first.
    pub names: Vec<String>,
    /// `[vectors, width]`.
    pub values: Vec<f32>,
    /// Numbers in each vector.
    pub width: usize,
    /// What SDXL's second text encoder takes, `[vectors, width]`, and the numbers in each of those
    /// vectors.
    pub second: Option<(Vec<f32>, usize)>,
}

impl Embedding {
    /// How many vectors.
    pub fn vectors(&self) -> usize {
        self.values.len() / self.width
    }

    /// What a text encoder, the first or the second, takes: all vectors, and the numbers in each.
    pub fn of(&self, encoder: usize) -> Option<(&[f32], usize)> {
        match encoder {
            0 => Some((&self.values, self.width)),
            _ => self.second.as_ref().map(|(values, width)| (values.as_slice(), *width)),
        }
    }
}

/// Of a text encoder's 77 positions, without those of start and end.
const MOST: usize = 75;
const BUNDLED: &str = "bundle_emb.";
const REMEDY: &str = "Use an embedding made for the model that is loaded";

/// Whether a file is a textual inversion: by its keys, or as one lone matrix as wide as text encoders are.
pub(super) fn is_embedding(index: &Index) -> bool {
    match detect::file_kind(index.tensors.keys().map(String::as_str)) {
        FileKind::Embedding => true,
        FileKind::Unknown if index.tensors.len() == 1 => {
            let widths = [768, 1024, 1280];
            index.tensors.values().all(|info| match info.shape[..] {
                [width] | [_, width] => info.dtype.is_float() && widths.contains(&width),
                _ => false,
            })
        }
        _ => false,
    }
}

/// The embeddings of a file that is a textual inversion, for a text encoder whose vectors have the first
/// of `widths` numbers; of SDXL the second text encoder's have the other.
///
/// # Errors
/// Names the key: for another model, of a shape that none has, not finite.
pub(super) fn read(
    index: &Index,
    source: &dyn Source,
    [width, second]: [Option<usize>; 2],
) -> Result<Vec<Embedding>> {
    let file = index.file.as_str();
    if second.is_some() {
        return Ok(vec![of_both(index, source, ["clip_l", "clip_g"], [width, second])?]);
    }
    if index.tensors.contains_key("clip_g") {
        let problem = "belongs to an embedding for Stable Diffusion XL, not for this model";
        return Err(Error::key(file, "clip_g", problem, REMEDY));
    }
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let alone = index.tensors.len() == 1;
    let embedding = |key: &String| {
        let own = key.starts_with('<').then(|| key.clone());
        let names = if alone {
            [stem.to_string()].into_iter().chain(own).collect()
        } else {
            vec![key.clone()]
        };
        of_key(index, source, key, names, width)
    };
    index.tensors.keys().map(embedding).collect()
}

/// SDXL's, of which either text encoder has vectors of its own. It is called as its file.
fn of_both(
    index: &Index,
    source: &dyn Source,
    keys: [&str; 2],
    widths: [Option<usize>; 2],
) -> Result<Embedding> {
    let file = index.file.as_str();
    if let Some(lacking) = keys.iter().find(|key| !index.tensors.contains_key(**key)) {
        let first = index.tensors.keys().next().map_or("", String::as_str);
        let problem = format!(
            "belongs to an embedding without {lacking}, which is for Stable Diffusion 1 or 2, not for this \
             model"
        );
        return Err(Error::key(file, first, problem, REMEDY));
    }
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let [one, two] = [0, 1]
        .map(|encoder| of_key(index, source, keys[encoder], vec![stem.into()], widths[encoder]));
    let (one, two) = (one?, two?);
    if one.vectors() != two.vectors() {
        let problem = format!("holds {} vectors where clip_l has {}", two.vectors(), one.vectors());
        return Err(Error::key(file, keys[1], problem, BROKEN));
    }
    Ok(Embedding { second: Some((two.values, two.width)), ..one })
}

/// Those that came bundled with an adapter, and the keys of those that don't fit the model, with the reason.
pub(super) fn bundled(
    index: &Index,
    source: &dyn Source,
    widths: [Option<usize>; 2],
) -> (Vec<Embedding>, Vec<(String, String)>) {
    let (mut embeddings, mut unused) = (Vec::new(), Vec::new());
    for (key, name) in index.tensors.keys().filter_map(|key| Some((key, bundled_name(key)?))) {
        let read = if widths[1].is_none() {
            of_key(index, source, key, vec![name.into()], widths[0])
        } else {
            let both = ["clip_l", "clip_g"].map(|encoder| format!("{BUNDLED}{name}.{encoder}"));
            of_both(index, source, [&both[0], &both[1]], widths)
                .map(|embedding| Embedding { names: vec![name.into()], ..embedding })
        };
        match read {
            Ok(embedding) => embeddings.push(embedding),
            Err(error) => {
                unused.push((key.clone(), format!("an embedding that came bundled: {error}")))
            }
        }
    }
    (embeddings, unused)
}

/// The name of an embedding that came bundled: `bundle_emb.NAME.string_to_param.*`.
pub(super) fn bundled_name(key: &str) -> Option<&str> {
    let (name, _) = key.strip_prefix(BUNDLED)?.split_once('.')?;
    (!name.is_empty() && !key.ends_with(".clip_g")).then_some(name)
}

/// Whether a key belongs to an embedding that came bundled. For SDXL they have two.
pub(super) fn is_bundled(key: &str, widths: [Option<usize>; 2]) -> bool {
    bundled_name(key).is_some()
        || (widths[1].is_some() && key.starts_with(BUNDLED) && key.ends_with(".clip_g"))
}

fn of_key(
    index: &Index,
    source: &dyn Source,
    key: &str,
    names: Vec<String>,
    width: Option<usize>,
) -> Result<Embedding> {
    let error = |problem: String, remedy| Err(Error::key(&index.file, key, problem, remedy));
    let info = index.info(key)?;
    let (vectors, has) = match info.shape[..] {
        [has] => (1, has),
        [vectors, has] => (vectors, has),
        _ => {
            return error(
                format!("has shape {:?}, and an embedding has [vectors, width]", info.shape),
                BROKEN,
            );
        }
    };
    if width != Some(has) {
        let wants = width.map_or("has none".into(), |width| format!("has {width}"));
        let made = match has {
            768 => " (Stable Diffusion 1)",
            1024 => " (Stable Diffusion 2)",
            1280 => " (Stable Diffusion XL)",
            _ => "",
        };
        return error(
            format!("holds vectors of {has} numbers{made}, and this model's text encoder {wants}"),
            REMEDY,
        );
    }
    if !(1..=MOST).contains(&vectors) {
        let problem = format!("holds {vectors} vectors, and the text encoder reads {MOST} at once");
        return error(problem, "Use an embedding of fewer vectors");
    }
    let values = index.read_f32(source, key)?;
    if values.iter().any(|value| !value.is_finite()) {
        return error("holds NaN or infinity".into(), BROKEN);
    }
    Ok(Embedding { names, values, width: has, second: None })
}

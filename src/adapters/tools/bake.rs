//! Adapters put into a checkpoint for good: its file with other numbers, of the same names and types,
//! written tensor by tensor.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::change::{Base, Weighted, add, change};
use crate::adapters::file::{Part, Site};
use crate::adapters::format::LeftOut;
use crate::adapters::module::AdapterModule;
use crate::error::{Error, Result};
use crate::weights::save::encode;
use crate::weights::{Checkpoint, Source, Stored};

/// What was done to one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Baked {
    /// Tensors that were changed.
    pub changed: usize,
    /// What could not be put in, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// Where a checkpoint has a tensor of this part, by diffusers' name.
pub(super) fn stored<'a>(checkpoint: &'a Checkpoint, part: Part, key: &str) -> Option<&'a Stored> {
    let component = match part {
        Part::UNet => &checkpoint.unet,
        Part::TextEncoder => &checkpoint.text_encoder,
        Part::TextEncoder2 => checkpoint.text_encoder_2.as_ref()?,
    };
    component.tensors.get(key)
}

/// A layer's own numbers.
///
/// # Errors
/// When the file can't be read.
pub fn base(checkpoint: &Checkpoint, site: &Site) -> Result<Base> {
    let read = |name: &str| {
        let at = stored(checkpoint, site.part, &format!("{}.{name}", site.path));
        at.map(|at| at.read_f32(&checkpoint.sources)).transpose()
    };
    Ok(Base { weight: read("weight")?, bias: read("bias")? })
}

/// A tensor that is to be changed.
struct Place<'a> {
    stored: &'a Stored,
    site: &'a Site,
    bias: bool,
}

/// Writes one of a checkpoint's files (by its number among the sources) with adapters in it. All start
/// from the file's own weights, as they do while they are live; only the tensor in hand is in memory.
///
/// # Errors
/// When a file can't be read, a factor doesn't fit, a number gets too large for the tensor's type, or
/// `write` fails.
pub fn bake(
    checkpoint: &Checkpoint,
    number: usize,
    sites: &[Site],
    adapters: &[Weighted<'_>],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Baked> {
    let source = checkpoint.sources[number].as_ref();
    let mut baked = Baked::default();
    let mut places: BTreeMap<u64, Place> = BTreeMap::new();
    for site in sites {
        let here = |adapter: &Weighted| {
            adapter.strength(site.part) != 0.0 && adapter.modules.iter().any(|one| is_of(one, site))
        };
        if !adapters.iter().any(here) {
            continue;
        }
        for (name, bias) in [("weight", false), ("bias", true)] {
            let at = stored(checkpoint, site.part, &format!("{}.{name}", site.path));
            if let Some(stored) = at.filter(|stored| stored.source == number) {
                places.insert(stored.info.offset, Place { stored, site, bias });
            }
        }
    }
    let data = header(source, adapters, write)?;
    let mut done = data;
    for (offset, place) in places {
        copy(source, done, offset, write)?;
        done = offset + place.stored.info.bytes;
        match changed(checkpoint, &place, adapters, &mut baked)? {
            Some(bytes) => {
                baked.changed += 1;
                write(&bytes)?;
            }
            None => copy(source, offset, done, write)?,
        }
    }
    copy(source, done, source.len(), write)?;
    Ok(baked)
}

fn is_of(module: &AdapterModule, site: &Site) -> bool {
    (module.part, &module.path) == (site.part, &site.path)
}

/// The bytes of a tensor with what the adapters make of it; none where they leave it alone.
fn changed(
    checkpoint: &Checkpoint,
    place: &Place<'_>,
    adapters: &[Weighted<'_>],
    baked: &mut Baked,
) -> Result<Option<Vec<u8>>> {
    let Place { stored, site, bias } = *place;
    let base = base(checkpoint, site)?;
    let mut sum = None;
    for adapter in adapters {
        let strength = adapter.strength(site.part);
        for module in adapter.modules.iter().filter(|module| is_of(module, site)) {
            if strength == 0.0 {
                continue;
            }
            let delta = change(module, &site.shape, &base, strength)?;
            if !bias && delta.bias.is_some() && base.bias.is_none() {
                let why =
                    format!("{} adds a bias, and the layer has none in the file", adapter.name);
                baked.left_out.push((site.path.clone(), why));
            }
            add(&mut sum, if bias { delta.bias } else { delta.weight });
        }
    }
    let (Some(sum), Some(own)) = (sum, if bias { base.bias } else { base.weight }) else {
        return Ok(None);
    };
    let back = 1.0 / stored.scale.unwrap_or(1.0);
    let values = own.iter().zip(&sum).map(|(own, more)| (own + more) * back).collect();
    let values: Vec<f32> = stored.as_stored(values);
    let bytes = encode(stored.info.dtype, &values).ok_or_else(|| {
        Error::key(
            &checkpoint.name,
            &stored.key,
            format!("would hold numbers that are too large for {}", stored.info.dtype.name()),
            "Lower the strengths, or bake into a file of float32",
        )
    })?;
    Ok(Some(bytes))
}

/// Writes the header, with what was put in; where the tensors begin in the source.
fn header(
    source: &dyn Source,
    adapters: &[Weighted<'_>],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let damaged = |problem: String| {
        Error::file(source.name(), problem, "The file is damaged: download or copy it again")
    };
    let mut length = [0; 8];
    source.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    source.read(8, &mut bytes)?;
    let mut header: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let entries = header.entry("__metadata__").or_insert_with(|| Value::Object(Map::new()));
    if !entries.is_object() {
        *entries = Value::Object(Map::new());
    }
    let said = adapters.iter().map(|adapter| {
        let [unet, text_encoder] = adapter.strengths;
        serde_json::json!({"name": adapter.name, "unet": unet, "textEncoder": text_encoder})
    });
    entries["lorakeet_baked"] = Value::String(Value::Array(said.collect()).to_string());
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    write(&(text.len() as u64).to_le_bytes())?;
    write(&text)?;
    Ok(8 + length)
}

/// Copies bytes as they are, in pieces.
fn copy(
    source: &dyn Source,
    from: u64,
    to: u64,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    const PIECE: u64 = 1 << 22;
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; PIECE.min(to - at) as usize];
        source.read(at, &mut bytes)?;
        write(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

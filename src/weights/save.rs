//! Named tensors to the bytes of a safetensors file, and the hashes by which other tools find it.

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use safetensors::tensor::{Dtype as Stored, TensorView, serialize};
use sha2::{Digest, Sha256};

use super::Dtype;
use crate::error::{Error, Result};

/// The float types that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// IEEE half: half the size, eleven bits of mantissa.
    F16,
    /// IEEE single: what training works with.
    F32,
}

impl Precision {
    /// The type in a header.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }

    /// A number as it reads once it was written.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::F32 => value,
        }
    }

    /// Numbers as little-endian bytes.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Self::F32 => values.iter().flat_map(|&x| x.to_le_bytes()).collect(),
        }
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Its key.
    pub key: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl Named {
    /// Encodes f32 values.
    pub fn new(key: String, shape: Vec<usize>, values: &[f32], precision: Precision) -> Self {
        Self { key, dtype: precision.dtype(), shape, bytes: precision.encode(values) }
    }
}

/// A safetensors file. The `safetensors` crate lays the tensors out as Python's does: larger types
/// first, then by name. It keeps metadata in a hash map, of another order each time; here the header
/// is sorted, so that the same adapter gives the same bytes.
///
/// # Errors
/// When two tensors have one name, or bytes don't fit a shape.
pub fn write(tensors: &[Named], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let fail = |key: &str, problem: String| {
        Error::key("the new file", key, problem, "This is a fault of Lorakeet: please report it")
    };
    let mut keys = BTreeSet::new();
    if let Some(twice) = tensors.iter().find(|tensor| !keys.insert(&tensor.key)) {
        return Err(fail(&twice.key, "is the name of two tensors".into()));
    }
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let view = TensorView::new(stored(tensor.dtype), tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| fail(&tensor.key, error.to_string()))?;
        views.push((&tensor.key, view));
    }
    let plain = serialize(views, None).map_err(|error| fail("header", error.to_string()))?;
    if metadata.is_empty() {
        return Ok(plain);
    }
    let (header, data) = parts(&plain)
        .ok_or_else(|| fail("header", "is shorter than its own length says".into()))?;
    // `{"key": ..}` to `{"__metadata__": {..}, "key": ..}`, padded with blanks to eight bytes.
    let entries =
        serde_json::to_string(metadata).map_err(|error| fail("header", error.to_string()))?;
    let rest = header.trim_ascii().get(1..).unwrap_or(b"}");
    let comma = if tensors.is_empty() { "" } else { "," };
    let mut new = [format!("{{\"__metadata__\":{entries}{comma}").as_bytes(), rest].concat();
    new.resize(new.len().next_multiple_of(8), b' ');
    Ok([&(new.len() as u64).to_le_bytes()[..], &new, data].concat())
}

fn stored(dtype: Dtype) -> Stored {
    match dtype {
        Dtype::F64 => Stored::F64,
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::I64 => Stored::I64,
        Dtype::I32 => Stored::I32,
        Dtype::I16 => Stored::I16,
        Dtype::I8 => Stored::I8,
        Dtype::U64 => Stored::U64,
        Dtype::U32 => Stored::U32,
        Dtype::U16 => Stored::U16,
        Dtype::U8 => Stored::U8,
        Dtype::Bool => Stored::BOOL,
        Dtype::F8E4M3 => Stored::F8_E4M3,
        Dtype::F8E5M2 => Stored::F8_E5M2,
    }
}

/// Header and data of a file.
fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash by which A1111 and kohya's scripts find an adapter, whatever its metadata: SHA-256 of
/// what follows the header (`addnet_hash_safetensors` in kohya's `library/train_util.py`).
pub fn model_hash(file: &[u8]) -> String {
    sha256(parts(file).map_or(&[], |(_, data)| data))
}

/// The older hash: the first eight digits of SHA-256 of 64 KiB from 1 MiB on, header included
/// (`addnet_hash_legacy`). Of a shorter file it is that of nothing.
pub fn legacy_hash(file: &[u8]) -> String {
    let start = file.len().min(0x10_0000);
    let end = file.len().min(0x11_0000);
    let mut hash = sha256(&file[start..end]);
    hash.truncate(8);
    hash
}

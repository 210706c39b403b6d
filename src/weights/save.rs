//! Named tensors to the bytes of a safetensors file, and the hashes by which other tools find it.

use std::collections::{BTreeMap, BTreeSet};

use half::{bf16, f16};
use safetensors::tensor::{Dtype as Stored, TensorView, serialize};
use sha2::{Digest, Sha256};

use super::{Dtype, to_f32};
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

/// Numbers as elements of a float type, each the nearest; none where one is too large for it.
pub fn encode(dtype: Dtype, values: &[f32]) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = match dtype {
        Dtype::F64 => values.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
        Dtype::F32 => Precision::F32.encode(values),
        Dtype::F16 => Precision::F16.encode(values),
        Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        Dtype::F8E4M3 | Dtype::F8E5M2 => {
            let table = Eighths::new(dtype);
            values.iter().map(|&x| table.nearest(x)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    to_f32(dtype, &bytes).iter().all(|x| x.is_finite()).then_some(bytes)
}

/// What the bytes of an 8-bit float type stand for, from zero up.
struct Eighths(Vec<(f32, u8)>);

impl Eighths {
    fn new(dtype: Dtype) -> Self {
        let positive = (0..=127u8).map(|byte| (to_f32(dtype, &[byte])[0], byte));
        // In either type magnitudes grow with their bytes.
        Self(positive.filter(|(value, _)| value.is_finite()).collect())
    }

    /// Of two that are as near the even one, as everywhere.
    fn nearest(&self, value: f32) -> Option<u8> {
        let (size, sign) = (value.abs(), if value.is_sign_negative() { 0x80 } else { 0 });
        let above = self.0.partition_point(|(known, _)| *known < size);
        let byte = match (above.checked_sub(1).map(|below| self.0[below]), self.0.get(above)) {
            (None, Some(&(_, byte))) => byte,
            (Some((below, low)), Some(&(above, high))) => {
                let (down, up) = (size - below, above - size);
                if down < up || (down == up && low % 2 == 0) { low } else { high }
            }
            // Less than half a step above the largest is still that.
            (Some((largest, byte)), None) => {
                let step = largest - self.0[above - 2].0;
                if size - largest < step / 2.0 { byte } else { return None }
            }
            (None, None) => return None,
        };
        Some(byte | sign)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_holds_the_nearest_numbers() {
        for dtype in [Dtype::F8E4M3, Dtype::F8E5M2] {
            // Every byte that stands for a number stands for itself.
            for byte in 0..=255u8 {
                let value = to_f32(dtype, &[byte])[0];
                if value.is_finite() {
                    assert_eq!(encode(dtype, &[value]), Some(vec![byte]), "{dtype:?} {value}");
                }
            }
            for (value, wanted) in [(1.06, 1.0), (-1.07, -1.125), (1.0625, 1.0), (1.1875, 1.25)] {
                let bytes = encode(Dtype::F8E4M3, &[value]).unwrap();
                assert_eq!(to_f32(Dtype::F8E4M3, &bytes), [wanted], "{value}");
            }
            assert_eq!(encode(dtype, &[1e6]), None);
        }
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let bytes = encode(dtype, &[-1.5, 0.25]).unwrap();
            assert_eq!(to_f32(dtype, &bytes), [-1.5, 0.25]);
        }
        assert_eq!(encode(Dtype::F16, &[1e6]), None);
        assert_eq!(encode(Dtype::I64, &[1.0]), None);
    }
}

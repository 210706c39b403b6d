//! The header of a safetensors file: which tensors lie where. Reads the header and nothing else.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Eight bytes of little-endian
//! header length N, N bytes of JSON, then the tensors' bytes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Source;
use super::mistaken::{self, ENOUGH, Mistaken};
use crate::error::{Error, Result};

/// The longest header that the reference implementation accepts.
const MAX_HEADER: u64 = 100_000_000;

/// Element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// Brain float.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte a truth value.
    Bool,
    /// Eight bits: 4 of exponent, 3 of mantissa, no infinities (`float8_e4m3fn`).
    F8E4M3,
    /// Eight bits: 5 of exponent, 2 of mantissa, which is the upper half of an f16.
    F8E5M2,
}

impl Dtype {
    const ALL: [(&'static str, Dtype, usize); 15] = [
        ("F64", Dtype::F64, 8),
        ("F32", Dtype::F32, 4),
        ("F16", Dtype::F16, 2),
        ("BF16", Dtype::BF16, 2),
        ("I64", Dtype::I64, 8),
        ("I32", Dtype::I32, 4),
        ("I16", Dtype::I16, 2),
        ("I8", Dtype::I8, 1),
        ("U64", Dtype::U64, 8),
        ("U32", Dtype::U32, 4),
        ("U16", Dtype::U16, 2),
        ("U8", Dtype::U8, 1),
        ("BOOL", Dtype::Bool, 1),
        ("F8_E4M3", Dtype::F8E4M3, 1),
        ("F8_E5M2", Dtype::F8E5M2, 1),
    ];

    /// From the name in a header, such as `F16`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    /// The name in a header.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        self.row().2
    }

    /// Whether its elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        use Dtype as D;
        matches!(self, D::F64 | D::F32 | D::F16 | D::BF16 | D::F8E4M3 | D::F8E5M2)
    }

    fn row(self) -> (&'static str, Dtype, usize) {
        Self::ALL[Self::ALL.iter().position(|row| row.1 == self).unwrap_or(0)]
    }
}

/// One tensor's place in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The parsed header of one safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The file's name, for messages.
    pub file: String,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The `__metadata__` entry: strings only.
    pub metadata: BTreeMap<String, String>,
}

const DAMAGED: &str = "The file is damaged or was cut short: download or copy it again";
const NOT_SAFETENSORS: &str = "Only .safetensors files are read: download the file again, or \
                               convert one of another kind with its own tool first";

impl Index {
    /// Reads and checks a header: every tensor's type, shape and byte range, which must lie within
    /// the file and must not overlap.
    ///
    /// # Errors
    /// Names the file and, where one is at fault, the key.
    pub fn read(source: &dyn Source) -> Result<Self> {
        let file = source.name();
        let len = source.len();
        if len == 0 {
            return Err(Error::file(file, "is empty", DAMAGED));
        }
        let mut start = vec![0; len.min(ENOUGH as u64) as usize];
        source.read(0, &mut start)?;
        let other = || {
            let Mistaken { what, remedy } = mistaken::recognise(&start)?;
            Some(Error::file(file, format!("is {what}"), remedy))
        };
        let Some((prefix, _)) = start.split_first_chunk::<8>() else {
            let problem =
                "is no safetensors file: it is shorter than the 8 bytes such a file starts with";
            return Err(other().unwrap_or_else(|| Error::file(file, problem, DAMAGED)));
        };
        let header_len = u64::from_le_bytes(*prefix);
        // Only an implausible length is looked at as another format's first bytes: 640 bytes of
        // header start like a pickle. A header has two bytes at least.
        if (header_len < 2 || header_len > len - 8)
            && let Some(error) = other()
        {
            return Err(error);
        }
        if header_len > MAX_HEADER {
            return Err(Error::file(
                file,
                format!("is no safetensors file: its header would be {header_len} bytes long"),
                NOT_SAFETENSORS,
            ));
        }
        if header_len > len - 8 {
            return Err(Error::file(
                file,
                format!("ends within its header: {header_len} bytes announced, {} there", len - 8),
                DAMAGED,
            ));
        }
        let mut header = vec![0; header_len as usize];
        source.read(8, &mut header)?;
        let header: serde_json::Map<String, Value> =
            serde_json::from_slice(&header).map_err(|error| {
                Error::file(
                    file,
                    format!("is no safetensors file: its header isn't JSON ({error})"),
                    NOT_SAFETENSORS,
                )
            })?;

        let data = 8 + header_len;
        let mut tensors = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (key, entry) in header {
            if key == "__metadata__" {
                // Whatever else it is, such as the null of a tool that has nothing to say: the
                // tensors don't need it.
                if let Value::Object(entries) = entry {
                    let text = |(name, value)| match value {
                        Value::String(text) => Some((name, text)),
                        _ => None,
                    };
                    metadata.extend(entries.into_iter().filter_map(text));
                }
                continue;
            }
            if let Some(name) = entry["dtype"].as_str()
                && Dtype::from_name(name).is_none()
            {
                return Err(Error::key(
                    file,
                    &key,
                    format!("has the element type {name}, which isn't supported"),
                    "Use a version of the file in float16, bfloat16 or float32",
                ));
            }
            let info = parse_entry(&entry, data, len)
                .map_err(|problem| Error::key(file, &key, problem, DAMAGED))?;
            tensors.insert(key, info);
        }
        check_overlap(file, &tensors)?;
        Ok(Self { file: file.into(), tensors, metadata })
    }

    /// One tensor's values as f32, whatever its stored type.
    ///
    /// # Errors
    /// When the key is not there or the bytes can't be read.
    pub fn read_f32(&self, source: &dyn Source, key: &str) -> Result<Vec<f32>> {
        let info = self.info(key)?;
        let mut bytes = vec![0; info.bytes as usize];
        source.read(info.offset, &mut bytes)?;
        Ok(to_f32(info.dtype, &bytes))
    }

    /// Whether one tensor holds nothing but zeros.
    ///
    /// # Errors
    /// As [`Self::read_f32`].
    pub fn is_zero(&self, source: &dyn Source, key: &str) -> Result<bool> {
        Ok(self.read_f32(source, key)?.iter().all(|&value| value == 0.0))
    }

    /// One tensor's place.
    ///
    /// # Errors
    /// When the key is not there.
    pub fn info(&self, key: &str) -> Result<&TensorInfo> {
        self.tensors.get(key).ok_or_else(|| {
            Error::key(&self.file, key, "is missing", "Check that this is the right file")
        })
    }
}

/// Widens or narrows little-endian elements of any type to f32.
pub fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    macro_rules! each {
        ($type:ty, $size:literal) => {
            bytes
                .chunks_exact($size)
                .map(|chunk| {
                    let mut element = [0; $size];
                    element.copy_from_slice(chunk);
                    <$type>::from_le_bytes(element) as f32
                })
                .collect()
        };
    }
    match dtype {
        Dtype::F64 => each!(f64, 8),
        Dtype::F32 => each!(f32, 4),
        Dtype::F16 => bytes
            .chunks_exact(2)
            .map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|pair| half::bf16::from_le_bytes([pair[0], pair[1]]).to_f32())
            .collect(),
        Dtype::I64 => each!(i64, 8),
        Dtype::I32 => each!(i32, 4),
        Dtype::I16 => each!(i16, 2),
        Dtype::I8 => each!(i8, 1),
        Dtype::U64 => each!(u64, 8),
        Dtype::U32 => each!(u32, 4),
        Dtype::U16 => each!(u16, 2),
        Dtype::U8 | Dtype::Bool => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        Dtype::F8E4M3 => bytes.iter().map(|&byte| f8_e4m3(byte)).collect(),
        Dtype::F8E5M2 => {
            let wide = |&byte: &u8| half::f16::from_bits(u16::from(byte) << 8).to_f32();
            bytes.iter().map(wide).collect()
        }
    }
}

/// `float8_e4m3fn` (<https://arxiv.org/abs/2209.05433>, section 3): the exponent's bias is 7, and all
/// ones are NaN.
fn f8_e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

fn parse_entry(entry: &Value, data: u64, len: u64) -> std::result::Result<TensorInfo, String> {
    let dtype_name = entry["dtype"].as_str().ok_or("has no dtype")?;
    let dtype = Dtype::from_name(dtype_name).ok_or("has an unknown dtype")?;
    let shape = entry["shape"]
        .as_array()
        .ok_or("has no shape")?
        .iter()
        .map(|dim| dim.as_u64().and_then(|dim| usize::try_from(dim).ok()))
        .collect::<Option<Vec<_>>>()
        .ok_or("has a shape that isn't made of whole numbers")?;
    let offsets = entry["data_offsets"].as_array().ok_or("has no data_offsets")?;
    let [Some(begin), Some(end)] =
        [0, 1].map(|i| if offsets.len() == 2 { offsets[i].as_u64() } else { None })
    else {
        return Err("has data_offsets that aren't two whole numbers".into());
    };
    let place = data
        .checked_add(begin)
        .zip(data.checked_add(end))
        .filter(|&(offset, end)| offset <= end && end <= len);
    let Some((offset, end)) = place else {
        return Err(format!("lies at bytes {begin} to {end}, out of the file's {}", len - data));
    };
    let expected = shape
        .iter()
        .try_fold(dtype.size() as u64, |product, &dim| product.checked_mul(dim as u64))
        .ok_or_else(|| format!("has the shape {shape:?}, larger than any file"))?;
    // In WebAssembly usize has 32 bits: a tensor past 4 GiB can't be read whole.
    if usize::try_from(expected).is_err() {
        return Err(format!("has the shape {shape:?}, larger than this machine's memory"));
    }
    let bytes = end - offset;
    if bytes != expected {
        return Err(format!("has {bytes} bytes where {dtype_name} {shape:?} needs {expected}"));
    }
    Ok(TensorInfo { dtype, shape, offset, bytes })
}

fn check_overlap(file: &str, tensors: &BTreeMap<String, TensorInfo>) -> Result<()> {
    let mut places: Vec<_> = tensors
        .iter()
        .filter(|(_, info)| info.bytes > 0)
        .map(|(key, info)| (info.offset, info.offset + info.bytes, key))
        .collect();
    places.sort();
    for pair in places.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(Error::key(
                file,
                pair[1].2,
                format!("overlaps the bytes of {}", pair[0].2),
                DAMAGED,
            ));
        }
    }
    Ok(())
}

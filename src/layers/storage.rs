//! How weights lie in memory, and what a model takes.

use burn::tensor::{DType, Device};

use crate::error::{Error, Result};
use crate::kernels::{self, Blocks};
use crate::weights::{Checkpoint, Component, TensorInfo};

/// How the weights of linear layers and convolutions lie in the device's memory. Arithmetic is f32 in
/// any case, and so is everything small: biases, norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Widened to f32 when they are loaded.
    F32,
    /// Halves, which are widened when a layer is used: half the memory. f16 stays what it is, other
    /// types are rounded, unless a number is too large for f16.
    F16,
    /// 8-bit blocks where both channel counts are multiples of 32 (of matrices, what comes in); the
    /// others are halves.
    Q8,
}

/// How one weight is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Full,
    Halves,
    Blocks,
}

/// A model of more bytes than this in f32 is large: its weights are halves unless somebody says
/// otherwise.
const LARGE: u64 = 1 << 30;

impl Storage {
    const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// What the page and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }

    /// By that name.
    ///
    /// # Errors
    /// When nothing is called so.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|storage| storage.name() == name);
        found.ok_or_else(|| {
            let problem = format!("can't be {name}");
            Error::setting("weights", problem, "Use f32, f16 or q8")
        })
    }

    /// What a model is kept in where nobody says: a large one in halves, if the device can use them.
    pub fn usual(checkpoint: &Checkpoint, device: &Device) -> Self {
        let large = checkpoint.bytes_as(Self::F32) > LARGE;
        if large && Self::halves_work(device) { Self::F16 } else { Self::F32 }
    }

    /// Whether weights in halves can be used on a device.
    pub fn halves_work(device: &Device) -> bool {
        kernels::read_halves(device) || device.supports_dtype(DType::F16)
    }

    /// Whether a device can use weights kept like this.
    pub fn works_on(self, device: &Device) -> bool {
        match self {
            Self::F32 => true,
            Self::F16 => Self::halves_work(device),
            Self::Q8 => kernels::read_blocks(device) && Self::halves_work(device),
        }
    }

    /// How a layer's weight `[out, in]` or `[out, in, kh, kw]` is kept.
    pub(super) fn form(self, shape: &[usize]) -> Form {
        match self {
            Self::F32 => Form::Full,
            Self::Q8 if Blocks::fit(shape) => Form::Blocks,
            Self::F16 | Self::Q8 => Form::Halves,
        }
    }

    /// Bytes of a stored tensor of this name once it is loaded.
    fn bytes(self, name: &str, info: &TensorInfo) -> u64 {
        let elements = info.elements() as u64;
        if name.ends_with("token_embedding.weight") {
            // Stays on the host as it is in the file.
            return info.bytes;
        }
        let layer = name.ends_with(".weight") && info.shape.len() > 1;
        if !layer || name.ends_with("position_embedding.weight") {
            return 4 * elements;
        }
        match self.form(&info.shape) {
            Form::Full => 4 * elements,
            Form::Halves => 2 * elements,
            Form::Blocks => Blocks::bytes(elements),
        }
    }
}

impl Checkpoint {
    /// Bytes that the model takes once it is loaded, by names and shapes alone. Token embeddings are
    /// among them, which stay in the host's memory. A weight with a number too large for a half takes
    /// twice what is told; a GPU rounds its buffers up.
    pub fn bytes_as(&self, storage: Storage) -> u64 {
        self.components().map(|component| bytes(component, storage)).sum()
    }

    /// The same of its text encoders: of all together, and of the largest.
    pub fn text_encoder_bytes_as(&self, storage: Storage) -> [u64; 2] {
        let each = || self.text_encoders().map(|component| bytes(component, storage));
        [each().sum(), each().max().unwrap_or(0)]
    }
}

fn bytes(component: &Component, storage: Storage) -> u64 {
    component.tensors.iter().map(|(name, stored)| storage.bytes(name, &stored.info)).sum()
}

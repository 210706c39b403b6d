//! Bytes to named tensors and back. Knows no model and no device.

mod checkpoint;
mod folder;
mod index;
pub mod save;
mod single_file;
mod source;

pub use checkpoint::{Checkpoint, Component, Stored, TokenizerFiles};
pub use index::{Dtype, Index, TensorInfo, to_f32};
#[cfg(not(target_arch = "wasm32"))]
pub use source::FileSource;
#[cfg(target_arch = "wasm32")]
pub(crate) use source::check_range;
pub use source::{Bytes, Source};

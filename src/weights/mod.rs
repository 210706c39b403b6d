//! Bytes to named tensors and back. Knows no model and no device.

mod index;
mod source;

pub use index::{Dtype, Index, TensorInfo};
#[cfg(not(target_arch = "wasm32"))]
pub use source::FileSource;
pub use source::{Bytes, Source};

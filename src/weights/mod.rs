//! Bytes to named tensors and back. Knows no model and no device.

mod averaged;
mod checkpoint;
mod clues;
mod draft;
mod folder;
mod index;
mod json;
mod json_tokenizer;
mod mistaken;
mod open;
mod parts;
pub mod save;
mod scales;
mod single_file;
mod source;
pub mod text;

pub use crate::keys::family::{Base, Defaults, Family, FewSteps, Overrides, Prediction, Task};
pub use checkpoint::{Checkpoint, Component, Stored, TokenizerFiles};
pub use index::{Dtype, Index, TensorInfo, to_f32};
pub use json::parse_json;
#[cfg(not(target_arch = "wasm32"))]
pub use source::FileSource;
#[cfg(target_arch = "wasm32")]
pub(crate) use source::check_range;
pub use source::{Bytes, Source};

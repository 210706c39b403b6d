//! The layers that the models are made of. `Linear` and `Conv2d` carry a slot in which an adapter
//! can sit; a model made of them doesn't know that adapters exist.

mod activation;
mod attention;
mod check;
mod conv2d;
mod dropout;
mod functional;
mod linear;
mod norm;
mod parameters;
mod report;
mod slot;
mod storage;
mod weight;

pub use crate::kernels::release_scratch;
pub use activation::{geglu, silu};
pub use attention::{attention, queries_at_once};
pub use check::{Check, checks};
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use functional::{Conv2dConfig, enlarge, mixed};
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm, Moments};
pub use parameters::{Parameters, Progress};
pub use report::{LoadReport, Rounding, rounding_notes};
pub use slot::{Branch, Change, Factors, Site, Slot, Strength};
pub use storage::Storage;
pub use weight::Weight;

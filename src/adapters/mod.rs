//! Adapters: files on disk ([`file`]), and the set of those attached to a model ([`AdapterSet`]).

pub mod file;
pub mod report;
mod set;
mod settings;

pub use file::{AdapterFile, HostTensor, LoraWeights, Part};
pub use report::CoverageReport;
pub use set::{AdapterSet, Attached};

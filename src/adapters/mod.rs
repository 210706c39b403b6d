//! Adapters: files read ([`file`]) and written ([`save`]), and the set of those attached to a model
//! ([`AdapterSet`]).

mod base;
pub mod file;
mod module;
mod peft;
mod reader;
mod remedies;
pub mod report;
pub mod save;
mod set;
mod settings;
mod speed;
mod verify;

pub use file::{AdapterFile, Part};
pub use module::{AdapterModule, HostFactors, HostKroneckerFactor, HostTensor, Kind};
pub use report::CoverageReport;
pub use set::{AdapterSet, Attached};
pub use speed::Advice;

//! Adapters: files read ([`file`]) and written ([`save`]), the set of those attached to a model
//! ([`AdapterSet`]), and what else can be done with them ([`tools`]).

mod base;
mod embedding;
pub mod file;
pub mod format;
pub mod kinds;
mod module;
mod peft;
mod reader;
mod remedies;
pub mod report;
pub mod save;
mod set;
mod settings;
mod speed;
pub mod spread;
pub mod tools;
mod verify;
mod width;

pub use embedding::Embedding;
pub use file::{AdapterFile, Part};
pub use kinds::{HostFactors, HostTensor, Kind};
pub use module::AdapterModule;
pub use report::CoverageReport;
pub use set::{AdapterSet, Attached};
pub use speed::Advice;
pub use spread::Spread;

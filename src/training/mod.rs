//! Fine-tuning: pictures in, an adapter out. The UNet stays as it is; an adapter attached to it is
//! trained.
//!
//! The adapter lives on the host as one flat vector ([`adapter`]). For every pass it goes to the
//! device once and its gradient comes back once ([`pass`]); clipping, optimiser and regularisation
//! are plain arithmetic on slices ([`trainer`]). All work is pulled: whoever pulls decides how to
//! wait for the device, so the same code runs in a worker and on the command line.

pub mod adapter;
mod check;
pub mod config;
pub mod dataset;
mod draws;
pub mod estimate;
pub mod evaluation;
pub mod export;
mod guess;
pub mod init;
pub mod leave_one_out;
pub mod leaves;
pub mod linalg;
pub mod loss;
pub mod measuring;
mod meter;
pub mod optimizer;
pub mod optimizer_config;
mod pass;
mod penalty;
pub mod picture;
pub mod previews;
mod prior;
mod probe;
mod prodigy;
pub mod random;
pub mod reference;
pub mod regularisation;
pub mod schedule;
pub mod setup;
mod state;
pub mod svd;
mod targets;
pub mod trainer;
mod verdict;

pub use adapter::Adapter;
pub use config::{Config, Preset};
pub use dataset::{Dataset, Preparation};
pub use estimate::{Estimate, Offer, estimate};
pub use evaluation::Evaluation;
pub use leave_one_out::LeaveOneOut;
pub use picture::{Picture, Role};
pub use previews::Previews;
pub use reference::Reference;
pub use setup::Setup;
pub use trainer::{StepReport, Trainer};

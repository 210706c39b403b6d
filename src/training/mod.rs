//! Fine-tuning: pictures in, an adapter out. The UNet stays as it is; an adapter attached to it is
//! trained.
//!
//! The adapter lives on the host as one flat vector ([`adapter`]). For every pass it goes to the
//! device once and its gradient comes back once ([`step::pass`]); clipping, optimiser and regularisation
//! are plain arithmetic on slices ([`run::step`]). All work is pulled: whoever pulls decides how to
//! wait for the device, so the same code runs in a worker and on the command line.
//!
//! Read the rooms in the order in which they stand here: each uses those above it and none below
//! (`tests/tidy.rs` has the table).

pub mod settings;

pub mod numbers;

pub mod data;

pub mod trained;

pub mod optim;

pub mod plan;

pub mod step;

pub mod run;

pub mod judge;

pub mod export;

pub use data::dataset::{self, Dataset};
pub use data::picture::{self, Picture, Role};
pub use data::preparation::Preparation;
pub use judge::evaluation::{self, Evaluation};
pub use judge::leave_one_out::{self, LeaveOneOut};
pub use numbers::random;
pub use optim::{optimizer, schedule};
pub use plan::estimate::{self, Estimate, Offer, estimate};
pub use plan::measuring;
pub use plan::previews::{self, Previews};
pub use run::setup::{self, Setup};
pub use run::trainer::{self, StepReport, Trainer};
pub use settings::config::{self, Config, Preset};
pub use settings::optimizer_config;
pub use step::loss;
pub use step::reference::{self, Reference};
pub use trained::adapter::{self, Adapter};
pub use trained::{init, leaves, regularisation};

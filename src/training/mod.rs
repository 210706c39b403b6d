//! Fine-tuning: the numbers on the host. The adapter lives here as one flat `Vec<f32>`; per step
//! the device gives back one flat gradient.

pub mod init;
pub mod linalg;
pub mod loss;
pub mod optimizer;
pub mod optimizer_config;
mod prodigy;
pub mod random;
pub mod regularisation;
pub mod schedule;
pub mod svd;

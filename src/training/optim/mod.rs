//! The step on the vector of parameters: gradient and learning rate in, parameters out. Plain
//! arithmetic on slices.

mod adam_w;
mod lion;
pub mod optimizer;
mod prodigy;
mod scalars;
pub mod schedule;

//! What a person sets: every setting with its default, and what is refused before anything is computed.

mod check;
pub mod choices;
pub mod config;
pub mod optimizer_config;
pub mod targets;

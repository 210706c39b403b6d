//! Random numbers that are functions of seed, purpose and step.

pub mod random;

//! Mathematics on the host: matrices, singular vectors, and random numbers that are functions of seed,
//! purpose and step.

pub mod linalg;
pub mod random;
pub mod svd;

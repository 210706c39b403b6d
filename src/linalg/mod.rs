//! Linear algebra on the host: matrices and singular vectors, of which adapters and training both make
//! use.

pub mod matrix;
pub mod svd;

pub use matrix::{Matrix, dot, orthogonal, orthonormalise};
pub use svd::{Svd, leading_svd, product_svd, randomised_svd};

//! The kernels of the CPU backend in the browser: on slices of f32 that lie contiguous in memory.

pub mod attention;
pub mod attention_gradients;
pub mod conv;
mod exponent;
pub mod gemm;
pub mod math;
pub mod microkernel;
pub mod norm;
pub mod pack;
pub mod softmax;
pub mod threads;
pub mod weights;

#[cfg(test)]
mod tests;

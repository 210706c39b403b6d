//! What is trained on: pictures and captions, and what the UNet sees of them.

pub mod check;
pub mod dataset;
mod nearest;
pub mod picture;
pub mod preparation;

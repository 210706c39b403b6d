//! One pass: what a batch is made of, what it is asked for, and the UNet there and back.

pub mod draws;
pub mod loss;
pub mod pass;
pub mod prior;
pub mod reference;
mod timesteps;

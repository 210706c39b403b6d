//! What is trained: the adapter, laid out in one vector, how it starts, how it lies on the device, and
//! what keeps it small.

pub mod adapter;
pub mod init;
pub mod leaves;
mod penalty;
pub mod regularisation;

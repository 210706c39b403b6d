//! How good an adapter is: measured on pictures that it knows and that it doesn't, and told in words.

pub mod evaluation;
pub mod leave_one_out;
mod probe;
mod verdict;

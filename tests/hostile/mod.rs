//! Hostile files for the readers: made by the million, each a function of a seed and its number.

pub mod make;
pub mod random;
pub mod readers;

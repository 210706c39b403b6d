//! What is told and decided before a run and along it: how much memory it takes, how often it is measured,
//! how often it stops to draw a picture.

pub mod estimate;
pub mod grid;
pub mod measuring;
pub mod previews;

//! What an evaluation asks: how many timesteps of each picture, which pictures, which prompts.

use crate::training::data::dataset::{Dataset, Example};
use crate::training::data::picture::Role;

/// Timesteps of the grid: 60, 180, .., 900 of 1000, the grid of the demo model's reference.
pub const GRID: usize = 8;

/// Places of the grid where each picture has so many draws: all, or one in the middle of each stretch.
pub fn places(draws: usize) -> Vec<usize> {
    let stretch = GRID / draws.clamp(1, GRID);
    (0..GRID).skip(stretch / 2).step_by(stretch).collect()
}

/// Pictures that are judged: those trained on and those held out.
pub fn judged(dataset: &Dataset) -> usize {
    let judged = |example: &&Example| example.role != Role::Class;
    dataset.examples.iter().filter(judged).count()
}

/// Whether these may be the base's losses on the pictures of a data set: as many for each of them, of as
/// many timesteps as there are ways to choose.
pub fn is_baseline(losses: &[f32], dataset: &Dataset) -> bool {
    let draws = losses.len() / judged(dataset).max(1);
    draws * judged(dataset) == losses.len()
        && draws > 0
        && GRID.is_multiple_of(draws)
        && losses.iter().all(|loss| loss.is_finite())
}

/// Pictures that the drift is measured on, and seeds that the diversity is.
pub const FEW: usize = 4;

/// Prompts that the drift is measured under.
pub fn prompts(dataset: &Dataset) -> usize {
    1 + usize::from(dataset.class_prompt.is_some())
}

//! The run itself: what doesn't change over it ([`context`]), what it is between two steps ([`state`]),
//! how one step leads to the next ([`step`]), and who is pulled ([`trainer`]).

pub mod context;
pub mod history;
mod meter;
pub mod setup;
pub mod state;
pub mod step;
pub mod trainer;

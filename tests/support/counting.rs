//! Counts what a process allocates. Whoever uses this is a process of its own.
#![allow(unused_imports, reason = "each user takes its own part of this")]

pub use lorakeet::memory::{held, is_counted, peak_above, peak_of, start};

/// In the browser the library brings it.
#[cfg(not(target_arch = "wasm32"))]
#[global_allocator]
static ALLOCATOR: lorakeet::memory::Counting = lorakeet::memory::Counting;

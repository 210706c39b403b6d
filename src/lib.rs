//! Lorakeet: Stable Diffusion with LoRA adapters, in the browser tab.
//!
//! A map of the code, from bytes to pixels:
//!
//! - [`weights`]: safetensors files and checkpoints, read by range from a [`weights::Source`].
//! - [`keys`]: every naming of tensors and modules, translated to diffusers' at the door.
//! - [`layers`]: `Linear`, `Conv2d` and norms; adapters sit in their slots.
//! - [`kernels`]: where the time goes, written by hand.
//! - [`models`]: UNet, text encoder and VAEs, built from their `config.json`.
//! - [`adapters`]: adapter files, and the set of those attached.
//! - [`schedulers`]: samplers as tables of numbers. [`noise`]: PyTorch's random numbers.
//! - [`tokenizer`]: CLIP's. [`prompt`]: what a prompt's signs mean. [`image`]: numbers to pixels.
//! - [`pipelines`]: text to image, pulled block by block. [`training`]: an adapter of one's own.
//! - [`linalg`]: matrices on the host. [`memory`]: an allocator that counts.
//! - `web` (wasm only): the one place that knows there is a browser.

pub mod adapters;
pub mod error;
pub mod image;
pub mod kernels;
pub mod keys;
pub mod layers;
pub mod linalg;
pub mod memory;
pub mod models;
pub mod noise;
pub mod pipelines;
pub mod prompt;
pub mod schedulers;
pub mod tokenizer;
pub mod training;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;

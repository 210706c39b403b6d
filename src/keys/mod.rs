//! Names to names: every vocabulary that files use, translated to diffusers'. Strings and shapes
//! only: knows no file and no device.

pub mod adapter_names;
pub mod clip;
pub mod clues;
mod depths;
pub mod detect;
pub mod family;
pub mod ldm;
mod shapes;
pub mod vae;
pub mod xl;

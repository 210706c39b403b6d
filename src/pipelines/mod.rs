//! From a prompt to a picture. Long work is pulled: [`TextToImage::advance`] does one block of it.

mod attached;
mod conditioning;
mod encoders;
mod fit;
mod hires;
mod inpainting;
mod lexicon;
mod loader;
pub mod memory;
mod normal;
mod pass;
mod prompts;
mod sampler;
mod settings;
mod stable_diffusion;
mod start;
mod text_to_image;
mod texts;
mod tokenizers;
mod vae;

pub use crate::models::bands::Limits;
pub use conditioning::weigh;
pub use hires::{Hires, Upscaler};
pub use settings::{Settings, Sizes};
pub use stable_diffusion::{ModelReport, StableDiffusion};
pub use start::{Area, Content, Convention, Inpaint, Pictures, Start};
pub use text_to_image::{Phase, Step, TextToImage};
pub use texts::KeptTextEncoders;
pub use vae::{Coding, DecodePlan, EncodePlan, Vae};

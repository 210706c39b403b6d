//! From a prompt to a picture. Long work is pulled: [`TextToImage::advance`] does one block of it.

mod stable_diffusion;
mod text_to_image;

pub use stable_diffusion::{ModelReport, StableDiffusion, Vae};
pub use text_to_image::{Phase, Settings, Step, TextToImage};

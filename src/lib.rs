#![doc = "Lorakeet: Stable Diffusion with LoRA adapters, in the browser tab."]
pub mod error;
pub mod weights;

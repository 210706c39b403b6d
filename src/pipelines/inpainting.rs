//! What an inpainting UNet takes beside the latents, where there is no picture to paint into: a mask
//! that asks for everything, and the latents of a grey picture. Source: diffusers
//! `pipeline_stable_diffusion_inpaint.py`, `prepare_mask_latents` (whose sample of the posterior is its
//! mean here).

use burn::tensor::Tensor;

use super::StableDiffusion;
use crate::error::Result;

/// `[1, 1 + latents, height, width]`: the mask, then the masked picture, scaled as latents are.
///
/// # Errors
/// When the autoencoder has left the device and can't be loaded again.
pub(super) fn of_nothing(
    model: &StableDiffusion,
    [height, width]: [usize; 2],
) -> Result<Tensor<4>> {
    let device = model.device();
    // Pixels run from -1 to 1: grey is 0.
    let grey = Tensor::zeros([1, 3, 8 * height, 8 * width], device);
    let vae = model.vae()?;
    let (latents, _) = vae.encode(grey);
    let mask = Tensor::ones([1, 1, height, width], device);
    Ok(Tensor::cat(vec![mask, latents.mul_scalar(vae.scaling_factor())], 1))
}

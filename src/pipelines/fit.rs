//! Whether the parts of a model belong together. Each may come from a file of its own, and a mistake
//! would otherwise show after the last step, or never.

use crate::error::{Error, Result};
use crate::models::{
    AutoencoderKLConfig, AutoencoderTinyConfig, CLIPTextConfig, UNet2DConditionConfig,
};
use crate::weights::{Checkpoint, Component};

/// How many pixels a latent stands for in either direction, in Stable Diffusion.
const SCALE: usize = 8;

/// Compares text encoders and VAE with the UNet.
///
/// # Errors
/// Names the part that doesn't fit, with both sizes.
pub(super) fn check(
    checkpoint: &Checkpoint,
    unet: &UNet2DConditionConfig,
    text: &CLIPTextConfig,
    second: Option<&CLIPTextConfig>,
) -> Result<()> {
    if let Some(second) = second {
        check_second(checkpoint, unet, text, second)?;
        return check_vae(checkpoint, unet);
    }
    let (unet_file, text_file) = (&checkpoint.unet.file, &checkpoint.text_encoder.file);
    if unet.cross_attention_dim != text.hidden_size {
        let apart = if unet_file == text_file { String::new() } else { format!(" ({text_file})") };
        return Err(Error::key(
            unet_file,
            "cross_attention_dim",
            format!(
                "is {} while the text encoder{apart} is {} wide",
                unet.cross_attention_dim, text.hidden_size
            ),
            "Use a UNet and a text encoder that belong together: 768 is Stable Diffusion 1, 1024 is 2",
        ));
    }
    check_vae(checkpoint, unet)
}

/// SDXL's two text encoders: their states lie side by side, and the UNet takes the second one's pooled
/// vector.
fn check_second(
    checkpoint: &Checkpoint,
    unet: &UNet2DConditionConfig,
    first: &CLIPTextConfig,
    second: &CLIPTextConfig,
) -> Result<()> {
    let misfit = |key: &str, problem: String| {
        let remedy = "Use a UNet and text encoders that belong together: those of one model of Stable \
                      Diffusion XL";
        Err(Error::key(&checkpoint.unet.file, key, problem, remedy))
    };
    let widths = [first.hidden_size, second.hidden_size];
    if unet.cross_attention_dim != widths[0] + widths[1] {
        let [one, two] = widths;
        let takes = unet.cross_attention_dim;
        let problem = format!("is {takes} while the text encoders are {one} and {two} wide");
        return misfit("cross_attention_dim", problem);
    }
    if first.max_position_embeddings != second.max_position_embeddings {
        let lengths = (first.max_position_embeddings, second.max_position_embeddings);
        let problem = format!("the text encoders read {lengths:?} tokens at once");
        return misfit("max_position_embeddings", problem);
    }
    if unet.pooled_width() != Some(second.projection_dim) {
        let problem = format!(
            "leaves {} numbers for the pooled text, and the second text encoder gives {}",
            unet.pooled_width().unwrap_or(0),
            second.projection_dim
        );
        return misfit("projection_class_embeddings_input_dim", problem);
    }
    Ok(())
}

fn check_vae(checkpoint: &Checkpoint, unet: &UNet2DConditionConfig) -> Result<()> {
    let (latents, scale) = vae_sizes(&checkpoint.vae)?;
    let misfit = |key: &str, problem: String| {
        Err(Error::key(
            &checkpoint.vae.file,
            key,
            problem,
            "Use a VAE of Stable Diffusion 1 or 2, such as vae-ft-mse-840000",
        ))
    };
    if latents != unet.out_channels {
        let problem = format!("is {latents} while the UNet makes {} channels", unet.out_channels);
        return misfit("latent_channels", problem);
    }
    if scale != Some(SCALE) {
        let scale = scale.map_or("far more".into(), |scale| scale.to_string());
        return misfit(
            "block_out_channels",
            format!("makes pictures {scale} times smaller, and Stable Diffusion's VAE 8 times"),
        );
    }
    Ok(())
}

/// Channels of a VAE's latents, and how much smaller they are than the picture; none past all bounds.
fn vae_sizes(vae: &Component) -> Result<(usize, Option<usize>)> {
    let (channels, levels) = if vae.config["_class_name"] == "AutoencoderTiny" {
        let config = AutoencoderTinyConfig::parse(vae)?;
        (
            config.latent_channels,
            config.num_decoder_blocks.len().max(config.num_encoder_blocks.len()),
        )
    } else {
        let config = AutoencoderKLConfig::parse(vae)?;
        (config.latent_channels, config.block_out_channels.len())
    };
    let scale = u32::try_from(levels - 1).ok().and_then(|levels| 1usize.checked_shl(levels));
    Ok((channels, scale))
}

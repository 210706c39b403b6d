//! Pictures to latents and back: diffusers `models/autoencoders/autoencoder_kl.py`, `vae.py`.

use burn::tensor::Tensor;
use serde::Deserialize;

use super::attention::Attention;
use super::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use super::{DEEPEST, WIDEST, check_levels, check_sizes, parse_config, unsupported};
use crate::error::Result;
use crate::layers::{Conv2d, Conv2dConfig, GroupNorm, Parameters};
use crate::weights::Component;

const EPSILON: f64 = 1e-6;

/// `vae/config.json` of an `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct AutoencoderKLConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a picture.
    pub out_channels: usize,
    /// Channels of each level, outermost first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// What latents are multiplied by before the UNet sees them.
    pub scaling_factor: f64,
    /// Whether the mid blocks have an attention.
    pub mid_block_add_attention: bool,
    /// Whether there is a 1x1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// Whether there is a 1x1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Only `silu`.
    pub act_fn: String,
    /// Only `DownEncoderBlock2D`.
    pub down_block_types: Vec<String>,
    /// Only `UpDecoderBlock2D`.
    pub up_block_types: Vec<String>,
    /// Added to latents; none in this family.
    pub shift_factor: Option<f64>,
}

impl Default for AutoencoderKLConfig {
    /// Those of SD 1 and 2.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            mid_block_add_attention: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            act_fn: "silu".into(),
            down_block_types: vec!["DownEncoderBlock2D".into(); 4],
            up_block_types: vec!["UpDecoderBlock2D".into(); 4],
            shift_factor: None,
        }
    }
}

impl AutoencoderKLConfig {
    /// Reads and checks a component's config.
    ///
    /// # Errors
    /// Names the field whose value can't be read or isn't supported.
    pub fn parse(component: &Component) -> Result<Self> {
        let config: Self = parse_config(component)?;
        let bad = |field: &str, value: String| Err(unsupported(component, field, value));
        let levels = config.block_out_channels.len();
        let groups = config.norm_num_groups;
        check_levels(component, "block_out_channels", &config.block_out_channels)?;
        check_sizes(
            component,
            &[
                ("in_channels", config.in_channels, WIDEST),
                ("out_channels", config.out_channels, WIDEST),
                ("latent_channels", config.latent_channels, WIDEST),
                ("layers_per_block", config.layers_per_block, DEEPEST),
            ],
        )?;
        if config.scaling_factor == 0.0 {
            return bad("scaling_factor", config.scaling_factor.to_string());
        }
        if groups == 0 || config.block_out_channels.iter().any(|channels| channels % groups != 0) {
            return bad("norm_num_groups", groups.to_string());
        }
        if config.act_fn != "silu" && config.act_fn != "swish" {
            return bad("act_fn", config.act_fn);
        }
        for (field, names, known) in [
            ("down_block_types", &config.down_block_types, "DownEncoderBlock2D"),
            ("up_block_types", &config.up_block_types, "UpDecoderBlock2D"),
        ] {
            if names.len() != levels || names.iter().any(|name| name != known) {
                return bad(field, format!("{names:?} (for {levels} levels)"));
            }
        }
        if config.shift_factor.is_some_and(|shift| shift != 0.0) {
            return bad("shift_factor", format!("{:?}", config.shift_factor));
        }
        Ok(config)
    }

    fn resnet(&self) -> ResnetConfig {
        ResnetConfig {
            time_embedding: None,
            groups: self.norm_num_groups,
            epsilon: EPSILON,
            output_scale_factor: 1.0,
        }
    }
}

/// `UNetMidBlock2D` as the VAE has it: one head over all channels.
#[derive(Debug)]
pub(super) struct MidBlock {
    pub(super) resnets: [ResnetBlock2D; 2],
    pub(super) attention: Option<(GroupNorm, Attention)>,
}

impl MidBlock {
    fn load(parameters: &Parameters, channels: usize, config: &AutoencoderKLConfig) -> Self {
        let resnets = parameters.at("resnets");
        let resnet = |i| ResnetBlock2D::load(&resnets.at(i), channels, channels, config.resnet());
        let attention = parameters.at("attentions").at(0);
        Self {
            resnets: [resnet(0), resnet(1)],
            attention: config.mid_block_add_attention.then(|| {
                let norm = attention.at("group_norm");
                (
                    GroupNorm::load(&norm, config.norm_num_groups, channels, EPSILON),
                    Attention::load(&attention, channels, channels, 1, true),
                )
            }),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attend(self.resnets[0].forward(x, None));
        self.resnets[1].forward(x, None)
    }

    /// Attention over all pixels, and the way past it.
    pub(super) fn attend(&self, x: Tensor<4>) -> Tensor<4> {
        let Some((norm, attention)) = &self.attention else { return x };
        let [n, c, h, w] = x.dims();
        let tokens = norm.forward(x.clone()).reshape([n, c, h * w]).swap_dims(1, 2);
        attention.forward(tokens, None).swap_dims(1, 2).reshape([n, c, h, w]) + x
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) conv_in: Conv2d,
    pub(super) down_blocks: Vec<(Vec<ResnetBlock2D>, Option<Downsample2D>)>,
    pub(super) mid_block: MidBlock,
    pub(super) conv_norm_out: GroupNorm,
    pub(super) conv_out: Conv2d,
}

impl Encoder {
    fn load(parameters: &Parameters, config: &AutoencoderKLConfig) -> Self {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let down = parameters.at("down_blocks");
        let load = |level: usize| {
            let block = down.at(level);
            let resnets = block.at("resnets");
            let resnet = |i| {
                let input =
                    if i == 0 { channels[level.saturating_sub(1)] } else { channels[level] };
                ResnetBlock2D::load(&resnets.at(i), input, channels[level], config.resnet())
            };
            let downsampler = (level < last).then(|| {
                let sampler = block.at("downsamplers").at(0);
                Downsample2D::load(&sampler, channels[level], (0, 1))
            });
            ((0..config.layers_per_block).map(resnet).collect(), downsampler)
        };
        let conv = |name, input, output| {
            Conv2d::load(&parameters.at(name), input, output, Conv2dConfig::SAME)
        };
        Self {
            conv_in: conv("conv_in", config.in_channels, channels[0]),
            down_blocks: (0..channels.len()).map(load).collect(),
            mid_block: MidBlock::load(&parameters.at("mid_block"), channels[last], config),
            conv_norm_out: GroupNorm::load(
                &parameters.at("conv_norm_out"),
                config.norm_num_groups,
                channels[last],
                EPSILON,
            ),
            conv_out: conv("conv_out", channels[last], 2 * config.latent_channels),
        }
    }

    fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(pixels);
        for (resnets, downsampler) in &self.down_blocks {
            x = resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
            if let Some(downsampler) = downsampler {
                x = downsampler.forward(x);
            }
        }
        let x = self.mid_block.forward(x);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) conv_in: Conv2d,
    pub(super) mid_block: MidBlock,
    pub(super) up_blocks: Vec<(Vec<ResnetBlock2D>, Option<Upsample2D>)>,
    pub(super) conv_norm_out: GroupNorm,
    pub(super) conv_out: Conv2d,
}

impl Decoder {
    fn load(parameters: &Parameters, config: &AutoencoderKLConfig) -> Self {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let last = channels.len() - 1;
        let up = parameters.at("up_blocks");
        let load = |level: usize| {
            let block = up.at(level);
            let resnets = block.at("resnets");
            let resnet = |i| {
                let input =
                    if i == 0 { channels[level.saturating_sub(1)] } else { channels[level] };
                ResnetBlock2D::load(&resnets.at(i), input, channels[level], config.resnet())
            };
            let upsampler = (level < last)
                .then(|| Upsample2D::load(&block.at("upsamplers").at(0), channels[level]));
            ((0..=config.layers_per_block).map(resnet).collect(), upsampler)
        };
        let conv = |name, input, output| {
            Conv2d::load(&parameters.at(name), input, output, Conv2dConfig::SAME)
        };
        Self {
            conv_in: conv("conv_in", config.latent_channels, channels[0]),
            mid_block: MidBlock::load(&parameters.at("mid_block"), channels[0], config),
            up_blocks: (0..channels.len()).map(load).collect(),
            conv_norm_out: GroupNorm::load(
                &parameters.at("conv_norm_out"),
                config.norm_num_groups,
                channels[last],
                EPSILON,
            ),
            conv_out: conv("conv_out", channels[last], config.out_channels),
        }
    }
}

/// The Gaussian that the encoder gives for a picture.
#[derive(Debug, Clone)]
pub struct DiagonalGaussian {
    /// `[n, latent_channels, h/8, w/8]`.
    pub mean: Tensor<4>,
    /// Natural logarithm of the variance, clamped to -30..20, same shape.
    pub logvar: Tensor<4>,
}

impl DiagonalGaussian {
    /// A sample, given standard normal noise of the same shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }
}

/// `AutoencoderKL`.
#[derive(Debug)]
pub struct AutoencoderKL {
    config: AutoencoderKLConfig,
    pub(super) encoder: Encoder,
    pub(super) quant_conv: Option<Conv2d>,
    pub(super) post_quant_conv: Option<Conv2d>,
    pub(super) decoder: Decoder,
}

impl AutoencoderKL {
    /// Builds the network that the config describes and loads it.
    pub fn load(config: &AutoencoderKLConfig, parameters: &Parameters) -> Self {
        let latent = config.latent_channels;
        let point = |name, channels| {
            Conv2d::load(&parameters.at(name), channels, channels, Conv2dConfig::POINT)
        };
        Self {
            encoder: Encoder::load(&parameters.at("encoder"), config),
            quant_conv: config.use_quant_conv.then(|| point("quant_conv", 2 * latent)),
            post_quant_conv: config.use_post_quant_conv.then(|| point("post_quant_conv", latent)),
            decoder: Decoder::load(&parameters.at("decoder"), config),
            config: config.clone(),
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &AutoencoderKLConfig {
        &self.config
    }

    /// `pixels [n, 3, h, w]` in -1..1 to the posterior of their (unscaled) latents.
    pub fn encode(&self, pixels: Tensor<4>) -> DiagonalGaussian {
        let moments = self.encoder.forward(pixels);
        self.posterior(match &self.quant_conv {
            Some(conv) => conv.forward(moments),
            None => moments,
        })
    }

    /// What the network gives for a picture, `[n, 2 * latent_channels, h/8, w/8]`, as the posterior.
    pub fn posterior(&self, moments: Tensor<4>) -> DiagonalGaussian {
        let latent = self.config.latent_channels;
        DiagonalGaussian {
            mean: moments.clone().narrow(1, 0, latent),
            logvar: moments.narrow(1, latent, latent).clamp(-30.0, 20.0),
        }
    }

    /// How many times [`Self::decode_stage`] is called for one picture.
    pub fn decode_stages(&self) -> usize {
        self.decoder.up_blocks.len() + 2
    }

    /// One stage of decoding; give stage 0 the (unscaled) latents and each next one what came out.
    pub fn decode_stage(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        let decoder = &self.decoder;
        if stage == 0 {
            let x = match &self.post_quant_conv {
                Some(conv) => conv.forward(x),
                None => x,
            };
            decoder.mid_block.forward(decoder.conv_in.forward(x))
        } else if let Some((resnets, upsampler)) = decoder.up_blocks.get(stage - 1) {
            let x = resnets.iter().fold(x, |x, resnet| resnet.forward(x, None));
            match upsampler {
                Some(upsampler) => upsampler.forward(x, None),
                None => x,
            }
        } else {
            decoder.conv_out.forward(decoder.conv_norm_out.forward_silu(x))
        }
    }

    /// (Unscaled) `latents [n, latent_channels, h, w]` to pixels `[n, 3, 8h, 8w]` in about -1..1.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        (0..self.decode_stages()).fold(latents, |x, stage| self.decode_stage(stage, x))
    }
}

//! TAESD, a VAE of 2.4 M parameters: diffusers `models/autoencoders/autoencoder_tiny.py`,
//! `vae.py` (`EncoderTiny`, `DecoderTiny`).

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::Deserialize;

use super::{DEEPEST, WIDEST, check_levels, check_sizes, parse_config, unsupported};
use crate::error::Result;
use crate::layers::{Conv2d, Conv2dConfig, Parameters};
use crate::weights::Component;

/// `config.json` of an `AutoencoderTiny`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct AutoencoderTinyConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a picture.
    pub out_channels: usize,
    /// Channels of each level of the encoder.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder.
    pub decoder_block_out_channels: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Blocks of each level of the encoder.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder.
    pub num_decoder_blocks: Vec<usize>,
    /// 1: its latents are the UNet's.
    pub scaling_factor: f64,
    /// Only `relu`.
    pub act_fn: String,
    /// Only 2.
    pub upsampling_scaling_factor: usize,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            latent_channels: 4,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            act_fn: "relu".into(),
            upsampling_scaling_factor: 2,
        }
    }
}

impl AutoencoderTinyConfig {
    /// Reads and checks a component's config.
    ///
    /// # Errors
    /// Names the field whose value can't be read or isn't supported.
    pub fn parse(component: &Component) -> Result<Self> {
        let config: Self = parse_config(component)?;
        check_sizes(
            component,
            &[
                ("in_channels", config.in_channels, WIDEST),
                ("out_channels", config.out_channels, WIDEST),
                ("latent_channels", config.latent_channels, WIDEST),
            ],
        )?;
        if config.scaling_factor == 0.0 {
            return Err(unsupported(component, "scaling_factor", config.scaling_factor));
        }
        if config.act_fn != "relu" {
            return Err(unsupported(component, "act_fn", config.act_fn));
        }
        if config.upsampling_scaling_factor != 2 {
            let factor = config.upsampling_scaling_factor;
            return Err(unsupported(component, "upsampling_scaling_factor", factor));
        }
        check_levels(component, "encoder_block_out_channels", &config.encoder_block_out_channels)?;
        check_levels(component, "decoder_block_out_channels", &config.decoder_block_out_channels)?;
        for (field, channels, blocks) in [
            ("num_encoder_blocks", &config.encoder_block_out_channels, &config.num_encoder_blocks),
            ("num_decoder_blocks", &config.decoder_block_out_channels, &config.num_decoder_blocks),
        ] {
            let deep = blocks.iter().any(|count| *count > DEEPEST);
            // A stride or repetition between levels keeps the channels, so they must all be equal.
            let equal = channels.windows(2).all(|pair| pair[0] == pair[1]);
            if channels.len() != blocks.len() || !equal || deep {
                let value = format!("{blocks:?} (with {channels:?} channels)");
                return Err(unsupported(component, field, value));
            }
        }
        Ok(config)
    }
}

/// `AutoencoderTinyBlock`: three convolutions and a way past them.
#[derive(Debug)]
pub(super) struct Block([Conv2d; 3]);

impl Block {
    fn load(parameters: &Parameters, channels: usize) -> Self {
        let conv = parameters.at("conv");
        let load = |i: usize| Conv2d::load(&conv.at(i), channels, channels, Conv2dConfig::SAME);
        Self([load(0), load(2), load(4)])
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [a, b, c] = &self.0;
        relu(c.forward(relu(b.forward(relu(a.forward(x.clone()))))) + x)
    }
}

/// A member of PyTorch's `Sequential`.
#[derive(Debug)]
pub(super) enum Layer {
    Conv(Box<Conv2d>),
    Block(Box<Block>),
    Relu,
    /// Only a number in the sequence: the convolution after it enlarges what it reads.
    Upsample,
    Enlarging(Box<Conv2d>),
}

impl Layer {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Block(block) => block.forward(x),
            Self::Relu => relu(x),
            Self::Upsample => x,
            Self::Enlarging(conv) => conv.forward_enlarged(x),
        }
    }
}

/// Numbers layers as PyTorch's `Sequential` does.
struct Sequence<'a> {
    parameters: Parameters<'a>,
    layers: Vec<Layer>,
}

impl Sequence<'_> {
    fn conv(&mut self, input: usize, output: usize, config: Conv2dConfig) {
        let place = self.parameters.at(self.layers.len());
        self.layers.push(Layer::Conv(Box::new(Conv2d::load(&place, input, output, config))));
    }

    fn upsample(&mut self, channels: usize) {
        self.layers.push(Layer::Upsample);
        let place = self.parameters.at(self.layers.len());
        let plain = Conv2dConfig { bias: false, ..Conv2dConfig::SAME };
        self.layers
            .push(Layer::Enlarging(Box::new(Conv2d::load(&place, channels, channels, plain))));
    }

    fn blocks(&mut self, count: usize, channels: usize) {
        for _ in 0..count {
            let place = self.parameters.at(self.layers.len());
            self.layers.push(Layer::Block(Box::new(Block::load(&place, channels))));
        }
    }
}

/// `AutoencoderTiny`.
#[derive(Debug)]
pub struct AutoencoderTiny {
    config: AutoencoderTinyConfig,
    pub(super) encoder: Vec<Layer>,
    pub(super) decoder: Vec<Layer>,
}

/// Latents as the decoder takes them, from -3 to 3.
pub(super) fn bounded(latents: Tensor<4>) -> Tensor<4> {
    (latents / 3.0).tanh() * 3.0
}

/// From 0..1 to -1..1.
pub(super) fn to_pixels(x: Tensor<4>) -> Tensor<4> {
    x * 2.0 - 1.0
}

/// From -1..1 to 0..1.
pub(super) fn from_pixels(pixels: Tensor<4>) -> Tensor<4> {
    (pixels + 1.0) / 2.0
}

impl AutoencoderTiny {
    /// Builds the network that the config describes and loads it.
    pub fn load(config: &AutoencoderTinyConfig, parameters: &Parameters) -> Self {
        let sequence =
            |name| Sequence { parameters: parameters.at(name).at("layers"), layers: Vec::new() };

        let mut encoder = sequence("encoder");
        let channels = config.encoder_block_out_channels[0];
        for (i, &blocks) in config.num_encoder_blocks.iter().enumerate() {
            if i == 0 {
                encoder.conv(config.in_channels, channels, Conv2dConfig::SAME);
            } else {
                let halve = Conv2dConfig { bias: false, ..Conv2dConfig::HALVE };
                encoder.conv(channels, channels, halve);
            }
            encoder.blocks(blocks, channels);
        }
        encoder.conv(channels, config.latent_channels, Conv2dConfig::SAME);

        let mut decoder = sequence("decoder");
        let channels = config.decoder_block_out_channels[0];
        decoder.conv(config.latent_channels, channels, Conv2dConfig::SAME);
        decoder.layers.push(Layer::Relu);
        for (i, &blocks) in config.num_decoder_blocks.iter().enumerate() {
            decoder.blocks(blocks, channels);
            if i + 1 == config.num_decoder_blocks.len() {
                decoder.conv(channels, config.out_channels, Conv2dConfig::SAME);
            } else {
                decoder.upsample(channels);
            }
        }
        Self { config: config.clone(), encoder: encoder.layers, decoder: decoder.layers }
    }

    /// What it was built from.
    pub fn config(&self) -> &AutoencoderTinyConfig {
        &self.config
    }

    /// `pixels [n, 3, h, w]` in -1..1 to latents `[n, latent_channels, h/8, w/8]`.
    pub fn encode(&self, pixels: Tensor<4>) -> Tensor<4> {
        self.encoder.iter().fold(from_pixels(pixels), |x, layer| layer.forward(x))
    }

    /// How many times [`Self::decode_stage`] is called for one picture.
    pub fn decode_stages(&self) -> usize {
        self.decoder.len()
    }

    /// One stage of decoding; give stage 0 the latents and each next one what came out.
    pub fn decode_stage(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        let x = if stage == 0 { bounded(x) } else { x };
        let x = self.decoder[stage].forward(x);
        if stage + 1 == self.decoder.len() { to_pixels(x) } else { x }
    }

    /// `latents [n, latent_channels, h, w]` to pixels `[n, 3, 8h, 8w]` in about -1..1.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        (0..self.decode_stages()).fold(latents, |x, stage| self.decode_stage(stage, x))
    }
}

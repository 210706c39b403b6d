//! TAESD's halves, value by value. It has no norms: what is made again costs its neighbours' rows alone.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::stages::{Stage, Stages};
use super::{ALWAYS, Layer, Program};
use crate::models::autoencoder_tiny::{self as tiny, AutoencoderTiny, AutoencoderTinyConfig};

/// Of a level of `count` blocks, from which thrift on block i isn't kept.
fn spared(i: usize, count: usize, top: bool) -> u8 {
    match i + 1 == count {
        false => 2,
        true if top => 3,
        true => ALWAYS,
    }
}

impl AutoencoderTinyConfig {
    /// The decoder of latents of this height and width.
    pub fn decoder_program(&self, size: [usize; 2]) -> Program {
        let mut program = Program::new(1, self.latent_channels, size);
        let channels = self.decoder_block_out_channels[0];
        let top = self.num_decoder_blocks.len() - 1;
        program.then(Layer::Convolution, channels, 1);
        for (level, &count) in self.num_decoder_blocks.iter().enumerate() {
            for i in 0..count {
                program.then(Layer::Block, channels, spared(i, count, level == top));
            }
            if level < top {
                program.then(Layer::Enlarging, channels, 1).level += 1;
            }
        }
        program.then(Layer::Convolution, self.out_channels, ALWAYS);
        program
    }

    /// The encoder of pictures of this height and width.
    pub fn encoder_program(&self, size: [usize; 2]) -> Program {
        let mut program = Program::new(1, self.in_channels, size);
        let channels = self.encoder_block_out_channels[0];
        let top = self.num_encoder_blocks.len() - 1;
        program.then(Layer::Convolution, channels, 1);
        for (level, &count) in self.num_encoder_blocks.iter().enumerate() {
            for i in 0..count {
                program.then(Layer::Block, channels, spared(i, count, level == 0));
            }
            if level < top {
                program.then(Layer::Halving { before: true }, channels, ALWAYS).level += 1;
            }
        }
        program.then(Layer::Convolution, self.latent_channels, ALWAYS);
        program
    }
}

fn same(x: Tensor<4>) -> Tensor<4> {
    x
}

/// A stage for each layer that has numbers of its own, with what comes first and last.
fn stages<'a>(
    layers: &'a [tiny::Layer],
    first: fn(Tensor<4>) -> Tensor<4>,
    last: fn(Tensor<4>) -> Tensor<4>,
) -> Stages<'a> {
    let mut stages = vec![Stage::Input];
    for (i, layer) in layers.iter().enumerate() {
        let before = if i == 0 { first } else { same };
        let after = match layers.get(i + 1) {
            None => last,
            Some(tiny::Layer::Relu) => relu,
            Some(_) => same,
        };
        if !matches!(layer, tiny::Layer::Relu | tiny::Layer::Upsample) {
            stages.push(Stage::Tiny(before, layer, after));
        }
    }
    Stages { groups: 1, stages }
}

impl AutoencoderTiny {
    /// The layers of [`AutoencoderTinyConfig::decoder_program`].
    pub fn decoder_stages(&self) -> Stages<'_> {
        stages(&self.decoder, tiny::bounded, tiny::to_pixels)
    }

    /// The layers of [`AutoencoderTinyConfig::encoder_program`].
    pub fn encoder_stages(&self) -> Stages<'_> {
        stages(&self.encoder, tiny::from_pixels, same)
    }
}

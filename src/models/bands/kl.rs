//! `AutoencoderKL`'s halves, value by value: what they are made of, and the layers in the same order.

use super::stages::{Stage, Stages};
use super::{ALWAYS, Layer, Program};
use crate::models::autoencoder_kl::MidBlock;
use crate::models::{AutoencoderKL, AutoencoderKLConfig};

/// Whether a residual block is the first of its level, and the last.
fn ends(i: usize, count: usize) -> [bool; 2] {
    [i == 0, i + 1 == count]
}

impl AutoencoderKLConfig {
    /// The decoder of latents of this height and width.
    pub fn decoder_program(&self, size: [usize; 2]) -> Program {
        let mut program = Program::new(1, self.latent_channels, size);
        let channels: Vec<usize> = self.block_out_channels.iter().rev().copied().collect();
        let top = channels.len() - 1;
        if self.use_post_quant_conv {
            program.then(Layer::Point, self.latent_channels, ALWAYS);
        }
        program.then(Layer::Convolution, channels[0], ALWAYS);
        self.mid(&mut program, channels[0]);
        for (level, &wide) in channels.iter().enumerate() {
            let count = self.layers_per_block + 1;
            for [first, last] in (0..count).map(|i| ends(i, count)) {
                // The picture's own level needs nothing of itself when it has come to its end.
                program.resnet(wide, [first && level > 0, last && level < top]);
            }
            if level < top {
                program.then(Layer::Enlarging, wide, 1).level += 1;
            }
        }
        program.then(Layer::Convolution, self.out_channels, ALWAYS).normed = true;
        program
    }

    /// The encoder of pictures of this height and width.
    pub fn encoder_program(&self, size: [usize; 2]) -> Program {
        let mut program = Program::new(1, self.in_channels, size);
        let channels = &self.block_out_channels;
        let top = channels.len() - 1;
        program.then(Layer::Convolution, channels[0], 1);
        for (level, &wide) in channels.iter().enumerate() {
            let count = self.layers_per_block;
            for [first, last] in (0..count).map(|i| ends(i, count)) {
                program.resnet(wide, [first && level == 0, last]);
            }
            if level < top {
                program.then(Layer::Halving { before: false }, wide, ALWAYS).level += 1;
            }
        }
        self.mid(&mut program, channels[top]);
        let latents = 2 * self.latent_channels;
        program.then(Layer::Convolution, latents, ALWAYS).normed = true;
        if self.use_quant_conv {
            program.then(Layer::Point, latents, ALWAYS);
        }
        program
    }

    fn mid(&self, program: &mut Program, channels: usize) {
        program.resnet(channels, [false, true]);
        if self.mid_block_add_attention {
            program.then(Layer::Attention, channels, ALWAYS);
        }
        program.resnet(channels, [false, true]);
    }
}

impl AutoencoderKL {
    /// The layers of [`AutoencoderKLConfig::decoder_program`].
    pub fn decoder_stages(&self) -> Stages<'_> {
        let decoder = &self.decoder;
        let mut stages = vec![Stage::Input];
        stages.extend(self.post_quant_conv.as_ref().map(Stage::Convolution));
        stages.push(Stage::Convolution(&decoder.conv_in));
        stages.extend(mid_stages(&decoder.mid_block));
        for (resnets, sampler) in &decoder.up_blocks {
            stages.extend(
                resnets.iter().flat_map(|block| [Stage::Enter(block), Stage::Leave(block)]),
            );
            stages.extend(sampler.as_ref().map(Stage::Enlarge));
        }
        stages.push(Stage::Out(&decoder.conv_norm_out, &decoder.conv_out));
        Stages { groups: self.config().norm_num_groups, stages }
    }

    /// The layers of [`AutoencoderKLConfig::encoder_program`].
    pub fn encoder_stages(&self) -> Stages<'_> {
        let encoder = &self.encoder;
        let mut stages = vec![Stage::Input, Stage::Convolution(&encoder.conv_in)];
        for (resnets, sampler) in &encoder.down_blocks {
            stages.extend(
                resnets.iter().flat_map(|block| [Stage::Enter(block), Stage::Leave(block)]),
            );
            stages.extend(sampler.as_ref().map(Stage::Halve));
        }
        stages.extend(mid_stages(&encoder.mid_block));
        stages.push(Stage::Out(&encoder.conv_norm_out, &encoder.conv_out));
        stages.extend(self.quant_conv.as_ref().map(Stage::Convolution));
        Stages { groups: self.config().norm_num_groups, stages }
    }
}

/// The layers of a mid block, by the values that they make.
fn mid_stages(block: &MidBlock) -> Vec<Stage<'_>> {
    let [first, second] = &block.resnets;
    let attention = block.attention.as_ref().map(|_| Stage::Attend(block));
    let mut stages = vec![Stage::Enter(first), Stage::Leave(first)];
    stages.extend(attention);
    stages.extend([Stage::Enter(second), Stage::Leave(second)]);
    stages
}

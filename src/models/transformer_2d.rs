//! Transformer blocks over the pixels of a feature map: diffusers
//! `models/transformers/transformer_2d.py` (continuous input).

use burn::tensor::Tensor;

use super::attention::BasicTransformerBlock;
use crate::layers::{Conv2d, Conv2dConfig, GroupNorm, Linear, Parameters};

/// What all transformers of one model have in common.
#[derive(Debug, Clone, Copy)]
pub struct TransformerConfig {
    /// `cross_attention_dim`.
    pub context: usize,
    /// `norm_num_groups`.
    pub groups: usize,
    /// `use_linear_projection`: SD 2 projects with linear layers, SD 1 with 1x1 convolutions.
    pub linear: bool,
}

#[derive(Debug)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn load(parameters: &Parameters, channels: usize, linear: bool) -> Self {
        if linear {
            Self::Linear(Linear::load(parameters, channels, channels, true))
        } else {
            Self::Conv(Conv2d::load(parameters, channels, channels, Conv2dConfig::POINT))
        }
    }
}

/// `Transformer2DModel`.
#[derive(Debug)]
pub struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<BasicTransformerBlock>,
    proj_out: Projection,
}

impl Transformer2DModel {
    /// `depth` transformer blocks of `heads` heads on `channels` channels.
    pub fn load(
        parameters: &Parameters,
        channels: usize,
        heads: usize,
        depth: usize,
        config: TransformerConfig,
    ) -> Self {
        let TransformerConfig { context, groups, linear } = config;
        let blocks = parameters.at("transformer_blocks");
        Self {
            norm: GroupNorm::load(&parameters.at("norm"), groups, channels, 1e-6),
            proj_in: Projection::load(&parameters.at("proj_in"), channels, linear),
            transformer_blocks: (0..depth)
                .map(|i| BasicTransformerBlock::load(&blocks.at(i), channels, context, heads))
                .collect(),
            proj_out: Projection::load(&parameters.at("proj_out"), channels, linear),
        }
    }

    /// `x [n, c, h, w]`, `context [n, m, context] -> [n, c, h, w]`.
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let mut hidden = self.enter(x.clone());
        for block in 0..self.depth() {
            hidden = self.block(block, hidden, context);
        }
        self.leave(hidden, x)
    }

    /// Its transformer blocks.
    pub(super) fn depth(&self) -> usize {
        self.transformer_blocks.len()
    }

    /// What the first block gets of `x [n, c, h, w]`: `[n, h w, c]`.
    pub(super) fn enter(&self, x: Tensor<4>) -> Tensor<3> {
        let normal = self.norm.forward(x);
        match &self.proj_in {
            Projection::Conv(conv) => tokens(conv.forward(normal)),
            Projection::Linear(linear) => linear.forward(tokens(normal)),
        }
    }

    /// One of its blocks, `[n, h w, c] -> [n, h w, c]`.
    pub(super) fn block(&self, block: usize, x: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        self.transformer_blocks[block].forward(x, context.clone())
    }

    /// What the last block gave, projected and added to `x [n, c, h, w]`, which came in.
    pub(super) fn leave(&self, hidden: Tensor<3>, x: Tensor<4>) -> Tensor<4> {
        let shape = x.dims();
        let hidden = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(pixels(hidden, shape)),
            Projection::Linear(linear) => pixels(linear.forward(hidden), shape),
        };
        hidden + x
    }
}

/// `[n, c, h, w] -> [n, h w, c]`.
fn tokens(x: Tensor<4>) -> Tensor<3> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).swap_dims(1, 2)
}

/// `[n, h w, c] -> [n, c, h, w]`.
fn pixels(x: Tensor<3>, shape: [usize; 4]) -> Tensor<4> {
    x.swap_dims(1, 2).reshape(shape)
}

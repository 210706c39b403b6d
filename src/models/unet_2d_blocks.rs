//! The blocks a UNet is a list of: diffusers `models/unets/unet_2d_blocks.py`.

use burn::tensor::Tensor;

use super::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use super::transformer_2d::{Transformer2DModel, TransformerConfig};
use crate::layers::Parameters;

/// The attention of one block: number of heads, and transformer blocks in each transformer.
#[derive(Debug, Clone, Copy)]
pub struct BlockAttention {
    /// Number of heads.
    pub heads: usize,
    /// `transformer_layers_per_block`.
    pub depth: usize,
    /// Shared by the whole model.
    pub transformer: TransformerConfig,
}

/// What a block is made with.
#[derive(Debug, Clone, Copy)]
pub struct BlockConfig {
    /// Number of residual blocks (one less than an up block has).
    pub layers: usize,
    /// Shared by the whole model.
    pub resnet: ResnetConfig,
    /// None for blocks without cross attention.
    pub attention: Option<BlockAttention>,
    /// Whether it ends by halving or doubling the size.
    pub resample: bool,
}

/// Transformer blocks of one of a block's transformers, where they differ: a list says how many each
/// has, and one that is shorter, the block's own `depth` for those that it lacks.
pub type Depths<'a> = &'a [usize];

fn load_attentions(
    parameters: &Parameters,
    count: usize,
    channels: usize,
    attention: Option<BlockAttention>,
    depths: Depths<'_>,
) -> Vec<Transformer2DModel> {
    let attentions = parameters.at("attentions");
    attention.map_or_else(Vec::new, |BlockAttention { heads, depth, transformer }| {
        let load = |i: usize| {
            let depth = depths.get(i).copied().unwrap_or(depth);
            Transformer2DModel::load(&attentions.at(i), channels, heads, depth, transformer)
        };
        (0..count).map(load).collect()
    })
}

/// `CrossAttnDownBlock2D`, or `DownBlock2D` where there are no attentions.
#[derive(Debug)]
pub struct DownBlock2D {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
    downsampler: Option<Downsample2D>,
}

impl DownBlock2D {
    /// From `input` to `output` channels.
    pub fn load(parameters: &Parameters, input: usize, output: usize, config: BlockConfig) -> Self {
        Self::load_with(parameters, input, output, config, &[])
    }

    /// The same, whose transformers may differ in depth.
    pub fn load_with(
        parameters: &Parameters,
        input: usize,
        output: usize,
        config: BlockConfig,
        depths: Depths<'_>,
    ) -> Self {
        let BlockConfig { layers, attention, .. } = config;
        let resnets = parameters.at("resnets");
        let load = |i| {
            let input = if i == 0 { input } else { output };
            ResnetBlock2D::load(&resnets.at(i), input, output, config.resnet)
        };
        Self {
            resnets: (0..config.layers).map(load).collect(),
            attentions: load_attentions(parameters, layers, output, attention, depths),
            downsampler: config
                .resample
                .then(|| Downsample2D::load(&parameters.at("downsamplers").at(0), output, (1, 1))),
        }
    }

    /// Every intermediate result goes onto `skips`, for the up blocks.
    pub fn forward(
        &self,
        mut x: Tensor<4>,
        emb: &Tensor<2>,
        context: &Tensor<3>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(emb));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, context);
            }
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

/// `UNetMidBlock2DCrossAttn`, or `UNetMidBlock2D` without attention.
#[derive(Debug)]
pub struct MidBlock2D {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
}

impl MidBlock2D {
    /// One residual block, then a transformer and a residual block for each layer.
    pub fn load(parameters: &Parameters, channels: usize, config: BlockConfig) -> Self {
        let resnets = parameters.at("resnets");
        Self {
            resnets: (0..=config.layers)
                .map(|i| ResnetBlock2D::load(&resnets.at(i), channels, channels, config.resnet))
                .collect(),
            attentions: load_attentions(parameters, config.layers, channels, config.attention, &[]),
        }
    }

    /// `[n, c, h, w] -> [n, c, h, w]`.
    pub fn forward(&self, x: Tensor<4>, emb: &Tensor<2>, context: &Tensor<3>) -> Tensor<4> {
        let mut x = self.resnets[0].forward(x, Some(emb));
        for (i, resnet) in self.resnets[1..].iter().enumerate() {
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, context);
            }
            x = resnet.forward(x, Some(emb));
        }
        x
    }
}

/// `CrossAttnUpBlock2D`, or `UpBlock2D` where there are no attentions.
#[derive(Debug)]
pub struct UpBlock2D {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Transformer2DModel>,
    upsampler: Option<Upsample2D>,
}

/// Channels around an up block.
#[derive(Debug, Clone, Copy)]
pub struct UpChannels {
    /// Of what comes in from below.
    pub previous: usize,
    /// Of the block itself.
    pub output: usize,
    /// Of the last skip connection it takes: that of the down block one level up.
    pub skip: usize,
}

impl UpBlock2D {
    /// Has one residual block more than its down block.
    pub fn load(parameters: &Parameters, channels: UpChannels, config: BlockConfig) -> Self {
        Self::load_with(parameters, channels, config, &[])
    }

    /// The same, whose transformers may differ in depth.
    pub fn load_with(
        parameters: &Parameters,
        channels: UpChannels,
        config: BlockConfig,
        depths: Depths<'_>,
    ) -> Self {
        let BlockConfig { layers, attention, .. } = config;
        let resnets = parameters.at("resnets");
        let UpChannels { previous, output, skip } = channels;
        let load = |i| {
            let input = if i == 0 { previous } else { output };
            let skip = if i == config.layers { skip } else { output };
            ResnetBlock2D::load(&resnets.at(i), input + skip, output, config.resnet)
        };
        Self {
            resnets: (0..=config.layers).map(load).collect(),
            attentions: load_attentions(parameters, layers + 1, output, attention, depths),
            upsampler: config
                .resample
                .then(|| Upsample2D::load(&parameters.at("upsamplers").at(0), output)),
        }
    }

    /// Takes one skip connection off `skips` for each residual block.
    pub fn forward(
        &self,
        mut x: Tensor<4>,
        emb: &Tensor<2>,
        context: &Tensor<3>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if let Some(skip) = skips.pop() {
                x = Tensor::cat(vec![x, skip], 1);
            }
            x = resnet.forward(x, Some(emb));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, context);
            }
        }
        self.upsample(x, skips)
    }

    /// Twice as large, where it ends so: as large as the skip connection that comes next.
    fn upsample(&self, x: Tensor<4>, skips: &[Tensor<4>]) -> Tensor<4> {
        match &self.upsampler {
            Some(upsampler) => {
                let size = skips.last().map(|skip| [skip.dims()[2], skip.dims()[3]]);
                upsampler.forward(x, size)
            }
            None => x,
        }
    }
}

/// A block of a UNet, whichever, for whom goes through it piece by piece.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block<'a> {
    /// On the way down.
    Down(&'a DownBlock2D),
    /// Between.
    Mid(&'a MidBlock2D),
    /// On the way up.
    Up(&'a UpBlock2D),
}

impl<'a> Block<'a> {
    /// Its residual blocks.
    pub(super) fn resnets(self) -> &'a [ResnetBlock2D] {
        match self {
            Self::Down(block) => &block.resnets,
            Self::Mid(block) => &block.resnets,
            Self::Up(block) => &block.resnets,
        }
    }

    /// Its transformers, each after the residual block of its number.
    pub(super) fn attentions(self) -> &'a [Transformer2DModel] {
        match self {
            Self::Down(block) => &block.attentions,
            Self::Mid(block) => &block.attentions,
            Self::Up(block) => &block.attentions,
        }
    }

    /// Whether it ends by halving or doubling the size.
    pub(super) fn resamples(self) -> bool {
        match self {
            Self::Down(block) => block.downsampler.is_some(),
            Self::Mid(_) => false,
            Self::Up(block) => block.upsampler.is_some(),
        }
    }

    /// All of it at once.
    pub(super) fn forward(
        self,
        x: Tensor<4>,
        emb: &Tensor<2>,
        context: &Tensor<3>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        match self {
            Self::Down(block) => block.forward(x, emb, context, skips),
            Self::Mid(block) => block.forward(x, emb, context),
            Self::Up(block) => block.forward(x, emb, context, skips),
        }
    }

    /// One of its residual blocks, before whose first convolution an up block takes a skip connection.
    pub(super) fn resnet(
        self,
        at: usize,
        mut x: Tensor<4>,
        emb: &Tensor<2>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        if let Self::Up(_) = self
            && let Some(skip) = skips.pop()
        {
            x = Tensor::cat(vec![x, skip], 1);
        }
        self.resnets()[at].forward(x, Some(emb))
    }

    /// Its end, which halves or doubles the size.
    pub(super) fn resample(self, x: Tensor<4>, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        match self {
            Self::Down(DownBlock2D { downsampler: Some(downsampler), .. }) => {
                let x = downsampler.forward(x);
                skips.push(x.clone());
                x
            }
            Self::Up(block) => block.upsample(x, skips),
            _ => x,
        }
    }
}

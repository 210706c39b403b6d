//! The denoiser: diffusers `models/unets/unet_2d_condition.py`.

use burn::tensor::Tensor;

use super::embeddings::{TimestepEmbedding, timestep_embedding};
use super::resnet::ResnetConfig;
use super::unet_2d_blocks::{
    Block, BlockAttention, BlockConfig, DownBlock2D, MidBlock2D, UpBlock2D, UpChannels,
};
use super::unet_2d_config::UNet2DConditionConfig;
use super::unet_stages::{Place, Stage, stages, transform};
use crate::layers::{Conv2d, Conv2dConfig, GroupNorm, Parameters};

/// `UNet2DConditionModel`: noise (or velocity) in noisy latents, told by time and text.
#[derive(Debug)]
pub struct UNet2DConditionModel {
    config: UNet2DConditionConfig,
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    add_embedding: Option<TimestepEmbedding>,
    down_blocks: Vec<DownBlock2D>,
    mid_block: Option<MidBlock2D>,
    up_blocks: Vec<UpBlock2D>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    stages: Vec<Stage>,
}

/// What the UNet is told besides the time.
#[derive(Debug, Clone)]
pub struct Context {
    /// Text embeddings, `[n, m, cross_attention_dim]`.
    pub text: Tensor<3>,
    /// What a UNet of SDXL takes as well.
    pub added: Option<Added>,
}

/// What SDXL adds to the time embedding.
#[derive(Debug, Clone)]
pub struct Added {
    /// The second text encoder's pooled vectors, `[n, pooled_width]`.
    pub pooled: Tensor<2>,
    /// Pixels: original height and width, the crop's top and left, target height and width. One row for
    /// all, or one for each of the n.
    pub time_ids: Vec<[f64; UNet2DConditionConfig::TIME_IDS]>,
}

impl From<Tensor<3>> for Context {
    fn from(text: Tensor<3>) -> Self {
        Self { text, added: None }
    }
}

/// A forward pass between two blocks. Training takes it apart, to run a block again by itself.
#[derive(Debug, Clone)]
pub struct UNetPass {
    /// What the next block gets, `[n, c, h, w]`.
    pub(crate) hidden: Tensor<4>,
    /// Time embedding, `[n, 4 c0]`.
    pub(crate) emb: Tensor<2>,
    /// Text embeddings, `[n, m, cross_attention_dim]`.
    pub(crate) context: Tensor<3>,
    /// What the up blocks still have to take, the last pushed first.
    pub(crate) skips: Vec<Tensor<4>>,
    /// The next block.
    pub(crate) stage: usize,
}

impl UNet2DConditionModel {
    /// One of the blocks on the way down alone, to measure with: `parameters` are the block's.
    pub fn load_down_block(
        config: &UNet2DConditionConfig,
        level: usize,
        parameters: &Parameters,
    ) -> DownBlock2D {
        let channels = &config.block_out_channels;
        let resample = level + 1 < channels.len();
        let block = config.block(level, &config.down_block_types[level], resample);
        let input = channels[level.saturating_sub(1)];
        let depths = config.down_depths(level).unwrap_or_default();
        DownBlock2D::load_with(parameters, input, channels[level], block, &depths)
    }

    /// Builds the network that the config describes and loads it.
    pub fn load(config: &UNet2DConditionConfig, parameters: &Parameters) -> Self {
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let width = 4 * channels[0];
        let down = parameters.at("down_blocks");
        let up = parameters.at("up_blocks");
        let load_down = |level: usize| Self::load_down_block(config, level, &down.at(level));
        let load_up = |i: usize| {
            let level = levels - 1 - i;
            let channels = UpChannels {
                previous: channels[(level + 1).min(levels - 1)],
                output: channels[level],
                skip: channels[level.saturating_sub(1)],
            };
            let block = config.block(level, &config.up_block_types[i], level > 0);
            let depths = config.up_depths(i).unwrap_or_default();
            UpBlock2D::load_with(&up.at(i), channels, block, &depths)
        };
        let load_mid = |name: &String| {
            let resnet = ResnetConfig {
                output_scale_factor: config.mid_block_scale_factor,
                ..config.resnet()
            };
            let attention = (name == "UNetMidBlock2DCrossAttn").then(|| BlockAttention {
                depth: config.mid_depth(),
                ..config.attention(levels - 1)
            });
            // Without attention diffusers leaves one residual block (`get_mid_block`, num_layers=0).
            let layers = usize::from(attention.is_some());
            let config = BlockConfig { layers, resnet, attention, resample: false };
            MidBlock2D::load(&parameters.at("mid_block"), channels[levels - 1], config)
        };

        let conv = |name, input, output| {
            Conv2d::load(&parameters.at(name), input, output, Conv2dConfig::SAME)
        };
        let added = config.pooled_width().and(config.projection_class_embeddings_input_dim);
        let mut model = Self {
            conv_in: conv("conv_in", config.in_channels, channels[0]),
            time_embedding: TimestepEmbedding::load(
                &parameters.at("time_embedding"),
                channels[0],
                width,
                config.time_cond_proj_dim,
            ),
            add_embedding: added.map(|input| {
                TimestepEmbedding::load(&parameters.at("add_embedding"), input, width, None)
            }),
            down_blocks: (0..levels).map(load_down).collect(),
            mid_block: config.mid_block_type.as_ref().map(load_mid),
            up_blocks: (0..levels).map(load_up).collect(),
            conv_norm_out: GroupNorm::load(
                &parameters.at("conv_norm_out"),
                config.norm_num_groups,
                channels[0],
                config.norm_eps,
            ),
            conv_out: conv("conv_out", channels[0], config.out_channels),
            stages: Vec::new(),
            config: config.clone(),
        };
        model.stages = model.all_stages();
        model
    }

    fn all_stages(&self) -> Vec<Stage> {
        let downs = (0..self.down_blocks.len()).map(Place::Down);
        let ups = (0..self.up_blocks.len()).map(Place::Up);
        let of = |place| match self.block(place) {
            Some(block) => stages(place, block),
            None => vec![Stage::Block(place)],
        };
        downs.chain([Place::Mid]).chain(ups).flat_map(of).chain([Stage::Out]).collect()
    }

    /// None: there is no mid block.
    fn block(&self, place: Place) -> Option<Block<'_>> {
        match place {
            Place::Down(at) => self.down_blocks.get(at).map(Block::Down),
            Place::Mid => self.mid_block.as_ref().map(Block::Mid),
            Place::Up(at) => self.up_blocks.get(at).map(Block::Up),
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &UNet2DConditionConfig {
        &self.config
    }

    /// How many times [`Self::advance`] is called in one forward pass.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Which of them runs the layer of this path; of one that no block has, the first that comes after the
    /// way down.
    pub fn stage_of(&self, path: &str) -> usize {
        let runs = |stage: &Stage| stage.runs(path);
        let mid =
            || self.stages.iter().rposition(|stage| matches!(stage, Stage::Block(Place::Mid)));
        self.stages.iter().rposition(runs).or_else(mid).unwrap_or(0)
    }

    /// Starts a forward pass.
    ///
    /// `sample [n, in_channels, h, w]`, `context` text embeddings `[n, m, cross_attention_dim]` or a
    /// [`Context`], which a UNet of SDXL needs; one timestep for all, or one for each of the n.
    /// `condition [n, time_cond_proj_dim]` is the guidance embedding of LCM models.
    pub fn begin(
        &self,
        sample: Tensor<4>,
        timesteps: &[f64],
        context: impl Into<Context>,
        condition: Option<Tensor<2>>,
    ) -> UNetPass {
        let Context { text: context, added } = context.into();
        let n = sample.dims()[0];
        let each: Vec<f64> = (0..n).map(|i| timesteps[i.min(timesteps.len() - 1)]).collect();
        // 1. time
        let sinusoids = self.sinusoids(&each, self.config.block_out_channels[0], &sample);
        let mut emb = self.time_embedding.forward(sinusoids, condition);
        debug_assert_eq!(self.add_embedding.is_some(), added.is_some(), "what SDXL adds");
        if let (Some(embedding), Some(added)) = (&self.add_embedding, &added) {
            emb = emb + embedding.forward(self.added(added, &sample), None);
        }
        // 2. pre-process
        let hidden = self.conv_in.forward(sample);
        UNetPass { skips: vec![hidden.clone()], hidden, emb, context, stage: 0 }
    }

    fn sinusoids(&self, numbers: &[f64], width: usize, like: &Tensor<4>) -> Tensor<2> {
        let UNet2DConditionConfig { flip_sin_to_cos, freq_shift, .. } = self.config;
        timestep_embedding(numbers, width, flip_sin_to_cos, freq_shift, &like.device())
    }

    /// The pooled text, then a sinusoid for each number (`get_aug_embed`), `[n, input]`.
    fn added(&self, added: &Added, like: &Tensor<4>) -> Tensor<2> {
        let (n, rows) = (like.dims()[0], &added.time_ids);
        let width = self.config.addition_time_embed_dim.unwrap_or(0);
        let each = (0..n).filter_map(|i| rows.get(i.min(rows.len().saturating_sub(1))));
        let numbers: Vec<f64> = each.flatten().copied().collect();
        let all = UNet2DConditionConfig::TIME_IDS * width;
        let sinusoids = self.sinusoids(&numbers, width, like).reshape([n, all]);
        Tensor::cat(vec![added.pooled.clone(), sinusoids], 1)
    }

    /// Runs the next block, or the next piece of one. The last call gives the output,
    /// `[n, out_channels, h, w]`.
    pub fn advance(&self, pass: &mut UNetPass) -> Option<Tensor<4>> {
        let stage = self.stages[pass.stage];
        pass.stage += 1;
        let UNetPass { hidden, emb, context, skips, .. } = pass;
        let x = hidden.clone();
        // Lets the block reuse the buffer where it can.
        *hidden = Tensor::empty([1, 1, 1, 1], &x.device());
        let at = |place| self.block(place);
        *hidden = match stage {
            // 3. down, 4. mid, 5. up
            Stage::Block(place) => match at(place) {
                Some(block) => block.forward(x, emb, context, skips),
                None => x,
            },
            Stage::Resnet(place, number) => match at(place) {
                Some(block) => block.resnet(number, x, emb, skips),
                None => x,
            },
            Stage::Transformer(place, number, within) => match at(place) {
                Some(block) => transform(block, [number, within], x, context, skips),
                None => x,
            },
            Stage::Skip => {
                skips.push(x.clone());
                x
            }
            Stage::Resample(place) => match at(place) {
                Some(block) => block.resample(x, skips),
                None => x,
            },
            // 6. post-process
            Stage::Out => {
                return Some(self.conv_out.forward(self.conv_norm_out.forward_silu(x)));
            }
        };
        None
    }

    /// A whole forward pass; shapes as in [`Self::begin`].
    pub fn forward(
        &self,
        sample: Tensor<4>,
        timesteps: &[f64],
        context: impl Into<Context>,
    ) -> Tensor<4> {
        let mut pass = self.begin(sample, timesteps, context, None);
        loop {
            if let Some(output) = self.advance(&mut pass) {
                return output;
            }
        }
    }
}

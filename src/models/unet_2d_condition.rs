//! The denoiser: diffusers `models/unets/unet_2d_condition.py`.

use burn::tensor::Tensor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::embeddings::{TimestepEmbedding, timestep_embedding};
use super::resnet::ResnetConfig;
use super::transformer_2d::TransformerConfig;
use super::unet_2d_blocks::{
    BlockAttention, BlockConfig, DownBlock2D, MidBlock2D, UpBlock2D, UpChannels,
};
use super::{DEEPEST, WIDEST, check_levels, check_sizes, parse_config, unsupported};
use crate::error::Result;
use crate::layers::{Conv2d, Conv2dConfig, GroupNorm, Parameters};
use crate::weights::Component;

/// One number for all blocks, or one for each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same everywhere.
    All(usize),
    /// From the outermost block inwards.
    Each(Vec<usize>),
}

impl PerBlock {
    /// Of one block, counted from the outermost.
    pub fn get(&self, block: usize) -> Option<usize> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.get(block).copied(),
        }
    }
}

/// `unet/config.json`, as far as it says how a Stable Diffusion UNet is built.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct UNet2DConditionConfig {
    /// Height and width of the latents that it was trained on.
    pub sample_size: Option<Value>,
    /// Latent channels in (9 for inpainting models).
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Block names from the outermost level inwards.
    pub down_block_types: Vec<String>,
    /// None (BK-SDM), with or without cross attention.
    pub mid_block_type: Option<String>,
    /// Block names from the innermost level outwards.
    pub up_block_types: Vec<String>,
    /// Residual blocks of a down block.
    pub layers_per_block: PerBlock,
    /// Width of the text embeddings.
    pub cross_attention_dim: usize,
    /// The number of heads. (diffusers named it wrongly and keeps the name:
    /// `num_attention_heads = num_attention_heads or attention_head_dim`.)
    pub attention_head_dim: PerBlock,
    /// The number of heads, where a config says it by its right name.
    pub num_attention_heads: Option<PerBlock>,
    /// Transformer blocks in each transformer.
    pub transformer_layers_per_block: PerBlock,
    /// SD 2: linear `proj_in` and `proj_out`.
    pub use_linear_projection: bool,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Epsilon of the residual blocks' norms.
    pub norm_eps: f64,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the time embedding's frequencies.
    pub freq_shift: f64,
    /// Width of the guidance embedding of LCM models.
    pub time_cond_proj_dim: Option<usize>,
    /// What the mid block's sums are divided by.
    pub mid_block_scale_factor: f64,
}

impl Default for UNet2DConditionConfig {
    /// diffusers' own defaults, which are those of SD 1.5.
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(String::from).to_vec();
        let (cross_down, cross_up) = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D");
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_block_types: names([cross_down, cross_down, cross_down, "DownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2DCrossAttn".into()),
            up_block_types: names(["UpBlock2D", cross_up, cross_up, cross_up]),
            layers_per_block: PerBlock::All(2),
            cross_attention_dim: 1280,
            attention_head_dim: PerBlock::All(8),
            num_attention_heads: None,
            transformer_layers_per_block: PerBlock::All(1),
            use_linear_projection: false,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            time_cond_proj_dim: None,
            mid_block_scale_factor: 1.0,
        }
    }
}

impl UNet2DConditionConfig {
    /// Reads and checks a component's config.
    ///
    /// # Errors
    /// Names the field whose value can't be read or isn't supported.
    pub fn parse(component: &Component) -> Result<Self> {
        let config: Self = parse_config(component)?;
        let bad = |field: &str, value: String| Err(unsupported(component, field, value));
        let blocks = config.block_out_channels.len();
        check_levels(component, "block_out_channels", &config.block_out_channels)?;
        let guidance = config.time_cond_proj_dim.unwrap_or(1);
        let latents = config.sample_size.as_ref().and_then(Value::as_u64).unwrap_or(1);
        check_sizes(
            component,
            &[
                ("in_channels", config.in_channels, WIDEST),
                ("out_channels", config.out_channels, WIDEST),
                ("cross_attention_dim", config.cross_attention_dim, WIDEST),
                ("time_cond_proj_dim", guidance, WIDEST),
                ("sample_size", usize::try_from(latents).unwrap_or(usize::MAX), 1024),
            ],
        )?;
        for (field, names, known) in [
            ("down_block_types", &config.down_block_types, ["CrossAttnDownBlock2D", "DownBlock2D"]),
            ("up_block_types", &config.up_block_types, ["CrossAttnUpBlock2D", "UpBlock2D"]),
        ] {
            if names.len() != blocks || !names.iter().all(|name| known.contains(&name.as_str())) {
                return bad(field, format!("{names:?} (for {blocks} levels)"));
            }
        }
        if config.mid_block_scale_factor == 0.0 {
            return bad("mid_block_scale_factor", config.mid_block_scale_factor.to_string());
        }
        let middles = [None, Some("UNetMidBlock2DCrossAttn"), Some("UNetMidBlock2D")];
        if !middles.contains(&config.mid_block_type.as_deref()) {
            return bad("mid_block_type", format!("{:?}", config.mid_block_type));
        }
        for channels in &config.block_out_channels {
            if config.norm_num_groups == 0 || channels % config.norm_num_groups != 0 {
                return bad("norm_num_groups", format!("{}", config.norm_num_groups));
            }
        }
        for (i, channels) in config.block_out_channels.iter().enumerate() {
            if config.heads(i).is_none_or(|heads| heads == 0 || channels % heads != 0) {
                return bad("attention_head_dim", format!("{:?}", config.attention_head_dim));
            }
            for (field, value) in [
                ("layers_per_block", &config.layers_per_block),
                ("transformer_layers_per_block", &config.transformer_layers_per_block),
            ] {
                if value.get(i).is_none_or(|count| !(1..=DEEPEST).contains(&count)) {
                    return bad(field, format!("{value:?}"));
                }
            }
        }
        for (field, good) in only().as_object().into_iter().flatten() {
            let value = &component.config[field];
            if !value.is_null() && !good.as_array().is_some_and(|good| good.contains(value)) {
                return bad(field, value.to_string());
            }
        }
        Ok(config)
    }

    /// Number of heads at a level, outermost first.
    pub fn heads(&self, level: usize) -> Option<usize> {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).get(level)
    }

    /// Residual blocks per down block of a level.
    pub fn layers(&self, level: usize) -> usize {
        self.layers_per_block.get(level).unwrap_or(1)
    }
}

/// Fields that have one value throughout this family, each with the values that mean it: another
/// would be another network. (An empty list: only null.)
fn only() -> Value {
    json!({
        "act_fn": ["silu", "swish"],
        "addition_embed_type": [],
        "attention_type": ["default"],
        "center_input_sample": [false],
        "class_embed_type": [],
        "class_embeddings_concat": [false],
        "conv_in_kernel": [3],
        "conv_out_kernel": [3],
        "cross_attention_norm": [],
        "downsample_padding": [1],
        "dropout": [0, 0.0],
        "dual_cross_attention": [false],
        "encoder_hid_dim": [],
        "encoder_hid_dim_type": [],
        "mid_block_only_cross_attention": [false],
        "num_class_embeds": [],
        "only_cross_attention": [false],
        "resnet_out_scale_factor": [1, 1.0],
        "resnet_skip_time_act": [false],
        "resnet_time_scale_shift": ["default"],
        "time_embedding_act_fn": [],
        "time_embedding_dim": [],
        "time_embedding_type": ["positional"],
        "timestep_post_act": []
    })
}

/// `UNet2DConditionModel`: noise (or velocity) in noisy latents, told by time and text.
#[derive(Debug)]
pub struct UNet2DConditionModel {
    config: UNet2DConditionConfig,
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    down_blocks: Vec<DownBlock2D>,
    mid_block: Option<MidBlock2D>,
    up_blocks: Vec<UpBlock2D>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
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

impl UNet2DConditionConfig {
    fn resnet(&self) -> ResnetConfig {
        ResnetConfig {
            time_embedding: Some(4 * self.block_out_channels[0]),
            groups: self.norm_num_groups,
            epsilon: self.norm_eps,
            output_scale_factor: 1.0,
        }
    }

    fn attention(&self, level: usize) -> BlockAttention {
        BlockAttention {
            heads: self.heads(level).unwrap_or(1),
            depth: self.transformer_layers_per_block.get(level).unwrap_or(1),
            transformer: TransformerConfig {
                context: self.cross_attention_dim,
                groups: self.norm_num_groups,
                linear: self.use_linear_projection,
            },
        }
    }

    fn block(&self, level: usize, name: &str, resample: bool) -> BlockConfig {
        BlockConfig {
            layers: self.layers(level),
            resnet: self.resnet(),
            attention: name.starts_with("CrossAttn").then(|| self.attention(level)),
            resample,
        }
    }
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
        DownBlock2D::load(parameters, channels[level.saturating_sub(1)], channels[level], block)
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
            UpBlock2D::load(&up.at(i), channels, block)
        };
        let load_mid = |name: &String| {
            let resnet = ResnetConfig {
                output_scale_factor: config.mid_block_scale_factor,
                ..config.resnet()
            };
            let attention =
                (name == "UNetMidBlock2DCrossAttn").then(|| config.attention(levels - 1));
            // Without attention diffusers leaves one residual block (`get_mid_block`, num_layers=0).
            let layers = usize::from(attention.is_some());
            let config = BlockConfig { layers, resnet, attention, resample: false };
            MidBlock2D::load(&parameters.at("mid_block"), channels[levels - 1], config)
        };

        let conv = |name, input, output| {
            Conv2d::load(&parameters.at(name), input, output, Conv2dConfig::SAME)
        };
        Self {
            conv_in: conv("conv_in", config.in_channels, channels[0]),
            time_embedding: TimestepEmbedding::load(
                &parameters.at("time_embedding"),
                channels[0],
                width,
                config.time_cond_proj_dim,
            ),
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
            config: config.clone(),
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &UNet2DConditionConfig {
        &self.config
    }

    /// How many times [`Self::advance`] is called in one forward pass.
    pub fn stages(&self) -> usize {
        2 * self.down_blocks.len() + 2
    }

    /// Starts a forward pass.
    ///
    /// `sample [n, in_channels, h, w]`, `context [n, m, cross_attention_dim]`; one timestep for
    /// all, or one for each of the n. `condition [n, time_cond_proj_dim]` is the guidance
    /// embedding of LCM models.
    pub fn begin(
        &self,
        sample: Tensor<4>,
        timesteps: &[f64],
        context: Tensor<3>,
        condition: Option<Tensor<2>>,
    ) -> UNetPass {
        let n = sample.dims()[0];
        let each: Vec<f64> = (0..n).map(|i| timesteps[i.min(timesteps.len() - 1)]).collect();
        // 1. time
        let sinusoids = timestep_embedding(
            &each,
            self.config.block_out_channels[0],
            self.config.flip_sin_to_cos,
            self.config.freq_shift,
            &sample.device(),
        );
        let emb = self.time_embedding.forward(sinusoids, condition);
        // 2. pre-process
        let hidden = self.conv_in.forward(sample);
        UNetPass { skips: vec![hidden.clone()], hidden, emb, context, stage: 0 }
    }

    /// Runs the next block. The last call gives the output, `[n, out_channels, h, w]`.
    pub fn advance(&self, pass: &mut UNetPass) -> Option<Tensor<4>> {
        let levels = self.down_blocks.len();
        let stage = pass.stage;
        pass.stage += 1;
        let UNetPass { hidden, emb, context, skips, .. } = pass;
        let x = hidden.clone();
        // Lets the block reuse the buffer where it can.
        *hidden = Tensor::empty([1, 1, 1, 1], &x.device());
        *hidden = if stage < levels {
            // 3. down
            self.down_blocks[stage].forward(x, emb, context, skips)
        } else if stage == levels {
            // 4. mid
            match &self.mid_block {
                Some(mid_block) => mid_block.forward(x, emb, context),
                None => x,
            }
        } else if stage <= 2 * levels {
            // 5. up
            self.up_blocks[stage - levels - 1].forward(x, emb, context, skips)
        } else {
            // 6. post-process
            return Some(self.conv_out.forward(self.conv_norm_out.forward_silu(x)));
        };
        None
    }

    /// A whole forward pass; shapes as in [`Self::begin`].
    pub fn forward(&self, sample: Tensor<4>, timesteps: &[f64], context: Tensor<3>) -> Tensor<4> {
        let mut pass = self.begin(sample, timesteps, context, None);
        loop {
            if let Some(output) = self.advance(&mut pass) {
                return output;
            }
        }
    }
}

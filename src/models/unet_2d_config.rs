//! What a UNet is built of: diffusers' `unet/config.json`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::per_block::{PerBlock, PerLayer};
use super::resnet::ResnetConfig;
use super::transformer_2d::TransformerConfig;
use super::unet_2d_blocks::{BlockAttention, BlockConfig};
use super::{DEEPEST, WIDEST, check_levels, check_sizes, parse_config, unsupported};
use crate::error::Result;
use crate::weights::Component;

/// What is added to the time embedding besides (`addition_embed_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditionEmbedding {
    /// SDXL: the pooled text, and six numbers on the picture's size.
    TextTime,
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
    /// Transformer blocks in each transformer, from the outermost level inwards.
    pub transformer_layers_per_block: PerLayer,
    /// Those on the way up, from the innermost level outwards, where they aren't the same.
    pub reverse_transformer_layers_per_block: Option<PerLayer>,
    /// What is added to the time embedding.
    pub addition_embed_type: Option<AdditionEmbedding>,
    /// Width of the sinusoid of each number on the picture's size.
    pub addition_time_embed_dim: Option<usize>,
    /// Width of the pooled text and all sinusoids together.
    pub projection_class_embeddings_input_dim: Option<usize>,
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
            transformer_layers_per_block: PerLayer::All(1),
            reverse_transformer_layers_per_block: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
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
            let layers = config.layers_per_block.get(i);
            if layers.is_none_or(|count| !(1..=DEEPEST).contains(&count)) {
                return bad("layers_per_block", format!("{:?}", config.layers_per_block));
            }
        }
        config.check_depths(component)?;
        config.check_added(component)?;
        for (field, good) in only().as_object().into_iter().flatten() {
            let value = &component.config[field];
            if !value.is_null() && !good.as_array().is_some_and(|good| good.contains(value)) {
                return bad(field, value.to_string());
            }
        }
        Ok(config)
    }

    /// What is added to the time embedding has to have a width, and room for a pooled text.
    fn check_added(&self, component: &Component) -> Result<()> {
        if self.addition_embed_type.is_none() || self.pooled_width().is_some() {
            return Ok(());
        }
        let field = "projection_class_embeddings_input_dim";
        let (input, width) =
            (self.projection_class_embeddings_input_dim, self.addition_time_embed_dim);
        Err(match (input, width) {
            (Some(input), Some(width)) => {
                let value = format!("{input} (for numbers {width} wide)");
                unsupported(component, field, value)
            }
            _ => {
                let value = format!("text_time (without {field} or addition_time_embed_dim)");
                unsupported(component, "addition_embed_type", value)
            }
        })
    }

    /// Every level with attention needs to know how deep its transformers are; what others say of theirs
    /// means nothing.
    fn check_depths(&self, component: &Component) -> Result<()> {
        let (down, up) = (
            &self.transformer_layers_per_block,
            self.reverse_transformer_layers_per_block.as_ref(),
        );
        if let (PerLayer::All(count), None) = (down, up)
            && !(1..=DEEPEST).contains(count)
        {
            let field = "transformer_layers_per_block";
            return Err(unsupported(component, field, format!("{down:?}")));
        }
        let mid = self.mid_block_type.as_deref() == Some("UNetMidBlock2DCrossAttn");
        if mid && !(1..=DEEPEST).contains(&self.mid_depth()) {
            return Err(unsupported(
                component,
                "transformer_layers_per_block",
                format!("{down:?}"),
            ));
        }
        // As diffusers: lists by layer don't say what the way up has.
        let untold = down.is_by_layer() && up.is_none();
        let levels = self.block_out_channels.len();
        let fits = |depths: Option<Vec<usize>>, layers: usize| {
            depths.is_some_and(|depths| {
                depths.len() == layers && depths.iter().all(|depth| (1..=DEEPEST).contains(depth))
            })
        };
        for level in 0..levels {
            let layers = self.layers(level);
            let crossed = |names: &[String], at: usize| names[at].starts_with("CrossAttn");
            let up_at = levels - 1 - level;
            for (field, crossed, good) in [
                (
                    "transformer_layers_per_block",
                    crossed(&self.down_block_types, level),
                    fits(self.down_depths(level), layers) && !untold,
                ),
                (
                    "reverse_transformer_layers_per_block",
                    crossed(&self.up_block_types, up_at),
                    fits(self.up_depths(up_at), layers + 1) || untold,
                ),
            ] {
                if crossed && !good {
                    let value = if field.starts_with("reverse") && up.is_some() {
                        format!("{up:?}")
                    } else {
                        format!("{down:?}")
                    };
                    let field = if up.is_some() { field } else { "transformer_layers_per_block" };
                    return Err(unsupported(component, field, value));
                }
            }
        }
        Ok(())
    }

    /// Blocks of each transformer of a down block.
    pub fn down_depths(&self, level: usize) -> Option<Vec<usize>> {
        let depths = &self.transformer_layers_per_block;
        (0..self.layers(level)).map(|layer| depths.get(level, layer)).collect()
    }

    /// Blocks of each transformer of an up block, counted from the innermost.
    pub fn up_depths(&self, block: usize) -> Option<Vec<usize>> {
        let level = self.block_out_channels.len() - 1 - block;
        let depth = |layer| match &self.reverse_transformer_layers_per_block {
            Some(depths) => depths.get(block, layer),
            None => self.transformer_layers_per_block.get(level, layer),
        };
        (0..=self.layers(level)).map(depth).collect()
    }

    /// Blocks of the transformer between: as the innermost level's first.
    pub fn mid_depth(&self) -> usize {
        let innermost = self.block_out_channels.len() - 1;
        self.transformer_layers_per_block.get(innermost, 0).unwrap_or(1)
    }

    /// Channels of the widest tensor at the outermost level's resolution: the gated feed-forward of the
    /// outermost level with attention, eight times as wide as that, on a quarter of the pixels for each
    /// level below the first; or what the last up block joins.
    pub fn widest(&self) -> u64 {
        let channels =
            |level: usize| self.block_out_channels.get(level).copied().unwrap_or(0) as u64;
        let levels = self.block_out_channels.len();
        let gated = |level: usize| {
            let crossed = self.down_block_types[level].starts_with("CrossAttn")
                || self.up_block_types[levels - 1 - level].starts_with("CrossAttn");
            if crossed { (8 * channels(level)).div_ceil(1 << (2 * level)) } else { 0 }
        };
        let joined = channels(1) + channels(0);
        (0..levels).map(gated).max().unwrap_or(0).max(joined)
    }

    /// Whether a guided picture of so many pixels is better asked for in two passes than in one of two
    /// rows: where that would outgrow what every WebGPU device binds. (Of SDXL; smaller UNets are asked at
    /// once at any size.)
    pub fn guides_in_turn(&self, width: usize, height: usize) -> bool {
        /// `maxStorageBufferBindingSize` that every device has.
        const BINDING: u64 = 128 << 20;
        let pixels = (height / 8 * (width / 8)) as u64;
        self.addition_embed_type.is_some() && 2 * 4 * self.widest() * pixels > BINDING
    }

    /// Numbers on a picture's size that are added to the time embedding.
    pub const TIME_IDS: usize = 6;

    /// Width of the pooled text that is added to the time embedding; none where none is.
    pub fn pooled_width(&self) -> Option<usize> {
        self.addition_embed_type?;
        let sinusoids = self.addition_time_embed_dim?.checked_mul(Self::TIME_IDS)?;
        let width = self.projection_class_embeddings_input_dim?.checked_sub(sinusoids)?;
        (width > 0 && sinusoids > 0 && width <= WIDEST).then_some(width)
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

impl UNet2DConditionConfig {
    pub(super) fn resnet(&self) -> ResnetConfig {
        ResnetConfig {
            time_embedding: Some(4 * self.block_out_channels[0]),
            groups: self.norm_num_groups,
            epsilon: self.norm_eps,
            output_scale_factor: 1.0,
        }
    }

    pub(super) fn attention(&self, level: usize) -> BlockAttention {
        BlockAttention {
            heads: self.heads(level).unwrap_or(1),
            depth: self.transformer_layers_per_block.get(level, 0).unwrap_or(1),
            transformer: TransformerConfig {
                context: self.cross_attention_dim,
                groups: self.norm_num_groups,
                linear: self.use_linear_projection,
            },
        }
    }

    pub(super) fn block(&self, level: usize, name: &str, resample: bool) -> BlockConfig {
        BlockConfig {
            layers: self.layers(level),
            resnet: self.resnet(),
            attention: name.starts_with("CrossAttn").then(|| self.attention(level)),
            resample,
        }
    }
}

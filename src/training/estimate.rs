//! How much memory a pass takes, told from the configuration before anything runs.

use super::adapter::Adapter;
use super::config::{Config, Kind};
use super::dataset::Dataset;
use super::targets::stage;
use crate::adapters::Part;
use crate::error::Result;
use crate::kernels;
use crate::layers::Site;
use crate::models::UNet2DConditionConfig;
use crate::pipelines::StableDiffusion;

/// Bytes of the graph that a pass keeps for its backward sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph {
    /// In one piece.
    pub whole: u64,
    /// Block by block: the largest block, and what lies between the blocks.
    pub by_blocks: u64,
}

/// What a run will need, for people.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Modules that are trained.
    pub modules: usize,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Bytes that training takes on top of the UNet's weights: text encoder and VAE have left the
    /// device by then.
    pub bytes: u64,
    /// Whether blocks are run twice to save memory.
    pub checkpointed: bool,
    /// The full learning rate; none before the weights have been looked at.
    pub learning_rate: Option<f64>,
    /// Things worth knowing, as sentences.
    pub notes: Vec<String>,
}

/// What of a UNet is trained, as far as it tells what a pass keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trained {
    /// Residual blocks' convolutions, whose weight's gradient reads their input.
    pub convolutions: bool,
    /// Transformers' layers but attention's.
    pub feed_forward: bool,
    /// Numbers that are kept of the weights which a dense kind computes anew.
    pub dense: f64,
    /// The first stage of the UNet, before which there is no graph.
    pub first: usize,
}

impl Trained {
    /// By what is trained of a UNet.
    pub fn new(targets: &[&Site], kind: Kind, unet: &UNet2DConditionConfig) -> Self {
        let levels = unet.block_out_channels.len();
        let stages = targets.iter().map(|site| stage(&site.path, levels));
        let any = |part: &str| targets.iter().any(|site| site.path.contains(part));
        let weights: usize =
            targets.iter().map(|site| site.matrix().iter().product::<usize>()).sum();
        // The weight's change and the changed weight; two low-rank products and that of both; the
        // Kronecker product.
        let each = match kind {
            Kind::Lora => 0.0,
            Kind::Dora => 2.0,
            Kind::Loha => 3.0,
            Kind::Lokr => 1.0,
        };
        Self {
            convolutions: any(".conv"),
            feed_forward: any(".ff.") || any(".proj_"),
            dense: each * weights as f64,
            first: stages.min().unwrap_or(0),
        }
    }
}

/// Tensors as large as its output that a residual block keeps, per element: measured on the CPU
/// backend (`cargo xtask bench`, memory), where a group norm keeps its centred and its normal form,
/// a SiLU its input, a convolution its input.
const NORM: f64 = 5.0;
const SILU: f64 = 2.0;
/// The same where kernels run: group norm and SiLU are one, which keeps its input alone.
const NORM_SILU_KERNEL: f64 = 1.0;

/// Bytes of the graph of one pass over a batch of the largest pictures.
///
/// # Errors
/// Where no layer is left to train.
pub fn graph(model: &StableDiffusion, config: &Config, dataset: &Dataset) -> Result<Graph> {
    let sizes = dataset.examples.iter().map(|example| example.latents.shape);
    let side = config.resolution.unwrap_or(model.native_size()) / 8;
    let largest = sizes.max_by_key(|[_, h, w]| h * w).unwrap_or([4, side, side]);
    let size = [largest[1], largest[2]];
    let kernels = kernels::run_on(model.device());
    let targets = Adapter::targets(model.sites(Part::UNet), config)?;
    let trained = Trained::new(&targets, config.kind, model.unet.config());
    let tokens = dataset.text_shape[0];
    Ok(of_size(model.unet.config(), config.batch, size, tokens, trained, kernels))
}

/// The same from sizes alone: `[height, width]` of the latents, `tokens` of a text embedding.
/// `kernels`: whether ours run, whose norms keep less, whose attention keeps no scores, and whose frozen
/// layers keep nothing.
pub fn of_size(
    unet: &UNet2DConditionConfig,
    batch: usize,
    [height, width]: [usize; 2],
    tokens: usize,
    trained: Trained,
    kernels: bool,
) -> Graph {
    let channels = &unet.block_out_channels;
    let levels = channels.len();
    // Elements of one block, and of what it hands on.
    let mut blocks: Vec<f64> = Vec::new();
    let mut between = 0.0;
    // What the first run of a block leaves to the second ([`kernels::keep`]).
    let mut kept = 0.0;
    let pixels =
        |level: usize| (height.div_ceil(1 << level) * width.div_ceil(1 << level) * batch) as f64;
    let resnet = |n: f64, input: usize, output: usize| {
        let (input, output) = (input as f64, output as f64);
        // Of a norm and of the convolution after it.
        let both = match kernels {
            true => NORM_SILU_KERNEL + f64::from(u8::from(trained.convolutions)),
            false => NORM + SILU + 1.0,
        };
        n * (both * input + (both + 1.0) * output)
    };
    let transformer = |level: usize, n: f64, c: usize| {
        let depth = unet.transformer_layers_per_block.get(level).unwrap_or(1) as f64;
        let heads = unet.heads(level).unwrap_or(1) as f64;
        let length = n / batch as f64;
        let scores = heads * n * (length + tokens as f64);
        let c = c as f64;
        if kernels {
            // Norms and what they give, q, k, v, attention's input and output, GEGLU; what only the
            // weights' gradients of other layers read.
            let others = f64::from(u8::from(trained.feed_forward));
            let tokens = n * c * (3.0 + 2.0 + 2.0 * 6.0 + 8.0 + others * (1.0 + 4.0));
            return n * c * (NORM_SILU_KERNEL + 1.0 + 2.0 * others) + depth * tokens;
        }
        // norms, q, k, v, attention's input and output (twice), GEGLU: 8 c before the gate
        let tokens = n * c * (3.0 * 4.0 + 2.0 * 6.0 + 8.0 + 4.0 * 5.0);
        n * c * (NORM + 3.0) + depth * (tokens + 3.0 * scores)
    };
    let crossed = |name: &str| name.starts_with("CrossAttn");
    // Of two convolutions, and of the attention after them.
    let results = |n: f64, c: usize, name: &str, level: usize| {
        let depth = unet.transformer_layers_per_block.get(level).unwrap_or(1) as f64;
        n * c as f64 * (2.0 + if crossed(name) { 2.0 * depth } else { 0.0 })
    };
    for level in 0..levels {
        let n = pixels(level);
        let mut input = channels[level.saturating_sub(1)];
        let mut block = 0.0;
        for _ in 0..unet.layers(level) {
            block += resnet(n, input, channels[level]);
            kept += results(n, channels[level], &unet.down_block_types[level], level);
            if crossed(&unet.down_block_types[level]) {
                block += transformer(level, n, channels[level]);
            }
            input = channels[level];
            between += n * input as f64;
        }
        blocks.push(block);
        let down = pixels((level + 1).min(levels - 1)) * input as f64;
        between += down;
        kept += down;
    }
    if let Some(name) = &unet.mid_block_type {
        let (n, c) = (pixels(levels - 1), channels[levels - 1]);
        let crossed = name == "UNetMidBlock2DCrossAttn";
        let attention = if crossed { transformer(levels - 1, n, c) } else { 0.0 };
        blocks.push(resnet(n, c, c) * if crossed { 2.0 } else { 1.0 } + attention);
        kept += 2.0 * results(n, c, if crossed { "CrossAttn" } else { "" }, levels - 1);
    } else {
        // Its stage is there all the same.
        blocks.push(0.0);
    }
    for (i, name) in unet.up_block_types.iter().enumerate() {
        let level = levels - 1 - i;
        let n = pixels(level);
        let mut previous = channels[(level + 1).min(levels - 1)];
        let mut block = 0.0;
        for layer in 0..=unet.layers(level) {
            let last = layer == unet.layers(level);
            let skip = if last { channels[level.saturating_sub(1)] } else { channels[level] };
            block += resnet(n, previous + skip, channels[level]);
            previous = channels[level];
            kept += results(n, previous, name, level);
            if crossed(name) {
                block += transformer(level, n, channels[level]);
            }
        }
        blocks.push(block + 4.0 * n * previous as f64);
        between += n * previous as f64;
        kept += 4.0 * n * previous as f64;
    }
    if kernels {
        between += kept;
    }
    let bytes = |elements: f64| (4.0 * elements) as u64;
    let tracked = blocks.get(trained.first..).unwrap_or_default();
    let largest = tracked.iter().copied().fold(0.0, f64::max);
    let dense = trained.dense;
    Graph {
        whole: bytes(tracked.iter().sum::<f64>() + dense),
        by_blocks: bytes(largest + between + dense / blocks.len() as f64),
    }
}

/// What a run of these settings will need; `pictures` of `[train, held out, class]`.
///
/// # Errors
/// Names the setting that is out of range.
pub fn estimate(
    model: &StableDiffusion,
    config: &Config,
    [train, held_out, class]: [usize; 3],
) -> Result<Estimate> {
    super::check::config(config)?;
    let targets = Adapter::targets(model.sites(Part::UNet), config)?;
    let parameters = Adapter::parameters_of(&targets, config);
    let side = config.resolution.unwrap_or(model.native_size()) / 8;
    let kernels = kernels::run_on(model.device());
    let trained = Trained::new(&targets, config.kind, model.unet.config());
    let graph = of_size(model.unet.config(), config.batch, [side, side], 77, trained, kernels);
    let checkpointed = match config.checkpointing {
        super::config::Checkpointing::On => true,
        super::config::Checkpointing::Off => false,
        super::config::Checkpointing::Auto => graph.whole > config.memory_budget,
    };
    let mut notes = Vec::new();
    if train > 0 && train < 4 {
        notes.push(format!("{train} pictures are few: five to ten teach more than one thing."));
    }
    if config.steps < 100 {
        notes.push("Under 100 steps teach a style and its colours, hardly a face.".into());
    }
    if config.kind == Kind::Dora || config.kind == Kind::Loha || config.kind == Kind::Lokr {
        notes.push("This kind computes every weight anew in each step, which takes longer.".into());
    }
    if config.leave_one_out && train > 0 {
        // Those that the run will hold out by itself are none to leave out.
        let taken = if held_out == 0 { config.hold_out } else { 0 };
        let pictures = train.saturating_sub(taken);
        super::check::leave_one_out(pictures)?;
        notes.push(format!(
            "Leaving one out in turn trains {pictures} adapters more, after the run."
        ));
    }
    if config.prior.weight > 0.0 && class == 0 {
        notes.push("Prior preservation without class pictures: about twice the time.".into());
    }
    // Parameters, gradient and two averages stay on the host; the device holds both of the first.
    let adapter = 6 * 4 * parameters as u64;
    Ok(Estimate {
        modules: targets.len(),
        parameters,
        bytes: adapter + if checkpointed { graph.by_blocks } else { graph.whole },
        checkpointed,
        learning_rate: config.learning_rate,
        notes,
    })
}

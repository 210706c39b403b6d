//! Every setting of a run: the page's form and the command line's JSON are this one struct.

use serde::{Deserialize, Serialize};

use super::optimizer_config::OptimizerConfig;

pub use super::choices::{
    Block, Checkpointing, Init, Kind, LossKind, Posterior, Previews, Schedule, Strength, Targets,
    TimestepSampling, Weighting,
};

/// Keeping what the base model knows, while the adapter learns something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Prior {
    /// What the prior's loss is multiplied by; 0 switches it off.
    pub weight: f64,
    /// Without class pictures: the prompt under which the model with the adapter has to say what it
    /// says without.
    pub class_prompt: String,
    /// Only every so many steps.
    pub every: usize,
}

impl Default for Prior {
    fn default() -> Self {
        Self { weight: 0.0, class_prompt: String::new(), every: 1 }
    }
}

/// A run's settings. The defaults are what did best on the demo model within 100 steps
/// (`docs/tuning.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Adapter architecture.
    pub kind: Kind,
    /// Layers.
    pub targets: Targets,
    /// Thirds of the UNet.
    pub blocks: Vec<Block>,
    /// Of these, only layers whose path begins with one of these (`up_blocks.1.attentions.`); empty:
    /// all.
    pub only: Vec<String>,
    /// Low rank r. Of LoKr, that of the larger factor, which stays whole where r is at least half
    /// its smaller side.
    pub rank: usize,
    /// The product is multiplied by alpha / r.
    pub alpha: f64,
    /// By alpha / sqrt(r) instead (rsLoRA).
    pub rank_stabilised: bool,
    /// LoKr: the smaller factor's size; none: as square as possible.
    pub lokr_factor: Option<usize>,
    /// How the factors start.
    pub init: Init,

    /// Pixels of a square picture's side (a bucket has the same area); none: the model's own.
    pub resolution: Option<usize>,
    /// Put before every caption, unless the caption has it.
    pub trigger: String,
    /// Whether a sample is mirrored half the time. Off: it is wrong for faces, text and logos.
    pub flip: bool,
    /// Share of samples whose caption is left out.
    pub caption_dropout: f64,
    /// What latents are made of.
    pub latents: Posterior,
    /// Pictures held out to measure with, when none are given apart; taken evenly from the set.
    pub hold_out: usize,
    /// After the run, for each picture another one without it, judged on it: what these settings
    /// are worth on pictures never seen, where there are too few to hold some out.
    pub leave_one_out: bool,

    /// Weight of a sample by its timestep.
    pub weighting: Weighting,
    /// How errors count.
    pub loss: LossKind,
    /// `c` of the Huber loss.
    pub huber_c: f64,
    /// Of unit normal noise per channel that is added to the noise.
    pub noise_offset: f64,
    /// How timesteps are drawn.
    pub timesteps: TimestepSampling,

    /// Optimiser steps.
    pub steps: usize,
    /// Samples at once.
    pub batch: usize,
    /// Batches per optimiser step.
    pub accumulation: usize,
    /// The optimiser with its settings.
    pub optimizer: OptimizerConfig,
    /// None: from [`Self::strength`] by the rule of `docs/specs/tuning-sweep.md`.
    pub learning_rate: Option<f64>,
    /// Used where there is no learning rate.
    pub strength: Strength,
    /// LoRA+: the up factors' learning rate in units of the down factors'.
    pub lora_plus: f64,
    /// How the learning rate goes over the run.
    pub schedule: Schedule,
    /// Steps on the way to the full learning rate.
    pub warmup: usize,
    /// Largest norm of the whole gradient; 0: any.
    pub clip: f64,

    /// Of the squared norm of the whole product: exact, by r x r matrices.
    pub l2: f64,
    /// Of the sum of absolute values of the factors, by a proximal step.
    pub l1: f64,
    /// Share of hidden values left out.
    pub dropout: f64,
    /// Share of ranks left out, per sample.
    pub rank_dropout: f64,
    /// Probability that a module sits a step out.
    pub module_dropout: f64,
    /// Largest norm of a module's product; 0: any.
    pub max_norm: f64,
    /// Prior preservation.
    pub prior: Prior,

    /// Block checkpointing.
    pub checkpointing: Checkpointing,
    /// Bytes that a pass may take before checkpointing is chosen, where nobody knows what is free.
    pub memory_budget: u64,
    /// Steps between two snapshots of the timeline; 0: only the last.
    pub snapshot_every: usize,
    /// Steps between two evaluations; 0: only at the start and the end.
    pub evaluate_every: usize,
    /// Pictures made for looking at, on the page.
    pub previews: Previews,
    /// Steps between two of the few; 0: none.
    pub preview_every: usize,
    /// All random numbers of the run come from it.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Lora,
            targets: Targets::Linear,
            blocks: vec![Block::Down, Block::Mid, Block::Up],
            only: Vec::new(),
            rank: 8,
            alpha: 8.0,
            rank_stabilised: false,
            lokr_factor: None,
            init: Init::Gaussian,
            resolution: None,
            trigger: String::new(),
            flip: false,
            caption_dropout: 0.1,
            latents: Posterior::Mean,
            hold_out: 0,
            leave_one_out: false,
            weighting: Weighting::None,
            loss: LossKind::Mse,
            huber_c: 0.1,
            noise_offset: 0.0,
            timesteps: TimestepSampling::Stratified,
            steps: 100,
            batch: 4,
            accumulation: 1,
            optimizer: OptimizerConfig::default(),
            learning_rate: None,
            strength: Strength::Normal,
            lora_plus: 1.0,
            schedule: Schedule::Constant,
            warmup: 10,
            clip: 1.0,
            l2: 0.0,
            l1: 0.0,
            dropout: 0.0,
            rank_dropout: 0.0,
            module_dropout: 0.0,
            max_norm: 0.0,
            prior: Prior::default(),
            checkpointing: Checkpointing::Auto,
            memory_budget: 1 << 30,
            snapshot_every: 10,
            evaluate_every: 20,
            previews: Previews::Few,
            preview_every: 20,
            seed: 0,
        }
    }
}

/// A named set of settings (`docs/specs/training.md`, B.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// A minute or less: attention in the middle and on the way up, rank 4.
    Quick,
    /// All attention and feed-forward, rank 8.
    Normal,
    /// More steps, prior preservation, a learning rate that falls.
    Careful,
}

impl Preset {
    /// Its settings. `native` is the side of the model's own pictures: 512 for SD 1.5, where the
    /// presets train at 256, 384 and 512; smaller models at their own size.
    pub fn config(self, native: usize) -> Config {
        let resolution = |pixels: usize| (native > 256).then_some(pixels.min(native));
        let base = Config::default();
        let large = native > 256;
        match self {
            Self::Quick => Config {
                resolution: resolution(256),
                targets: Targets::Attention,
                blocks: vec![Block::Mid, Block::Up],
                rank: 4,
                alpha: 4.0,
                steps: 60,
                batch: if large { 1 } else { 4 },
                schedule: Schedule::ConstantThenLinear,
                warmup: 3,
                caption_dropout: 0.05,
                ..base
            },
            Self::Normal => Config {
                resolution: resolution(384),
                steps: if large { 150 } else { 100 },
                batch: if large { 1 } else { 4 },
                accumulation: if large { 2 } else { 1 },
                ..base
            },
            Self::Careful => Config {
                resolution: resolution(512),
                steps: 300,
                batch: if large { 1 } else { 4 },
                accumulation: if large { 2 } else { 1 },
                schedule: Schedule::Cosine,
                prior: Prior { weight: 1.0, every: 2, ..Prior::default() },
                ..base
            },
        }
    }
}

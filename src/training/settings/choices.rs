//! What a setting can be, where it is one of a few: plain enumerations, by the names that they have in
//! JSON. What each of them does is said where it is done.

use serde::{Deserialize, Serialize};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Low-rank factors in activation form; LoCon where a 3x3 convolution is among the targets.
    Lora,
    /// LoRA with a magnitude of its own for every output row.
    Dora,
    /// Hadamard product of two low-rank products.
    Loha,
    /// Kronecker product.
    Lokr,
}

/// Which layers of a block carry the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Targets {
    /// Query, key, value and output projections of all attention.
    Attention,
    /// Those of cross attention alone.
    CrossAttention,
    /// Attention, feed-forward, `proj_in` and `proj_out`: kohya's list.
    Linear,
    /// All these and the 3x3 convolutions of residual blocks and resampling: LoCon.
    Convolution,
}

/// Which third of the UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// The way down.
    Down,
    /// The middle.
    Mid,
    /// The way up.
    Up,
}

/// How the VAE's posterior becomes latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Posterior {
    /// Its mean, which is its mode too.
    Mean,
    /// Drawn anew in every step, mean and deviation being kept.
    Sample,
}

/// How far a sample's error is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LossKind {
    /// Mean squared error.
    Mse,
    /// kohya's pseudo-Huber loss, its threshold following the signal-to-noise ratio.
    Huber,
}

/// How far the adapter is meant to go, for those who set no learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strength {
    /// A hint of it.
    Gentle,
    /// Enough for a style.
    Normal,
    /// As far as it can go without breaking.
    Strong,
}

impl Strength {
    /// Growth of the adapter's product over the run (`docs/specs/tuning-sweep.md`, g), in units of
    /// the RMS of the weights that are adapted. 0.184 on the demo model's attention weights of RMS
    /// 0.078 is what its reference settings come to.
    pub fn growth(self) -> f64 {
        match self {
            Self::Gentle => 0.8,
            Self::Normal => 2.36,
            Self::Strong => 5.0,
        }
    }
}

/// When blocks are run twice to save memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Checkpointing {
    /// Where a whole pass would find no room in what is free ([`crate::training::Offer`]); where nobody tells what
    /// is, from `memory_budget` on.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How a LoRA's A (down) and B (up) start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Init {
    /// A normal with standard deviation 1 / rank, B 0 (diffusers, cloneofsimo).
    #[default]
    Gaussian,
    /// A uniform in +-1 / sqrt(in) (`kaiming_uniform_` with a = sqrt(5): kohya, PEFT), B 0.
    Kaiming,
    /// A and B both random, with a product of 0 (PEFT's `orthogonal`): both learn from step 1.
    Orthogonal,
    /// The leading singular vectors of the weight; a frozen copy is subtracted (PEFT's `pissa`).
    Pissa,
}

/// How much a timestep's squared error counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase", deny_unknown_fields)]
pub enum Weighting {
    /// 1.
    #[default]
    None,
    /// Min-SNR (<https://arxiv.org/abs/2303.09556>): less where there is little noise.
    MinSnr {
        /// The largest SNR that counts in full; 5 in the paper.
        gamma: f64,
    },
    /// `1 / sqrt(SNR)` (<https://arxiv.org/abs/2310.08442>), as kohya's `debiased_estimation_loss`.
    Debiased,
}

/// How a batch's timesteps are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimestepSampling {
    /// Each by itself, `torch.randint`.
    #[default]
    Uniform,
    /// One in each n-th of the range, at the same place in all of them; from step to step that place
    /// moves by the golden ratio, so that the timesteps of a few successive steps lie evenly too.
    Stratified,
}

/// How the learning rate moves over a run, as a factor on its full value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Schedule {
    /// 1 all the time.
    Constant,
    /// `1 - p`, p being the share that is done of the steps after the warm-up.
    Linear,
    /// `0.5 (1 + cos(pi p))`.
    Cosine,
    /// 1, then linear to 0 over the last 20 % of the run: nearly all of the movement of a constant rate, with
    /// the quiet end of a decaying one.
    #[default]
    ConstantThenLinear,
}

/// Pictures that are drawn while it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Previews {
    /// None.
    Off,
    /// Every `preview_every` steps, as long as they take no more than their share of the
    /// time; and one at the end.
    Few,
    /// One for every snapshot, whatever that takes.
    Snapshots,
}

//! What passes through a UNet take, told from sizes alone: a ledger of the tensors that each stage of it
//! keeps, hands on and needs while it is worked on. What the ledger says is held against counted
//! allocations (`tests/training_memory.rs`).

use super::sizes::Trained;
use super::walk::{Stage, Walk};
use crate::models::UNet2DConditionConfig;
use crate::training::settings::config::{Config, Kind};
use crate::training::settings::targets::{is_chosen, stage};

pub use super::sizes::{Layer, Means, Shape};

/// Bytes that passes take at most, above what there was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// There and back with the graph in one piece.
    pub whole: u64,
    /// Block by block.
    pub by_blocks: u64,
    /// Forward alone, without a graph: an evaluation's.
    pub forward: u64,
    /// The largest single tensor.
    pub buffer: u64,
}

/// What passes of these settings take; none: no layer is trained.
pub fn needs(
    unet: &UNet2DConditionConfig,
    layers: &[Layer],
    config: &Config,
    means: Means,
    shape: Shape,
) -> Needs {
    let levels = unet.block_out_channels.len();
    let mut trained = vec![Trained::default(); 2 * levels + 2];
    let mut frozen = vec![0.0; trained.len()];
    for layer in layers {
        let at = stage(layer.path, levels);
        frozen[at] += layer.numbers() as f64;
        if is_chosen(layer.path, config) {
            trained[at].add(layer);
        }
    }
    let rank = if config.kind == Kind::Lora { config.rank as f64 } else { 0.0 };
    let mut walk = Walk { unet, means, shape, rank, buffer: 0.0 };
    let mut stages = walk.stages(&trained);
    for ((stage, trained), frozen) in stages.iter_mut().zip(&trained).zip(&frozen) {
        let (kept, worked) = dense(config.kind);
        stage.graph += kept * trained.numbers;
        stage.back += worked * trained.largest;
        if !means.kernels && means.narrow && !means.cpu {
            // burn's operations keep the weight that was widened for them; on the CPU the graph has the
            // narrow one.
            stage.graph += frozen;
        }
        if config.kind != Kind::Lora {
            walk.buffer = walk.buffer.max(trained.largest);
        }
    }
    let first = trained.iter().position(|t| t.numbers > 0.0).unwrap_or(0);
    let bytes = |numbers: f64| (4.0 * numbers) as u64;
    Needs {
        whole: bytes(whole(&stages, first)),
        by_blocks: bytes(by_blocks(&stages, first, means.kernels)),
        forward: bytes(forward(&stages)),
        buffer: bytes(walk.buffer),
    }
}

/// Of a kind that computes its weights anew, in units of a weight: what a graph keeps of each (its
/// change and the changed weight; products of factors), and what the way back needs for one.
fn dense(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::Lora => (0.0, 0.0),
        Kind::Dora => (2.0, 3.0),
        Kind::Loha => (3.0, 4.0),
        Kind::Lokr => (1.0, 3.0),
    }
}

/// Gradients of skip connections that wait at a stage for the stages that gave them: of what was given
/// by then, that which later stages took.
fn waiting(stages: &[Stage], at: usize) -> f64 {
    let given: f64 = stages[..=at].iter().map(|stage| stage.pushed).sum();
    let taken: f64 = stages[..=at].iter().map(|stage| stage.taken).sum();
    (given - taken).max(0.0)
}

fn whole(stages: &[Stage], first: usize) -> f64 {
    let mut kept = 0.0;
    let mut most: f64 = 0.0;
    for (at, stage) in stages.iter().enumerate().skip(first) {
        kept += stage.graph;
        most = most.max(kept + stage.back + waiting(stages, at));
    }
    most
}

fn by_blocks(stages: &[Stage], first: usize, kernels: bool) -> f64 {
    let (mut handed, mut results) = (0.0, 0.0);
    let mut most: f64 = 0.0;
    for (at, stage) in stages.iter().enumerate() {
        let before = handed + results;
        most = most.max(before + stage.forward);
        if at >= first {
            most = most.max(before + stage.alone() + stage.back + waiting(stages, at));
            if kernels {
                results += stage.results;
            }
        }
        handed += stage.handed + stage.between;
    }
    most
}

fn forward(stages: &[Stage]) -> f64 {
    let mut skips = 0.0;
    let mut most: f64 = 0.0;
    for stage in stages {
        skips += stage.pushed;
        most = most.max(skips + stage.forward);
        skips -= stage.taken;
    }
    most
}

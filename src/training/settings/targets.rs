//! Which layers carry the adapter, told from their paths in diffusers' names.

use super::choices::{Block, Targets};
use super::config::Config;

fn block(path: &str) -> Option<Block> {
    match path.split('.').next()? {
        "down_blocks" => Some(Block::Down),
        "mid_block" => Some(Block::Mid),
        "up_blocks" => Some(Block::Up),
        _ => None,
    }
}

/// The stage of `UNet2DConditionModel::advance` that runs a layer of a block.
pub fn stage(path: &str, levels: usize) -> usize {
    let mut parts = path.split('.');
    let block = parts.next().unwrap_or_default();
    let index = parts.next().and_then(|index| index.parse().ok()).unwrap_or(0);
    match block {
        "down_blocks" => index,
        "up_blocks" => levels + 1 + index,
        _ => levels,
    }
}

/// Whether the settings mean this layer.
pub fn is_chosen(path: &str, config: &Config) -> bool {
    let only = config.only.is_empty() || config.only.iter().any(|start| path.starts_with(start));
    only && block(path).is_some_and(|block| config.blocks.contains(&block))
        && is_target(path, config.targets)
}

fn is_target(path: &str, targets: Targets) -> bool {
    let attention = |path: &str| {
        ["to_q", "to_k", "to_v", "to_out.0"].iter().any(|end| path.ends_with(end))
            && (path.contains(".attn1.") || path.contains(".attn2."))
    };
    let linear = |path: &str| {
        attention(path)
            || path.contains(".ff.net.")
            || (path.contains(".attentions.")
                && (path.ends_with(".proj_in") || path.ends_with(".proj_out")))
    };
    match targets {
        Targets::Attention => attention(path),
        Targets::CrossAttention => attention(path) && path.contains(".attn2."),
        Targets::Linear => linear(path),
        Targets::Convolution => {
            let residual = path.contains(".resnets.")
                && (path.ends_with(".conv1") || path.ends_with(".conv2"));
            linear(path) || residual || path.contains("samplers.")
        }
    }
}

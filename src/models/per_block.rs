//! Numbers of a config that are the same everywhere, or a list of them.

use serde::Deserialize;

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

/// One number for all blocks, or one for each, which may be a list again: one for each layer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum PerLayer {
    /// The same everywhere.
    All(usize),
    /// Block by block.
    Each(Vec<PerBlock>),
}

impl PerLayer {
    /// Of one layer of a block.
    pub fn get(&self, block: usize, layer: usize) -> Option<usize> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(blocks) => blocks.get(block)?.get(layer),
        }
    }

    /// Whether it tells a block's layers apart.
    pub(super) fn is_by_layer(&self) -> bool {
        let each = |block: &PerBlock| matches!(block, PerBlock::Each(_));
        matches!(self, Self::Each(blocks) if blocks.iter().any(each))
    }
}

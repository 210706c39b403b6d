//! The pieces that a UNet's forward pass goes through, one at a time. A block whose transformers have one
//! block each is one piece. Those of SDXL have up to ten, and three of them in one block are a third of a
//! pass: such a block goes piece by piece, so that stopping stays quick, and what training computes again
//! stays small.

use burn::tensor::Tensor;

use super::unet_2d_blocks::Block;

/// Which block of a UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the way down, from the outermost.
    Down(usize),
    /// Between.
    Mid,
    /// On the way up, from the innermost.
    Up(usize),
}

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A whole block.
    Block(Place),
    /// One of its residual blocks.
    Resnet(Place, usize),
    /// One of its transformers, by number, and the block within it.
    Transformer(Place, usize, usize),
    /// On the way down: what comes in is handed on to the way up as well.
    Skip,
    /// A block's end.
    Resample(Place),
    /// What follows the last block.
    Out,
}

/// The pieces of one block.
pub(super) fn stages(place: Place, block: Block<'_>) -> Vec<Stage> {
    let attentions = block.attentions();
    if attentions.iter().all(|attention| attention.depth() < 2) {
        return vec![Stage::Block(place)];
    }
    let mut stages = Vec::new();
    for at in 0..block.resnets().len() {
        stages.push(Stage::Resnet(place, at));
        let depth = attentions.get(at).map_or(0, |attention| attention.depth());
        stages.extend((0..depth).map(|block| Stage::Transformer(place, at, block)));
        if let Place::Down(_) = place {
            stages.push(Stage::Skip);
        }
    }
    if block.resamples() {
        stages.push(Stage::Resample(place));
    }
    stages
}

impl Stage {
    /// Whether it runs the layer of this path, such as
    /// `down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q`.
    pub(super) fn runs(self, path: &str) -> bool {
        let mut parts = path.split('.');
        let number = |parts: &mut std::str::Split<'_, char>| {
            parts.next().and_then(|part| part.parse::<usize>().ok()).unwrap_or(0)
        };
        let place = match parts.next() {
            Some("down_blocks") => Place::Down(number(&mut parts)),
            Some("mid_block") => Place::Mid,
            Some("up_blocks") => Place::Up(number(&mut parts)),
            _ => return false,
        };
        let kind = parts.next().unwrap_or_default();
        let at = number(&mut parts);
        match self {
            Self::Block(block) => block == place,
            Self::Resnet(block, resnet) => block == place && kind == "resnets" && resnet == at,
            Self::Transformer(block, attention, within) => {
                let here = block == place && kind == "attentions" && attention == at;
                here && match parts.next() {
                    Some("transformer_blocks") => number(&mut parts) == within,
                    // The last of them, which is found by who asks from the end.
                    Some("proj_out") => true,
                    _ => within == 0,
                }
            }
            Self::Resample(block) => block == place && kind.ends_with("samplers"),
            Self::Skip | Self::Out => false,
        }
    }
}

/// One block of the transformer `at` of a block. Between two of them the pass holds `[n, 1, h w, c]`, and
/// what came in, which is added at the end, lies on top of the skip connections.
pub(super) fn transform(
    block: Block<'_>,
    [at, within]: [usize; 2],
    x: Tensor<4>,
    context: &Tensor<3>,
    skips: &mut Vec<Tensor<4>>,
) -> Tensor<4> {
    let attention = &block.attentions()[at];
    let hidden = if within == 0 {
        skips.push(x.clone());
        attention.enter(x)
    } else {
        x.squeeze_dim(1)
    };
    let hidden = attention.block(within, hidden, context);
    let residual = if within + 1 == attention.depth() { skips.pop() } else { None };
    match residual {
        Some(residual) => attention.leave(hidden, residual),
        None => hidden.unsqueeze_dim(1),
    }
}

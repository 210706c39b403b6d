//! Networks of convolutions over pictures that are too large to be held at every layer: some rows of a
//! value at a time, with the same result as the whole.
//!
//! - A value of the network is kept as bands of rows, and the layers walk over it band by band
//!   ([`Walk`]). What a convolution needs beyond its band comes from the neighbours, so that there is
//!   no seam; a value's bands go as soon as nothing reads them any more.
//! - A group norm normalises by the statistics of the whole picture. They are gathered band by band
//!   while the value is made, each band's mean and squared distances being put together afterwards
//!   (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
//!   variances", 1979).
//! - Values need not be kept: with the statistics known, what leads to a band can be computed again
//!   from the last values that were kept. [`Plan`] decides which those are, by what fits. It finds out
//!   by walking without numbers, which counts the memory and the work of every step.
//!
//! Reading a picture by statistics that were gathered over all tiles is what the "tiled VAE" extensions
//! of Stable Diffusion's user interfaces do too.

mod count;
mod kl;
mod plan;
mod schedule;
mod stages;
mod tiny;
mod walk;

use std::ops::Range;

pub use plan::{Limits, Plan};
pub use stages::Stages;
pub use walk::Walk;

/// How a layer's rows depend on those that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The network's input.
    Input,
    /// Pixel by pixel.
    Point,
    /// A 3x3 convolution that keeps height and width.
    Convolution,
    /// Three of those after each other, and a way past them.
    Block,
    /// Enlarging to twice the size, then a 3x3 convolution.
    Enlarging,
    /// A 3x3 convolution of stride 2; whether a row of zeros comes before the picture.
    Halving {
        /// Otherwise one comes after it alone.
        before: bool,
    },
    /// Self attention over all pixels.
    Attention,
}

impl Layer {
    /// The rows that these rows of its output come from, of `height` that there are.
    fn reads(self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let (a, b) = (rows.start, rows.end);
        let [first, end] = match self {
            Self::Input | Self::Point => [a, b],
            Self::Convolution => [a.saturating_sub(1), b + 1],
            Self::Block => [a.saturating_sub(3), b + 3],
            Self::Enlarging => [a.saturating_sub(1) / 2, (b + 1).div_ceil(2)],
            // From an even row on, so that the stride falls on the same rows.
            Self::Halving { before: true } => [(2 * a).saturating_sub(2), 2 * b],
            Self::Halving { before: false } => [2 * a, 2 * b + 1],
            Self::Attention => [0, height],
        };
        first..end.min(height)
    }

    /// The rows of its output that it makes of these. Those that lack a neighbour are wrong.
    fn makes(self, rows: &Range<usize>) -> Range<usize> {
        match self {
            Self::Enlarging => 2 * rows.start..2 * rows.end,
            Self::Halving { .. } => rows.start / 2..self.length(rows.end),
            _ => rows.clone(),
        }
    }

    /// Height or width of its output, from that of what it reads.
    fn length(self, length: usize) -> usize {
        match self {
            Self::Enlarging => 2 * length,
            Self::Halving { before: true } => length.div_ceil(2),
            Self::Halving { before: false } => length / 2,
            _ => length,
        }
    }
}

/// A value of a network, and the layer that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Makes it.
    pub layer: Layer,
    /// The value that the layer reads.
    pub from: usize,
    /// The value that is added to what the layer makes.
    pub skip: Option<usize>,
    /// Whether a group norm comes before the layer.
    pub normed: bool,
    /// Channels.
    pub channels: usize,
    /// Which of the network's sizes it has; its level is where thrift is decided.
    pub level: usize,
    /// From which thrift of its level on it isn't kept; [`ALWAYS`] for what is.
    pub spared: u8,
}

/// Kept whatever the thrift.
pub const ALWAYS: u8 = u8::MAX;

/// The largest thrift: of a level only what another level reads is kept.
pub const THRIFTIEST: u8 = 3;

/// A network's values in the order in which they are made, each from earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Pictures.
    pub n: usize,
    /// The first is the input.
    pub nodes: Vec<Node>,
    /// Height and width of each.
    pub sizes: Vec<[usize; 2]>,
}

impl Program {
    /// A network of which only the input `[n, channels, height, width]` is known.
    pub fn new(n: usize, channels: usize, size: [usize; 2]) -> Self {
        let (layer, spared) = (Layer::Input, ALWAYS);
        let input = Node { layer, from: 0, skip: None, normed: false, channels, level: 0, spared };
        Self { n, nodes: vec![input], sizes: vec![size] }
    }

    /// The value that was made last.
    pub fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Adds a layer that reads the last value.
    pub fn then(&mut self, layer: Layer, channels: usize, spared: u8) -> &mut Node {
        let (from, level) = (self.last(), self.nodes[self.last()].level);
        self.sizes.push(self.sizes[from].map(|length| layer.length(length)));
        let node = Node { layer, from, skip: None, normed: false, channels, level, spared };
        self.nodes.push(node);
        let last = self.last();
        &mut self.nodes[last]
    }

    /// A residual block: two normalised convolutions and a way past them. `first` of its level, it
    /// reads the level's entry.
    pub fn resnet(&mut self, channels: usize, [first, last]: [bool; 2]) {
        let x = self.last();
        // The hidden value of the first is worth keeping even where the entry isn't: what takes its
        // place is as large.
        self.then(Layer::Convolution, channels, if first { 3 } else { 2 }).normed = true;
        let out = self.then(Layer::Convolution, channels, if last { ALWAYS } else { 3 });
        (out.normed, out.skip) = (true, Some(x));
    }

    /// Levels of size.
    pub fn levels(&self) -> usize {
        self.nodes.iter().map(|node| node.level + 1).max().unwrap_or(0)
    }

    /// Rows of a value.
    pub fn height(&self, node: usize) -> usize {
        self.sizes[node][0]
    }

    /// The rows of its input that a value's rows come from.
    pub fn reads(&self, node: usize, rows: &Range<usize>) -> Range<usize> {
        let Node { layer, from, .. } = self.nodes[node];
        layer.reads(rows, self.height(from))
    }

    /// The rows of a value that its layer makes of rows of its input.
    pub fn makes(&self, node: usize, rows: &Range<usize>) -> Range<usize> {
        let made = self.nodes[node].layer.makes(rows);
        made.start..made.end.min(self.height(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each layer, what it reads for some rows is enough to make them: the rows it makes of that
    /// hold them, apart from those that lack a neighbour.
    #[test]
    fn what_is_read_makes_the_rows() {
        use Layer::*;
        for (layer, reach) in [
            (Point, 0),
            (Convolution, 1),
            (Block, 3),
            (Enlarging, 1),
            (Halving { before: true }, 1),
            (Halving { before: false }, 1),
            (Attention, 0),
        ] {
            for height in [1usize, 2, 3, 8, 12] {
                let out = layer.length(height);
                for first in 0..out {
                    for end in first + 1..=out {
                        let read = layer.reads(&(first..end), height);
                        assert!(!read.is_empty() && read.end <= height, "{layer:?} {read:?}");
                        let made = layer.makes(&read);
                        let made = made.start..made.end.min(out);
                        // A row at the picture's edge lacks nothing.
                        let whole = |at: usize| if at == 0 { 0 } else { reach };
                        let above = whole(read.start);
                        let below = whole(height - read.end);
                        let case = format!("{layer:?} {first}..{end} of {out}: {read:?} {made:?}");
                        match layer {
                            Halving { before } => {
                                let above = above * usize::from(before);
                                assert!(made.start + above <= first && end <= made.end, "{case}");
                                let needed = (2 * end + usize::from(!before)).min(height);
                                assert!(read.start.is_multiple_of(2) && needed <= read.end);
                            }
                            _ => assert!(
                                made.start + above <= first && end + below <= made.end,
                                "{case}"
                            ),
                        }
                    }
                }
            }
        }
    }
}

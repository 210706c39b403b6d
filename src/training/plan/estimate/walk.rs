//! A walk through the UNet's stages, in the order of a forward pass, that notes what each of them keeps,
//! hands on and needs while it is worked on.

use super::sizes::{Means, Shape, Trained};
use crate::models::UNet2DConditionConfig;

/// Numbers of one stage.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stage {
    /// Kept for the way back.
    pub(super) graph: f64,
    /// Results that the first run of a block leaves to the second ([`crate::kernels::keep`]).
    pub(super) results: f64,
    /// What it hands on to the next stage and to those on the way up.
    pub(super) handed: f64,
    /// Of that, what later stages take off again on the way up.
    pub(super) pushed: f64,
    /// What it takes off itself.
    pub(super) taken: f64,
    /// At most needed besides, on the way back.
    pub(super) back: f64,
    /// At most needed on the way forward without a graph.
    pub(super) forward: f64,
    /// Where a block goes piece by piece (`models::unet_stages`): what the largest piece keeps for the way
    /// back, and what lies between all of them. 0 and 0: it goes as one.
    pub(super) piece: f64,
    pub(super) between: f64,
}

impl Stage {
    /// What is kept at once for the way back by whom runs it by itself, with what lies between its pieces.
    pub(super) fn alone(&self) -> f64 {
        if self.between > 0.0 { self.piece + self.between } else { self.graph }
    }
}

/// Tensors as large as its output that a residual block keeps with burn's own operations, per element:
/// a group norm keeps its centred and its normal form, a SiLU its input.
const NORM: f64 = 5.0;
const SILU: f64 = 2.0;

/// One UNet at one size.
pub(super) struct Walk<'a> {
    pub(super) unet: &'a UNet2DConditionConfig,
    pub(super) means: Means,
    pub(super) shape: Shape,
    /// Low rank of what is trained; 0 for kinds that change the weight.
    pub(super) rank: f64,
    pub(super) buffer: f64,
}

impl Walk<'_> {
    /// Numbers of one channel at a level, over the batch.
    fn pixels(&self, level: usize) -> f64 {
        let length = |i: usize| self.shape.latents[i].div_ceil(1 << level);
        (length(0) * length(1) * self.shape.batch) as f64
    }

    fn see(&mut self, numbers: f64) -> f64 {
        self.buffer = self.buffer.max(numbers);
        numbers
    }

    pub(super) fn stages(&mut self, trained: &[Trained]) -> Vec<Stage> {
        let channels = self.unet.block_out_channels.clone();
        let levels = channels.len();
        let mut stages = Vec::with_capacity(trained.len());
        for (level, trained) in trained.iter().enumerate().take(levels) {
            stages.push(self.down(level, trained));
        }
        stages.push(self.middle(&trained[levels]));
        for i in 0..levels {
            stages.push(self.up(i, &trained[levels + 1 + i]));
        }
        let (n, c) = (self.pixels(0), channels[0] as f64);
        let (graph, back) =
            (n * c * (if self.means.kernels { 1.0 } else { NORM + SILU }), 2.0 * n * c);
        stages.push(Stage { graph, back, forward: 2.0 * n * c, ..Stage::default() });
        stages
    }

    fn down(&mut self, level: usize, trained: &Trained) -> Stage {
        let channels = &self.unet.block_out_channels;
        let (n, levels, c) = (self.pixels(level), channels.len(), channels[level]);
        let mut input = channels[level.saturating_sub(1)];
        let mut stage = Stage::default();
        if level == 0 {
            // What the first convolution gives.
            stage.pushed += n * input as f64;
        }
        let depths = self.unet.down_depths(level).unwrap_or_default();
        for layer in 0..self.unet.layers(level) {
            self.resnet(&mut stage, trained, n, input, c);
            if self.unet.down_block_types[level].starts_with("CrossAttn") {
                self.transformer(
                    &mut stage,
                    trained,
                    level,
                    depths.get(layer).copied().unwrap_or(1),
                );
            }
            input = c;
            stage.pushed += n * c as f64;
        }
        if level + 1 < levels {
            let small = self.pixels(level + 1) * c as f64;
            stage.pushed += small;
            stage.results += small;
            self.convolution(&mut stage, [n, small / c as f64], c, c);
        }
        stage.handed = stage.pushed;
        stage
    }

    fn middle(&mut self, trained: &Trained) -> Stage {
        let level = self.unet.block_out_channels.len() - 1;
        let (n, c) = (self.pixels(level), self.unet.block_out_channels[level]);
        let mut stage = Stage { handed: n * c as f64, ..Stage::default() };
        let Some(name) = &self.unet.mid_block_type else { return stage };
        self.resnet(&mut stage, trained, n, c, c);
        if name.ends_with("CrossAttn") {
            self.transformer(&mut stage, trained, level, self.unet.mid_depth());
            self.resnet(&mut stage, trained, n, c, c);
        }
        stage
    }

    fn up(&mut self, i: usize, trained: &Trained) -> Stage {
        let channels = &self.unet.block_out_channels;
        let level = channels.len() - 1 - i;
        let (n, c) = (self.pixels(level), channels[level]);
        let outer = channels[level.saturating_sub(1)];
        let mut previous = channels[(level + 1).min(channels.len() - 1)];
        let mut stage = Stage::default();
        let depths = self.unet.up_depths(i).unwrap_or_default();
        for layer in 0..=self.unet.layers(level) {
            let skip = if layer == self.unet.layers(level) { outer } else { c };
            stage.taken += n * skip as f64;
            self.resnet(&mut stage, trained, n, previous + skip, c);
            if self.unet.up_block_types[i].starts_with("CrossAttn") {
                self.transformer(
                    &mut stage,
                    trained,
                    level,
                    depths.get(layer).copied().unwrap_or(1),
                );
            }
            previous = c;
        }
        if level > 0 {
            let large = self.pixels(level - 1);
            let wide = large * c as f64;
            stage.results += wide;
            stage.handed = wide;
            if trained.convolutions {
                // A branch reads the enlarged picture.
                stage.graph += self.see(wide);
            }
            self.convolution(&mut stage, [large, large], c, c);
        } else {
            stage.handed = n * c as f64;
        }
        stage
    }

    /// Norm, SiLU, convolution, twice; `n` pixels over the batch.
    fn resnet(
        &mut self,
        stage: &mut Stage,
        trained: &Trained,
        n: f64,
        input: usize,
        output: usize,
    ) {
        self.convolution(stage, [n, n], input, output);
        self.convolution(stage, [n, n], output, output);
        let (wide, c) = (self.see(n * input as f64), n * output as f64);
        stage.results += 2.0 * c;
        // Of a norm with its SiLU the input, and the convolution's where that is trained.
        let each = match self.means.kernels {
            true => 1.0 + f64::from(u8::from(trained.convolutions)),
            false => NORM + SILU + 1.0,
        };
        let mut graph = each * (wide + c);
        if trained.convolutions {
            graph += 2.0 * self.rank * n;
        }
        stage.graph += graph;
        stage.piece = stage.piece.max(graph);
        // The gradients of what goes in, whole and in its parts, and of what goes out.
        stage.back = stage.back.max(2.0 * wide + 2.0 * c);
        stage.forward = stage.forward.max(2.0 * wide + 2.0 * c);
    }

    /// What a convolution of size 3 x 3 needs while it is worked on: `[n, m]` pixels over the batch, before
    /// and after it.
    fn convolution(&mut self, stage: &mut Stage, [n, m]: [f64; 2], input: usize, output: usize) {
        let weight = 9.0 * (input * output) as f64;
        let Means { kernels, cpu, narrow } = self.means;
        let values = n * input as f64 + m * output as f64;
        // Turned for the way back as it is stored; the CPU reads it as it lies, and where burn computes
        // there, a narrow weight is widened for as long as that takes.
        let turned = match (cpu, narrow) {
            (true, _) => 0.0,
            (false, true) => 0.5 * weight,
            (false, false) => weight,
        };
        let widened = if cpu && narrow && !kernels { weight } else { 0.0 };
        stage.forward = stage.forward.max(values + widened);
        if kernels {
            stage.back = stage.back.max(values + turned);
        }
    }

    /// Of a level: group norm and projections, and in each of its `depth` blocks self attention, cross
    /// attention and feed-forward.
    fn transformer(&mut self, stage: &mut Stage, trained: &Trained, level: usize, depth: usize) {
        let depth = depth as f64;
        let heads = self.unet.heads(level).unwrap_or(1) as f64;
        let (n, c) = (self.pixels(level), self.unet.block_out_channels[level] as f64);
        let words = (self.shape.tokens * self.shape.batch) as f64;
        let (own, keys) = (n * c, words * c);
        let if_ = |wanted: bool, numbers: f64| if wanted { numbers } else { 0.0 };
        let gated = self.see(8.0 * own);
        let statistics = 2.0 * heads * n;
        stage.results += depth * (2.0 * own + statistics);
        let r = self.rank;
        if self.means.kernels {
            let attention = |normed: bool| if_(normed, own + 2.0 * r * n);
            let block = own
                + attention(trained.self_attention)
                + if_(trained.self_attention, 2.0 * r * n)
                + 4.0 * own
                + own
                + attention(trained.cross_attention)
                + if_(trained.cross_attention, 2.0 * r * words)
                + 2.0 * own
                + 2.0 * keys
                + statistics
                + own
                + gated
                + if_(trained.feed_forward, 5.0 * own + 2.0 * r * n);
            let around = own + if_(trained.projections, 2.0 * own + 2.0 * r * n);
            stage.graph += around + depth * block;
            stage.piece = stage.piece.max(around + block);
        } else {
            let scores = heads * n * (n / self.shape.batch as f64 + self.shape.tokens as f64);
            self.see(scores);
            let (around, block) = (own * (NORM + 3.0), 52.0 * own + 3.0 * scores);
            stage.graph += around + depth * block;
            stage.piece = stage.piece.max(around + block);
        }
        if depth > 1.0 {
            // What each block gets, and what is added after the last.
            stage.between += (1.0 + depth) * own;
        }
        let back = if trained.feed_forward { 10.0 } else { 6.0 };
        stage.back = stage.back.max(back * own);
        stage.forward = stage.forward.max(15.0 * own);
    }
}

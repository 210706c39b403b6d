//! Attention some queries and some keys at a time: of the scores only that block exists which is
//! worked on, in the second cache.

use std::ops::Range;

use super::gemm::{Product, SCRATCH, Start, Target};
use super::math;
use super::microkernel::COLUMNS;
use super::pack::{Matrix, Packed, Source, round_up};
use super::softmax::{self, LANES};
use super::threads::{Split, operations, parts, share};

/// Queries at a time, and keys: a block of scores takes 96 KiB. Tests have several blocks of each.
pub(super) const QUERIES: usize = if cfg!(test) { 3 } else { 96 };
pub(super) const KEYS: usize = if cfg!(test) { COLUMNS } else { 256 };

/// Keys of the first block, where there are more than twice as many: as few as tell how large scores
/// are.
const FIRST_KEYS: usize = if cfg!(test) { COLUMNS } else { 64 };

/// The most elements of keys and values that a thread packs at a time: 2 MiB. An autoencoder's one
/// head of 512 channels has more, and goes over its queries once for each such part of the keys.
const MOST_PACKED: usize = if cfg!(test) { 6 * COLUMNS * COLUMNS } else { 1 << 19 };

/// Sums of powers up to this show that they were taken relative to a score that will do. (It costs the
/// logarithm of their sum as many digits as a score of 24 in units of `1 / log2 e`, which is a usual one.)
const MOST: f32 = 16_777_216.0;

/// Sizes of `softmax(q k^T / sqrt(d)) v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub n: usize,
    /// Queries of each.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Heads, next to each other in the last dimension.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Whether a query sees only the keys up to its own place.
    pub causal: bool,
    /// Whether gradients will be asked for, so that what they need is worth keeping.
    pub statistics: bool,
}

impl Shape {
    pub(super) fn row(&self) -> usize {
        self.heads * self.width
    }

    /// Where a head's queries and its keys start; heads of all sequences are numbered through.
    pub(super) fn starts(self, head: usize) -> [usize; 2] {
        let (n, head) = (head / self.heads, head % self.heads);
        [self.queries, self.keys].map(|rows| n * rows * self.row() + head * self.width)
    }

    /// How many keys of a block a query sees.
    pub(super) fn seen(&self, query: usize, block: &Range<usize>) -> usize {
        let seen = if self.causal { query + 1 } else { self.keys };
        seen.min(block.end).saturating_sub(block.start)
    }

    /// Blocks of keys, up to the last that these queries see.
    pub(super) fn blocks(self, queries: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let seen = if self.causal { queries.end.min(self.keys) } else { self.keys };
        (0..seen).step_by(KEYS).map(move |first| first..self.keys.min(first + KEYS))
    }

    /// The same where softmax runs along. What queries are asked for changes how many there are, and
    /// not where they begin and end: they are packed for all.
    fn running_blocks(self, queries: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let seen = if self.causal { queries.end.min(self.keys) } else { self.keys };
        let short = !self.causal && self.keys > 2 * FIRST_KEYS;
        let first = if short { FIRST_KEYS } else { KEYS.min(self.keys) };
        let rest = (first..seen).step_by(KEYS).map(move |first| first..self.keys.min(first + KEYS));
        std::iter::once(0..first).filter(move |_| seen > 0).chain(rest)
    }

    /// How many keys are packed at a time: whole blocks.
    fn packed_at_once(self) -> usize {
        MOST_PACKED / (2 * self.width.max(1)) / KEYS * KEYS + KEYS
    }

    /// The blocks of [`running_blocks`](Self::running_blocks) that begin among the keys of one packing.
    fn packed_blocks(
        self,
        queries: Range<usize>,
        packing: usize,
    ) -> impl Iterator<Item = Range<usize>> {
        let each = self.packed_at_once();
        self.running_blocks(queries).filter(move |block| block.start / each == packing)
    }

    /// What the products of queries and keys are multiplied by.
    pub fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// `rows` of a head, or their transpose.
pub(super) fn head(data: &[f32], start: usize, row: usize) -> Matrix<'_> {
    Matrix { data: &data[start..], row, column: 1 }
}

pub(super) fn transposed(matrix: Matrix<'_>) -> Matrix<'_> {
    Matrix { row: matrix.column, column: matrix.row, ..matrix }
}

/// `q [n, queries, heads * width]`, `k`, `v [n, keys, ..] -> [n, queries, ..]`, and with
/// `statistics` the logarithms (of base 2) of the softmax's denominators, `[n, heads, queries]`.
///
/// Block after block of keys, a query's powers being taken relative to the largest score so far, and
/// its output scaled when a much larger one comes (Milakov and Gimelshein, "Online normalizer
/// calculation for softmax", 2018). Powers of two are what is quick: scores are in units of
/// `1 / log2 e` then.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> [Vec<f32>; 2] {
    let (row, scale) = (shape.row(), shape.scale() * std::f32::consts::LOG2_E);
    let mut output = vec![0.0; q.len()];
    let heads = shape.n * shape.heads;
    let mut logarithms = vec![0.0; if shape.statistics { heads * shape.queries } else { 0 }];
    let kept = Split::new(&mut logarithms);
    let Shape { queries, keys, width, .. } = shape;
    let blocks = queries.div_ceil(QUERIES);
    // A part is some blocks of a head, which share its keys and values.
    let wanted = parts(operations(&[heads, queries, keys]));
    let groups = wanted.div_ceil(heads.max(1)).clamp(1, blocks.max(1));
    let each = blocks.div_ceil(groups);
    let packings = keys.div_ceil(shape.packed_at_once()).max(1);
    let packed = if packings > 1 { shape.packed_at_once() + KEYS } else { keys };
    let (to_keys, to_values) = (Packed::size(width, packed), Packed::size(packed, width));
    let most = Packed::size(QUERIES.min(queries), KEYS.min(keys));
    let target = Split::new(&mut output);
    let lengths = [SCRATCH, to_keys, to_values, most, each * QUERIES, each * QUERIES];
    share(heads * groups, lengths.iter().sum(), |part, scratch| {
        let [scratch, in_keys, in_values, scores, all_largest, all_sums] = pieces(scratch, lengths);
        let (number, group) = (part / groups, part % groups);
        let [at_q, at_k] = shape.starts(number);
        all_largest.fill(f32::NEG_INFINITY);
        all_sums.fill(0.0);
        let of_part = (group * each..blocks.min((group + 1) * each)).map(|i| i * QUERIES);
        // Where a block's keys and values lie packed.
        let columns = round_up(width, COLUMNS);
        let places = |block: &Range<usize>, base: usize| {
            let (first, end) = (block.start - base, block.end - base);
            [first * width..round_up(end, COLUMNS) * width, first * columns..end * columns]
        };
        for packing in 0..packings {
            let base = shape.packed_blocks(0..queries, packing).next().map_or(0, |b| b.start);
            for block in shape.packed_blocks(0..queries, packing) {
                let ([of_keys, of_values], at) = (places(&block, base), at_k + block.start * row);
                let in_keys = &mut in_keys[of_keys];
                transposed(head(k, at, row)).pack(0..width, 0..block.len(), in_keys);
                in_keys.iter_mut().for_each(|key| *key *= scale);
                Packed::new(&head(v, at, row), block.len(), width, &mut in_values[of_values]);
            }
            let states = all_largest.chunks_mut(QUERIES).zip(all_sums.chunks_mut(QUERIES));
            for (first, (largest, sums)) in of_part.clone().zip(states) {
                let rows = QUERIES.min(queries - first);
                let at = at_q + first * row;
                let (largest, sums) = (&mut largest[..rows], &mut sums[..rows]);
                // SAFETY: each part has its own queries of its own head.
                let line = |r: usize| unsafe { target.piece(at + r * row, width) };
                for block in shape.packed_blocks(first..first + rows, packing) {
                    let [of_keys, of_values] = places(&block, base);
                    let (across, values) =
                        (&in_keys[of_keys], Packed::of(&in_values[of_values], width));
                    let stride = round_up(block.len(), COLUMNS);
                    let scores = &mut scores[..rows * stride];
                    let mut starts = [0.0; QUERIES];
                    starts.iter_mut().zip(&*largest).for_each(|(start, most)| *start = -most);
                    let block_of_scores =
                        softmax::Block::new(width, head(q, at, row), across, &starts[..rows]);
                    let quick = block.start > 0
                        && stride == block.len()
                        && !shape.causal
                        && powers_at_once(block_of_scores, scores, sums);
                    if !quick {
                        block_of_scores.products(scores);
                    }
                    let lines = scores.chunks_exact_mut(stride).enumerate();
                    for (r, scores) in lines.filter(|_| !quick) {
                        let (scores, hidden) = scores.split_at_mut(shape.seen(first + r, &block));
                        hidden.fill(0.0);
                        let most = largest[r].max(math::max(scores));
                        let sum = softmax::powers(scores, most);
                        let factor = math::exp2(largest[r] - most);
                        if block.start > 0 && factor != 1.0 {
                            line(r).iter_mut().for_each(|x| *x *= factor);
                        }
                        sums[r] = sums[r] * factor + sum;
                        largest[r] = most;
                    }
                    let powers = Matrix { data: scores, row: stride, column: 1 };
                    let start = if block.start == 0 { Start::Zero } else { Start::Given };
                    let product = Product::new([rows, width, block.len()], powers, &values, start);
                    // SAFETY: as above.
                    unsafe { product.all(Target::within(target, at, row, [rows, width]), scratch) };
                }
                if packing + 1 < packings {
                    continue;
                }
                for (r, sum) in sums.iter().enumerate() {
                    line(r).iter_mut().for_each(|x| *x /= sum);
                    if shape.statistics {
                        let place = number * queries + first + r;
                        // SAFETY: as above.
                        unsafe { kept.piece(place, 1) }.fill(largest[r] + sum.log2());
                    }
                }
            }
        }
    });
    [output, logarithms]
}

/// A block's powers straight from its products, relative to the largest score of the blocks before,
/// and their sums added to `sums`; whether they weren't too large for that.
fn powers_at_once(block: softmax::Block<'_>, powers: &mut [f32], sums: &mut [f32]) -> bool {
    let mut totals = [[0.0; LANES]; QUERIES];
    block.sums(powers, &mut totals[..sums.len()]);
    let totals = totals.map(|lanes| lanes.iter().sum::<f32>());
    let fits = totals[..sums.len()].iter().all(|total| *total <= MOST);
    if fits {
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
    }
    fits
}

/// Memory in pieces of these lengths.
pub(super) fn pieces<const N: usize>(
    mut memory: &mut [f32],
    lengths: [usize; N],
) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (piece, rest) = std::mem::take(&mut memory).split_at_mut(length);
        memory = rest;
        piece
    })
}

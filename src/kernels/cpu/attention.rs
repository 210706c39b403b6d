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
const QUERIES: usize = if cfg!(test) { 3 } else { 96 };
const KEYS: usize = if cfg!(test) { COLUMNS } else { 256 };

/// Keys of the first block, where there are more than twice as many: as few as tell how large scores
/// are.
const FIRST_KEYS: usize = if cfg!(test) { COLUMNS } else { 64 };

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
    fn row(&self) -> usize {
        self.heads * self.width
    }

    /// Where a head's queries and its keys start; heads of all sequences are numbered through.
    fn starts(self, head: usize) -> [usize; 2] {
        let (n, head) = (head / self.heads, head % self.heads);
        [self.queries, self.keys].map(|rows| n * rows * self.row() + head * self.width)
    }

    /// How many keys of a block a query sees.
    fn seen(&self, query: usize, block: &Range<usize>) -> usize {
        let seen = if self.causal { query + 1 } else { self.keys };
        seen.min(block.end).saturating_sub(block.start)
    }

    /// Blocks of keys, up to the last that these queries see.
    fn blocks(self, queries: Range<usize>) -> impl Iterator<Item = Range<usize>> {
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

    /// What the products of queries and keys are multiplied by.
    pub fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// `rows` of a head, or their transpose.
fn head(data: &[f32], start: usize, row: usize) -> Matrix<'_> {
    Matrix { data: &data[start..], row, column: 1 }
}

fn transposed(matrix: Matrix<'_>) -> Matrix<'_> {
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
    let (to_keys, to_values) = (Packed::size(width, keys), Packed::size(keys, width));
    let most = Packed::size(QUERIES.min(queries), KEYS.min(keys));
    let target = Split::new(&mut output);
    share(heads * groups, SCRATCH + to_keys + to_values + most, |part, scratch| {
        let [scratch, in_keys, in_values, scores] =
            pieces(scratch, [SCRATCH, to_keys, to_values, most]);
        let (number, group) = (part / groups, part % groups);
        let [at_q, at_k] = shape.starts(number);
        // Where a block's keys and values lie packed.
        let places = |block: &Range<usize>| {
            let columns = round_up(width, COLUMNS);
            [
                block.start * width..round_up(block.end, COLUMNS) * width,
                block.start * columns..block.end * columns,
            ]
        };
        for block in shape.running_blocks(0..queries) {
            let ([of_keys, of_values], at) = (places(&block), at_k + block.start * row);
            transposed(head(k, at, row)).pack(0..width, 0..block.len(), &mut in_keys[of_keys]);
            Packed::new(&head(v, at, row), block.len(), width, &mut in_values[of_values]);
        }
        in_keys.iter_mut().for_each(|key| *key *= scale);
        for first in (group * each..blocks.min((group + 1) * each)).map(|i| i * QUERIES) {
            let rows = QUERIES.min(queries - first);
            let at = at_q + first * row;
            // SAFETY: each part has its own queries of its own head.
            let line = |r: usize| unsafe { target.piece(at + r * row, width) };
            let (mut largest, mut sums) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
            for block in shape.running_blocks(first..first + rows) {
                let [of_keys, of_values] = places(&block);
                let (across, values) =
                    (&in_keys[of_keys], Packed::of(&in_values[of_values], width));
                let stride = round_up(block.len(), COLUMNS);
                let scores = &mut scores[..rows * stride];
                let starts = largest.map(|most| -most);
                let block_of_scores =
                    softmax::Block::new(width, head(q, at, row), across, &starts[..rows]);
                let quick = block.start > 0
                    && stride == block.len()
                    && !shape.causal
                    && powers_at_once(block_of_scores, scores, &mut sums[..rows]);
                if !quick {
                    block_of_scores.products(scores);
                }
                for (r, scores) in scores.chunks_exact_mut(stride).enumerate().filter(|_| !quick) {
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
            for (r, sum) in sums[..rows].iter().enumerate() {
                line(r).iter_mut().for_each(|x| *x /= sum);
                if shape.statistics {
                    let place = number * queries + first + r;
                    // SAFETY: as above.
                    unsafe { kept.piece(place, 1) }.fill(largest[r] + sum.log2());
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
fn pieces<const N: usize>(mut memory: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (piece, rest) = std::mem::take(&mut memory).split_at_mut(length);
        memory = rest;
        piece
    })
}

/// `c [m, n] = start + a b`.
fn onto(
    size: [usize; 3],
    a: Matrix<'_>,
    b: &impl Source,
    c: &mut [f32],
    start: Start<'_>,
    scratch: &mut [f32],
) {
    let [m, n, _] = size;
    // SAFETY: `c` is the caller's.
    unsafe { Product::new(size, a, b, start).all(Target::new(c, n, [m, n]), scratch) };
}

/// What [`attention`] was given and gave, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Passed<'a> {
    /// `[n, queries, heads * width]`.
    pub q: &'a [f32],
    /// `[n, keys, heads * width]`.
    pub k: &'a [f32],
    /// `[n, keys, heads * width]`.
    pub v: &'a [f32],
    /// Like q.
    pub output: &'a [f32],
    /// With `statistics`.
    pub logarithms: &'a [f32],
    /// Like q.
    pub g: &'a [f32],
}

/// `factor * from [rows][columns]` transposed: its columns are rows of `to`, which start `stride`
/// elements apart.
///
/// # Safety
/// Nobody else has those.
unsafe fn turn(
    from: Matrix<'_>,
    [rows, columns]: [usize; 2],
    factor: f32,
    to: Split<'_>,
    stride: usize,
) {
    let line = |r: usize| &from.data[r * from.row..][..columns];
    // SAFETY: as the caller promises; no line is asked for twice at a time.
    let column = |c: usize| unsafe { to.piece(c * stride, rows) };
    let whole = [rows, columns].map(|length| length / LANES * LANES);
    for c in (0..whole[1]).step_by(LANES) {
        let mut into: [&mut [f32]; LANES] = std::array::from_fn(|i| column(c + i));
        for r in (0..whole[0]).step_by(LANES) {
            let mut block = [[0f32; LANES]; LANES];
            for (i, values) in block.iter_mut().enumerate() {
                values.copy_from_slice(&line(r + i)[c..c + LANES]);
            }
            for (i, into) in into.iter_mut().enumerate() {
                let turned: [f32; LANES] = std::array::from_fn(|j| block[j][i] * factor);
                into[r..r + LANES].copy_from_slice(&turned);
            }
        }
    }
    for c in 0..columns {
        let first = if c < whole[1] { whole[0] } else { 0 };
        for (r, value) in column(c).iter_mut().enumerate().skip(first) {
            *value = line(r)[c] * factor;
        }
    }
}

/// Zeros in a packed matrix of so many rows, where a query doesn't see a key.
fn hide(packed: &mut [f32], rows: usize, row: usize, keys: Range<usize>) {
    for key in keys {
        packed[(key / COLUMNS * rows + row) * COLUMNS + key % COLUMNS] = 0.0;
    }
}

/// The gradients of q, k and v, the probabilities being computed once more from their logarithms:
/// with P = softmax(S), dV = P^T g, dP = g V^T, dS = P * (dP - rowsum(g * output)), dQ = scale dS K,
/// dK = scale dS^T Q. (Dao, "FlashAttention-2", 2023, 2.2: rowsum(P * dP) is that of g * output.)
pub fn attention_gradients(passed: Passed<'_>, shape: Shape) -> [Vec<f32>; 3] {
    let Passed { q, k, v, output, logarithms, g } = passed;
    let (row, scale) = (shape.row(), shape.scale());
    let Shape { queries, keys, width, .. } = shape;
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let [to_q, to_k, to_v] = [&mut dq, &mut dk, &mut dv].map(|slice| Split::new(slice));
    let (rows, columns) = (QUERIES.min(queries), KEYS.min(keys));
    let (wide, narrow) = (Packed::size(width, columns), Packed::size(columns, width));
    let (turned, square) = (width * queries, Packed::size(rows, columns));
    let lengths = [SCRATCH, wide, wide, narrow, wide, wide, turned, turned, queries, queries];
    let squares = [square; 3];
    let all = lengths.iter().chain(&squares).sum();
    // Every query adds to the gradients of all keys: a head is one thread's.
    share(shape.n * shape.heads, all, |part, memory| {
        let (memory, left) = memory.split_at_mut(lengths.iter().sum());
        let [scratch, in_k, in_v, in_rows, dk, dv, down_q, down_g, below, means] =
            pieces(memory, lengths);
        let [slopes, in_powers, in_slopes] = pieces(left, squares);
        let [at_q, at_k] = shape.starts(part);
        // Queries and their output's gradient on their side, block by block: what follows reads
        // them line by line.
        for first in (0..queries).step_by(QUERIES) {
            let rows = QUERIES.min(queries - first);
            for (to, from, factor) in [(&mut *down_q, q, scale), (&mut *down_g, g, 1.0)] {
                let to = Split::new(&mut to[first * width..][..rows * width]);
                let from = head(from, at_q + first * row, row);
                // SAFETY: it was just taken.
                unsafe { turn(from, [rows, width], factor, to, rows) };
            }
        }
        for (query, mean) in means.iter_mut().enumerate() {
            let place = at_q + query * row..at_q + query * row + width;
            *mean = -math::sum_pairs(&g[place.clone()], &output[place], |g, o| g * o);
        }
        let of_queries = &logarithms[part * queries..][..queries];
        below.iter_mut().zip(of_queries).for_each(|(below, logarithm)| *below = -logarithm);
        for block in shape.blocks(0..queries) {
            let (count, at) = (block.len(), at_k + block.start * row);
            let (keys, values) = (head(k, at, row), head(v, at, row));
            // Whole panels: what stands in the last past the keys is nobody's.
            let stride = round_up(count, COLUMNS);
            let [across, values_across] =
                [&mut *in_k, &mut *in_v].map(|to| &mut to[..width * stride]);
            transposed(keys).pack(0..width, 0..count, across);
            transposed(values).pack(0..width, 0..count, values_across);
            across.iter_mut().for_each(|k| *k *= scale * std::f32::consts::LOG2_E);
            let rows_of_keys = &mut in_rows[..Packed::size(count, width)];
            Packed::new(&keys, count, width, rows_of_keys);
            rows_of_keys.iter_mut().for_each(|k| *k *= scale);
            let rows_of_keys = Packed::of(rows_of_keys, width);
            let (dk, dv) = (&mut dk[..width * count], &mut dv[..width * count]);
            dk.fill(0.0);
            dv.fill(0.0);
            for first in (0..queries).step_by(QUERIES) {
                let rows = QUERIES.min(queries - first);
                if shape.seen(first + rows - 1, &block) == 0 {
                    continue;
                }
                let at = at_q + first * row;
                let [slopes, in_powers, in_slopes] =
                    [&mut *slopes, &mut *in_powers, &mut *in_slopes]
                        .map(|square| &mut square[..rows * stride]);
                let lines = first..first + rows;
                let scores =
                    softmax::Block::new(width, head(q, at, row), across, &below[lines.clone()]);
                scores.powers(in_powers);
                let gradients =
                    softmax::Block::new(width, head(g, at, row), values_across, &means[lines]);
                gradients.slopes(in_powers, in_slopes, slopes);
                for r in (0..rows).filter(|_| shape.causal) {
                    let hidden = shape.seen(first + r, &block)..count;
                    slopes[r * stride..][hidden.clone()].fill(0.0);
                    hide(in_powers, rows, r, hidden.clone());
                    hide(in_slopes, rows, r, hidden);
                }
                for (left, right, to) in
                    [(&*down_g, &*in_powers, &mut *dv), (&*down_q, &*in_slopes, &mut *dk)]
                {
                    let left = Matrix { data: &left[first * width..], row: rows, column: 1 };
                    let right = Packed::of(right, count);
                    onto([width, count, rows], left, &right, to, Start::Given, scratch);
                }
                let start = if block.start == 0 { Start::Zero } else { Start::Given };
                let slopes = Matrix { data: slopes, row: stride, column: 1 };
                let product = Product::new([rows, width, count], slopes, &rows_of_keys, start);
                // SAFETY: each part has its own head.
                unsafe { product.all(Target::within(to_q, at, row, [rows, width]), scratch) };
            }
            for (to, from) in [(to_k, &*dk), (to_v, &*dv)] {
                let from = Matrix { data: from, row: count, column: 1 };
                // SAFETY: each part has its own head.
                unsafe { turn(from, [width, count], 1.0, to.from(at), row) };
            }
        }
    });
    [dq, dk, dv]
}

//! Attention some queries at a time: of the scores only those rows exist that are worked on.

use super::gemm::{Product, SCRATCH, Start, Target};
use super::math;
use super::pack::{Matrix, Packed, Source};
use super::threads::{Split, parts, share};

/// Queries at a time: few enough that the scores of 4096 keys take 1.5 MiB.
const QUERIES: usize = 96;

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

    /// How many keys a query sees.
    fn seen(&self, query: usize) -> usize {
        if self.causal { (query + 1).min(self.keys) } else { self.keys }
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

/// Scores to `2^(score - most)`, in `scores [rows][keys]`, the first row being that of query
/// `first`; calls `row(r, most, sum)` for each. Scores are in units of `1 / log2 e` then: powers of
/// two are what is quick.
fn powers(scores: &mut [f32], shape: Shape, first: usize, mut row: impl FnMut(usize, f32, f32)) {
    let scale = shape.scale() * std::f32::consts::LOG2_E;
    for (r, line) in scores.chunks_exact_mut(shape.keys).enumerate() {
        let seen = shape.seen(first + r);
        let (line, hidden) = line.split_at_mut(seen);
        hidden.fill(0.0);
        let most = math::max(line);
        let sum = math::sum_changed(line, |x| math::exp2((x - most) * scale));
        row(r, most * scale, sum);
    }
}

/// `q [n, queries, heads * width]`, `k`, `v [n, keys, ..] -> [n, queries, ..]`, and with
/// `statistics` the logarithms (of base 2) of the softmax's denominators, `[n, heads, queries]`.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> [Vec<f32>; 2] {
    let row = shape.row();
    let mut output = vec![0.0; q.len()];
    let heads = shape.n * shape.heads;
    let mut logarithms = vec![0.0; if shape.statistics { heads * shape.queries } else { 0 }];
    let kept = Split::new(&mut logarithms);
    let Shape { queries, keys, width, .. } = shape;
    let blocks = queries.div_ceil(QUERIES);
    // A part is some blocks of a head, which share its keys and values.
    let groups = parts(heads * queries * keys).div_ceil(heads.max(1)).clamp(1, blocks.max(1));
    let each = blocks.div_ceil(groups);
    let (to_keys, to_values) = (Packed::size(width, keys), Packed::size(keys, width));
    let most = QUERIES.min(queries) * keys;
    let target = Split::new(&mut output);
    share(heads * groups, SCRATCH + to_keys + to_values + most, |part, scratch| {
        let [scratch, in_keys, in_values, scores] =
            pieces(scratch, [SCRATCH, to_keys, to_values, most]);
        let (number, group) = (part / groups, part % groups);
        let [at_q, at_k] = shape.starts(number);
        let k = Packed::new(&transposed(head(k, at_k, row)), width, keys, in_keys);
        let v = Packed::new(&head(v, at_k, row), keys, width, in_values);
        for block in group * each..blocks.min((group + 1) * each) {
            let first = block * QUERIES;
            let rows = QUERIES.min(queries - first);
            let scores = &mut scores[..rows * keys];
            let at = at_q + first * row;
            product([rows, keys, width], head(q, at, row), &k, scores, scratch);
            let mut factors = [0.0; QUERIES];
            powers(scores, shape, first, |r, most, sum| {
                factors[r] = 1.0 / sum;
                if shape.statistics {
                    let place = number * queries + first + r;
                    // SAFETY: each part has its own queries of its own head.
                    unsafe { kept.piece(place, 1) }.fill(most + sum.log2());
                }
            });
            let probabilities = Matrix { data: scores, row: keys, column: 1 };
            let product = Product::new([rows, width, keys], probabilities, &v, Start::Zero);
            // SAFETY: each part has its own queries of its own head.
            unsafe {
                product.all(Target::within(target, at, row, [rows, width]), scratch);
                // A row of the output is shorter than one of scores.
                for (r, factor) in factors[..rows].iter().enumerate() {
                    let line = target.piece(at + r * row, width);
                    line.iter_mut().for_each(|x| *x *= factor);
                }
            }
        }
    });
    [output, logarithms]
}

/// Memory in pieces of these lengths.
fn pieces<const N: usize>(mut memory: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (piece, rest) = std::mem::take(&mut memory).split_at_mut(length);
        memory = rest;
        piece
    })
}

/// `c [m, n] = a b`, by the calling thread alone.
fn product(size: [usize; 3], a: Matrix<'_>, b: &impl Source, c: &mut [f32], scratch: &mut [f32]) {
    onto(size, a, b, c, Start::Zero, scratch);
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

/// The gradients of q, k and v, the probabilities being computed once more from their logarithms:
/// with P = softmax(S), dV = P^T g, dP = g V^T, dS = P * (dP - rowsum(g * output)), dQ = scale dS K,
/// dK = scale dS^T Q. (Dao, "FlashAttention-2", 2023, 2.2: rowsum(P * dP) is that of g * output.)
pub fn attention_gradients(passed: Passed<'_>, shape: Shape) -> [Vec<f32>; 3] {
    let Passed { q, k, v, output, logarithms, g } = passed;
    let (row, scale) = (shape.row(), shape.scale());
    let Shape { queries, keys, width, .. } = shape;
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let [to_q, to_k, to_v] = [&mut dq, &mut dk, &mut dv].map(|slice| Split::new(slice));
    let most = QUERIES.min(queries) * keys;
    let (wide, narrow) = (Packed::size(width, keys), Packed::size(keys, width));
    let lengths = [SCRATCH, wide, wide, narrow, width * keys, width * keys, most, most];
    // Every query adds to the gradients of all keys: a head is one thread's.
    share(shape.n * shape.heads, lengths.iter().sum(), |part, scratch| {
        let [scratch, in_k, in_v, in_rows, dk, dv, scores, slopes] = pieces(scratch, lengths);
        let [at_q, at_k] = shape.starts(part);
        let (keys_, values) = (head(k, at_k, row), head(v, at_k, row));
        let across = Packed::new(&transposed(keys_), width, keys, in_k);
        let values = Packed::new(&transposed(values), width, keys, in_v);
        let rows_of_keys = Packed::new(&keys_, keys, width, in_rows);
        for first in (0..queries).step_by(QUERIES) {
            let rows = QUERIES.min(queries - first);
            let at = at_q + first * row;
            let (queries_, flow) = (head(q, at, row), head(g, at, row));
            let scores = &mut scores[..rows * keys];
            let slopes = &mut slopes[..rows * keys];
            product([rows, keys, width], queries_, &across, scores, scratch);
            product([rows, keys, width], flow, &values, slopes, scratch);
            let lines = scores.chunks_exact_mut(keys).zip(slopes.chunks_exact_mut(keys));
            for (r, (scores, slopes)) in lines.enumerate() {
                let logarithm = logarithms[part * queries + first + r];
                let place = at + r * row..at + r * row + width;
                let mean = math::sum_pairs(&g[place.clone()], &output[place], |g, o| g * o);
                let seen = shape.seen(first + r);
                scores[seen..].fill(0.0);
                slopes[seen..].fill(0.0);
                for (score, slope) in scores[..seen].iter_mut().zip(slopes) {
                    let p = math::exp2(*score * scale * std::f32::consts::LOG2_E - logarithm);
                    *score = p;
                    *slope = (*slope - mean) * p * scale;
                }
            }
            // Transposed, so that the large factors are read line by line.
            let start = if first == 0 { Start::Zero } else { Start::Given };
            let down = [width, keys, rows];
            let of = |data| Matrix { data, row: keys, column: 1 };
            onto(down, transposed(flow), &of(scores), dv, start, scratch);
            onto(down, transposed(queries_), &of(slopes), dk, start, scratch);
            let product = Product::new([rows, width, keys], of(slopes), &rows_of_keys, Start::Zero);
            // SAFETY: each part has its own head.
            unsafe { product.all(Target::within(to_q, at, row, [rows, width]), scratch) };
        }
        for (to, from) in [(to_k, dk), (to_v, dv)] {
            for key in 0..keys {
                // SAFETY: each part has its own head.
                let line = unsafe { to.piece(at_k + key * row, width) };
                for (c, value) in line.iter_mut().enumerate() {
                    *value = from[c * keys + key];
                }
            }
        }
    });
    [dq, dk, dv]
}

//! Attention some queries at a time: of the scores only those rows exist that are worked on.

use super::gemm::{Matrix, Product, SCRATCH, Start, Target};
use super::math;
use super::threads::{Split, share};

/// Queries at a time: enough that packing keys and values costs little beside the products, few
/// enough that the scores of 4096 keys take one MiB.
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
    let blocks = shape.queries.div_ceil(QUERIES);
    let most = QUERIES.min(shape.queries) * shape.keys;
    let target = Split::new(&mut output);
    share(heads * blocks, SCRATCH + most, |part, scratch| {
        let (scratch, scores) = scratch.split_at_mut(SCRATCH);
        let [at_q, at_k] = shape.starts(part / blocks);
        let first = part % blocks * QUERIES;
        let rows = QUERIES.min(shape.queries - first);
        let scores = &mut scores[..rows * shape.keys];
        let (keys, values) = (head(k, at_k, row), head(v, at_k, row));
        let at = at_q + first * row;
        let size = [rows, shape.keys, shape.width];
        product(size, head(q, at, row), transposed(keys), scores, scratch);
        let mut factors = [0.0; QUERIES];
        powers(scores, shape, first, |r, most, sum| {
            factors[r] = 1.0 / sum;
            if shape.statistics {
                let place = part / blocks * shape.queries + first + r;
                // SAFETY: each part has its own queries of its own head.
                unsafe { kept.piece(place, 1) }.fill(most + sum.log2());
            }
        });
        let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
        let size = [rows, shape.width, shape.keys];
        let product = Product::new(size, probabilities, &values, Start::Zero);
        // SAFETY: each part has its own queries of its own head.
        unsafe {
            product.all(Target::within(target, at, row, [rows, shape.width]), scratch);
            // A row of the output is shorter than one of scores.
            for (r, factor) in factors[..rows].iter().enumerate() {
                let line = target.piece(at + r * row, shape.width);
                line.iter_mut().for_each(|x| *x *= factor);
            }
        }
    });
    [output, logarithms]
}

/// `c [m, n] = a b`, by the calling thread alone.
fn product(size: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], scratch: &mut [f32]) {
    let [m, n, _] = size;
    // SAFETY: `c` is the caller's.
    unsafe { Product::new(size, a, &b, Start::Zero).all(Target::new(c, n, [m, n]), scratch) };
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
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let most = QUERIES.min(shape.queries) * shape.keys;
    let [to_q, to_k, to_v] = [&mut dq, &mut dk, &mut dv].map(|slice| Split::new(slice));
    // Every query adds to the gradients of all keys: a head is one thread's.
    share(shape.n * shape.heads, SCRATCH + 2 * most, |part, scratch| {
        let (scratch, rest) = scratch.split_at_mut(SCRATCH);
        let (scores, slopes) = rest.split_at_mut(most);
        let [at_q, at_k] = shape.starts(part);
        let (keys, values) = (head(k, at_k, row), head(v, at_k, row));
        for first in (0..shape.queries).step_by(QUERIES) {
            let rows = QUERIES.min(shape.queries - first);
            let at = at_q + first * row;
            let (queries, flow) = (head(q, at, row), head(g, at, row));
            let scores = &mut scores[..rows * shape.keys];
            let slopes = &mut slopes[..rows * shape.keys];
            let wide = [rows, shape.keys, shape.width];
            product(wide, queries, transposed(keys), scores, scratch);
            product(wide, flow, transposed(values), slopes, scratch);
            let lines =
                scores.chunks_exact_mut(shape.keys).zip(slopes.chunks_exact_mut(shape.keys));
            for (r, (scores, slopes)) in lines.enumerate() {
                let logarithm = logarithms[part * shape.queries + first + r];
                let place = at + r * row..at + r * row + shape.width;
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
            let down = [shape.keys, shape.width, rows];
            let mut onto = |size, a, b: &Matrix<'_>, to: Split<'_>, at, start| {
                let [m, n, _] = size;
                let target = Target::within(to, at, row, [m, n]);
                // SAFETY: each part has its own head.
                unsafe { Product::new(size, a, b, start).all(target, scratch) };
            };
            let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
            onto(down, transposed(probabilities), &flow, to_v, at_k, Start::Given);
            let slopes = Matrix { data: slopes, row: shape.keys, column: 1 };
            onto([rows, shape.width, shape.keys], slopes, &keys, to_q, at, Start::Zero);
            onto(down, transposed(slopes), &queries, to_k, at_k, Start::Given);
        }
    });
    [dq, dk, dv]
}

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

/// Scores to probabilities but for a factor, `scores [rows][keys]`, the first row being that of query
/// `first`; calls `factor(row, f)` with each row's factor.
fn softmax(
    scores: &mut [f32],
    shape: Shape,
    first: usize,
    mut factor: impl FnMut(&mut [f32], usize, f32),
) {
    let scale = shape.scale();
    for (r, row) in scores.chunks_exact_mut(shape.keys).enumerate() {
        let seen = if shape.causal { (first + r + 1).min(shape.keys) } else { shape.keys };
        let (seen, hidden) = row.split_at_mut(seen);
        hidden.fill(0.0);
        let most = math::max(seen);
        let sum = math::sum_changed(seen, |x| math::exp((x - most) * scale));
        factor(row, r, 1.0 / sum);
    }
}

fn multiplied(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|x| *x *= factor);
}

/// `q [n, queries, heads * width]`, `k`, `v [n, keys, ..] -> [n, queries, ..]`.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
    let row = shape.row();
    let mut output = vec![0.0; q.len()];
    let blocks = shape.queries.div_ceil(QUERIES);
    let most = QUERIES.min(shape.queries) * shape.keys;
    let target = Split::new(&mut output);
    share(shape.n * shape.heads * blocks, SCRATCH + most, |part, scratch| {
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
        softmax(scores, shape, first, |_, row, factor| factors[row] = factor);
        let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
        let size = [rows, shape.width, shape.keys];
        let product = Product::new(size, probabilities, &values, Start::Zero);
        // SAFETY: each part has its own queries of its own head.
        unsafe {
            product.all(Target::within(target, at, row, [rows, shape.width]), scratch);
            // A row of the output is shorter than one of scores.
            for (r, factor) in factors[..rows].iter().enumerate() {
                multiplied(target.piece(at + r * row, shape.width), *factor);
            }
        }
    });
    output
}

/// `c [m, n] = a b`, by the calling thread alone.
fn product(size: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], scratch: &mut [f32]) {
    let [m, n, _] = size;
    // SAFETY: `c` is the caller's.
    unsafe { Product::new(size, a, &b, Start::Zero).all(Target::new(c, n, [m, n]), scratch) };
}

/// The gradients of q, k and v for the gradient `g` of the output, the probabilities being computed
/// once more: with P = softmax(S), dV = P^T g, dP = g V^T, dS = P * (dP - rowsum(P * dP)),
/// dQ = scale dS K, dK = scale dS^T Q.
pub fn attention_gradients(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    g: &[f32],
    shape: Shape,
) -> [Vec<f32>; 3] {
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
            softmax(scores, shape, first, |row, _, factor| multiplied(row, factor));
            product(wide, flow, transposed(values), slopes, scratch);
            let down = [shape.keys, shape.width, rows];
            let mut onto = |size, a, b: &Matrix<'_>, to: Split<'_>, at, start| {
                let [m, n, _] = size;
                let target = Target::within(to, at, row, [m, n]);
                // SAFETY: each part has its own head.
                unsafe { Product::new(size, a, b, start).all(target, scratch) };
            };
            let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
            onto(down, transposed(probabilities), &flow, to_v, at_k, Start::Given);
            let lines = slopes.chunks_exact_mut(shape.keys).zip(scores.chunks_exact(shape.keys));
            for (slopes, scores) in lines {
                let mean = math::sum_pairs(slopes, scores, |slope, p| slope * p);
                for (slope, p) in slopes.iter_mut().zip(scores) {
                    *slope = (*slope - mean) * p * scale;
                }
            }
            let slopes = Matrix { data: slopes, row: shape.keys, column: 1 };
            onto([rows, shape.width, shape.keys], slopes, &keys, to_q, at, Start::Zero);
            onto(down, transposed(slopes), &queries, to_k, at_k, Start::Given);
        }
    });
    [dq, dk, dv]
}

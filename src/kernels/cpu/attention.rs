//! Attention some queries at a time: of the scores only those rows exist that are worked on.

use super::gemm::{Matrix, Start, multiply};
use super::math;

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

    /// For every sequence and head: where its queries and its keys start.
    fn heads(self) -> impl Iterator<Item = [usize; 2]> {
        (0..self.n).flat_map(move |n| {
            (0..self.heads).map(move |head| {
                [self.queries, self.keys].map(|rows| n * rows * self.row() + head * self.width)
            })
        })
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

/// Scores to probabilities: `scores [rows][keys]`, the first row being that of query `first`.
fn softmax(scores: &mut [f32], shape: Shape, first: usize) {
    let scale = shape.scale();
    for (r, row) in scores.chunks_exact_mut(shape.keys).enumerate() {
        let seen = if shape.causal { (first + r + 1).min(shape.keys) } else { shape.keys };
        let (row, hidden) = row.split_at_mut(seen);
        hidden.fill(0.0);
        let most = math::max(row);
        row.iter_mut().for_each(|x| *x = math::exp((*x - most) * scale));
        let share = 1.0 / math::sum(row, |x| x);
        row.iter_mut().for_each(|x| *x *= share);
    }
}

/// `q [n, queries, heads * width]`, `k`, `v [n, keys, ..] -> [n, queries, ..]`.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
    let row = shape.row();
    let mut output = vec![0.0; q.len()];
    let mut scores = vec![0.0; QUERIES.min(shape.queries) * shape.keys];
    for [at_q, at_k] in shape.heads() {
        let (keys, values) = (head(k, at_k, row), head(v, at_k, row));
        for first in (0..shape.queries).step_by(QUERIES) {
            let rows = QUERIES.min(shape.queries - first);
            let scores = &mut scores[..rows * shape.keys];
            let at = at_q + first * row;
            let size = [rows, shape.keys, shape.width];
            multiply(size, head(q, at, row), &transposed(keys), scores, shape.keys, Start::Zero);
            softmax(scores, shape, first);
            let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
            let size = [rows, shape.width, shape.keys];
            multiply(size, probabilities, &values, &mut output[at..], row, Start::Zero);
        }
    }
    output
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
    let (mut scores, mut slopes) = (vec![0.0; most], vec![0.0; most]);
    for [at_q, at_k] in shape.heads() {
        let (keys, values) = (head(k, at_k, row), head(v, at_k, row));
        for first in (0..shape.queries).step_by(QUERIES) {
            let rows = QUERIES.min(shape.queries - first);
            let at = at_q + first * row;
            let (queries, flow) = (head(q, at, row), head(g, at, row));
            let scores = &mut scores[..rows * shape.keys];
            let slopes = &mut slopes[..rows * shape.keys];
            let wide = [rows, shape.keys, shape.width];
            multiply(wide, queries, &transposed(keys), scores, shape.keys, Start::Zero);
            softmax(scores, shape, first);
            multiply(wide, flow, &transposed(values), slopes, shape.keys, Start::Zero);
            let down = [shape.keys, shape.width, rows];
            let probabilities = Matrix { data: scores, row: shape.keys, column: 1 };
            multiply(down, transposed(probabilities), &flow, &mut dv[at_k..], row, Start::Given);
            let lines = slopes.chunks_exact_mut(shape.keys).zip(scores.chunks_exact(shape.keys));
            for (slopes, scores) in lines {
                let mean = math::sum_pairs(slopes, scores, |slope, p| slope * p);
                for (slope, p) in slopes.iter_mut().zip(scores) {
                    *slope = (*slope - mean) * p * scale;
                }
            }
            let slopes = Matrix { data: slopes, row: shape.keys, column: 1 };
            let back = [rows, shape.width, shape.keys];
            multiply(back, slopes, &keys, &mut dq[at..], row, Start::Zero);
            multiply(down, transposed(slopes), &queries, &mut dk[at_k..], row, Start::Given);
        }
    }
    [dq, dk, dv]
}

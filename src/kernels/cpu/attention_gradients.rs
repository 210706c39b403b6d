//! The way back through [`attention`](super::attention::attention), as it goes: some queries and some
//! keys at a time.

use std::ops::Range;

use super::attention::{KEYS, QUERIES, Shape, head, pieces, transposed};
use super::gemm::{Product, SCRATCH, Start, Target};
use super::math;
use super::microkernel::COLUMNS;
use super::pack::{Matrix, Packed, Source, round_up};
use super::softmax::{self, LANES};
use super::threads::{Split, share};

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

/// What [`attention`](super::attention::attention) was given and gave, and the gradient of its output.
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

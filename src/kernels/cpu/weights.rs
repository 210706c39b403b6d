//! Constant weights as products read them: in f32, in halves or in 8-bit blocks. What isn't f32 is
//! widened while a panel is packed, so that no weight ever stands in memory twice.

use std::ops::Range;

use half::f16;

use super::super::blocks;
use super::microkernel::COLUMNS;
use super::pack::{Matrix, Source};

/// A weight's numbers, one row after the other.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// In f32.
    Full(&'a [f32]),
    /// In halves, all finite.
    Halves(&'a [f16]),
    /// In [`blocks`].
    Blocks(&'a [u32]),
}

impl Weights<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Full(numbers) => numbers.len(),
            Self::Halves(numbers) => numbers.len(),
            Self::Blocks(words) => blocks::numbers(words),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers from `first` on.
    pub fn read(&self, first: usize, into: &mut [f32]) {
        match self {
            Self::Full(numbers) => into.copy_from_slice(&numbers[first..][..into.len()]),
            Self::Halves(numbers) => {
                let halves = &numbers[first..][..into.len()];
                into.iter_mut().zip(halves).for_each(|(number, half)| *number = widen(*half));
            }
            Self::Blocks(words) => blocks::read(words, first, into),
        }
    }
}

/// A half that is finite, in f32: its exponent and mantissa are moved to where f32 has its own, and
/// the difference of the exponents' zeros, 127 - 15, is made up for by a multiplication, which is
/// exact and right for subnormal halves too.
pub fn widen(half: f16) -> f32 {
    const SHIFT: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SHIFT;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// The right side `[in, out]` of a linear layer of weight `[out, in]`.
#[derive(Debug, Clone, Copy)]
pub struct Turned<'a> {
    /// `[out, in]`.
    pub weights: Weights<'a>,
    /// Numbers of a row: in.
    pub row: usize,
}

impl Source for Turned<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        /// Numbers of a row that are widened at a time: a block.
        const RUN: usize = 32;
        let panels = panels.chunks_exact_mut(k.len() * COLUMNS);
        for (panel, first) in panels.zip(columns.clone().step_by(COLUMNS)) {
            let width = COLUMNS.min(columns.end - first);
            let mut lines = [[0f32; RUN]; COLUMNS];
            for (k0, panel) in k.clone().step_by(RUN).zip(panel.chunks_mut(RUN * COLUMNS)) {
                let run = panel.len() / COLUMNS;
                for (j, line) in lines[..width].iter_mut().enumerate() {
                    self.weights.read((first + j) * self.row + k0, &mut line[..run]);
                }
                for (i, out) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                    out.iter_mut().zip(&lines).for_each(|(out, line)| *out = line[i]);
                }
            }
        }
    }
}

/// The right side `[out, in]` of the gradient of a linear layer's input, its weight as it lies.
#[derive(Debug, Clone, Copy)]
pub struct Straight<'a> {
    /// `[out, in]`.
    pub weights: Weights<'a>,
    /// Numbers of a row: in.
    pub row: usize,
}

impl Source for Straight<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        let panels = panels.chunks_exact_mut(k.len() * COLUMNS);
        for (panel, first) in panels.zip(columns.clone().step_by(COLUMNS)) {
            let width = COLUMNS.min(columns.end - first);
            for (k, line) in k.clone().zip(panel.chunks_exact_mut(COLUMNS)) {
                self.weights.read(k * self.row + first, &mut line[..width]);
            }
        }
    }
}

/// The left side `[in, out * taps]` of the gradient of a convolution's input: its weight
/// `[out, in, kernel]` turned, with some of the kernel's places, in an order of their own.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'a> {
    /// `[out, in, kernel]`.
    pub weights: Weights<'a>,
    /// Channels that come in.
    pub input: usize,
    /// Places of the kernel.
    pub kernel: usize,
    /// Those that count here.
    pub taps: &'a [usize],
}

impl Taps<'_> {
    fn read(&self, rows: Range<usize>, k: Range<usize>, into: &mut [f32]) {
        match self.weights {
            Weights::Full(numbers) => self.gather(rows, k, into, |i| numbers[i]),
            Weights::Halves(numbers) => self.gather(rows, k, into, |i| widen(numbers[i])),
            Weights::Blocks(words) => self.gather(rows, k, into, |i| blocks::number(words, i)),
        }
    }

    fn gather(
        &self,
        rows: Range<usize>,
        k: Range<usize>,
        into: &mut [f32],
        number: impl Fn(usize) -> f32,
    ) {
        let depth = k.len();
        for (column, k) in k.enumerate() {
            let (output, tap) = (k / self.taps.len(), self.taps[k % self.taps.len()]);
            let first = output * self.input * self.kernel + tap;
            for (r, row) in rows.clone().enumerate() {
                into[r * depth + column] = number(first + row * self.kernel);
            }
        }
    }
}

/// What a product's left side is.
#[derive(Debug, Clone, Copy)]
pub enum Left<'a> {
    /// A matrix of f32.
    Matrix(Matrix<'a>),
    /// A constant weight, of this many numbers a row.
    Weights(Weights<'a>, usize),
    /// A convolution's weight, for the gradient of its input.
    Taps(Taps<'a>),
}

impl<'a> From<Matrix<'a>> for Left<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::Matrix(matrix)
    }
}

impl<'a> Left<'a> {
    /// # Panics
    /// When it ends after its memory.
    pub(super) fn check(&self, rows: usize, columns: usize) {
        let (needed, there) = match self {
            Self::Matrix(matrix) => return matrix.check(rows, columns),
            Self::Weights(weights, row) => ((rows - 1) * row + columns, weights.len()),
            Self::Taps(Taps { weights, input, kernel, taps }) => {
                (columns / taps.len() * input * kernel, weights.len())
            }
        };
        assert!(needed <= there, "a weight of {there} numbers where {needed} are read");
    }

    /// Rows from column `k.start` on with their elements side by side, written to `memory` where they
    /// didn't lie so as f32.
    pub(super) fn rows<'b>(
        &'b self,
        rows: Range<usize>,
        k: Range<usize>,
        memory: &'b mut [f32],
    ) -> Matrix<'b> {
        let depth = k.len();
        match self {
            Self::Matrix(a) => return a.rows(rows, k, memory),
            Self::Weights(Weights::Full(numbers), row) => {
                return Matrix {
                    data: &numbers[rows.start * row + k.start..],
                    row: *row,
                    column: 1,
                };
            }
            Self::Weights(weights, row) => {
                for (r, line) in rows.zip(memory.chunks_exact_mut(depth)) {
                    weights.read(r * row + k.start, line);
                }
            }
            Self::Taps(taps) => taps.read(rows, k, memory),
        }
        Matrix { data: memory, row: depth, column: 1 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conv::{Shape, conv2d, conv2d_input_gradient};
    use super::super::gemm::{Start, multiply};
    use super::super::threads;
    use super::*;

    #[test]
    fn every_finite_half_is_widened_exactly() {
        for half in (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()) {
            assert_eq!(widen(half).to_bits(), half.to_f32().to_bits(), "{half}");
        }
    }

    fn numbers(count: usize, salt: u32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 1.7 + salt as f32).sin()).collect()
    }

    /// The same numbers as halves and as blocks, each with what they are in f32.
    struct Kept {
        halves: Vec<f16>,
        blocks: Vec<u32>,
    }

    impl Kept {
        /// Of at least this many numbers.
        fn new(count: usize, salt: u32) -> Self {
            let values = numbers(count.next_multiple_of(blocks::BLOCK), salt);
            let fill = |block: usize, into: &mut [f32; blocks::BLOCK]| {
                into.copy_from_slice(&values[block * blocks::BLOCK..][..blocks::BLOCK]);
            };
            Self {
                halves: values.iter().map(|value| f16::from_f32(*value)).collect(),
                blocks: blocks::encode(values.len() / blocks::BLOCK, fill).0,
            }
        }

        /// Whether a computation gives the same, bit for bit, as with the numbers in f32.
        fn agree(&self, compute: impl Fn(Weights<'_>) -> Vec<f32>) -> bool {
            [Weights::Halves(&self.halves), Weights::Blocks(&self.blocks)].into_iter().all(
                |weights| {
                    let mut wide = vec![0.0; weights.len()];
                    weights.read(0, &mut wide);
                    let (narrow, full) = (compute(weights), compute(Weights::Full(&wide)));
                    narrow.len() == full.len()
                        && narrow.iter().zip(&full).all(|(a, b)| a.to_bits() == b.to_bits())
                },
            )
        }
    }

    /// Blocks may hold more numbers than the weight has; the rest have as many.
    fn cut(weights: Weights<'_>, count: usize) -> Weights<'_> {
        match weights {
            Weights::Full(numbers) => Weights::Full(&numbers[..count]),
            Weights::Halves(numbers) => Weights::Halves(&numbers[..count]),
            blocks @ Weights::Blocks(_) => blocks,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn linear_layers(m in 1usize..20, n in 1usize..40, k in 1usize..400, count in 1usize..4, salt in 0u32..99) {
            threads::set_count(count);
            let (kept, x) = (Kept::new(n * k, salt), numbers(m * n.max(k), salt + 1));
            let forward = |weights: Weights<'_>| {
                let (a, mut y) = (Matrix { data: &x, row: k, column: 1 }, vec![0.0; m * n]);
                multiply([m, n, k], a, &Turned { weights, row: k }, &mut y, n, Start::Zero);
                y
            };
            let back = |weights: Weights<'_>| {
                let (a, mut y) = (Matrix { data: &x, row: n, column: 1 }, vec![0.0; m * k]);
                multiply([m, k, n], a, &Straight { weights, row: k }, &mut y, k, Start::Zero);
                y
            };
            prop_assert!(kept.agree(forward));
            prop_assert!(kept.agree(back));
            // And in f32 it is what a matrix is.
            let full = numbers(n * k, salt + 2);
            let mut y = vec![0.0; m * k];
            let (a, b) = (Matrix { data: &x, row: n, column: 1 }, Matrix { data: &full, row: k, column: 1 });
            multiply([m, k, n], a, &b, &mut y, k, Start::Zero);
            prop_assert!(y.iter().any(|value| *value != 0.0));
            prop_assert_eq!(y, back(Weights::Full(&full)));
        }

        #[test]
        fn convolutions(
            input in 1usize..9, output in 1usize..9, h in 1usize..12, w in 1usize..12, kernel in 1usize..4,
            stride in 1usize..3, padding in 0usize..3, count in 1usize..4, salt in 0u32..99,
        ) {
            prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
            threads::set_count(count);
            let [before, after] = [[padding; 2]; 2];
            let shape = Shape { n: 2, input, output, size: [h, w], kernel: [kernel; 2], stride, before, after };
            let count = shape.weight().iter().product::<usize>();
            let (kept, x) = (Kept::new(count, salt), numbers(2 * input * h * w, salt + 1));
            let g = numbers(2 * output * shape.out().iter().product::<usize>(), salt + 2);
            prop_assert!(kept.agree(|weights| conv2d(&x, cut(weights, count), None, shape)));
            prop_assert!(kept.agree(|weights| conv2d_input_gradient(&g, cut(weights, count), shape)));
        }
    }
}

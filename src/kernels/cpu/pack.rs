//! What goes into a product, and the order in which the micro-kernel reads its right side.

use std::ops::Range;

use super::microkernel::COLUMNS;

/// Products are summed in blocks of this many: six rows of A and a panel of B stay in the first
/// cache. Stable Diffusion's channels are multiples of it, so that no block is a short one.
pub(super) const K_BLOCK: usize = 320;

/// A matrix in memory; strides in elements.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// From its first element on.
    pub data: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// When it ends after its memory.
    pub(super) fn check(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row + (columns - 1) * self.column;
        assert!(last < self.data.len(), "a matrix of {rows} x {columns} ends after its memory");
    }

    /// Rows from column `k.start` on with their elements side by side, copied to `left` where they
    /// weren't.
    pub(super) fn rows(self, rows: Range<usize>, k: Range<usize>, left: &'a mut [f32]) -> Self {
        if self.column == 1 {
            return Self { data: &self.data[rows.start * self.row + k.start..], ..self };
        }
        let depth = k.len();
        for (i, column) in k.enumerate() {
            let source = &self.data[column * self.column..];
            for (r, row) in rows.clone().enumerate() {
                left[r * depth + i] = source[row * self.row];
            }
        }
        Self { data: left, row: depth, column: 1 }
    }
}

/// What B is read from: a matrix, or pixels under a moving kernel.
pub trait Source {
    /// Writes `b[k][columns]` as panels `[columns / COLUMNS][k][COLUMNS]`; what lies past the last
    /// column is left as it is.
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]);

    /// Those panels, where they are there already.
    fn packed(&self, _k: &Range<usize>, _columns: &Range<usize>) -> Option<&[f32]> {
        None
    }
}

/// A source that was packed before, for several products.
pub struct Packed<'a> {
    panels: &'a [f32],
    /// Columns with the last panel whole.
    columns: usize,
}

impl<'a> Packed<'a> {
    /// Elements of memory that it takes.
    pub fn size(depth: usize, columns: usize) -> usize {
        depth * round_up(columns, COLUMNS)
    }

    /// Packs all of `source [depth, columns]` into the first [`size`](Self::size) elements.
    pub fn new(source: &impl Source, depth: usize, columns: usize, memory: &'a mut [f32]) -> Self {
        let whole = round_up(columns, COLUMNS);
        for k0 in (0..depth).step_by(K_BLOCK) {
            let k = k0..depth.min(k0 + K_BLOCK);
            let panels = &mut memory[k.start * whole..k.end * whole];
            source.pack(k, 0..columns, panels);
        }
        Self { panels: &memory[..depth * whole], columns: whole }
    }

    /// What was packed before, or written in that order: all of it, and nothing else.
    pub fn of(panels: &'a [f32], columns: usize) -> Self {
        Self { panels, columns: round_up(columns, COLUMNS) }
    }
}

impl Source for Packed<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        if let Some(there) = self.packed(&k, &columns) {
            panels.copy_from_slice(&there[..panels.len()]);
        }
    }

    fn packed(&self, k: &Range<usize>, columns: &Range<usize>) -> Option<&[f32]> {
        // A block of all columns comes after the other; in it, panel after panel.
        let first = k.start * self.columns + columns.start * k.len();
        Some(&self.panels[first..k.end * self.columns])
    }
}

impl Source for Matrix<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        let depth = k.len();
        let mut columns = columns;
        let mut panels = panels;
        if self.column == 1 {
            let whole = columns.len() / COLUMNS * COLUMNS;
            let source = &self.data[k.start * self.row + columns.start..];
            let (into, left) = panels.split_at_mut(whole * depth);
            copy(source, self.row, depth, into);
            (columns.start, panels) = (columns.start + whole, left);
        }
        for (panel, first) in
            panels.chunks_exact_mut(depth * COLUMNS).zip(columns.clone().step_by(COLUMNS))
        {
            let width = COLUMNS.min(columns.end - first);
            let source = &self.data[k.start * self.row + first * self.column..];
            if self.row == 1 && width == COLUMNS {
                transpose(source, self.column, panel);
            } else {
                for (i, line) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                    for (j, value) in line[..width].iter_mut().enumerate() {
                        *value = source[i * self.row + j * self.column];
                    }
                }
            }
        }
    }
}

/// Lines of `source`, `stride` apart, to whole panels; some lines at a time, so that each is read on
/// and on, and what is written lies together.
fn copy(source: &[f32], stride: usize, depth: usize, panels: &mut [f32]) {
    const LINES: usize = 8;
    for first in (0..depth).step_by(LINES) {
        let lines = LINES.min(depth - first);
        for (column, panel) in panels.chunks_exact_mut(depth * COLUMNS).enumerate() {
            let into = panel[first * COLUMNS..][..lines * COLUMNS].chunks_exact_mut(COLUMNS);
            for (i, line) in into.enumerate() {
                let from = &source[(first + i) * stride + column * COLUMNS..][..COLUMNS];
                line.copy_from_slice(from);
            }
        }
    }
}

/// `panel[i][j] = source[j * stride + i]`.
fn transpose(source: &[f32], stride: usize, panel: &mut [f32]) {
    let depth = panel.len() / COLUMNS;
    let lines: [&[f32]; COLUMNS] = std::array::from_fn(|j| &source[j * stride..][..depth]);
    let whole = depth / 4 * 4;
    for i in (0..whole).step_by(4) {
        let panel = &mut panel[i * COLUMNS..][..4 * COLUMNS];
        let mut block = [[0f32; 4]; COLUMNS];
        for (values, line) in block.iter_mut().zip(&lines) {
            values.copy_from_slice(&line[i..i + 4]);
        }
        for (k, out) in panel.chunks_exact_mut(COLUMNS).enumerate() {
            for (out, values) in out.iter_mut().zip(&block) {
                *out = values[k];
            }
        }
    }
    for i in whole..depth {
        for (j, line) in lines.iter().enumerate() {
            panel[i * COLUMNS + j] = line[i];
        }
    }
}

/// The next multiple.
pub(super) fn round_up(value: usize, to: usize) -> usize {
    value.div_ceil(to) * to
}

/// Makes scratch memory this long; what it holds is of no use any more.
pub(super) fn fit(scratch: &mut Vec<f32>, length: usize) {
    if scratch.capacity() < length {
        // A vector that grows by itself takes twice what it had, beside it.
        *scratch = Vec::new();
        scratch.reserve_exact(length);
    }
    scratch.resize(length, 0.0);
}

//! Matrix products around the micro-kernel: after Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication" (2008), with only B packed, since a tile of A is read
//! row by row anyway.

use std::cell::RefCell;
use std::ops::Range;

use super::microkernel::{COLUMNS, ROWS, microkernel};

/// Products are summed in blocks of this many: six rows of A and a panel of B stay in the first
/// cache.
const K_BLOCK: usize = 256;
/// Columns packed at a time: the block of B stays in the second cache.
const COLUMN_BLOCK: usize = 256;

thread_local! {
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static LEFT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

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

impl Matrix<'_> {
    fn check(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row + (columns - 1) * self.column;
        assert!(last < self.data.len(), "a matrix of {rows} x {columns} ends after its memory");
    }
}

/// What B is read from: a matrix, or pixels under a moving kernel.
pub trait Source {
    /// Writes `b[k][columns]` as panels `[columns / COLUMNS][k][COLUMNS]`; what lies past the last
    /// column is left as it is.
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]);
}

impl Source for Matrix<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        let depth = k.len();
        for (panel, first) in
            panels.chunks_exact_mut(depth * COLUMNS).zip(columns.clone().step_by(COLUMNS))
        {
            let width = COLUMNS.min(columns.end - first);
            let source = &self.data[k.start * self.row + first * self.column..];
            if self.column == 1 && width == COLUMNS {
                for (i, line) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                    line.copy_from_slice(&source[i * self.row..][..COLUMNS]);
                }
            } else if self.row == 1 && width == COLUMNS {
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

/// What the sums start from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// What is in C.
    Given,
    /// One number for each row.
    Rows(&'a [f32]),
    /// One number for each column.
    Columns(&'a [f32]),
}

/// `C [m, n] = start + A [m, k] B [k, n]`, C's rows being `stride` elements apart.
///
/// # Panics
/// When a matrix ends after its memory.
pub fn multiply(
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: &impl Source,
    c: &mut [f32],
    stride: usize,
    start: Start<'_>,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= c.len() && n <= stride, "a product of {m} x {n} ends after C");
    let add = match start {
        Start::Zero => k == 0,
        Start::Given => true,
        Start::Rows(bias) => {
            c.chunks_mut(stride).zip(&bias[..m]).for_each(|(row, bias)| row[..n].fill(*bias));
            true
        }
        Start::Columns(bias) => {
            c.chunks_mut(stride).take(m).for_each(|row| row[..n].copy_from_slice(&bias[..n]));
            true
        }
    };
    if k == 0 {
        if matches!(start, Start::Zero) {
            c.chunks_mut(stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    a.check(m, k);
    PANELS.with_borrow_mut(|panels| {
        LEFT.with_borrow_mut(|left| {
            panels.resize(panels.len().max(K_BLOCK * COLUMN_BLOCK), 0.0);
            for n0 in (0..n).step_by(COLUMN_BLOCK) {
                let columns = n0..n.min(n0 + COLUMN_BLOCK);
                for k0 in (0..k).step_by(K_BLOCK) {
                    let depth = k0..k.min(k0 + K_BLOCK);
                    let size = columns.len().div_ceil(COLUMNS) * COLUMNS * depth.len();
                    b.pack(depth.clone(), columns.clone(), &mut panels[..size]);
                    let a = rows_of(a, m, depth.clone(), left);
                    let block = Block {
                        panels: &panels[..size],
                        depth: depth.len(),
                        columns: columns.clone(),
                    };
                    block.multiply(m, a, c, stride, add || k0 > 0);
                }
            }
        });
    });
}

/// A's columns `k` with their elements next to each other, copied to `left` where they weren't.
fn rows_of<'a>(a: Matrix<'a>, m: usize, k: Range<usize>, left: &'a mut Vec<f32>) -> Matrix<'a> {
    if a.column == 1 {
        return Matrix { data: &a.data[k.start..], ..a };
    }
    let depth = k.len();
    left.resize(left.len().max(m * depth), 0.0);
    for (i, column) in k.enumerate() {
        let source = &a.data[column * a.column..];
        for r in 0..m {
            left[r * depth + i] = source[r * a.row];
        }
    }
    Matrix { data: left, row: depth, column: 1 }
}

/// A packed block of B.
struct Block<'a> {
    panels: &'a [f32],
    depth: usize,
    columns: Range<usize>,
}

impl Block<'_> {
    fn multiply(&self, m: usize, a: Matrix<'_>, c: &mut [f32], stride: usize, add: bool) {
        const F32: usize = size_of::<f32>();
        let panel = self.depth * COLUMNS;
        for r0 in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - r0);
            let kernel = microkernel(rows);
            let a_rows = &a.data[r0 * a.row..];
            debug_assert!((rows - 1) * a.row + self.depth <= a_rows.len());
            for (panel, first) in
                self.panels.chunks_exact(panel).zip(self.columns.clone().step_by(COLUMNS))
            {
                let width = COLUMNS.min(self.columns.end - first);
                let tile = &mut c[r0 * stride + first..];
                if width == COLUMNS {
                    kernel(
                        self.depth,
                        a_rows.as_ptr(),
                        a.row * F32,
                        panel.as_ptr(),
                        tile.as_mut_ptr(),
                        stride * F32,
                        usize::from(add),
                    );
                } else {
                    let mut edge = [0f32; ROWS * COLUMNS];
                    kernel(
                        self.depth,
                        a_rows.as_ptr(),
                        a.row * F32,
                        panel.as_ptr(),
                        edge.as_mut_ptr(),
                        COLUMNS * F32,
                        0,
                    );
                    for (row, edge) in tile.chunks_mut(stride).zip(edge.chunks(COLUMNS)).take(rows)
                    {
                        for (value, edge) in row[..width].iter_mut().zip(edge) {
                            *value = if add { *value + edge } else { *edge };
                        }
                    }
                }
            }
        }
    }
}

//! Matrix products around the micro-kernel: after Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication" (2008), with only B packed, since a tile of A is read
//! row by row anyway.

use std::ops::Range;

use super::microkernel::{COLUMNS, ROWS, microkernel, tiles};
use super::pack::{K_BLOCK, Matrix, Source, round_up};
use super::threads::{Split, operations, parts, share};
use super::weights::Left;

/// Columns packed at a time: the block of B stays in the second cache.
const COLUMN_BLOCK: usize = 256;

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

/// Rows of A that are copied at a time where a row's elements don't lie side by side.
const ROW_BLOCK: usize = 40 * ROWS;

/// Elements of memory that a thread needs for [`Product::block`].
pub const SCRATCH: usize = K_BLOCK * COLUMN_BLOCK + ROW_BLOCK * K_BLOCK;

/// `C [m, n] = start + A [m, k] B [k, n]`, C's rows being `stride` elements apart, on all threads.
///
/// # Panics
/// When a matrix ends after its memory.
pub fn multiply<'a>(
    [m, n, k]: [usize; 3],
    a: impl Into<Left<'a>>,
    b: &(impl Source + Sync),
    c: &mut [f32],
    stride: usize,
    start: Start<'_>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let left: Left<'a> = a.into();
    let product = Product::new([m, n, k], left, b, start);
    let grid = Grid::new([m, n, k]);
    let target = Target::new(c, stride, [m, n]);
    share(grid.parts(), SCRATCH, |part, scratch| {
        let (rows, columns) = grid.part(part);
        // SAFETY: the parts of a grid don't overlap.
        unsafe { product.block(rows, columns, target, scratch) };
    });
}

/// How a product is cut for threads.
struct Grid {
    size: [usize; 2],
    /// Rows and columns of a part.
    part: [usize; 2],
}

impl Grid {
    fn new([m, n, k]: [usize; 3]) -> Self {
        /// Products in the time of a simple operation.
        const TOGETHER: u64 = if cfg!(test) { 1 } else { 16 };
        /// Cut finer, packing B, or reading A, would cost more than the second thread is worth.
        const LEAST: [usize; 2] =
            if cfg!(test) { [ROWS, COLUMNS] } else { [8 * ROWS, 8 * COLUMNS] };
        let wanted = parts(operations(&[m, n, k]) / TOGETHER);
        let columns = round_up(n.div_ceil(wanted).max(LEAST[1]), COLUMNS).min(n);
        let rows = m.div_ceil(wanted.div_ceil(n.div_ceil(columns)));
        let rows = round_up(rows.max(LEAST[0]), ROWS).min(m);
        Self { size: [m, n], part: [rows, columns] }
    }

    fn across(&self) -> usize {
        self.size[1].div_ceil(self.part[1])
    }

    fn parts(&self) -> usize {
        self.across() * self.size[0].div_ceil(self.part[0])
    }

    fn part(&self, number: usize) -> (Range<usize>, Range<usize>) {
        let range = |i: usize, place: usize| {
            let first = place * self.part[i];
            first..self.size[i].min(first + self.part[i])
        };
        (range(0, number / self.across()), range(1, number % self.across()))
    }
}

/// Where C lies.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    memory: Split<'a>,
    stride: usize,
}

impl<'a> Target<'a> {
    /// A matrix of this size whose rows are `stride` elements apart.
    ///
    /// # Panics
    /// When it ends after its memory.
    pub fn new(c: &'a mut [f32], stride: usize, size: [usize; 2]) -> Self {
        Self::within(Split::new(c), 0, stride, size)
    }

    /// The same from element `first` on of what threads share.
    ///
    /// # Panics
    /// When it ends after its memory.
    pub fn within(memory: Split<'a>, first: usize, stride: usize, [m, n]: [usize; 2]) -> Self {
        let inside = m == 0 || first + (m - 1) * stride + n <= memory.len();
        assert!(inside && n <= stride, "a product of {m} x {n} ends after C");
        Self { memory: memory.from(first), stride }
    }

    /// # Safety
    /// Nobody else has these elements.
    unsafe fn row(self, row: usize, columns: &Range<usize>) -> &'a mut [f32] {
        unsafe { self.memory.piece(row * self.stride + columns.start, columns.len()) }
    }
}

/// What C is.
pub struct Product<'a, B> {
    size: [usize; 3],
    a: Left<'a>,
    b: &'a B,
    start: Start<'a>,
}

impl<'a, B: Source> Product<'a, B> {
    /// `start + A [m, k] B [k, n]`.
    ///
    /// # Panics
    /// When A ends after its memory.
    pub fn new(size: [usize; 3], a: impl Into<Left<'a>>, b: &'a B, start: Start<'a>) -> Self {
        let a = a.into();
        if size.iter().all(|length| *length > 0) {
            a.check(size[0], size[2]);
        }
        Self { size, a, b, start }
    }

    /// All of C, by the calling thread alone.
    ///
    /// # Safety
    /// As of [`block`](Self::block).
    pub unsafe fn all(&self, target: Target<'_>, scratch: &mut [f32]) {
        let [m, n, _] = self.size;
        unsafe { self.block(0..m, 0..n, target, scratch) };
    }

    /// Some rows and columns of C, with [`SCRATCH`] elements of memory.
    ///
    /// # Safety
    /// `target` has the product's size, and nobody else uses those of its elements meanwhile.
    pub unsafe fn block(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        target: Target<'_>,
        scratch: &mut [f32],
    ) {
        let k = self.size[2];
        let (panels, left) = scratch[..SCRATCH].split_at_mut(K_BLOCK * COLUMN_BLOCK);
        let add = self.begin(&rows, &columns, target);
        for n0 in columns.clone().step_by(COLUMN_BLOCK) {
            let columns = n0..columns.end.min(n0 + COLUMN_BLOCK);
            for k0 in (0..k).step_by(K_BLOCK) {
                let depth = k0..k.min(k0 + K_BLOCK);
                let size = round_up(columns.len(), COLUMNS) * depth.len();
                let panels = match self.b.packed(&depth, &columns) {
                    Some(panels) => &panels[..size],
                    None => {
                        self.b.pack(depth.clone(), columns.clone(), &mut panels[..size]);
                        &panels[..size]
                    }
                };
                let block = Block { panels, depth: depth.len(), columns: columns.clone() };
                for r0 in rows.clone().step_by(ROW_BLOCK) {
                    let rows = r0..rows.end.min(r0 + ROW_BLOCK);
                    let a = self.a.rows(rows.clone(), depth.clone(), left);
                    // SAFETY: as the caller promises.
                    unsafe { block.multiply(rows, a, target, add || k0 > 0) };
                }
            }
        }
    }

    /// Puts what the sums start from into C; whether there is anything.
    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>, target: Target<'_>) -> bool {
        for row in rows.clone() {
            // SAFETY: as block's caller promises.
            let line = unsafe { target.row(row, columns) };
            match self.start {
                Start::Zero if self.size[2] > 0 => return false,
                Start::Given => return true,
                Start::Zero => line.fill(0.0),
                Start::Rows(bias) => line.fill(bias[row]),
                Start::Columns(bias) => line.copy_from_slice(&bias[columns.clone()]),
            }
        }
        true
    }
}

/// A packed block of B.
struct Block<'a> {
    panels: &'a [f32],
    depth: usize,
    columns: Range<usize>,
}

impl Block<'_> {
    /// # Safety
    /// Nobody else uses these rows and columns of C.
    unsafe fn multiply(&self, rows: Range<usize>, a: Matrix<'_>, c: Target<'_>, add: bool) {
        const F32: usize = size_of::<f32>();
        let panel = self.depth * COLUMNS;
        let whole = self.columns.len() / COLUMNS;
        let edge_first = self.columns.start + whole * COLUMNS;
        for (r0, height) in tiles(rows.len()) {
            let kernel = microkernel(height);
            let a_rows = &a.data[r0 * a.row..];
            debug_assert!((height - 1) * a.row + self.depth <= a_rows.len());
            let run = |panels: &[f32], c: *mut f32, stride: usize, add: bool| {
                let (left, right) = (a_rows.as_ptr(), panels.as_ptr());
                let count = panels.len() / panel;
                kernel(self.depth, left, a.row * F32, right, count, c, stride * F32, add.into());
            };
            let row = rows.start + r0;
            let (panels, edge_panel) = self.panels.split_at(whole * panel);
            if whole > 0 {
                let first = c.memory.at(row * c.stride + self.columns.start);
                run(panels, first, c.stride, add);
            }
            if edge_first < self.columns.end {
                let mut edge = [0f32; ROWS * COLUMNS];
                run(edge_panel, edge.as_mut_ptr(), COLUMNS, false);
                let columns = edge_first..self.columns.end;
                for (r, edge) in edge.chunks(COLUMNS).take(height).enumerate() {
                    // SAFETY: as the caller promises.
                    let line = unsafe { c.row(row + r, &columns) };
                    for (value, edge) in line.iter_mut().zip(edge) {
                        *value = if add { *value + edge } else { *edge };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::threads;

    /// The convolutions of SD 1.5's decoder have multiples of 2^32 products at sizes that people
    /// use, of which 32 bits, the browser's `usize`, keep nothing.
    #[test]
    fn a_picture_s_convolutions_are_shared() {
        threads::set_count(4);
        let level = |channels: usize, side: usize| [channels, side * side, 9 * channels];
        for (size, products) in [
            (level(128, 512), 9 << 32),
            (level(128, 1024), 36 << 32),
            (level(256, 512), 36 << 32),
            (level(512, 256), 36 << 32),
            (level(512, 128), 9 << 32),
            ([256, 1024 * 1024, 9 * 256], 144 << 32),
        ] {
            assert_eq!(operations(&size), products);
            assert_eq!(products as u32, 0, "32 bits hold nothing of it");
            let grid = Grid::new(size);
            assert!(grid.parts() >= 4, "{size:?} in {} parts", grid.parts());
        }
        // Attention at 1024 x 1024 pixels with 16 heads, and a norm's lines.
        assert_eq!(parts(operations(&[16, 16384, 16384])), 12);
        assert_eq!(parts(operations(&[32, 2048 * 2048, 32])), 12);
    }
}

//! What attention does to its scores, in powers of two. In the browser the functions here are replaced
//! as those of [`super::microkernel`] are: a fused multiply-and-add halves the polynomials.

use std::hint::black_box;

use super::math;
use super::microkernel::{COLUMNS, ROWS, each_tile, microkernel, tiles};
use super::pack::Matrix;

/// Elements of a vector.
pub const LANES: usize = 4;

/// `(line, vectors, most) -> sum`: each x of the line to `2^(x - most)`.
pub type Powers = extern "C" fn(*mut f32, usize, f32) -> f32;

extern "C" fn compiled_powers(line: *mut f32, vectors: usize, most: f32) -> f32 {
    // SAFETY: `powers` gives what it has.
    let line = unsafe { std::slice::from_raw_parts_mut(line, vectors * LANES) };
    math::sum_changed(line, |x| math::exp2(x - most))
}

/// `(k, a, bytes from row to row of a, b, panels, starts, powers, bytes from panel to panel)`: to packed
/// powers `2^(a b + start of the row)`; a and b as in [`super::microkernel::Microkernel`].
pub type PowersOf =
    extern "C" fn(usize, *const f32, usize, *const f32, usize, *const f32, *mut f32, usize);

extern "C" fn compiled_powers_of<const R: usize>(
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    panels: usize,
    starts: *const f32,
    powers: *mut f32,
    panel_stride: usize,
) {
    // SAFETY: `Block::powers` checks that all of it is there.
    unsafe {
        each_tile::<R>(*starts.cast(), k, a, a_stride, b, panels, |panel, sums| {
            let powers = powers.byte_add(panel * panel_stride).cast::<[[f32; COLUMNS]; R]>();
            *powers = sums.map(|line| line.map(math::exp2));
        });
    }
}

/// The same up to the powers, then `(slopes packed, slopes, bytes from row to row of these)`: to both
/// slopes `(a b + start of the row) power`.
pub type SlopesOf = extern "C" fn(
    usize,
    *const f32,
    usize,
    *const f32,
    usize,
    *const f32,
    *const f32,
    usize,
    *mut f32,
    *mut f32,
    usize,
);

extern "C" fn compiled_slopes_of<const R: usize>(
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    panels: usize,
    starts: *const f32,
    powers: *const f32,
    panel_stride: usize,
    in_slopes: *mut f32,
    slopes: *mut f32,
    stride: usize,
) {
    // SAFETY: `Block::slopes` checks that all of it is there.
    unsafe {
        each_tile::<R>(*starts.cast(), k, a, a_stride, b, panels, |panel, sums| {
            let powers = &*powers.byte_add(panel * panel_stride).cast::<[[f32; COLUMNS]; R]>();
            let in_slopes = in_slopes.byte_add(panel * panel_stride).cast::<[f32; COLUMNS]>();
            let slopes = slopes.add(panel * COLUMNS);
            for (r, (sums, powers)) in sums.iter().zip(powers).enumerate() {
                let line = std::array::from_fn(|i| sums[i] * powers[i]);
                *in_slopes.add(r) = line;
                *slopes.byte_add(r * stride).cast::<[f32; COLUMNS]>() = line;
            }
        });
    }
}

/// `(k, a, bytes from row to row of a, b, panels, starts, powers, bytes from row to row of these, sums)`:
/// `2^(a b + start of the row)` line by line; what each lane of a row's vectors sums up to is added to
/// its sums.
pub type SumsOf = extern "C" fn(
    usize,
    *const f32,
    usize,
    *const f32,
    usize,
    *const f32,
    *mut f32,
    usize,
    *mut [f32; LANES],
);

extern "C" fn compiled_sums_of<const R: usize>(
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    panels: usize,
    starts: *const f32,
    powers: *mut f32,
    stride: usize,
    totals: *mut [f32; LANES],
) {
    // SAFETY: `Block::sums` checks that all of it is there.
    unsafe {
        each_tile::<R>(*starts.cast(), k, a, a_stride, b, panels, |panel, sums| {
            let powers = powers.add(panel * COLUMNS);
            for (r, sums) in sums.into_iter().enumerate() {
                let line = sums.map(math::exp2);
                *powers.byte_add(r * stride).cast::<[f32; COLUMNS]>() = line;
                let total = &mut *totals.add(r);
                for (lane, total) in total.iter_mut().enumerate() {
                    *total += line[lane] + line[lane + LANES];
                }
            }
        });
    }
}

macro_rules! of_each_height {
    ($function:ident) => {
        [
            $function::<1>,
            $function::<2>,
            $function::<3>,
            $function::<4>,
            $function::<5>,
            $function::<6>,
        ]
    };
}

static POWERS: Powers = compiled_powers;
static POWERS_OF: [PowersOf; ROWS] = of_each_height!(compiled_powers_of);
static SLOPES_OF: [SlopesOf; ROWS] = of_each_height!(compiled_slopes_of);
static SUMS_OF: [SumsOf; ROWS] = of_each_height!(compiled_sums_of);

/// Names in the modules that `build.rs` writes, and places in the table of functions.
pub fn places() -> Vec<(String, usize)> {
    let mut places = vec![("powers".into(), POWERS as usize)];
    for rows in 1..=ROWS {
        places.push((format!("powers_of{rows}"), POWERS_OF[rows - 1] as usize));
        places.push((format!("slopes_of{rows}"), SLOPES_OF[rows - 1] as usize));
        places.push((format!("sums_of{rows}"), SUMS_OF[rows - 1] as usize));
    }
    places
}

/// Each x of the line to `2^(x - most)`; the sum of those.
pub fn powers(line: &mut [f32], most: f32) -> f32 {
    let (whole, rest) = line.split_at_mut(line.len() / LANES * LANES);
    // Hidden from the optimiser, which would call the function that stands here now.
    let sum = black_box(POWERS)(whole.as_mut_ptr(), whole.len() / LANES, most);
    sum + math::sum_changed(rest, |x| math::exp2(x - most))
}

/// A product, some of whose rows and columns make a block, and a number for each row to add to it.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    k: usize,
    a: Matrix<'a>,
    panels: &'a [f32],
    starts: &'a [f32],
}

impl<'a> Block<'a> {
    /// `a [rows, k]`, its rows lying together, times a packed matrix of k rows and whole panels; as many
    /// rows as starts.
    ///
    /// # Panics
    /// When a ends after its memory.
    pub fn new(k: usize, a: Matrix<'a>, panels: &'a [f32], starts: &'a [f32]) -> Self {
        assert!(a.column == 1 && panels.len().is_multiple_of(k * COLUMNS));
        a.check(starts.len(), k);
        Self { k, a, panels, starts }
    }

    /// Columns, those that fill the last panel among them.
    fn columns(&self) -> usize {
        self.panels.len() / self.k
    }

    /// For each tile what its kernel takes, from k to the starts, before these its first row and their
    /// number.
    fn tiles(self) -> impl Iterator<Item = ([usize; 2], Arguments)> {
        let panels = self.columns() / COLUMNS;
        tiles(self.starts.len()).map(move |(first, height)| {
            let a = self.a.data[first * self.a.row..].as_ptr();
            let starts = self.starts[first..].as_ptr();
            let stride = self.a.row * size_of::<f32>();
            ([first, height], (self.k, a, stride, self.panels.as_ptr(), panels, starts))
        })
    }

    /// `a b` line by line, whatever the starts.
    ///
    /// # Panics
    /// When it hasn't the block's size.
    pub fn products(self, products: &mut [f32]) {
        let columns = self.columns();
        assert_eq!(products.len(), self.starts.len() * columns);
        for ([first, height], (k, a, stride, b, panels, _)) in self.tiles() {
            let c = products[first * columns..].as_mut_ptr();
            microkernel(height)(k, a, stride, b, panels, c, columns * size_of::<f32>(), 0);
        }
    }

    /// `2^(a b + start)` line by line; each row's are added to its `totals`, lane by lane.
    ///
    /// # Panics
    /// When one of them hasn't the block's size.
    pub fn sums(self, powers: &mut [f32], totals: &mut [[f32; LANES]]) {
        let (rows, columns) = (self.starts.len(), self.columns());
        assert!(powers.len() == rows * columns && totals.len() == rows);
        for ([first, height], (k, a, stride, b, panels, starts)) in self.tiles() {
            let powers = powers[first * columns..].as_mut_ptr();
            let totals = totals[first..].as_mut_ptr();
            let kernel = black_box(SUMS_OF[height - 1]);
            kernel(k, a, stride, b, panels, starts, powers, columns * size_of::<f32>(), totals);
        }
    }

    /// `2^(a b + start)`, as a packed matrix.
    ///
    /// # Panics
    /// When it hasn't the block's size.
    pub fn powers(self, powers: &mut [f32]) {
        let rows = self.starts.len();
        assert_eq!(powers.len(), rows * self.columns());
        let panel_stride = rows * COLUMNS * size_of::<f32>();
        for ([first, height], (k, a, stride, b, panels, starts)) in self.tiles() {
            let powers = powers[first * COLUMNS..].as_mut_ptr();
            // Hidden from the optimiser, as above.
            let kernel = black_box(POWERS_OF[height - 1]);
            kernel(k, a, stride, b, panels, starts, powers, panel_stride);
        }
    }

    /// `(a b + start) power`, packed and line by line.
    ///
    /// # Panics
    /// When one of the three hasn't the block's size.
    pub fn slopes(self, powers: &[f32], in_slopes: &mut [f32], slopes: &mut [f32]) {
        let (rows, columns) = (self.starts.len(), self.columns());
        assert!([powers.len(), in_slopes.len(), slopes.len()] == [rows * columns; 3]);
        let panel_stride = rows * COLUMNS * size_of::<f32>();
        for ([first, height], (k, a, stride, b, panels, starts)) in self.tiles() {
            let powers = powers[first * COLUMNS..].as_ptr();
            let in_slopes = in_slopes[first * COLUMNS..].as_mut_ptr();
            let slopes = slopes[first * columns..].as_mut_ptr();
            let kernel = black_box(SLOPES_OF[height - 1]);
            let row = columns * size_of::<f32>();
            kernel(k, a, stride, b, panels, starts, powers, panel_stride, in_slopes, slopes, row);
        }
    }
}

/// `(k, a, bytes from row to row of a, b, panels, starts)`.
type Arguments = (usize, *const f32, usize, *const f32, usize, *const f32);

//! The innermost loop of everything: tiles of C, each `ROWS x 8` sums in registers.
//!
//! In the browser the functions here are replaced, when the engine starts, by those that `build.rs`
//! wrote: with fused multiply-and-add where the browser has relaxed SIMD, without it elsewhere.

use std::hint::black_box;
use std::sync::OnceLock;

/// Columns of a tile, and of a panel of B.
pub const COLUMNS: usize = 8;
/// The most rows of a tile.
pub const ROWS: usize = 6;

/// `c[r][j] (+)= sum over k of a[r][k] b[k][j]`: `(k, a, bytes from row to row of a, b, panels, c, bytes
/// from row to row of c, add)`. `b` is one panel `[k][COLUMNS]` after another, at least one, for tiles
/// that lie side by side in c: a call for each would cost as much as ten k.
pub type Microkernel =
    extern "C" fn(usize, *const f32, usize, *const f32, usize, *mut f32, usize, usize);

/// Gives `each` tile its number and its sums of products, from a number for each row on.
///
/// # Safety
/// There are R rows of k numbers at `a`, and `panels` panels of k rows at `b`.
#[inline(always)]
pub(super) unsafe fn each_tile<const R: usize>(
    starts: [f32; R],
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    panels: usize,
    mut each: impl FnMut(usize, [[f32; COLUMNS]; R]),
) {
    for panel in 0..panels {
        let mut sums = starts.map(|start| [start; COLUMNS]);
        for i in 0..k {
            // SAFETY: as the caller promises.
            let b = unsafe { &*b.add((panel * k + i) * COLUMNS).cast::<[f32; COLUMNS]>() };
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller promises.
                let a = unsafe { *a.byte_add(r * a_stride).add(i) };
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        each(panel, sums);
    }
}

extern "C" fn tile<const R: usize>(
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    panels: usize,
    c: *mut f32,
    c_stride: usize,
    add: usize,
) {
    // SAFETY: `gemm::multiply` checks that the tiles lie in their slices, as the signature says.
    unsafe {
        each_tile([0.0; R], k, a, a_stride, b, panels, |panel, sums| {
            for (r, sums) in sums.iter().enumerate() {
                let c = c.add(panel * COLUMNS).byte_add(r * c_stride);
                let c = &mut *c.cast::<[f32; COLUMNS]>();
                for (c, sum) in c.iter_mut().zip(sums) {
                    *c = if add == 0 { *sum } else { *c + sum };
                }
            }
        });
    }
}

static TILES: [Microkernel; ROWS] =
    [tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<6>];

/// The kernel for `rows` rows, 1 to [`ROWS`].
pub fn microkernel(rows: usize) -> Microkernel {
    // Hidden from the optimiser, which would call the function that stands here now.
    black_box(TILES[rows - 1])
}

/// Where tiles begin that these rows are done in, and how many rows each has.
pub fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = rows - first;
        if left == 0 {
            return None;
        }
        // Two tiles of four rows rather than six and two, whose four sums would wait for each other.
        let height = if left < 2 * ROWS { left.div_ceil(left.div_ceil(ROWS)) } else { ROWS };
        first += height;
        Some((first - height, height))
    })
}

static INSTALLED: OnceLock<&str> = OnceLock::new();

/// Which kernels run: `relaxed SIMD`, `SIMD`, or `compiled`, those above.
pub fn installed() -> &'static str {
    INSTALLED.get().copied().unwrap_or("compiled")
}

/// The places of the kernels for 1 to [`ROWS`] rows, to put others there. On wasm a function pointer
/// is an index of the module's table of functions.
pub fn places() -> [Microkernel; ROWS] {
    TILES
}

/// Notes what was put there.
pub fn note_installed(name: &'static str) {
    // Whoever installs twice puts the same ones there.
    let _ = INSTALLED.set(name);
}

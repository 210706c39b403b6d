//! Matrix products, `y = alpha * (a b) + bias + residual`, in batches.

use super::text::Tile;

mod direct;
mod factors;
mod panel;
mod tiled;

use factors::SIZES;

pub use direct::Direct;
pub use factors::{Bias, Form, LowRank, Product};
pub use panel::Panel;
pub use tiled::Tiled;

/// A kernel for `y = alpha * (a b) + bias + residual`, or, with a product of low rank, `y = a b + alpha *
/// (h u) + bias + residual`.
///
/// - Bindings: `a`, `b`, `bias` (where there is one), `res` (where `residual`), `h`, `u` (where
///   `low_rank`), `y`, `info`.
/// - `info = [M, N, K, stride of a, stride of b, stride of y, alpha (bits of an f32), R]`, then the place
///   of the grid's part ([`super::parts`]). Strides are elements from one product of the batch to the next, 0 for a factor that all have in common.
///   `res` lies as y does, `bias` is common to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matmul {
    /// Each invocation on its own, from the buffers.
    Direct(Direct),
    /// Workgroups together, by way of workgroup memory.
    Tiled(Tiled),
    /// The same four numbers at a time, where sizes are multiples.
    Panel(Panel),
}

impl Matmul {
    /// The kernel for sizes `[M, N, K]`.
    pub fn choose(product: Product, [m, n, k]: [u32; 3], software: bool) -> Self {
        // From the literature, not measured on a GPU here: below this, most of a tile is padding.
        if !software && m >= 64 && n >= 64 && k >= 32 {
            if Panel::takes(product, [m, n, k]) {
                return Self::Panel(Panel { product });
            }
            return Self::Tiled(Tiled { product, tile: Tile::SMALL });
        }
        Self::Direct(Direct::choose(product, [m, n, k], software))
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        match self {
            Self::Direct(kernel) => kernel.wgsl(),
            Self::Tiled(kernel) => kernel.wgsl(),
            Self::Panel(kernel) => kernel.wgsl(),
        }
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        match self {
            Self::Direct(Direct { group: [x, y], .. }) => [*x, *y, 1],
            Self::Tiled(_) => Tile::WORKGROUP,
            Self::Panel(_) => super::panel::WORKGROUP,
        }
    }

    /// Workgroups for `batch` products with `[m, n]` results.
    pub fn grid(&self, m: u32, n: u32, batch: u32) -> [u32; 3] {
        let [height, width] = match self {
            Self::Direct(Direct { group: [x, y], rows, columns, .. }) => [y * rows, x * columns],
            Self::Tiled(Tiled { tile, .. }) => [tile.height(), tile.width()],
            Self::Panel(_) => return Panel::grid(m, n, batch),
        };
        [n.div_ceil(width), m.div_ceil(height), batch]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::stored::Stored;
    use super::super::text::{F32, check};
    use super::*;

    fn products() -> impl Iterator<Item = Product> {
        use Stored::*;
        let biases = || [Bias::None, Bias::Columns, Bias::Rows].into_iter();
        let sums = move || biases().flat_map(|bias| [false, true].map(|residual| (bias, residual)));
        [Form::Nt, Form::Nn, Form::Tn].into_iter().flat_map(move |form| {
            sums().enumerate().flat_map(move |(i, (bias, residual))| {
                let kinds =
                    [[F32, F32], [Halves, F32], [F32, Native], [F32, Blocks], [Blocks, F32]];
                let [a, b] = kinds[i % 5];
                [LowRank::None, LowRank::Any, LowRank::Fours].map(|low_rank| Product {
                    form,
                    bias,
                    residual,
                    low_rank,
                    a,
                    b,
                })
            })
        })
    }

    #[test]
    fn kernels_are_sound_and_cover_the_result() {
        let mut seen = HashSet::new();
        let sizes = [1, 2, 3, 4, 7, 16, 64, 77, 320, 1025];
        let shapes = (0..1000).map(|i| [i % 10, i / 10 % 10, i / 100].map(|i: usize| sizes[i]));
        for ([m, n, k], product) in shapes.flat_map(|s| products().map(move |p| (s, p))) {
            let tile = [Tile::SMALL, Tile::TALL, Tile::LARGE][m as usize % 3];
            let software = Matmul::choose(product, [m, n, k], true);
            assert!(matches!(software, Matmul::Direct(_)));
            let gpu = Matmul::choose(product, [m, n, k], false);
            for kernel in [software, gpu, Matmul::Tiled(Tiled { product, tile })] {
                let tile = match kernel {
                    Matmul::Direct(d) => [d.columns * d.group[0], d.rows * d.group[1], 1],
                    Matmul::Tiled(t) => [t.tile.width(), t.tile.height(), 1],
                    Matmul::Panel(_) => [64, 64, 1],
                };
                check::covers(kernel.grid(m, n, 3), tile, [n, m, 3]);
                if seen.insert(kernel) {
                    let names: Vec<_> = product.bindings([F32; 4]).map(|(name, _)| name).collect();
                    assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), names);
                }
            }
        }
    }
}

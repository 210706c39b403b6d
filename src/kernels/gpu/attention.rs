//! Attention, `softmax(scale q k^T) v`, without the scores in memory: every invocation goes over
//! the keys for some queries of its own, with a running softmax (Milakov and Gimelshein, "Online
//! normalizer calculation for softmax"; Dao et al., "FlashAttention"). The gradients compute the
//! scores again.
//!
//! Tensors: q and what is like it `[n, queries, heads * width]`, k and v `[n, keys, heads * width]`.

use super::text::{Buffer, F32, U32, VEC2, VEC4};

mod direct;

pub use direct::Attention;

/// What the layers that share a kernel differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Sequences.
    pub n: u32,
    /// Queries of each.
    pub queries: u32,
    /// Keys of each; with `causal`, no fewer than queries.
    pub keys: u32,
    /// Heads, next to each other in the last dimension.
    pub heads: u32,
}

/// Numbers of `info` that all kernels here have, before the place of the grid's part.
const SIZES: usize = 5;

impl Sizes {
    /// The `info` of all kernels here: `[n, queries, keys, heads, scale (bits of an f32)]`, then the
    /// place of the grid's part ([`super::parts`]).
    pub fn info(&self, scale: f32) -> [u32; 5] {
        [self.n, self.queries, self.keys, self.heads, scale.to_bits()]
    }
}

/// What [`Attention`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The output. Bindings: `q`, `k`, `v`, `o`, `lse [n, heads, queries]` (where `statistics`: the
    /// logarithms of the softmax's denominators, for the gradients), `info`.
    Forward {
        /// Whether `lse` is written.
        statistics: bool,
    },
    /// What the gradients need of each query: `lse`, and g o. Bindings: `g` (the gradient of o),
    /// `o`, `lse`, `stats [n, heads, queries, 2]`, `info`.
    Statistics,
    /// The gradient of q: with probabilities p and `s = p * (g v - g o)`, `dq = scale * sum(s k)`
    /// (Dao, "FlashAttention-2", section 3.1). Bindings: `q`, `k`, `v`, `g`, `stats`, `dq`, `info`.
    QueryGradient,
    /// The gradients of k and v: `dk = scale * sum(s q)`, `dv = sum(p g)`. Bindings: `q`, `k`, `v`,
    /// `g`, `stats`, `dk`, `dv`, `info`: eight, all that WebGPU's default limits allow.
    KeyGradient,
}

impl Pass {
    fn bindings(self) -> Vec<Buffer> {
        let (vectors, rest): (&[_], &[_]) = match self {
            Pass::Forward { statistics: false } => (&["q", "k", "v", "o"], &[]),
            Pass::Forward { statistics: true } => (&["q", "k", "v", "o"], &[("lse", F32)]),
            Pass::Statistics => (&["g", "o"], &[("lse", F32), ("stats", VEC2)]),
            Pass::QueryGradient => (&["q", "k", "v", "g"], &[("stats", VEC2), ("dq", VEC4)]),
            Pass::KeyGradient => {
                (&["q", "k", "v", "g"], &[("stats", VEC2), ("dk", VEC4), ("dv", VEC4)])
            }
        };
        let vectors = vectors.iter().map(|name| (*name, VEC4));
        vectors.chain(rest.iter().copied()).chain([("info", U32)]).collect()
    }

    /// Multiplications and additions: of each query with each key, twice the width of a product, and
    /// so many products.
    fn work(self, sizes: &Sizes, width: u32) -> u64 {
        let products = match self {
            Self::Forward { .. } => 2,
            Self::Statistics => return 0,
            Self::QueryGradient => 3,
            Self::KeyGradient => 4,
        };
        let Sizes { n, queries, keys, heads } = *sizes;
        [n, queries, keys, heads, width].map(u64::from).iter().product::<u64>() * 2 * products
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::check;
    use super::*;

    #[test]
    fn kernels_are_sound_and_cover_the_rows() {
        let passes = [true, false].map(|statistics| Pass::Forward { statistics });
        let passes = [&passes[..], &[Pass::Statistics, Pass::QueryGradient, Pass::KeyGradient]];
        let lengths = [1, 3, 16, 77, 1024];
        for (i, pass) in passes.concat().repeat(600).into_iter().enumerate() {
            let width = [8, 16, 40, 64, 80, 160][i / 5 % 6];
            let [causal, software] = [1, 2].map(|bit| (i / 30) & bit != 0);
            let (queries, keys) = (lengths[i / 120 % 5], lengths[i / 600]);
            let sizes = Sizes { n: 2, queries, keys, heads: 8 };
            let kernel = Attention::choose(pass, width, causal, &sizes, software);
            let length = if pass == Pass::KeyGradient { keys } else { queries };
            check::covers(kernel.grid(&sizes), [kernel.rows * kernel.group, 1, 1], [length, 8, 2]);
            let names: Vec<_> = pass.bindings().into_iter().map(|(name, _)| name).collect();
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), names);
            assert!(names.len() <= 8);
        }
    }
}

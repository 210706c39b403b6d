//! What attention's kernels compute, of which sizes.

use super::super::text::{Buffer, F32, U32, VEC2, VEC4};

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
pub(super) const SIZES: usize = 5;

impl Sizes {
    /// The `info` of all kernels here: `[n, queries, keys, heads, scale (bits of an f32)]`, then the
    /// place of the grid's part ([`parts`](super::super::parts)).
    pub fn info(&self, scale: f32) -> [u32; 5] {
        [self.n, self.queries, self.keys, self.heads, scale.to_bits()]
    }
}

/// What a kernel of attention computes.
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
    /// The buffers, in order.
    pub(super) fn bindings(self) -> Vec<Buffer> {
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
    pub(super) fn work(self, sizes: &Sizes, width: u32) -> u64 {
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

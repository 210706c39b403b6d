//! Attention, `softmax(scale q k^T) v`, without the scores in memory: who goes over the keys for some
//! queries has a running softmax of them (Milakov and Gimelshein, "Online normalizer calculation for
//! softmax"; Dao et al., "FlashAttention"). The gradients compute the scores again.
//!
//! Tensors: q and what is like it `[n, queries, heads * width]`, k and v `[n, keys, heads * width]`.

mod direct;
mod pass;
mod tiled;

use pass::SIZES;

pub use direct::Direct;
pub use pass::{Pass, Sizes};
pub use tiled::Tiled;

/// A kernel of attention. Its `info` is [`Sizes::info`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attention {
    /// Each invocation on its own, from the buffers.
    Direct(Direct),
    /// Workgroups together, by way of workgroup memory.
    Tiled(Tiled),
}

impl Attention {
    /// The kernel for heads of this width.
    pub fn choose(pass: Pass, width: u32, causal: bool, sizes: &Sizes, software: bool) -> Self {
        if !software && let Some(kernel) = Tiled::new(pass, width, causal) {
            return Self::Tiled(kernel);
        }
        Self::Direct(Direct::choose(pass, width, causal, sizes, software))
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        match self {
            Self::Direct(kernel) => kernel.workgroup(),
            Self::Tiled(kernel) => kernel.workgroup(),
        }
    }

    /// Workgroups for these sizes.
    pub fn grid(&self, sizes: &Sizes) -> [u32; 3] {
        match self {
            Self::Direct(kernel) => kernel.grid(sizes),
            Self::Tiled(kernel) => kernel.grid(sizes),
        }
    }

    /// Multiplications and additions for these sizes.
    pub fn work(&self, sizes: &Sizes) -> u64 {
        match self {
            Self::Direct(Direct { pass, width, .. }) => pass.work(sizes, *width),
            Self::Tiled(Tiled { pass, width, .. }) => pass.work(sizes, *width),
        }
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        match self {
            Self::Direct(kernel) => kernel.wgsl(),
            Self::Tiled(kernel) => kernel.wgsl(),
        }
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
            assert!(!software || matches!(kernel, Attention::Direct(_)));
            let length = if pass == Pass::KeyGradient { keys } else { queries };
            let rows = match kernel {
                Attention::Direct(kernel) => kernel.rows * kernel.group,
                Attention::Tiled(kernel) => kernel.rows(),
            };
            check::covers(kernel.grid(&sizes), [rows, 1, 1], [length, 8, 2]);
            let names: Vec<_> = pass.bindings().into_iter().map(|(name, _)| name).collect();
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), names);
            assert!(names.len() <= 8);
        }
    }
}

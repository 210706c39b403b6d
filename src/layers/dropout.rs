//! Dropout inside a low-rank branch, while it is trained.

use burn::tensor::{Tensor, TensorData};

/// What a branch leaves out. The masks are functions of the seed and the shape alone, so a block that
/// is run twice (checkpointing) or a run that is resumed drops the same values on every backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the hidden values `down(x)` that are set to 0; the others grow by `1 / (1 - p)`.
    pub hidden: f32,
    /// Share of the ranks that are left out for a whole sample (kohya's `rank_dropout`).
    pub rank: f32,
    /// Of this branch in this step.
    pub seed: u64,
}

impl Dropout {
    /// `hidden` has the batch in dimension 0 and the rank in dimension `channels`.
    pub(super) fn apply<const D: usize>(&self, hidden: Tensor<D>, channels: usize) -> Tensor<D> {
        let shape = hidden.dims();
        let mut ranks = [1; D];
        ranks[0] = shape[0];
        ranks[channels] = shape[channels];
        let device = hidden.device();
        let mask = |p: f32, shape: [usize; D], stream: u64| {
            let data = TensorData::new(mask(p, shape.iter().product(), self.seed ^ stream), shape);
            // Masks are constants, whatever the hidden values are part of.
            Tensor::<D>::from_data(data, &device).inner()
        };
        let mut hidden = hidden;
        if self.hidden > 0.0 {
            hidden = hidden * mask(self.hidden, shape, 0);
        }
        if self.rank > 0.0 {
            hidden = hidden * mask(self.rank, ranks, 0x5bd1_e995);
        }
        hidden
    }
}

/// `n` numbers, each 0 with probability `p` and `1 / (1 - p)` else.
fn mask(p: f32, n: usize, seed: u64) -> Vec<f32> {
    let keep = 1.0 / (1.0 - p);
    let below = (f64::from(p) * 2f64.powi(64)) as u64;
    (0..n as u64).map(|i| if splitmix(seed, i) < below { 0.0 } else { keep }).collect()
}

/// The `i`-th number of SplitMix64's stream from a seed (Steele, Lea, Flood 2014).
fn splitmix(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_mean_and_repeat() {
        let drawn = mask(0.25, 40_000, 7);
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(drawn, mask(0.25, 40_000, 7));
        assert_ne!(drawn, mask(0.25, 40_000, 8));
        assert_eq!(mask(0.0, 8, 1), [1.0; 8]);
    }
}

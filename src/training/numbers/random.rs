//! Counter-based random numbers: every draw of a run is a pure function of (seed, stream, step).
//!
//! There is no generator to save, so a run that resumes at step k goes on as if it had never
//! stopped; and evaluation or a preview, with streams of their own, can't disturb the training.

use crate::noise::TorchGenerator;

/// What a random number is for. The values stay as they are: a run that resumes depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Stream {
    /// The adapter's factors before the first step; the step is the module's index.
    Init = 1,
    /// The order of the pictures in an epoch; the step is the epoch.
    Order = 2,
    /// The timesteps of a batch.
    Timesteps = 3,
    /// The noise of a batch.
    Noise = 4,
    /// Which captions of a batch are dropped.
    Captions = 5,
    /// Which pictures of a batch are flipped.
    Flips = 6,
    /// The VAE's posterior samples.
    Posterior = 7,
    /// Dropout inside the adapter.
    Dropout = 8,
    /// The fixed timesteps and noise of the evaluation.
    Evaluation = 9,
    /// The order of the class pictures (prior preservation) in an epoch.
    ClassOrder = 10,
    /// The timesteps of the class pictures.
    ClassTimesteps = 11,
    /// The noise of the class pictures.
    ClassNoise = 12,
    /// The noise offset: one number per picture and channel.
    NoiseOffset = 13,
    /// The initial noise of previews.
    Preview = 14,
    /// The noise offset of the class pictures.
    ClassNoiseOffset = 15,
}

/// The generator of `stream` at `step`: each is as good as independent of all others.
///
/// mt19937 takes a seed of 32 bits, so of n generators of a run some two are the same with a
/// probability of about n^2 / 2^33 (1 % for 10,000); they would then serve different purposes or
/// steps that lie far apart, which does no harm.
pub fn generator(seed: u64, stream: Stream, step: u64) -> TorchGenerator {
    let mixed = [stream as u64, step].into_iter().fold(splitmix64(seed), |h, x| splitmix64(h ^ x));
    TorchGenerator::new(mixed)
}

/// SplitMix64 (Steele, Lea and Flood 2014; <https://prng.di.unimi.it/splitmix64.c>): a bijection
/// that scatters neighbouring numbers.
fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Which of `count` pictures make the batch of `step`: positions `step * batch ..` of a row of
/// epochs, each of which has every picture once, in an order of its own.
///
/// A batch may reach over the end of an epoch and may be larger than `count`. Empty without
/// pictures.
pub fn batch_indices(
    seed: u64,
    stream: Stream,
    step: u64,
    batch: usize,
    count: usize,
) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let first = step * batch as u64;
    let mut indices = Vec::with_capacity(batch);
    let mut skip = (first % count as u64) as usize;
    let mut epoch = first / count as u64;
    while indices.len() < batch {
        let order = generator(seed, stream, epoch).randperm(count);
        indices.extend(order.into_iter().skip(skip).take(batch - indices.len()));
        skip = 0;
        epoch += 1;
    }
    indices
}

/// For each of a batch, whether something of this `probability` happens: a flip, a dropped caption.
pub fn chances(seed: u64, stream: Stream, step: u64, batch: usize, probability: f64) -> Vec<bool> {
    let mut generator = generator(seed, stream, step);
    (0..batch).map(|_| f64::from(generator.uniform()) < probability).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchs_integers_and_permutations() {
        // torch.manual_seed(0); torch.randperm(10)
        let order = TorchGenerator::new(0).randperm(10);
        assert_eq!(order, [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]);
        // torch.manual_seed(0); torch.rand(1)
        assert!((TorchGenerator::new(0).uniform() - 0.496_256_6).abs() < 1e-6);
        assert_eq!(TorchGenerator::new(0).randperm(0), [0usize; 0]);
        assert_eq!(TorchGenerator::new(0).integer(0), 0);
    }

    #[test]
    fn every_picture_once_per_epoch() {
        for (batch, count) in [(1, 5), (2, 5), (4, 8), (3, 1), (13, 5), (5, 5)] {
            let all: Vec<usize> = (0..60)
                .flat_map(|step| batch_indices(7, Stream::Order, step, batch, count))
                .collect();
            assert_eq!(all.len(), 60 * batch);
            let epochs: Vec<Vec<usize>> = all.chunks_exact(count).map(<[usize]>::to_vec).collect();
            for epoch in &epochs {
                let mut sorted = epoch.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            assert!(count == 1 || epochs.windows(2).any(|pair| pair[0] != pair[1]));
        }
        assert!(batch_indices(7, Stream::Order, 3, 4, 0).is_empty());
    }

    #[test]
    fn draws_depend_on_seed_stream_and_step_alone() {
        let draw = |seed, stream, step| generator(seed, stream, step).randn(20);
        assert_eq!(draw(1, Stream::Noise, 5), draw(1, Stream::Noise, 5));
        for other in
            [draw(2, Stream::Noise, 5), draw(1, Stream::Flips, 5), draw(1, Stream::Noise, 6)]
        {
            assert_ne!(draw(1, Stream::Noise, 5), other);
        }
        let indices = || batch_indices(1, Stream::Order, 9, 4, 7);
        assert_eq!(indices(), indices());
        let count = (0..1000)
            .flat_map(|step| chances(3, Stream::Captions, step, 4, 0.1))
            .filter(|&dropped| dropped)
            .count();
        assert!((320..480).contains(&count), "{count}");
        assert!(!chances(3, Stream::Flips, 0, 50, 0.0).contains(&true));
        assert!(!chances(3, Stream::Flips, 0, 50, 1.0).contains(&false));
    }
}

//! How the timesteps of a batch are drawn.

use std::ops::Range;

use crate::training::numbers::random::{Stream, generator};
use crate::training::settings::choices::TimestepSampling;

impl TimestepSampling {
    /// The `batch` timesteps of `step`, all in `range` (its start, if the range is empty).
    pub fn draw(
        self,
        seed: u64,
        stream: Stream,
        step: u64,
        batch: usize,
        range: Range<usize>,
    ) -> Vec<usize> {
        let length = range.len().max(1);
        let mut own = generator(seed, stream, step);
        match self {
            Self::Uniform => {
                (0..batch).map(|_| range.start + own.integer(length as u32) as usize).collect()
            }
            Self::Stratified => {
                // Rotating within a stratum, not within the range: in the range, multiples of the
                // golden ratio modulo 1 / n would no longer be evenly spread.
                let start = f64::from(generator(seed, stream, 0).uniform());
                let place = (start + step as f64 * GOLDEN).fract();
                // Which picture gets which stratum must not depend on its place in the batch.
                let strata = own.randperm(batch);
                strata
                    .into_iter()
                    .map(|i| (i as f64 + place) / batch as f64 * length as f64)
                    .map(|t| range.start + (t as usize).min(length - 1))
                    .collect()
            }
        }
    }
}

/// `(sqrt(5) - 1) / 2`: of all rotations of a circle, the multiples of this one are spread best.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_timesteps_stay_in_their_range() {
        let draw =
            |step, range| TimestepSampling::Uniform.draw(1, Stream::Timesteps, step, 4, range);
        let all: Vec<usize> = (0..500).flat_map(|step| draw(step, 100..200)).collect();
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&100), Some(&199)));
        let mean = all.iter().sum::<usize>() as f64 / all.len() as f64;
        assert!((mean - 149.5).abs() < 3.0, "{mean}");
        assert_eq!(draw(0, 5..5), [5; 4]);
    }

    #[test]
    fn stratified_timesteps_cover_the_range_in_a_batch_and_over_steps() {
        let draw = |step, batch| {
            TimestepSampling::Stratified.draw(1, Stream::Timesteps, step, batch, 0..1000)
        };
        for batch in [1, 2, 4, 8] {
            for step in 0..50 {
                let mut strata: Vec<usize> =
                    draw(step, batch).into_iter().map(|t| t * batch / 1000).collect();
                strata.sort_unstable();
                assert_eq!(strata, (0..batch).collect::<Vec<_>>());
            }
            // Steinhaus: 89 points (a Fibonacci number) leave no gap over 1.62 / 89 of a stratum.
            let mut all: Vec<usize> = (0..89).flat_map(|step| draw(step, batch)).collect();
            all.sort_unstable();
            let widest = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(widest <= 19 / batch + 1, "{widest}");
        }
        assert_eq!(draw(3, 8), draw(3, 8));
        let first = |step| draw(step, 8)[0] / 125;
        assert!((0..20).any(|step| first(step) != first(0)), "the strata are not shuffled");
    }
}

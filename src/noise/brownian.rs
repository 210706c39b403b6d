//! The noise of samplers that solve a stochastic equation: increments of one Brownian path of the seed, so
//! that the same stretch of noise levels gets the same noise however it is cut, and more steps draw the
//! same picture (k-diffusion's `BrownianTreeNoiseSampler` over torchsde's `BrownianInterval`).

use super::seed_sequence::first_word;
use super::{Generator, Rng};

/// A path over noise levels, for one picture.
#[derive(Debug, Clone)]
pub struct BrownianTree {
    rng: Rng,
    seed: u64,
    low: f64,
    high: f64,
    /// The path's increment from `low` to `high`.
    whole: Vec<f32>,
    /// A level that was asked for last, and the increment up to it: the next step begins there.
    last: Option<(f64, Vec<f32>)>,
}

impl BrownianTree {
    /// Of `n` numbers, between the lowest level above 0 and the highest of a whole schedule.
    pub fn new(rng: Rng, seed: u64, n: usize, [low, high]: [f64; 2]) -> Self {
        let [low, high] = [low, high].map(single);
        let scale = (high - low).sqrt() as f32;
        let mut whole = Generator::new(rng, u64::from(first_word(seed, None))).randn(n);
        whole.iter_mut().for_each(|x| *x *= scale);
        Self { rng, seed, low: rounded(low), high: rounded(high), whole, last: None }
    }

    /// Unit normal noise of the way from level `from` down to `to`.
    pub fn noise(&mut self, from: f64, to: f64) -> Vec<f32> {
        let [from, to] = [from, to].map(single);
        let scale = -1.0 / (from - to).sqrt() as f32;
        let (start, end) = (self.at(from), self.at(to));
        start.iter().zip(&end).map(|(a, b)| (a - b) * scale).collect()
    }

    /// The increment from the lowest level up to `level`.
    fn at(&mut self, level: f64) -> Vec<f32> {
        let level = rounded(level.clamp(self.low, self.high));
        if let Some((_, increment)) = self.last.as_ref().filter(|(last, _)| *last == level) {
            return increment.clone();
        }
        let increment = self.descend(level);
        self.last = Some((level, increment.clone()));
        increment
    }

    /// Halves the stretch that the level lies in until it is an end of it. A half's increment follows from
    /// the whole's and from noise of its own, whose seed is its place in the tree.
    fn descend(&self, level: f64) -> Vec<f32> {
        let (mut start, mut end) = (self.low, self.high);
        let mut below = vec![0.0; self.whole.len()];
        let mut inside = self.whole.clone();
        let mut key = 0;
        // Levels are multiples of a millionth: far fewer halves part any two.
        for depth in 0..60 {
            if level == start || level == end {
                break;
            }
            let middle = rounded(0.5 * (start + end));
            let (left, right) = (middle - start, end - middle);
            let share = (left / (end - start)) as f32;
            let spread = (left * right / (end - start)).sqrt() as f32;
            let seed = u64::from(first_word(self.seed, Some((key, depth))));
            let mut half = Generator::new(self.rng, seed).randn(inside.len());
            half.iter_mut().zip(&inside).for_each(|(x, whole)| *x = whole * share + spread * *x);
            key *= 2;
            if level <= middle {
                (end, inside) = (middle, half);
            } else {
                for ((below, inside), half) in below.iter_mut().zip(&mut inside).zip(half) {
                    *below += half;
                    *inside -= half;
                }
                (start, key) = (middle, key + 1);
            }
        }
        if level == end {
            below.iter_mut().zip(inside).for_each(|(x, inside)| *x += inside);
        }
        below
    }
}

/// As f32, which levels are in k-diffusion.
fn single(level: f64) -> f64 {
    f64::from(level as f32)
}

/// To six decimals, as Python's `round`.
fn rounded(level: f64) -> f64 {
    format!("{level:.6}").parse().unwrap_or(level)
}

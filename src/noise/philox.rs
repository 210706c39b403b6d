//! CUDA's generator, Philox 4x32 with 10 rounds, as A1111 computes it on any machine (`modules/rng_philox.py`;
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3").

/// What `torch.randn` gives on an NVIDIA card, but for the last bits of its logarithm and sine.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    /// Tensors drawn so far.
    draws: u32,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// 2^-32 and 2 pi 2^-32, as the program writes them, in f32.
const UNIT: f32 = 2.328_306_4e-10;
const ANGLE: f32 = UNIT * std::f32::consts::TAU;

impl Philox {
    /// Of all 64 bits of a seed.
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], draws: 0 }
    }

    /// Unit normal numbers of the next tensor: each follows from its place in it.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        let draw = self.draws;
        self.draws = draw.wrapping_add(1);
        let normal = |i: usize| {
            let [a, b, ..] = self.words([draw, 0, i as u32, 0]);
            let u = f64::from(a) * f64::from(UNIT) + f64::from(UNIT) / 2.0;
            let angle = f64::from(b) * f64::from(ANGLE) + f64::from(ANGLE) / 2.0;
            ((-2.0 * u.ln()).sqrt() * angle.sin()) as f32
        };
        (0..n).map(normal).collect()
    }

    /// The four words of a counter.
    fn words(&self, counter: [u32; 4]) -> [u32; 4] {
        let ([mut a, mut b, mut c, mut d], mut key) = (counter, self.key);
        for round in 0..ROUNDS {
            if round > 0 {
                key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
            }
            let halves = |x: u32, by: u32| {
                let product = u64::from(x) * u64::from(by);
                [(product >> 32) as u32, product as u32]
            };
            let [high, low] = halves(a, MULTIPLIERS[0]);
            let [above, below] = halves(c, MULTIPLIERS[1]);
            [a, b, c, d] = [above ^ b ^ key[0], below, high ^ d ^ key[1], low];
        }
        [a, b, c, d]
    }
}

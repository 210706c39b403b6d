//! Initial noise: PyTorch's CPU generator, so that a seed gives the picture that diffusers gives.
//!
//! `torch.randn` has three results on x86-64, apart in the last bits: below 16 elements it is
//! computed in f64, one by one; from 16 on in f32 by blocks of 16, with AVX2 and FMA where the
//! machine has them (Cephes polynomials, `ATen/native/cpu/avx_mathfun.h`, which the compiler
//! contracts to fused multiply-adds), else with the C library. Reproduced here, bit for bit, are the
//! first and the AVX2 form, which is that of every x86 processor since 2013. All arithmetic is
//! either exactly rounded by IEEE 754 or, below 16 elements, an f64 logarithm or sine that is
//! rounded to f32 in the end, so the numbers are the same in WebAssembly.

const N: usize = 624;
const M: usize = 397;

/// `torch.Generator("cpu")`: the Mersenne Twister mt19937 and the normal numbers made of it.
#[derive(Debug, Clone)]
pub struct TorchGenerator {
    state: [u32; N],
    next: usize,
    /// The second of the last pair of normal numbers, if it is still to be used.
    spare_normal: Option<f64>,
}

impl TorchGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`: of the seed, mt19937 takes the low 32 bits.
    /// Python's negative seeds are the `u64` of the same bits.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; N];
        for i in 1..N {
            let previous = state[i - 1];
            state[i] =
                (previous ^ (previous >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N, spare_normal: None }
    }

    /// `torch.randn(n, generator=self)`, f32: unit normal numbers. The next call continues the
    /// stream. The order of a tensor's elements is row-major, whatever its shape.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| self.normal_f64() as f32).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform()).collect();
        for block in values.chunks_exact_mut(16) {
            box_muller(block);
        }
        // torch draws the last 16 anew where a block would be left incomplete.
        if !n.is_multiple_of(16) {
            let last = &mut values[n - 16..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }

    /// One number of `torch.rand(n, generator=self)`, f32: in [0, 1), of 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.random() & 0xff_ffff) as f32 / (1u32 << 24) as f32
    }

    /// One number of `torch.randint(0, n, size, generator=self)`: 0 to n - 1, and 0 for n = 0.
    pub fn integer(&mut self, n: u32) -> u32 {
        self.random() % n.max(1)
    }

    /// `torch.randperm(n, generator=self)`: 0 to n - 1 in random order (`randperm_cpu` in
    /// `ATen/native/TensorFactories.cpp`).
    pub fn randperm(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            order.swap(i, i + self.integer((n - i) as u32) as usize);
        }
        order
    }

    /// The next 32 bits of mt19937 (`ATen/core/MT19937RNGEngine.h`).
    fn random(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let (u, v) = (self.state[i], self.state[(i + 1) % N]);
            let mixed = (u & 0x8000_0000) | (v & 0x7fff_ffff);
            let odd = if v & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// In [0, 1), of 53 bits; the first draw is the high half (`CPUGeneratorImpl::random64`).
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.random());
        let bits = (high << 32) | u64::from(self.random());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// `normal_distribution<double>` of `ATen/core/DistributionsHelper.h`.
    fn normal_f64(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let u1 = self.uniform_f64();
        let u2 = self.uniform_f64();
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let theta = 2.0 * std::f64::consts::PI * u1;
        self.spare_normal = Some(radius * theta.sin());
        radius * theta.cos()
    }
}

/// Turns 16 uniform numbers into 16 normal ones: the first 8 are radii, the last 8 angles
/// (`NormalFill16` in `ATen/native/cpu/DistributionTemplates.h`).
fn box_muller(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(8);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * log(1.0 - *a)).sqrt();
        let (sin, cos) = sin_cos(std::f32::consts::TAU * *b);
        // Adding the mean turns -0 into 0.
        *a = radius * cos + 0.0;
        *b = radius * sin + 0.0;
    }
}

/// `log256_ps` for one normal x > 0, with the compiler's contractions.
#[allow(clippy::excessive_precision, reason = "the constants as Cephes writes them")]
fn log(x: f32) -> f32 {
    let exponent = (x.to_bits() >> 23) as i32 - 0x7f;
    // The mantissa in [0.5, 1), then around 0: x in [sqrt(0.5) - 1, sqrt(2) - 1).
    let mantissa = f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f00_0000);
    let low = mantissa < std::f32::consts::FRAC_1_SQRT_2;
    let e = (exponent + i32::from(!low)) as f32;
    let x = if low { (mantissa - 1.0) + mantissa } else { mantissa - 1.0 };

    let z = x * x;
    let mut y = 7.037_683_629_2e-2f32;
    for coefficient in [
        -1.151_461_031_0e-1,
        1.167_699_874_0e-1,
        -1.242_014_084_6e-1,
        1.424_932_278_7e-1,
        -1.666_805_766_5e-1,
        2.000_071_476_5e-1,
        -2.499_999_399_3e-1,
        3.333_333_117_4e-1,
    ] {
        y = y.mul_add(x, coefficient);
    }
    y *= x;
    y = y.mul_add(z, e * -2.121_944_40e-4);
    y = (-z).mul_add(0.5, y);
    e.mul_add(0.693_359_375, x + y)
}

/// `sincos256_ps` for one x in [0, 2 pi], with the compiler's contractions: `(sin, cos)`.
#[allow(clippy::excessive_precision, reason = "the constants as Cephes writes them")]
fn sin_cos(x: f32) -> (f32, f32) {
    // The octant, rounded up to an even one: x is left in [-pi/4, pi/4].
    let octant = ((x * 1.273_239_544_735_16) as i32 + 1) & !1;
    let y = octant as f32;
    let x = y.mul_add(-0.785_156_25, x);
    let x = y.mul_add(-2.418_756_484_985_351_562_5e-4, x);
    let x = y.mul_add(-3.774_894_977_445_941_08e-8, x);
    let z = x * x;

    let mut cos = 2.443_315_711_809_948e-5f32;
    cos = cos.mul_add(z, -1.388_731_625_493_765e-3);
    cos = cos.mul_add(z, 4.166_664_568_298_827e-2);
    cos = (cos * z).mul_add(z, -(z * 0.5)) + 1.0;

    let mut sin = -1.951_529_589_1e-4f32;
    sin = sin.mul_add(z, 8.332_160_873_6e-3);
    sin = sin.mul_add(z, -1.666_665_461_1e-1);
    sin = (sin * z).mul_add(x, x);

    match octant & 7 {
        0 => (sin, cos),
        2 => (cos, -sin),
        4 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

//! Functions on whole slices, written so that the compiler makes vectors of them: no branches, no
//! calls.

use super::exponent::{LARGEST, POLYNOMIAL, ROUND};

/// `2^x` for x from -126 to 126, where it stays beyond: within 2e-7 of the value. A factor
/// before x costs `|x|` times its own rounding.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    // Comparisons as the vector instructions have them; NaN stays.
    let x = if x < -LARGEST { -LARGEST } else { x };
    let x = if LARGEST < x { LARGEST } else { x };
    let whole = x + ROUND;
    let f = x - (whole - ROUND);
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * f + coefficient;
    }
    // Into the exponent's bits; what else stands in `whole` goes over the edge.
    f32::from_bits(p.to_bits().wrapping_add(whole.to_bits() << 23))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp2(x * -std::f32::consts::LOG2_E))
}

/// The error function within 3e-7: a quotient of polynomials on -4 to 4, beyond which it is one in
/// f32 (Eigen's `erf`, `GenericPacketMathFunctions.h`).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = -2.726_142_3e-10;
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        p = p * s + coefficient;
    }
    let mut q = -1.456_607_2e-5;
    for coefficient in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = q * s + coefficient;
    }
    x * p / q
}

/// `x Phi(x)` with the normal distribution's Phi: GELU, not its approximation by tanh.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Its derivative, `Phi(x) + x phi(x)`.
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    /// 1 / sqrt(2 pi).
    const DENSITY: f32 = 0.398_942_3;
    let phi = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    phi + x * DENSITY * exp2(x * x * (-0.5 * std::f32::consts::LOG2_E))
}

/// Sums in a few streams: one after the other would wait for each addition, and round more.
const LANES: usize = 16;

/// The sum of `term` over a slice.
#[inline(always)]
pub fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| term(*x)).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += term(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Replaces every value by `f` of it; the sum of those.
#[inline(always)]
pub fn sum_changed(values: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = values.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = f(*x);
            *lane += *x;
        }
    }
    let mut rest = 0.0;
    for x in chunks.into_remainder() {
        *x = f(*x);
        rest += *x;
    }
    lanes.iter().sum::<f32>() + rest
}

/// Replaces every value by the first of `f` of it and its partner; the sums of both that `f` gives.
#[inline(always)]
pub fn sums_changed(
    values: &mut [f32],
    partners: &[f32],
    f: impl Fn(f32, f32) -> [f32; 2],
) -> [f32; 2] {
    let (mut first, mut second) = ([0f32; LANES], [0f32; LANES]);
    let whole = values.len().min(partners.len()) / LANES * LANES;
    let (values, rest) = values.split_at_mut(whole);
    let (partners, partners_rest) = partners.split_at(whole);
    for (values, partners) in values.chunks_exact_mut(LANES).zip(partners.chunks_exact(LANES)) {
        for i in 0..LANES {
            let [value, other] = f(values[i], partners[i]);
            values[i] = value;
            first[i] += value;
            second[i] += other;
        }
    }
    let mut sums = [first.iter().sum::<f32>(), second.iter().sum()];
    for (value, partner) in rest.iter_mut().zip(partners_rest) {
        let [changed, other] = f(*value, *partner);
        *value = changed;
        sums = [sums[0] + changed, sums[1] + other];
    }
    sums
}

/// The sum of `term` over pairs.
#[inline(always)]
pub fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| term(*a, *b)).sum();
    for (a, b) in a.zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*a, *b);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The largest value; of nothing, minus infinity.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let larger = |a: f32, b: &f32| if *b > a { *b } else { a };
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.into_iter().fold(rest, |a, b| if b > a { b } else { a })
}

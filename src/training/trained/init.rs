//! What an adapter's factors are before the first step (training.md, B.6; adapter-formats.md, B.5).

use crate::error::{Error, Result};
use crate::linalg::randomised_svd;
use crate::linalg::{Matrix, orthogonal};
use crate::noise::TorchGenerator;

pub use crate::training::settings::choices::Init;

/// A LoRA's two factors at the start, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// A, `[rank, in]`.
    pub down: Vec<f32>,
    /// B, `[out, rank]`.
    pub up: Vec<f32>,
    /// A and B again, never to be trained: the module adds `s (B A - B0 A0)` to the weight, which
    /// is as good as 0 at the start. Only with [`Init::Pissa`].
    pub frozen: Option<(Vec<f32>, Vec<f32>)>,
}

/// PiSSA's extra columns and its rounds of subspace iteration (PEFT's `pissa_niter_4`).
const OVERSAMPLE: usize = 8;
const ITERATIONS: usize = 4;

/// The factors of one module of a weight `[out, in_]` (for a convolution `in_` is in * kh * kw),
/// whose adapter is `scale` times their product.
///
/// `weight` is needed by [`Init::Pissa`] alone. Where `rank` is over the weight's own, PiSSA leaves
/// the rest of the factors 0, and they never learn.
///
/// # Errors
/// An odd rank with [`Init::Orthogonal`]; with [`Init::Pissa`] no weight of that shape, or a scale
/// that is not positive.
pub fn factors(
    init: Init,
    out: usize,
    in_: usize,
    rank: usize,
    scale: f64,
    weight: Option<&Matrix>,
    generator: &mut TorchGenerator,
) -> Result<Factors> {
    let zero_up = |down| Factors { down, up: vec![0.0; out * rank], frozen: None };
    Ok(match init {
        Init::Gaussian => zero_up(normal(rank * in_, 1.0 / rank.max(1) as f32, generator)),
        Init::Kaiming => zero_up(kaiming(rank * in_, in_, generator)),
        Init::Orthogonal => {
            if !rank.is_multiple_of(2) {
                return Err(Error::setting(
                    "rank",
                    format!("{rank} is odd, and the orthogonal start needs two halves"),
                    "Use an even rank, or the gaussian start",
                ));
            }
            orthogonal_factors(out, in_, rank, generator)
        }
        Init::Pissa => {
            let fits = |w: &&Matrix| (w.rows, w.cols) == (out, in_);
            let weight = weight.filter(fits).ok_or_else(|| {
                Error::setting(
                    "init",
                    format!("PiSSA needs the layer's weight as [{out}, {in_}]"),
                    "Use the gaussian start",
                )
            })?;
            if !(scale > 0.0 && scale.is_finite()) {
                return Err(Error::setting(
                    "alpha",
                    format!("PiSSA can't start with alpha / rank = {scale}"),
                    "Set alpha to a positive number, best to the rank",
                ));
            }
            pissa(weight, rank, scale, generator)
        }
    })
}

/// The standard deviation of A at the start, for the rule of the learning rate; none with
/// [`Init::Pissa`], where it depends on the weight: take [`Factors::down_rms`].
pub fn sigma(init: Init, in_: usize, rank: usize) -> Option<f64> {
    match init {
        Init::Gaussian => Some(1.0 / rank as f64),
        Init::Kaiming => Some(1.0 / (3.0 * in_ as f64).sqrt()),
        // A tenth of normal numbers, r/2 of them, times half a column of Q, of squared length 1/2
        // on average.
        Init::Orthogonal => Some(0.1 * 0.5f64.sqrt()),
        Init::Pissa => None,
    }
}

impl Factors {
    /// The root mean square of A as drawn.
    pub fn down_rms(&self) -> f64 {
        let squares: f64 = self.down.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        (squares / self.down.len().max(1) as f64).sqrt()
    }
}

/// PEFT's `orthogonal_init` (`tuners/lora/layer.py`): with a random orthogonal Q `[r, r]`,
///
/// ```text
/// A = (R1 Q_odd)^T / 10,  R1 [in, r/2] normal        B = R2 Q_even / 10,  R2 [out, r/2] normal
/// ```
///
/// where Q_odd are rows 0, 2, ... and Q_even rows 1, 3, ... (counted from 1, as PEFT's names do):
/// B A has the factor Q_even Q_odd^T = 0, up to rounding.
fn orthogonal_factors(
    out: usize,
    in_: usize,
    rank: usize,
    generator: &mut TorchGenerator,
) -> Factors {
    let half = rank / 2;
    let q = orthogonal(rank, generator);
    let rows = |first: usize| {
        let data = (0..half).flat_map(|i| q.row(2 * i + first).to_vec()).collect();
        Matrix::new(half, rank, data)
    };
    let r1 = Matrix::gaussian(in_, half, generator);
    let r2 = Matrix::gaussian(out, half, generator);
    let down = r1.matmul(&rows(0)).transpose().scaled(0.1);
    let up = r2.matmul(&rows(1)).scaled(0.1);
    Factors { down: down.data, up: up.data, frozen: None }
}

/// `A = sqrt(S / s) V^T`, `B = U sqrt(S / s)`: s B A is the best approximation of its rank.
fn pissa(weight: &Matrix, rank: usize, scale: f64, generator: &mut TorchGenerator) -> Factors {
    let mut svd = randomised_svd(weight, rank, OVERSAMPLE, ITERATIONS, generator);
    let roots: Vec<f32> = svd.s.iter().map(|&s| (f64::from(s) / scale).sqrt() as f32).collect();
    for (row, &root) in svd.vt.data.chunks_exact_mut(weight.cols.max(1)).zip(&roots) {
        row.iter_mut().for_each(|x| *x *= root);
    }
    for row in svd.u.data.chunks_exact_mut(rank.max(1)) {
        row.iter_mut().zip(&roots).for_each(|(x, root)| *x *= root);
    }
    let (down, up) = (svd.vt.data, svd.u.data);
    let frozen = Some((down.clone(), up.clone()));
    Factors { down, up, frozen }
}

/// A LoHa's factors: `s (w1_a w1_b) * (w2_a w2_b)`, entry by entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Loha {
    /// `[out, rank]`.
    pub w1_a: Vec<f32>,
    /// `[rank, in]`, for a convolution in * kh * kw.
    pub w1_b: Vec<f32>,
    /// `[out, rank]`, 0 at the start.
    pub w2_a: Vec<f32>,
    /// As `w1_b`.
    pub w2_b: Vec<f32>,
}

/// LyCORIS' start of a LoHa (`lycoris/modules/loha.py`): w1_b and w2_b unit normal, w1_a normal with
/// standard deviation 0.1, w2_a 0.
pub fn loha(out: usize, in_: usize, rank: usize, generator: &mut TorchGenerator) -> Loha {
    Loha {
        w1_a: normal(out * rank, 0.1, generator),
        w1_b: normal(rank * in_, 1.0, generator),
        w2_a: vec![0.0; out * rank],
        w2_b: normal(rank * in_, 1.0, generator),
    }
}

/// The shapes of a LoKr: `s kron(w1, w2)`, w1 `[a, c]` and w2 `[b, d (* kh * kw)]`, where
/// out = a b and in = c d.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LokrShape {
    /// Rows of w1 and of w2.
    pub out: (usize, usize),
    /// Columns of w1 and of w2, the latter without the kernel.
    pub in_: (usize, usize),
    /// kh * kw; 1 for a linear layer.
    pub kernel: usize,
    /// The rank of w2 as `w2_a [b, rank]` times `w2_b [rank, d * kernel]`; none: w2 is whole.
    pub rank: Option<usize>,
}

impl LokrShape {
    /// LyCORIS' choice (`lycoris/modules/lokr.py`, without `decompose_both`): w2 stays whole where
    /// the rank is at least half of its longer side.
    pub fn new(out: usize, in_: usize, kernel: usize, rank: usize, factor: Option<usize>) -> Self {
        let (out, in_) = (lokr_factorization(out, factor), lokr_factorization(in_, factor));
        let low = 2 * rank < out.1.max(in_.1);
        Self { out, in_, kernel, rank: low.then_some(rank) }
    }
}

/// A LoKr's factors, as [`LokrShape`] says.
#[derive(Debug, Clone, PartialEq)]
pub struct Lokr {
    /// `[a, c]`.
    pub w1: Vec<f32>,
    /// The other factor, 0 at the start.
    pub w2: LokrW2,
}

/// A LoKr's larger factor.
#[derive(Debug, Clone, PartialEq)]
pub enum LokrW2 {
    /// `[b, d, kh, kw]`.
    Whole(Vec<f32>),
    /// `w2_a [b, rank]` and `w2_b [rank, d * kh * kw]`.
    Product(Vec<f32>, Vec<f32>),
}

/// LyCORIS' start of a LoKr: w1 and w2_a kaiming-uniform with a = sqrt(5), w2_b (or the whole w2) 0.
pub fn lokr(shape: LokrShape, generator: &mut TorchGenerator) -> Lokr {
    let ((a, b), (c, d)) = (shape.out, shape.in_);
    let w1 = kaiming(a * c, c, generator);
    let w2 = match shape.rank {
        None => LokrW2::Whole(vec![0.0; b * d * shape.kernel]),
        Some(rank) => {
            LokrW2::Product(kaiming(b * rank, rank, generator), vec![0.0; rank * d * shape.kernel])
        }
    };
    Lokr { w1, w2 }
}

/// LyCORIS' `factorization(dimension, factor)`: `dimension` as a product, the smaller number first:
/// `factor` itself if it divides, else the most even product whose first number is at most `factor`.
/// No factor (LyCORIS: -1): as even as possible.
pub fn lokr_factorization(dimension: usize, factor: Option<usize>) -> (usize, usize) {
    if let Some(factor) = factor
        && factor > 0
        && dimension.is_multiple_of(factor)
    {
        let other = dimension / factor;
        return (factor.min(other), factor.max(other));
    }
    let most = factor.unwrap_or(dimension);
    let small = (1..=most)
        .take_while(|m| m * m <= dimension)
        .filter(|&m| dimension.is_multiple_of(m))
        .last()
        .unwrap_or(1);
    (small, dimension / small)
}

fn normal(count: usize, deviation: f32, generator: &mut TorchGenerator) -> Vec<f32> {
    let mut values = generator.randn(count);
    values.iter_mut().for_each(|x| *x *= deviation);
    values
}

/// Uniform in +-1 / sqrt(fan_in): `kaiming_uniform_` with a = sqrt(5).
fn kaiming(count: usize, fan_in: usize, generator: &mut TorchGenerator) -> Vec<f32> {
    let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
    (0..count).map(|_| (2.0 * generator.uniform() - 1.0) * bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::dot;

    fn draw(init: Init, out: usize, in_: usize, rank: usize, weight: Option<&Matrix>) -> Factors {
        factors(init, out, in_, rank, 0.5, weight, &mut TorchGenerator::new(3)).unwrap()
    }

    #[test]
    fn starts_have_their_deviation_and_do_nothing() {
        for (init, rank) in [(Init::Gaussian, 8), (Init::Kaiming, 4), (Init::Orthogonal, 8)] {
            let (out, in_) = (320, 768);
            let start = draw(init, out, in_, rank, None);
            assert_eq!((start.down.len(), start.up.len()), (rank * in_, out * rank));
            let sigma = sigma(init, in_, rank).unwrap();
            assert!((start.down_rms() / sigma - 1.0).abs() < 0.1, "{init:?} {}", start.down_rms());
            let down = Matrix::new(rank, in_, start.down);
            let up = Matrix::new(out, rank, start.up);
            let product = up.matmul(&down);
            let norm = |m: &Matrix| dot(&m.data, &m.data).sqrt();
            assert!(norm(&product) <= 1e-6 * norm(&up) * norm(&down), "{init:?}");
            assert!(start.frozen.is_none());
            let is_zero = norm(&up) == 0.0;
            assert_eq!(is_zero, init != Init::Orthogonal);
        }
        assert!(draw(Init::Kaiming, 1, 100, 9, None).down.iter().all(|x| x.abs() <= 0.1));
    }

    #[test]
    fn orthogonal_needs_an_even_rank() {
        let error = factors(Init::Orthogonal, 4, 4, 3, 1.0, None, &mut TorchGenerator::new(0));
        assert!(error.unwrap_err().to_string().starts_with("rank: 3 is odd"));
    }

    #[test]
    fn pissa_is_the_leading_part_of_the_weight() {
        let mut generator = TorchGenerator::new(5);
        let (out, in_, rank) = (24, 40, 4);
        // Rank 4 and a little noise.
        let low = Matrix::gaussian(out, rank, &mut generator).matmul(&Matrix::gaussian(
            rank,
            in_,
            &mut generator,
        ));
        let noise = Matrix::gaussian(out, in_, &mut generator).scaled(1e-3);
        let data = low.data.iter().zip(&noise.data).map(|(a, b)| a + b).collect();
        let weight = Matrix::new(out, in_, data);
        let start = draw(Init::Pissa, out, in_, rank, Some(&weight));
        assert_eq!(start.frozen, Some((start.down.clone(), start.up.clone())));
        let rms = start.down_rms();
        let down = Matrix::new(rank, in_, start.down);
        let up = Matrix::new(out, rank, start.up);
        let product = up.matmul(&down).scaled(0.5);
        let left: Vec<f32> = weight.data.iter().zip(&product.data).map(|(a, b)| a - b).collect();
        assert!(dot(&left, &left) < 1.01 * dot(&noise.data, &noise.data));
        // The two factors share the singular values evenly.
        let norm = |m: &Matrix| dot(&m.data, &m.data);
        assert!((norm(&up) / norm(&down) - 1.0).abs() < 1e-4);
        assert!(rms > 0.1 && sigma(Init::Pissa, in_, rank).is_none());

        let wrong = Matrix::zeros(in_, out);
        for (weight, scale) in [(None, 1.0), (Some(&wrong), 1.0), (Some(&weight), 0.0)] {
            let start = factors(Init::Pissa, out, in_, rank, scale, weight, &mut generator);
            assert!(start.is_err());
        }
    }

    #[test]
    fn lokr_factorizations_are_lycoris() {
        for (dimension, factor, want) in [
            (320, None, (16, 20)),
            (320, Some(8), (8, 40)),
            // The table in LyCORIS' docstring, some of it; (360, 16) is (12, 30) there, but the code
            // gives this.
            (127, None, (1, 127)),
            (127, Some(16), (1, 127)),
            (128, None, (8, 16)),
            (128, Some(2), (2, 64)),
            (250, None, (10, 25)),
            (250, Some(4), (2, 125)),
            (250, Some(8), (5, 50)),
            (360, Some(16), (15, 24)),
            (512, Some(16), (16, 32)),
            (1024, None, (32, 32)),
            (1024, Some(1024), (1, 1024)),
            (1280, Some(0), (1, 1280)),
            (1, None, (1, 1)),
        ] {
            assert_eq!(lokr_factorization(dimension, factor), want, "{dimension} {factor:?}");
        }
    }

    #[test]
    fn loha_and_lokr_start_as_lycoris() {
        let mut generator = TorchGenerator::new(1);
        let loha = loha(30, 50, 4, &mut generator);
        assert_eq!((loha.w1_a.len(), loha.w1_b.len(), loha.w2_b.len()), (120, 200, 200));
        assert_eq!(loha.w2_a, [0.0; 120]);
        let rms = |x: &[f32]| (dot(x, x) / x.len() as f64).sqrt();
        assert!((rms(&loha.w1_a) - 0.1).abs() < 0.02 && (rms(&loha.w2_b) - 1.0).abs() < 0.2);

        let shape = LokrShape::new(320, 1280, 9, 4, Some(8));
        assert_eq!((shape.out, shape.in_, shape.rank), ((8, 40), (8, 160), Some(4)));
        let Lokr { w1, w2: LokrW2::Product(w2_a, w2_b) } = lokr(shape, &mut generator) else {
            panic!("not low rank")
        };
        assert_eq!((w1.len(), w2_a.len(), w2_b.len()), (64, 160, 4 * 160 * 9));
        assert!(w1.iter().any(|&x| x != 0.0) && w2_a.iter().all(|x| x.abs() <= 0.5));
        assert!(w2_b.iter().all(|&x| x == 0.0));

        let whole = lokr(LokrShape::new(320, 320, 1, 16, None), &mut generator);
        assert_eq!(whole.w2, LokrW2::Whole(vec![0.0; 400]));
    }
}

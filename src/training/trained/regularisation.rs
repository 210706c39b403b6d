//! What keeps one LoRA module small: a penalty on its product, on its entries, or a limit.
//!
//! Everywhere `down` is A `[r, in]` (for a convolution `in` counts the kernel too), `up` is B
//! `[out, r]`, both row-major, and `scale` is s: the module adds `s B A` to the weight. The product
//! is never formed: `||B A||_F^2 = tr((B^T B)(A A^T))` needs two r x r Grams (adapter-formats.md, B.3).

use crate::linalg::dot;

/// `||B A||_F^2`, without the scale.
pub fn product_norm_squared(down: &[f32], up: &[f32], rank: usize) -> f64 {
    // Both Grams are symmetric: the trace of their product is the sum of the products of entries.
    let (of_down, of_up) = (down_gram(down, rank), up_gram(up, rank));
    // A sum of squares, whatever rounding makes of it.
    of_down.iter().zip(&of_up).map(|(a, b)| a * b).sum::<f64>().max(0.0)
}

/// `A A^T`, `[r, r]`.
fn down_gram(down: &[f32], rank: usize) -> Vec<f64> {
    let mut gram = vec![0.0; rank * rank];
    let width = down.len() / rank.max(1);
    if width == 0 {
        return gram;
    }
    for (i, a) in down.chunks_exact(width).take(rank).enumerate() {
        for (j, b) in down.chunks_exact(width).take(i + 1).enumerate() {
            let value = dot(a, b);
            gram[i * rank + j] = value;
            gram[j * rank + i] = value;
        }
    }
    gram
}

/// `B^T B`, `[r, r]`.
fn up_gram(up: &[f32], rank: usize) -> Vec<f64> {
    let mut gram = vec![0.0; rank * rank];
    if rank == 0 {
        return gram;
    }
    for row in up.chunks_exact(rank) {
        for (sums, &a) in gram.chunks_exact_mut(rank).zip(row) {
            for (sum, &b) in sums.iter_mut().zip(row) {
                *sum += f64::from(a) * f64::from(b);
            }
        }
    }
    gram
}

/// Adds the gradient of the penalty `lambda ||s B A||_F^2` to the gradients of A and B:
///
/// ```text
/// dA += 2 lambda s^2 (B^T B) A        dB += 2 lambda s^2 B (A A^T)
/// ```
///
/// The penalty is on what the adapter does, not on its entries as weight decay is: it is the same
/// for every split of the product into A and B.
pub fn add_l2_gradient(
    down: &[f32],
    up: &[f32],
    rank: usize,
    scale: f64,
    lambda: f64,
    down_gradient: &mut [f32],
    up_gradient: &mut [f32],
) {
    let width = down.len() / rank.max(1);
    if width == 0 {
        return;
    }
    let factor = 2.0 * lambda * scale * scale;
    let times = |gram: Vec<f64>| -> Vec<f32> { gram.iter().map(|x| (factor * x) as f32).collect() };
    let (of_down, of_up) = (times(down_gram(down, rank)), times(up_gram(up, rank)));
    for (gradient, row) in down_gradient.chunks_exact_mut(width).zip(of_up.chunks_exact(rank)) {
        for (&weight, a) in row.iter().zip(down.chunks_exact(width)) {
            gradient.iter_mut().zip(a).for_each(|(g, &a)| *g += weight * a);
        }
    }
    for (gradient, b) in up_gradient.chunks_exact_mut(rank).zip(up.chunks_exact(rank)) {
        for (&b, row) in b.iter().zip(of_down.chunks_exact(rank)) {
            gradient.iter_mut().zip(row).for_each(|(g, &weight)| *g += b * weight);
        }
    }
}

/// The proximal step of the L1 penalty `lambda sum |x|`: every entry moves towards 0 by `threshold`
/// and stops there. `threshold` is learning rate times lambda; after the optimiser's step.
pub fn soft_threshold(values: &mut [f32], threshold: f64) {
    let threshold = threshold.max(0.0) as f32;
    for x in values {
        *x = (x.abs() - threshold).max(0.0).copysign(*x);
    }
}

/// Limits `||s B A||_F` to `maximum` by scaling A and B alike; gives the norm before.
///
/// kohya (`scale_weight_norms`, lora.py) computes `n = max(norm, M/2)` and `q = min(n, M) / n`, with
/// which q is 1 for every norm up to M and `M / norm` above it: the M/2 guards against a norm of 0
/// and changes nothing else, so the results agree with ours. (kohya scales by `q^0.5` each, too.)
pub fn limit_norm(down: &mut [f32], up: &mut [f32], rank: usize, scale: f64, maximum: f64) -> f64 {
    let norm = scale.abs() * product_norm_squared(down, up, rank).sqrt();
    if norm > maximum {
        let factor = (maximum.max(0.0) / norm).sqrt() as f32;
        down.iter_mut().chain(up).for_each(|x| *x *= factor);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Matrix;
    use crate::noise::TorchGenerator;

    const RANK: usize = 4;

    /// A `[4, 30]`, B `[20, 4]`.
    fn factors() -> (Matrix, Matrix) {
        let mut generator = TorchGenerator::new(1);
        (Matrix::gaussian(RANK, 30, &mut generator), Matrix::gaussian(20, RANK, &mut generator))
    }

    fn direct(down: &Matrix, up: &Matrix) -> f64 {
        let product = up.matmul(down).data;
        dot(&product, &product)
    }

    #[test]
    fn gram_norm_is_the_direct_norm() {
        let (down, up) = factors();
        let norm = product_norm_squared(&down.data, &up.data, RANK);
        assert!((norm / direct(&down, &up) - 1.0).abs() < 1e-5);
        assert_eq!(product_norm_squared(&[], &[], 0), 0.0);
        assert_eq!(product_norm_squared(&down.data, &[0.0; 80], RANK), 0.0);
    }

    #[test]
    fn l2_gradient_agrees_with_differences() {
        let (down, up) = factors();
        let (scale, lambda) = (0.5, 0.03);
        let (mut da, mut db) = (vec![1.0; 120], vec![-1.0; 80]);
        add_l2_gradient(&down.data, &up.data, RANK, scale, lambda, &mut da, &mut db);
        let penalty =
            |a: &[f32], b: &[f32]| lambda * scale * scale * product_norm_squared(a, b, RANK);
        let step = 0.01f32;
        // The penalty is quadratic in one entry: central differences are exact but for rounding.
        let moved = |values: &[f32], i: usize, by: f32| {
            let mut values = values.to_vec();
            values[i] += by;
            values
        };
        for (i, da) in da.iter().enumerate() {
            let at = |by| penalty(&moved(&down.data, i, by), &up.data);
            let want = (at(step) - at(-step)) / f64::from(2.0 * step);
            assert!((f64::from(*da) - 1.0 - want).abs() < 1e-4, "{i}: {da} {want}");
        }
        for (i, db) in db.iter().enumerate() {
            let at = |by| penalty(&down.data, &moved(&up.data, i, by));
            let want = (at(step) - at(-step)) / f64::from(2.0 * step);
            assert!((f64::from(*db) + 1.0 - want).abs() < 1e-4, "{i}: {db} {want}");
        }
    }

    #[test]
    fn soft_threshold_moves_towards_zero_and_stops() {
        let mut values = [1.0, -1.0, 0.2, -0.2, 0.0, 0.25];
        soft_threshold(&mut values, 0.25);
        assert_eq!(values, [0.75, -0.75, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn norm_is_limited_and_split_evenly() {
        let (down, up) = factors();
        let before = direct(&down, &up).sqrt();
        let (mut a, mut b) = (down.clone(), up.clone());
        let norm = limit_norm(&mut a.data, &mut b.data, RANK, 0.5, 2.0 * before);
        assert!((norm / (0.5 * before) - 1.0).abs() < 1e-5);
        assert_eq!((&a, &b), (&down, &up));

        limit_norm(&mut a.data, &mut b.data, RANK, 0.5, 3.0);
        assert!((0.5 * direct(&a, &b).sqrt() / 3.0 - 1.0).abs() < 1e-5);
        let (of_a, of_b) = (a.data[0] / down.data[0], b.data[0] / up.data[0]);
        assert!((of_a / of_b - 1.0).abs() < 1e-6);

        let mut zero = vec![0.0; 80];
        assert_eq!(limit_norm(&mut a.data, &mut zero, RANK, 0.5, 1.0), 0.0);
        assert_eq!(zero, [0.0; 80]);
    }
}

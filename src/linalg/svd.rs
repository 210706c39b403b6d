//! The leading singular vectors of a large matrix, through the eigenvectors of a small one.

use super::matrix::{Matrix, dot, orthonormalise};
use crate::noise::TorchGenerator;

/// Eigenvalues, largest first, and the eigenvectors as the *rows* of `[n, n]` in the same order, of
/// the symmetric `a [n, n]`: Jacobi's cyclic rotations (Golub and Van Loan, section 8.5).
pub fn symmetric_eigen(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = a.to_vec();
    let mut v = vec![0.0; n * n];
    v.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
    let total: f64 = a.iter().map(|x| x * x).sum();
    // Convergence is quadratic: 6 to 8 sweeps, whatever the matrix.
    for _ in 0..50 {
        let mut off = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                off += a[p * n + q] * a[p * n + q];
                rotate(&mut a, &mut v, n, p, q);
            }
        }
        if off <= 1e-30 * total {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|&i| a[i * n + i]).collect();
    let vectors = order.iter().flat_map(|&i| v[i * n..(i + 1) * n].to_vec()).collect();
    (values, vectors)
}

/// One rotation in the plane of `p` and `q` that makes `a[p, q]` 0; `v` collects the rotations.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    let turn = |i: usize, j: usize, x: &mut [f64]| {
        let (xi, xj) = (x[i], x[j]);
        x[i] = c * xi - s * xj;
        x[j] = s * xi + c * xj;
    };
    for k in 0..n {
        turn(k * n + p, k * n + q, a);
    }
    for k in 0..n {
        turn(p * n + k, q * n + k, a);
        turn(p * n + k, q * n + k, v);
    }
}

/// The leading part of a singular value decomposition: `W ~ U diag(s) Vt`.
#[derive(Debug, Clone)]
pub struct Svd {
    /// Left singular vectors, `[m, r]`.
    pub u: Matrix,
    /// Singular values, largest first, `[r]`.
    pub s: Vec<f32>,
    /// Right singular vectors, `[r, n]`.
    pub vt: Matrix,
}

/// The leading `rank` singular values and vectors of `w [m, n]`, by a random sketch of
/// `rank + oversample` columns and `iterations` rounds of subspace iteration (Halko, Martinsson and
/// Tropp 2011, algorithms 4.4 and 5.1; training.md, B.6: 8 and 2 to 4). Exact where the sketch is as
/// wide as the matrix. Past the matrix' own rank everything is 0.
pub fn randomised_svd(
    w: &Matrix,
    rank: usize,
    oversample: usize,
    iterations: usize,
    generator: &mut TorchGenerator,
) -> Svd {
    let width = (rank + oversample).min(w.rows).min(w.cols);
    let omega = Matrix::gaussian(w.cols, width, generator);
    let mut q = orthonormalise(&w.matmul(&omega));
    for _ in 0..iterations {
        let z = orthonormalise(&w.transposed_matmul(&q));
        q = orthonormalise(&w.matmul(&z));
    }
    of_sketch(&q, &q.transposed_matmul(w), rank)
}

/// The leading `rank` singular values and vectors of `w [m, n]`, as near as a few rounds bring them.
pub fn leading_svd(w: &Matrix, rank: usize) -> Svd {
    randomised_svd(w, rank, 8, 3, &mut TorchGenerator::new(0))
}

/// The same of the product `up [m, r]` times `down [r, n]`, exactly, without making it.
pub fn product_svd(up: &Matrix, down: &Matrix, rank: usize) -> Svd {
    // Gram-Schmidt needs no more columns than rows.
    if up.cols > up.rows {
        let w = up.matmul(down);
        return randomised_svd(&w, rank, w.rows, 2, &mut TorchGenerator::new(0));
    }
    let q = orthonormalise(up);
    let k = q.transposed_matmul(up).matmul(down);
    of_sketch(&q, &k, rank)
}

/// `W ~ Q K`, where `q [m, width]` has orthonormal columns: the small `K K^T` has the left singular
/// vectors of K and the squares of its values.
fn of_sketch(q: &Matrix, k: &Matrix, rank: usize) -> Svd {
    let width = k.rows;
    let mut gram = vec![0.0; width * width];
    for i in 0..width {
        for j in 0..width {
            gram[i * width + j] = dot(k.row(i), k.row(j));
        }
    }
    let (squares, vectors) = symmetric_eigen(&gram, width);
    let largest = squares.first().map_or(0.0, |x| x.max(0.0).sqrt());
    let mut small = Matrix::zeros(rank, width);
    let mut s = vec![0.0; rank];
    let vectors: Vec<f32> = vectors.into_iter().map(|x| x as f32).collect();
    for (i, (s, square)) in s.iter_mut().zip(squares).enumerate() {
        let value = square.max(0.0).sqrt();
        if value > 1e-6 * largest {
            *s = value as f32;
            small.row_mut(i).copy_from_slice(&vectors[i * width..(i + 1) * width]);
        }
    }
    let mut vt = small.matmul(k);
    for (i, &s) in s.iter().enumerate() {
        let inverse = if s > 0.0 { 1.0 / s } else { 0.0 };
        vt.row_mut(i).iter_mut().for_each(|x| *x *= inverse);
    }
    Svd { u: q.matmul_transposed(&small), s, vt }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::tests::{close, identity, random};
    use super::*;

    #[test]
    fn jacobi_finds_eigenvalues_and_vectors() {
        let (values, vectors) = symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-14 && (values[1] - 1.0).abs() < 1e-14);
        assert!((vectors[0].abs() - 0.5f64.sqrt()).abs() < 1e-14);

        let n = 16;
        let half = random(n, n, 6);
        let a: Vec<f64> = (0..n * n)
            .map(|i| f64::from(half.data[i]) + f64::from(half.data[i % n * n + i / n]))
            .collect();
        let (values, vectors) = symmetric_eigen(&a, n);
        assert!(values.is_sorted_by(|x, y| x >= y));
        for (value, v) in values.iter().zip(vectors.chunks_exact(n)) {
            for (i, row) in a.chunks_exact(n).enumerate() {
                let av: f64 = row.iter().zip(v).map(|(a, v)| a * v).sum();
                assert!((av - value * v[i]).abs() < 1e-12);
            }
        }
        assert_eq!(symmetric_eigen(&[], 0), (vec![], vec![]));
    }

    /// `U diag(s) Vt` with random orthonormal factors.
    fn with_singular_values(m: usize, n: usize, s: &[f32]) -> Matrix {
        let u = orthonormalise(&random(m, s.len(), 7));
        let mut vt = orthonormalise(&random(n, s.len(), 8)).transpose();
        for (i, &s) in s.iter().enumerate() {
            vt.row_mut(i).iter_mut().for_each(|x| *x *= s);
        }
        u.matmul(&vt)
    }

    #[test]
    fn randomised_svd_finds_the_leading_part() {
        let s: Vec<f32> = (1..=40).map(|i| 10.0 / i as f32).collect();
        for (m, n) in [(60, 90), (90, 60)] {
            let w = with_singular_values(m, n, &s);
            let svd = randomised_svd(&w, 8, 8, 4, &mut TorchGenerator::new(9));
            assert_eq!((svd.u.rows, svd.u.cols, svd.vt.rows, svd.vt.cols), (m, 8, 8, n));
            for (got, want) in svd.s.iter().zip(&s) {
                assert!((got / want - 1.0).abs() < 1e-3, "{got} {want}");
            }
            let energy = |s: &[f32]| dot(s, s);
            assert!(energy(&svd.s) >= 0.99 * energy(&s[..8]));
            close(&svd.u.transposed_matmul(&svd.u), &identity(8), 1e-5);
            close(&svd.vt.matmul_transposed(&svd.vt), &identity(8), 1e-5);
        }
    }

    #[test]
    fn the_svd_of_a_product_is_that_of_the_matrix() {
        // More factors than rows, as many, and fewer; and some that depend on each other.
        for (m, r, n) in [(30, 6, 20), (20, 6, 30), (5, 8, 30), (30, 8, 5), (8, 8, 8)] {
            let (mut up, down) = (random(m, r, 11), random(r, n, 12));
            (0..m).for_each(|i| up.row_mut(i)[r - 1] = 2.0 * up.row(i)[0]);
            let w = up.matmul(&down);
            let rank = r.min(m).min(n);
            let svd = product_svd(&up, &down, rank);
            let mut scaled = svd.vt.clone();
            for (i, &s) in svd.s.iter().enumerate() {
                scaled.row_mut(i).iter_mut().for_each(|x| *x *= s);
            }
            close(&svd.u.matmul(&scaled), &w, 1e-4);
            let whole = randomised_svd(&w, rank, 8, 4, &mut TorchGenerator::new(13));
            for (got, want) in svd.s.iter().zip(&whole.s) {
                assert!((got - want).abs() < 1e-4 * whole.s[0], "{m} {r} {n}: {got} {want}");
            }
        }
    }

    #[test]
    fn randomised_svd_of_a_low_rank_matrix_is_exact() {
        let s = [5.0, 3.0, 1.0];
        let w = with_singular_values(30, 20, &s);
        for rank in [3, 6, 25] {
            let svd = randomised_svd(&w, rank, 8, 2, &mut TorchGenerator::new(10));
            for (i, &got) in svd.s.iter().enumerate() {
                let want = s.get(i).copied().unwrap_or(0.0);
                assert!((got - want).abs() < 1e-5 * s[0], "{i}: {got} {want}");
            }
            let mut scaled = svd.vt.clone();
            for (i, &s) in svd.s.iter().enumerate() {
                scaled.row_mut(i).iter_mut().for_each(|x| *x *= s);
            }
            close(&svd.u.matmul(&scaled), &w, 1e-5);
        }
        let nothing = randomised_svd(&Matrix::zeros(4, 4), 2, 2, 2, &mut TorchGenerator::new(1));
        assert_eq!(nothing.s, [0.0, 0.0]);
        assert!(nothing.u.data.iter().chain(&nothing.vt.data).all(|&x| x == 0.0));
    }
}

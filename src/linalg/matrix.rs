//! Small dense matrices on the host: what adapters and training need, no more.
//!
//! Values are f32, row-major; sums that later differences depend on (inner products, Grams,
//! eigenvalues) are f64.

use crate::noise::TorchGenerator;

/// A dense matrix, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `[rows, cols]`.
    pub data: Vec<f32>,
}

impl Matrix {
    /// `data` as `[rows, cols]`; shorter data is filled up with 0, longer cut.
    pub fn new(rows: usize, cols: usize, mut data: Vec<f32>) -> Self {
        debug_assert_eq!(data.len(), rows * cols);
        data.resize(rows * cols, 0.0);
        Self { rows, cols, data }
    }

    /// All 0.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Unit normal numbers.
    pub fn gaussian(rows: usize, cols: usize, generator: &mut TorchGenerator) -> Self {
        Self { rows, cols, data: generator.randn(rows * cols) }
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// `[cols, rows]`.
    pub fn transpose(&self) -> Self {
        let mut out = Self::zeros(self.cols, self.rows);
        for i in 0..self.rows {
            for (j, &x) in self.row(i).iter().enumerate() {
                out.data[j * self.rows + i] = x;
            }
        }
        out
    }

    /// Every entry times `factor`.
    pub fn scaled(mut self, factor: f32) -> Self {
        self.data.iter_mut().for_each(|x| *x *= factor);
        self
    }

    /// `self [m, k]` times `other [k, n]`: `[m, n]`.
    pub fn matmul(&self, other: &Self) -> Self {
        debug_assert_eq!(self.cols, other.rows);
        let mut out = Self::zeros(self.rows, other.cols);
        for i in 0..self.rows {
            add_combination(out.row_mut(i), self.row(i), &other.data);
        }
        out
    }

    /// `self [m, k]` times the transpose of `other [n, k]`: `[m, n]`.
    pub fn matmul_transposed(&self, other: &Self) -> Self {
        debug_assert_eq!(self.cols, other.cols);
        let mut out = Self::zeros(self.rows, other.rows);
        for i in 0..self.rows {
            for j in 0..other.rows {
                out.data[i * other.rows + j] = dot(self.row(i), other.row(j)) as f32;
            }
        }
        out
    }

    /// The transpose of `self [k, m]` times `other [k, n]`: `[m, n]`.
    pub fn transposed_matmul(&self, other: &Self) -> Self {
        debug_assert_eq!(self.rows, other.rows);
        // The inner loop runs over other's columns: let these be the many.
        if self.cols > other.cols {
            return other.transposed_matmul(self).transpose();
        }
        let mut out = Self::zeros(self.cols, other.cols);
        // Four of the k rows at a time, so that `out` is read and written a quarter as often.
        let chunk = 4 * other.cols.max(1);
        for (block, rows) in other.data.chunks(chunk).enumerate() {
            let mut factors = [0f32; 4];
            let factors = &mut factors[..rows.len() / other.cols.max(1)];
            for i in 0..self.cols {
                for (j, factor) in factors.iter_mut().enumerate() {
                    *factor = self.data[(4 * block + j) * self.cols + i];
                }
                add_combination(out.row_mut(i), factors, rows);
            }
        }
        out
    }
}

/// `out += sum_k factors[k] * rows[k]`, with `rows [k, n]` and `out [n]`.
fn add_combination(out: &mut [f32], factors: &[f32], rows: &[f32]) {
    let n = out.len();
    if n == 0 {
        return;
    }
    let mut fours = factors.chunks_exact(4);
    let mut blocks = rows.chunks_exact(4 * n);
    for (f, block) in fours.by_ref().zip(blocks.by_ref()) {
        let (a, rest) = block.split_at(n);
        let (b, rest) = rest.split_at(n);
        let (c, d) = rest.split_at(n);
        for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += (f[0] * a + f[1] * b) + (f[2] * c + f[3] * d);
        }
    }
    for (&f, row) in fours.remainder().iter().zip(blocks.remainder().chunks_exact(n)) {
        for (out, &x) in out.iter_mut().zip(row) {
            *out += f * x;
        }
    }
}

/// The inner product in f64, over the shorter length.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (a[..n].chunks_exact(8), b[..n].chunks_exact(8));
    let rest: f64 =
        a.remainder().iter().zip(b.remainder()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    // Eight sums: the compiler may not reorder one.
    let mut sums = [0f64; 8];
    for (a, b) in a.zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Orthonormal columns that span those of `a [m, k]` (m >= k), by Gram-Schmidt, twice over, which is
/// enough for orthogonality to rounding (Kahan; Giraud, Langou and Rozložník 2005). A column that
/// depends on those before it becomes 0.
pub fn orthonormalise(a: &Matrix) -> Matrix {
    // Columns are rows of the transpose: contiguous.
    let mut q = a.transpose();
    let m = q.cols;
    for i in 0..q.rows {
        let (before, rest) = q.data.split_at_mut(i * m);
        let column = &mut rest[..m];
        let original = dot(column, column).sqrt();
        for _ in 0..2 {
            for other in before.chunks_exact(m.max(1)) {
                let along = dot(column, other) as f32;
                column.iter_mut().zip(other).for_each(|(x, &y)| *x -= along * y);
            }
        }
        let left = dot(column, column).sqrt();
        // Below this the rest is rounding noise, and not orthogonal to anything.
        let factor = if left > 1e-5 * original { (1.0 / left) as f32 } else { 0.0 };
        column.iter_mut().for_each(|x| *x *= factor);
    }
    q.transpose()
}

/// A random orthogonal matrix `[n, n]`, uniform over all of them.
pub fn orthogonal(n: usize, generator: &mut TorchGenerator) -> Matrix {
    orthonormalise(&Matrix::gaussian(n, n, generator))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
        Matrix::gaussian(rows, cols, &mut TorchGenerator::new(seed))
    }

    pub fn close(a: &Matrix, b: &Matrix, tolerance: f32) {
        assert_eq!((a.rows, a.cols), (b.rows, b.cols));
        let worst = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{worst}");
    }

    pub fn identity(n: usize) -> Matrix {
        let mut out = Matrix::zeros(n, n);
        out.data.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        out
    }

    #[test]
    fn products_agree_with_the_definition() {
        for (m, k, n) in [(3, 5, 7), (9, 4, 2), (1, 13, 6), (6, 8, 17), (0, 3, 2), (2, 3, 0)] {
            let (a, b) = (random(m, k, 1), random(k, n, 2));
            let mut want = Matrix::zeros(m, n);
            for i in 0..m {
                for j in 0..n {
                    want.data[i * n + j] =
                        (0..k).map(|l| a.data[i * k + l] * b.data[l * n + j]).sum();
                }
            }
            close(&a.matmul(&b), &want, 1e-5);
            close(&a.matmul_transposed(&b.transpose()), &want, 1e-5);
            close(&a.transpose().transposed_matmul(&b), &want, 1e-5);
        }
    }

    #[test]
    fn orthonormal_columns_even_of_dependent_ones() {
        let a = random(50, 8, 3);
        let q = orthonormalise(&a);
        close(&q.transposed_matmul(&q), &identity(8), 1e-6);
        close(&q.matmul(&q.transposed_matmul(&a)), &a, 1e-5);

        // Rank 3 in 8 columns, one of them 0.
        let mut mix = random(3, 8, 5);
        (0..3).for_each(|i| mix.data[i * 8] = 0.0);
        let dependent = random(50, 3, 4).matmul(&mix);
        let q = orthonormalise(&dependent);
        assert!(q.data.iter().all(|x| x.is_finite()));
        let gram = q.transposed_matmul(&q);
        let ones = (0..8).filter(|&i| (gram.data[i * 9] - 1.0).abs() < 1e-6).count();
        assert_eq!(ones, 3);
        close(&q.matmul(&q.transposed_matmul(&dependent)), &dependent, 1e-4);

        let q = orthogonal(6, &mut TorchGenerator::new(1));
        close(&q.matmul_transposed(&q), &identity(6), 1e-6);
        close(&q.transposed_matmul(&q), &identity(6), 1e-6);
    }
}

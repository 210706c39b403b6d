//! Small square matrices on the host, in f64: what rotations are made of.

/// A square matrix, row by row.
#[derive(Debug, Clone)]
pub(super) struct Square {
    pub(super) size: usize,
    pub(super) data: Vec<f64>,
}

impl Square {
    pub(super) fn from_fn(size: usize, at: impl Fn(usize, usize) -> f64) -> Self {
        let data = (0..size * size).map(|place| at(place / size, place % size)).collect();
        Self { size, data }
    }

    pub(super) fn squares(&self) -> f64 {
        self.data.iter().map(|x| x * x).sum()
    }

    pub(super) fn scale(&mut self, factor: f64) {
        self.data.iter_mut().for_each(|x| *x *= factor);
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self::from_fn(self.size, |i, j| factor * self.data[i * self.size + j])
    }

    pub(super) fn transposed(&self) -> Self {
        Self::from_fn(self.size, |i, j| self.data[j * self.size + i])
    }

    /// `I - self`.
    pub(super) fn less_from_identity(&self) -> Self {
        Self::from_fn(self.size, |i, j| f64::from(u8::from(i == j)) - self.data[i * self.size + j])
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let n = self.size;
        Self::from_fn(n, |i, j| (0..n).map(|k| self.data[i * n + k] * other.data[k * n + j]).sum())
    }

    /// `2 Q + 2 Q^2 + .. + Q^(terms - 1)`, as `_cayley_batch` adds it up.
    pub(super) fn neumann(&self, terms: usize) -> Self {
        let mut sum = self.scaled(if terms > 1 { 2.0 } else { 0.0 });
        if terms > 2 {
            let mut power = self.times(self);
            let mut add = |power: &Self, factor: f64| {
                sum.data.iter_mut().zip(&power.data).for_each(|(sum, x)| *sum += factor * x);
            };
            add(&power, 2.0);
            for _ in 3..terms.saturating_sub(1).min(64) {
                power = power.times(self);
                add(&power, 2.0);
            }
            power = power.times(self);
            add(&power, 1.0);
        }
        sum
    }

    /// `R - I` for the rotation `R = (I + Q) (I - Q)^-1` of a skew-symmetric Q: `2 Q (I - Q)^-1`.
    pub(super) fn turn(&self) -> Self {
        self.times(&self.less_from_identity().inverse()).scaled(2.0)
    }

    /// By elimination. `I` plus a skew-symmetric matrix always has an inverse: its eigenvalues lie on the
    /// line of real part 1.
    pub(super) fn inverse(&self) -> Self {
        let n = self.size;
        let mut left = self.data.clone();
        let mut right = Self::from_fn(n, |i, j| f64::from(u8::from(i == j))).data;
        for column in 0..n {
            let size = |row: &usize| left[row * n + column].abs();
            let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
            for j in 0..n {
                left.swap(column * n + j, pivot * n + j);
                right.swap(column * n + j, pivot * n + j);
            }
            let first = left[column * n + column];
            for j in 0..n {
                left[column * n + j] /= first;
                right[column * n + j] /= first;
            }
            for row in (0..n).filter(|&row| row != column) {
                let factor = left[row * n + column];
                for j in 0..n {
                    left[row * n + j] -= factor * left[column * n + j];
                    right[row * n + j] -= factor * right[column * n + j];
                }
            }
        }
        Self { size: n, data: right }
    }

    pub(super) fn into_floats(self) -> impl Iterator<Item = f32> {
        self.data.into_iter().map(|x| x as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_skew_symmetric_matrices_turn_and_keep_lengths() {
        for size in [1, 2, 5] {
            let skew = Square::from_fn(size, |i, j| (i as f64 - j as f64) * 0.3);
            let turn = skew.times(&skew.less_from_identity().inverse()).scaled(2.0);
            let rotation = turn.scaled(-1.0).less_from_identity();
            let product = rotation.times(&rotation.transposed()).less_from_identity();
            assert!(product.squares() < 1e-24, "{size}: {product:?}");
            // The series nears (I + Q) (I - Q)^-1 where Q is small.
            let small = skew.scaled(0.01);
            let exact = small.times(&small.less_from_identity().inverse()).scaled(2.0);
            let series = small.neumann(8);
            let off =
                Square::from_fn(size, |i, j| exact.data[i * size + j] - series.data[i * size + j]);
            assert!(off.squares().sqrt() < 1e-6, "{size}: {off:?}");
        }
    }
}

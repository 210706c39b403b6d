//! Timestep spacings with numpy's arithmetic: `np.linspace`, `np.arange`, round half to even.

/// `np.linspace(0, last, n)`; `[0]` for one point.
pub(super) fn linspace(last: f64, n: usize) -> Vec<f64> {
    if n < 2 {
        return vec![0.0; n];
    }
    let step = last / (n - 1) as f64;
    let mut points: Vec<f64> = (0..n).map(|i| i as f64 * step).collect();
    points[n - 1] = last;
    points
}

/// Leading spacing: multiples of `ratio`, `n` of them, descending, plus `offset`.
pub(super) fn leading(ratio: usize, n: usize, offset: usize) -> Vec<usize> {
    (0..n).rev().map(|i| i * ratio + offset).collect()
}

/// Trailing spacing: `round(np.arange(start, 0, -train / n)) - 1`, without the step at -1 that
/// numpy appends for some `n`.
pub(super) fn trailing(start: usize, train: usize, n: usize) -> Vec<usize> {
    let start = start as f64;
    // numpy's arange multiplies the difference of its first two values.
    let delta = (start - train as f64 / n as f64) - start;
    (0..n)
        .map(|i| (start + i as f64 * delta).round_ties_even())
        .take_while(|&t| t >= 1.0)
        .map(|t| t as usize - 1)
        .collect()
}

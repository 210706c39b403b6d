//! Noise levels of the samplers that work in sigma space.

/// `np.interp(t, arange(len), table)`: linear between the table's entries, constant outside.
pub(super) fn interpolate(t: f64, table: &[f32]) -> f64 {
    let last = table.len() - 1;
    if t >= last as f64 {
        return f64::from(table[last]);
    }
    let low = t.max(0.0).floor() as usize;
    let (a, b) = (f64::from(table[low]), f64::from(table[low + 1]));
    (b - a) * (t.max(0.0) - low as f64) + a
}

/// `n` noise levels from `max` down to `min` after Karras et al.
/// (<https://arxiv.org/abs/2206.00364>, equation 5; `_convert_to_karras` in diffusers).
pub(super) fn karras(min: f64, max: f64, n: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (min, max) = (min.powf(1.0 / RHO), max.powf(1.0 / RHO));
    super::timesteps::linspace(1.0, n)
        .into_iter()
        .map(|ramp| (max + ramp * (min - max)).powf(RHO))
        .collect()
}

/// The training timestep, between two of the table's, that has noise level `sigma`
/// (`_sigma_to_t` in diffusers, whose log table is f32). `log_sigmas` has two entries or more.
pub(super) fn sigma_to_t(sigma: f64, log_sigmas: &[f32]) -> f64 {
    let log_sigma = sigma.max(1e-10).ln();
    let at_or_below = log_sigmas.iter().rposition(|&s| log_sigma - f64::from(s) >= 0.0);
    let low_index = at_or_below.unwrap_or(0).min(log_sigmas.len() - 2);
    let (low, high) = (log_sigmas[low_index], log_sigmas[low_index + 1]);
    let w = (f64::from(low) - log_sigma) / f64::from(low - high);
    let w = w.clamp(0.0, 1.0);
    (1.0 - w) * low_index as f64 + w * (low_index + 1) as f64
}

//! AdamW on slices.

use crate::training::settings::optimizer_config::AdamW;

/// `torch.optim.AdamW`, k counted from 1:
///
/// ```text
/// p *= 1 - lr wd;   m += (1 - b1) (g - m);   v = b2 v + (1 - b2) g^2
/// p -= lr / (1 - b1^k) * m / ( sqrt(v) / sqrt(1 - b2^k) + eps )
/// ```
pub(super) fn step(
    config: &AdamW,
    k: u64,
    learning_rate: f64,
    parameters: &mut [f32],
    gradient: &[f32],
    (m, v): (&mut [f32], &mut [f32]),
) {
    let [beta1, beta2] = config.betas;
    let correction = |beta: f64| 1.0 - beta.powf(k as f64);
    let decay = (1.0 - learning_rate * config.weight_decay) as f32;
    let rate = (learning_rate / correction(beta1)) as f32;
    let root = correction(beta2).sqrt() as f32;
    let (new1, beta2, new2) = ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
    let eps = config.eps as f32;
    for (((p, &g), m), v) in parameters.iter_mut().zip(gradient).zip(m).zip(v) {
        *m += new1 * (g - *m);
        *v = *v * beta2 + new2 * g * g;
        *p = *p * decay - rate * (*m / (v.sqrt() / root + eps));
    }
}

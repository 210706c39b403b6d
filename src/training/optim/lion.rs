//! Lion on slices.

use crate::training::settings::optimizer_config::Lion;

/// Lion with decoupled weight decay:
///
/// ```text
/// p *= 1 - lr wd;   p -= lr sign(b1 m + (1 - b1) g);   m = b2 m + (1 - b2) g
/// ```
pub(super) fn step(
    config: &Lion,
    rate: f64,
    parameters: &mut [f32],
    gradient: &[f32],
    m: &mut [f32],
) {
    let [beta1, beta2] = config.betas;
    let decay = (1.0 - rate * config.weight_decay) as f32;
    let (beta1, new1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (beta2, new2) = (beta2 as f32, (1.0 - beta2) as f32);
    let rate = rate as f32;
    for ((p, &g), m) in parameters.iter_mut().zip(gradient).zip(m) {
        let direction = beta1 * *m + new1 * g;
        // Not signum(): 0 has no direction, so a parameter without a gradient stays.
        let sign = f32::from(i8::from(direction > 0.0) - i8::from(direction < 0.0));
        *p = *p * decay - rate * sign;
        *m = beta2 * *m + new2 * g;
    }
}

//! Prodigy (Mishchenko and Defazio 2023): Adam whose learning rate is the distance d to the solution,
//! guessed from how far the parameters have come along the gradients. As `prodigyopt/prodigy.py`.

use std::ops::Range;

use super::scalars::{Group, Scalars};
use crate::error::{Error, Result};
use crate::linalg::dot;
use crate::training::settings::optimizer_config::Prodigy;

/// The one factor on the learning rate of all groups that are not frozen; 0 if all are.
///
/// # Errors
/// Two different factors.
pub(super) fn common_factor(groups: &[Group]) -> Result<f64> {
    let mut factors = groups.iter().map(|&(_, factor)| factor).filter(|&factor| factor != 0.0);
    let first = factors.next().unwrap_or(0.0);
    match factors.find(|&factor| factor != first) {
        None => Ok(first),
        Some(other) => Err(Error::setting(
            "optimizer",
            format!(
                "Prodigy finds one learning rate for all parameters, but the factors {first} and \
                 {other} are asked for"
            ),
            "Set the LoRA+ ratio to 1, or use AdamW",
        )),
    }
}

/// One step on the `trained` ranges, with `tensors` m, v, s and the parameters p0 at the start:
///
/// ```text
/// dlr   = d lr bc            bc = sqrt(1 - b2^(k+1)) / (1 - b1^(k+1)), or 1
/// num   = b3 num + (d/d0) dlr <g, p0 - p>                             b3 = sqrt(b2)
/// m     = b1 m + d (1 - b1) g;       v = b2 v + d^2 (1 - b2) g^2
/// s     = b3 s + (d/d0) (d, with the safeguard, or dlr) g
/// d_hat = d_coef num / |s|_1;        if d = d0: d = max(d, d_hat)
/// d_max = max(d_max, d_hat);         d = min(d_max, d growth_rate)
/// p    -= wd dlr p + dlr m / ( sqrt(v) + d eps )                      dlr from before, d the new
/// ```
///
/// Frozen ranges stay as they are; in prodigyopt the weight decay still pulls at a group with a
/// learning rate of 0.
pub(super) fn step(
    config: &Prodigy,
    scalars: &mut Scalars,
    tensors: &mut [Vec<f32>],
    parameters: &mut [f32],
    gradient: &[f32],
    learning_rate: f64,
    trained: &[Range<usize>],
) {
    let [m, v, s, p0] = tensors else { return };
    let [beta1, beta2] = config.betas;
    let beta3 = beta2.sqrt();
    let k = (scalars.step + 1) as f64;
    let correction = if config.use_bias_correction {
        (1.0 - beta2.powf(k)).sqrt() / (1.0 - beta1.powf(k))
    } else {
        1.0
    };
    let d = scalars.d;
    let rate = d * learning_rate * correction;
    if rate == 0.0 {
        return;
    }

    // Phase 1: the averages and the guess of d.
    let weight = d / config.d0;
    let (b1, new1) = (beta1 as f32, (d * (1.0 - beta1)) as f32);
    let (b2, new2) = (beta2 as f32, (d * d * (1.0 - beta2)) as f32);
    let of_s = if config.safeguard_warmup { d } else { rate };
    let (b3, new3) = (beta3 as f32, (weight * of_s) as f32);
    let (mut along, mut denominator) = (0.0, 0.0);
    for range in trained {
        let (p, g) = (&parameters[range.clone()], &gradient[range.clone()]);
        along += dot_difference(g, &p0[range.clone()], p);
        let averages = m[range.clone()].iter_mut().zip(&mut v[range.clone()]);
        for (((m, v), s), &g) in averages.zip(&mut s[range.clone()]).zip(g) {
            *m = b1 * *m + new1 * g;
            *v = b2 * *v + new2 * g * g;
            *s = b3 * *s + new3 * g;
        }
        denominator += norm1(&s[range.clone()]);
    }
    // All gradients have been 0: nothing to learn from yet, and prodigyopt counts no step.
    if denominator == 0.0 {
        return;
    }
    scalars.numerator = beta3 * scalars.numerator + weight * rate * along;
    let guess = config.d_coef * scalars.numerator / denominator;
    if scalars.d == config.d0 {
        scalars.d = scalars.d.max(guess);
    }
    scalars.d_max = scalars.d_max.max(guess);
    let growth = config.growth_rate.unwrap_or(f64::INFINITY);
    scalars.d = scalars.d_max.min(scalars.d * growth);
    scalars.step += 1;

    // Phase 2: the step.
    let decay = (1.0 - config.weight_decay * rate) as f32;
    let (rate, eps) = (rate as f32, (scalars.d * config.eps) as f32);
    for range in trained {
        let p = parameters[range.clone()].iter_mut();
        for ((p, m), v) in p.zip(&m[range.clone()]).zip(&v[range.clone()]) {
            *p = *p * decay - rate * (m / (v.sqrt() + eps));
        }
    }
}

/// `<g, p0 - p>`, the difference rounded to f32 as in PyTorch.
fn dot_difference(gradient: &[f32], start: &[f32], now: &[f32]) -> f64 {
    // In pieces, for dot's sake: it wants slices.
    let mut difference = [0f32; 256];
    let pieces = gradient.chunks(256).zip(start.chunks(256)).zip(now.chunks(256));
    pieces
        .map(|((gradient, start), now)| {
            for ((x, &start), &now) in difference.iter_mut().zip(start).zip(now) {
                *x = start - now;
            }
            dot(gradient, &difference)
        })
        .sum()
}

/// The sum of absolute values, in f64.
fn norm1(values: &[f32]) -> f64 {
    let eights = values.chunks_exact(8);
    let rest: f64 = eights.remainder().iter().map(|x| f64::from(x.abs())).sum();
    let mut sums = [0f64; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += f64::from(x.abs()));
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::optimizer::Optimizer;
    use super::*;
    use crate::training::settings::optimizer_config::OptimizerConfig;

    fn optimizer(config: Prodigy, parameters: &[f32]) -> Optimizer {
        Optimizer::new(&OptimizerConfig::Prodigy(config), parameters).unwrap()
    }

    /// `prodigyopt/prodigy.py` line by line in f64, for one parameter group.
    struct Reference {
        config: Prodigy,
        p: Vec<f64>,
        p0: Vec<f64>,
        m: Vec<f64>,
        v: Vec<f64>,
        s: Vec<f64>,
        d: f64,
        d_max: f64,
        numerator: f64,
        k: i32,
    }

    impl Reference {
        fn new(config: Prodigy, p: &[f32]) -> Self {
            let p: Vec<f64> = p.iter().map(|&x| f64::from(x)).collect();
            let zero = vec![0.0; p.len()];
            let (m, v, s, d) = (zero.clone(), zero.clone(), zero, config.d0);
            Self { config, p0: p.clone(), p, m, v, s, d, d_max: d, numerator: 0.0, k: 0 }
        }

        fn step(&mut self, gradient: &[f32], lr: f64) {
            let c = &self.config;
            let [beta1, beta2] = c.betas;
            let beta3 = beta2.sqrt();
            let mut bias_correction = 1.0;
            if c.use_bias_correction {
                bias_correction =
                    (1.0 - beta2.powi(self.k + 1)).sqrt() / (1.0 - beta1.powi(self.k + 1));
            }
            let d = self.d;
            let dlr = d * lr * bias_correction;
            self.numerator *= beta3;
            let mut denominator = 0.0;
            for (i, &g) in gradient.iter().enumerate() {
                let g = f64::from(g);
                self.numerator += (d / c.d0) * dlr * g * (self.p0[i] - self.p[i]);
                self.m[i] = beta1 * self.m[i] + d * (1.0 - beta1) * g;
                self.v[i] = beta2 * self.v[i] + d * d * (1.0 - beta2) * g * g;
                let alpha = d / c.d0 * if c.safeguard_warmup { d } else { dlr };
                self.s[i] = beta3 * self.s[i] + alpha * g;
                denominator += self.s[i].abs();
            }
            let d_hat = c.d_coef * self.numerator / denominator;
            if self.d == c.d0 {
                self.d = self.d.max(d_hat);
            }
            self.d_max = self.d_max.max(d_hat);
            self.d = self.d_max.min(self.d * c.growth_rate.unwrap_or(f64::INFINITY));
            for i in 0..gradient.len() {
                self.p[i] -= c.weight_decay * dlr * self.p[i];
                self.p[i] -= dlr * self.m[i] / (self.v[i].sqrt() + self.d * c.eps);
            }
            self.k += 1;
        }
    }

    #[test]
    fn follows_prodigyopt_with_every_flag() {
        let start: Vec<f32> = (0..11).map(|i| (i as f32 * 0.7).sin()).collect();
        for (use_bias_correction, safeguard_warmup, growth_rate) in [
            (false, false, None),
            (true, false, Some(1.02)),
            (false, true, None),
            (true, true, None),
        ] {
            let config = Prodigy {
                d0: 1e-4,
                use_bias_correction,
                safeguard_warmup,
                growth_rate,
                ..Prodigy::default()
            };
            let mut ours = optimizer(config.clone(), &start);
            let mut reference = Reference::new(config, &start);
            let mut p = start.clone();
            for step in 0..60 {
                // A quadratic around 2, with a warm-up.
                let gradient: Vec<f32> = p.iter().map(|x| x - 2.0).collect();
                let lr = f64::min(1.0, f64::from(step + 1) / 5.0);
                ours.step(&mut p, &gradient, lr, &[(0..11, 1.0)]).unwrap();
                reference.step(&gradient, lr);
            }
            let d = ours.scalars().d;
            // p0 - p is small against p: f32 leaves it 4 digits here.
            assert!((d / reference.d - 1.0).abs() < 1e-3, "{d} {}", reference.d);
            assert!(d > 1.5e-4 && ours.scalars().step == 60, "{d}");
            for (p, want) in p.iter().zip(&reference.p) {
                assert!((f64::from(*p) - want).abs() < 1e-3, "{p} {want}");
            }
        }
    }

    #[test]
    fn frozen_ranges_stay_and_other_factors_are_refused() {
        let mut p = vec![1.0f32; 20];
        let mut ours = optimizer(Prodigy::default(), &p);
        let g = vec![0.5f32; 20];
        ours.step(&mut p, &g, 1.0, &[(0..5, 0.0), (5..20, 1.0)]).unwrap();
        assert!(p[..5].iter().all(|&x| x == 1.0) && p[5..].iter().all(|&x| x < 1.0));
        let before = (p.clone(), ours.scalars());
        let error = ours.step(&mut p, &g, 1.0, &[(0..5, 1.0), (5..20, 4.0)]).unwrap_err();
        assert!(error.to_string().contains("factors 1 and 4"), "{error}");
        assert_eq!(before, (p, ours.scalars()));
    }

    #[test]
    fn without_a_gradient_nothing_happens() {
        let mut p = vec![1.0f32; 3];
        let mut ours = optimizer(Prodigy::default(), &p);
        ours.step(&mut p, &[0.0; 3], 1.0, &[(0..3, 1.0)]).unwrap();
        ours.step(&mut p, &[1.0; 3], 0.0, &[(0..3, 1.0)]).unwrap();
        assert_eq!((p.as_slice(), ours.scalars().step), ([1.0; 3].as_slice(), 0));
        ours.step(&mut p, &[1.0, 0.0, -1.0], 1.0, &[(0..3, 1.0)]).unwrap();
        assert!(p[0] < 1.0 && (p[1] - 1.0).abs() < 1e-6 && p[2] > 1.0 - 1e-6);
    }
}

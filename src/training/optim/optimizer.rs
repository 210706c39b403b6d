//! The optimiser's step on the flat vector of parameters, and what it has to remember.
//!
//! Parameters, gradient and averages are f32, the constants of a step are computed in f64 and
//! rounded once, as PyTorch does on the CPU.

use super::{adam_w, lion, prodigy};
use crate::error::{Error, Result};
use crate::linalg::dot;
use crate::training::settings::optimizer_config::OptimizerConfig;

pub use super::scalars::{Group, Scalars};

/// An optimiser in the middle of a run.
#[derive(Debug, Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    scalars: Scalars,
    /// One value per parameter each, in the order of [`names`].
    tensors: Vec<Vec<f32>>,
}

/// The average of the squared gradient.
pub const SQUARES: &str = "exp_avg_sq";

/// What each of [`Optimizer::state`]'s tensors is called.
fn names(config: &OptimizerConfig) -> &'static [&'static str] {
    match config {
        OptimizerConfig::AdamW(_) => &["exp_avg", SQUARES],
        OptimizerConfig::Lion(_) => &["exp_avg"],
        OptimizerConfig::Prodigy(_) => &["exp_avg", SQUARES, "s", "p0"],
    }
}

impl Optimizer {
    /// Before the first step. Prodigy keeps a copy of the `parameters`, the others only count them.
    ///
    /// # Errors
    /// A constant of `config` out of its range.
    pub fn new(config: &OptimizerConfig, parameters: &[f32]) -> Result<Self> {
        config.check()?;
        let mut tensors = vec![vec![0.0; parameters.len()]; names(config).len()];
        let mut d = 1.0;
        if let (OptimizerConfig::Prodigy(config), [.., start]) = (config, tensors.as_mut_slice()) {
            start.copy_from_slice(parameters);
            d = config.d0;
        }
        let scalars = Scalars { step: 0, d, d_max: d, numerator: 0.0 };
        Ok(Self { config: config.clone(), scalars, tensors })
    }

    /// One step of `learning_rate` (with the schedule's factor) along `gradient`, in place.
    ///
    /// `groups` give each part's factor on the learning rate and cover all parameters, in order.
    ///
    /// # Errors
    /// Lengths that don't fit each other; with Prodigy, factors that differ other than by being 0:
    /// it has one d for all parameters. Nothing has changed then.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        learning_rate: f64,
        groups: &[Group],
    ) -> Result<()> {
        self.check(parameters.len(), gradient.len(), groups)?;
        match (&self.config, self.tensors.as_mut_slice()) {
            (OptimizerConfig::AdamW(config), [m, v]) => {
                self.scalars.step += 1;
                for (range, factor) in groups.iter().filter(|(_, factor)| *factor != 0.0) {
                    let (p, g) = (&mut parameters[range.clone()], &gradient[range.clone()]);
                    let averages = (&mut m[range.clone()], &mut v[range.clone()]);
                    adam_w::step(config, self.scalars.step, learning_rate * factor, p, g, averages);
                }
            }
            (OptimizerConfig::Lion(config), [m]) => {
                self.scalars.step += 1;
                for (range, factor) in groups.iter().filter(|(_, factor)| *factor != 0.0) {
                    let (p, g) = (&mut parameters[range.clone()], &gradient[range.clone()]);
                    lion::step(config, learning_rate * factor, p, g, &mut m[range.clone()]);
                }
            }
            (OptimizerConfig::Prodigy(config), tensors) => {
                let factor = prodigy::common_factor(groups)?;
                let trained = groups.iter().filter(|(_, factor)| *factor != 0.0);
                prodigy::step(
                    config,
                    &mut self.scalars,
                    tensors,
                    parameters,
                    gradient,
                    learning_rate * factor,
                    &trained.map(|(range, _)| range.clone()).collect::<Vec<_>>(),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self, parameters: usize, gradient: usize, groups: &[Group]) -> Result<()> {
        let count = self.tensors.first().map_or(0, Vec::len);
        let mut end = 0;
        for (range, _) in groups {
            if range.start != end || range.end < end {
                return Err(misfit(format!("the group {range:?} does not begin at {end}")));
            }
            end = range.end;
        }
        if [parameters, gradient, end] != [count; 3] {
            return Err(misfit(format!(
                "{parameters} parameters, a gradient of {gradient} and groups up to {end}, where \
                 the optimiser has {count}"
            )));
        }
        Ok(())
    }

    /// The tensors to save, by name, each of one value per parameter.
    pub fn state(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        names(&self.config).iter().copied().zip(self.tensors.iter().map(Vec::as_slice))
    }

    /// The numbers to save beside them; also Prodigy's d, which people like to watch.
    pub fn scalars(&self) -> Scalars {
        self.scalars
    }

    /// The optimiser as it was when [`Self::scalars`] and [`Self::state`] were saved, bit for bit.
    /// `tensor` gives the saved tensor of a name, `parameters` is how many values it must have.
    ///
    /// # Errors
    /// A constant of `config` out of its range; a tensor that is missing or of another length;
    /// numbers that no run gives.
    pub fn restore(
        config: &OptimizerConfig,
        parameters: usize,
        scalars: Scalars,
        mut tensor: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<Self> {
        config.check()?;
        let Scalars { d, d_max, numerator, .. } = scalars;
        if !(d > 0.0 && d.is_finite() && d_max.is_finite() && numerator.is_finite()) {
            return Err(unusable(format!(
                "the optimiser's numbers {d}, {d_max}, {numerator} are those of no run"
            )));
        }
        let tensors = names(config)
            .iter()
            .map(|name| {
                let values = tensor(name).ok_or_else(|| unusable(format!("{name} is missing")))?;
                if values.len() != parameters {
                    return Err(unusable(format!(
                        "{name} has {} values for {parameters} parameters",
                        values.len()
                    )));
                }
                Ok(values)
            })
            .collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), scalars, tensors })
    }
}

fn misfit(problem: String) -> Error {
    Error::setting(
        "optimizer",
        problem,
        "This is a mistake in Lorakeet, not in your settings: please report it",
    )
}

fn unusable(problem: String) -> Error {
    Error::setting(
        "resume",
        problem,
        "Start the training anew, or resume it with the settings that it was saved with",
    )
}

/// Scales `gradient` to a norm of at most `max_norm` and gives its norm before:
/// `torch.nn.utils.clip_grad_norm_`, `c = min(1, max_norm / (norm + 1e-6))` over all parameters.
///
/// `max_norm` 0 is no limit, as in kohya. A gradient with an infinity or a NaN stays as it is, and
/// the norm tells: skip the step then.
pub fn clip(gradient: &mut [f32], max_norm: f64) -> f64 {
    let norm = dot(gradient, gradient).sqrt();
    let factor = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && factor < 1.0 && norm.is_finite() {
        let factor = factor as f32;
        gradient.iter_mut().for_each(|g| *g *= factor);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::settings::optimizer_config::{AdamW, Lion, Prodigy};

    fn adam(betas: [f64; 2], eps: f64, weight_decay: f64) -> OptimizerConfig {
        OptimizerConfig::AdamW(AdamW { betas, eps, weight_decay })
    }

    /// Two steps by hand: b1 = .9, b2 = .99, eps = 1e-8, wd = .1, lr = .01, p = 1, g = .5 then -.25.
    /// Step 1: m/(1-b1) = .5, sqrt(v/(1-b2)) = .5, so p = .999 - .01 = .989.
    /// Step 2: m = .02, v = .0031; m/.19 = .105263158, sqrt(.0031/.0199) = .394688 with
    /// v = .99 * .0025 + .01 * .0625 = .0031; p = .989 * .999 - .01 * .105263158 / .394688.
    #[test]
    fn adam_w_by_hand() {
        let mut p = [1.0];
        let mut optimizer = Optimizer::new(&adam([0.9, 0.99], 1e-8, 0.1), &p).unwrap();
        optimizer.step(&mut p, &[0.5], 0.01, &[(0..1, 1.0)]).unwrap();
        assert!((p[0] - 0.989).abs() < 1e-7, "{}", p[0]);
        optimizer.step(&mut p, &[-0.25], 0.01, &[(0..1, 1.0)]).unwrap();
        let m: f64 = 0.9 * 0.05 - 0.1 * 0.25;
        let v: f64 = 0.99 * 0.0025 + 0.01 * 0.0625;
        let want = 0.989 * 0.999 - 0.01 * (m / 0.19) / ((v / 0.0199).sqrt() + 1e-8);
        assert!((f64::from(p[0]) - want).abs() < 1e-7, "{} {want}", p[0]);
        assert!((want - 0.985_344).abs() < 1e-6, "{want}");
    }

    #[test]
    fn lion_steps_by_sign_and_leaves_what_has_no_gradient() {
        let mut p = [1.0, 1.0, 1.0];
        let config = OptimizerConfig::Lion(Lion { betas: [0.9, 0.5], weight_decay: 0.0 });
        let mut optimizer = Optimizer::new(&config, &p).unwrap();
        let groups = [(0..3, 1.0)];
        optimizer.step(&mut p, &[3.0, -0.001, 0.0], 0.1, &groups).unwrap();
        assert_eq!(p, [0.9, 1.1, 1.0]);
        // m = 1.5: .9 * 1.5 - .1 * 2 > 0, so still down.
        optimizer.step(&mut p, &[-2.0, 0.0, 0.0], 0.1, &groups).unwrap();
        assert!((p[0] - 0.8).abs() < 1e-6 && (p[1] - 1.2).abs() < 1e-6 && p[2] == 1.0);
    }

    #[test]
    fn groups_scale_the_rate_and_zero_freezes() {
        for config in [adam([0.9, 0.99], 1e-8, 0.5), OptimizerConfig::Lion(Lion::default())] {
            let mut p = [1.0; 6];
            let mut optimizer = Optimizer::new(&config, &p).unwrap();
            let groups = [(0..2, 1.0), (2..4, 0.0), (4..6, 4.0)];
            optimizer.step(&mut p, &[1.0; 6], 0.01, &groups).unwrap();
            assert_eq!(p[2..4], [1.0; 2]);
            assert!(((1.0 - p[4]) / (1.0 - p[0]) - 4.0).abs() < 1e-3);
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let mut p = [0.0; 3];
        let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &p).unwrap();
        for groups in [vec![], vec![(0..2, 1.0)], vec![(0..1, 1.0), (2..3, 1.0)]] {
            assert!(optimizer.step(&mut p, &[0.0; 3], 0.1, &groups).is_err());
        }
        assert!(optimizer.step(&mut p, &[0.0; 2], 0.1, &[(0..3, 1.0)]).is_err());
        assert_eq!(optimizer.scalars().step, 0);
    }

    #[test]
    fn resumed_runs_go_on_bit_for_bit() {
        for config in [
            OptimizerConfig::default(),
            OptimizerConfig::Lion(Lion::default()),
            OptimizerConfig::Prodigy(Prodigy::default()),
        ] {
            let mut p: Vec<f32> = (0..37).map(|i| (i as f32).sin()).collect();
            let mut optimizer = Optimizer::new(&config, &p).unwrap();
            let groups = [(0..30, 1.0), (30..37, 0.0)];
            let run = |optimizer: &mut Optimizer, p: &mut Vec<f32>| {
                for _ in 0..10 {
                    let gradient: Vec<f32> = p.iter().map(|x| x - 0.3).collect();
                    optimizer.step(p, &gradient, 0.7, &groups).unwrap();
                }
            };
            run(&mut optimizer, &mut p);
            let json = serde_json::to_string(&optimizer.scalars()).unwrap();
            let saved: Vec<_> = optimizer.state().map(|(n, t)| (n, t.to_vec())).collect();
            let find = |name: &str| saved.iter().find(|(n, _)| *n == name).map(|(_, t)| t.clone());
            let scalars = serde_json::from_str(&json).unwrap();
            let mut restored = Optimizer::restore(&config, 37, scalars, find).unwrap();
            let mut again = p.clone();
            run(&mut optimizer, &mut p);
            run(&mut restored, &mut again);
            let bits = |p: &[f32]| p.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&p), bits(&again));
            assert_eq!(optimizer.scalars(), restored.scalars());
            assert!(Optimizer::restore(&config, 36, scalars, find).is_err());
            assert!(Optimizer::restore(&config, 37, scalars, |_| None).is_err());
            let broken = Scalars { d: f64::NAN, ..scalars };
            assert!(Optimizer::restore(&config, 37, broken, find).is_err());
        }
    }

    #[test]
    fn clipping_is_torchs() {
        let mut gradient = [3.0, 4.0];
        assert_eq!(clip(&mut gradient, 10.0), 5.0);
        assert_eq!(clip(&mut gradient, 0.0), 5.0);
        assert_eq!(gradient, [3.0, 4.0]);
        assert_eq!(clip(&mut gradient, 1.0), 5.0);
        assert!((f64::from(gradient[0]) - 3.0 / (5.0 + 1e-6)).abs() < 1e-7);
        let mut broken = [f32::INFINITY, 1.0];
        assert!(!clip(&mut broken, 1.0).is_finite());
        assert_eq!(broken[1], 1.0);
    }
}

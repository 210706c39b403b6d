//! Regularisation of the adapter's product, module by module.

use super::adapter::{Adapter, DOWN, UP};
use super::regularisation::{add_l2_gradient, limit_norm};

impl Adapter {
    /// Adds the gradient of `lambda * ||s B A||^2` of every module to `gradient`; gives the sum of these.
    pub fn add_l2(&self, lambda: f64, gradient: &mut [f32]) -> f64 {
        let mut sum = 0.0;
        if lambda > 0.0 {
            for module in &self.modules {
                let Some(squares) = module.product_norm_squared(&self.parameters) else {
                    continue;
                };
                sum += lambda * squares;
                let [down, up] = [0, 1].map(|i| module.pieces[i].range.clone());
                let (before, rest) = gradient.split_at_mut(up.start);
                add_l2_gradient(
                    &self.parameters[down.clone()],
                    &self.parameters[up.clone()],
                    module.rank,
                    f64::from(module.scale),
                    lambda,
                    &mut before[down],
                    &mut rest[..up.len()],
                );
            }
        }
        sum
    }

    /// Scales the factors of each module whose product's norm is above `max_norm`.
    pub fn limit_norms(&mut self, max_norm: f64) {
        let Self { modules, parameters, .. } = self;
        for module in modules {
            let [down, up, ..] = &module.pieces[..] else { continue };
            if down.name == DOWN && up.name == UP {
                let (before, rest) = parameters.split_at_mut(up.range.start);
                limit_norm(
                    &mut before[down.range.clone()],
                    &mut rest[..up.range.len()],
                    module.rank,
                    f64::from(module.scale),
                    max_norm,
                );
            }
        }
    }
}

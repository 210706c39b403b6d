//! Regularisation of the adapter's product, module by module.

use super::adapter::{Adapter, DOWN, UP};
use super::regularisation::{add_l2_gradient, limit_norm};
use super::trainer::Trainer;

impl Trainer {
    /// Adds the gradient of `l2 * ||s B A||^2` of every module; gives the sum of these.
    pub(super) fn add_l2(&mut self) -> f64 {
        let lambda = self.config.l2;
        let mut sum = 0.0;
        if lambda > 0.0 {
            for module in &self.adapter.modules {
                let Some(squares) = module.product_norm_squared(&self.adapter.parameters) else {
                    continue;
                };
                sum += lambda * squares;
                let [down, up] = [0, 1].map(|i| module.pieces[i].range.clone());
                let (before, rest) = self.gradient.split_at_mut(up.start);
                add_l2_gradient(
                    &self.adapter.parameters[down.clone()],
                    &self.adapter.parameters[up.clone()],
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

    pub(super) fn limit_norms(&mut self) {
        let Adapter { modules, parameters, .. } = &mut self.adapter;
        for module in modules {
            let [down, up, ..] = &module.pieces[..] else { continue };
            if down.name == DOWN && up.name == UP {
                let (before, rest) = parameters.split_at_mut(up.range.start);
                limit_norm(
                    &mut before[down.range.clone()],
                    &mut rest[..up.range.len()],
                    module.rank,
                    f64::from(module.scale),
                    self.config.max_norm,
                );
            }
        }
    }
}

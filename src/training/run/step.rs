//! One optimiser step: from a gradient to the next state. Plain arithmetic on the host.

use serde::Serialize;

use super::context::Context;
use super::state::State;
use crate::error::Result;
use crate::training::optim::optimizer::clip;
use crate::training::settings::config::Config;
use crate::training::settings::optimizer_config::OptimizerConfig;
use crate::training::trained::regularisation::soft_threshold;

/// Steps in a row that may be skipped before the run stops.
const MOST_SKIPPED: usize = 3;

/// One optimiser step, for people and for the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Mean loss of its samples, prior preservation included.
    pub loss: f64,
    /// The exact L2 of the product, already multiplied by its factor.
    pub regularisation: f64,
    /// Of this step.
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Norm of all parameters after it.
    pub parameter_norm: f64,
    /// Prodigy's d.
    pub d: Option<f64>,
    /// Whether it was skipped, its gradient not being finite.
    pub skipped_now: bool,
    /// Steps skipped so far.
    pub skipped: usize,
    /// Why the run stopped, if it did.
    pub stopped: Option<String>,
}

/// Goes from a state to the next one along `gradient`, the mean over a step's samples, whose mean loss
/// is `loss`. The gradient of the L2 penalty is added to it.
///
/// # Errors
/// When the optimiser refuses its groups, which its configuration brings about.
pub fn step(
    context: &Context,
    state: &mut State,
    gradient: &mut [f32],
    loss: f64,
) -> Result<StepReport> {
    let Config { steps, warmup, schedule, .. } = context.config;
    let learning_rate = context.learning_rate * schedule.multiplier(state.step, steps, warmup);
    let regularisation = state.adapter.add_l2(context.config.l2, gradient);
    let mut clipped = gradient.to_vec();
    let most = if context.config.clip > 0.0 { context.config.clip } else { f64::INFINITY };
    let gradient_norm = clip(&mut clipped, most);
    let skipped_now = !(gradient_norm.is_finite() && loss.is_finite());
    let mut stopped = None;
    if skipped_now {
        state.skipped += 1;
        state.bad += 1;
        if state.bad >= MOST_SKIPPED {
            stopped = Some(format!(
                "{MOST_SKIPPED} steps in a row came to NaN or infinity. Nothing of them went \
                 into the adapter; go on with a lower learning rate"
            ));
        }
    } else {
        state.bad = 0;
        move_along(context, state, &clipped, learning_rate)?;
    }
    state.step += 1;
    let squares: f64 = state.adapter.parameters.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let prodigy = matches!(context.config.optimizer, OptimizerConfig::Prodigy(_));
    Ok(StepReport {
        step: state.step,
        steps,
        loss,
        regularisation,
        learning_rate,
        gradient_norm,
        parameter_norm: squares.sqrt(),
        d: prodigy.then(|| state.optimizer.scalars().d),
        skipped_now,
        skipped: state.skipped,
        stopped,
    })
}

/// The optimiser's step, then what keeps the parameters small.
fn move_along(
    context: &Context,
    state: &mut State,
    gradient: &[f32],
    learning_rate: f64,
) -> Result<()> {
    let parameters = &mut state.adapter.parameters;
    state.optimizer.step(parameters, gradient, learning_rate, &context.groups)?;
    if context.config.l1 > 0.0 {
        soft_threshold(parameters, learning_rate * context.config.l1);
    }
    if context.config.max_norm > 0.0 {
        state.adapter.limit_norms(context.config.max_norm);
    }
    Ok(())
}

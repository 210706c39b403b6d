//! PNDM: a linear multistep method over the model's outputs, started by calls of its own
//! (<https://arxiv.org/abs/2202.09778>, `scheduling_pndm.py`).

use super::base::{Base, Defaults, Prediction};
use super::call::{Call, Mix};
use super::ddim::{final_product, spaced_timesteps};
use super::{Plan, Run, SchedulerConfig};
use crate::error::{Error, Result};

pub(super) const DEFAULTS: Defaults = Defaults { predicts_sample: false, ..Defaults::PRODUCTS };

/// The noise levels and what the formulas need beside them.
struct Pndm {
    base: Base,
    final_product: f64,
}

impl Pndm {
    /// Formula (9): from timestep `t` to `to` (past the end where there is none) with the mean
    /// `output` of model outputs, from `start`. diffusers turns a mean of v into noise with the sample
    /// that the step starts from.
    fn step(&self, t: usize, to: Option<usize>, start: Mix, output: Mix) -> Result<Mix> {
        let abar = self.base.noise.abar(t)?;
        let abar_to = match to {
            Some(to) => self.base.noise.abar(to)?,
            None => self.final_product,
        };
        let noise = match self.base.prediction {
            Prediction::Velocity => output * abar.sqrt() + start * (1.0 - abar).sqrt(),
            Prediction::Epsilon | Prediction::Sample => output,
        };
        let divisor = abar * (1.0 - abar_to).sqrt() + (abar * (1.0 - abar) * abar_to).sqrt();
        Ok(start * (abar_to / abar).sqrt() + noise * ((abar - abar_to) / divisor))
    }

    fn call(&self, t: usize, next: Mix) -> Result<Call> {
        let (signal, spread) = self.base.noise.add_noise(t)?;
        let start = Call::variance_preserving(t as f64, self.base.prediction, signal, spread);
        Ok(Call { next, ..start })
    }

    /// One step of the Runge-Kutta kind, from `t` over `middle` to `end`: four calls, whose first
    /// output stays.
    fn runge_kutta(&self, t: usize, middle: usize, end: usize, half: usize) -> Result<[Call; 4]> {
        let before = |t: usize| t.checked_sub(half);
        let mean =
            Mix::MODEL * (1.0 / 6.0) + Mix::kept(0) * (1.0 / 3.0) + Mix::kept(1) * (1.0 / 6.0);
        let calls = [
            Call {
                anchor: Some(Mix::SAMPLE),
                keep: Some(Mix::MODEL),
                ..self.call(t, self.step(t, before(t), Mix::SAMPLE, Mix::MODEL)?)?
            },
            Call {
                keep: Some(Mix::MODEL),
                ..self.call(middle, self.step(t, Some(middle), Mix::ANCHOR, Mix::MODEL)?)?
            },
            Call {
                drops: 1,
                keep: Some(Mix::MODEL + Mix::kept(0)),
                ..self.call(middle, self.step(t, before(middle), Mix::ANCHOR, Mix::MODEL)?)?
            },
            Call { drops: 1, ..self.call(end, self.step(t, Some(end), Mix::ANCHOR, mean)?)? },
        ];
        Ok(calls)
    }
}

/// The mean of this output and those before, of which there are `kept` (Adams and Bashforth).
fn mean(kept: usize) -> Mix {
    let [m, a, b, c] = [Mix::MODEL, Mix::kept(0), Mix::kept(1), Mix::kept(2)];
    match kept {
        0 => m,
        1 => m * (3.0 / 2.0) + a * (-1.0 / 2.0),
        2 => m * (23.0 / 12.0) + a * (-16.0 / 12.0) + b * (5.0 / 12.0),
        _ => m * (55.0 / 24.0) + a * (-59.0 / 24.0) + b * (37.0 / 24.0) + c * (-9.0 / 24.0),
    }
}

pub(super) fn plan(config: &SchedulerConfig, run: Run) -> Result<Plan> {
    let base = Base::resolve(config, &DEFAULTS)?;
    let final_product = final_product(&base, config, false)?;
    let timesteps = spaced_timesteps(&base, run);
    let stride = base.train() / run.steps;
    let pndm = Pndm { base, final_product };
    // A config that is PNDM's own is read as diffusers does. Others don't know the word, and who
    // chooses this scheduler then means PLMS, as everywhere else.
    let is_own = config.class_name.as_deref() == Some("PNDMScheduler");
    let calls = if config.skip_prk_steps.unwrap_or(!is_own) {
        plms(&pndm, &timesteps, stride)?
    } else {
        runge_kutta_first(&pndm, &timesteps, stride)?
    };
    Ok(Plan { init_noise_sigma: 1.0, calls })
}

/// Multistep from the start: the first step takes two calls.
fn plms(pndm: &Pndm, timesteps: &[usize], stride: usize) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for (i, &t) in timesteps.iter().enumerate() {
        let next = pndm.step(t, t.checked_sub(stride), Mix::SAMPLE, mean(i))?;
        let call = Call { keep: Some(Mix::MODEL), ..pndm.call(t, next)? };
        let (0, Some(&second)) = (i, timesteps.get(1)) else {
            calls.push(call);
            continue;
        };
        calls.push(Call { anchor: Some(Mix::SAMPLE), ends_step: false, ..call });
        // The same step again, with the mean of both ends. Its start is told from its end.
        let output = Mix::MODEL * 0.5 + Mix::kept(0) * 0.5;
        let next = pndm.step(second + stride, Some(second), Mix::ANCHOR, output)?;
        calls.push(pndm.call(second, next)?);
    }
    Ok(calls)
}

/// Three steps of four calls, then multistep.
fn runge_kutta_first(pndm: &Pndm, timesteps: &[usize], stride: usize) -> Result<Vec<Call>> {
    if timesteps.len() < 4 {
        return Err(Error::setting(
            "steps",
            format!("{} are too few for PNDM with Runge-Kutta steps", timesteps.len()),
            "Use 4 or more, or another scheduler",
        ));
    }
    let half = stride / 2;
    let mut calls = Vec::new();
    for pair in timesteps[..4].windows(2) {
        let group = pndm.runge_kutta(pair[0], pair[1] + half, pair[1], half)?;
        calls
            .extend(group.into_iter().zip(0..).map(|(call, i)| Call { ends_step: i == 3, ..call }));
    }
    for &t in &timesteps[3..] {
        let next = pndm.step(t, t.checked_sub(stride), Mix::SAMPLE, mean(3))?;
        calls.push(Call { keep: Some(Mix::MODEL), ..pndm.call(t, next)? });
    }
    Ok(calls)
}

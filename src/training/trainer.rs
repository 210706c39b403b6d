//! The training loop, pulled pass by pass: the device gives a gradient, everything else is done here
//! on the host.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use super::adapter::Adapter;
use super::config::Config;
use super::dataset::Dataset;
use super::draws::{Assembly, Draws};
use super::evaluation::Evaluated;
use super::loss::Diffusion;
use super::meter::Meter;
use super::optimizer::{Optimizer, clip};
use super::optimizer_config::OptimizerConfig;
use super::picture::Role;
use super::random::{Stream, chances};
use super::reference::Reference;
use super::regularisation::soft_threshold;
use super::{check, leaves, pass};
use crate::error::{Error, Result};
use crate::layers::Dropout;
use crate::pipelines::StableDiffusion;

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

/// A run between two passes.
pub struct Trainer {
    pub(super) model: Rc<StableDiffusion>,
    pub(super) config: Config,
    pub(super) dataset: Rc<Dataset>,
    pub(super) reference: Option<Rc<Reference>>,
    pub(super) adapter: Adapter,
    pub(super) optimizer: Optimizer,
    pub(super) diffusion: Diffusion,
    pub(super) groups: Vec<(std::ops::Range<usize>, f64)>,
    pub(super) learning_rate: f64,
    pub(super) blocks: bool,
    /// Optimiser steps done.
    pub(super) step: usize,
    /// Batches of the present step done.
    pub(super) micro: usize,
    pub(super) skipped: usize,
    /// Steps skipped in a row.
    pub(super) bad: usize,
    /// Of the present step, summed over its batches.
    pub(super) gradient: Vec<f32>,
    pub(super) loss: f64,
    /// Weight of each sample of the pass in flight, in the order of the errors.
    pub(super) pending: Vec<f64>,
    /// Of the first sample of the last pass, and its shape; empty while the pass is under way.
    pub(super) guess: (Vec<f32>, [usize; 3]),
    /// The base model's losses on the grid of [`Evaluation`](super::Evaluation).
    pub(super) baseline: Option<Vec<f32>>,
    /// Evaluations so far.
    pub(super) history: Vec<Evaluated>,
    pub(super) meter: Meter,
}

impl Trainer {
    /// The run's settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The adapter as it is now.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The gradient of the step concluded last, L2 included, before clipping.
    pub fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether all steps are done.
    pub fn finished(&self) -> bool {
        self.step >= self.config.steps
    }

    /// The full learning rate, before warm-up and schedule.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Whether blocks are run twice to save memory.
    pub fn checkpointed(&self) -> bool {
        self.blocks
    }

    /// Forgets what a step in hand had summed up.
    pub(super) fn forget_pass(&mut self) {
        self.micro = 0;
        self.pending.clear();
    }

    pub(super) fn assembly(&self) -> Assembly<'_> {
        Assembly {
            config: &self.config,
            dataset: &self.dataset,
            diffusion: &self.diffusion,
            device: self.model.device(),
        }
    }

    /// The parameters on the device.
    pub(super) fn upload(&self) -> Tensor<1> {
        let values = self.adapter.parameters.clone();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), self.model.device())
    }

    /// The next batch forward and back. What comes is the flat gradient, then each sample's error,
    /// then the guess of the first sample's picture: read it back and give it to [`Self::conclude`].
    ///
    /// # Errors
    /// When the reference has no more batches, or the run is finished.
    pub fn advance(&mut self) -> Result<Tensor<1>> {
        if self.finished() {
            return Err(Error::setting("run", "is finished", "Start another, or rewind"));
        }
        let model = self.model.clone();
        let mut meter = std::mem::take(&mut self.meter);
        let pass = meter.count(model.device(), || self.pass());
        self.meter = meter;
        pass
    }

    fn pass(&mut self) -> Result<Tensor<1>> {
        let counter = self.step * self.config.accumulation + self.micro;
        let train = self.dataset.of(Role::Train);
        let draws = match &self.reference {
            None => Draws::new(&self.config, &train, &self.diffusion, counter as u64, false),
            Some(reference) => reference.draws(counter).cloned().ok_or_else(|| {
                let problem = format!("{counter} batches are all that it has");
                Error::setting("reference", problem, "Train fewer steps")
            })?,
        };
        check::draws(&draws, &train)?;
        let mut batches = self.assembly().batches(&draws, &train, 1.0)?;

        let prior = self.config.prior.weight;
        if prior > 0.0 && self.step.is_multiple_of(self.config.prior.every.max(1)) {
            let class = self.dataset.of(Role::Class);
            if class.is_empty() {
                batches.extend(self.prior_by_prompt(&batches));
            } else {
                batches.extend(self.prior_by_pictures(&class, counter, prior)?);
            }
        }

        let flat = self.upload();
        let (seed, step) = (self.config.seed, counter as u64);
        let modules = self.adapter.modules.len();
        let out = chances(seed, Stream::Dropout, step, modules, self.config.module_dropout);
        let (hidden, rank) = (self.config.dropout as f32, self.config.rank_dropout as f32);
        let masks = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (step << 20);
        let drop = |i: usize| {
            let seed = masks ^ i as u64;
            let masks = (hidden > 0.0 || rank > 0.0).then_some(Dropout { hidden, rank, seed });
            (!out[i]).then_some(masks)
        };
        let mut sums = Vec::new();
        let mut errors = Vec::with_capacity(batches.len());
        self.pending.clear();
        let mut guess = None;
        for (batch, weights) in &batches {
            let (error, answer) = pass::gradient(
                &self.model.unet,
                &self.adapter,
                &flat,
                batch,
                &drop,
                self.blocks,
                &mut sums,
            );
            errors.push(error);
            if guess.is_none() {
                let [_, channels, height, width] = answer.dims();
                self.guess = (Vec::new(), [channels, height, width]);
                guess = Some(self.guess(batch, answer));
            }
            self.pending.extend(weights);
        }
        let mut all = vec![leaves::flatten(&self.adapter, sums, self.model.device())];
        all.extend(errors);
        all.extend(guess);
        Ok(Tensor::cat(all, 0))
    }

    /// Takes the numbers of what [`Self::advance`] gave last. The report comes with the last batch of
    /// a step.
    ///
    /// # Errors
    /// When the optimiser refuses its groups, which its configuration brings about.
    pub fn conclude(&mut self, values: &[f32]) -> Result<Option<StepReport>> {
        self.meter.conclude(self.model.device());
        let (gradient, rest) = values.split_at(self.gradient.len().min(values.len()));
        let (errors, guess) = rest.split_at(self.pending.len().min(rest.len()));
        self.guess.0 = guess.to_vec();
        let share = 1.0 / self.config.accumulation as f64;
        if self.micro == 0 {
            self.gradient.fill(0.0);
            self.loss = 0.0;
        }
        for (sum, gradient) in self.gradient.iter_mut().zip(gradient) {
            *sum += gradient * share as f32;
        }
        let weighted = |(error, weight): (&f32, &f64)| f64::from(*error) * weight;
        self.loss += share * errors.iter().zip(&self.pending).map(weighted).sum::<f64>();
        self.micro += 1;
        if self.micro < self.config.accumulation {
            return Ok(None);
        }
        self.micro = 0;
        self.finish_step().map(Some)
    }

    fn finish_step(&mut self) -> Result<StepReport> {
        let Config { steps, warmup, schedule, .. } = self.config;
        let learning_rate = self.learning_rate * schedule.multiplier(self.step, steps, warmup);
        let regularisation = self.add_l2();
        let mut clipped = self.gradient.clone();
        let most = if self.config.clip > 0.0 { self.config.clip } else { f64::INFINITY };
        let gradient_norm = clip(&mut clipped, most);
        let skipped_now = !(gradient_norm.is_finite() && self.loss.is_finite());
        let mut stopped = None;
        if skipped_now {
            self.skipped += 1;
            self.bad += 1;
            if self.bad >= MOST_SKIPPED {
                stopped = Some(format!(
                    "{MOST_SKIPPED} steps in a row came to NaN or infinity. Nothing of them went \
                     into the adapter; go on with a lower learning rate"
                ));
            }
        } else {
            self.bad = 0;
            let parameters = &mut self.adapter.parameters;
            self.optimizer.step(parameters, &clipped, learning_rate, &self.groups)?;
            if self.config.l1 > 0.0 {
                soft_threshold(parameters, learning_rate * self.config.l1);
            }
            if self.config.max_norm > 0.0 {
                self.limit_norms();
            }
        }
        self.step += 1;
        let squares: f64 =
            self.adapter.parameters.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let prodigy = matches!(self.config.optimizer, OptimizerConfig::Prodigy(_));
        Ok(StepReport {
            step: self.step,
            steps,
            loss: self.loss,
            regularisation,
            learning_rate,
            gradient_norm,
            parameter_norm: squares.sqrt(),
            d: prodigy.then(|| self.optimizer.scalars().d),
            skipped_now,
            skipped: self.skipped,
            stopped,
        })
    }

    /// A whole optimiser step where reading back needs no waiting (not in a browser).
    ///
    /// # Errors
    /// As [`Self::advance`] and [`Self::conclude`]; when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_step(&mut self) -> Result<StepReport> {
        loop {
            let values = read(self.advance()?)?;
            if let Some(report) = self.conclude(&values)? {
                return Ok(report);
            }
        }
    }
}

/// The numbers of a tensor, waited for.
///
/// # Errors
/// When the device fails.
#[cfg(not(target_arch = "wasm32"))]
pub fn read(tensor: Tensor<1>) -> Result<Vec<f32>> {
    let failed =
        |problem: String| Error::device(problem, "Try smaller pictures or a smaller batch");
    let data = tensor.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.convert::<f32>().try_into_vec().map_err(|error| failed(format!("{error:?}")))
}

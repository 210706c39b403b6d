//! The training loop, pulled pass by pass: the device gives a gradient, everything else is done here
//! on the host.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use super::adapter::{self, Adapter, DOWN, UP};
use super::config::{Checkpointing, Config};
use super::dataset::{Dataset, Example};
use super::draws::{Assembly, Draws};
use super::estimate;
use super::evaluation::Evaluated;
use super::linalg::Matrix;
use super::loss::Diffusion;
use super::optimizer::{Optimizer, clip};
use super::optimizer_config::OptimizerConfig;
use super::pass;
use super::picture::Role;
use super::random::{Stream, chances, generator};
use super::reference::Reference;
use super::regularisation::{add_l2_gradient, limit_norm, soft_threshold};
use super::{check, init, schedule};
use crate::adapters::Part;
use crate::error::{Error, Result};
use crate::layers::{Dropout, Site};
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

/// From a configuration and a data set to a trainer: what has to be read of the weights first. Who
/// pulls it reads each tensor back and hands its numbers in.
pub struct Setup {
    model: Rc<StableDiffusion>,
    config: Config,
    dataset: Rc<Dataset>,
    reference: Option<Rc<Reference>>,
    targets: Vec<usize>,
    norms: Option<Vec<f32>>,
    ready: Vec<init::Factors>,
}

impl Setup {
    /// Checks the settings against the model and the data.
    ///
    /// # Errors
    /// Names the setting that doesn't fit.
    pub fn new(
        model: Rc<StableDiffusion>,
        config: Config,
        dataset: Rc<Dataset>,
        reference: Option<Rc<Reference>>,
    ) -> Result<Self> {
        check::config(&config)?;
        check::dataset(&config, &dataset, model.unet.config())?;
        let sites = model.sites(Part::UNet);
        let chosen = Adapter::targets(sites, &config)?;
        let is_chosen = |site: &Site| chosen.iter().any(|target| target.path == site.path);
        let targets = (0..sites.len()).filter(|&i| is_chosen(&sites[i])).collect();
        Ok(Self {
            model: model.clone(),
            config,
            dataset,
            reference,
            targets,
            norms: None,
            ready: Vec::new(),
        })
    }

    fn sites(&self) -> Vec<&Site> {
        let sites = self.model.sites(Part::UNet);
        self.targets.iter().map(|&i| &sites[i]).collect()
    }

    /// Done and all, for a progress bar.
    pub fn progress(&self) -> (usize, usize) {
        let weights = if self.needs_weights() { self.targets.len() } else { 0 };
        (usize::from(self.norms.is_some()) + self.ready.len(), 1 + weights)
    }

    fn needs_weights(&self) -> bool {
        self.config.init == init::Init::Pissa && self.reference.is_none()
    }

    /// What to read next; none: all is known.
    ///
    /// # Errors
    /// When a layer's weight isn't at hand.
    pub fn advance(&mut self) -> Result<Option<Tensor<1>>> {
        let sites = self.sites();
        if self.norms.is_none() {
            return Ok(Some(adapter::row_norms(&sites)?));
        }
        let (done, all) = self.progress();
        if done == all {
            return Ok(None);
        }
        let weight = sites[self.ready.len()].weight()?;
        Ok(Some(weight.cast(burn::tensor::DType::F32).flatten(0, 1)))
    }

    /// Takes the numbers of what [`Self::advance`] gave last.
    ///
    /// # Errors
    /// When PiSSA can't be made of a weight.
    pub fn conclude(&mut self, values: Vec<f32>) -> Result<()> {
        if self.norms.is_none() {
            self.norms = Some(values);
            return Ok(());
        }
        let i = self.ready.len();
        let [output, input] = self.sites()[i].matrix();
        let factors = init::factors(
            self.config.init,
            output,
            input,
            self.config.rank,
            f64::from(adapter::scale(&self.config)),
            Some(&Matrix::new(output, input, values)),
            &mut generator(self.config.seed, Stream::Init, i as u64),
        )?;
        self.ready.push(factors);
        Ok(())
    }

    /// The trainer, once [`Self::advance`] gave none.
    ///
    /// # Errors
    /// When a setting doesn't fit a layer, or the reference lacks a factor.
    pub fn finish(mut self) -> Result<Trainer> {
        let ready = std::mem::take(&mut self.ready);
        let norms = self.norms.take().unwrap_or_default();
        let levels = self.model.unet.config().block_out_channels.len();
        let mut adapter = Adapter::new(&self.sites(), &self.config, levels, &norms, ready)?;
        if let Some(reference) = &self.reference {
            reference.initialise(&mut adapter, "the reference")?;
        }
        let Self { model, config, dataset, reference, .. } = self;
        let optimizer = Optimizer::new(&config.optimizer, &adapter.parameters)?;
        let diffusion = Diffusion::new(&model.scheduler_config)?;
        let sum = config.schedule.sum(config.steps, config.warmup);
        let growth = config.strength.growth() * adapter.weight_rms();
        let (scale, rank, sigma) = adapter.start();
        let learning_rate = match (config.learning_rate, &config.optimizer) {
            (Some(rate), _) => rate,
            (None, OptimizerConfig::Prodigy(_)) => 1.0,
            (None, OptimizerConfig::AdamW(_)) => {
                schedule::learning_rate(growth, scale, rank, sigma, sum)
            }
            // Every entry moves by the whole rate each step, where Adam's moves average out.
            (None, OptimizerConfig::Lion(_)) => {
                schedule::learning_rate(growth, scale, rank, sigma, sum) / 3.0
            }
        };
        let bytes = estimate::graph(&model, &config, &dataset);
        let blocks = match config.checkpointing {
            Checkpointing::On => true,
            Checkpointing::Off => false,
            Checkpointing::Auto => bytes.whole > config.memory_budget,
        };
        let count = adapter.parameters.len();
        Ok(Trainer {
            groups: adapter.groups(config.lora_plus),
            model,
            config,
            dataset,
            reference,
            adapter,
            optimizer,
            diffusion,
            learning_rate,
            blocks,
            step: 0,
            micro: 0,
            skipped: 0,
            bad: 0,
            gradient: vec![0.0; count],
            loss: 0.0,
            pending: Vec::new(),
            guess: Vec::new(),
            baseline: None,
            history: Vec::new(),
        })
    }
}

/// A run between two passes.
pub struct Trainer {
    pub(super) model: Rc<StableDiffusion>,
    pub(super) config: Config,
    pub(super) dataset: Rc<Dataset>,
    reference: Option<Rc<Reference>>,
    pub(super) adapter: Adapter,
    pub(super) optimizer: Optimizer,
    pub(super) diffusion: Diffusion,
    groups: Vec<(std::ops::Range<usize>, f64)>,
    learning_rate: f64,
    blocks: bool,
    /// Optimiser steps done.
    pub(super) step: usize,
    /// Batches of the present step done.
    micro: usize,
    pub(super) skipped: usize,
    /// Steps skipped in a row.
    pub(super) bad: usize,
    /// Of the present step, summed over its batches.
    gradient: Vec<f32>,
    loss: f64,
    /// Weight of each sample of the pass in flight, in the order of the errors.
    pending: Vec<f64>,
    /// Of the first sample of the last pass.
    guess: Vec<f32>,
    /// The base model's losses on the grid of [`Evaluation`](super::Evaluation).
    pub(super) baseline: Option<Vec<f32>>,
    /// Evaluations so far.
    pub(super) history: Vec<Evaluated>,
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

    /// The latents that the model took the first sample of the last pass to be, `[4, h, w]`, with
    /// their height and width.
    pub fn first_guess(&self) -> Option<(&[f32], [usize; 2])> {
        let mut shapes = self.dataset.examples.iter().map(|example| example.latents.shape);
        let fits = |[c, h, w]: &[usize; 3]| c * h * w == self.guess.len();
        let [_, height, width] = shapes.find(fits)?;
        Some((&self.guess, [height, width]))
    }

    /// The training picture whose latents are nearest to these, and the cosine between the two:
    /// close to 1, the picture is a copy.
    pub fn nearest(&self, latents: &[f32]) -> Option<(&str, f64)> {
        let cosine = |other: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            dot(latents, other) / (dot(latents, latents) * dot(other, other)).sqrt().max(1e-12)
        };
        let train = self.dataset.of(Role::Train).into_iter();
        let alike = train.filter(|example| example.latents.mean.len() == latents.len());
        let each = alike.map(|example| (example.name.as_str(), cosine(&example.latents.mean)));
        each.max_by(|a, b| a.1.total_cmp(&b.1))
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
        let counter = self.step * self.config.accumulation + self.micro;
        let train = self.dataset.of(Role::Train);
        let draws = match &self.reference {
            None => Draws::new(&self.config, &train, &self.diffusion, counter as u64, false),
            Some(reference) => reference.draws(counter).cloned().ok_or_else(|| {
                let problem = format!("{counter} batches are all that it has");
                Error::setting("reference", problem, "Train fewer steps")
            })?,
        };
        check::draws(&draws, &train, self.dataset.text_shape)?;
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
            guess.get_or_insert_with(|| self.guess(batch, answer));
            self.pending.extend(weights);
        }
        let mut all = vec![adapter::flatten(&self.adapter, sums, self.model.device())];
        all.extend(errors);
        all.extend(guess);
        Ok(Tensor::cat(all, 0))
    }

    /// What the model takes the first sample's picture to be, `[4 h w]`: a preview for nothing.
    fn guess(&self, batch: &pass::Batch, answer: Tensor<4>) -> Tensor<1> {
        let first = |x: Tensor<4>| x.narrow(0, 0, 1);
        let t = batch.timesteps.first().map_or(0, |&t| t as usize);
        let (noisy, own) = self.diffusion.denoised(t).unwrap_or((1.0, 0.0));
        let guess = first(batch.noisy.clone()).mul_scalar(noisy) + first(answer).mul_scalar(own);
        guess.flatten(0, 3)
    }

    /// The same noisy latents under the class prompt, where the model with the adapter shall say
    /// what it says without (differential output preservation; ai-toolkit).
    fn prior_by_prompt(&self, batches: &[(pass::Batch, Vec<f64>)]) -> Vec<(pass::Batch, Vec<f64>)> {
        let prompt = self.dataset.class_prompt.as_ref().unwrap_or(&self.dataset.empty);
        let samples: usize = batches.iter().map(|(_, weights)| weights.len()).sum();
        let weight = self.config.prior.weight / samples as f64;
        let [tokens, width] = self.dataset.text_shape;
        let of_batch = |(batch, _): &(pass::Batch, Vec<f64>)| {
            let n = batch.timesteps.len();
            let context = self.assembly().upload(prompt.repeat(n), [n, tokens, width]);
            let mut prior = pass::Batch {
                noisy: batch.noisy.clone(),
                timesteps: batch.timesteps.clone(),
                context,
                target: batch.target.clone(),
                weights: self.assembly().upload(vec![weight as f32; n], [n, 1]),
                thresholds: None,
            };
            prior.target = pass::base(&self.model.unet, &self.adapter, &prior);
            (prior, vec![weight; n])
        };
        batches.iter().map(of_batch).collect()
    }

    /// diffusers' prior preservation: the mean loss on pictures of the class.
    fn prior_by_pictures(
        &self,
        class: &[&Example],
        counter: usize,
        weight: f64,
    ) -> Result<Vec<(pass::Batch, Vec<f64>)>> {
        let draws = match &self.reference {
            None => Draws::new(&self.config, class, &self.diffusion, counter as u64, true),
            Some(reference) => reference.class_draws(counter).cloned().ok_or_else(|| {
                Error::setting("reference", "has no class_index", "Train without a prior")
            })?,
        };
        check::draws(&draws, class, self.dataset.text_shape)?;
        self.assembly().batches(&draws, class, weight)
    }

    /// Takes the numbers of what [`Self::advance`] gave last. The report comes with the last batch of
    /// a step.
    ///
    /// # Errors
    /// When the optimiser refuses its groups, which its configuration brings about.
    pub fn conclude(&mut self, values: &[f32]) -> Result<Option<StepReport>> {
        let (gradient, rest) = values.split_at(self.gradient.len().min(values.len()));
        let (errors, guess) = rest.split_at(self.pending.len().min(rest.len()));
        self.guess = guess.to_vec();
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

    /// Adds the gradient of `l2 * ||s B A||^2` of every module; gives the sum of these.
    fn add_l2(&mut self) -> f64 {
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

    fn limit_norms(&mut self) {
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

//! The training loop, pulled pass by pass: the device gives a gradient, everything else is done here
//! on the host.

use burn::tensor::Tensor;

use super::context::Context;
use super::history::Evaluated;
use super::meter::{Meter, give_back};
use super::state::State;
use super::step::step;
use crate::error::{Error, Result};
use crate::layers::Dropout;
use crate::training::data::dataset::Example;
use crate::training::data::picture::Role;
use crate::training::numbers::random::{Stream, chances};
use crate::training::plan::measuring::{self, Plan};
use crate::training::settings::config::Config;
use crate::training::step::draws::Draws;
use crate::training::step::pass::{self, Batch};
use crate::training::step::prior;
use crate::training::trained::adapter::Adapter;
use crate::training::trained::leaves;

pub use super::step::StepReport;

/// A run between two passes.
pub struct Trainer {
    context: Context,
    state: State,
    in_hand: InHand,
    meter: Meter,
}

/// The step in hand: what its batches came to so far.
#[derive(Default)]
struct InHand {
    /// Batches done.
    batches: usize,
    /// Summed over its batches.
    gradient: Vec<f32>,
    loss: f64,
    /// Weight of each sample of the pass in flight, in the order of the errors.
    pending: Vec<f64>,
    /// Of the first sample of the last pass, and its shape; empty while the pass is under way.
    guess: (Vec<f32>, [usize; 3]),
}

impl Trainer {
    /// A run at a state.
    pub fn new(context: Context, state: State) -> Self {
        let gradient = vec![0.0; state.adapter.parameters.len()];
        let meter = Meter::new(context.model.device());
        Self { context, state, in_hand: InHand { gradient, ..InHand::default() }, meter }
    }

    /// The run taken apart.
    pub fn into_parts(self) -> (Context, State) {
        (self.context, self.state)
    }

    /// What doesn't change over the run.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What it is between two steps.
    pub fn now(&self) -> &State {
        &self.state
    }

    /// The run's settings.
    pub fn config(&self) -> &Config {
        &self.context.config
    }

    /// The adapter as it is now.
    pub fn adapter(&self) -> &Adapter {
        &self.state.adapter
    }

    /// The gradient of the step concluded last, L2 included, before clipping.
    pub fn gradient(&self) -> &[f32] {
        &self.in_hand.gradient
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.state.step
    }

    /// Whether all steps are done.
    pub fn finished(&self) -> bool {
        self.state.step >= self.context.config.steps
    }

    /// The full learning rate, before warm-up and schedule.
    pub fn learning_rate(&self) -> f64 {
        self.context.learning_rate
    }

    /// Whether blocks are run twice to save memory.
    pub fn checkpointed(&self) -> bool {
        self.context.blocks
    }

    /// How the run is measured.
    pub fn plan(&self) -> Plan {
        Plan::of(&self.context.config, &self.context.dataset)
    }

    /// Samples of the evaluation that would come now, and of one after it.
    pub fn samples_due(&self) -> [usize; 2] {
        let baseline = self.state.baseline.as_ref().map(Vec::len);
        measuring::samples_due(&self.context.config, &self.context.dataset, baseline)
    }

    /// The latents that the model took the first sample of the last pass to be, and their shape
    /// `[4, h, w]`.
    pub fn first_guess(&self) -> Option<(&[f32], [usize; 3])> {
        let (latents, shape) = &self.in_hand.guess;
        (!latents.is_empty()).then_some((latents, *shape))
    }

    /// The training picture nearest to these latents: [`Dataset::nearest`](super::super::Dataset::nearest).
    pub fn nearest(&self, latents: &[f32], shape: [usize; 3]) -> Option<(&str, f64)> {
        self.context.dataset.nearest(latents, shape)
    }

    /// The most bytes that the run took so far, in the sense of
    /// [`Estimate::bytes`](crate::training::Estimate::bytes): on top of the UNet's weights. None: no pass
    /// was made yet, or nobody counts ([`crate::memory`]).
    pub fn peak_bytes(&self) -> Option<u64> {
        let numbers = self.state.numbers() + self.in_hand.gradient.len();
        self.meter.most().map(|pass| pass + 4 * numbers as u64)
    }

    /// Gives back the memory that other work than passes took on a device that keeps it.
    pub fn make_room(&self) {
        give_back(self.context.model.device());
    }

    /// Keeps what an evaluation found: the base model's losses, and the evaluations so far.
    pub fn remember(&mut self, baseline: Vec<f32>, history: Vec<Evaluated>) {
        self.state.baseline = Some(baseline);
        self.state.history = history;
        self.make_room();
    }

    /// The state between two steps, as bytes ([`State::to_bytes`]).
    ///
    /// # Errors
    /// When it can't be written, which nothing in it should bring about.
    pub fn state(&self) -> Result<Vec<u8>> {
        self.state.to_bytes()
    }

    /// The parameters in a state that [`Self::state`] wrote.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn parameters_of(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        self.state.parameters_of(bytes)
    }

    /// Goes to a state that [`Self::state`] wrote: back in time, or on after a pause.
    ///
    /// # Errors
    /// Names what is missing, broken, or of another run; the trainer stays as it is then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        self.state.restore(bytes, &self.context)?;
        self.in_hand.batches = 0;
        self.in_hand.pending.clear();
        Ok(())
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
        let Self { context, state, in_hand, meter } = self;
        meter.count(context.model.device(), || pass(context, state, in_hand))
    }

    /// Takes the numbers of what [`Self::advance`] gave last. The report comes with the last batch of
    /// a step.
    ///
    /// # Errors
    /// When the optimiser refuses its groups, which its configuration brings about.
    pub fn conclude(&mut self, values: &[f32]) -> Result<Option<StepReport>> {
        self.meter.conclude();
        let accumulation = self.context.config.accumulation;
        self.in_hand.add(values, 1.0 / accumulation as f64);
        if self.in_hand.batches < accumulation {
            return Ok(None);
        }
        self.in_hand.batches = 0;
        let InHand { gradient, loss, .. } = &mut self.in_hand;
        step(&self.context, &mut self.state, gradient, *loss).map(Some)
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

impl InHand {
    /// Adds the numbers of a pass, of which each counts `share`.
    fn add(&mut self, values: &[f32], share: f64) {
        let (gradient, rest) = values.split_at(self.gradient.len().min(values.len()));
        let (errors, guess) = rest.split_at(self.pending.len().min(rest.len()));
        self.guess.0 = guess.to_vec();
        if self.batches == 0 {
            self.gradient.fill(0.0);
            self.loss = 0.0;
        }
        for (sum, gradient) in self.gradient.iter_mut().zip(gradient) {
            *sum += gradient * share as f32;
        }
        let weighted = |(error, weight): (&f32, &f64)| f64::from(*error) * weight;
        self.loss += share * errors.iter().zip(&self.pending).map(weighted).sum::<f64>();
        self.batches += 1;
    }
}

/// One batch there and back; with prior preservation what that asks for, too.
fn pass(context: &Context, state: &State, in_hand: &mut InHand) -> Result<Tensor<1>> {
    let counter = state.step * context.config.accumulation + in_hand.batches;
    let batches = batches(context, state, counter)?;
    let Context { model, config, .. } = context;
    let adapter = &state.adapter;
    let flat = context.upload(&adapter.parameters);
    let (seed, count) = (config.seed, counter as u64);
    let modules = adapter.modules.len();
    let out = chances(seed, Stream::Dropout, count, modules, config.module_dropout);
    let (hidden, rank) = (config.dropout as f32, config.rank_dropout as f32);
    let masks = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (count << 20);
    let drop = |i: usize| {
        let seed = masks ^ i as u64;
        let masks = (hidden > 0.0 || rank > 0.0).then_some(Dropout { hidden, rank, seed });
        (!out[i]).then_some(masks)
    };
    let mut sums = Vec::new();
    let mut errors = Vec::with_capacity(batches.len());
    in_hand.pending.clear();
    let mut guess = None;
    for (batch, weights) in &batches {
        let (error, answer) =
            pass::gradient(&model.unet, adapter, &flat, batch, &drop, context.blocks, &mut sums);
        errors.push(error);
        if guess.is_none() {
            let [_, channels, height, width] = answer.dims();
            in_hand.guess = (Vec::new(), [channels, height, width]);
            guess = Some(batch.guess(&context.diffusion, answer));
        }
        in_hand.pending.extend(weights);
    }
    let mut all = vec![leaves::flatten(adapter, sums, model.device())];
    all.extend(errors);
    all.extend(guess);
    Ok(Tensor::cat(all, 0))
}

/// The batches of a pass, with the weights of their samples; those of prior preservation come last.
fn batches(context: &Context, state: &State, counter: usize) -> Result<Vec<(Batch, Vec<f64>)>> {
    let Context { model, config, dataset, .. } = context;
    let assembly = context.assembly();
    let train = dataset.of(Role::Train);
    let mut batches = assembly.batches(&draws(context, &train, counter, false)?, &train, 1.0)?;
    let weight = config.prior.weight;
    if weight > 0.0 && state.step.is_multiple_of(config.prior.every.max(1)) {
        let class = dataset.of(Role::Class);
        if class.is_empty() {
            batches.extend(prior::by_prompt(&assembly, &model.unet, &state.adapter, &batches));
        } else {
            // diffusers' prior preservation: the mean loss on pictures of the class.
            let draws = draws(context, &class, counter, true)?;
            batches.extend(assembly.batches(&draws, &class, weight)?);
        }
    }
    Ok(batches)
}

/// The draws of a batch, which is counted over the whole run; `class`: of class pictures.
fn draws(context: &Context, examples: &[&Example], counter: usize, class: bool) -> Result<Draws> {
    let Context { config, diffusion, reference, .. } = context;
    let lacks = |problem: String, remedy| Error::setting("reference", problem, remedy);
    let draws = match reference {
        None => Draws::new(config, examples, diffusion, counter as u64, class),
        Some(reference) if class => reference
            .class_draws(counter)
            .cloned()
            .ok_or_else(|| lacks("has no class_index".into(), "Train without a prior"))?,
        Some(reference) => reference.draws(counter).cloned().ok_or_else(|| {
            lacks(format!("{counter} batches are all that it has"), "Train fewer steps")
        })?,
    };
    draws.check(examples)?;
    Ok(draws)
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

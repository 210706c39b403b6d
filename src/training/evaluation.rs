//! How good the adapter is, with no other model to judge it: stable loss, drift, diversity, and how
//! much each layer has changed (`docs/specs/training.md`, C).
//!
//! The loss of a training step says little: most of its noise is which timestep was drawn. The
//! stable loss is that of fixed timesteps and fixed noise, given as a ratio to the base model's on
//! the very same inputs, so that two states of a run can be compared.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Example};
use super::draws::Assembly;
use super::pass::{self, Batch};
use super::picture::Role;
use super::trainer::Trainer;
use super::verdict::{verdict, words};
use crate::error::Result;
use crate::layers::Strength;
use crate::noise::TorchGenerator;

pub use super::verdict::{Evaluated, Verdict};

/// Timesteps of the grid: 60, 180, .., 900 of 1000, the grid of the demo model's reference.
const GRID: usize = 8;
/// Seed of the grid's noise, the reference's too.
const GRID_SEED: u64 = 99;
/// Pictures that the drift is measured on, and seeds that the diversity is.
const FEW: usize = 4;

/// Losses that one evaluation asks for: one for each picture and timestep.
pub(super) fn grid(dataset: &Dataset) -> usize {
    let judged = |example: &&Example| example.role != Role::Class;
    GRID * dataset.examples.iter().filter(judged).count()
}

/// A mean loss and its ratio to the base model's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stable {
    /// Mean over pictures and timesteps.
    pub loss: f64,
    /// Mean over timesteps of loss / the base's loss.
    pub ratio: f64,
}

/// A range of timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// First timestep.
    pub from: usize,
    /// Last.
    pub to: usize,
    /// As in [`Stable`].
    pub ratio: f64,
}

/// How far one module has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heat {
    /// The layer's path.
    pub path: String,
    /// Norm of what it adds over the norm of the weight.
    pub ratio: f64,
}

/// One evaluation, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// After this many steps.
    pub step: usize,
    /// On the pictures trained on.
    pub train: Stable,
    /// On those held out.
    pub held_out: Option<Stable>,
    /// The judged ratio by timestep: texture, form, composition.
    pub bands: Vec<Band>,
    /// What the adapter changes under the blank prompt (and the class prompt), in units of what the
    /// base's own errors there are: 0 is nothing.
    pub drift: f64,
    /// Distance between guesses from different noise, in units of the base's: below 1 pictures have
    /// become more alike.
    pub diversity: Option<f64>,
    /// Every module.
    pub heat: Vec<Heat>,
    /// In a word.
    pub verdict: Verdict,
    /// In a sentence.
    pub words: String,
    /// Whether no earlier state was better.
    pub best: bool,
}

enum Question {
    /// Errors of an example at timesteps of the grid, of the base or with the adapter.
    Loss { example: usize, from: usize, to: usize, base: bool },
    /// How far prompts other than the captions have moved, in one number, and the base's own error.
    Drift { prompt: usize },
    /// How different guesses are, with and without the adapter.
    Diversity,
    /// Norms that only the device can tell.
    Norms,
}

/// An evaluation under way. Who pulls it reads each tensor back and hands its numbers in.
pub struct Evaluation {
    questions: Vec<Question>,
    answers: Vec<Vec<f32>>,
}

impl Evaluation {
    /// What has to be asked of the present state.
    pub fn new(trainer: &Trainer) -> Self {
        let mut all = Self::of_losses(trainer);
        let prompts = 1 + usize::from(trainer.dataset.class_prompt.is_some());
        all.questions.extend((0..prompts).map(|prompt| Question::Drift { prompt }));
        all.questions.extend([Question::Diversity, Question::Norms]);
        all
    }

    /// The stable loss alone.
    pub(super) fn of_losses(trainer: &Trainer) -> Self {
        let mut questions = Vec::new();
        let chunk = trainer.config.batch.clamp(FEW, GRID);
        let judged = |example: &&Example| example.role != Role::Class;
        let count = trainer.dataset.examples.iter().filter(judged).count();
        let mut losses = |base| {
            for example in 0..count {
                for from in (0..GRID).step_by(chunk) {
                    questions.push(Question::Loss {
                        example,
                        from,
                        to: (from + chunk).min(GRID),
                        base,
                    });
                }
            }
        };
        if trainer.baseline.is_none() {
            losses(true);
        }
        losses(false);
        Self { questions, answers: Vec::new() }
    }

    /// Share that is done.
    pub fn fraction(&self) -> f64 {
        self.answers.len() as f64 / self.questions.len().max(1) as f64
    }

    /// The next forward pass; none: all is known.
    ///
    /// # Errors
    /// When a timestep lies outside the noise schedule.
    pub fn advance(&self, trainer: &Trainer) -> Result<Option<Tensor<1>>> {
        let Some(question) = self.questions.get(self.answers.len()) else { return Ok(None) };
        let probe = Probe { trainer, assembly: trainer.assembly() };
        let answer = match question {
            Question::Loss { example, from, to, base } => {
                let examples = probe.judged();
                probe.loss(examples[*example], *from..*to, *base)?
            }
            Question::Drift { prompt } => probe.drift(*prompt)?,
            Question::Diversity => probe.diversity()?,
            Question::Norms => probe.norms()?,
        };
        Ok(Some(answer))
    }

    /// Takes the numbers of what [`Self::advance`] gave last.
    pub fn conclude(&mut self, values: Vec<f32>) {
        self.answers.push(values);
    }

    /// The report, once [`Self::advance`] gave none; the trainer remembers it.
    pub fn finish(self, trainer: &mut Trainer) -> Report {
        let mut base = Vec::new();
        let mut now = Vec::new();
        let (mut moved, mut own) = (0.0, 0.0);
        let mut diversity = None;
        let mut dense = Vec::new();
        for (question, answer) in self.questions.iter().zip(&self.answers) {
            match question {
                Question::Loss { base: true, .. } => base.extend_from_slice(answer),
                Question::Loss { .. } => now.extend_from_slice(answer),
                Question::Drift { .. } => {
                    moved += f64::from(answer[0]);
                    own += f64::from(answer[1]);
                }
                Question::Diversity => {
                    let (with, without) = (f64::from(answer[0]), f64::from(answer[1]));
                    diversity = (without > 0.0).then(|| (with / without).sqrt());
                }
                Question::Norms => dense = answer.clone(),
            }
        }
        let baseline = trainer.baseline.get_or_insert(base).clone();
        let examples = trainer.dataset.examples.iter().filter(|e| e.role != Role::Class);
        let held: Vec<bool> = examples.map(|example| example.role == Role::HeldOut).collect();
        let train =
            stable(&now, &baseline, &held, false).unwrap_or(Stable { loss: 0.0, ratio: 1.0 });
        let held_out = stable(&now, &baseline, &held, true);
        let steps = trainer.diffusion.timesteps();
        let any_held = held_out.is_some();
        let bands = [(0, 3, "texture"), (3, 5, "form"), (5, GRID, "composition")]
            .map(|(from, to, _)| Band {
                from: timestep(from, steps),
                to: timestep(to - 1, steps),
                ratio: ratio(&now, &baseline, &held, any_held, from..to),
            })
            .into();
        let heat = trainer.adapter.modules.iter().enumerate().map(|(i, module)| {
            let own = module.product_norm_squared(&trainer.adapter.parameters);
            let squared = own.or_else(|| dense.get(i).map(|&x| f64::from(x))).unwrap_or(0.0);
            let ratio = squared.max(0.0).sqrt() / module.weight_norm.max(f64::MIN_POSITIVE);
            Heat { path: module.path.clone(), ratio }
        });
        let heat = heat.collect();
        let drift = if own > 0.0 { moved / own } else { 0.0 };
        let evaluated = Evaluated { step: trainer.step, train, held_out, drift };
        trainer.history.retain(|earlier| earlier.step < trainer.step);
        let best = trainer.history.iter().all(|earlier| earlier.judged() > evaluated.judged());
        let verdict = verdict(&trainer.history, &evaluated);
        trainer.history.push(evaluated);
        Report {
            step: trainer.step,
            train,
            held_out,
            bands,
            drift,
            diversity,
            heat,
            verdict,
            words: words(verdict, &trainer.history),
            best,
        }
    }
}

struct Probe<'a> {
    trainer: &'a Trainer,
    assembly: Assembly<'a>,
}

impl Probe<'_> {
    fn judged(&self) -> Vec<&Example> {
        let examples = self.trainer.dataset.examples.iter();
        examples.filter(|example| example.role != Role::Class).collect()
    }

    /// `[n]` samples of one picture, at timesteps of the grid, under one text.
    fn batch(
        &self,
        clean: &[&Example],
        grid: &[usize],
        noise: &[Vec<f32>],
        text: &[f32],
    ) -> Result<Batch> {
        let n = grid.len();
        let (mut noisy, mut target, mut timesteps) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &place) in grid.iter().enumerate() {
            let t = timestep(place, self.trainer.diffusion.timesteps());
            let clean = &clean[i % clean.len()].latents.mean;
            self.assembly.diffuse(clean, &noise[i], t, &mut noisy, &mut target)?;
            timesteps.push(t as f64);
        }
        let [channels, height, width] = clean[0].latents.shape;
        let [tokens, length] = self.trainer.dataset.text_shape;
        let pixels = [n, channels, height, width];
        Ok(Batch {
            noisy: self.assembly.upload(noisy, pixels),
            timesteps,
            context: self.assembly.upload(text.repeat(n), [n, tokens, length]),
            target: self.assembly.upload(target, pixels),
            weights: self.assembly.upload(vec![1.0; n], [n, 1]),
            thresholds: None,
        })
    }

    /// The UNet's answer, with the adapter or without.
    fn ask(&self, batch: &Batch, base: bool) -> Tensor<4> {
        let Trainer { model, adapter, .. } = self.trainer;
        if !base {
            let leaves = adapter.leaves(&self.trainer.upload(), false);
            adapter.attach(&leaves, &Strength::new(1.0), |_| Some(None));
            let answer =
                model.unet.forward(batch.noisy.clone(), &batch.timesteps, batch.context.clone());
            adapter.detach();
            return answer;
        }
        pass::base(&model.unet, adapter, batch)
    }

    fn loss(
        &self,
        example: &Example,
        grid: std::ops::Range<usize>,
        base: bool,
    ) -> Result<Tensor<1>> {
        let noise = grid_noise(example.latents.mean.len());
        let places: Vec<usize> = grid.clone().collect();
        let batch = self.batch(&[example], &places, &noise[grid], &example.text)?;
        let n = places.len();
        let error = (self.ask(&batch, base) - batch.target.clone()).square();
        let count = error.shape().num_elements() / n;
        Ok(error.reshape([n, count]).mean_dim(1).flatten(0, 1))
    }

    /// Mean squared change of the answer under a prompt that isn't a caption, and the base's mean
    /// squared error there.
    fn drift(&self, prompt: usize) -> Result<Tensor<1>> {
        let dataset = &self.trainer.dataset;
        let text = match (&dataset.class_prompt, prompt) {
            (Some(class), 1) => class,
            _ => &dataset.empty,
        };
        let all = self.judged();
        let same = |example: &&&Example| example.latents.shape == all[0].latents.shape;
        let clean: Vec<&Example> = all.iter().filter(same).take(FEW).copied().collect();
        let noise = grid_noise(clean[0].latents.mean.len());
        let batch = self.batch(&clean, &[1, 3, 5, 7], &noise, text)?;
        let (with, without) = (self.ask(&batch, false), self.ask(&batch, true));
        let moved = (with - without.clone()).square().mean();
        let own = (without - batch.target.clone()).square().mean();
        Ok(Tensor::cat(vec![moved, own], 0))
    }

    /// Mean squared distance between guesses of x0 from [`FEW`] pure noises under the first
    /// caption, with the adapter and without. The guess at the noisy end of the schedule says which
    /// composition a seed leads to.
    fn diversity(&self) -> Result<Tensor<1>> {
        let example = self.judged()[0];
        let t = self.trainer.diffusion.timesteps() - 1;
        let noise = grid_noise(example.latents.mean.len());
        let [channels, height, width] = example.latents.shape;
        let shape = [FEW, channels, height, width];
        let mut batch = self.batch(&[example], &[7; FEW], &noise, &example.text)?;
        batch.noisy = self.assembly.upload(noise[..FEW].concat(), shape);
        batch.timesteps = vec![t as f64; FEW];
        let (per_noisy, per_prediction) = self.trainer.diffusion.denoised(t)?;
        let spread = |base| {
            let guess = batch.noisy.clone().mul_scalar(per_noisy)
                + self.ask(&batch, base).mul_scalar(per_prediction);
            // The variance over seeds is half the mean squared distance of pairs.
            (guess.clone() - guess.mean_dim(0)).square().mean()
        };
        Ok(Tensor::cat(vec![spread(false), spread(true)], 0))
    }

    fn norms(&self) -> Result<Tensor<1>> {
        let leaves = self.trainer.adapter.leaves(&self.trainer.upload(), false);
        Ok(self.trainer.adapter.dense_norms_squared(&leaves)?.unwrap_or_else(|| {
            Tensor::from_data(TensorData::new(vec![0.0f32], [1]), self.trainer.model.device())
        }))
    }
}

/// The `i`-th timestep of the grid.
fn timestep(i: usize, steps: usize) -> usize {
    (60 + 120 * i) * steps / 1000
}

/// `torch.randn(8, elements)` of the grid's seed.
fn grid_noise(elements: usize) -> Vec<Vec<f32>> {
    let noise = TorchGenerator::new(GRID_SEED).randn(GRID * elements);
    noise.chunks_exact(elements.max(1)).map(<[f32]>::to_vec).collect()
}

fn stable(now: &[f32], base: &[f32], held: &[bool], wanted: bool) -> Option<Stable> {
    let pictures = held.iter().filter(|&&held| held == wanted).count();
    (pictures > 0).then(|| {
        let rows = now.chunks_exact(GRID).zip(held);
        let rows = rows.filter(|(_, held)| **held == wanted);
        let sum: f64 = rows.flat_map(|(row, _)| row).map(|&x| f64::from(x)).sum();
        let loss = sum / (pictures * GRID) as f64;
        Stable { loss, ratio: ratio(now, base, held, wanted, 0..GRID) }
    })
}

/// Mean over timesteps of the mean loss over the base's.
fn ratio(
    now: &[f32],
    base: &[f32],
    held: &[bool],
    wanted: bool,
    grid: std::ops::Range<usize>,
) -> f64 {
    let at = |losses: &[f32], t: usize| -> f64 {
        let rows = losses.chunks_exact(GRID).zip(held).filter(|(_, held)| **held == wanted);
        rows.map(|(row, _)| f64::from(row[t])).sum()
    };
    let count = grid.len() as f64;
    grid.map(|t| at(now, t) / at(base, t).max(f64::MIN_POSITIVE)).sum::<f64>() / count
}

//! How good the adapter is, with no other model to judge it: stable loss, drift, diversity, and how
//! much each layer has changed (`docs/specs/training.md`, C).
//!
//! The loss of a training step says little: most of its noise is which timestep was drawn. The
//! stable loss is that of fixed timesteps and fixed noise, given as a ratio to the base model's on
//! the very same inputs, so that two states of a run can be compared.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Example};
use super::picture::Role;
use super::probe::{FEW, Probe, timestep};
use super::trainer::Trainer;
use super::verdict::{verdict, words};
use crate::error::Result;

pub use super::verdict::{Evaluated, Verdict};

/// Timesteps of the grid: 60, 180, .., 900 of 1000, the grid of the demo model's reference.
pub(super) const GRID: usize = 8;

/// Places of the grid where each picture has so many draws: all, or one in the middle of each stretch.
fn places(draws: usize) -> Vec<usize> {
    let stretch = GRID / draws.clamp(1, GRID);
    (0..GRID).skip(stretch / 2).step_by(stretch).collect()
}

/// Pictures that are judged: those trained on and those held out.
pub(super) fn judged(dataset: &Dataset) -> usize {
    let judged = |example: &&Example| example.role != Role::Class;
    dataset.examples.iter().filter(judged).count()
}

/// Whether these may be the base's losses on the pictures of a data set: as many for each of them, of as
/// many timesteps as there are ways to choose.
pub(super) fn is_baseline(losses: &[f32], dataset: &Dataset) -> bool {
    let draws = losses.len() / judged(dataset).max(1);
    draws * judged(dataset) == losses.len()
        && draws > 0
        && GRID.is_multiple_of(draws)
        && losses.iter().all(|loss| loss.is_finite())
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
    /// Timesteps that each picture was measured at, of [`Self::of`].
    pub draws: usize,
    /// Timesteps of the whole grid.
    pub of: usize,
    /// On the pictures trained on.
    pub train: Stable,
    /// On those held out.
    pub held_out: Option<Stable>,
    /// The judged ratio by timestep: texture, form, composition, as far as any of theirs was measured.
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
    /// The same of step 0, where this evaluation is the first to measure the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Box<Report>>,
}

impl Report {
    /// An adapter starts by adding nothing: it is the base model.
    fn of_start(start: Evaluated, draws: usize) -> Self {
        let Evaluated { step, train, held_out, drift } = start;
        Self {
            step,
            draws,
            of: GRID,
            train,
            held_out,
            bands: Vec::new(),
            drift,
            diversity: Some(1.0),
            heat: Vec::new(),
            verdict: Verdict::Learning,
            words: "The base model as it is.".into(),
            best: true,
            start: None,
        }
    }
}

enum Question {
    /// Errors of an example at places of the grid, of the base or with the adapter.
    Loss { example: usize, places: Vec<usize>, base: bool },
    /// How far prompts other than the captions have moved, in one number, and the base's own error.
    Drift { prompt: usize },
    /// How different guesses are, with and without the adapter.
    Diversity,
    /// Norms that only the device can tell.
    Norms,
}

/// An evaluation under way. Who pulls it reads each tensor back and hands its numbers in.
pub struct Evaluation {
    places: Vec<usize>,
    questions: Vec<Question>,
    answers: Vec<Vec<f32>>,
}

impl Evaluation {
    /// What has to be asked of the present state.
    pub fn new(trainer: &Trainer) -> Self {
        Self::with_draws(trainer, GRID)
    }

    /// The same with so many timesteps of each picture, all 8 or fewer: as many as before, where the base
    /// has been measured.
    pub fn with_draws(trainer: &Trainer, draws: usize) -> Self {
        let mut all = Self::of_losses(trainer, draws);
        let prompts = prompts(trainer);
        all.questions.extend((0..prompts).map(|prompt| Question::Drift { prompt }));
        all.questions.extend([Question::Diversity, Question::Norms]);
        all
    }

    /// The stable loss alone.
    pub(super) fn of_losses(trainer: &Trainer, draws: usize) -> Self {
        let mut questions = Vec::new();
        let count = judged(&trainer.dataset);
        let before = trainer.baseline.as_ref().map(|losses| losses.len() / count.max(1));
        let places = places(before.unwrap_or(draws));
        let chunk = trainer.config.batch.clamp(FEW, GRID);
        for base in [true, false] {
            for example in (0..count).filter(|_| !base || before.is_none()) {
                let chunks = places.chunks(chunk).map(<[usize]>::to_vec);
                questions.extend(chunks.map(|places| Question::Loss { example, places, base }));
            }
        }
        Self { places, questions, answers: Vec::new() }
    }

    /// Samples that it sends through the UNet.
    pub fn samples(&self) -> usize {
        let of = |question: &Question| match question {
            Question::Loss { places, .. } => places.len(),
            Question::Drift { .. } | Question::Diversity => 2 * FEW,
            Question::Norms => 0,
        };
        self.questions.iter().map(of).sum()
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
        let probe = Probe::new(trainer);
        let answer = match question {
            Question::Loss { example, places, base } => probe.loss(*example, places, *base)?,
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
        let held = held(trainer);
        let train =
            stable(&now, &baseline, &held, false).unwrap_or(Stable { loss: 0.0, ratio: 1.0 });
        let held_out = stable(&now, &baseline, &held, true);
        let step = trainer.step;
        let draws = self.places.len();
        let start = start(trainer).filter(|_| step > 0).map(|start| {
            trainer.history.push(start.clone());
            Box::new(Report::of_start(start, draws))
        });
        let steps = trainer.diffusion.timesteps();
        let any_held = held_out.is_some();
        let band = |(from, to, _): (usize, usize, &str)| -> Option<Band> {
            let within = |place: &usize| (from..to).contains(place);
            let columns = (0..self.places.len()).filter(|&i| within(&self.places[i]));
            let columns: Vec<usize> = columns.collect();
            (!columns.is_empty()).then(|| Band {
                from: timestep(from, steps),
                to: timestep(to - 1, steps),
                ratio: ratio(&now, &baseline, &held, any_held, &columns),
            })
        };
        let bands = [(0, 3, "texture"), (3, 5, "form"), (5, GRID, "composition")];
        let bands = bands.into_iter().filter_map(band).collect();
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
            step,
            draws,
            of: GRID,
            train,
            held_out,
            bands,
            drift,
            diversity,
            heat,
            verdict,
            words: words(verdict, &trainer.history),
            best,
            start,
        }
    }
}

/// Prompts that the drift is measured under.
pub(super) fn prompts(trainer: &Trainer) -> usize {
    1 + usize::from(trainer.dataset.class_prompt.is_some())
}

/// Of each picture that is judged, whether it is held out.
fn held(trainer: &Trainer) -> Vec<bool> {
    let examples = trainer.dataset.examples.iter().filter(|e| e.role != Role::Class);
    examples.map(|example| example.role == Role::HeldOut).collect()
}

/// What an evaluation at step 0 would find: the base model, since an adapter starts by adding nothing.
/// None where the base hasn't been measured, or there is an evaluation already.
fn start(trainer: &Trainer) -> Option<Evaluated> {
    let base = trainer.baseline.as_ref().filter(|_| trainer.history.is_empty())?;
    let of = |wanted| stable(base, base, &held(trainer), wanted);
    Some(Evaluated { step: 0, train: of(false)?, held_out: of(true), drift: 0.0 })
}

fn stable(now: &[f32], base: &[f32], held: &[bool], wanted: bool) -> Option<Stable> {
    let pictures = held.iter().filter(|&&held| held == wanted).count();
    let draws = now.len() / held.len().max(1);
    (pictures > 0 && draws > 0).then(|| {
        let rows = now.chunks_exact(draws).zip(held);
        let rows = rows.filter(|(_, held)| **held == wanted);
        let sum: f64 = rows.flat_map(|(row, _)| row).map(|&x| f64::from(x)).sum();
        let loss = sum / (pictures * draws) as f64;
        let columns: Vec<usize> = (0..draws).collect();
        Stable { loss, ratio: ratio(now, base, held, wanted, &columns) }
    })
}

/// Mean over timesteps of the mean loss over the base's; `columns` are the timesteps' places among those
/// that were measured.
fn ratio(now: &[f32], base: &[f32], held: &[bool], wanted: bool, columns: &[usize]) -> f64 {
    let draws = (now.len() / held.len().max(1)).max(1);
    let at = |losses: &[f32], t: usize| -> f64 {
        let rows = losses.chunks_exact(draws).zip(held).filter(|(_, held)| **held == wanted);
        rows.map(|(row, _)| f64::from(row[t])).sum()
    };
    let each = columns.iter().map(|&t| at(now, t) / at(base, t).max(f64::MIN_POSITIVE));
    each.sum::<f64>() / columns.len() as f64
}

//! How good the adapter is, with no other model to judge it: stable loss, drift, diversity, and how
//! much each layer has changed (`docs/specs/training.md`, C).
//!
//! The loss of a training step says little: most of its noise is which timestep was drawn. The
//! stable loss is that of fixed timesteps and fixed noise, given as a ratio to the base model's on
//! the very same inputs, so that two states of a run can be compared.

use burn::tensor::Tensor;
use serde::Serialize;

use super::probe::{Probe, timestep};
use super::verdict::{verdict, words};
use crate::error::Result;
use crate::training::data::dataset::Dataset;
use crate::training::data::picture::Role;
use crate::training::plan::grid::{FEW, GRID, judged, places, prompts};
use crate::training::run::context::Context;
use crate::training::run::state::State;
use crate::training::run::trainer::Trainer;
use crate::training::trained::adapter::{Adapter, Module};

pub use super::verdict::Verdict;
pub use crate::training::run::history::{Evaluated, Stable};

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

/// What an evaluation found, and what a run remembers of it.
pub struct Found {
    /// For people.
    pub report: Report,
    /// The base model's losses.
    pub baseline: Vec<f32>,
    /// The evaluations so far, this one included.
    pub history: Vec<Evaluated>,
}

impl Evaluation {
    /// What has to be asked of the present state.
    pub fn new(trainer: &Trainer) -> Self {
        Self::with_draws(trainer, GRID)
    }

    /// The same with so many timesteps of each picture, all 8 or fewer: as many as before, where the base
    /// has been measured.
    pub fn with_draws(trainer: &Trainer, draws: usize) -> Self {
        let mut all = Self::of_losses(trainer.context(), trainer.now(), draws);
        let prompts = prompts(&trainer.context().dataset);
        all.questions.extend((0..prompts).map(|prompt| Question::Drift { prompt }));
        all.questions.extend([Question::Diversity, Question::Norms]);
        all
    }

    /// The stable loss alone.
    pub fn of_losses(context: &Context, state: &State, draws: usize) -> Self {
        let mut questions = Vec::new();
        let count = judged(&context.dataset);
        let before = state.baseline.as_ref().map(|losses| losses.len() / count.max(1));
        let places = places(before.unwrap_or(draws));
        let chunk = context.config.batch.clamp(FEW, GRID);
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
        self.ask(trainer.context(), trainer.now())
    }

    /// As [`Self::advance`], of a state that no trainer holds.
    ///
    /// # Errors
    /// When a timestep lies outside the noise schedule.
    pub fn ask(&self, context: &Context, state: &State) -> Result<Option<Tensor<1>>> {
        let Some(question) = self.questions.get(self.answers.len()) else { return Ok(None) };
        let probe = Probe::new(context, state);
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
        let Found { report, baseline, history } = self.judge(trainer.context(), trainer.now());
        trainer.remember(baseline, history);
        report
    }

    /// What the answers mean for a state.
    pub fn judge(self, context: &Context, state: &State) -> Found {
        let Answers { base, now, drift, diversity, dense } = self.answers();
        let baseline = state.baseline.clone().unwrap_or(base);
        let held = held(&context.dataset);
        let train =
            stable(&now, &baseline, &held, false).unwrap_or(Stable { loss: 0.0, ratio: 1.0 });
        let held_out = stable(&now, &baseline, &held, true);
        let (step, draws) = (state.step, self.places.len());
        let mut history = state.history.clone();
        let start = start(&baseline, &held, &history).filter(|_| step > 0);
        history.extend(start.clone());
        let evaluated = Evaluated { step, train, held_out, drift };
        history.retain(|earlier| earlier.step < step);
        let best = history.iter().all(|earlier| earlier.judged() > evaluated.judged());
        let verdict = verdict(&history, &evaluated);
        history.push(evaluated);
        let report = Report {
            step,
            draws,
            of: GRID,
            train,
            held_out,
            bands: self.bands(context, [&now, &baseline], &held),
            drift,
            diversity,
            heat: heat(&state.adapter, &dense),
            verdict,
            words: words(verdict, &history),
            best,
            start: start.map(|start| Box::new(Report::of_start(start, draws))),
        };
        Found { report, baseline, history }
    }

    fn answers(&self) -> Answers {
        let mut all = Answers::default();
        let (mut moved, mut own) = (0.0, 0.0);
        for (question, answer) in self.questions.iter().zip(&self.answers) {
            match question {
                Question::Loss { base: true, .. } => all.base.extend_from_slice(answer),
                Question::Loss { .. } => all.now.extend_from_slice(answer),
                Question::Drift { .. } => {
                    moved += f64::from(answer[0]);
                    own += f64::from(answer[1]);
                }
                Question::Diversity => {
                    let (with, without) = (f64::from(answer[0]), f64::from(answer[1]));
                    all.diversity = (without > 0.0).then(|| (with / without).sqrt());
                }
                Question::Norms => all.dense = answer.clone(),
            }
        }
        all.drift = if own > 0.0 { moved / own } else { 0.0 };
        all
    }

    /// The judged ratio in the thirds of the grid, by the losses `[now, base]`.
    fn bands(&self, context: &Context, [now, base]: [&[f32]; 2], held: &[bool]) -> Vec<Band> {
        let steps = context.diffusion.timesteps();
        let any_held = held.contains(&true);
        let band = |(from, to, _): (usize, usize, &str)| -> Option<Band> {
            let within = |place: &usize| (from..to).contains(place);
            let columns = (0..self.places.len()).filter(|&i| within(&self.places[i]));
            let columns: Vec<usize> = columns.collect();
            (!columns.is_empty()).then(|| Band {
                from: timestep(from, steps),
                to: timestep(to - 1, steps),
                ratio: ratio(now, base, held, any_held, &columns),
            })
        };
        let bands = [(0, 3, "texture"), (3, 5, "form"), (5, GRID, "composition")];
        bands.into_iter().filter_map(band).collect()
    }
}

/// All answers, sorted by what they are.
#[derive(Default)]
struct Answers {
    /// The base's losses, where they were asked for.
    base: Vec<f32>,
    /// Losses with the adapter.
    now: Vec<f32>,
    drift: f64,
    diversity: Option<f64>,
    /// Squared norms of what the modules add, for kinds of which only the device can tell them.
    dense: Vec<f32>,
}

/// How far each module has come.
fn heat(adapter: &Adapter, dense: &[f32]) -> Vec<Heat> {
    let of = |(i, module): (usize, &Module)| {
        let own = module.product_norm_squared(&adapter.parameters);
        let squared = own.or_else(|| dense.get(i).map(|&x| f64::from(x))).unwrap_or(0.0);
        let ratio = squared.max(0.0).sqrt() / module.weight_norm.max(f64::MIN_POSITIVE);
        Heat { path: module.path.clone(), ratio }
    };
    adapter.modules.iter().enumerate().map(of).collect()
}

/// Of each picture that is judged, whether it is held out.
fn held(dataset: &Dataset) -> Vec<bool> {
    let examples = dataset.examples.iter().filter(|e| e.role != Role::Class);
    examples.map(|example| example.role == Role::HeldOut).collect()
}

/// What an evaluation at step 0 would find: the base model, since an adapter starts by adding nothing.
/// None where there is an evaluation already.
fn start(base: &[f32], held: &[bool], history: &[Evaluated]) -> Option<Evaluated> {
    let of = |wanted| stable(base, base, held, wanted);
    let train = of(false).filter(|_| history.is_empty())?;
    Some(Evaluated { step: 0, train, held_out: of(true), drift: 0.0 })
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

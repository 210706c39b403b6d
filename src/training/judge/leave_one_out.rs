//! How an adapter of these settings does on pictures that it never saw, where there are too few to
//! hold some out: for each picture one is trained without it, and judged on it alone.
//!
//! The cost is that of as many runs as there are pictures. The adapter that the user keeps is none of
//! these: it has seen all pictures, and they say what its settings are worth.

use std::rc::Rc;

use burn::tensor::Tensor;
use serde::Serialize;

use super::evaluation::{Evaluation, Stable};
use super::verdict;
use crate::error::{Error, Result};
use crate::pipelines::StableDiffusion;
use crate::training::data::check;
use crate::training::data::dataset::{Dataset, Example};
use crate::training::data::picture::Role;
use crate::training::plan::grid::GRID;
use crate::training::run::context::Context;
use crate::training::run::setup::Setup;
use crate::training::run::state::State;
use crate::training::run::trainer::Trainer;
use crate::training::settings::config::Config;

/// A picture, judged by an adapter that was trained on the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// The picture's name.
    pub name: String,
    /// Its stable loss, and in units of the base model's.
    #[serde(flatten)]
    pub stable: Stable,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// In the order of the data set.
    pub pictures: Vec<LeftOut>,
    /// The mean of loss and of ratio.
    pub mean: Stable,
    /// In a sentence.
    pub words: String,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The picture that is left out now.
    pub picture: String,
    /// Pictures judged.
    pub done: usize,
    /// Pictures to judge.
    pub pictures: usize,
    /// Of all the work, from 0 to 1.
    pub fraction: f64,
}

/// The runs, one after another. Who pulls it reads each tensor back and hands its numbers in.
pub struct LeaveOneOut {
    dataset: Rc<Dataset>,
    /// Places of the training pictures in the data set.
    places: Vec<usize>,
    work: Work,
    judged: Vec<LeftOut>,
}

enum Work {
    SetUp(Box<Setup>),
    /// A run, and the state that all of them start from: they differ in nothing but the pictures.
    Train(Box<Trainer>, Box<State>),
    Judge(Box<Judged>),
    Done,
}

/// A run that is done, with the picture that it hasn't seen for its pictures.
struct Judged {
    context: Context,
    state: State,
    start: Box<State>,
    evaluation: Evaluation,
}

impl LeaveOneOut {
    /// Of the pictures to train on: those held out stay out, class pictures stay in.
    ///
    /// # Errors
    /// When there are fewer than two pictures; as [`Setup::new`].
    pub fn new(model: Rc<StableDiffusion>, config: Config, dataset: Rc<Dataset>) -> Result<Self> {
        let is_train = |place: &usize| dataset.examples[*place].role == Role::Train;
        let places: Vec<usize> = (0..dataset.examples.len()).filter(is_train).collect();
        check::leave_one_out(places.len())?;
        let setup = Setup::new(model, config, dataset.clone(), None)?;
        let work = Work::SetUp(Box::new(setup));
        Ok(Self { dataset, places, work, judged: Vec::new() })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let (done, pictures) = (self.judged.len(), self.places.len());
        let run = match &self.work {
            Work::Train(trainer, _) => trainer.step() as f64 / trainer.config().steps as f64,
            Work::Judge(..) => 1.0,
            Work::SetUp(_) | Work::Done => 0.0,
        };
        let place = self.places.get(done);
        let picture = place.map_or("", |&place| &self.dataset.examples[place].name).to_string();
        Progress { picture, done, pictures, fraction: (done as f64 + run) / pictures as f64 }
    }

    /// Those judged so far.
    pub fn judged(&self) -> &[LeftOut] {
        &self.judged
    }

    /// The next pass; none: every picture is judged.
    ///
    /// # Errors
    /// As [`Setup::advance`], [`Setup::finish`] and [`Trainer::advance`].
    pub fn advance(&mut self) -> Result<Option<Tensor<1>>> {
        loop {
            self.work = match std::mem::replace(&mut self.work, Work::Done) {
                Work::SetUp(mut setup) => match setup.advance()? {
                    Some(tensor) => {
                        self.work = Work::SetUp(setup);
                        return Ok(Some(tensor));
                    }
                    None => {
                        let (context, state) = setup.finish()?.into_parts();
                        self.begin(&context, Box::new(state))
                    }
                },
                Work::Train(mut trainer, start) if !trainer.finished() => {
                    let pass = trainer.advance();
                    self.work = Work::Train(trainer, start);
                    return pass.map(Some);
                }
                Work::Train(trainer, start) => {
                    let (context, mut state) = trainer.into_parts();
                    let context = Context { dataset: Rc::new(self.alone()), ..context };
                    state.baseline = None;
                    let evaluation = Evaluation::of_losses(&context, &state, GRID);
                    Work::Judge(Box::new(Judged { context, state, start, evaluation }))
                }
                Work::Judge(run) => {
                    if let Some(tensor) = run.evaluation.ask(&run.context, &run.state)? {
                        self.work = Work::Judge(run);
                        return Ok(Some(tensor));
                    }
                    let Judged { context, state, start, evaluation } = *run;
                    let report = evaluation.judge(&context, &state).report;
                    let name = self.left_out().name.clone();
                    self.judged
                        .push(LeftOut { name, stable: report.held_out.unwrap_or(report.train) });
                    self.begin(&context, start)
                }
                Work::Done => return Ok(None),
            };
        }
    }

    /// Takes the numbers of what [`Self::advance`] gave last.
    ///
    /// # Errors
    /// When a run has stopped, its gradients not being finite; as [`Setup::conclude`] and
    /// [`Trainer::conclude`].
    pub fn conclude(&mut self, values: Vec<f32>) -> Result<()> {
        match &mut self.work {
            Work::SetUp(setup) => setup.conclude(values)?,
            Work::Train(trainer, _) => {
                let stopped = trainer.conclude(&values)?.and_then(|report| report.stopped);
                if let Some(reason) = stopped {
                    let problem = format!("without {}: {reason}", self.left_out().name);
                    return Err(Error::setting("leaveOneOut", problem, "Train with a lower rate"));
                }
            }
            Work::Judge(run) => run.evaluation.conclude(values),
            Work::Done => {}
        }
        Ok(())
    }

    /// The report, once [`Self::advance`] gave none.
    pub fn finish(self) -> Report {
        let count = self.judged.len().max(1) as f64;
        let mean = |of: fn(&Stable) -> f64| {
            self.judged.iter().map(|picture| of(&picture.stable)).sum::<f64>() / count
        };
        let mean = Stable { loss: mean(|stable| stable.loss), ratio: mean(|stable| stable.ratio) };
        let ratios: Vec<f64> = self.judged.iter().map(|picture| picture.stable.ratio).collect();
        Report { words: verdict::unseen(mean.ratio, &ratios), mean, pictures: self.judged }
    }

    fn left_out(&self) -> &Example {
        &self.dataset.examples[self.places[self.judged.len()]]
    }

    /// The next run, from the very same start.
    fn begin(&self, context: &Context, start: Box<State>) -> Work {
        if self.judged.len() == self.places.len() {
            return Work::Done;
        }
        let context = Context { dataset: Rc::new(self.others()), ..context.clone() };
        Work::Train(Box::new(Trainer::new(context, State::clone(&start))), start)
    }

    /// The data set without the picture, and without those held out.
    fn others(&self) -> Dataset {
        let left_out = self.places[self.judged.len()];
        let stays = |(place, example): &(usize, &Example)| {
            *place != left_out && example.role != Role::HeldOut
        };
        let examples = self.dataset.examples.iter().enumerate().filter(stays);
        self.with(examples.map(|(_, example)| example.clone()).collect())
    }

    /// The picture and nothing else.
    fn alone(&self) -> Dataset {
        self.with(vec![Example { role: Role::HeldOut, ..self.left_out().clone() }])
    }

    fn with(&self, examples: Vec<Example>) -> Dataset {
        let Dataset { empty, class_prompt, text_shape, pooled, .. } = &*self.dataset;
        let (empty, class_prompt) = (empty.clone(), class_prompt.clone());
        Dataset { examples, empty, class_prompt, text_shape: *text_shape, pooled: *pooled }
    }
}

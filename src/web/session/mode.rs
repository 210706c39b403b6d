//! What the engine is at. Each state holds what it needs, so that nothing can be done which its
//! state has nothing for.

use super::JsResult;
use super::job::Job;
use super::run::{Pictures, Run};
use crate::error::Error;

pub(super) use super::model::Model;

/// What the engine is at.
#[derive(Default)]
pub(super) enum Mode {
    /// There is no model.
    #[default]
    Empty,
    /// There is one.
    Idle(Model),
    /// A picture is drawn; a run that was ready before it is so again afterwards.
    Drawing { model: Model, job: Box<Job>, run: Option<Box<Run>> },
    /// A run's pictures become its data set.
    Preparing { model: Model, pictures: Box<Pictures> },
    /// A run is ready for its next step.
    Training { model: Model, run: Box<Run> },
}

impl Mode {
    /// The model, whatever is done with it.
    pub(super) fn model(&self) -> JsResult<&Model> {
        match self {
            Self::Empty => {
                Err(Error::file("no model", "has been loaded yet", "Load a model first").into())
            }
            Self::Idle(model)
            | Self::Drawing { model, .. }
            | Self::Preparing { model, .. }
            | Self::Training { model, .. } => Ok(model),
        }
    }

    /// The picture in the making, its model, and the run that it interrupts.
    pub(super) fn drawing(&mut self) -> JsResult<(&Model, &mut Job, Option<&mut Run>)> {
        match self {
            Self::Drawing { model, job, run } => Ok((model, job, run.as_deref_mut())),
            _ => Err(Error::setting("picture", "was not started", "Start one first").into()),
        }
    }

    /// The pictures of a run that is being prepared, and the model.
    pub(super) fn preparing(&mut self) -> JsResult<(&Model, &mut Pictures)> {
        match self {
            Self::Preparing { model, pictures } => Ok((model, pictures)),
            _ => Err(self.no_run()),
        }
    }

    /// The run that is ready, and the model.
    pub(super) fn training(&mut self) -> JsResult<(&Model, &mut Run)> {
        match self {
            Self::Training { model, run } => Ok((model, run)),
            _ => Err(self.no_run()),
        }
    }

    fn no_run(&self) -> crate::web::failure::Failure {
        match self {
            Self::Drawing { run: Some(_), .. } => {
                Error::setting("run", "waits for a picture", "Stop the picture first")
            }
            _ => Error::setting("run", "is not ready", "Prepare its pictures first"),
        }
        .into()
    }

    /// A picture begins. Pictures of a run that aren't prepared yet are dropped.
    pub(super) fn draw(&mut self, job: Job) {
        let job = Box::new(job);
        *self = match std::mem::take(self) {
            Self::Training { model, run } => Self::Drawing { model, job, run: Some(run) },
            Self::Drawing { model, run, .. } => Self::Drawing { model, job, run },
            Self::Idle(model) | Self::Preparing { model, .. } => {
                Self::Drawing { model, job, run: None }
            }
            Self::Empty => Self::Empty,
        };
    }

    /// The picture in the making, if there is one, is dropped.
    pub(super) fn stop(&mut self) {
        *self = match std::mem::take(self) {
            Self::Drawing { model, job, run } => {
                job.give_back(&model.diffusion);
                match run {
                    Some(run) => Self::Training { model, run },
                    None => Self::Idle(model),
                }
            }
            other => other,
        };
    }

    /// The run, if there is one, is dropped, and the picture that interrupts it.
    pub(super) fn end_run(&mut self) {
        if matches!(self, Self::Drawing { run: Some(_), .. }) {
            self.stop();
        }
        *self = match std::mem::take(self) {
            Self::Preparing { model, .. } | Self::Training { model, .. } => Self::Idle(model),
            other => other,
        };
    }
}

//! A run, from its pictures to its adapter.

use std::rc::Rc;

use js_sys::{Date, Uint8Array};

use super::JsResult;
use super::events::{Copying, Due, Evaluated, LeftOut, Measured, Owed, Prepared, Stepped};
use super::model::Model;
use crate::error::Error;
use crate::pipelines::StableDiffusion;
use crate::training::export::{File, Request};
use crate::training::{
    Config, Dataset, Estimate, Evaluation, LeaveOneOut, Picture, Preparation, Role, Setup,
    StepReport, Trainer, estimate, measuring, previews,
};
use crate::web::readback::read;

/// A step of so many seconds needs no other to warm up: what is compiled for it takes less.
const LONG: f64 = 3.0;

/// A run whose pictures become its data set.
pub(super) struct Pictures {
    config: Config,
    preparation: Preparation,
}

impl Pictures {
    pub(super) fn new(
        model: &Model,
        pictures: Vec<Picture>,
        config: Config,
    ) -> crate::error::Result<Self> {
        let preparation = Preparation::new(model.diffusion.clone(), pictures, &config)?;
        Ok(Self { config, preparation })
    }

    /// Makes the next picture ready; none: all are.
    pub(super) async fn advance(&mut self, model: &Model) -> JsResult<Option<Prepared>> {
        model.diffusion.mute_adapters(true);
        let what = self.preparation.current().to_string();
        let Some(tensor) = self.preparation.advance()? else { return Ok(None) };
        self.preparation.conclude(&read(tensor).await?)?;
        let (done, total) = self.preparation.progress();
        Ok(Some(Prepared::Progress { done, total, what }))
    }

    /// The run of these pictures.
    pub(super) async fn finish(self, model: &Model) -> JsResult<Run> {
        let notes = self.preparation.notes().to_vec();
        Run::new(model, self.config, Rc::new(self.preparation.finish()), notes).await
    }
}

/// A run that is ready for its next step.
pub(super) struct Run {
    config: Config,
    dataset: Rc<Dataset>,
    trainer: Trainer,
    /// With the time when it was begun.
    evaluation: Option<(Evaluation, f64)>,
    leave_one_out: Option<LeaveOneOut>,
    spent: previews::Spent,
    measured: measuring::Spent,
    notes: Vec<String>,
    /// Final latents of the last picture drawn with the adapter, and their shape.
    latents: (Vec<f32>, [usize; 3]),
}

impl Run {
    pub(super) async fn new(
        model: &Model,
        config: Config,
        dataset: Rc<Dataset>,
        notes: Vec<String>,
    ) -> JsResult<Self> {
        let model = model.diffusion.clone();
        // Latents and text embeddings are there: nothing of training asks for the encoders again.
        model.release_encoders();
        let mut setup = Setup::new(model, config.clone(), dataset.clone(), None)?;
        while let Some(tensor) = setup.advance()? {
            setup.conclude(read(tensor).await?)?;
        }
        Ok(Self {
            config,
            dataset,
            trainer: setup.finish()?,
            evaluation: None,
            leave_one_out: None,
            spent: previews::Spent::default(),
            measured: measuring::Spent::default(),
            notes,
            latents: (Vec::new(), [0; 3]),
        })
    }

    /// A picture was drawn with the adapter.
    pub(super) fn pictured(&mut self, latents: Vec<f32>, shape: [usize; 3]) {
        self.latents = (latents, shape);
    }

    /// That has taken so long; `preview`: it was one that was due.
    pub(super) fn drew(&mut self, seconds: f64, preview: bool) {
        self.trainer.make_room();
        match preview {
            true => self.spent.drew(seconds),
            false => self.spent.drew_apart(seconds),
        }
    }

    pub(super) fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// What the run needs, by what is known now.
    pub(super) fn summary(&self, model: &StableDiffusion) -> JsResult<Estimate> {
        let counts = [Role::Train, Role::HeldOut, Role::Class];
        let counts = counts.map(|role| self.dataset.of(role).len());
        let mut summary = estimate(model, self.trainer.config(), counts)?;
        summary.learning_rate = Some(self.trainer.learning_rate());
        summary.checkpointed = self.trainer.checkpointed();
        summary.notes.extend(self.notes.iter().cloned());
        Ok(summary)
    }

    /// Times a step and takes it back, after another that warms up where steps are short.
    pub(super) async fn measure(&mut self, model: &StableDiffusion) -> JsResult<Measured> {
        let before = self.trainer.state()?;
        let mut seconds = 0.0;
        for _ in 0..2 {
            // The first one compiles kernels; the second counts.
            let started = Date::now();
            if !self.trainer.finished() {
                step(&mut self.trainer).await?;
            }
            seconds = seconds_since(started);
            if seconds > LONG {
                break;
            }
        }
        let bytes = self.summary(model)?.bytes;
        self.trainer.restore(&before)?;
        let peak_bytes = self.trainer.peak_bytes();
        Ok(Measured { seconds_per_step: seconds, bytes, peak_bytes })
    }

    pub(super) fn dataset(&self) -> crate::error::Result<Vec<u8>> {
        self.dataset.to_bytes()
    }

    /// One optimiser step.
    pub(super) async fn step(&mut self, model: &StableDiffusion) -> JsResult<Stepped> {
        let started = Date::now();
        let report = step(&mut self.trainer).await?;
        let seconds = seconds_since(started);
        self.spent.trained(seconds);
        self.measured.trained(seconds);
        let finished = self.trainer.finished();
        let config = self.trainer.config();
        let due = |every: usize| finished || (every > 0 && report.step.is_multiple_of(every));
        let due = Due {
            snapshot: due(config.snapshot_every),
            preview: self.spent.is_preview_due(config, report.step, finished),
        };
        let guess = self.trainer.first_guess();
        let thumbnail = guess.map(|(latents, [_, height, width])| {
            model.latent_rgb.preview(latents, width, height).into()
        });
        let peak_bytes = self.trainer.peak_bytes();
        Ok(Stepped { kind: "step", report, seconds, peak_bytes, finished, due, thumbnail })
    }

    /// Whether the present state is to be measured.
    pub(super) fn due(&self, finished: bool) -> Owed {
        let (step, next) = (self.trainer.step(), self.trainer.samples_due());
        let due = self.measured.due(self.trainer.config(), step, finished, next);
        // Between two steps nobody misses it.
        let unmeasured = (due == measuring::Due::TooSlow && finished).then_some(UNMEASURED);
        Owed { evaluation: due == measuring::Due::Now, unmeasured }
    }

    pub(super) fn evaluate(&mut self) {
        let draws = self.trainer.plan().draws;
        let evaluation = Evaluation::with_draws(&self.trainer, draws);
        self.evaluation = Some((evaluation, Date::now()));
    }

    /// The next forward pass of an evaluation.
    pub(super) async fn evaluation_pull(&mut self) -> JsResult<Evaluated> {
        let (mut evaluation, started) =
            self.evaluation.take().ok_or_else(|| not_started("evaluation"))?;
        if let Some(tensor) = evaluation.advance(&self.trainer)? {
            evaluation.conclude(read(tensor).await?);
            let fraction = evaluation.fraction();
            self.evaluation = Some((evaluation, started));
            return Ok(Evaluated::Progress { fraction });
        }
        self.measured.measured(seconds_since(started), evaluation.samples());
        let report = evaluation.finish(&mut self.trainer);
        let (latents, shape) = &self.latents;
        let nearest = self.trainer.nearest(latents, *shape);
        let copying = nearest.map(|(name, similarity)| Copying { name: name.into(), similarity });
        Ok(Evaluated::Evaluation { report, copying })
    }

    /// Starts leaving out each picture in turn, or goes on with it.
    pub(super) fn leave_one_out(&mut self, model: &Model) -> crate::error::Result<()> {
        if self.leave_one_out.is_none() {
            let (config, dataset) = (self.config.clone(), self.dataset.clone());
            self.leave_one_out = Some(LeaveOneOut::new(model.diffusion.clone(), config, dataset)?);
        }
        Ok(())
    }

    /// The next pass of that.
    pub(super) async fn leave_one_out_pull(&mut self) -> JsResult<LeftOut> {
        let mut work = self.leave_one_out.take().ok_or_else(|| not_started("leaving one out"))?;
        let Some(tensor) = work.advance()? else { return Ok(LeftOut::LeaveOneOut(work.finish())) };
        work.conclude(read(tensor).await?)?;
        let progress = work.progress();
        self.leave_one_out = Some(work);
        Ok(LeftOut::Progress(progress))
    }

    /// Rewinds, or goes on elsewhere; gives the step.
    pub(super) fn restore(&mut self, state: &Uint8Array) -> crate::error::Result<usize> {
        self.evaluation = None;
        self.trainer.restore(&state.to_vec())?;
        Ok(self.trainer.step())
    }

    /// The adapter of a state, or of the present one, as files.
    pub(super) fn export(
        &mut self,
        state: Option<Uint8Array>,
        request: &Request,
    ) -> crate::error::Result<Vec<File>> {
        let Some(state) = state else { return self.trainer.export(request) };
        let present = self.trainer.state()?;
        self.trainer.restore(&state.to_vec())?;
        let files = self.trainer.export(request);
        self.trainer.restore(&present)?;
        files
    }
}

/// One whole optimiser step.
async fn step(trainer: &mut Trainer) -> JsResult<StepReport> {
    loop {
        let values = read(trainer.advance()?).await?;
        if let Some(report) = trainer.conclude(&values)? {
            return Ok(report);
        }
    }
}

/// Why a run is not measured at its end.
const UNMEASURED: &str = "Measuring how well it does would have taken more than a fifth of the run's \
     time: train more steps, or with fewer pictures, to have it measured.";

fn not_started(what: &'static str) -> Error {
    Error::setting(what, "was not started", "Start it first")
}

fn seconds_since(started: f64) -> f64 {
    (Date::now() - started) / 1000.0
}

//! From settings and a data set to a trainer.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::context::Context;
use super::state::State;
use super::trainer::Trainer;
use crate::adapters::Part;
use crate::error::{Error, Result};
use crate::layers::Site;
use crate::linalg::Matrix;
use crate::pipelines::StableDiffusion;
use crate::training::data::check;
use crate::training::data::dataset::Dataset;
use crate::training::numbers::random::{Stream, generator};
use crate::training::optim::schedule;
use crate::training::plan::estimate;
use crate::training::settings::config::{Config, Init};
use crate::training::settings::optimizer_config::OptimizerConfig;
use crate::training::step::loss::Diffusion;
use crate::training::step::reference::Reference;
use crate::training::trained::adapter::{self, Adapter};
use crate::training::trained::init;

/// The rule for the learning rate spreads a movement over a run; over fewer whole steps than these
/// it would be torn, not trained (four steps with batch 1 ended at five times the base's loss).
const FEWEST_STEPS: f64 = 25.0;

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
        config.check()?;
        if config.init == Init::Pissa && reference.is_some() {
            return Err(Error::setting(
                "init",
                "PiSSA's factors are made from the model's weights, while a reference file brings \
                 factors of its own (init.*), without the frozen copy that PiSSA takes away again",
                "Leave the reference out, or choose another start: gaussian, kaiming or orthogonal",
            ));
        }
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
        self.config.init == Init::Pissa
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
        Ok(Some(sites[self.ready.len()].weight()?.flatten(0, 1)))
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
        let adapter = Adapter::new(&self.sites(), &self.config, levels, &norms, ready)?;
        let mut adapter = adapter.with_stages(|path| self.model.unet.stage_of(path));
        if let Some(reference) = &self.reference {
            reference.initialise(&mut adapter, "the reference")?;
        }
        let Self { model, config, dataset, reference, .. } = self;
        let state = State::new(adapter, &config.optimizer)?;
        let context = Context {
            diffusion: Diffusion::new(&model.scheduler_config)?,
            groups: state.adapter.groups(config.lora_plus),
            learning_rate: learning_rate(&config, &state.adapter),
            blocks: estimate::by_blocks(&model, &config, &dataset)?,
            model,
            config,
            dataset,
            reference,
        };
        Ok(Trainer::new(context, state))
    }
}

/// The full learning rate: the settings', or by the rule of `docs/specs/tuning-sweep.md`.
fn learning_rate(config: &Config, adapter: &Adapter) -> f64 {
    let sum = config.schedule.sum(config.steps, config.warmup).max(FEWEST_STEPS);
    let growth = config.strength.growth() * adapter.weight_rms();
    let (scale, rank, sigma) = adapter.start();
    let by_rule = || schedule::learning_rate(growth, scale, rank, sigma, sum);
    match (config.learning_rate, &config.optimizer) {
        (Some(rate), _) => rate,
        (None, OptimizerConfig::Prodigy(_)) => 1.0,
        (None, OptimizerConfig::AdamW(_)) => by_rule(),
        // Every entry moves by the whole rate each step, where Adam's moves average out.
        (None, OptimizerConfig::Lion(_)) => by_rule() / 3.0,
    }
}

//! What doesn't change over a run.

use std::ops::Range;
use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};

use crate::pipelines::StableDiffusion;
use crate::training::data::dataset::Dataset;
use crate::training::settings::config::Config;
use crate::training::step::draws::Assembly;
use crate::training::step::loss::Diffusion;
use crate::training::step::reference::Reference;

/// Model, pictures and settings, and what follows from them before the first step.
#[derive(Clone)]
pub struct Context {
    /// The model whose UNet is adapted.
    pub model: Rc<StableDiffusion>,
    /// The run's settings.
    pub config: Config,
    /// What it is trained on.
    pub dataset: Rc<Dataset>,
    /// Draws from a file, in place of its own.
    pub reference: Option<Rc<Reference>>,
    /// The model's noise schedule.
    pub diffusion: Diffusion,
    /// Parts of the parameters with the factors on their learning rates.
    pub groups: Vec<(Range<usize>, f64)>,
    /// The full learning rate, before warm-up and schedule.
    pub learning_rate: f64,
    /// Whether blocks are run twice to save memory.
    pub blocks: bool,
}

impl Context {
    /// What turns draws into tensors.
    pub fn assembly(&self) -> Assembly<'_> {
        Assembly {
            config: &self.config,
            dataset: &self.dataset,
            diffusion: &self.diffusion,
            device: self.model.device(),
        }
    }

    /// A vector of parameters on the device.
    pub fn upload(&self, parameters: &[f32]) -> Tensor<1> {
        let data = TensorData::new(parameters.to_vec(), [parameters.len()]);
        Tensor::from_data(data, self.model.device())
    }
}

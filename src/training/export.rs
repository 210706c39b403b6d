//! The trained adapter as modules that any model can attach, and as files for other tools.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::adapters::format::{self, Wanted};
use crate::adapters::kinds::{DoRA, Factors, KroneckerFactor, LoKr, LowRank};
use crate::adapters::save::{BaseModel, Metadata, Precision};
use crate::adapters::{AdapterModule, HostTensor, Part};
use crate::error::Result;
use crate::training::data::picture::Role;
use crate::training::run::context::Context;
use crate::training::run::trainer::Trainer;
use crate::training::settings::optimizer_config::OptimizerConfig;
use crate::training::trained::adapter::{Adapter, Module, with_frozen};

pub use crate::adapters::format::{File, Format};

/// What to write.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Whose names.
    pub format: Format,
    /// Half precision: half the size.
    #[serde(default)]
    pub half: bool,
    /// The adapter's name.
    pub title: String,
    /// A small picture as a `data:` URL.
    #[serde(default)]
    pub thumbnail: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub date: Option<String>,
}

impl Adapter {
    /// Every module in host memory, of these parameters. PiSSA's become rank 2r: what they started
    /// with is taken away again (PEFT's `subtract_mutated_init`).
    pub fn to_modules(&self, parameters: &[f32]) -> Vec<AdapterModule> {
        self.modules.iter().map(|module| to_module(module, parameters)).collect()
    }
}

fn to_module(module: &Module, parameters: &[f32]) -> AdapterModule {
    let kernel = &module.shape[2..];
    let ones = vec![1; kernel.len()];
    let mut rank = module.rank;
    let mut factors = module.factors.map(|&piece| {
        let piece = &module.pieces[piece];
        HostTensor { shape: piece.shape.to_vec(), data: parameters[piece.range.clone()].to_vec() }
    });
    match &mut factors {
        Factors::LowRank(LowRank { down, up, .. }) => {
            if let Some((down0, up0)) = &module.frozen {
                let (d, u) = with_frozen(&down.data, &up.data, down0, up0, rank);
                rank *= 2;
                *down = HostTensor { shape: vec![rank, down.shape[1]], data: d };
                *up = HostTensor { shape: vec![up.shape[0], rank], data: u };
            }
            unfold(down, kernel);
            unfold(up, &ones);
        }
        Factors::DoRA(DoRA { down, up, .. }) => {
            unfold(down, kernel);
            unfold(up, &ones);
        }
        Factors::LoKr(LoKr { w2: KroneckerFactor::Full(whole), .. }) => {
            rank = 0;
            unfold(whole, kernel);
        }
        _ => {}
    }
    AdapterModule {
        part: Part::UNet,
        path: module.path.clone(),
        factors,
        scale: module.scale,
        rank,
        alpha: (rank > 0).then_some(module.scale * rank as f32),
    }
}

/// Gives a matrix the kernel that lies in its columns.
fn unfold(matrix: &mut HostTensor, kernel: &[usize]) {
    let area: usize = kernel.iter().product();
    matrix.shape[1] /= area;
    matrix.shape.extend(kernel);
}

impl Trainer {
    /// The adapter's modules of the present state.
    pub fn modules(&self) -> Vec<AdapterModule> {
        self.adapter().to_modules(&self.adapter().parameters)
    }

    /// Writes the adapter, reads what was written and compares it, number by number.
    ///
    /// # Errors
    /// When it changes nothing (all up weights are zero), the format has no room for its kind, or
    /// what was read isn't what was written.
    pub fn export(&self, request: &Request) -> Result<Vec<File>> {
        let modules = self.modules();
        let metadata = self.metadata(request);
        let precision = if request.half { Precision::F16 } else { Precision::F32 };
        let format = request.format;
        let wanted = Wanted { modules: &modules, precision, metadata: &metadata, format };
        let model = &self.context().model;
        format::write(&wanted, &model.file_sites(), model.layout())
    }

    fn metadata(&self, request: &Request) -> Metadata {
        let Context { config, dataset, diffusion, .. } = self.context();
        let train = dataset.of(Role::Train);
        let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
        for example in &train {
            for tag in example.caption.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                *tags.entry(tag).or_default() += 1;
            }
        }
        let optimizer = match config.optimizer {
            OptimizerConfig::AdamW(_) => "AdamW",
            OptimizerConfig::Lion(_) => "Lion",
            OptimizerConfig::Prodigy(_) => "Prodigy",
        };
        let json = |value: serde_json::Value| value.to_string();
        let folder =
            if config.trigger.trim().is_empty() { "pictures" } else { config.trigger.trim() };
        let entries = [
            ("ss_optimizer", optimizer.to_string()),
            ("ss_learning_rate", self.learning_rate().to_string()),
            ("ss_unet_lr", self.learning_rate().to_string()),
            ("ss_lr_scheduler", json(serde_json::json!(config.schedule)).replace('"', "")),
            ("ss_lr_warmup_steps", config.warmup.to_string()),
            ("ss_steps", self.step().to_string()),
            ("ss_max_train_steps", config.steps.to_string()),
            ("ss_num_train_images", train.len().to_string()),
            ("ss_batch_size_per_device", config.batch.to_string()),
            ("ss_gradient_accumulation_steps", config.accumulation.to_string()),
            ("ss_gradient_checkpointing", self.checkpointed().to_string()),
            ("ss_seed", config.seed.to_string()),
            ("ss_noise_offset", config.noise_offset.to_string()),
            ("ss_max_grad_norm", config.clip.to_string()),
            ("ss_caption_dropout_rate", config.caption_dropout.to_string()),
            ("ss_tag_frequency", json(serde_json::json!({ folder: tags }))),
            ("ss_training_comment", "trained in a browser tab with Lorakeet".into()),
            ("lorakeet_config", json(serde_json::json!(config))),
        ];
        let trigger = config.trigger.trim();
        let side = train.first().map_or([0, 0], |example| {
            let [_, height, width] = example.latents.shape;
            [8 * width, 8 * height]
        });
        Metadata {
            title: request.title.clone(),
            base: BaseModel {
                v2: dataset.text_shape[1] == 1024,
                v_prediction: diffusion.prediction()
                    == crate::training::step::loss::Prediction::Velocity,
            },
            xl: if dataset.pooled > 0 { self.context().model.layout().cloned() } else { None },
            resolution: side,
            date: request.date.clone(),
            trigger_phrase: (!trigger.is_empty()).then(|| trigger.into()),
            thumbnail: request.thumbnail.clone(),
            entries: entries.map(|(key, value)| (key.to_string(), value)).into(),
        }
    }
}

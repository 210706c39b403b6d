//! A whole model on a device, with its adapters.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};

use crate::adapters::{AdapterFile, AdapterModule, AdapterSet, CoverageReport, Part, file};
use crate::error::{Error, Result};
use crate::image::LatentRgb;
use crate::keys::ldm::UNetLayout;
use crate::layers::{LoadReport, Parameters, Progress, Site, Storage};
use crate::models::{
    AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig, CLIPTextConfig,
    CLIPTextModel, UNet2DConditionConfig, UNet2DConditionModel,
};
use crate::schedulers::{SchedulerConfig, SchedulerKind};
use crate::tokenizer::{ClipTokenizer, TokenizerFiles};
use crate::weights::{Checkpoint, Component, Source};

/// Either autoencoder.
#[derive(Debug)]
pub enum Vae {
    /// The full one.
    Kl(Box<AutoencoderKL>),
    /// TAESD.
    Tiny(AutoencoderTiny),
}

impl Vae {
    /// What the UNet's latents are divided by before decoding.
    pub fn scaling_factor(&self) -> f64 {
        match self {
            Self::Kl(vae) => vae.config().scaling_factor,
            Self::Tiny(vae) => vae.config().scaling_factor,
        }
    }

    /// How many times [`Self::decode_stage`] is called for one picture.
    pub fn decode_stages(&self) -> usize {
        match self {
            Self::Kl(vae) => vae.decode_stages(),
            Self::Tiny(vae) => vae.decode_stages(),
        }
    }

    /// One stage of decoding unscaled latents `[n, 4, h, w]` to `[n, 3, 8h, 8w]`.
    pub fn decode_stage(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl(vae) => vae.decode_stage(stage, x),
            Self::Tiny(vae) => vae.decode_stage(stage, x),
        }
    }
}

/// What loading a model found, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ModelReport {
    /// The model's name.
    pub name: String,
    /// Its UNet, text encoder and VAE.
    pub components: Vec<LoadReport>,
    /// Tensors of the files that belong to no component, with the reason.
    pub ignored: Vec<String>,
    /// Things worth knowing, as sentences.
    pub notes: Vec<String>,
}

/// A model, ready to make pictures.
pub struct StableDiffusion {
    /// The denoiser.
    pub unet: UNet2DConditionModel,
    /// The text encoder.
    pub text_encoder: CLIPTextModel,
    /// The autoencoder.
    pub vae: Vae,
    /// The tokenizer that belongs to the text encoder.
    pub tokenizer: ClipTokenizer,
    /// What `scheduler_config.json` says.
    pub scheduler_config: SchedulerConfig,
    /// The scheduler that the model comes with.
    pub scheduler: SchedulerKind,
    /// For previews.
    pub latent_rgb: LatentRgb,
    adapters: RefCell<AdapterSet>,
    unet_sites: Vec<Site>,
    text_encoder_sites: Vec<Site>,
    layout: Option<UNetLayout>,
    device: Device,
}

impl StableDiffusion {
    /// Loads a checkpoint to a device, tensor by tensor. `clip_merges` is CLIP's `merges.txt`, for
    /// checkpoints that bring no tokenizer of their own.
    ///
    /// # Errors
    /// When a config isn't understood, a tensor is missing, misshapen or not finite, or the
    /// checkpoint brings no tokenizer and its text encoder has another vocabulary than CLIP's.
    pub fn load(
        checkpoint: &Checkpoint,
        clip_merges: Option<&[u8]>,
        device: &Device,
        storage: Storage,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Self, ModelReport)> {
        let mut loader =
            Loader { sources: &checkpoint.sources, device, storage, progress, reports: Vec::new() };
        // Small things first, so that a bad config is told before two gigabytes are read.
        let tokenizer = tokenizer(checkpoint, clip_merges)?;
        let scheduler_config = SchedulerConfig::from_json(
            "scheduler_config.json",
            &checkpoint.scheduler_config.to_string(),
        )?
        .for_stable_diffusion();
        let scheduler = SchedulerKind::from_config(&scheduler_config)?;
        let text_config = CLIPTextConfig::parse(&checkpoint.text_encoder)?;
        let unet_config = UNet2DConditionConfig::parse(&checkpoint.unet)?;
        if unet_config.cross_attention_dim != text_config.hidden_size {
            return Err(Error::key(
                &checkpoint.unet.file,
                "cross_attention_dim",
                format!(
                    "is {} while the text encoder is {} wide",
                    unet_config.cross_attention_dim, text_config.hidden_size
                ),
                "Use a UNet and a text encoder that belong together",
            ));
        }
        if unet_config.in_channels != unet_config.out_channels {
            return Err(Error::key(
                &checkpoint.unet.file,
                "in_channels",
                format!("is {}: this is an inpainting model", unet_config.in_channels),
                "Use a text-to-image model with 4 input channels",
            ));
        }

        let (text_encoder, text_encoder_sites) = loader
            .load(&checkpoint.text_encoder, |parameters| {
                CLIPTextModel::load(&text_config, parameters)
            })?;
        let (unet, unet_sites) = loader.load(&checkpoint.unet, |parameters| {
            UNet2DConditionModel::load(&unet_config, parameters)
        })?;
        let vae_config = &checkpoint.vae.config;
        let vae = if vae_config["_class_name"] == "AutoencoderTiny" {
            let config = AutoencoderTinyConfig::parse(&checkpoint.vae)?;
            Vae::Tiny(
                loader
                    .load(&checkpoint.vae, |parameters| AutoencoderTiny::load(&config, parameters))?
                    .0,
            )
        } else {
            let config = AutoencoderKLConfig::parse(&checkpoint.vae)?;
            let load = |parameters: &Parameters| AutoencoderKL::load(&config, parameters);
            Vae::Kl(Box::new(loader.load(&checkpoint.vae, load)?.0))
        };

        let mut notes = Vec::new();
        for component in [&checkpoint.text_encoder, &checkpoint.unet, &checkpoint.vae] {
            if component.config_inferred {
                notes.push(format!(
                    "The {}'s configuration was told from its tensors' names and shapes",
                    component.name.replace('_', " ")
                ));
            }
        }
        let report = ModelReport {
            name: checkpoint.name.clone(),
            components: loader.reports,
            ignored: checkpoint.ignored.clone(),
            notes,
        };
        let model = Self {
            unet,
            text_encoder,
            vae,
            tokenizer,
            scheduler_config,
            scheduler,
            latent_rgb: LatentRgb::from_config(vae_config),
            adapters: RefCell::default(),
            unet_sites,
            text_encoder_sites,
            layout: UNetLayout::from_config(&checkpoint.unet.config),
            device: device.clone(),
        };
        Ok((model, report))
    }

    /// Where the model lies.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The size of picture, in pixels, that the model was trained on.
    pub fn native_size(&self) -> usize {
        let latent = self.unet.config().sample_size.as_ref().and_then(serde_json::Value::as_u64);
        latent.map_or(512, |size| 8 * size as usize)
    }

    /// The attached adapters.
    pub fn adapters(&self) -> std::cell::Ref<'_, AdapterSet> {
        self.adapters.borrow()
    }

    /// The layers of a part that an adapter can sit on.
    pub fn sites(&self, part: Part) -> &[Site] {
        match part {
            Part::UNet => &self.unet_sites,
            Part::TextEncoder => &self.text_encoder_sites,
        }
    }

    /// Reads an adapter's file and attaches it at strength 1. `config` is the text of an
    /// `adapter_config.json` that came with it.
    ///
    /// # Errors
    /// Whatever is wrong with the file; the model stays as it was.
    pub fn add_adapter(&self, source: &dyn Source, config: Option<&str>) -> Result<u64> {
        let config =
            config.map(serde_json::from_str::<serde_json::Value>).transpose().map_err(|error| {
                Error::file(
                    "adapter_config.json",
                    format!("isn't JSON ({error})"),
                    "Copy the file again from where the adapter came from",
                )
            })?;
        let adapter =
            file::read(source, config.as_ref(), &self.file_sites(), self.layout.as_ref())?;
        self.adapters.borrow_mut().attach(
            adapter,
            &self.unet_sites,
            &self.text_encoder_sites,
            &self.device,
        )
    }

    /// Sets an adapter's switch and strengths.
    ///
    /// # Errors
    /// When there is no such adapter or a strength is out of range.
    pub fn set_adapter(&self, id: u64, enabled: bool, unet: f32, text_encoder: f32) -> Result<()> {
        self.adapters.borrow_mut().set(id, enabled, unet, text_encoder)
    }

    /// Takes an adapter off.
    ///
    /// # Errors
    /// When there is no such adapter.
    pub fn remove_adapter(&self, id: u64) -> Result<()> {
        self.adapters.borrow_mut().detach(id, &[&self.unet_sites, &self.text_encoder_sites])
    }

    /// How ldm would name its UNet's layers, where it has names for them.
    pub fn layout(&self) -> Option<&UNetLayout> {
        self.layout.as_ref()
    }

    /// Attaches modules that come from no file, at strength 1.
    ///
    /// # Errors
    /// When one doesn't fit its layer; nothing is attached then.
    pub fn attach_modules(&self, name: &str, modules: Vec<AdapterModule>) -> Result<u64> {
        let report = CoverageReport::default();
        let adapter = AdapterFile { name: name.into(), modules, report };
        self.adapters.borrow_mut().attach(
            adapter,
            &self.unet_sites,
            &self.text_encoder_sites,
            &self.device,
        )
    }

    /// Takes every adapter out of the arithmetic, or puts all back as they were.
    pub fn mute_adapters(&self, mute: bool) {
        self.adapters.borrow_mut().mute(mute);
    }

    /// Every layer of the model that an adapter can sit on.
    pub fn file_sites(&self) -> Vec<file::Site> {
        [Part::UNet, Part::TextEncoder]
            .into_iter()
            .flat_map(|part| {
                self.sites(part).iter().map(move |site| file::Site {
                    part,
                    path: site.path.clone(),
                    shape: site.shape.clone(),
                })
            })
            .collect()
    }
}

/// The checkpoint's own tokenizer, or CLIP's.
fn tokenizer(checkpoint: &Checkpoint, clip_merges: Option<&[u8]>) -> Result<ClipTokenizer> {
    match (&checkpoint.tokenizer, clip_merges) {
        (Some(files), _) => {
            let text = |json: &Option<serde_json::Value>| json.as_ref().map(ToString::to_string);
            let (config, special) = (text(&files.config), text(&files.special_tokens));
            ClipTokenizer::new(TokenizerFiles {
                vocab: &files.vocab,
                merges: &files.merges,
                config: config.as_deref().map(str::as_bytes),
                special_tokens_map: special.as_deref().map(str::as_bytes),
            })
        }
        (None, Some(merges)) => ClipTokenizer::from_merges(merges),
        (None, None) => Err(Error::file(
            &checkpoint.name,
            "brings no tokenizer",
            "Give CLIP's merges.txt along with it",
        )),
    }
}

struct Loader<'a, 'p> {
    sources: &'a [Rc<dyn Source>],
    device: &'a Device,
    storage: Storage,
    progress: &'p mut dyn FnMut(Progress<'_>),
    reports: Vec<LoadReport>,
}

impl Loader<'_, '_> {
    fn load<M>(
        &mut self,
        component: &Component,
        build: impl FnOnce(&Parameters) -> M,
    ) -> Result<(M, Vec<Site>)> {
        let parameters =
            Parameters::new(component, self.sources, self.device, self.storage, self.progress);
        let model = build(&parameters);
        let (report, sites) = parameters.finish()?;
        report.check(&component.file)?;
        self.reports.push(report);
        Ok((model, sites))
    }
}

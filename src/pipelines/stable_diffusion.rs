//! A whole model on a device.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::Device;

use super::encoders::{Encoders, TextEncoder, come_and_go};
use super::fit;
use super::lexicon::Lexicon;
use super::loader::Loader;
use super::prompts::Prompts;
use super::tokenizers::{second_tokenizer, tokenizer};
use super::vae::{DecodePlan, EncodePlan, Vae};
use crate::adapters::{AdapterSet, Part};
use crate::error::{Error, Result};
use crate::image::LatentRgb;
use crate::keys::family::Base;
use crate::keys::ldm::UNetLayout;
use crate::layers::{LoadReport, Progress, Site, Storage, rounding_notes};
use crate::models::bands::Limits;
use crate::models::{CLIPTextConfig, UNet2DConditionConfig, UNet2DConditionModel};
use crate::schedulers::{ModelScheduler, SchedulerConfig, SchedulerKind};
use crate::tokenizer::ClipTokenizer;
use crate::weights::{Checkpoint, Family};

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
    /// Which member of the family it is, from which evidence.
    pub family: Family,
}

/// What a checkpoint holds, loaded or only looked for.
struct Parts {
    tokenizer: ClipTokenizer,
    tokenizer_2: Option<ClipTokenizer>,
    scheduler_config: SchedulerConfig,
    scheduler: ModelScheduler,
    text_encoders: Vec<TextEncoder>,
    unet: (UNet2DConditionModel, Vec<Site>),
    vae: Vae,
}

/// A model, ready to make pictures.
pub struct StableDiffusion {
    /// The denoiser.
    pub unet: UNet2DConditionModel,
    /// The tokenizer that belongs to the text encoder.
    pub tokenizer: ClipTokenizer,
    /// That of SDXL's second one, which fills prompts up with another token.
    pub tokenizer_2: Option<ClipTokenizer>,
    /// What `scheduler_config.json` says.
    pub scheduler_config: SchedulerConfig,
    /// The scheduler that the model comes with.
    pub scheduler: SchedulerKind,
    /// For previews.
    pub latent_rgb: LatentRgb,
    /// Which member of the family it is.
    pub family: Family,
    pub(super) adapters: RefCell<AdapterSet>,
    unet_sites: Vec<Site>,
    pub(super) encoders: Encoders,
    pub(super) prompts: Prompts,
    pub(super) lexicon: RefCell<Lexicon>,
    pub(super) layout: Option<UNetLayout>,
    /// An empty negative prompt stands for zeros.
    pub(super) force_zeros: bool,
    pub(super) device: Device,
}

impl StableDiffusion {
    fn parts(
        loader: &mut Loader<'_, '_>,
        checkpoint: &Checkpoint,
        clip_merges: Option<&[u8]>,
    ) -> Result<Parts> {
        // Small things first, so that a bad config is told before two gigabytes are read.
        let scheduler_config =
            SchedulerConfig::from_value("scheduler_config.json", &checkpoint.scheduler_config)?;
        // diffusers' pipeline for SDXL takes a config as it stands.
        let scheduler_config = match checkpoint.family.base {
            Base::Sdxl => scheduler_config,
            Base::Sd1 | Base::Sd2 => scheduler_config.for_stable_diffusion(),
        };
        let scheduler = SchedulerKind::from_config(&scheduler_config)?;
        let text_config = CLIPTextConfig::parse(&checkpoint.text_encoder)?;
        let unet_config = UNet2DConditionConfig::parse(&checkpoint.unet)?;
        let second = checkpoint.text_encoder_2.as_ref();
        let second_config = second.map(CLIPTextConfig::parse).transpose()?;
        fit::check(checkpoint, &unet_config, &text_config, second_config.as_ref())?;
        let positions = text_config.max_position_embeddings;
        let tokenizer = tokenizer(checkpoint, clip_merges)?.at_most(positions);
        let tokenizer_2 = match second {
            Some(_) => Some(second_tokenizer(checkpoint, clip_merges)?.at_most(positions)),
            None => None,
        };

        let later = come_and_go(checkpoint);
        let text_encoders = checkpoint
            .text_encoders()
            .map(|component| TextEncoder::load(loader, component, later))
            .collect::<Result<_>>()?;
        let unet = loader.load(&checkpoint.unet, &[], |parameters| {
            UNet2DConditionModel::load(&unet_config, parameters)
        })?;
        let vae = Vae::load(loader, &checkpoint.vae)?;
        Ok(Parts { tokenizer, tokenizer_2, scheduler_config, scheduler, text_encoders, unet, vae })
    }

    /// Whether [`load`](Self::load) would find everything that it needs: configs, names and shapes.
    /// Reads no tensor and touches no device; what tensors hold (NaN, infinity) isn't looked at.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn check(checkpoint: &Checkpoint, clip_merges: Option<&[u8]>) -> Result<Vec<LoadReport>> {
        // Placeholders of one number have to lie somewhere.
        let (host, mut ignore) = (Device::flex(), |_: Progress<'_>| {});
        let mut loader = Loader::dry(&host, &mut ignore);
        Self::parts(&mut loader, checkpoint, clip_merges)?;
        Ok(loader.reports)
    }

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
        if !storage.works_on(device) {
            return Err(Error::setting(
                "weights",
                format!("can't be {} on this device", storage.name()),
                "Use f32",
            ));
        }
        let mut loader = Loader::new(&checkpoint.sources, device, storage, progress);
        let parts = Self::parts(&mut loader, checkpoint, clip_merges)?;
        let Parts { unet: (unet, unet_sites), scheduler, .. } = parts;

        let mut notes = checkpoint.family.notes.clone();
        notes.extend(scheduler.note);
        for component in checkpoint.components() {
            if component.config_inferred {
                notes.push(format!(
                    "The {}'s configuration was told from its tensors' names and shapes",
                    component.name.replace('_', " ")
                ));
            }
        }
        if come_and_go(checkpoint) {
            notes.push(
                "Its text encoders are read for a new prompt and leave again, one after the other"
                    .into(),
            );
        }
        notes.extend(rounding_notes(storage, &loader.reports));
        let report = ModelReport {
            name: checkpoint.name.clone(),
            components: loader.reports,
            ignored: checkpoint.ignored.clone(),
            notes,
            family: checkpoint.family.clone(),
        };
        let latent_rgb = match checkpoint.family.base {
            Base::Sdxl => LatentRgb::STABLE_DIFFUSION_XL,
            Base::Sd1 | Base::Sd2 => LatentRgb::STABLE_DIFFUSION,
        };
        let model = Self {
            unet,
            tokenizer: parts.tokenizer,
            tokenizer_2: parts.tokenizer_2,
            scheduler_config: parts.scheduler_config,
            scheduler: scheduler.kind,
            latent_rgb: LatentRgb::from_config_or(&checkpoint.vae.config, latent_rgb),
            family: checkpoint.family.clone(),
            adapters: RefCell::default(),
            unet_sites,
            encoders: Encoders::new(checkpoint, device, storage, parts.text_encoders, parts.vae),
            prompts: Prompts::default(),
            lexicon: RefCell::default(),
            layout: UNetLayout::from_config(&checkpoint.unet.config),
            force_zeros: checkpoint.force_zeros_for_empty_prompt,
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
        self.family.size
    }

    /// How a picture of this many pixels is decoded within these limits; it takes nothing that isn't
    /// loaded.
    ///
    /// # Errors
    /// When it fits in no way.
    pub fn decode_plan(&self, width: usize, height: usize, limits: Limits) -> Result<DecodePlan> {
        let latents = [height / 8, width / 8];
        Vae::decode_plan_of(self.encoders.vae_component(), latents, limits)
    }

    /// The same of encoding one.
    ///
    /// # Errors
    /// When it fits in no way.
    pub fn encode_plan(&self, width: usize, height: usize, limits: Limits) -> Result<EncodePlan> {
        Vae::encode_plan_of(self.encoders.vae_component(), [height, width], limits)
    }

    /// The plan of decoding a picture of this many pixels in the least memory.
    ///
    /// # Errors
    /// When the autoencoder's config can't be read.
    pub fn least_decode_plan(&self, width: usize, height: usize) -> Result<DecodePlan> {
        Vae::least_decode_plan_of(self.encoders.vae_component(), [height / 8, width / 8])
    }

    /// Bytes of the UNet's largest tensor for a picture of this many pixels, in f32: what a GPU has to
    /// take in one buffer. The autoencoder's are in [`Self::decode_plan`], which keeps them as small as a
    /// device asks.
    pub fn largest_tensor(&self, width: usize, height: usize, guided: bool) -> u64 {
        let pixels = (height / 8 * (width / 8)) as u64;
        let at_once = 1 + u64::from(guided && !self.guides_in_turn(width, height));
        4 * at_once * self.unet.config().widest() * pixels
    }

    /// Whether the UNet is asked of the two prompts one after the other: where both at once would outgrow
    /// what any WebGPU device binds.
    pub fn guides_in_turn(&self, width: usize, height: usize) -> bool {
        self.unet.config().guides_in_turn(width, height)
    }

    /// The attached adapters.
    pub fn adapters(&self) -> std::cell::Ref<'_, AdapterSet> {
        self.adapters.borrow()
    }

    /// The layers of a part that an adapter can sit on.
    pub fn sites(&self, part: Part) -> &[Site] {
        match part {
            Part::UNet => &self.unet_sites,
            Part::TextEncoder => self.encoders.text_sites(0),
            Part::TextEncoder2 => self.encoders.text_sites(1),
        }
    }

    /// The autoencoder, loaded again if it has left the device.
    ///
    /// # Errors
    /// When the model's files can't be read any more.
    pub fn vae(&self) -> Result<Rc<Vae>> {
        self.encoders.vae()
    }

    /// Lets go of text encoder and autoencoder, which training doesn't need once its data set is
    /// made: their memory is free as soon as nobody else holds them. Adapters stay attached, and
    /// each of the two comes back by itself when it is next asked for.
    pub fn release_encoders(&self) {
        self.encoders.release();
    }

    /// Bytes that [`Self::release_encoders`] would free now.
    pub fn encoder_bytes(&self) -> u64 {
        self.encoders.bytes()
    }
}

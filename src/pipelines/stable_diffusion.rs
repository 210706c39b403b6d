//! A whole model on a device.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};

use super::encoders::Encoders;
use super::fit;
use super::lexicon::Lexicon;
use super::loader::Loader;
use super::prompts::Prompts;
use super::vae::{DecodePlan, EncodePlan, Vae};
use crate::adapters::{AdapterSet, Part};
use crate::error::{Error, Result};
use crate::image::LatentRgb;
use crate::keys::ldm::UNetLayout;
use crate::layers::{LoadReport, Progress, Site, Storage, rounding_notes};
use crate::models::bands::Limits;
use crate::models::{CLIPTextConfig, CLIPTextModel, UNet2DConditionConfig, UNet2DConditionModel};
use crate::schedulers::{ModelScheduler, SchedulerConfig, SchedulerKind};
use crate::tokenizer::{ClipTokenizer, TokenizerFiles};
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
    scheduler_config: SchedulerConfig,
    scheduler: ModelScheduler,
    text_encoder: (CLIPTextModel, Vec<Site>),
    unet: (UNet2DConditionModel, Vec<Site>),
    vae: Vae,
}

/// A model, ready to make pictures.
pub struct StableDiffusion {
    /// The denoiser.
    pub unet: UNet2DConditionModel,
    /// The tokenizer that belongs to the text encoder.
    pub tokenizer: ClipTokenizer,
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
    encoders: Encoders,
    prompts: Prompts,
    pub(super) lexicon: RefCell<Lexicon>,
    pub(super) layout: Option<UNetLayout>,
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
            SchedulerConfig::from_value("scheduler_config.json", &checkpoint.scheduler_config)?
                .for_stable_diffusion();
        let scheduler = SchedulerKind::from_config(&scheduler_config)?;
        let text_config = CLIPTextConfig::parse(&checkpoint.text_encoder)?;
        let unet_config = UNet2DConditionConfig::parse(&checkpoint.unet)?;
        fit::check(checkpoint, &unet_config, &text_config)?;
        let tokenizer =
            tokenizer(checkpoint, clip_merges)?.at_most(text_config.max_position_embeddings);

        let text_encoder = loader.load(&checkpoint.text_encoder, &[], |parameters| {
            CLIPTextModel::load(&text_config, parameters)
        })?;
        let unet = loader.load(&checkpoint.unet, &[], |parameters| {
            UNet2DConditionModel::load(&unet_config, parameters)
        })?;
        let vae = Vae::load(loader, &checkpoint.vae)?;
        Ok(Parts { tokenizer, scheduler_config, scheduler, text_encoder, unet, vae })
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
        let Parts { tokenizer, scheduler_config, scheduler, text_encoder, unet, vae } = parts;
        let (unet, unet_sites) = unet;

        let mut notes = checkpoint.family.notes.clone();
        notes.extend(scheduler.note);
        for component in [&checkpoint.text_encoder, &checkpoint.unet, &checkpoint.vae] {
            if component.config_inferred {
                notes.push(format!(
                    "The {}'s configuration was told from its tensors' names and shapes",
                    component.name.replace('_', " ")
                ));
            }
        }
        notes.extend(rounding_notes(storage, &loader.reports));
        let report = ModelReport {
            name: checkpoint.name.clone(),
            components: loader.reports,
            ignored: checkpoint.ignored.clone(),
            notes,
            family: checkpoint.family.clone(),
        };
        let model = Self {
            unet,
            tokenizer,
            scheduler_config,
            scheduler: scheduler.kind,
            latent_rgb: LatentRgb::from_config(&checkpoint.vae.config),
            family: checkpoint.family.clone(),
            adapters: RefCell::default(),
            unet_sites,
            encoders: Encoders::new(checkpoint, device, storage, text_encoder, vae),
            prompts: Prompts::default(),
            lexicon: RefCell::default(),
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
    /// take in one buffer. Its gated feed-forward layers are eight times as wide as its outermost level.
    /// The autoencoder's are in [`Self::decode_plan`], which keeps them as small as a device asks.
    pub fn largest_tensor(&self, width: usize, height: usize, guided: bool) -> u64 {
        let pixels = (height / 8 * (width / 8)) as u64;
        let channels = self.unet.config().block_out_channels.first().copied().unwrap_or(0);
        4 * (1 + u64::from(guided)) * 8 * channels as u64 * pixels
    }

    /// The attached adapters.
    pub fn adapters(&self) -> std::cell::Ref<'_, AdapterSet> {
        self.adapters.borrow()
    }

    /// The layers of a part that an adapter can sit on.
    pub fn sites(&self, part: Part) -> &[Site] {
        match part {
            Part::UNet => &self.unet_sites,
            Part::TextEncoder => self.encoders.text_sites(),
        }
    }

    /// The text encoder, loaded again if it has left the device.
    ///
    /// # Errors
    /// When the model's files can't be read any more.
    pub fn text_encoder(&self) -> Result<Rc<CLIPTextModel>> {
        self.encoders.text_encoder()
    }

    /// What the text encoder makes of rows of tokens, `[rows, tokens, width]`. It isn't asked, nor
    /// loaded again, for the last few that it made with the adapters as they are.
    ///
    /// # Errors
    /// When the text encoder refuses the tokens, or the model's files can't be read any more.
    pub fn embeddings(&self, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        self.embeddings_without(ids, 0)
    }

    /// The same without the text encoder's last `skipped` layers.
    ///
    /// # Errors
    /// As [`Self::embeddings`].
    pub fn embeddings_without(&self, ids: &[Vec<u32>], skipped: usize) -> Result<Tensor<3>> {
        let sites = self.encoders.text_sites();
        let lexicon = self.lexicon.borrow();
        self.prompts.get(ids, skipped, sites, || {
            self.text_encoder()?.hidden_with(ids, skipped, |id| lexicon.vector(id))
        })
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
        (None, Some(merges)) => ClipTokenizer::from_merges(merges, checkpoint.family.pad_token()),
        (None, None) => Err(Error::file(
            &checkpoint.name,
            "brings no tokenizer",
            "Give CLIP's merges.txt along with it",
        )),
    }
}

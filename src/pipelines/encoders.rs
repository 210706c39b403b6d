//! Text encoders and autoencoder: what a picture needs before and after the UNet, and training for its
//! data set alone. Each may leave the device, and comes back from the model's files when it is next
//! asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use burn::tensor::Device;

use super::loader::Loader;
use super::vae::Vae;
use crate::error::Result;
use crate::layers::{Parameters, Progress, Site, Storage, release_scratch};
use crate::models::{CLIPTextConfig, CLIPTextModel};
use crate::weights::{Checkpoint, Component, Source};

/// Text encoders of more than this many bytes in f32 are there only while prompts are encoded (1 GiB).
/// SDXL's two take 3.3 GB, half of what its UNet does.
const LARGE: u64 = 1 << 30;

/// A text encoder, there or not.
pub(super) struct TextEncoder {
    model: RefCell<Option<Rc<CLIPTextModel>>>,
    /// The slots of its layers, with what is attached: they outlast the layers. They hold no weight, which
    /// would outlast them too.
    sites: Vec<Site>,
    component: Component,
}

pub(super) struct Encoders {
    text: Vec<TextEncoder>,
    vae: RefCell<Option<Rc<Vae>>>,
    /// Whether text encoders stay once the prompts are encoded.
    keep: Cell<bool>,
    usually_kept: bool,
    // What loading takes: handles of files, and where in them each tensor is.
    sources: Vec<Rc<dyn Source>>,
    vae_component: Component,
    device: Device,
    storage: Storage,
}

impl TextEncoder {
    /// Loads it, or only looks for what it needs where `later` says that it comes when it is asked for.
    ///
    /// # Errors
    /// When its config isn't understood, or a tensor is missing, misshapen or not finite.
    pub(super) fn load(
        loader: &mut Loader<'_, '_>,
        component: &Component,
        later: bool,
    ) -> Result<Self> {
        let config = CLIPTextConfig::parse(component)?;
        let build = |parameters: &Parameters| CLIPTextModel::load(&config, parameters);
        let (model, mut sites) = match later {
            true => (None, loader.look_for(component, build)?),
            false => {
                let (model, sites) = loader.load(component, &[], build)?;
                (Some(Rc::new(model)), sites)
            }
        };
        if later {
            // A placeholder has no shape of its own.
            for site in &mut sites {
                if let Some(stored) = component.tensors.get(&format!("{}.weight", site.path)) {
                    site.shape.clone_from(&stored.info.shape);
                }
            }
        }
        Ok(Self {
            model: RefCell::new(model),
            sites: sites.into_iter().map(Site::without_weight).collect(),
            component: component.clone(),
        })
    }
}

/// Whether a model's text encoders are too large to stay beside its UNet.
pub(super) fn come_and_go(checkpoint: &Checkpoint) -> bool {
    let [all, _] = checkpoint.text_encoder_bytes_as(Storage::F32);
    checkpoint.text_encoder_2.is_some() && all > LARGE
}

impl Encoders {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        device: &Device,
        storage: Storage,
        text: Vec<TextEncoder>,
        vae: Vae,
    ) -> Self {
        Self {
            text,
            vae: RefCell::new(Some(Rc::new(vae))),
            keep: Cell::new(!come_and_go(checkpoint)),
            usually_kept: !come_and_go(checkpoint),
            sources: checkpoint.sources.clone(),
            vae_component: checkpoint.vae.clone(),
            device: device.clone(),
            storage,
        }
    }

    /// How many text encoders there are.
    pub(super) fn count(&self) -> usize {
        self.text.len()
    }

    /// Whether text encoders stay once prompts are encoded; none: as is usual for their size.
    pub(super) fn set_keep(&self, keep: Option<bool>) {
        self.keep.set(keep.unwrap_or(self.usually_kept));
    }

    /// Of one of the text encoders; nothing where there is none of this number.
    pub(super) fn text_sites(&self, encoder: usize) -> &[Site] {
        self.text.get(encoder).map_or(&[], |encoder| &encoder.sites)
    }

    pub(super) fn text_encoder(&self, encoder: usize) -> Result<Rc<CLIPTextModel>> {
        let TextEncoder { model, sites, component } = &self.text[encoder];
        self.fetch(model, |loader| {
            let config = CLIPTextConfig::parse(component)?;
            let load = |parameters: &Parameters| CLIPTextModel::load(&config, parameters);
            Ok(loader.load(component, sites, load)?.0)
        })
    }

    /// Lets go of a text encoder that isn't to stay.
    pub(super) fn used(&self, encoder: usize) {
        if !self.keep.get() {
            self.text[encoder].model.take();
            release_scratch();
        }
    }

    pub(super) fn vae(&self) -> Result<Rc<Vae>> {
        self.fetch(&self.vae, |loader| Vae::load(loader, &self.vae_component))
    }

    pub(super) fn vae_component(&self) -> &Component {
        &self.vae_component
    }

    /// Bytes that come free when those that are there leave the device.
    pub(super) fn bytes(&self) -> u64 {
        let text = self.text.iter().map(|it| (it.model.borrow().is_some(), &it.component));
        let there = text.chain([(self.vae.borrow().is_some(), &self.vae_component)]);
        let numbers = |component: &Component| -> u64 {
            component.tensors.values().map(|tensor| tensor.info.elements() as u64).sum()
        };
        let numbers: u64 = there.filter(|(there, _)| *there).map(|(_, part)| numbers(part)).sum();
        match self.storage {
            Storage::F32 => 4 * numbers,
            Storage::F16 => 2 * numbers,
            // Blocks of 32 numbers in 9 words.
            Storage::Q8 => numbers.div_ceil(32) * 36,
        }
    }

    /// On a GPU the memory goes back to burn's pool, from which training takes its own. It isn't
    /// forced out of the pool (`Device::memory_cleanup`): where that has to move pages it blocks on
    /// the device, and a browser's worker can't block.
    pub(super) fn release(&self) {
        for encoder in &self.text {
            encoder.model.take();
        }
        self.vae.take();
        release_scratch();
    }

    /// What is there, or else loaded to where it was and with the same checks.
    fn fetch<M>(
        &self,
        place: &RefCell<Option<Rc<M>>>,
        load: impl FnOnce(&mut Loader<'_, '_>) -> Result<M>,
    ) -> Result<Rc<M>> {
        let there = place.borrow().clone();
        if let Some(model) = there {
            return Ok(model);
        }
        let mut ignore = |_: Progress<'_>| {};
        let mut loader = Loader::new(&self.sources, &self.device, self.storage, &mut ignore);
        let model = Rc::new(load(&mut loader)?);
        place.replace(Some(model.clone()));
        Ok(model)
    }
}

//! Text encoder and autoencoder: what a picture needs before and after the UNet, and training for its
//! data set alone. Both may leave the device, and come back from the model's files when they are next
//! asked for.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::Device;

use super::loader::Loader;
use super::vae::Vae;
use crate::error::Result;
use crate::layers::{Parameters, Progress, Site, Storage, release_scratch};
use crate::models::{CLIPTextConfig, CLIPTextModel};
use crate::weights::{Checkpoint, Component, Source};

pub(super) struct Encoders {
    text_encoder: RefCell<Option<Rc<CLIPTextModel>>>,
    vae: RefCell<Option<Rc<Vae>>>,
    /// The slots of the text encoder's layers, with what is attached: they outlast the layers. They
    /// hold no weight, which would outlast them too.
    text_sites: Vec<Site>,
    // What loading takes: handles of files, and where in them each tensor is.
    sources: Vec<Rc<dyn Source>>,
    text_component: Component,
    vae_component: Component,
    device: Device,
    storage: Storage,
}

impl Encoders {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        device: &Device,
        storage: Storage,
        (text_encoder, text_sites): (CLIPTextModel, Vec<Site>),
        vae: Vae,
    ) -> Self {
        Self {
            text_encoder: RefCell::new(Some(Rc::new(text_encoder))),
            vae: RefCell::new(Some(Rc::new(vae))),
            text_sites: text_sites.into_iter().map(Site::without_weight).collect(),
            sources: checkpoint.sources.clone(),
            text_component: checkpoint.text_encoder.clone(),
            vae_component: checkpoint.vae.clone(),
            device: device.clone(),
            storage,
        }
    }

    pub(super) fn text_sites(&self) -> &[Site] {
        &self.text_sites
    }

    pub(super) fn text_encoder(&self) -> Result<Rc<CLIPTextModel>> {
        self.fetch(&self.text_encoder, |loader| {
            let component = &self.text_component;
            let config = CLIPTextConfig::parse(component)?;
            let load = |parameters: &Parameters| CLIPTextModel::load(&config, parameters);
            Ok(loader.load(component, &self.text_sites, load)?.0)
        })
    }

    pub(super) fn vae(&self) -> Result<Rc<Vae>> {
        self.fetch(&self.vae, |loader| Vae::load(loader, &self.vae_component))
    }

    pub(super) fn vae_component(&self) -> &Component {
        &self.vae_component
    }

    /// Bytes that come free when those that are there leave the device.
    pub(super) fn bytes(&self) -> u64 {
        let there = [
            (self.text_encoder.borrow().is_some(), &self.text_component),
            (self.vae.borrow().is_some(), &self.vae_component),
        ];
        let numbers = |component: &Component| -> u64 {
            component.tensors.values().map(|tensor| tensor.info.elements() as u64).sum()
        };
        let numbers: u64 =
            there.iter().filter(|(there, _)| *there).map(|(_, part)| numbers(part)).sum();
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
        self.text_encoder.take();
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

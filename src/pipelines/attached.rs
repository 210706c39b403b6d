//! Adapters and embeddings on a model: added, switched, taken off.

use super::StableDiffusion;
use crate::adapters::{AdapterFile, AdapterModule, CoverageReport, Part, Spread, file};
use crate::error::{Error, Result};
use crate::keys::ldm::UNetLayout;
use crate::prompt::{Emphasis, TokenCount, Words};
use crate::weights::{Source, parse_json};

impl StableDiffusion {
    /// Reads an adapter's file and attaches it at strength 1. `config` is the text of an
    /// `adapter_config.json` that came with it.
    ///
    /// # Errors
    /// Whatever is wrong with the file; the model stays as it was.
    pub fn add_adapter(&self, source: &dyn Source, config: Option<&str>) -> Result<u64> {
        let config = config.map(parse_json).transpose().map_err(|error| {
            Error::file(
                "adapter_config.json",
                format!("isn't JSON ({error})"),
                "Copy the file again from where the adapter came from",
            )
        })?;
        let adapter =
            file::read(source, config.as_ref(), &self.file_sites(), self.layout.as_ref())?;
        self.attach(adapter)
    }

    fn attach(&self, mut adapter: AdapterFile) -> Result<u64> {
        let sites = Part::ALL.map(|part| self.sites(part));
        let mut adapters = self.adapters.borrow_mut();
        let mut lexicon = self.lexicon.borrow_mut();
        let id = adapters.next_id();
        let embeddings = std::mem::take(&mut adapter.embeddings);
        for word in lexicon.add(id, embeddings, &self.tokenizer)? {
            adapter.report.notes.push(format!(
                "“{word}” is an ordinary word: wherever a prompt has it, these vectors take its place."
            ));
        }
        let attached = adapters.attach(adapter, sites, self.layout.as_ref(), &self.device);
        if attached.is_err() {
            lexicon.remove(id);
        }
        attached
    }

    /// How long a prompt is, for a picture of `steps` steps.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn count_tokens(
        &self,
        prompt: &str,
        steps: usize,
        emphasis: Emphasis,
    ) -> Result<TokenCount> {
        TokenCount::of(&self.tokenizer, &self.words(), prompt, steps, emphasis)
    }

    /// The words that attached embeddings teach, of those that are switched on.
    pub fn words(&self) -> Words {
        self.lexicon.borrow().words()
    }

    /// Sets an adapter's switch and strengths.
    ///
    /// # Errors
    /// When there is no such adapter or a strength is out of range.
    pub fn set_adapter(&self, id: u64, enabled: bool, unet: f32, text_encoder: f32) -> Result<()> {
        self.adapters.borrow_mut().set(id, enabled, unet, text_encoder)?;
        self.lexicon.borrow_mut().set(id, enabled);
        Ok(())
    }

    /// Spreads an adapter's strength over the model's blocks and a picture's steps.
    ///
    /// # Errors
    /// When there is no such adapter or a factor is out of range.
    pub fn spread_adapter(&self, id: u64, spread: Spread) -> Result<()> {
        self.adapters.borrow_mut().spread(id, spread)
    }

    /// Takes an adapter off.
    ///
    /// # Errors
    /// When there is no such adapter.
    pub fn remove_adapter(&self, id: u64) -> Result<()> {
        let sites = Part::ALL.map(|part| self.sites(part));
        self.adapters.borrow_mut().detach(id, &sites)?;
        self.lexicon.borrow_mut().remove(id);
        Ok(())
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
        let embeddings = Vec::new();
        self.attach(AdapterFile { name: name.into(), modules, embeddings, report })
    }

    /// Takes every adapter out of the arithmetic, or puts all back as they were.
    pub fn mute_adapters(&self, mute: bool) {
        self.adapters.borrow_mut().mute(mute);
    }

    /// Every layer of the model that an adapter can sit on.
    pub fn file_sites(&self) -> Vec<file::Site> {
        Part::ALL
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

//! Models and adapters, as JavaScript hands them over.

use std::rc::Rc;

use js_sys::{Array, Function};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::events::{self, Added, Loaded, Size, Weights};
use super::mode::{Mode, Model};
use super::values::{parse, sources, to_js};
use super::{Engine, JsResult};
use crate::adapters::Spread;
use crate::error::Error;
use crate::kernels::run_on;
use crate::layers::{Progress, Storage};
use crate::memory;
use crate::models::UNet2DConditionConfig;
use crate::pipelines::memory::{Chosen, Pixels, Sizes, choose, is_worth_a_restart, unet_peak};
use crate::pipelines::{ModelReport, StableDiffusion};
use crate::schedulers::{Levels, SchedulerKind};
use crate::web::blob::BlobSource;
use crate::web::failure::Failure;
use crate::weights::{Bytes, Checkpoint, Overrides, Prediction, Source};

/// The name under which the page sends CLIP's vocabulary along.
const CLIP_MERGES: &str = "clip-vocabulary/merges.txt";

/// How a model is to be loaded. What isn't said is told from its files, or chosen for the device.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    weights: Option<Weights>,
    prediction: Option<Prediction>,
    size: Option<usize>,
    zero_terminal_snr: Option<bool>,
}

impl Options {
    /// What a person says of the model itself.
    fn overrides(&self) -> Overrides {
        let Self { prediction, size, zero_terminal_snr, .. } = *self;
        Overrides { prediction, size, zero_terminal_snr }
    }
}

#[wasm_bindgen]
impl Engine {
    /// Whether `[{path, blob}]` are a model that can be loaded here as `options` say, and how:
    /// `{bytes, weights, words, offer, anew}`. Headers and configs are read, no tensor; the model in
    /// use isn't touched. `options`: `{weights, prediction, size, zeroTerminalSnr}`; what isn't said is
    /// told from the files, or chosen for the device.
    ///
    /// # Errors
    /// Whatever is wrong with the files, and when there is no room for the model even without the
    /// one in use.
    #[wasm_bindgen(js_name = judgeModel)]
    pub fn judge_model(&self, files: Array, options: JsValue) -> JsResult<JsValue> {
        let options: Options = parse("options", &options)?;
        let (checkpoint, clip_merges) = open(&files, &options)?;
        StableDiffusion::check(&checkpoint, clip_merges.as_deref())?;
        let anew = is_worth_a_restart(self.device.reserved());
        let taken = match self.mode.model() {
            _ if anew => self.device.bare,
            Ok(model) => self.device.held().saturating_sub(model.bytes),
            Err(_) => self.device.held(),
        };
        let (sizes, chosen) = self.choose(&checkpoint, &options, taken)?;
        to_js(&events::Judged {
            bytes: sizes.into(),
            weights: chosen.storage.into(),
            words: chosen.words,
            offer: events::Offer::new(&self.device, taken),
            anew,
        })
    }

    /// Loads a model from `[{path, blob}]`, in place of the one before, which goes once the new one
    /// is found good ([`Engine::judge_model`]). `options` are the same;
    /// `weights` is how they are kept: `f32`, `f16` or `q8` (8-bit blocks). Calls
    /// `progress(doneBytes, totalBytes, component)`.
    ///
    /// # Errors
    /// As [`Engine::judge_model`]; the model before stays then. And when a tensor can't be read or
    /// holds NaN: there is no model then.
    #[wasm_bindgen(js_name = loadModel)]
    pub fn load_model(
        &mut self,
        files: Array,
        options: JsValue,
        progress: &Function,
    ) -> JsResult<JsValue> {
        memory::start();
        let options: Options = parse("options", &options)?;
        let (checkpoint, clip_merges) = open(&files, &options)?;
        let merges = clip_merges.as_deref();
        let freed = match self.mode.model() {
            // What is wrong with the new one is told while there still is an old one.
            Ok(old) => StableDiffusion::check(&checkpoint, merges).map(|_| old.bytes)?,
            Err(_) => 0,
        };
        let taken = self.device.held().saturating_sub(freed);
        let (sizes, Chosen { storage, .. }) = self.choose(&checkpoint, &options, taken)?;
        self.mode = Mode::Empty;
        let before = self.device.held();
        let mut progress = report_to(progress, stored(&checkpoint));
        let (model, report) = StableDiffusion::load(
            &checkpoint,
            merges,
            &self.device.device,
            storage,
            &mut progress,
        )?;
        let loaded = loaded(report, &model, storage);
        self.mode = Mode::Idle(Model {
            diffusion: Rc::new(model),
            storage,
            sizes,
            bytes: self.device.held().saturating_sub(before),
        });
        to_js(&loaded)
    }

    /// Attaches an adapter at strength 1. `config` is the text of its `adapter_config.json`.
    /// Returns `{id, report}`.
    ///
    /// # Errors
    /// Whatever is wrong with the file; the model stays as it was.
    #[wasm_bindgen(js_name = addAdapter)]
    pub fn add_adapter(
        &mut self,
        name: String,
        blob: Blob,
        config: Option<String>,
    ) -> JsResult<JsValue> {
        let model = &self.mode.model()?.diffusion;
        let source = BlobSource::new(name, blob)?;
        // Factors are read many times over, tensor by tensor: one read of a file this small is
        // quicker than hundreds of slices.
        const SMALL: u64 = 512 << 20;
        let id = if source.len() <= SMALL {
            let bytes = Bytes::new(source.name(), source.read_all()?);
            model.add_adapter(&bytes, config.as_deref())?
        } else {
            model.add_adapter(&source, config.as_deref())?
        };
        let adapters = model.adapters();
        let added = adapters.iter().find(|adapter| adapter.id == id);
        let added = added.ok_or_else(|| Failure::new("the adapter vanished"))?;
        to_js(&Added { id, report: &added.report, blocks: added.blocks() })
    }

    /// Sets an adapter's switch and strengths.
    ///
    /// # Errors
    /// When there is no such adapter or a strength is out of range.
    #[wasm_bindgen(js_name = setAdapter)]
    pub fn set_adapter(
        &mut self,
        id: f64,
        enabled: bool,
        unet: f32,
        text_encoder: f32,
    ) -> JsResult<()> {
        let model = &self.mode.model()?.diffusion;
        Ok(model.set_adapter(id as u64, enabled, unet, text_encoder)?)
    }

    /// Spreads an adapter's strength over the model's blocks and a picture's steps: `{blocks, curve}`.
    ///
    /// # Errors
    /// When there is no such adapter or a factor is out of range.
    #[wasm_bindgen(js_name = spreadAdapter)]
    pub fn spread_adapter(&mut self, id: f64, spread: &JsValue) -> JsResult<()> {
        let spread: Spread = parse("spread", spread)?;
        Ok(self.mode.model()?.diffusion.spread_adapter(id as u64, spread)?)
    }

    /// Takes an adapter off.
    ///
    /// # Errors
    /// When there is no such adapter.
    #[wasm_bindgen(js_name = removeAdapter)]
    pub fn remove_adapter(&mut self, id: f64) -> JsResult<()> {
        Ok(self.mode.model()?.diffusion.remove_adapter(id as u64)?)
    }
}

/// The checkpoint that these files are, and CLIP's own merges, which the page sends along with a
/// single file: that brings no tokenizer.
fn open(files: &Array, options: &Options) -> JsResult<(Checkpoint, Option<Vec<u8>>)> {
    let mut clip_merges = None;
    let mut model: Vec<Rc<dyn Source>> = Vec::new();
    for source in sources(files)? {
        if source.name() == CLIP_MERGES {
            clip_merges = Some(source.read_all()?);
        } else {
            model.push(Rc::new(source));
        }
    }
    Ok((Checkpoint::open_with(model, &options.overrides())?, clip_merges))
}

/// Bytes of a checkpoint's tensors in its files.
fn stored(checkpoint: &Checkpoint) -> u64 {
    let tensors = checkpoint.components().flat_map(|one| one.tensors.values());
    tensors.map(|tensor| tensor.info.bytes).sum()
}

impl Engine {
    /// What the weights would take, and how they are to be kept where so many bytes are in use by
    /// others.
    fn choose(
        &self,
        checkpoint: &Checkpoint,
        options: &Options,
        taken: u64,
    ) -> Result<(Sizes, Chosen), Error> {
        let device = &self.device.device;
        let unet = UNet2DConditionConfig::parse(&checkpoint.unet)?;
        let side = checkpoint.family.size;
        let at_once = !unet.guides_in_turn(side, side);
        let picture = unet_peak(&unet, Pixels::of(side, side, at_once), run_on(device));
        let narrow = Storage::halves_work(device);
        let wanted = options.weights.map(Into::into);
        let sizes = Sizes::of(checkpoint);
        let chosen = choose(&sizes, picture, &self.device.offer(taken), narrow, wanted)?;
        Ok((sizes, chosen))
    }
}

/// Calls JavaScript with the bytes of all components that were read so far.
fn report_to(progress: &Function, total: u64) -> impl FnMut(Progress<'_>) {
    let (mut before, mut component, mut done) = (0, String::new(), 0);
    move |now| {
        if component != now.component {
            before += done;
            component = now.component.into();
        }
        done = now.done;
        // What the page does with the numbers can't stop the loading.
        let _ = progress.call3(
            &JsValue::NULL,
            &((before + done) as f64).into(),
            &(total as f64).into(),
            &now.component.into(),
        );
    }
}

fn loaded(report: ModelReport, model: &StableDiffusion, storage: Storage) -> Loaded {
    let unused = report.components.iter().flat_map(|component| component.unused.clone());
    let unused = unused.chain(report.ignored).collect();
    let mut notes = report.notes;
    match storage {
        Storage::F32 => {}
        Storage::F16 => notes.push("Weights are kept in half precision".into()),
        Storage::Q8 => notes.push("Weights are kept in 8 bits, some in half precision".into()),
    }
    let size = model.native_size();
    let prediction = model.scheduler_config.prediction_type.as_deref();
    Loaded {
        name: report.name,
        components: report.components.into_iter().map(Into::into).collect(),
        unused,
        notes,
        scheduler: model.scheduler.name(),
        schedulers: SchedulerKind::ALL.map(Into::into).into(),
        schedules: Levels::ALL.map(Into::into).into(),
        native: Size { width: size, height: size },
        family: report.family,
        prediction_type: prediction.unwrap_or("epsilon").replace('_', " "),
    }
}

//! Models and adapters, as JavaScript hands them over.

use std::rc::Rc;

use burn::tensor::Device;
use js_sys::{Array, Function};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::events::{Added, Loaded, Scheduler, Size};
use super::mode::{Mode, Model};
use super::values::{parse, sources, to_js};
use super::{Engine, JsResult};
use crate::error::Error;
use crate::layers::{Progress, Storage};
use crate::pipelines::{ModelReport, StableDiffusion};
use crate::schedulers::SchedulerKind;
use crate::web::blob::BlobSource;
use crate::weights::{Bytes, Checkpoint, Source};

/// Above this many bytes of f32 weights, they are kept in halves (1 GiB).
pub(super) const LARGE_MODEL: u64 = 1 << 30;

/// The name under which the page sends CLIP's vocabulary along.
const CLIP_MERGES: &str = "clip-vocabulary/merges.txt";

/// How a model is to be loaded. What isn't said is told from its files, or chosen for the device.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    weights: Option<Weights>,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Weights {
    F32,
    F16,
    Q8,
}

#[wasm_bindgen]
impl Engine {
    /// Loads a model from `[{path, blob}]`, in place of the one before once it is there. `options`:
    /// `{weights}`, how they are kept: `f32`, `f16` or `q8` (8-bit blocks); without it, a large
    /// model's are halves where the device can use them. Calls `progress(doneBytes, totalBytes,
    /// component)`.
    ///
    /// # Errors
    /// Whatever is wrong with the files, or a way to keep weights that this device has no use for;
    /// the model before stays.
    #[wasm_bindgen(js_name = loadModel)]
    pub fn load_model(
        &mut self,
        files: Array,
        options: JsValue,
        progress: &Function,
    ) -> JsResult<JsValue> {
        self.stop();
        let options: Options = parse("options", &options)?;
        let (checkpoint, clip_merges) = open(&files)?;
        let device = &self.device.device;
        let large = 4 * elements(&checkpoint) > LARGE_MODEL;
        let storage = storage(device, options.weights, large)?;
        let total = stored(&checkpoint);
        let mut progress = report_to(progress, total);
        let merges = clip_merges.as_deref();
        let (model, report) =
            StableDiffusion::load(&checkpoint, merges, device, storage, &mut progress)?;
        let loaded = loaded(report, &model, storage);
        self.mode = Mode::Idle(Model { diffusion: Rc::new(model), large });
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
        let report = adapters.iter().find(|adapter| adapter.id == id).map(|found| &found.report);
        let report = report.ok_or_else(|| JsError::new("the adapter vanished"))?;
        to_js(&Added { id, report })
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
fn open(files: &Array) -> JsResult<(Checkpoint, Option<Vec<u8>>)> {
    let mut clip_merges = None;
    let mut model: Vec<Rc<dyn Source>> = Vec::new();
    for source in sources(files)? {
        if source.name() == CLIP_MERGES {
            clip_merges = Some(source.read_all()?);
        } else {
            model.push(Rc::new(source));
        }
    }
    Ok((Checkpoint::open(model)?, clip_merges))
}

fn components(checkpoint: &Checkpoint) -> [&crate::weights::Component; 3] {
    [&checkpoint.text_encoder, &checkpoint.unet, &checkpoint.vae]
}

/// Bytes of a checkpoint's tensors in its files.
fn stored(checkpoint: &Checkpoint) -> u64 {
    let tensors = components(checkpoint).into_iter().flat_map(|one| one.tensors.values());
    tensors.map(|tensor| tensor.info.bytes).sum()
}

/// Numbers in them.
fn elements(checkpoint: &Checkpoint) -> u64 {
    let tensors = components(checkpoint).into_iter().flat_map(|one| one.tensors.values());
    tensors.map(|tensor| tensor.info.elements() as u64).sum()
}

/// How weights are kept that are to be kept as `wanted`.
fn storage(device: &Device, wanted: Option<Weights>, large: bool) -> Result<Storage, Error> {
    let halves = Storage::halves_work(device);
    match wanted {
        None if large && halves => Ok(Storage::F16),
        None | Some(Weights::F32) => Ok(Storage::F32),
        Some(Weights::F16) if halves => Ok(Storage::F16),
        Some(Weights::Q8) if halves => Ok(Storage::Q8),
        Some(Weights::F16 | Weights::Q8) => {
            let problem = "can't be f16 or q8 on this device";
            Err(Error::setting("weights", problem, "Use f32, or switch kernels on"))
        }
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
        schedulers: SchedulerKind::ALL
            .map(|kind| Scheduler { id: kind.name(), label: kind.label() })
            .into(),
        native: Size { width: size, height: size },
        prediction_type: prediction.unwrap_or("epsilon").replace('_', " "),
    }
}

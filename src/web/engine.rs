//! What JavaScript calls.

use std::rc::Rc;

use burn::tensor::{DType, Device, Tensor};
use js_sys::{Array, Function, Object, Reflect, Uint8ClampedArray};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::adapter::{KernelReport, largest_buffer, software_adapter};
use super::blob::BlobSource;
use super::training::Training;
use crate::error::Error;
use crate::image::{Rgba, to_rgba};
use crate::kernels::{self, Choice, gpu};
use crate::layers::{LoadReport, Storage};
use crate::pipelines::{ModelReport, Phase, Settings, StableDiffusion, TextToImage};
use crate::schedulers::SchedulerKind;
use crate::weights::{Bytes, Checkpoint, Source};

/// Above this many bytes of f32 weights, they are kept in halves (1 GiB).
const LARGE_MODEL: u64 = 1 << 30;

/// A denoising step longer than this is waited for block by block (milliseconds): otherwise the
/// GPU's queue would go on long after Stop.
const SLOW_STEP: f64 = 500.0;

/// A device, a model with its adapters, and at most one picture in the making.
#[wasm_bindgen]
pub struct Engine {
    pub(super) device: Device,
    gpu: bool,
    /// Bytes; None: it takes whatever there is memory for.
    largest_buffer: Option<u64>,
    kernels: KernelReport,
    pub(super) model: Option<Rc<StableDiffusion>>,
    /// Whether the model is above [`LARGE_MODEL`].
    pub(super) large: bool,
    pub(super) job: Option<Job>,
    pub(super) training: Option<Training>,
}

pub(super) struct Job {
    work: TextToImage,
    /// The adapter in training, attached for this picture alone.
    borrowed: Option<u64>,
    started: f64,
    step_started: f64,
    slow: bool,
}

pub(super) type JsResult<T> = Result<T, JsError>;

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `webgpu` or `cpu`. With `kernels` `off` it computes with burn's own
    /// operations only, to tell what the kernels gain, or whether one is at fault.
    ///
    /// # Errors
    /// When there is no such device.
    pub async fn open(backend: String, kernels: Option<String>) -> JsResult<Engine> {
        kernels::choose(match kernels.as_deref() {
            None | Some("on") => Choice::Best,
            Some("off") => Choice::None,
            Some(other) => {
                let problem = format!("kernels can't be {other}");
                return Err(Error::setting("kernels", problem, "Use on or off").into());
            }
        });
        let (device, gpu) = open_device(&backend).await?;
        let kernels = if kernels.as_deref() == Some("off") {
            KernelReport::default()
        } else {
            KernelReport::check(&device, gpu).await?
        };
        let largest_buffer = if gpu { largest_buffer().await } else { None };
        Ok(Self {
            device,
            gpu,
            largest_buffer,
            kernels,
            model: None,
            large: false,
            job: None,
            training: None,
        })
    }

    /// Which kernels run: `{kind, refused, milliseconds}`, `kind` being null where none do, `refused`
    /// the names of those that computed wrongly here and are not used.
    ///
    /// # Errors
    /// None that JavaScript could cause.
    pub fn kernels(&self) -> JsResult<JsValue> {
        Ok(serde_wasm_bindgen::to_value(&self.kernels)?)
    }

    /// Loads a model from `[{path, blob}]`, in place of the one before once it is there. Calls
    /// `progress(doneBytes, totalBytes, component)`. `weights` says how they are kept: `f32`, `f16`
    /// or `q8` (8-bit blocks); without it, a large model's are halves where the device can use them.
    ///
    /// # Errors
    /// Whatever is wrong with the files, or a way to keep weights that this device has no use for;
    /// the model before stays.
    #[wasm_bindgen(js_name = loadModel)]
    pub fn load_model(
        &mut self,
        files: Array,
        progress: &Function,
        weights: Option<String>,
    ) -> JsResult<JsValue> {
        self.stop();
        let mut sources: Vec<Rc<dyn Source>> = Vec::new();
        let mut clip_merges = None;
        for entry in files {
            let path = Reflect::get(&entry, &"path".into()).ok().and_then(|path| path.as_string());
            let blob = Reflect::get(&entry, &"blob".into()).ok().and_then(|b| b.dyn_into().ok());
            let (Some(path), Some(blob)) = (path, blob) else {
                return Err(JsError::new("loadModel takes a list of {path, blob}"));
            };
            let source = BlobSource::new(path, blob)?;
            // The page sends CLIP's own merges along with a single file, which brings none.
            if source.name() == CLIP_MERGES {
                clip_merges = Some(source.read_all()?);
            } else {
                sources.push(Rc::new(source));
            }
        }
        let checkpoint = Checkpoint::open(sources)?;
        let components = [&checkpoint.text_encoder, &checkpoint.unet, &checkpoint.vae];
        let stored = |component: &&crate::weights::Component| -> u64 {
            component.tensors.values().map(|tensor| tensor.info.bytes).sum()
        };
        let total: u64 = components.iter().map(stored).sum();
        let elements: usize = components
            .iter()
            .flat_map(|component| component.tensors.values())
            .map(|tensor| tensor.info.elements())
            .sum();
        let large = 4 * elements as u64 > LARGE_MODEL;
        let storage = storage(&self.device, weights.as_deref(), large)?;

        let before = std::cell::Cell::new(0);
        let last = std::cell::RefCell::new((String::new(), 0));
        let mut report_progress = |now: crate::layers::Progress<'_>| {
            let mut last = last.borrow_mut();
            if last.0 != now.component {
                before.set(before.get() + last.1);
                *last = (now.component.into(), 0);
            }
            last.1 = now.done;
            // What the page does with the numbers can't stop the loading.
            let _ = progress.call3(
                &JsValue::NULL,
                &((before.get() + now.done) as f64).into(),
                &(total as f64).into(),
                &now.component.into(),
            );
        };
        let (model, report) = StableDiffusion::load(
            &checkpoint,
            clip_merges.as_deref(),
            &self.device,
            storage,
            &mut report_progress,
        )?;

        let loaded = Loaded::new(report, &model, storage);
        self.training = None;
        self.model = Some(Rc::new(model));
        self.large = large;
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
        let model = self.model()?;
        let source = BlobSource::new(name, blob)?;
        // Factors are read many times over, tensor by tensor: one read of a file this small is
        // quicker than hundreds of slices.
        const SMALL: u64 = 512 << 20;
        let id = if source.len() <= SMALL {
            let mut bytes = vec![0; source.len() as usize];
            source.read(0, &mut bytes)?;
            model.add_adapter(&Bytes::new(source.name(), bytes), config.as_deref())?
        } else {
            model.add_adapter(&source, config.as_deref())?
        };
        #[derive(Serialize)]
        struct Added<'a> {
            id: u64,
            report: &'a crate::adapters::CoverageReport,
        }
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
        Ok(self.model()?.set_adapter(id as u64, enabled, unet, text_encoder)?)
    }

    /// Takes an adapter off.
    ///
    /// # Errors
    /// When there is no such adapter.
    #[wasm_bindgen(js_name = removeAdapter)]
    pub fn remove_adapter(&mut self, id: f64) -> JsResult<()> {
        Ok(self.model()?.remove_adapter(id as u64)?)
    }

    /// Starts a picture; see [`Settings`] for the fields. The seed may be a string, since
    /// JavaScript's numbers end at 2^53.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn start(&mut self, settings: JsValue) -> JsResult<()> {
        self.stop();
        self.job = Some(self.new_job(settings, None)?);
        Ok(())
    }

    /// Drops the picture in the making.
    pub fn stop(&mut self) {
        let borrowed = self.job.take().and_then(|job| job.borrowed);
        if let (Some(id), Some(model)) = (borrowed, &self.model) {
            // It can only be gone already.
            let _ = model.remove_adapter(id);
        }
    }

    /// Does the next block of work: `{kind: "progress", phase, step, steps, fraction, preview}` or
    /// `{kind: "done", width, height, rgba, seconds, truncated}`.
    ///
    /// # Errors
    /// When nothing was started or the device failed.
    pub async fn pull(&mut self) -> JsResult<JsValue> {
        let model = self.model()?;
        let job = self.job.as_mut().ok_or_else(|| JsError::new("no picture was started"))?;
        let step = job.work.advance()?;
        if step.phase == Phase::Denoise && step.preview.is_none() && job.slow {
            wait(&self.device).await?;
        }
        let event = Object::new();
        let set = |key: &str, value: JsValue| {
            Reflect::set(&event, &key.into(), &value).map_err(|_| unreadable(key))
        };
        if let Some(picture) = step.picture {
            let [_, _, height, width] = picture.dims();
            let pixels = to_rgba(&read(picture).await?, width, height);
            set("kind", "done".into())?;
            set("seconds", ((js_sys::Date::now() - job.started) / 1000.0).into())?;
            set("truncated", to_js(&job.work.truncated())?)?;
            set_picture(&event, &pixels)?;
            if let (Some(training), Some(_)) = (&mut self.training, job.borrowed) {
                training.pictured(read(job.work.latents()).await?);
            }
            self.stop();
            return Ok(event.into());
        }
        set("kind", "progress".into())?;
        let phase = match step.phase {
            Phase::Text => "text",
            Phase::Denoise => "denoise",
            Phase::Decode | Phase::Done => "decode",
        };
        set("phase", phase.into())?;
        set("step", (step.step as f64).into())?;
        set("steps", (step.steps as f64).into())?;
        set("fraction", step.fraction.into())?;
        if let Some(x0) = step.preview {
            let [_, _, height, width] = x0.dims();
            let preview = model.latent_rgb.preview(&read(x0).await?, width, height);
            let picture = Object::new();
            set_picture(&picture, &preview)?;
            set("preview", picture.into())?;
            let now = js_sys::Date::now();
            job.slow = self.gpu && now - job.step_started > SLOW_STEP;
            job.step_started = now;
        } else {
            set("preview", JsValue::NULL)?;
        }
        Ok(event.into())
    }
}

/// How weights are kept that are to be kept as `wanted`.
fn storage(device: &Device, wanted: Option<&str>, large: bool) -> Result<Storage, Error> {
    match wanted {
        None if large && Storage::halves_work(device) => Ok(Storage::F16),
        None | Some("f32") => Ok(Storage::F32),
        Some("f16") if Storage::halves_work(device) => Ok(Storage::F16),
        Some("q8") if Storage::halves_work(device) => Ok(Storage::Q8),
        Some(other) => {
            let problem = format!("can't be {other} on this device");
            Err(Error::setting("weights", problem, "Use f32, or f16 or q8 with kernels on"))
        }
    }
}

#[wasm_bindgen]
extern "C" {
    /// `web/module.js`: brings the functions that only a GPU's backend calls, where they are a module
    /// of their own. `xtask/src/split` has the stubs that stand for them call it too, by this name.
    #[wasm_bindgen(js_name = lorakeetGpuPart)]
    fn gpu_part();
}

/// Opens a device, and says whether it is a GPU.
pub(super) async fn open_device(backend: &str) -> JsResult<(Device, bool)> {
    match backend {
        "cpu" => Ok((Device::flex(), false)),
        "webgpu" => {
            gpu_part();
            gpu::set_software(software_adapter().await);
            let device = Device::wgpu_options().init_async().await.map_err(|error| {
                Error::device(
                    format!("WebGPU can't be started: {error}"),
                    "Add ?backend=cpu to the page's address to run without a GPU",
                )
            })?;
            gpu::set_native_halves(device.supports_dtype(DType::F16));
            Ok((device, true))
        }
        other => {
            let problem = format!("there is no backend {other}");
            Err(Error::setting("backend", problem, "Use webgpu or cpu").into())
        }
    }
}

impl Engine {
    /// A picture to be made; `borrowed` goes off the model when it is done or dropped.
    pub(super) fn new_job(&self, settings: JsValue, borrowed: Option<u64>) -> JsResult<Job> {
        let seed = Reflect::get(&settings, &"seed".into()).unwrap_or_default();
        let seed = match (seed.as_string(), seed.as_f64()) {
            (Some(text), _) => text.trim().parse::<u64>().ok(),
            (None, Some(number)) if number >= 0.0 && number.fract() == 0.0 => Some(number as u64),
            _ => None,
        };
        let seed = seed.ok_or_else(|| {
            Error::setting("seed", "is not a whole number of at least 0", "Use digits alone")
        })?;
        let mut settings: Settings = {
            let copy = Object::assign(&Object::new(), settings.unchecked_ref());
            Reflect::set(&copy, &"seed".into(), &0.into()).map_err(|_| unreadable("seed"))?;
            serde_wasm_bindgen::from_value(copy.into()).map_err(|error| {
                Error::setting("settings", error.to_string(), "Check the values in the form")
            })?
        };
        settings.seed = seed;
        let model = self.model()?;
        let (width, height) = (settings.width, settings.height);
        let needed = model.largest_tensor(width, height, settings.guidance > 1.0);
        if let Some(most) = self.largest_buffer.filter(|&most| needed > most) {
            let mebi = |bytes: u64| bytes.div_ceil(1 << 20);
            return Err(Error::setting(
                "size",
                format!(
                    "{width}x{height} takes a buffer of {} MiB, and this GPU one of at most {} MiB",
                    mebi(needed),
                    most >> 20
                ),
                "Choose a smaller picture, or add ?backend=cpu to the page's address",
            )
            .into());
        }
        let work = TextToImage::new(model, settings, None)?;
        let now = js_sys::Date::now();
        Ok(Job { work, borrowed, started: now, step_started: now, slow: false })
    }
}

/// What the page shows of a model (`ModelReport` in `web/protocol.js`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Loaded {
    name: String,
    components: Vec<Component>,
    unused: Vec<String>,
    notes: Vec<String>,
    scheduler: &'static str,
    schedulers: Vec<Scheduler>,
    native: Size,
    prediction_type: String,
}

#[derive(Serialize)]
struct Component {
    name: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Scheduler {
    id: &'static str,
    label: &'static str,
}

#[derive(Serialize)]
struct Size {
    width: usize,
    height: usize,
}

impl Loaded {
    fn new(report: ModelReport, model: &StableDiffusion, storage: Storage) -> Self {
        let unused = report.components.iter().flat_map(|component| component.unused.clone());
        let unused = unused.chain(report.ignored).collect();
        let mut notes = report.notes;
        match storage {
            Storage::F32 => {}
            Storage::F16 => notes.push("Weights are kept in half precision".into()),
            Storage::Q8 => notes.push("Weights are kept in 8 bits, some in half precision".into()),
        }
        let component = |report: LoadReport| Component {
            name: report.component.replace('_', " "),
            tensors: report.used,
            parameters: report.parameters,
            bytes: report.bytes,
        };
        let size = model.native_size();
        let prediction = model.scheduler_config.prediction_type.as_deref();
        Self {
            name: report.name,
            components: report.components.into_iter().map(component).collect(),
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
}

/// The name under which the page sends CLIP's vocabulary along.
const CLIP_MERGES: &str = "clip-vocabulary/merges.txt";

impl Engine {
    pub(super) fn model(&self) -> JsResult<Rc<StableDiffusion>> {
        self.model.clone().ok_or_else(|| {
            Error::file("no model", "has been loaded yet", "Load a model first").into()
        })
    }
}

pub(super) fn unreadable(key: &str) -> JsError {
    JsError::new(&format!("can't set {key}"))
}

/// Serialises as plain objects and arrays.
pub(super) fn to_js<T: Serialize + ?Sized>(value: &T) -> JsResult<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(|error| JsError::new(&error.to_string()))
}

pub(super) fn set_picture(object: &Object, picture: &Rgba) -> JsResult<()> {
    let bytes = Uint8ClampedArray::from(picture.bytes.as_slice());
    for (key, value) in [
        ("width", JsValue::from(picture.width as f64)),
        ("height", JsValue::from(picture.height as f64)),
        ("rgba", bytes.into()),
    ] {
        Reflect::set(object, &key.into(), &value).map_err(|_| unreadable(key))?;
    }
    Ok(())
}

pub(super) async fn read<const D: usize>(tensor: Tensor<D>) -> JsResult<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|error| lost(&error.to_string()))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| lost(&format!("{error:?}")))
}

/// Waits until the device has done everything queued so far.
pub(super) async fn wait(device: &Device) -> JsResult<()> {
    read(Tensor::<1>::zeros([1], device)).await.map(|_| ())
}

fn lost(error: &str) -> JsError {
    Error::device(
        format!("the GPU failed: {error}"),
        "Try a smaller picture, or add ?backend=cpu to the page's address",
    )
    .into()
}

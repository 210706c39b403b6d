//! What JavaScript gets for a call. `web/protocol.js` documents the same for the page.

use js_sys::{Uint8Array, Uint8ClampedArray};
use serde::{Deserialize, Serialize};

use super::device::OpenDevice;
use crate::adapters::CoverageReport;
use crate::image::Rgba;
use crate::layers::{LoadReport, Storage};
use crate::pipelines::Phase;
use crate::pipelines::memory::Sizes;
use crate::schedulers::{Levels, SchedulerKind};
use crate::training::{Estimate, StepReport, evaluation, leave_one_out};
use crate::weights::Family;

/// How weights are kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weights {
    /// f32.
    F32,
    /// Halves.
    F16,
    /// 8-bit blocks.
    Q8,
}

impl From<Storage> for Weights {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::F32 => Self::F32,
            Storage::F16 => Self::F16,
            Storage::Q8 => Self::Q8,
        }
    }
}

impl From<Weights> for Storage {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Self::F32,
            Weights::F16 => Self::F16,
            Weights::Q8 => Self::Q8,
        }
    }
}

/// Bytes that weights take, by how they are kept.
#[derive(Serialize)]
pub(super) struct Bytes {
    f32: u64,
    f16: u64,
    q8: u64,
}

impl From<Sizes> for Bytes {
    fn from(Sizes { f32, f16, q8 }: Sizes) -> Self {
        Self { f32, f16, q8 }
    }
}

/// What there is for a model, in bytes.
#[derive(Serialize)]
pub(super) struct Offer {
    total: Option<u64>,
    free: Option<u64>,
    buffer: Option<u64>,
    /// Whether a person set a limit.
    limited: bool,
}

impl Offer {
    /// Of a device of which so many bytes are in use.
    pub(super) fn new(device: &OpenDevice, taken: u64) -> Self {
        let offer = device.offer(taken);
        Self {
            total: offer.total,
            free: offer.free(),
            buffer: offer.buffer,
            limited: device.limit.is_some(),
        }
    }
}

/// A model that can be loaded.
#[derive(Serialize)]
pub(super) struct Judged {
    pub(super) bytes: Bytes,
    pub(super) weights: Weights,
    pub(super) words: String,
    pub(super) offer: Offer,
    pub(super) anew: bool,
}

/// What the engine holds.
#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) model: Option<Kept>,
    pub(super) held: u64,
    /// The module's own heap: what it has grown to, and the most that was in use since the last
    /// load, picture or run began.
    pub(super) heap: u64,
    pub(super) peak: u64,
    pub(super) offer: Offer,
}

/// A loaded model's weights.
#[derive(Serialize)]
pub(super) struct Kept {
    pub(super) weights: Weights,
    pub(super) bytes: u64,
    pub(super) sizes: Bytes,
}

/// A model, as the page shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) components: Vec<Component>,
    /// Keys that nothing has a place for.
    pub(super) unused: Vec<String>,
    pub(super) notes: Vec<String>,
    /// The model's own scheduler.
    pub(super) scheduler: &'static str,
    pub(super) schedulers: Vec<Scheduler>,
    /// How noise levels can lie.
    pub(super) schedules: Vec<Schedule>,
    pub(super) native: Size,
    pub(super) family: Family,
    pub(super) prediction_type: String,
}

/// What one component brought.
#[derive(Serialize)]
pub(super) struct Component {
    name: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

impl From<LoadReport> for Component {
    fn from(report: LoadReport) -> Self {
        Self {
            name: report.component.replace('_', " "),
            tensors: report.used,
            parameters: report.parameters,
            bytes: report.bytes,
        }
    }
}

/// One to choose.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scheduler {
    id: &'static str,
    label: &'static str,
    group: &'static str,
    /// What it is for.
    about: &'static str,
    /// Whether it goes down any schedule.
    takes_schedule: bool,
}

impl From<SchedulerKind> for Scheduler {
    fn from(kind: SchedulerKind) -> Self {
        Self {
            id: kind.name(),
            label: kind.label(),
            group: kind.group(),
            about: kind.about(),
            takes_schedule: kind.takes_levels(),
        }
    }
}

/// One to choose.
#[derive(Serialize)]
pub(super) struct Schedule {
    id: &'static str,
    label: &'static str,
    about: &'static str,
}

impl From<Levels> for Schedule {
    fn from(levels: Levels) -> Self {
        Self { id: levels.name(), label: levels.label(), about: levels.about() }
    }
}

/// In pixels.
#[derive(Serialize)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

/// An adapter that was attached.
#[derive(Serialize)]
pub(super) struct Added<'a> {
    pub(super) id: u64,
    pub(super) report: &'a CoverageReport,
    /// The model's blocks that it acts in, by the names of `Spread::blocks`.
    pub(super) blocks: Vec<&'a str>,
}

/// A picture, for a canvas.
#[derive(Serialize)]
pub(super) struct Pixels {
    width: usize,
    height: usize,
    #[serde(with = "serde_wasm_bindgen::preserve")]
    rgba: Uint8ClampedArray,
}

impl From<Rgba> for Pixels {
    fn from(picture: Rgba) -> Self {
        let rgba = Uint8ClampedArray::from(picture.bytes.as_slice());
        Self { width: picture.width, height: picture.height, rgba }
    }
}

/// A file, for the page to keep.
#[derive(Serialize)]
pub(super) struct File {
    pub(super) name: String,
    #[serde(with = "serde_wasm_bindgen::preserve")]
    pub(super) bytes: Uint8Array,
}

/// Several of them.
#[derive(Serialize)]
pub(super) struct Files {
    pub(super) files: Vec<File>,
}

/// What a pull did for a picture.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Drawn {
    /// It is under way.
    Progress { phase: PhaseName, step: usize, steps: usize, fraction: f64, preview: Option<Pixels> },
    /// It is there.
    Done {
        #[serde(flatten)]
        picture: Pixels,
        seconds: f64,
        notes: Vec<String>,
    },
}

/// What a pull worked on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum PhaseName {
    /// The prompts.
    Text,
    /// The picture that it starts from.
    Encode,
    /// The latents.
    Denoise,
    /// The picture.
    Decode,
}

impl From<Phase> for PhaseName {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Text => Self::Text,
            Phase::Encode => Self::Encode,
            Phase::Denoise => Self::Denoise,
            Phase::Decode | Phase::Done => Self::Decode,
        }
    }
}

/// What is to be known of a picture before it is trained on.
#[derive(Serialize)]
pub(super) struct Inspected<'a> {
    pub(super) name: &'a str,
    pub(super) warnings: Vec<String>,
}

/// What a pull did for a run's pictures.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Prepared {
    /// One is ready.
    Progress { done: usize, total: usize, what: String },
    /// All are.
    Ready { summary: Estimate },
}

/// A step, timed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    pub(super) seconds_per_step: f64,
    /// As it was told.
    pub(super) bytes: u64,
    pub(super) peak_bytes: Option<u64>,
}

/// One optimiser step.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stepped {
    pub(super) kind: &'static str,
    #[serde(flatten)]
    pub(super) report: StepReport,
    pub(super) seconds: f64,
    pub(super) peak_bytes: Option<u64>,
    pub(super) finished: bool,
    pub(super) due: Due,
    pub(super) thumbnail: Option<Pixels>,
}

/// What is to be done before the next step.
#[derive(Serialize)]
pub(super) struct Due {
    pub(super) snapshot: bool,
    pub(super) preview: bool,
}

/// What is to be measured before the next step.
#[derive(Serialize)]
pub(super) struct Owed {
    pub(super) evaluation: bool,
    /// Why one that is due is left out.
    pub(super) unmeasured: Option<&'static str>,
}

/// What a pull did for an evaluation.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Evaluated {
    /// It is under way.
    Progress { fraction: f64 },
    /// It is there.
    Evaluation {
        #[serde(flatten)]
        report: evaluation::Report,
        copying: Option<Copying>,
    },
}

/// A training picture that the last one drawn resembles most.
#[derive(Serialize)]
pub(super) struct Copying {
    pub(super) name: String,
    pub(super) similarity: f64,
}

/// What a pull did for pictures that are left out in turn.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum LeftOut {
    /// It is under way.
    Progress(leave_one_out::Progress),
    /// All are judged.
    LeaveOneOut(leave_one_out::Report),
}

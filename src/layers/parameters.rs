//! From a checkpoint's bytes to a model's tensors, one at a time: the wasm heap never holds more
//! than the tensor in hand.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{Site, Slot, Weight};
use crate::error::{Error, Result};
use crate::kernels::{self, Blocks};
use crate::weights::{Component, Dtype, Source, Stored, to_f32};

/// How the weights of linear layers and convolutions lie in the device's memory. Arithmetic is f32 in
/// any case, and so is everything small: biases, norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Widened to f32 when they are loaded.
    F32,
    /// Halves, which are widened when a layer is used: half the memory. f16 stays what it is, other
    /// types are rounded, unless a number is too large for f16.
    F16,
    /// 8-bit blocks where rows are whole blocks, of linear layers and of convolutions of size 1; the
    /// others are halves.
    Q8,
}

impl Storage {
    /// Whether weights in halves can be used on a device.
    pub fn halves_work(device: &Device) -> bool {
        kernels::read_halves(device) || device.supports_dtype(DType::F16)
    }
}

/// How far loading has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Bytes read so far of this component.
    pub done: u64,
    /// Bytes there are.
    pub total: u64,
    /// The component: `unet`, `text_encoder` or `vae`.
    pub component: &'a str,
}

/// What loading a component found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoadReport {
    /// The component's name.
    pub component: String,
    /// Tensors that the model asked for and got.
    pub used: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them in the file.
    pub bytes: u64,
    /// Keys that the model needs and the file lacks, with the shape wanted.
    pub missing: Vec<String>,
    /// Keys in the file that the model has no place for.
    pub unused: Vec<String>,
    /// Keys whose shape isn't the model's, with both shapes.
    pub misshapen: Vec<String>,
    /// Keys that hold NaN or infinity.
    pub not_finite: Vec<String>,
}

impl LoadReport {
    /// An error that names what is wrong, unless every tensor was found, fits and is finite.
    ///
    /// # Errors
    /// Names the file and the first keys at fault.
    pub fn check(&self, file: &str) -> Result<()> {
        let complaint = |what: &str, keys: &[String], remedy: &str| {
            let more = keys.len().saturating_sub(3);
            let shown = keys.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Error::file(
                file,
                format!("{} tensors of the {} {what}: {shown}{tail}", keys.len(), self.component),
                remedy,
            ))
        };
        if !self.missing.is_empty() {
            return complaint(
                "are missing",
                &self.missing,
                "The file is incomplete or belongs to another kind of model",
            );
        }
        if !self.misshapen.is_empty() {
            return complaint(
                "have another shape than the config asks for",
                &self.misshapen,
                "Check that config.json and weights belong together",
            );
        }
        if !self.not_finite.is_empty() {
            return complaint(
                "hold NaN or infinity",
                &self.not_finite,
                "The file is broken, perhaps by a merge or conversion: get another copy",
            );
        }
        Ok(())
    }
}

struct State<'a> {
    used: BTreeSet<String>,
    report: LoadReport,
    slots: BTreeMap<String, Slot>,
    sites: Vec<Site>,
    failure: Option<Error>,
    done: u64,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

struct Shared<'a> {
    component: &'a Component,
    sources: &'a [Rc<dyn Source>],
    device: &'a Device,
    storage: Storage,
    total: u64,
    state: RefCell<State<'a>>,
}

/// A place in a component's tree of parameters, such as `down_blocks.0`.
#[derive(Clone)]
pub struct Parameters<'a> {
    shared: Rc<Shared<'a>>,
    path: String,
}

impl<'a> Parameters<'a> {
    /// The root of a component.
    pub fn new(
        component: &'a Component,
        sources: &'a [Rc<dyn Source>],
        device: &'a Device,
        storage: Storage,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Self {
        let total = component.tensors.values().map(|stored| stored.info.bytes).sum();
        let report = LoadReport { component: component.name.into(), ..LoadReport::default() };
        let state = State {
            used: BTreeSet::new(),
            report,
            slots: BTreeMap::new(),
            sites: Vec::new(),
            failure: None,
            done: 0,
            progress,
        };
        let shared =
            Shared { component, sources, device, storage, total, state: RefCell::new(state) };
        Self { shared: Rc::new(shared), path: String::new() }
    }

    /// For a model that is loaded once more: its layers take up the slots that they had, and with
    /// them whatever is attached.
    pub fn reuse_slots(&self, sites: &[Site]) {
        let slots = sites.iter().map(|site| (site.path.clone(), site.slot.clone()));
        self.shared.state.borrow_mut().slots.extend(slots);
    }

    /// One level down.
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { shared: self.shared.clone(), path: self.key(name) }
    }

    /// The device that tensors are loaded to.
    pub fn device(&self) -> &Device {
        self.shared.device
    }

    /// Whether the checkpoint has a tensor of this name here: for parts that are optional.
    pub fn has(&self, name: &str) -> bool {
        self.shared.component.tensors.contains_key(&self.key(name))
    }

    /// Loads a tensor in f32. One that is missing, misshapen or not finite goes into the report and
    /// zeros stand in for it, so that one pass finds everything that is wrong.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let device = self.shared.device;
        match self.bytes(name, &shape) {
            Some((dtype, bytes)) => {
                Tensor::from_data(TensorData::new(to_f32(dtype, &bytes), shape), device)
            }
            None => Tensor::zeros(shape, device),
        }
    }

    /// Loads a layer's weight `[out, ..]` likewise, as it is to be stored.
    pub fn weight<const D: usize>(&self, name: &str, shape: [usize; D]) -> Weight<D> {
        let Shared { device, storage, .. } = *self.shared;
        if storage == Storage::F32 {
            return Weight::new(self.tensor(name, shape));
        }
        let Some((dtype, bytes)) = self.bytes(name, &shape) else {
            return Weight::new(Tensor::zeros(shape, device));
        };
        let row: usize = shape[1..].iter().product();
        if storage == Storage::Q8 && row == shape[1] && Blocks::fit(row) {
            let blocks = Blocks::new(&to_f32(dtype, &bytes), [shape[0], row], device);
            return Weight::in_blocks(blocks, shape);
        }
        let halves = match dtype {
            Dtype::F16 => Ok(bytes),
            _ => to_halves(to_f32(dtype, &bytes)),
        };
        // Without a type of its own `from_data` would turn f16 into the device's default float.
        Weight::new(match halves {
            Ok(halves) => {
                let data = TensorData::from_bytes_vec(halves, shape, DType::F16);
                Tensor::from_data(data, (device, DType::F16))
            }
            Err(wide) => Tensor::from_data(TensorData::new(wide, shape), device),
        })
    }

    /// Loads a tensor's bytes to the host, for tables that stay there (token embeddings).
    pub fn host(&self, name: &str, shape: [usize; 2]) -> (Dtype, Vec<u8>) {
        self.bytes(name, &shape).unwrap_or((Dtype::F32, vec![0; shape[0] * shape[1] * 4]))
    }

    /// An attach point for the layer here, of weight `[out, in]` or `[out, in, kh, kw]`; the loader
    /// lists it under this path.
    pub fn slot<const D: usize>(&self, weight: &Weight<D>) -> Slot {
        let mut state = self.shared.state.borrow_mut();
        let slot = state.slots.get(&self.path).cloned().unwrap_or_default();
        state.sites.push(Site::new(self.path.clone(), slot.clone(), weight));
        slot
    }

    /// Ends loading: what was found, and every adaptable layer.
    ///
    /// # Errors
    /// When a source could not be read.
    pub fn finish(self) -> Result<(LoadReport, Vec<Site>)> {
        let mut state = self.shared.state.borrow_mut();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let mut report = std::mem::take(&mut state.report);
        let used = |key: &&String| !state.used.contains(*key);
        report.unused = self.shared.component.tensors.keys().filter(used).cloned().collect();
        Ok((report, std::mem::take(&mut state.sites)))
    }

    fn key(&self, name: impl std::fmt::Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn bytes(&self, name: &str, shape: &[usize]) -> Option<(Dtype, Vec<u8>)> {
        let key = self.key(name);
        let mut state = self.shared.state.borrow_mut();
        let Some(stored @ Stored { source, info, .. }) = self.shared.component.tensors.get(&key)
        else {
            state.report.missing.push(format!("{key} {shape:?}"));
            return None;
        };
        state.used.insert(key.clone());
        if !same_shape(&info.shape, shape) {
            state.report.misshapen.push(format!("{key} is {:?}, not {shape:?}", info.shape));
            return None;
        }
        let mut bytes = vec![0; info.bytes as usize];
        if let Err(error) = self.shared.sources[*source].read(info.offset, &mut bytes) {
            state.failure.get_or_insert(error);
            return None;
        }
        if !all_finite(info.dtype, &bytes) {
            state.report.not_finite.push(key);
            return None;
        }
        state.report.used += 1;
        state.report.parameters += info.elements() as u64;
        state.report.bytes += info.bytes;
        state.done += info.bytes;
        let done = state.done;
        (state.progress)(Progress {
            done,
            total: self.shared.total,
            component: self.shared.component.name,
        });
        Some(stored.unscaled(bytes))
    }
}

/// The bytes of halves, or the numbers as they were where one is too large for a half.
fn to_halves(values: Vec<f32>) -> std::result::Result<Vec<u8>, Vec<f32>> {
    let halves: Vec<_> = values.iter().map(|&value| half::f16::from_f32(value)).collect();
    if halves.iter().all(|half| half.is_finite()) {
        Ok(halves.into_iter().flat_map(half::f16::to_le_bytes).collect())
    } else {
        Err(values)
    }
}

/// Equal but for trailing ones: a 1x1 convolution's `[o, i, 1, 1]` is a linear layer's `[o, i]`.
fn same_shape(stored: &[usize], wanted: &[usize]) -> bool {
    let trim = |shape: &[usize], least: usize| {
        let end = shape.iter().rposition(|&dim| dim != 1).map_or(0, |last| last + 1);
        shape[..end.max(least).min(shape.len())].to_vec()
    };
    let least = stored.len().min(wanted.len()).min(2);
    stored == wanted || trim(stored, least) == trim(wanted, least)
}

/// Whether no element is NaN or infinite: in every float format that is an exponent of all ones.
fn all_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    let pairs = |mask: u16| {
        bytes.chunks_exact(2).all(|pair| u16::from_le_bytes([pair[0], pair[1]]) & mask != mask)
    };
    match dtype {
        Dtype::F16 => pairs(0x7C00),
        Dtype::BF16 => pairs(0x7F80),
        Dtype::F32 | Dtype::F64 | Dtype::F8E4M3 | Dtype::F8E5M2 => {
            to_f32(dtype, bytes).iter().all(|value| value.is_finite())
        }
        _ => true,
    }
}

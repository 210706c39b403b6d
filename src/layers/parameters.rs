//! From a checkpoint's bytes to a model's tensors, one at a time: the wasm heap never holds more
//! than the tensor in hand.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::storage::Form;
use super::{LoadReport, Site, Slot, Storage, Weight};
use crate::error::{Error, Result};
use crate::kernels::Blocks;
use crate::weights::{Component, Dtype, Source, Stored, TensorInfo, to_f32};

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

struct State<'a> {
    used: BTreeSet<String>,
    report: LoadReport,
    slots: BTreeMap<String, Slot>,
    sites: Vec<Site>,
    failure: Option<Error>,
    done: u64,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

/// Where tensors are read from, and how they are kept.
struct Reading<'a> {
    sources: &'a [Rc<dyn Source>],
    storage: Storage,
}

struct Shared<'a> {
    component: &'a Component,
    device: &'a Device,
    /// Nothing where names and shapes are only compared.
    reading: Option<Reading<'a>>,
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
        Self::root(component, device, Some(Reading { sources, storage }), progress)
    }

    /// The root of a component whose names and shapes are to be compared with a model's, which is
    /// built for that of placeholders: nothing is read, and next to nothing is allocated.
    pub fn dry(
        component: &'a Component,
        device: &'a Device,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Self {
        Self::root(component, device, None, progress)
    }

    fn root(
        component: &'a Component,
        device: &'a Device,
        reading: Option<Reading<'a>>,
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
        let shared = Shared { component, device, reading, total, state: RefCell::new(state) };
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

    /// Loads a tensor in f32. One that is missing, misshapen or not finite goes into the report and a
    /// placeholder stands in for it, so that one pass finds everything that is wrong.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let device = self.shared.device;
        match self.bytes(name, &shape) {
            Some((dtype, bytes)) => {
                Tensor::from_data(TensorData::new(to_f32(dtype, &bytes), shape), device)
            }
            None => placeholder(device),
        }
    }

    /// Loads a layer's weight `[out, ..]` likewise, as it is to be stored.
    pub fn weight<const D: usize>(&self, name: &str, shape: [usize; D]) -> Weight<D> {
        let device = self.shared.device;
        let Some(reading) = &self.shared.reading else {
            // Only to be looked for.
            return Weight::new(self.tensor(name, shape));
        };
        let form = reading.storage.form(&shape);
        if form == Form::Full {
            return Weight::new(self.tensor(name, shape));
        }
        let Some((dtype, bytes)) = self.bytes(name, &shape) else {
            return Weight::new(placeholder(device));
        };
        // Without a type of its own `from_data` would turn f16 into the device's default float.
        let halves = |bytes| {
            let data = TensorData::from_bytes_vec(bytes, shape, DType::F16);
            Weight::new(Tensor::from_data(data, (device, DType::F16)))
        };
        if form == Form::Halves && dtype == Dtype::F16 {
            return halves(bytes);
        }
        let values = to_f32(dtype, &bytes);
        drop(bytes);
        if form == Form::Blocks {
            let blocks = Blocks::new(&values, &shape, device);
            self.rounded(name, &values, blocks.error());
            return Weight::in_blocks(blocks, shape);
        }
        match to_halves(&values) {
            Some((rounded, changed)) => {
                self.rounded(name, &values, changed);
                halves(rounded)
            }
            None => {
                self.shared.state.borrow_mut().report.wide.push(self.key(name));
                Weight::new(Tensor::from_data(TensorData::new(values, shape), device))
            }
        }
    }

    /// Notes what rounding a weight changed: a sum of squares.
    fn rounded(&self, name: &str, values: &[f32], changed: f64) {
        if changed > 0.0 {
            let squares = sum_of_squares(values.iter().copied());
            let report = &mut self.shared.state.borrow_mut().report;
            report.rounding.get_or_insert_default().add(&self.key(name), squares, changed);
        }
    }

    /// Loads a tensor's bytes to the host, for tables that stay there (token embeddings).
    pub fn host(&self, name: &str, shape: [usize; 2]) -> (Dtype, Vec<u8>) {
        self.bytes(name, &shape).unwrap_or((Dtype::F32, Vec::new()))
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

    /// The tensor's place, unless it is missing or has another shape.
    fn find(&self, key: &str, shape: &[usize]) -> Option<&'a Stored> {
        let component: &'a Component = self.shared.component;
        let state = &mut *self.shared.state.borrow_mut();
        let Some(stored) = component.tensors.get(key) else {
            state.report.missing.push(format!("{key} {shape:?}"));
            return None;
        };
        state.used.insert(key.into());
        if !same_shape(&stored.info.shape, shape) {
            let found = &stored.info.shape;
            state.report.misshapen.push(format!("{key} is {found:?}, not {shape:?}"));
            return None;
        }
        Some(stored)
    }

    fn bytes(&self, name: &str, shape: &[usize]) -> Option<(Dtype, Vec<u8>)> {
        let key = self.key(name);
        let stored = self.find(&key, shape)?;
        let Stored { source, info, .. } = stored;
        let Some(reading) = &self.shared.reading else {
            self.count(info);
            return None;
        };
        let mut bytes = vec![0; info.bytes as usize];
        if let Err(error) = reading.sources[*source].read(info.offset, &mut bytes) {
            self.shared.state.borrow_mut().failure.get_or_insert(error);
            return None;
        }
        if !all_finite(info.dtype, &bytes) {
            self.shared.state.borrow_mut().report.not_finite.push(key);
            return None;
        }
        self.count(info);
        Some(stored.unscaled(bytes))
    }

    fn count(&self, info: &TensorInfo) {
        let state = &mut *self.shared.state.borrow_mut();
        state.report.used += 1;
        state.report.parameters += info.elements() as u64;
        state.report.bytes += info.bytes;
        state.done += info.bytes;
        (state.progress)(Progress {
            done: state.done,
            total: self.shared.total,
            component: self.shared.component.name,
        });
    }
}

/// What stands in for a tensor that isn't there.
fn placeholder<const D: usize>(device: &Device) -> Tensor<D> {
    Tensor::zeros([1; D], device)
}

/// The bytes of halves and what rounding changed, a sum of squares, unless one of the numbers is too
/// large for a half.
fn to_halves(values: &[f32]) -> Option<(Vec<u8>, f64)> {
    let halves: Vec<_> = values.iter().map(|&value| half::f16::from_f32(value)).collect();
    if !halves.iter().all(|half| half.is_finite()) {
        return None;
    }
    let changes = values.iter().zip(&halves).map(|(value, half)| value - half.to_f32());
    let changed = sum_of_squares(changes);
    Some((halves.into_iter().flat_map(half::f16::to_le_bytes).collect(), changed))
}

fn sum_of_squares(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum()
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

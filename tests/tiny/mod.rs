//! Tiny models whose weights are drawn, not stored: the same numbers as in
//! `fixtures/models/tiny.py`.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod clip;

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::adapters::{self, AdapterFile, Part};
use lorakeet::error::Result;
use lorakeet::layers::{LoadReport, Parameters, Site, Storage};
use lorakeet::noise::TorchGenerator;
use lorakeet::weights::{Bytes, Component, Source};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::Deserialize;
use serde_json::Value;

/// Shape and row-major values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// Tensors by name: a file to be.
pub type Values = BTreeMap<String, Host>;

/// One row of `fixtures/models/cases.json`.
#[derive(Deserialize)]
pub struct Case {
    pub class: String,
    pub config: Value,
    pub seed: u64,
    bits: u32,
    inputs: BTreeMap<String, Vec<usize>>,
    scale: f32,
    pub outputs: Vec<String>,
    weights: BTreeMap<String, Vec<usize>>,
    #[serde(default)]
    pub ids: Vec<Vec<u32>>,
    #[serde(default)]
    pub timesteps: Vec<f64>,
}

impl Case {
    /// Its weights. They are PyTorch's bit for bit, or nothing that is made of them can be right.
    pub fn weights(&self) -> Values {
        let mut generator = TorchGenerator::new(self.seed);
        let draw = |(name, shape): (&String, &Vec<usize>)| {
            (name.clone(), draw(name, shape, &mut generator))
        };
        let weights: Values = self.weights.iter().map(draw).collect();
        let numbers = weights.values().flat_map(|host| &host.data);
        let bits = numbers.fold(0u32, |sum, number| sum.wrapping_add(number.to_bits()));
        assert_eq!(bits, self.bits, "the weights aren't those of generate.py");
        weights
    }

    /// Its inputs; embeddings are of unit size, feature maps as quiet as the case wants.
    pub fn inputs(&self) -> Values {
        let mut generator = TorchGenerator::new(self.seed + 1000);
        let draw = |(name, shape): (&String, &Vec<usize>)| {
            let scale = if ["emb", "context"].contains(&name.as_str()) { 1.0 } else { self.scale };
            let z = generator.randn(shape.iter().product());
            let data = z.into_iter().map(|z| z * scale).collect();
            (name.clone(), Host { shape: shape.clone(), data })
        };
        self.inputs.iter().map(draw).collect()
    }
}

/// All cases of `fixtures/models/cases.json`.
pub fn cases() -> BTreeMap<String, Case> {
    #[derive(Deserialize)]
    struct Cases {
        cases: BTreeMap<String, Case>,
    }
    serde_json::from_slice::<Cases>(&read("models/cases.json")).unwrap().cases
}

/// Matrices and kernels by 1 / sqrt(fan in), norm weights 1 + 0.1 z, biases 0.1 z.
pub fn draw(name: &str, shape: &[usize], generator: &mut TorchGenerator) -> Host {
    let z = generator.randn(shape.iter().product());
    let scale = |factor: f32| move |z: f32| z * factor;
    let data = if shape.len() > 1 {
        let fan_in: usize = shape[1..].iter().product();
        z.into_iter().map(scale((1.0 / (fan_in as f64).sqrt()) as f32)).collect()
    } else if name.ends_with("weight") {
        z.into_iter().map(|z| z * 0.1 + 1.0).collect()
    } else {
        z.into_iter().map(scale(0.1)).collect()
    };
    Host { shape: shape.to_vec(), data }
}

/// A file below `fixtures/`.
pub fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The f32 tensors of a safetensors file below `fixtures/`.
pub fn read_values(path: &str) -> Values {
    let bytes = read(path);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let host = |(name, tensor): (String, TensorView)| {
        let floats = (tensor.dtype() == Dtype::F32).then(|| floats(tensor.data()))?;
        Some((name, Host { shape: tensor.shape().to_vec(), data: floats }))
    };
    tensors.tensors().into_iter().filter_map(host).collect()
}

/// The tensors below a prefix.
pub fn below(values: &Values, prefix: &str) -> Values {
    let inner =
        |(key, host): (&String, &Host)| Some((key.strip_prefix(prefix)?.to_string(), host.clone()));
    values.iter().filter_map(inner).collect()
}

/// An f32 safetensors file.
pub fn file(values: &Values) -> Vec<u8> {
    file_with(values, &[])
}

/// An f32 safetensors file with metadata.
pub fn file_with(values: &Values, metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = values
        .values()
        .map(|host| host.data.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = values.iter().zip(&bytes).map(|((name, host), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, host.shape.clone(), bytes).unwrap())
    });
    let pair = |&(key, value): &(&str, &str)| (key.to_string(), value.to_string());
    let metadata = (!metadata.is_empty()).then(|| metadata.iter().map(pair).collect());
    serialize(views, metadata).unwrap()
}

/// A source with a name.
pub fn source(name: &str, bytes: impl Into<Vec<u8>>) -> Rc<dyn Source> {
    Rc::new(Bytes::new(name, bytes))
}

/// Builds something from a file's bytes through the real loading code.
pub fn load_with<M>(
    component: &Component,
    source: Rc<dyn Source>,
    storage: Storage,
    build: impl FnOnce(&Parameters) -> M,
) -> (M, LoadReport, Vec<Site>) {
    let (device, sources) = (Device::flex(), [source]);
    let mut ignore = |_: lorakeet::layers::Progress<'_>| {};
    let parameters = Parameters::new(component, &sources, &device, storage, &mut ignore);
    let model = build(&parameters);
    let (report, sites) = parameters.finish().unwrap();
    (model, report, sites)
}

/// As [`load_with`], of weights that must be complete and all of use.
pub fn load<M>(weights: &Values, build: impl FnOnce(&Parameters) -> M) -> (M, Vec<Site>) {
    let source = source("weights.safetensors", file(weights));
    let component = Component::from_safetensors("block", source.as_ref(), Value::Null).unwrap();
    let (model, report, sites) = load_with(&component, source, Storage::F32, build);
    report.check("weights.safetensors").unwrap();
    assert_eq!(report.unused, Vec::<String>::new());
    (model, sites)
}

/// A tensor on the CPU.
pub fn tensor<const D: usize>(host: &Host) -> Tensor<D> {
    let data = TensorData::new(host.data.clone(), host.shape.clone());
    Tensor::from_data(data, &Device::flex())
}

/// A tensor's shape and values.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Host {
    let shape = tensor.dims().to_vec();
    let data = tensor.into_data().convert::<f32>().try_into_vec::<f32>().unwrap();
    Host { shape, data }
}

/// The largest difference, relative to the largest absolute value expected.
pub fn distance(ours: &Host, expected: &Host) -> f64 {
    assert_eq!(ours.shape, expected.shape);
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        // `f32::max` would lose a NaN.
        let larger = |most: f32, value: f32| {
            if most.is_nan() || value.abs() <= most { most } else { value.abs() }
        };
        values.fold(0f32, larger)
    };
    let off = largest(&mut ours.data.iter().zip(&expected.data).map(|(a, b)| a - b));
    f64::from(off) / f64::from(largest(&mut expected.data.iter().copied()))
}

/// Reads an adapter's file for a UNet of one layer.
pub fn read_for(shape: &[usize], adapter: &Values, config: Option<&Value>) -> Result<AdapterFile> {
    let source = Bytes::new("style.safetensors", file(adapter));
    let sites =
        [adapters::file::Site { part: Part::UNet, path: "proj_in".into(), shape: shape.to_vec() }];
    adapters::file::read(&source, config, &sites, None)
}

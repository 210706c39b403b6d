//! SD 1.5 at full size with weights by a rule, as files that nobody has to store: each is a
//! [`Source`] that computes what is read of it. `fixtures/full-size/rule.py` says the rule and has
//! it for PyTorch, to the bit.
#![allow(dead_code, reason = "each user takes its own part of this")]

#[path = "sd15.rs"]
mod sd15;

use std::rc::Rc;

use half::f16;
use lorakeet::error::{Error, Result};
use lorakeet::weights::{Bytes, Source};
use serde_json::{Map, Value, json};

use sd15::{Row, Tables};

/// The adapter's rank and alpha.
pub const RANK: usize = 8;
pub const ALPHA: f32 = 4.0;
/// Deviation of the adapter's second factor.
const UP: f64 = 0.2;

/// How numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    F16,
    /// The same numbers as in [`Numbers::F16`], in twice the bytes.
    F32,
}

impl Numbers {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }
}

/// Value number i of a name: `integer * scale + offset`.
#[derive(Clone)]
struct Values {
    seed: u64,
    scale: f32,
    offset: f32,
}

impl Values {
    fn new(name: &str, deviation: f64, offset: f32) -> Self {
        // FNV-1a
        let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        Self { seed, scale: (deviation * 3f64.sqrt() / 65535.0) as f32, offset }
    }

    /// A weight of the model, by its diffusers name and shape.
    fn of(name: &str, shape: &[usize]) -> Self {
        if shape.len() > 1 {
            return Self::new(name, keeping_variance(shape), 0.0);
        }
        let norm = name.contains("norm") && name.ends_with("weight");
        Self::new(name, 0.1, f32::from(u8::from(norm)))
    }

    /// The values `4 * block` to `4 * block + 3`.
    fn block(&self, block: u64) -> [f32; 4] {
        // splitmix64
        let mut z = self.seed.wrapping_add((block + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        std::array::from_fn(|i| {
            let bits = (z >> (16 * i)) as u16;
            (2 * i32::from(bits) - 65535) as f32 * self.scale + self.offset
        })
    }
}

/// One over the root of a layer's inputs.
fn keeping_variance(shape: &[usize]) -> f64 {
    1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt()
}

/// Values that aren't rounded to halves: inputs of a test.
pub fn input(name: &str, shape: &[usize], deviation: f64) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    let values = Values::new(name, deviation, 0.0);
    let mut all: Vec<f32> =
        (0..count.div_ceil(4) as u64).flat_map(|block| values.block(block)).collect();
    all.truncate(count);
    all
}

/// A tensor of the file: its name there, its shape, its values.
struct Entry {
    key: String,
    shape: Vec<usize>,
    values: Values,
    /// Where it begins, from the end of the header on.
    start: u64,
}

impl Entry {
    fn new(key: String, shape: Vec<usize>, values: Values) -> Self {
        Self { key, shape, values, start: 0 }
    }

    fn bytes(&self, numbers: Numbers) -> u64 {
        (self.shape.iter().product::<usize>() * numbers.bytes()) as u64
    }
}

/// A safetensors file whose tensors follow from a rule.
pub struct RandomFile {
    name: String,
    header: Vec<u8>,
    entries: Vec<Entry>,
    numbers: Numbers,
    len: u64,
}

impl RandomFile {
    fn new(name: &str, mut entries: Vec<Entry>, numbers: Numbers, metadata: Value) -> Self {
        let mut end = 0;
        let mut header = Map::new();
        header.insert("__metadata__".into(), metadata);
        for entry in &mut entries {
            entry.start = end;
            end += entry.bytes(numbers);
            let offsets = [entry.start, end];
            let about =
                json!({ "dtype": numbers.name(), "shape": entry.shape, "data_offsets": offsets });
            header.insert(entry.key.clone(), about);
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text.bytes());
        let len = header.len() as u64 + end;
        Self { name: name.into(), header, entries, numbers, len }
    }

    /// Its tensors' names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Fills a part of one tensor from a byte of it on.
    fn fill(&self, entry: &Entry, mut at: u64, mut buffer: &mut [u8]) {
        let block_bytes = 4 * self.numbers.bytes();
        let mut bytes = [0; 16];
        while !buffer.is_empty() {
            let values = entry.values.block(at / block_bytes as u64).map(f16::from_f32);
            match self.numbers {
                Numbers::F16 => {
                    for (place, value) in bytes.chunks_exact_mut(2).zip(values) {
                        place.copy_from_slice(&value.to_le_bytes());
                    }
                }
                Numbers::F32 => {
                    for (place, value) in bytes.chunks_exact_mut(4).zip(values) {
                        place.copy_from_slice(&value.to_f32().to_le_bytes());
                    }
                }
            }
            let within = (at % block_bytes as u64) as usize;
            let count = (block_bytes - within).min(buffer.len());
            let (now, rest) = buffer.split_at_mut(count);
            now.copy_from_slice(&bytes[within..within + count]);
            at += count as u64;
            buffer = rest;
        }
    }
}

impl Source for RandomFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(Error::file(&self.name, "ends before that", "This is a mistake in a test"));
        }
        let head = self.header.len() as u64;
        let of_header = (head.saturating_sub(offset) as usize).min(buffer.len());
        let (first, mut rest) = buffer.split_at_mut(of_header);
        first.copy_from_slice(&self.header[offset.min(head) as usize..][..of_header]);
        let mut at = (offset + of_header as u64) - head.min(offset + of_header as u64);
        let mut index = self.entries.partition_point(|entry| entry.start <= at).saturating_sub(1);
        while !rest.is_empty() {
            let entry = &self.entries[index];
            let within = at - entry.start;
            let count = (entry.bytes(self.numbers) - within).min(rest.len() as u64);
            let (now, later) = rest.split_at_mut(count as usize);
            self.fill(entry, within, now);
            (at, rest, index) = (at + count, later, index + 1);
        }
        Ok(())
    }
}

/// Bytes of averaged weights that lie before the model in the file of f32, as in files from training:
/// with them a fifth of the text encoder lies past 4 GiB.
const AVERAGED: u64 = 1 << 27;

/// The whole model in one file, in ldm names.
pub fn single_file(name: &str, numbers: Numbers) -> RandomFile {
    let Tables { unet, vae, text_encoder, .. } = sd15::full();
    let mut entries = Vec::new();
    if numbers == Numbers::F32 {
        let mut bytes = 0;
        for (name, shape, ldm, there) in &unet {
            let module = ldm.strip_prefix("model.diffusion_model.").unwrap();
            let key = format!("model_ema.diffusion_model{}", module.replace('.', ""));
            let entry = Entry::new(key, there.clone(), Values::of(name, shape));
            bytes += entry.bytes(numbers);
            entries.push(entry);
            if bytes > AVERAGED {
                break;
            }
        }
    }
    let model = unet.into_iter().chain(vae).chain(text_encoder);
    entries.extend(model.map(|(name, shape, ldm, there)| {
        let values = Values::of(&name, &shape);
        Entry::new(ldm, there, values)
    }));
    RandomFile::new(name, entries, numbers, json!({ "format": "pt" }))
}

/// The UNet alone, in diffusers names.
pub fn unet_file(name: &str, numbers: Numbers) -> RandomFile {
    component(name, sd15::full().unet, numbers)
}

fn component(name: &str, rows: Vec<Row>, numbers: Numbers) -> RandomFile {
    let entry = |(name, shape, ..): Row| {
        let values = Values::of(&name, &shape);
        Entry::new(name, shape, values)
    };
    let entries = rows.into_iter().map(entry).collect();
    RandomFile::new(name, entries, numbers, json!({ "format": "pt" }))
}

/// The model as a diffusers folder in halves, without a tokenizer; names are paths in it.
pub fn folder() -> Vec<Rc<dyn Source>> {
    let Tables { unet, vae, text_encoder, .. } = sd15::full();
    let weights = [
        ("unet/diffusion_pytorch_model.safetensors", unet),
        ("vae/diffusion_pytorch_model.safetensors", vae),
        ("text_encoder/model.safetensors", text_encoder),
    ];
    let configs = [
        ("model_index.json", json!({ "_class_name": "StableDiffusionPipeline" })),
        (
            "unet/config.json",
            json!({
                "_class_name": "UNet2DConditionModel",
                "cross_attention_dim": 768,
                "sample_size": 64,
            }),
        ),
        ("vae/config.json", json!({ "_class_name": "AutoencoderKL", "sample_size": 512 })),
        (
            "text_encoder/config.json",
            json!({
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_attention_heads": 12,
                "num_hidden_layers": 12,
            }),
        ),
        (
            "scheduler/scheduler_config.json",
            json!({
                "_class_name": "PNDMScheduler",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "beta_schedule": "scaled_linear",
                "clip_sample": false,
                "set_alpha_to_one": false,
                "skip_prk_steps": true,
                "steps_offset": 1,
            }),
        ),
    ];
    let weights = weights
        .into_iter()
        .map(|(path, rows)| Rc::new(component(path, rows, Numbers::F16)) as Rc<dyn Source>);
    let configs = configs
        .into_iter()
        .map(|(path, config)| Rc::new(Bytes::new(path, config.to_string())) as Rc<dyn Source>);
    weights.chain(configs).collect()
}

/// A kohya LoRA on the 264 modules that its trainer takes by default: every linear layer and 1x1
/// convolution of the UNet's transformers, and the attention and feed-forward layers of the text
/// encoder.
pub fn adapter(name: &str) -> RandomFile {
    let Tables { unet, text_encoder, .. } = sd15::full();
    let unet = unet.into_iter().filter(|row| row.0.contains(".attentions."));
    let text = text_encoder
        .into_iter()
        .filter(|row| row.0.contains(".self_attn.") || row.0.contains(".mlp."));
    let modules = unet.map(|row| ("lora_unet_", row)).chain(text.map(|row| ("lora_te_", row)));
    let mut entries = Vec::new();
    for (prefix, (name, shape, ..)) in modules {
        let Some(module) = name.strip_suffix(".weight").filter(|_| shape.len() > 1) else {
            continue;
        };
        let module = format!("{prefix}{}", module.replace('.', "_"));
        let ones = vec![1; shape.len() - 2];
        let factors = [
            ("lora_down", [vec![RANK], shape[1..].to_vec()].concat(), keeping_variance(&shape)),
            ("lora_up", [vec![shape[0], RANK], ones].concat(), UP),
        ];
        for (factor, shape, deviation) in factors {
            let key = format!("{module}.{factor}.weight");
            let values = Values::new(&key, deviation, 0.0);
            entries.push(Entry::new(key, shape, values));
        }
        // A number that is the same everywhere.
        let alpha = Values { seed: 0, scale: 0.0, offset: ALPHA };
        entries.push(Entry::new(format!("{module}.alpha"), Vec::new(), alpha));
    }
    RandomFile::new(name, entries, Numbers::F16, json!({ "ss_network_module": "networks.lora" }))
}

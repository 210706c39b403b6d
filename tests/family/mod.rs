//! Members of the Stable Diffusion family as small models, from a diffusers folder and from a single file
//! of the same numbers: those that `fixtures/families/generate.py` draws.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use lorakeet::keys::clip::{ClipName, open_clip_to_diffusers};
use lorakeet::noise::TorchGenerator;
use lorakeet::weights::Source;
use serde::Deserialize;
use serde_json::Value;

use crate::sd15::{self, Row, Tables};
use crate::tiny::{Host, Values, draw, file, read, source};

#[derive(Deserialize)]
pub struct Cases {
    seeds: BTreeMap<String, u64>,
    pub prompt: String,
    pub negative: String,
    pub seed: u64,
    pub members: BTreeMap<String, Member>,
}

#[derive(Deserialize)]
pub struct Member {
    pub unet: Value,
    pub vae: Value,
    pub text_encoder: Value,
    pub scheduler: Value,
    factor: Option<f32>,
    bits: BTreeMap<String, u32>,
    pub runs: Vec<Run>,
}

#[derive(Deserialize)]
pub struct Run {
    pub scheduler: String,
    pub steps: usize,
    pub guidance: f64,
}

/// The bias by which SD 2's predictions are told apart.
const TELLING: &str = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";

pub static CASES: LazyLock<Cases> =
    LazyLock::new(|| serde_json::from_slice(&read("families/cases.json")).unwrap());

static TABLES: LazyLock<Tables> = LazyLock::new(|| sd15::small(49408));

fn is_second(member: &Member) -> bool {
    member.unet["use_linear_projection"] == true
}

/// The UNet's tensors by both names, with a tenth of the channels.
fn unet_rows(name: &str, member: &Member) -> Vec<Row> {
    let mut keys: BTreeMap<String, Vec<Row>> =
        serde_json::from_slice(&read("families/keys.json")).unwrap();
    let table = match name {
        _ if is_second(member) => "sd2",
        "bk_sdm" => "bk_sdm_small",
        other => other,
    };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    if name != "bk_sdm" {
        rows.extend(TABLES.unet.iter().map(|row| (row.0.clone(), row.clone())));
    }
    let small = |dim: &mut usize| match *dim {
        768 | 1024 => *dim = 128,
        other if other % 320 == 0 => *dim /= 10,
        _ => {}
    };
    for mut row in keys.remove(table).unwrap_or_default() {
        row.1.iter_mut().chain(&mut row.3).for_each(small);
        rows.insert(row.0.clone(), row);
    }
    rows.into_values().collect()
}

/// The autoencoder's tensors by both names, as wide as its config says.
fn vae_rows(member: &Member) -> Vec<Row> {
    let widen = member.vae["block_out_channels"][0].as_u64().unwrap() as usize / 32;
    let mut rows = TABLES.vae.clone();
    for row in &mut rows {
        let channels = row.1.iter_mut().chain(&mut row.3).filter(|dim| **dim >= 32);
        channels.for_each(|dim| *dim *= widen);
    }
    rows
}

/// Diffusers' names and shapes of the text encoder.
fn text_shapes(member: &Member) -> BTreeMap<String, Vec<usize>> {
    if !is_second(member) {
        return TABLES.text_encoder.iter().map(|row| (row.0.clone(), row.1.clone())).collect();
    }
    let mut shapes = BTreeMap::new();
    for (key, shape) in &TABLES.open_clip_ldm {
        let key = key.strip_prefix("cond_stage_model.model.").unwrap();
        match open_clip_to_diffusers(key).unwrap() {
            ClipName::Whole(name) => drop(shapes.insert(name, shape.clone())),
            ClipName::Thirds(names) => shapes.extend(names.map(|name| {
                let mut part = shape.clone();
                part[0] /= 3;
                (name, part)
            })),
            ClipName::Transposed(name) => panic!("{name}"),
            ClipName::Unused(_) => {}
        }
    }
    shapes
}

/// Weights as generate.py draws them, bit for bit.
fn weights(component: &str, shapes: &BTreeMap<String, Vec<usize>>, member: &Member) -> Values {
    let mut generator = TorchGenerator::new(CASES.seeds[component]);
    let mut values = Values::new();
    let mut bits = 0u32;
    for (name, shape) in shapes {
        let mut host = draw(name, shape, &mut generator);
        if name == TELLING
            && let Some(factor) = member.factor
        {
            host.data.iter_mut().for_each(|value| *value *= factor);
        }
        bits = host.data.iter().fold(bits, |sum, number| sum.wrapping_add(number.to_bits()));
        values.insert(name.clone(), host);
    }
    assert_eq!(bits, member.bits[component], "the weights of the {component} aren't generate.py's");
    values
}

/// The folder's files and the single file's tensors.
pub struct Files {
    pub folder: Vec<Rc<dyn Source>>,
    pub single: Values,
}

pub fn files(name: &str, member: &Member) -> Files {
    let unet_rows = unet_rows(name, member);
    let by_name = |rows: &[Row]| rows.iter().map(|row| (row.0.clone(), row.1.clone())).collect();
    let unet = weights("unet", &by_name(&unet_rows), member);
    let vae_rows = vae_rows(member);
    let vae = weights("vae", &by_name(&vae_rows), member);
    let text = weights("text_encoder", &text_shapes(member), member);

    let mut single = Values::new();
    for (rows, values) in [(&unet_rows, &unet), (&vae_rows, &vae)] {
        for row in rows {
            let data = values[&row.0].data.clone();
            single.insert(row.2.clone(), Host { shape: row.3.clone(), data });
        }
    }
    if is_second(member) {
        add_open_clip(&mut single, &text);
    } else {
        for row in &TABLES.text_encoder {
            single.insert(row.2.clone(), text[&row.0].clone());
        }
    }
    let mut folder = Vec::new();
    let mut add = |path: &str, bytes: Vec<u8>| folder.push(source(path, bytes));
    add("model_index.json", br#"{"_class_name": "StableDiffusionPipeline"}"#.to_vec());
    add("scheduler/scheduler_config.json", member.scheduler.to_string().into());
    for (component, config, stem, values) in [
        ("unet", &member.unet, "diffusion_pytorch_model", &unet),
        ("vae", &member.vae, "diffusion_pytorch_model", &vae),
        ("text_encoder", &member.text_encoder, "model", &text),
    ] {
        add(&format!("{component}/config.json"), config.to_string().into());
        add(&format!("{component}/{stem}.safetensors"), file(values));
    }
    Files { folder, single }
}

/// OpenCLIP's own names: fused projections, and a last layer that isn't used.
fn add_open_clip(single: &mut Values, text: &Values) {
    for (key, shape) in &TABLES.open_clip_ldm {
        let rest = key.strip_prefix("cond_stage_model.model.").unwrap();
        let data = match open_clip_to_diffusers(rest).unwrap() {
            ClipName::Whole(name) => text[&name].data.clone(),
            ClipName::Thirds(names) => names.iter().flat_map(|n| text[n].data.clone()).collect(),
            ClipName::Transposed(name) => panic!("{name}"),
            ClipName::Unused(_) => vec![0.5; shape.iter().product()],
        };
        single.insert(key.clone(), Host { shape: shape.clone(), data });
    }
}

//! Each member of the Stable Diffusion family as diffusers runs it (`fixtures/families/generate.py`),
//! from a diffusers folder and from a single file of the same numbers.

#[path = "support/sd15.rs"]
mod sd15;
mod support;
mod tiny;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use lorakeet::keys::clip::{ClipName, open_clip_to_diffusers};
use lorakeet::noise::{Rng, TorchGenerator};
use lorakeet::pipelines::{Settings, StableDiffusion};
use lorakeet::prompt::Emphasis;
use lorakeet::weights::{Checkpoint, Source};
use sd15::{Row, Tables};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{latents, load};
use tiny::{Host, Values, draw, file, read, read_values, source};

#[derive(Deserialize)]
struct Cases {
    seeds: BTreeMap<String, u64>,
    prompt: String,
    negative: String,
    seed: u64,
    members: BTreeMap<String, Member>,
}

#[derive(Deserialize)]
struct Member {
    unet: Value,
    vae: Value,
    text_encoder: Value,
    scheduler: Value,
    factor: Option<f32>,
    bits: BTreeMap<String, u32>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    scheduler: String,
    steps: usize,
    guidance: f64,
}

/// The bias by which SD 2's predictions are told apart.
const TELLING: &str = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";

static CASES: LazyLock<Cases> =
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
struct Files {
    folder: Vec<Rc<dyn Source>>,
    single: Values,
}

fn files(name: &str, member: &Member) -> Files {
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
            ClipName::Unused(_) => vec![0.5; shape.iter().product()],
        };
        single.insert(key.clone(), Host { shape: shape.clone(), data });
    }
}

fn settings(run: &Run) -> Settings {
    Settings {
        prompt: CASES.prompt.clone(),
        negative_prompt: CASES.negative.clone(),
        emphasis: Emphasis::Original,
        clip_skip: 1,
        rng: Rng::default(),
        variation_seed: 0,
        variation_strength: 0.0,
        steps: run.steps,
        guidance: run.guidance,
        seed: CASES.seed,
        scheduler: Some(run.scheduler.clone()),
        spacing: None,
        schedule: None,
        eta: None,
        width: 64,
        height: 64,
    }
}

/// Rounding in another order, through networks of random weights.
const TOLERANCE: f64 = 1e-4;

fn check(name: &str, member: &Member, layout: &str, model: &Rc<StableDiffusion>) {
    let expected = read_values("families/latents.safetensors");
    for run in &member.runs {
        let key = format!("{name}.{}", run.scheduler);
        let ours = Host { shape: vec![1, 4, 8, 8], data: latents(model, settings(run), None) };
        let off = tiny::distance(&ours, &expected[&key]);
        println!("{key} from a {layout}: off by {off:.1e}");
        assert!(off < TOLERANCE, "{key} from a {layout}: {off:e}");
    }
}

/// What each is told to be, from a folder and from a file under this name with these marker tensors.
fn meets(name: &str, file_name: &str, markers: &[&str], label: &str, expected: &Value) {
    let member = &CASES.members[name];
    let Files { folder, mut single } = files(name, member);
    for marker in markers {
        single.insert(marker.to_string(), Host { shape: vec![], data: vec![1.0] });
    }
    let single = vec![source(file_name, file(&single))];
    let mut schedulers = Vec::new();
    for (layout, files) in [("folder", folder), ("file", single)] {
        let checkpoint = Checkpoint::open(files).unwrap();
        let family = serde_json::to_value(&checkpoint.family).unwrap();
        assert_eq!(family["label"], label, "{layout}: {family}");
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&family[field], value, "{layout}: {field}: {family}");
        }
        schedulers.push(checkpoint.scheduler_config.clone());
        check(name, member, layout, &Rc::new(load(&checkpoint)));
    }
    // The model's own scheduler and its noise schedule are the same either way.
    for field in ["_class_name", "timestep_spacing", "beta_start", "steps_offset"] {
        assert_eq!(schedulers[0][field], schedulers[1][field], "{field}");
    }
}

#[test]
fn stable_diffusion_1() {
    let expected = json!({"prediction": "epsilon", "size": 512, "zeroTerminalSnr": false,
        "task": "text_to_image", "defaults": null, "notes": []});
    meets("sd1", "v1.safetensors", &[], "Stable Diffusion 1.x", &expected);
}

#[test]
fn stable_diffusion_1_that_predicts_v_with_zero_terminal_snr() {
    let label = "Stable Diffusion 1.x, v-prediction, zero terminal SNR";
    let expected = json!({"prediction": "v_prediction", "size": 512, "zeroTerminalSnr": true});
    meets("sd1_v_zero_snr", "fluff.safetensors", &["v_pred", "ztsnr"], label, &expected);
}

#[test]
fn stable_diffusion_2_base() {
    let expected = json!({"prediction": "epsilon", "size": 512, "base": "sd2"});
    meets("sd2_base", "v2-1_512.safetensors", &[], "Stable Diffusion 2.x, base", &expected);
}

#[test]
fn stable_diffusion_2_768_v() {
    let expected = json!({"prediction": "v_prediction", "size": 768, "base": "sd2"});
    meets("sd2_v", "v2-1_768.safetensors", &[], "Stable Diffusion 2.x, 768-v", &expected);
}

#[test]
fn sd_turbo() {
    let expected = json!({"prediction": "epsilon", "fewSteps": "turbo",
        "defaults": {"steps": 1, "guidance": 1.0}});
    meets("turbo", "sd_turbo.safetensors", &[], "SD-Turbo", &expected);
}

#[test]
fn lcm() {
    let expected = json!({"fewSteps": "lcm", "defaults": {"steps": 4, "guidance": 8.0}});
    meets("lcm", "dreamshaper.safetensors", &[], "Stable Diffusion 1.x, LCM", &expected);
}

#[test]
fn inpainting() {
    let expected = json!({"task": "inpainting", "prediction": "epsilon"});
    // A folder's own scheduler may be any.
    let member = &CASES.members["inpainting"];
    let Files { folder, single } = files("inpainting", member);
    for (layout, files) in
        [("folder", folder), ("file", vec![source("inpaint.safetensors", file(&single))])]
    {
        let checkpoint = Checkpoint::open(files).unwrap();
        assert_eq!(checkpoint.family.label, "Stable Diffusion 1.x, inpainting");
        assert_eq!(serde_json::to_value(&checkpoint.family).unwrap()["task"], expected["task"]);
        check("inpainting", member, layout, &Rc::new(load(&checkpoint)));
    }
}

#[test]
fn bk_sdm() {
    let label = "Stable Diffusion 1.x, distilled to fewer blocks (as BK-SDM)";
    meets("bk_sdm", "bk.safetensors", &[], label, &json!({"compact": true, "size": 512}));
}

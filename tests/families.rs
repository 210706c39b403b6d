//! Each member of the Stable Diffusion family as diffusers runs it (`fixtures/families/generate.py`),
//! from a diffusers folder and from a single file of the same numbers.

mod family;
#[path = "support/sd15.rs"]
mod sd15;
mod support;
mod tiny;

use std::rc::Rc;

use family::{CASES, Files, Member, Run, files};
use lorakeet::pipelines::{Settings, StableDiffusion};
use lorakeet::weights::Checkpoint;
use serde_json::{Value, json};
use support::{latents, load};
use tiny::{Host, file, read_values, source};

fn settings(run: &Run) -> Settings {
    Settings {
        prompt: CASES.prompt.clone(),
        negative_prompt: CASES.negative.clone(),
        steps: run.steps,
        guidance: run.guidance,
        seed: CASES.seed,
        scheduler: Some(run.scheduler.clone()),
        width: 64,
        height: 64,
        ..Settings::default()
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

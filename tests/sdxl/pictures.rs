//! Whole pictures: from the prompts to the final latents.

use std::rc::Rc;

use lorakeet::pipelines::{KeptTextEncoders, Phase, Settings, Sizes, StableDiffusion, TextToImage};
use lorakeet::weights::{Checkpoint, Overrides, Prediction};

use super::fixture::{Run, TABLE, folder, folder_as, load, off, values};
use super::support::latents;

/// The final latents reach 25; diffusers' own f32 is up to 2e-4 from its f64. In units of the largest.
const RUN: f32 = 1e-4;

/// The folder with the scheduler's configuration that a run was made with.
fn checkpoint(run: &Run) -> Checkpoint {
    let sample = Overrides { prediction: Some(Prediction::Sample), ..Overrides::default() };
    let v = Overrides {
        prediction: Some(Prediction::VPrediction),
        zero_terminal_snr: Some(true),
        ..Overrides::default()
    };
    let mut checkpoint = match run.scheduler.as_str() {
        "euler_trailing_sample" => folder_as(&sample),
        "euler_v_zsnr" => folder_as(&v),
        _ => folder(),
    };
    let config = &mut checkpoint.scheduler_config;
    if run.scheduler == "lcm_4" {
        // DMD2's timesteps.
        config["original_inference_steps"] = 4.into();
    }
    if run.scheduler == "ddim_trailing" {
        config["clip_sample"] = false.into();
        config["set_alpha_to_one"] = false.into();
    }
    checkpoint
}

pub fn settings(name: &str) -> Settings {
    let run = &TABLE.runs[name];
    let scheduler = match run.scheduler.as_str() {
        "euler" | "euler_trailing_sample" | "euler_v_zsnr" => "euler",
        "euler_a" | "euler_a_trailing" => "euler_a",
        "ddim_trailing" => "ddim",
        "lcm_4" => "lcm",
        other => other,
    };
    let trailing = run.scheduler.contains("trailing") || run.scheduler.contains("zsnr");
    // diffusers' pairs are the height's first, ours the width's.
    let pair = |name: &str| run.more.get(name).map(|&[height, width]| [width, height]);
    Settings {
        prompt: TABLE.prompts[0].clone(),
        negative_prompt: run.negative.clone().unwrap_or_default(),
        encode_empty_negative: run.negative.as_deref() == Some(""),
        sizes: Sizes {
            original: pair("original_size"),
            crop: pair("crops_coords_top_left"),
            target: pair("target_size"),
            negative_original: pair("negative_original_size"),
            negative_crop: pair("negative_crops_coords_top_left"),
            negative_target: pair("negative_target_size"),
        },
        steps: run.steps,
        guidance: run.guidance,
        seed: run.seed,
        scheduler: Some(scheduler.into()),
        spacing: trailing.then(|| "trailing".into()),
        width: 8 * run.latents[1],
        height: 8 * run.latents[0],
        ..Settings::default()
    }
}

#[test]
fn every_run_ends_at_diffusers_latents() {
    for (name, run) in &TABLE.runs {
        let model = Rc::new(load(&checkpoint(run)));
        off(&format!("run.{name}"), &latents(&model, settings(name), None), RUN);
    }
}

#[test]
fn no_negative_prompt_is_zeros_and_an_empty_one_may_be_encoded() {
    let model = Rc::new(load(&folder()));
    let with = |name: &str, encode_empty_negative: bool| {
        let settings = Settings { encode_empty_negative, ..settings(name) };
        latents(&model, settings, None)
    };
    let zeros = with("no_negative", false);
    assert_ne!(zeros, with("no_negative", true));
    // A model may say that its own way is the encoded one.
    let mut checkpoint = folder();
    assert!(checkpoint.force_zeros_for_empty_prompt);
    checkpoint.force_zeros_for_empty_prompt = false;
    let other = Rc::new(load(&checkpoint));
    off("run.empty_negative", &latents(&other, settings("no_negative"), None), RUN);
}

#[test]
fn the_picture_is_decoded_with_its_own_scale() {
    let model = Rc::new(load(&folder()));
    let picture = super::support::picture(&model, settings("turbo_1"));
    off("vae.decoded", &picture, 2e-4);
}

/// A run whose prompts go to the UNet one after the other or at once.
fn run(model: &Rc<StableDiffusion>, settings: Settings, in_turn: bool) -> (Vec<f32>, usize) {
    let mut work = TextToImage::new(model.clone(), settings, None).unwrap();
    work.guide_in_turn(in_turn);
    let (mut pulls, mut last) = (0, 0.0);
    while work.phase() != Phase::Decode {
        let step = work.advance().unwrap();
        assert!(step.fraction >= last, "{} after {last}", step.fraction);
        (pulls, last) = (pulls + 1, step.fraction);
    }
    (values(work.latents()), pulls)
}

#[test]
fn prompts_in_turn_give_the_same_picture() {
    let model = Rc::new(load(&folder()));
    let (at_once, few) = run(&model, settings("euler"), false);
    let (in_turn, many) = run(&model, settings("euler"), true);
    off("run.euler", &in_turn, RUN);
    assert!(super::support::distance(&at_once, &in_turn) < 1e-3);
    // One pull for the texts, then each call's stages, twice as many in turn.
    assert_eq!([few - 1, many - 1], [4, 8].map(|passes| passes * model.unet.stages()));
    // Texts of unequal length go as they are, and at once as repeated.
    let long = Settings { prompt: "fox ".repeat(100), ..settings("euler") };
    let [(one, _), (two, _)] = [false, true].map(|in_turn| run(&model, long.clone(), in_turn));
    assert!(super::support::distance(&one, &two) < 1e-3);
    // Without guidance there is nothing to take turns.
    let plain = settings("unguided");
    assert_eq!(run(&model, plain.clone(), true), run(&model, plain, false));
    assert!(!model.guides_in_turn(1024, 1024), "the tiny model has room");
}

#[test]
fn text_encoders_leave_and_come_back() {
    let model = Rc::new(load(&folder()));
    let first = latents(&model, settings("euler"), None);
    let all = model.encoder_bytes();
    model.keep_text_encoders(Some(false));
    // Another prompt: both encoders are asked, and go.
    let other = Settings { prompt: "blue sky".into(), ..settings("euler") };
    let drawn = latents(&model, other.clone(), None);
    let left = model.encoder_bytes();
    assert!(0 < left && left < all, "{left} of {all} bytes");
    model.release_encoders();
    assert_eq!(model.encoder_bytes(), 0);
    assert_eq!(latents(&model, other, None), drawn, "prompts that are known");
    assert_eq!(latents(&model, settings("euler"), None), first);
    assert_eq!(model.encoder_bytes(), 0, "nobody was asked");
    // Who encodes many prompts keeps them for so long.
    model.keep_text_encoders(Some(false));
    let kept = KeptTextEncoders::new(model.clone());
    model.encode_prompt("dark night").unwrap();
    assert!(model.encoder_bytes() > 0);
    drop(kept);
    assert!(model.encoder_bytes() > 0, "so small ones stay anyway");
    let again = Rc::new(load(&folder()));
    let long = Settings { negative_prompt: "dark night".into(), ..settings("euler") };
    assert_eq!(latents(&model, long.clone(), None), latents(&again, long, None));
}

#[test]
fn sizes_are_checked_and_default_to_the_pictures() {
    let model = Rc::new(load(&folder()));
    let told = Settings {
        sizes: Sizes {
            original: Some([128.0, 96.0]),
            crop: Some([0.0, 0.0]),
            target: Some([128.0, 96.0]),
            ..Sizes::default()
        },
        ..settings("euler")
    };
    assert_eq!(latents(&model, told, None), latents(&model, settings("euler"), None));
    let lying = Settings {
        sizes: Sizes { crop: Some([-1.0, 0.0]), ..Sizes::default() },
        ..settings("euler")
    };
    let error = TextToImage::new(model, lying, None).err().unwrap().to_string();
    assert!(error.starts_with("sizes: -1 is not from 0 to 65536 pixels"), "{error}");
}

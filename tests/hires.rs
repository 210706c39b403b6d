//! Pictures that are drawn twice, the second time larger (A1111's hires fix): against diffusers' passes and
//! torch's and Pillow's enlargement (`fixtures/families/hires.py`, `fixtures/pictures`).

mod family;
#[path = "support/sd15.rs"]
mod sd15;
mod support;
mod tiny;

use std::rc::Rc;
use std::sync::LazyLock;

use burn::tensor::{Device, Tensor, TensorData};
use family::{CASES, Files, files};
use lorakeet::image::Rgb;
use lorakeet::image::resample::Fit;
use lorakeet::pipelines::{Hires, Phase, Settings, StableDiffusion, Start, TextToImage, Upscaler};
use lorakeet::weights::Checkpoint;
use safetensors::SafeTensors;
use serde::Deserialize;
use support::{load, values};
use tiny::{Host, read, read_values};

#[derive(Deserialize)]
struct Table {
    steps: usize,
    guidance: f64,
    width: usize,
    height: usize,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    run: String,
    scheduler: String,
    hires: Hires,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_slice(&read("families/hires.json")).unwrap());

fn member(name: &str) -> Rc<StableDiffusion> {
    let Files { folder, .. } = files(name, &CASES.members[name]);
    Rc::new(load(&Checkpoint::open(folder).unwrap()))
}

fn settings(scheduler: &str, hires: Hires) -> Settings {
    Settings {
        prompt: CASES.prompt.clone(),
        negative_prompt: CASES.negative.clone(),
        steps: TABLE.steps,
        guidance: TABLE.guidance,
        seed: CASES.seed,
        scheduler: Some(scheduler.into()),
        width: TABLE.width,
        height: TABLE.height,
        hires: Some(hires),
        ..Settings::default()
    }
}

/// The final latents, the phases in order, and the sizes of the previews.
struct Drawn {
    latents: Host,
    phases: Vec<Phase>,
    previews: Vec<[usize; 4]>,
    picture: [usize; 4],
    notes: Vec<String>,
}

fn drawn(model: &Rc<StableDiffusion>, settings: Settings) -> Drawn {
    let mut work = TextToImage::new(model.clone(), settings, None).unwrap();
    let (mut phases, mut previews) = (vec![work.phase()], Vec::new());
    let (mut before, mut steps) = (-1.0, 0);
    let picture = loop {
        let step = work.advance().unwrap();
        assert!(step.fraction > before && step.fraction <= 1.0, "{before} then {step:?}");
        assert!(step.step >= steps && step.step <= step.steps, "{step:?}");
        (before, steps) = (step.fraction, step.step);
        if phases.last() != Some(&step.phase) {
            phases.push(step.phase);
        }
        previews.extend(step.preview.map(|preview| preview.dims()));
        if let Some(picture) = step.picture {
            assert_eq!((step.fraction, step.step), (1.0, step.steps));
            break picture.dims();
        }
    };
    let shape = work.latents().dims().to_vec();
    let latents = Host { shape, data: values(work.latents()) };
    Drawn { latents, phases, previews, picture, notes: work.notes().to_vec() }
}

/// Rounding in another order, through networks of random weights; and of a picture between two passes a
/// byte that is rounded the other way.
const TOLERANCE: f64 = 1e-4;
const OF_BYTES: f64 = 1e-3;

#[test]
fn latents_are_those_of_diffusers_passes() {
    let expected = read_values("families/hires.safetensors");
    let model = member("sd1");
    let mut worst = Vec::new();
    for Run { run, scheduler, hires } in &TABLE.runs {
        let second = if hires.steps == 0 { TABLE.steps } else { hires.steps };
        let drawn = drawn(&model, settings(scheduler, hires.clone()));
        let off = tiny::distance(&drawn.latents, &expected[run]);
        println!("{run}: off by {off:.1e}");
        let most = if hires.upscaler.takes_latents() { TOLERANCE } else { OF_BYTES };
        if off.is_nan() || off > most {
            worst.push(format!("{run}: {off:.1e}"));
        }
        let phases: &[Phase] = match hires.upscaler {
            Upscaler::Lanczos => &[
                Phase::Text,
                Phase::Denoise,
                Phase::Decode,
                Phase::Encode,
                Phase::Denoise,
                Phase::Decode,
            ],
            _ => &[Phase::Text, Phase::Denoise, Phase::Decode],
        };
        assert_eq!(drawn.phases, phases, "{run}");
        let previews = [vec![[1, 4, 6, 8]; TABLE.steps], vec![[1, 4, 9, 12]; second]].concat();
        assert_eq!(drawn.previews, previews, "{run}");
        assert_eq!(drawn.picture, [1, 3, 72, 96], "{run}");
    }
    assert!(worst.is_empty(), "{worst:?}");
}

#[test]
fn latents_and_pixels_become_larger_as_in_torch_and_pillow() {
    let tensors = read_values("pictures/pictures.safetensors");
    let device = Device::flex();
    let latents = &tensors["latent"];
    for (upscaler, mode) in
        [(Upscaler::Latent, "bilinear"), (Upscaler::LatentNearest, "nearest-exact")]
    {
        for [height, width] in [[10, 12], [8, 9], [4, 5]] {
            let data = TensorData::new(latents.data.clone(), [1, 4, 5, 6]);
            let larger = upscaler.enlarge(Tensor::from_data(data, &device), [width, height]);
            let expected = &tensors[&format!("upscale.{mode}.{height}x{width}")];
            let ours = Host { shape: larger.dims().to_vec(), data: values(larger) };
            let off = tiny::distance(&ours, expected);
            assert!(off < 1e-6, "{mode} to {height}x{width}: off by {off:.1e}");
        }
    }
    // Where a place is between two, torch's f32 decides: 18 of 37 from 12 is the sixth.
    let line: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let line = Tensor::from_data(TensorData::new(line, [1, 1, 1, 12]), &device);
    let nearest = values(Upscaler::LatentNearest.enlarge(line, [37, 1]));
    assert_eq!((nearest[17], nearest[18], nearest[19]), (5.0, 5.0, 6.0));

    let file = read("pictures/pictures.safetensors");
    let file = SafeTensors::deserialize(&file).unwrap();
    let image = file.tensor("image").unwrap();
    let [height, width] = [image.shape()[0], image.shape()[1]];
    let image = Rgb { width, height, bytes: image.data().to_vec() };
    let planes = TensorData::new(image.planes(), [1, 3, height, width]);
    for size in [[width * 3 / 2, height * 2], [width + 8, height]] {
        let larger = Upscaler::Lanczos.enlarge(Tensor::from_data(planes.clone(), &device), size);
        let expected = Fit::Stretch.of(&image, size).planes();
        let off =
            values(larger).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1.0 / 127.0, "{size:?}: off by {off}");
    }
}

/// Noise of both kinds, variations, two calls a step and what an inpainting UNet takes besides come at the
/// second pass's size.
#[test]
fn every_kind_of_sampler_and_model_is_drawn_twice() {
    let hires = Hires { scale: 1.25, strength: 0.5, steps: 1, ..Hires::default() };
    let [plain, inpainting] = ["sd1", "inpainting"].map(member);
    for (model, scheduler, upscaler) in [
        (&plain, "dpmpp_sde", Upscaler::Latent),
        (&plain, "lcm", Upscaler::Lanczos),
        (&inpainting, "ddim", Upscaler::LatentNearest),
    ] {
        let settings = Settings {
            variation_strength: 0.3,
            variation_seed: 8,
            steps: 1,
            guidance: 1.0,
            ..settings(scheduler, Hires { upscaler, ..hires.clone() })
        };
        let drawn = drawn(model, settings);
        assert_eq!(drawn.picture, [1, 3, 56, 80], "{scheduler}");
        assert!(drawn.latents.data.iter().all(|value| value.is_finite()), "{scheduler}");
    }
}

#[test]
fn prompts_go_on_changing_in_the_second_pass_and_what_contradicts_is_named() {
    let model = member("sd1");
    let hires = Hires { scale: 1.0, strength: 0.9, steps: 3, ..Hires::default() };
    let at = |prompt: &str| {
        let settings = settings("euler", hires.clone());
        drawn(&model, Settings { prompt: prompt.into(), steps: 1, guidance: 1.0, ..settings })
    };
    // From 0.3 of the second pass on; from after its end on.
    let (late, never) = (at("a [cat:dog:1.3]"), at("a [cat:dog:4]"));
    assert_ne!(late.latents, never.latents);
    assert_eq!(never.latents, at("a cat").latents);
    assert_eq!(late.notes, [""; 0]);

    let error = |settings: Settings| {
        TextToImage::new(model.clone(), settings, None).err().unwrap().to_string()
    };
    let at = |hires: Hires| error(settings("ddim", hires));
    let usual = Hires::default();
    assert!(at(Hires { scale: 5.0, ..usual.clone() }).starts_with("hires scale: 5 is not within"));
    let strength = |strength| at(Hires { strength, ..usual.clone() });
    assert!(strength(1.5).starts_with("strength: 1.5 is not within"));
    assert!(strength(0.0).starts_with("strength: 0 leaves none"));
    let large = Settings { width: 1536, ..settings("ddim", usual.clone()) };
    assert!(error(large).starts_with("hires scale: 2 makes 3072x96"));
    let both = Settings { start: Some(Start::default()), ..settings("ddim", usual) };
    assert!(error(both).starts_with("hires: a picture that starts from another is drawn once"));
}

//! Runs that start from a picture: against diffusers (`fixtures/families/from_pictures.py`), and by what
//! masks promise.

mod family;
#[path = "support/sd15.rs"]
mod sd15;
mod support;
mod tiny;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use family::{CASES, Files, files};
use lorakeet::image::{Rgba, to_rgba};
use lorakeet::pipelines::{
    Area, Content, Convention, Inpaint, Phase, Pictures, Settings, StableDiffusion, Start,
    TextToImage,
};
use lorakeet::weights::Checkpoint;
use safetensors::SafeTensors;
use serde::Deserialize;
use support::{load, values};
use tiny::{Host, read, read_values};

#[derive(Deserialize)]
struct Runs {
    steps: usize,
    guidance: f64,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    run: String,
    member: String,
    scheduler: String,
    strength: f64,
    masked: bool,
}

static PICTURES: LazyLock<Pictures> = LazyLock::new(|| {
    let file = read("families/from-pictures.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let bytes = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
    let opaque = |bytes: Vec<u8>| Rgba { width: 64, height: 64, bytes };
    let image = bytes("image").chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let mask = bytes("mask").into_iter().flat_map(|grey| [grey, grey, grey, 255]).collect();
    Pictures { picture: opaque(image), mask: Some(opaque(mask)) }
});

fn member(name: &str) -> Rc<StableDiffusion> {
    let Files { folder, .. } = files(name, &CASES.members[name]);
    Rc::new(load(&Checkpoint::open(folder).unwrap()))
}

fn settings(steps: usize, scheduler: &str, start: Start) -> Settings {
    Settings {
        prompt: CASES.prompt.clone(),
        negative_prompt: CASES.negative.clone(),
        steps,
        guidance: 5.0,
        seed: CASES.seed,
        scheduler: Some(scheduler.into()),
        width: 64,
        height: 64,
        start: Some(start),
        ..Settings::default()
    }
}

/// The final latents, and the picture with what stays over it.
fn drawn(model: &Rc<StableDiffusion>, settings: Settings, pictures: &Pictures) -> (Vec<f32>, Rgba) {
    let mut work =
        TextToImage::from_pictures(model.clone(), settings, None, Some(pictures)).unwrap();
    let mut phases = vec![work.phase()];
    let mut before = 0.0;
    let picture = loop {
        let step = work.advance().unwrap();
        assert!(step.fraction >= before && step.fraction <= 1.0, "{step:?}");
        before = step.fraction;
        if phases.last() != Some(&step.phase) {
            phases.push(step.phase);
        }
        if let Some(picture) = step.picture {
            break picture;
        }
    };
    assert_eq!(phases, [Phase::Text, Phase::Encode, Phase::Denoise, Phase::Decode]);
    let [_, _, height, width] = picture.dims();
    let picture = work.finished(to_rgba(&values(picture), width, height));
    (values(work.latents()), picture)
}

/// Rounding in another order, through networks of random weights.
const TOLERANCE: f64 = 1e-4;

#[test]
fn latents_are_diffusers() {
    let runs: Runs = serde_json::from_slice(&read("families/from-pictures.json")).unwrap();
    let expected = read_values("families/from-pictures.safetensors");
    let mut models: BTreeMap<String, Rc<StableDiffusion>> = BTreeMap::new();
    let mut worst = Vec::new();
    for Run { run, member: name, scheduler, strength, masked } in runs.runs {
        let model = models.entry(name.clone()).or_insert_with(|| member(&name));
        let inpaint = masked.then(|| Inpaint { blur: 0.0, ..Inpaint::default() });
        let start =
            Start { strength, inpaint, convention: Convention::Diffusers, ..Start::default() };
        let mask = PICTURES.mask.clone().filter(|_| masked);
        let pictures = Pictures { mask, ..PICTURES.clone() };
        let settings =
            Settings { guidance: runs.guidance, ..settings(runs.steps, &scheduler, start) };
        let (data, _) = drawn(model, settings, &pictures);
        let ours = Host { shape: vec![1, 4, 8, 8], data };
        let off = tiny::distance(&ours, &expected[&run]);
        println!("{run}: off by {off:.1e}");
        if off.is_nan() || off > TOLERANCE {
            worst.push(format!("{run}: {off:.1e}"));
        }
    }
    assert!(worst.is_empty(), "{worst:?}");
}

fn with_mask(picture: &Rgba, is_white: impl Fn(usize, usize) -> bool) -> Pictures {
    let Rgba { width, height, .. } = *picture;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let grey = |(x, y)| if is_white(x, y) { 255 } else { 0 };
    let bytes = places.flat_map(|at| [grey(at), grey(at), grey(at), 255]).collect();
    Pictures { picture: picture.clone(), mask: Some(Rgba { width, height, bytes }) }
}

fn inpaint(blur: f64) -> Start {
    let inpaint = Some(Inpaint { blur, ..Inpaint::default() });
    Start { strength: 0.5, inpaint, ..Start::default() }
}

/// The properties hold whatever the sampler: of one call a step, of two, with a memory, with noise.
const SAMPLERS: [&str; 4] = ["ddim", "heun", "dpmpp_2m", "euler_a"];

#[test]
fn what_is_black_stays_and_all_white_is_no_mask() {
    let model = member("sd1");
    let picture = &PICTURES.picture;
    let plain = Start { strength: 0.5, ..Start::default() };
    for scheduler in SAMPLERS {
        let at = |start: Start, pictures: &Pictures| {
            drawn(&model, settings(4, scheduler, start), pictures)
        };
        let without = Pictures { picture: picture.clone(), mask: None };
        let (anew, _) = at(plain.clone(), &without);
        // An empty mask asks for the whole picture, as in A1111.
        assert_eq!(at(inpaint(0.0), &with_mask(picture, |_, _| false)).0, anew, "{scheduler}");
        let (white, over) = at(inpaint(0.0), &with_mask(picture, |_, _| true));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near(&white, &anew), "{scheduler}: all white");
        assert_ne!(over.bytes, picture.bytes);

        // The left half is painted anew; the right one has the picture's own latents and pixels.
        let halves = with_mask(picture, |x, _| x < 32);
        let (half, over) = at(inpaint(0.0), &halves);
        let model_vae = model.vae().unwrap();
        let planes: Vec<f32> = (0..3)
            .flat_map(|c| picture.bytes.iter().skip(c).step_by(4))
            .map(|byte| f32::from(*byte) / 127.5 - 1.0)
            .collect();
        let planes = burn::tensor::TensorData::new(planes, [1, 3, 64, 64]);
        let (clean, _) = model_vae.encode(burn::tensor::Tensor::from_data(planes, model.device()));
        let clean = values(clean.mul_scalar(model_vae.scaling_factor()));
        for (i, (ours, kept)) in half.iter().zip(&clean).enumerate() {
            let is_kept = i % 8 >= 4;
            assert_eq!((ours - kept).abs() < 1e-5, is_kept, "{scheduler}: {i}: {ours} for {kept}");
        }
        let pixels = over.bytes.chunks_exact(4).zip(picture.bytes.chunks_exact(4));
        for (i, (ours, kept)) in pixels.enumerate() {
            assert!(i % 64 < 32 || ours == kept, "{scheduler}: pixel {i}");
        }
    }
}

#[test]
fn a_part_alone_comes_back_in_the_size_of_its_picture() {
    let model = member("sd1");
    // 96 by 80, of which a corner is worked on at 64 by 64.
    let bytes = (0..96 * 80).flat_map(|i| [(i % 251) as u8, (i / 96) as u8, 90, 255]).collect();
    let picture = Rgba { width: 96, height: 80, bytes };
    let pictures = with_mask(&picture, |x, y| (70..90).contains(&x) && (10..30).contains(&y));
    for content in [Content::Original, Content::Fill, Content::Noise, Content::Nothing] {
        let inpaint =
            Inpaint { blur: 2.0, content, area: Area::Masked, padding: 8, inverted: false };
        let start = Start { strength: 1.0, inpaint: Some(inpaint), ..Start::default() };
        let (_, over) = drawn(&model, settings(2, "euler", start), &pictures);
        assert_eq!((over.width, over.height), (96, 80), "{content:?}");
        let mut painted = 0;
        for (i, (ours, kept)) in
            over.bytes.chunks_exact(4).zip(picture.bytes.chunks_exact(4)).enumerate()
        {
            let (x, y) = (i % 96, i / 96);
            let is_near = (64..96).contains(&x) && (4..36).contains(&y);
            assert!(is_near || ours == kept, "{content:?}: {x}, {y}");
            painted += usize::from(ours != kept);
        }
        assert!(painted > 300, "{content:?}: {painted} pixels are new");
    }
}

#[test]
fn what_is_missing_or_out_of_range_is_named() {
    let model = member("sd1");
    let error = |start: Start, pictures: Option<&Pictures>| {
        let settings = settings(4, "ddim", start);
        let work = TextToImage::from_pictures(model.clone(), settings, None, pictures);
        work.err().unwrap().to_string()
    };
    let without = Pictures { mask: None, ..PICTURES.clone() };
    assert!(error(Start::default(), None).starts_with("picture: is missing"));
    assert!(error(inpaint(4.0), Some(&without)).starts_with("mask: is missing"));
    assert!(error(inpaint(-1.0), Some(&PICTURES)).starts_with("blur: -1 is not within"));
    let strong = Start { strength: 1.5, ..Start::default() };
    assert!(error(strong, Some(&without)).starts_with("strength: 1.5 is not within"));
    let empty = Rgba { width: 0, height: 0, bytes: vec![] };
    let nothing = Pictures { picture: empty, mask: None };
    assert!(error(Start::default(), Some(&nothing)).starts_with("picture: has no pixels"));
}

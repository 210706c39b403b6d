//! Text to image, or text and image to image, from the command line: the same core as the page.
//!
//! ```text
//! cargo run --release --example text_to_image -- --model web/demo-model/model \
//!     --adapter web/demo-model/lora/ink.kohya.safetensors:0.8 \
//!     --prompt "blue cat face" --seed 12 --out cat.png
//! ```

mod options;

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use lorakeet::adapters::Spread;
use lorakeet::error::{Error, Result};
use lorakeet::image::{Rgba, not_finite, to_rgba};
use lorakeet::noise::Rng;
use lorakeet::pipelines::{Settings, StableDiffusion, TextToImage};
use lorakeet::prompt::{Emphasis, without_networks};
use lorakeet::weights::{FileSource, Index};
use options::hires::HiresOptions;
use options::start::{FLAGS, StartOptions};
use options::{Given, Model, Screen, config_beside, device, strengths};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

const USAGE: &str = "\
USAGE: text_to_image --model DIR_OR_FILE --prompt TEXT [OPTIONS]

  --prompt TEXT         what to draw: (word:1.3) weighs words, BREAK begins another chunk,
                        [cat:dog:0.5] and [cat|dog] change while it is drawn, # begins a comment
  --negative TEXT       what to keep away from
  --empty-negative NAME what an empty negative prompt is to SDXL: zeros (by default, where the model says
                        nothing else) or encoded
  --emphasis NAME       how weights act: original, no_norm, comfy_ui, ignore, or none, where
                        brackets are text; original by default
  --clip-skip N         1 (none) to 12: with 2 the text encoder's last layer is left out
  --adapter FILE[:UNET[:TE]]   a LoRA file, its strength for the UNet and for the text encoder
                        (1 and the same as the UNet's by default), or an embedding (textual
                        inversion), whose name is its word; may be given several times. A tag
                        <lora:NAME:TE:UNET> in the prompt sets those of the file NAME.safetensors
  --seed N              0 by default, -1 for a random one
  --rng NAME            whose noise a seed stands for: cpu (PyTorch's; by default) or nv (that of
                        NVIDIA's cards, as A1111 computes it)
  --variation-seed N    another seed, and how far the noise is on the way to that one's:
  --variation-strength X   0 (not at all; by default) to 1
  --steps N             20 by default, or what the model's family is begun with
  --guidance X          7.5 by default (SDXL 5); 1 means none
  --scheduler NAME      ddim, euler, dpmpp_2m, dpmpp_2m_karras, unipc; with fresh noise in each step
                        euler_a, dpmpp_2m_sde, dpmpp_2m_sde_karras, dpmpp_2m_sde_heun, dpmpp_3m_sde;
                        two model calls a step: heun, dpm2, restart, dpmpp_sde, dpmpp_2s_a, dpm2_a; for
                        models of few steps lcm, tcd; dpmpp_2s, deis, lms, pndm, ddpm. The model's own
                        by default
  --schedule NAME       how the noise levels lie, as A1111's \"schedule type\": automatic, karras,
                        exponential, uniform, sgm_uniform, simple, beta, align_your_steps, kl_optimal,
                        ddim, normal, polyexponential; as the model's timesteps do by default
  --spacing NAME        leading, trailing or linspace timesteps; the model's own by default
  --eta X               how much of a step's noise is fresh, 0 to 1: of tcd (0.3 by default), ddim (0),
                        euler_a, dpm2_a, dpmpp_2s_a and those with sde in their name (1)
  --size WxH            pixels, multiples of 8; the model's own by default
  --noise FILE          initial noise from a safetensors file (its first [1, 4, h, w] tensor)
{START}{HIRES}  --out FILE            the picture, picture.png by default
  --latents FILE        writes the final latents, before decoding, as tensor `latents`
  --quiet               no progress
";

#[derive(Default)]
struct Arguments {
    model: Model,
    prompt: String,
    negative: String,
    encode_empty_negative: bool,
    emphasis: Emphasis,
    clip_skip: Option<usize>,
    adapters: Vec<String>,
    seed: u64,
    rng: Rng,
    variation_seed: u64,
    variation_strength: Option<f64>,
    steps: Option<usize>,
    guidance: Option<f64>,
    scheduler: Option<String>,
    spacing: Option<String>,
    schedule: Option<String>,
    eta: Option<f64>,
    size: Option<(usize, usize)>,
    noise: Option<String>,
    start: StartOptions,
    hires: HiresOptions,
    out: Option<String>,
    latents: Option<String>,
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    options::end(&arguments, &usage(), || run(&parse(&arguments)?))
}

fn usage() -> String {
    USAGE.replace("{START}", options::start::USAGE).replace("{HIRES}", options::hires::USAGE)
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    let flags = [&["--quiet"], &FLAGS[..]].concat();
    options::each(arguments, &flags, |given| {
        if parsed.model.take(&given)? || parsed.start.take(&given)? || parsed.hires.take(&given)? {
            return Ok(());
        }
        match given.name {
            "--quiet" => parsed.quiet = true,
            "--prompt" => parsed.prompt = given.text()?,
            "--negative" => parsed.negative = given.text()?,
            "--empty-negative" => {
                parsed.encode_empty_negative = match given.value()? {
                    "zeros" => false,
                    "encoded" => true,
                    _ => return Err(given.bad("is neither zeros nor encoded")),
                }
            }
            "--emphasis" => parsed.emphasis = named(&given, "is no way to weigh words")?,
            "--clip-skip" => parsed.clip_skip = Some(given.whole()?),
            "--adapter" => parsed.adapters.push(given.text()?),
            "--seed" => parsed.seed = given.seed()?,
            "--rng" => parsed.rng = named(&given, "is no generator")?,
            "--variation-seed" => parsed.variation_seed = given.seed()?,
            "--variation-strength" => parsed.variation_strength = Some(given.number()?),
            "--steps" => parsed.steps = Some(given.whole()?),
            "--guidance" => parsed.guidance = Some(given.number()?),
            "--scheduler" => parsed.scheduler = Some(given.text()?),
            "--schedule" => parsed.schedule = Some(given.text()?),
            "--spacing" => parsed.spacing = Some(given.text()?),
            "--eta" => parsed.eta = Some(given.number()?),
            "--size" => {
                let size = given
                    .value()?
                    .split_once('x')
                    .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                parsed.size = Some(size.ok_or_else(|| given.bad("is not of the form 512x512"))?);
            }
            "--noise" => parsed.noise = Some(given.text()?),
            "--out" => parsed.out = Some(given.text()?),
            "--latents" => parsed.latents = Some(given.text()?),
            _ => return Err(given.bad("is not an option")),
        }
        Ok(())
    })?;
    parsed.model.check()?;
    Ok(parsed)
}

/// By the name that settings have for it.
fn named<T: DeserializeOwned>(given: &Given, problem: &str) -> Result<T> {
    let name: StrDeserializer<'_, serde::de::value::Error> = given.value()?.into_deserializer();
    T::deserialize(name).map_err(|_| given.bad(problem))
}

/// Adds an adapter and says what it is: its file and number.
fn add<'a>(model: &StableDiffusion, argument: &'a str, screen: &Screen) -> Result<(&'a str, u64)> {
    let (file, unet, text_encoder) = strengths(argument);
    let id = model.add_adapter(&FileSource::open(file)?, config_beside(file)?.as_deref())?;
    model.set_adapter(id, true, unet, text_encoder)?;
    let adapters = model.adapters();
    if let Some(attached) = adapters.iter().find(|attached| attached.id == id) {
        screen.say(&format!("{}: {}\n", attached.name, attached.report.summary));
        for note in &attached.report.notes {
            screen.say(&format!("{}: {note}\n", attached.name));
        }
        if let Some(advice) = &attached.report.advice {
            let steps = &advice.settings;
            screen.say(&format!("{}: made for {steps} ({})\n", advice.name, advice.why));
        }
    }
    Ok((file, id))
}

/// Sets the strengths that a prompt's tags give to adapters, by their files' names, in a picture of so many
/// steps; the prompt without those tags. What names no file here stays, and is told of with the picture.
fn tagged(
    model: &StableDiffusion,
    named: &[(String, u64)],
    prompt: &str,
    steps: usize,
) -> Result<String> {
    let mut asked = Vec::new();
    let prompt = without_networks(prompt, |network| {
        let is_it = |(name, _): &&(String, u64)| name.eq_ignore_ascii_case(&network.name);
        let found = named.iter().find(is_it);
        asked.extend(found.map(|(_, id)| (*id, network.clone())));
        found.is_some()
    });
    for (id, network) in asked {
        model.set_adapter(id, true, network.unet as f32, network.text_encoder as f32)?;
        let [start, stop] = network.steps.each_ref().map(Option::as_deref);
        model.spread_adapter(id, Spread::of_tag(network.blocks.as_deref(), start, stop, steps)?)?;
    }
    Ok(prompt)
}

fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::new(arguments.quiet);
    let out = arguments.out.as_deref().unwrap_or("picture.png");
    for path in [Some(out), arguments.latents.as_deref()].into_iter().flatten() {
        options::check_place(Path::new(path), false)?;
    }
    let model = Rc::new(arguments.model.load(&device(), &screen)?);
    let mut named = Vec::new();
    for argument in &arguments.adapters {
        let (file, id) = add(&model, argument, &screen)?;
        let stem = Path::new(file).file_stem().unwrap_or_default();
        named.push((stem.to_string_lossy().into_owned(), id));
    }
    let (native, usual) = (model.native_size(), model.family.defaults);
    let steps = arguments.steps.unwrap_or(usual.map_or(20, |usual| usual.steps));
    let prompt = tagged(&model, &named, &arguments.prompt, steps)?;

    let (start, pictures) = arguments.start.read()?.unzip();
    let (width, height) = arguments.size.unwrap_or((native, native));
    let settings = Settings {
        prompt,
        negative_prompt: arguments.negative.clone(),
        encode_empty_negative: arguments.encode_empty_negative,
        emphasis: arguments.emphasis,
        clip_skip: arguments.clip_skip.unwrap_or(1),
        steps,
        guidance: arguments.guidance.unwrap_or(usual.map_or(7.5, |usual| usual.guidance)),
        seed: arguments.seed,
        rng: arguments.rng,
        variation_seed: arguments.variation_seed,
        variation_strength: arguments.variation_strength.unwrap_or(0.0),
        scheduler: arguments.scheduler.clone(),
        spacing: arguments.spacing.clone(),
        schedule: arguments.schedule.clone(),
        eta: arguments.eta,
        width,
        height,
        start,
        hires: arguments.hires.read()?,
        ..Settings::default()
    };
    let noise = arguments.noise.as_deref().map(read_noise).transpose()?;
    let started = std::time::Instant::now();
    let mut work = TextToImage::from_pictures(model, settings, noise, pictures.as_ref())?;
    let picture = loop {
        let step = work.advance()?;
        screen.say(&format!(
            "step {} of {}, {:.0} %",
            step.step,
            step.steps,
            100.0 * step.fraction
        ));
        if let Some(picture) = step.picture {
            break picture;
        }
    };
    if let Some(path) = &arguments.latents {
        write_latents(path, work.latents())?;
    }
    for note in work.notes() {
        screen.say(&format!("{note}\n"));
    }
    let [_, _, height, width] = picture.dims();
    let planes = values(picture)?;
    if let Some(note) = not_finite(&planes) {
        screen.say(&format!("{note}\n"));
    }
    write_png(out, &work.finished(to_rgba(&planes, width, height)))?;
    let (seconds, seed) = (started.elapsed().as_secs_f64(), arguments.seed);
    screen.say(&format!("{out} of seed {seed} after {seconds:.1} s\n"));
    Ok(())
}

fn read_noise(path: &str) -> Result<Vec<f32>> {
    let source = FileSource::open(path)?;
    let index = Index::read(&source)?;
    let (key, info) = index.tensors.iter().next().ok_or_else(|| {
        Error::file(path, "holds no tensor", "Give a file with noise of [1, 4, height/8, width/8]")
    })?;
    let values = index.read_f32(&source, key)?;
    // Of several rows, the first: one row is one picture.
    let row = info.shape.first().map_or(values.len(), |rows| values.len() / (*rows).max(1));
    Ok(values[..row].to_vec())
}

fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Result<Vec<f32>> {
    let failed = |problem: String| Error::device(problem, "Try a smaller picture");
    let data = tensor.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.convert::<f32>().try_into_vec().map_err(|error| failed(format!("{error:?}")))
}

fn write_latents(path: &str, latents: burn::tensor::Tensor<4>) -> Result<()> {
    let shape = latents.dims();
    let bytes: Vec<u8> = values(latents)?.iter().flat_map(|value| value.to_le_bytes()).collect();
    let failed = |problem: String| Error::file(path, problem, "Check the path");
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.into(), &bytes)
        .map_err(|error| failed(error.to_string()))?;
    let file = safetensors::serialize([("latents", view)], None)
        .map_err(|error| failed(error.to_string()))?;
    std::fs::write(path, file).map_err(|error| failed(format!("can't be written: {error}")))
}

fn write_png(path: &str, pixels: &Rgba) -> Result<()> {
    let failed = |problem: String| Error::file(path, problem, "Check the path of --out");
    let file = std::fs::File::create(path)
        .map_err(|error| failed(format!("can't be written: {error}")))?;
    let mut encoder =
        png::Encoder::new(std::io::BufWriter::new(file), pixels.width as u32, pixels.height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&pixels.bytes))
        .map_err(|error| failed(format!("can't be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/model");
    const INK: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/lora/ink.kohya.safetensors");
    const REFERENCE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/demo-model/reference");

    fn call(arguments: &[&str]) -> Result<()> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        run(&parse(&arguments)?)
    }

    /// A path in the temporary folder, of this process and name.
    fn temporary(name: &str) -> String {
        let file = format!("lorakeet-cli-{}-{name}", std::process::id());
        std::env::temp_dir().join(file).to_str().unwrap().into()
    }

    #[test]
    fn strengths_are_taken_from_the_right() {
        assert_eq!(strengths("a.safetensors"), ("a.safetensors", 1.0, 1.0));
        assert_eq!(strengths("a.safetensors:0.5"), ("a.safetensors", 0.5, 0.5));
        assert_eq!(strengths("C:/a.safetensors:-1:0"), ("C:/a.safetensors", -1.0, 0.0));
        assert_eq!(strengths("a:b:2"), ("a:b", 2.0, 2.0));
    }

    #[test]
    fn bad_arguments_and_files_are_named() {
        let message = |arguments: &[&str]| call(arguments).unwrap_err().to_string();
        assert!(message(&[]).starts_with("--model: is missing"));
        assert!(message(&["--what", "x"]).starts_with("--what: is not an option"));
        assert!(message(&["--seed"]).starts_with("--seed: needs a value"));
        for seed in ["-2", "18446744073709551616", "1.5", "many"] {
            assert!(message(&["--seed", seed]).starts_with("--seed: is no whole number from 0 to"));
        }
        let error = message(&["--model", MODEL, "--out", "no/such/folder/picture.png"]);
        assert!(error.starts_with("no/such/folder/picture.png: can't be written"), "{error}");
        assert!(message(&["--size", "512"]).starts_with("--size: is not of the form"));
        assert!(message(&["--model", "no/such"]).starts_with("no/such: "));
        // A LoRA is no model, and a model is no LoRA.
        assert!(message(&["--model", INK]).contains("adapter"));
        let unet = format!("{MODEL}/unet/diffusion_pytorch_model.fp16.safetensors");
        let error = message(&["--model", MODEL, "--quiet", "--adapter", &unet]);
        assert!(error.contains("not an adapter"), "{error}");
        let strong = format!("{INK}:30");
        let error = message(&["--model", MODEL, "--quiet", "--adapter", &strong]);
        assert!(error.contains("30 is not between -10 and 10"), "{error}");
        let noise = format!("{REFERENCE}/text.safetensors");
        let error = message(&["--model", MODEL, "--quiet", "--noise", &noise]);
        assert!(error.starts_with("noise: has"), "{error}");
    }

    /// The strengths of a tag are those of its file; a name that no file has changes nothing.
    #[test]
    fn tags_set_the_strengths_of_their_files() {
        let drawn = |prompt: &str, adapter: &str| {
            let latents = temporary("tagged.safetensors");
            let short = ["--model", MODEL, "--steps", "2", "--size", "64x64", "--quiet"];
            let out = ["--out", &temporary("tagged.png"), "--latents", &latents];
            let what = ["--prompt", prompt, "--adapter", adapter];
            call(&[&short[..], &out, &what].concat()).unwrap();
            let read = std::fs::read(&latents).unwrap();
            std::fs::remove_file(latents).unwrap();
            std::fs::remove_file(temporary("tagged.png")).unwrap();
            read
        };
        let half = drawn("a cat ", &format!("{INK}:0.5:0.25"));
        assert_eq!(drawn("a cat <lora:Ink.kohya:0.25:0.5>", INK), half);
        assert_ne!(drawn("a cat <lora:soft:0.25:0.5>", INK), half);
        assert_eq!(drawn("a cat <lora:soft:0.5>", INK), drawn("a cat ", INK));
    }

    /// What is black in the mask has the picture's pixels; options that mean nothing are named.
    #[test]
    fn a_picture_is_started_from_and_kept_where_the_mask_is_black() {
        let house = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/training-set/house.png");
        let read = |path: &str| {
            let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
            image::load(file, image::ImageFormat::Png).unwrap().into_rgba8()
        };
        let (mask, out) = (temporary("mask.png"), temporary("painted.png"));
        let (width, height) = read(house).dimensions();
        let left = |x: u32, _: u32| image::Luma([if x < width / 2 { 255u8 } else { 0 }]);
        image::GrayImage::from_fn(width, height, left).save(&mask).unwrap();
        let model = ["--model", MODEL, "--prompt", "blue cat face", "--steps", "3", "--quiet"];
        let picture = ["--image", house, "--strength", "0.9", "--out", &out];
        let masked = ["--mask", &mask, "--mask-blur", "0", "--only-masked", "8", "--size", "64x64"];
        call(&[&model[..], &picture, &masked].concat()).unwrap();
        let (before, after) = (read(house), read(&out));
        assert_eq!(before.dimensions(), after.dimensions());
        let differ = |right: bool| {
            let pixels = before.enumerate_pixels().zip(after.pixels());
            let of_half = pixels.filter(|((x, ..), _)| (*x >= width / 2) == right);
            of_half.filter(|((.., old), new)| old != new).count()
        };
        // On white, which is what is transparent in the picture, nothing else changes.
        assert!(differ(false) > 100, "{}", differ(false));
        let opaque = before.pixels().all(|pixel| pixel[3] == 255);
        assert!(!opaque || differ(true) == 0, "{}", differ(true));
        for file in [&mask, &out] {
            std::fs::remove_file(file).unwrap();
        }

        let message = |more: &[&str]| call(&[&model[..], more].concat()).unwrap_err().to_string();
        assert!(message(&["--strength", "1"]).starts_with("--strength: means nothing without"));
        let lonely = message(&["--image", house, "--mask-blur", "1"]);
        assert!(lonely.starts_with("--mask-blur: means nothing without --mask"), "{lonely}");
        assert!(message(&["--image", MODEL]).contains("can't be decoded"));
        assert!(message(&["--image", house, "--strength", "2"]).starts_with("strength: 2 is not"));
    }

    /// The picture and its latents have the second pass's size, in whole latents.
    #[test]
    fn a_picture_is_drawn_once_more_and_larger() {
        let (out, latents) = (temporary("larger.png"), temporary("larger.safetensors"));
        let model = ["--model", MODEL, "--prompt", "fox", "--guidance", "1", "--quiet"];
        let first = ["--steps", "2", "--size", "64x72", "--out", &out, "--latents", &latents];
        let hires = ["--hires", "1.3", "--hires-upscaler", "lanczos", "--hires-strength", "0.4"];
        call(&[&model[..], &first, &hires, &["--hires-steps", "1"]].concat()).unwrap();
        assert_eq!(image::image_dimensions(&out).unwrap(), (80, 88));
        let file = Index::read(&FileSource::open(&latents).unwrap()).unwrap();
        assert_eq!(file.tensors["latents"].shape, [1, 4, 11, 10]);
        for file in [&out, &latents] {
            std::fs::remove_file(file).unwrap();
        }
        let message = |more: &[&str]| call(&[&model[..], more].concat()).unwrap_err().to_string();
        let lonely = message(&["--hires-steps", "4"]);
        assert!(lonely.starts_with("--hires-steps: means nothing without --hires"), "{lonely}");
        let unknown = message(&["--hires-upscaler", "4x-UltraSharp"]);
        assert!(unknown.contains("is none of latent, latent-nearest, lanczos"), "{unknown}");
        assert!(message(&["--hires", "9"]).starts_with("hires scale: 9 is not within 1..4"));
    }

    #[test]
    fn the_reference_run_is_met_and_written() {
        let (picture, latents) = (temporary("picture.png"), temporary("latents.safetensors"));
        let noise = format!("{REFERENCE}/noise.safetensors");
        let ink = format!("{INK}:0.5");
        let reference = ["--prompt", "smiling face with sunglasses", "--guidance", "4"];
        let files = ["--noise", &noise, "--out", &picture, "--latents", &latents, "--quiet"];
        let model = ["--model", MODEL, "--adapter", &ink, "--scheduler", "euler"];
        call(&[&reference[..], &files, &model].concat()).unwrap();

        let read = |file: &str, key: &str| {
            let source = FileSource::open(file).unwrap();
            Index::read(&source).unwrap().read_f32(&source, key).unwrap()
        };
        let expected = read(&format!("{REFERENCE}/final-latents.safetensors"), "euler.ink_0.5");
        let got = read(&latents, "latents");
        let error = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(got.len() == 1024 && error < 1e-3, "{error}");
        let decoder =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&picture).unwrap()));
        assert_eq!(decoder.read_info().unwrap().info().size(), (128, 128));
        for file in [picture, latents] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

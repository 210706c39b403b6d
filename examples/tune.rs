//! Fine-tunes an adapter from the command line: the same trainer as the page.
//!
//! ```text
//! cargo run --release --example tune -- --model web/demo-model/model \
//!     --images web/demo-model/training-set --steps 100 --out night.safetensors
//! ```

mod options;
mod pictures;

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use burn::tensor::Device;
use lorakeet::error::{Error, Result};
use lorakeet::memory::Counting;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::export::{Format, Request};
use lorakeet::training::picture::{Picture, Role, warnings};
use lorakeet::training::trainer::read;
use lorakeet::training::{
    Config, Dataset, Evaluation, LeaveOneOut, Offer, Preparation, Preset, Reference, Setup,
    Trainer, evaluation, leave_one_out, reference,
};
use lorakeet::weights::{FileSource, Source, parse_json, text};
use options::{Model, Screen, device, mebi, unwritable};
use serde::Deserialize;

/// Counts what a run takes.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "\
USAGE: tune --model DIR_OR_FILE --images DIR --out FILE [OPTIONS]

  --images DIR          PNG, JPEG and WebP pictures, each with its caption in a .txt or .caption of the
                        same name; or folders of them, such as kohya's 10_red engine
  --held-out DIR        pictures to measure with, never trained on
  --class DIR           pictures of the same class, to keep what the base knows
  --config FILE         settings as JSON, the page's own (README, \"Training settings\")
  --preset NAME         quick, normal or careful; --config overrides what it names
  --steps N             optimiser steps, in place of the configuration's
  --seed N              in place of the configuration's
  --out FILE            the adapter, a kohya .safetensors
  --format NAME         kohya (default), diffusers or peft (then --out is a folder)
  --log FILE            one JSON line a step; evaluations between them, memory and time at the end; a
                        run that goes on adds its lines
  --state FILE          written every snapshotEvery steps and at the end, and read at the start if it is
                        there: goes on from there
  --leave-one-out       then, for each picture, another run without it, judged on it
  --reference FILE      latents, text embeddings, first values, order, timesteps, noise and dropped
                        captions from a file like light-tuning/given.safetensors
  --quiet               no progress
";

#[derive(Default)]
struct Arguments {
    model: Model,
    images: Option<PathBuf>,
    held_out: Option<PathBuf>,
    class: Option<PathBuf>,
    config: Option<String>,
    preset: Option<Preset>,
    steps: Option<usize>,
    seed: Option<u64>,
    out: PathBuf,
    format: Option<Format>,
    log: Option<String>,
    state: Option<PathBuf>,
    leave_one_out: bool,
    reference: Option<String>,
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    options::end(&arguments, USAGE, || run(&parse(&arguments)?))
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    options::each(arguments, &["--quiet", "--leave-one-out"], |given| {
        if parsed.model.take(&given)? {
            return Ok(());
        }
        match given.name {
            "--quiet" => parsed.quiet = true,
            "--leave-one-out" => parsed.leave_one_out = true,
            "--images" => parsed.images = Some(given.value()?.into()),
            "--held-out" => parsed.held_out = Some(given.value()?.into()),
            "--class" => parsed.class = Some(given.value()?.into()),
            "--config" => parsed.config = Some(given.text()?),
            "--preset" => parsed.preset = Some(given.named("quick, normal, careful")?),
            "--steps" => parsed.steps = Some(given.whole()?),
            "--seed" => parsed.seed = Some(given.whole()?),
            "--out" => parsed.out = given.value()?.into(),
            "--format" => parsed.format = Some(given.named("kohya, diffusers, peft")?),
            "--log" => parsed.log = Some(given.text()?),
            "--state" => parsed.state = Some(given.value()?.into()),
            "--reference" => parsed.reference = Some(given.text()?),
            _ => return Err(given.bad("is not an option")),
        }
        Ok(())
    })?;
    parsed.model.check()?;
    let missing = |name: &str| Err(Error::setting(name, "is missing", "See --help"));
    if parsed.out.as_os_str().is_empty() {
        return missing("--out");
    }
    if parsed.images.is_none() && parsed.reference.is_none() {
        return missing("--images");
    }
    Ok(parsed)
}

/// A whole run; its last evaluation.
fn run(arguments: &Arguments) -> Result<evaluation::Report> {
    let screen = Screen::new(arguments.quiet);
    let log_path = arguments.log.as_deref().map(Path::new);
    let places = [Some(arguments.out.as_path()), log_path, arguments.state.as_deref()];
    for (i, place) in places.into_iter().enumerate() {
        let is_folder = i == 0 && arguments.format == Some(Format::Peft);
        place.map_or(Ok(()), |place| options::check_place(place, is_folder))?;
    }
    let model = Rc::new(arguments.model.load(&device(), &screen)?);
    let config = config(arguments, model.native_size())?;
    if config.leave_one_out && arguments.reference.is_some() {
        return Err(Error::setting(
            "leaveOneOut",
            "leaves out pictures that the batches of --reference are made of",
            "Switch it off, or give --images in place of --reference",
        ));
    }
    let source = arguments.reference.as_deref().map(FileSource::open).transpose()?;
    let (dataset, reference) = match &source {
        Some(source) => {
            (reference::dataset(source, "")?, Some(Rc::new(Reference::read(source, "")?)))
        }
        None => (prepare(&model, arguments, &config, &screen)?, None),
    };
    model.release_encoders();
    let dataset = Rc::new(dataset);
    let counts = [Role::Train, Role::HeldOut, Role::Class].map(|role| dataset.of(role).len());
    let predicted = offer(&model).estimate(&model, &config, counts)?;
    let mut settled = config.clone();
    predicted.settle(&mut settled);
    let predicted = predicted.bytes;
    let mut trainer = set_up(&model, settled, dataset.clone(), reference, &screen)?;
    let kept = arguments.state.as_ref().filter(|path| path.exists());
    if let Some(path) = kept {
        let state = std::fs::read(path).map_err(|error| {
            let problem = format!("can't be read: {error}");
            Error::file(path.display().to_string(), problem, "Check its permissions")
        })?;
        trainer.restore(&state)?;
        screen.say(&format!("going on after step {}\n", trainer.step()));
    }
    let adapter = trainer.adapter();
    screen.say(&format!(
        "{} modules, {} parameters, learning rate {:.2e}, needs about {}{}\n",
        adapter.modules.len(),
        adapter.parameters.len(),
        trainer.learning_rate(),
        mebi(predicted),
        if trainer.checkpointed() { ", blocks are run twice to save memory" } else { "" },
    ));
    let log = match &arguments.log {
        Some(path) => {
            let mut options = std::fs::OpenOptions::new();
            // What a run before this one said stays, where this one goes on from it.
            let options = options.create(true).write(true).append(kept.is_some());
            let file = options.truncate(kept.is_none()).open(path);
            Some((path, file.map_err(|e| unwritable(path, &e))?))
        }
        None => None,
    };
    let log = RefCell::new(log);
    let write = |kind: &str, mut line: serde_json::Value| match &mut *log.borrow_mut() {
        Some((path, file)) => {
            line["kind"] = kind.into();
            writeln!(file, "{line}").map_err(|error| unwritable(path, &error))
        }
        None => Ok(()),
    };
    let evaluated = |trainer: &mut Trainer| -> Result<evaluation::Report> {
        let report = evaluate(trainer)?;
        let held = report.held_out.map_or(String::new(), |held| {
            format!(", held out {:.4} ({:.3} of the base)", held.loss, held.ratio)
        });
        screen.say(&format!(
            "step {}: stable loss {:.4} ({:.3} of the base){held}, drift {:.3}. {}\n",
            report.step, report.train.loss, report.train.ratio, report.drift, report.words
        ));
        write("evaluation", serde_json::json!(report))?;
        Ok(report)
    };
    let mut last = evaluated(&mut trainer)?;
    let started = Instant::now();
    while !trainer.finished() {
        let report = trainer.run_step()?;
        screen.say(&format!(
            "step {} of {}, loss {:.4}, {:.2} s a step",
            report.step,
            report.steps,
            report.loss,
            started.elapsed().as_secs_f64() / report.step as f64
        ));
        let stopped = report.stopped.clone();
        write("step", serde_json::json!(report))?;
        let every = trainer.config().evaluate_every;
        if trainer.finished() || (every > 0 && trainer.step() % every == 0) || stopped.is_some() {
            last = evaluated(&mut trainer)?;
        }
        let due = trainer.config().snapshot_every;
        if let Some(path) = &arguments.state
            && stopped.is_none()
            && due > 0
            && trainer.step() % due == 0
        {
            save_whole(path, &trainer.state()?)?;
        }
        if let Some(reason) = stopped {
            return Err(Error::setting("learningRate", reason, "Try a tenth of it"));
        }
    }
    if let Some(path) = &arguments.state {
        save_whole(path, &trainer.state()?)?;
    }
    let request = Request {
        format: arguments.format.unwrap_or(Format::Kohya),
        half: false,
        title: arguments.out.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        thumbnail: None,
        date: None,
    };
    let files = trainer.export(&request)?;
    for file in &files {
        // One file goes where it is asked for; PEFT's two go into a folder of that name.
        let path = if files.len() == 1 && request.format != Format::Peft {
            arguments.out.clone()
        } else {
            std::fs::create_dir_all(&arguments.out).map_err(|e| unwritable(&arguments.out, &e))?;
            arguments.out.join(&file.name)
        };
        save(&path, &file.bytes)?;
        screen.say(&format!("{}, {} bytes\n", path.display(), file.bytes.len()));
    }
    let (seconds, peak) = (started.elapsed().as_secs_f64(), trainer.peak_bytes());
    let most = peak.map_or("not told by this device".into(), mebi);
    screen.say(&format!("{seconds:.0} s; memory: predicted {}, peak {most}\n", mebi(predicted)));
    let end = serde_json::json!({
        "step": trainer.step(), "seconds": seconds, "predictedBytes": predicted, "peakBytes": peak,
    });
    write("finished", end)?;
    if config.leave_one_out {
        // The run's memory is free for those that follow.
        drop(trainer);
        write("leaveOneOut", serde_json::json!(leave_out(&model, config, dataset, &screen)?))?;
    }
    Ok(last)
}

/// For each picture a run without it.
fn leave_out(
    model: &Rc<StableDiffusion>,
    config: Config,
    dataset: Rc<Dataset>,
    screen: &Screen,
) -> Result<leave_one_out::Report> {
    let mut work = LeaveOneOut::new(model.clone(), config, dataset)?;
    let (mut told, started) = (0, Instant::now());
    loop {
        let tensor = work.advance()?;
        for judged in &work.judged()[told..] {
            let ratio = judged.stable.ratio;
            screen.say(&format!("{}, left out: {ratio:.3} of the base\n", judged.name));
        }
        told = work.judged().len();
        let Some(tensor) = tensor else { break };
        work.conclude(read(tensor)?)?;
        let now = work.progress();
        let left = started.elapsed().as_secs_f64() * (1.0 / now.fraction.max(1e-9) - 1.0);
        screen.say(&format!(
            "without {} ({} of {}), about {left:.0} s left",
            now.picture,
            now.done + 1,
            now.pictures
        ));
    }
    let report = work.finish();
    screen.say(&format!("{}\n", report.words));
    Ok(report)
}

fn config(arguments: &Arguments, native: usize) -> Result<Config> {
    let mut settings = match arguments.preset {
        Some(preset) => serde_json::json!(preset.config(native)),
        None => serde_json::json!(Config::default()),
    };
    if let Some(path) = &arguments.config {
        let source = FileSource::open(path)?;
        let bad =
            |problem: String| Error::file(path, problem, "See \"Training settings\" in the README");
        let text = text::unicode(&source.read_all()?);
        let text = text.ok_or_else(|| bad("isn't text: save it anew as UTF-8".into()))?;
        let given = parse_json(&text).map_err(|error| bad(format!("isn't JSON ({error})")))?;
        let fields = given.as_object().ok_or_else(|| {
            bad("holds no list of settings, which stands in braces: {\"steps\": 100}".into())
        })?;
        for (name, value) in fields {
            // One by one, since serde's message doesn't say which it was.
            settings[name] = value.clone();
            Config::deserialize(&settings).map_err(|error| {
                Error::key(path, name, error.to_string(), "See \"Training settings\" in the README")
            })?;
        }
    }
    let mut config = Config::deserialize(&settings).map_err(|error| {
        Error::setting("settings", error.to_string(), "See \"Training settings\" in the README")
    })?;
    config.leave_one_out |= arguments.leave_one_out;
    config.steps = arguments.steps.unwrap_or(config.steps);
    config.seed = arguments.seed.unwrap_or(config.seed);
    Ok(config)
}

fn prepare(
    model: &Rc<StableDiffusion>,
    arguments: &Arguments,
    config: &Config,
    screen: &Screen,
) -> Result<Dataset> {
    let mut pictures = Vec::new();
    let folders = [
        (&arguments.images, Role::Train),
        (&arguments.held_out, Role::HeldOut),
        (&arguments.class, Role::Class),
    ];
    for (folder, role) in folders {
        let Some(folder) = folder else { continue };
        let found = pictures::read(folder, role)?;
        for note in found.notes {
            screen.say(&format!("{note}\n"));
        }
        pictures.extend(found.pictures);
    }
    // What can't be trained is said before anything is encoded.
    let count = |role| pictures.iter().filter(|picture: &&Picture| picture.role == role).count();
    let counts = [Role::Train, Role::HeldOut, Role::Class].map(count);
    offer(model).estimate(model, config, counts)?;
    let side = config.resolution.unwrap_or(model.native_size());
    for (picture, found) in pictures.iter().zip(warnings(&pictures, side)) {
        for warning in found {
            screen.say(&format!("{}: {warning}\n", picture.name));
        }
    }
    let mut preparation = Preparation::new(model.clone(), pictures, config)?;
    while let Some(tensor) = preparation.advance()? {
        let (done, total) = preparation.progress();
        screen.say(&format!("preparing {}: {done} of {total}", preparation.current()));
        preparation.conclude(&read(tensor)?)?;
    }
    for note in preparation.notes() {
        screen.say(&format!("{note}\n"));
    }
    Ok(preparation.finish())
}

fn set_up(
    model: &Rc<StableDiffusion>,
    config: Config,
    dataset: Rc<Dataset>,
    reference: Option<Rc<Reference>>,
    screen: &Screen,
) -> Result<Trainer> {
    let mut setup = Setup::new(model.clone(), config, dataset, reference)?;
    while let Some(tensor) = setup.advance()? {
        setup.conclude(read(tensor)?)?;
        let (done, all) = setup.progress();
        screen.say(&format!("looking at weights: {done} of {all}"));
    }
    setup.finish()
}

fn evaluate(trainer: &mut Trainer) -> Result<evaluation::Report> {
    let mut evaluation = Evaluation::new(trainer);
    while let Some(tensor) = evaluation.advance(trainer)? {
        evaluation.conclude(read(tensor)?);
    }
    Ok(evaluation.finish(trainer))
}

/// What there is for a run: of a GPU nobody knows.
fn offer(model: &StableDiffusion) -> Offer {
    let on_host = *model.device() == Device::flex();
    Offer { free: on_host.then(available).flatten(), buffer: None }
}

/// Bytes that the system can give to a program, where it tells (Linux).
fn available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// As [`save`], so that the file is whole at any moment.
fn save_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    save(&new, bytes)?;
    std::fs::rename(&new, path).map_err(|error| unwritable(path, &error))
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| unwritable(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn call(arguments: &[&str]) -> Result<evaluation::Report> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        run(&parse(&arguments)?)
    }

    fn here(path: &str) -> String {
        format!("{ROOT}/{path}")
    }

    /// A path in the temporary folder, of this process and name.
    fn temporary(name: &str) -> String {
        let file = format!("lorakeet-tune-{}-{name}", std::process::id());
        std::env::temp_dir().join(file).to_str().unwrap().into()
    }

    fn lines(log: &str, kind: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &serde_json::Value| line["kind"] == kind).collect()
    }

    /// A folder of two of the demo model's pictures: measuring takes most of the time of a short run,
    /// and it grows with the pictures.
    fn two_pictures(name: &str) -> String {
        let folder = temporary(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["house.png", "house.txt", "rocket.png", "rocket.txt"] {
            let from = here(&format!("web/demo-model/training-set/{file}"));
            std::fs::copy(from, format!("{folder}/{file}")).unwrap();
        }
        folder
    }

    #[test]
    fn bad_arguments_and_files_are_named() {
        let message = |arguments: &[&str]| match call(arguments) {
            Ok(_) => panic!("{arguments:?} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(message(&[]).starts_with("--model: is missing"));
        assert!(message(&["--model", "x", "--out", "y"]).starts_with("--images: is missing"));
        assert!(message(&["--steps", "many"]).starts_with("--steps: is not a whole number"));
        assert!(message(&["--preset", "best"]).starts_with("--preset: is none of quick"));
        assert!(message(&["--what", "x"]).starts_with("--what: is not an option"));
        assert!(message(&["--weights", "f8"]).starts_with("--weights: is none of f32, f16, q8"));
        let model = here("web/demo-model/model");
        let both = ["--model", &model, "--out", "y", "--reference", "z", "--leave-one-out"];
        let error = message(&[&both[..], &["--quiet"]].concat());
        assert!(error.starts_with("leaveOneOut: leaves out pictures"), "{error}");
        let base = ["--quiet", "--model", &model, "--out", "unused.safetensors"];
        let empty = here("docs/specs");
        let error = message(&[&base[..], &["--images", &empty]].concat());
        assert!(error.contains("no PNG, JPEG or WebP"), "{error}");

        let folder = temporary("broken");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(format!("{folder}/hole.png"), b"\x89PNG\r\n\x1a\nand then nothing").unwrap();
        let error = message(&[&base[..], &["--images", &folder]].concat());
        assert!(error.starts_with("hole.png: can't be decoded"), "{error}");
        let config = format!("{folder}/config.json");
        std::fs::write(&config, r#"{"rnak": 4}"#).unwrap();
        let images = here("web/demo-model/training-set");
        let error = message(&[&base[..], &["--images", &images, "--config", &config]].concat());
        assert!(error.contains("config.json") && error.contains("rnak"), "{error}");
        for (text, says) in [
            ("[1, 2]", "holds no list of settings"),
            ("null", "holds no list of settings"),
            ("{", "isn't JSON"),
            (r#"{"steps": "many"}"#, "config.json: steps: "),
            ("\u{FEFF}{\"rank\": 0}", "rank: 0 is not between 1"),
        ] {
            std::fs::write(&config, text).unwrap();
            let error = message(&[&base[..], &["--images", &images, "--config", &config]].concat());
            assert!(error.contains(says), "{text}: {error}");
        }
        let utf16: Vec<u8> = "{\"rank\": 0}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&config, utf16).unwrap();
        let error = message(&[&base[..], &["--images", &images, "--config", &config]].concat());
        assert!(error.starts_with("rank: 0 is not between 1"), "{error}");
        // Places that can't be written to, before the model is read.
        let deep = format!("{folder}/no/such/out.safetensors");
        for place in [["--out", &deep], ["--log", &deep], ["--state", &deep], ["--out", &folder]] {
            let given = ["--model", "no model", "--images", &images, "--out", &config];
            let error = message(&[&given[..], &place].concat());
            assert!(error.contains("can't be written"), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_short_run_is_logged_written_and_resumed() {
        let [log, out, state, config] =
            ["log.jsonl", "out.safetensors", "state", "config.json"].map(temporary);
        let settings = r#"{"targets": "crossAttention", "blocks": ["mid"], "rank": 2, "batch": 1,
            "evaluateEvery": 0}"#;
        std::fs::write(&config, settings).unwrap();
        let (model, images) = (here("web/demo-model/model"), two_pictures("pictures"));
        let files = ["--model", &model, "--images", &images, "--config", &config, "--out", &out];
        let rest = ["--log", &log, "--state", &state, "--quiet", "--steps"];
        call(&[&files[..], &rest, &["2"]].concat()).unwrap();
        let steps = lines(&log, "step");
        assert_eq!(steps.len(), 2);
        assert!(steps.iter().all(|line| line["loss"].as_f64().unwrap() > 0.0));
        assert!(steps.iter().all(|line| line["gradientNorm"].as_f64().unwrap() > 0.0));
        assert_eq!(lines(&log, "evaluation").len(), 2);
        let [end] = &lines(&log, "finished")[..] else { panic!("one line tells the end") };
        assert_eq!(end["step"], 2);
        // Other tests allocate in this process too; tests/training_memory.rs compares the numbers.
        for key in ["predictedBytes", "peakBytes"] {
            assert!(end[key].as_u64().unwrap() > 1 << 20, "{end}");
        }
        assert!(lines(&log, "leaveOneOut").is_empty());
        let index = lorakeet::weights::Index::read(&FileSource::open(&out).unwrap()).unwrap();
        let name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_q";
        assert!(index.tensors.contains_key(&format!("{name}.lora_down.weight")));
        assert_eq!(index.metadata["ss_steps"], "2");

        // The same command with one step more goes on from the state, and the log with it.
        let last = call(&[&files[..], &rest, &["3"]].concat()).unwrap();
        let steps: Vec<_> = lines(&log, "step").iter().map(|line| line["step"].clone()).collect();
        assert_eq!(steps, [1, 2, 3]);
        assert_eq!(lines(&log, "finished").len(), 2);
        assert_eq!(last.step, 3);
        std::fs::remove_dir_all(images).unwrap();
        for file in [&log, &out, &state, &config] {
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn each_picture_is_left_out_where_that_is_asked_for() {
        let [log, out, config] = ["left.jsonl", "left.safetensors", "left.json"].map(temporary);
        let images = two_pictures("left");
        let settings = r#"{"targets": "crossAttention", "blocks": ["mid"], "rank": 2, "batch": 1,
            "evaluateEvery": 0}"#;
        std::fs::write(&config, settings).unwrap();
        let model = here("web/demo-model/model");
        let files = ["--model", &model, "--images", &images, "--config", &config, "--out", &out];
        let rest = ["--log", &log, "--quiet", "--steps", "2", "--leave-one-out"];
        call(&[&files[..], &rest].concat()).unwrap();
        let [report] = &lines(&log, "leaveOneOut")[..] else { panic!("one line reports") };
        let pictures = report["pictures"].as_array().unwrap();
        let names: Vec<&str> = pictures.iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["house.png", "rocket.png"]);
        let ratios: Vec<f64> = pictures.iter().map(|p| p["ratio"].as_f64().unwrap()).collect();
        let mean = report["mean"]["ratio"].as_f64().unwrap();
        assert!((mean - (ratios[0] + ratios[1]) / 2.0).abs() < 1e-9, "{report}");
        assert!(report["words"].as_str().unwrap().contains("Pictures left out"), "{report}");
        std::fs::remove_dir_all(images).unwrap();
        for file in [&log, &out, &config] {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// The whole case is met in tests/training.rs; here that the command line asks for the same.
    #[test]
    fn a_reference_gives_every_number() {
        let [log, out, config] = ["given.jsonl", "given.safetensors", "given.json"].map(temporary);
        let settings = r#"{"targets": "attention", "rank": 8, "alpha": 8, "learningRate": 0.002,
            "warmup": 10, "schedule": "constant", "batch": 4, "evaluateEvery": 0, "steps": 2}"#;
        std::fs::write(&config, settings).unwrap();
        let case = here("tests/fixtures/demo-model/light-tuning");
        let (model, given) = (here("web/demo-model/model"), format!("{case}/given.safetensors"));
        let files = ["--model", &model, "--reference", &given, "--config", &config];
        let rest = ["--out", &out, "--log", &log, "--quiet", "--weights"];
        let expected = FileSource::open(format!("{case}/expected.safetensors")).unwrap();
        let index = lorakeet::weights::Index::read(&expected).unwrap();
        // The model's file is in halves; blocks of 8 bits change what it makes by a hundredth.
        for (weights, tolerance) in [("f16", 1e-4), ("q8", 3e-2)] {
            call(&[&files[..], &rest, &[weights]].concat()).unwrap();
            for (key, field) in [("loss", "loss"), ("grad_norm", "gradientNorm")] {
                let theirs = index.read_f32(&expected, key).unwrap();
                for (line, theirs) in lines(&log, "step").iter().zip(theirs) {
                    let ours = line[field].as_f64().unwrap();
                    let off = (ours / f64::from(theirs) - 1.0).abs();
                    assert!(off < tolerance, "{weights}: {key}: {ours} {theirs}");
                }
            }
        }
        for file in [&log, &out, &config] {
            std::fs::remove_file(file).unwrap();
        }
    }
}

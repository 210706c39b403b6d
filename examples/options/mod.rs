//! What the command lines have in common: reading options, the device, opening a model, a line of
//! progress.
#![allow(dead_code, reason = "each program uses its own part of this")]

pub mod hires;
pub mod start;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use burn::tensor::Device;
use lorakeet::error::{Error, Result};
use lorakeet::layers::Storage;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Checkpoint, FileSource, Overrides, Prediction, Source, text};

/// CLIP's vocabulary, for files that bring none.
const VOCABULARY: &str = "web/clip-vocabulary/merges.txt";

/// One option of a command line, with what follows it.
pub struct Given<'a> {
    pub name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// An error about it.
    pub fn bad(&self, problem: &str) -> Error {
        Error::setting(self.name, problem, "See --help")
    }

    /// What follows it.
    pub fn value(&self) -> Result<&'a str> {
        self.value.ok_or_else(|| self.bad("needs a value, or is no option at all"))
    }

    /// The same as text of its own.
    pub fn text(&self) -> Result<String> {
        self.value().map(String::from)
    }

    /// A whole number.
    pub fn whole<T: std::str::FromStr>(&self) -> Result<T> {
        self.value()?.parse().map_err(|_| self.bad("is not a whole number"))
    }

    /// A seed; -1 stands for one that is drawn, as in other tools.
    pub fn seed(&self) -> Result<u64> {
        use std::hash::{BuildHasher, RandomState};
        let value = self.value()?;
        if value == "-1" {
            // Below 2^32: PyTorch's generator looks at no more.
            return Ok(u64::from(RandomState::new().hash_one(()) as u32));
        }
        let most = u64::MAX;
        value.parse().map_err(|_| {
            self.bad(&format!("is no whole number from 0 to {most}, nor -1 for a random one"))
        })
    }

    /// Any number.
    pub fn number(&self) -> Result<f64> {
        self.value()?.parse().map_err(|_| self.bad("is not a number"))
    }

    /// What one of the library's names means.
    pub fn named<T: serde::de::DeserializeOwned>(&self, names: &str) -> Result<T> {
        let name = serde_json::Value::String(self.value()?.to_lowercase());
        serde_json::from_value(name).map_err(|_| self.bad(&format!("is none of {names}")))
    }
}

/// Calls `take` with every option; `flags` are those that nothing follows.
pub fn each<'a>(
    arguments: &'a [String],
    flags: &[&str],
    mut take: impl FnMut(Given<'a>) -> Result<()>,
) -> Result<()> {
    let mut list = arguments.iter().map(String::as_str);
    while let Some(name) = list.next() {
        let value = if flags.contains(&name) { None } else { list.next() };
        take(Given { name, value })?;
    }
    Ok(())
}

/// A line that ends stays; one that doesn't is drawn over, which makes sense on a terminal only.
pub struct Screen {
    quiet: bool,
    terminal: bool,
}

impl Screen {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// Progress is a courtesy: where nobody can be told of it, the work goes on.
    pub fn say(&self, text: &str) {
        if !self.quiet && (self.terminal || text.ends_with('\n')) {
            let clear = if self.terminal { "\r\x1b[K" } else { "" };
            let _ = write!(std::io::stderr(), "{clear}{text}");
        }
    }
}

/// The end of a program, whose help is `usage`.
pub fn end<T>(arguments: &[String], usage: &str, work: impl FnOnce() -> Result<T>) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        let _ = write!(std::io::stdout(), "{usage}{}", Model::USAGE);
        return ExitCode::SUCCESS;
    }
    match work() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The error for a file that can't be written.
pub fn unwritable(path: impl AsRef<Path>, error: &std::io::Error) -> Error {
    let path = path.as_ref().display().to_string();
    Error::file(path, format!("can't be written: {error}"), "Check the path and the space left")
}

/// Whether a file could be written to this path, or made in this folder that may not be there yet:
/// asked before long work, so that none is done for nothing. Leaves everything as it was.
pub fn check_place(path: &Path, is_folder: bool) -> Result<()> {
    let tried = if !is_folder && path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).map(drop)
    } else {
        let mut folders = path.ancestors().skip(usize::from(!is_folder));
        let folder =
            if is_folder { folders.find(|folder| folder.exists()) } else { folders.next() };
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        // Two may look at one place at a time, as tests do.
        static PROBES: AtomicU32 = AtomicU32::new(0);
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let probe = format!(".lorakeet-{}-{number}", std::process::id());
        let probe = folder.unwrap_or(Path::new(".")).join(probe);
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe))
    };
    tried.map_err(|error| unwritable(path, &error))
}

/// Which model, and how it is loaded.
#[derive(Default)]
pub struct Model {
    path: String,
    weights: Option<Storage>,
    /// Files that take the place of the model's own VAE or text encoder.
    parts: Vec<PathBuf>,
    overrides: Overrides,
    vocabulary: Option<String>,
}

impl Model {
    /// Its options, for the help.
    pub const USAGE: &str = "\
  --model PATH          a diffusers folder or a single .safetensors checkpoint
  --weights NAME        f32, f16 (half the memory) or q8 (8-bit blocks, little more than a quarter);
                        f16 for models of more than 1 GiB in f32, else f32
  --vae FILE            a VAE that takes the place of the model's own
  --text-encoder FILE   a text encoder that does
  --prediction NAME     epsilon or v_prediction: what the UNet predicts, where the file doesn't say
  --vocabulary FILE     CLIP's merges.txt for single files, web/clip-vocabulary/merges.txt by default
";

    /// Takes an option that is about the model; whether it was one.
    pub fn take(&mut self, given: &Given<'_>) -> Result<bool> {
        match given.name {
            "--model" => self.path = given.text()?,
            "--weights" => {
                let storage = Storage::from_name(given.value()?);
                self.weights = Some(storage.map_err(|_| given.bad("is none of f32, f16, q8"))?);
            }
            "--vae" | "--text-encoder" => self.parts.push(given.value()?.into()),
            "--prediction" => {
                let prediction = Prediction::from_word(given.value()?);
                let problem = "is none of epsilon, v_prediction";
                self.overrides.prediction = Some(prediction.ok_or_else(|| given.bad(problem))?);
            }
            "--vocabulary" => self.vocabulary = Some(given.text()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// That one was given.
    pub fn check(&self) -> Result<()> {
        if self.path.is_empty() {
            return Err(Error::setting("--model", "is missing", "See --help"));
        }
        Ok(())
    }

    /// Loads it and says what there is to say about it.
    pub fn load(&self, device: &Device, screen: &Screen) -> Result<StableDiffusion> {
        let parts: Vec<&Path> = self.parts.iter().map(PathBuf::as_path).collect();
        let checkpoint = Checkpoint::open_path_with(&self.path, &parts, &self.overrides)?;
        let storage = self.weights.unwrap_or_else(|| Storage::usual(&checkpoint, device));
        let merges = match (&checkpoint.tokenizer, &self.vocabulary) {
            (Some(_), _) => None,
            (None, given) => {
                Some(FileSource::open(given.as_deref().unwrap_or(VOCABULARY))?.read_all()?)
            }
        };
        screen.say(&format!(
            "{}: {} of weights as {}\n",
            checkpoint.name,
            mebi(checkpoint.bytes_as(storage)),
            storage.name()
        ));
        let (model, report) =
            StableDiffusion::load(&checkpoint, merges.as_deref(), device, storage, &mut |now| {
                let (part, done, total) = (now.component, mebi(now.done), mebi(now.total));
                screen.say(&format!("loading {part}: {done} of {total}"));
            })?;
        for note in &report.notes {
            screen.say(&format!("{note}\n"));
        }
        Ok(model)
    }
}

/// `FILE[:UNET[:TE]]`. The strengths are taken from the right, so that a path may hold colons.
pub fn strengths(argument: &str) -> (&str, f32, f32) {
    let mut file = argument;
    let mut strengths = Vec::new();
    while strengths.len() < 2
        && let Some((rest, number)) = file.rsplit_once(':')
        && let Ok(strength) = number.parse::<f32>()
    {
        strengths.insert(0, strength);
        file = rest;
    }
    let unet = strengths.first().copied().unwrap_or(1.0);
    (file, unet, strengths.get(1).copied().unwrap_or(unet))
}

/// The text of an `adapter_config.json` in the adapter's folder, which is that of PEFT's
/// `adapter_model`, or of the only adapter there, whatever its name.
pub fn config_beside(adapter: &str) -> Result<Option<String>> {
    let path = Path::new(adapter);
    let config = path.with_file_name("adapter_config.json");
    if !config.is_file() {
        return Ok(None);
    }
    let is_weights = |path: &Path| path.extension().is_some_and(|end| end == "safetensors");
    let entries = config.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let entries = entries.into_iter().flatten().flatten();
    let alone = entries.filter(|entry| is_weights(&entry.path())).count() == 1;
    if !alone && path.file_stem().is_none_or(|stem| stem != "adapter_model") {
        return Ok(None);
    }
    let source = FileSource::open(&config)?;
    let text = text::unicode(&source.read_all()?);
    let problem = "isn't text (UTF-8 or UTF-16)";
    text.map(Some).ok_or_else(|| Error::file(source.name(), problem, "Save it anew as UTF-8"))
}

/// Bytes, for people.
pub fn mebi(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The device that this program was built for.
pub fn device() -> Device {
    #[cfg(feature = "cuda")]
    return Device::cuda(0);
    #[cfg(all(feature = "metal", not(feature = "cuda")))]
    return Device::metal(burn::tensor::DeviceKind::DefaultDevice);
    #[cfg(all(feature = "vulkan", not(any(feature = "cuda", feature = "metal"))))]
    return Device::vulkan(burn::tensor::DeviceKind::DefaultDevice);
    #[cfg(not(any(feature = "vulkan", feature = "metal", feature = "cuda")))]
    Device::flex()
}

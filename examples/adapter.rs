//! What can be done with adapters' files, from the command line.
//!
//! ```text
//! cargo run --release --example adapter -- inspect web/demo-model/lora/ink.kohya.safetensors \
//!     --model web/demo-model/model
//! ```

mod options;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lorakeet::adapters::file::Site;
use lorakeet::adapters::format::Format;
use lorakeet::adapters::tools::{self, Goal, Layers, Opened, Origin, Resized, Weighted};
use lorakeet::error::{Error, Result};
use lorakeet::weights::{Checkpoint, Dtype, FileSource, parse_json};
use options::{Given, Screen, config_beside, strengths, unwritable};

const USAGE: &str = "\
USAGE: adapter COMMAND FILE... [OPTIONS]

  inspect FILE          kinds, ranks, alphas, norms of each layer, metadata, words of the captions
  convert FILE          the same adapter in another tool's names
  resize FILE           fewer ranks, by singular values; what is lost is told
  merge FILE[:UNET[:TE]]...    several adapters with their strengths into one; without --rank exactly
  extract --base MODEL --tuned MODEL    an adapter out of two models: whole differences, or --rank N
  bake FILE[:UNET[:TE]]...     adapters into the checkpoint or folder of --model

  --model PATH          the model that the adapter is for: a diffusers folder or a checkpoint. Without
                        it, Stable Diffusion 1.5 or 2, as the adapter's file tells
  --out FILE            what is written (of bake with a folder, and of --format peft, a folder)
  --overwrite           writes over a file that is there; never over one that is read
  --format NAME         whose names: kohya (by default), diffusers or peft
  --precision NAME      f16 or f32; f16 by default where all numbers of the file are
  --rank N              the largest rank
  --error X             fewer ranks where this share of a layer's change may be lost (0.05)
  --biases              extract: differences of norms and biases too, where there are ranks
  --json                inspect: everything, for programs
  --quiet               no progress
";

const FLAGS: [&str; 4] = ["--overwrite", "--biases", "--json", "--quiet"];

#[derive(Default)]
struct Arguments {
    command: String,
    files: Vec<String>,
    model: Option<String>,
    base: Option<String>,
    tuned: Option<String>,
    out: Option<PathBuf>,
    overwrite: bool,
    format: Option<Format>,
    half: Option<bool>,
    rank: Option<usize>,
    error: Option<f64>,
    biases: bool,
    json: bool,
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|one| ["--help", "-h"].contains(&one.as_str()))
    {
        let _ = write!(std::io::stdout(), "{USAGE}");
        return ExitCode::from(u8::from(arguments.is_empty()));
    }
    match parse(&arguments).and_then(|parsed| run(&parsed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut given = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word.starts_with("--") {
            given.push(word.clone());
            if !FLAGS.contains(&word.as_str()) {
                given.extend(words.next().cloned());
            }
        } else if parsed.command.is_empty() {
            parsed.command.clone_from(word);
        } else {
            parsed.files.push(word.clone());
        }
    }
    options::each(&given, &FLAGS, |given| take(&mut parsed, &given))?;
    Ok(parsed)
}

fn take(parsed: &mut Arguments, given: &Given<'_>) -> Result<()> {
    match given.name {
        "--overwrite" => parsed.overwrite = true,
        "--biases" => parsed.biases = true,
        "--json" => parsed.json = true,
        "--quiet" => parsed.quiet = true,
        "--model" => parsed.model = Some(given.text()?),
        "--base" => parsed.base = Some(given.text()?),
        "--tuned" => parsed.tuned = Some(given.text()?),
        "--out" => parsed.out = Some(given.value()?.into()),
        "--format" => parsed.format = Some(given.named("kohya, diffusers, peft")?),
        "--precision" => {
            parsed.half = Some(match given.value()? {
                "f16" => true,
                "f32" => false,
                _ => return Err(given.bad("is none of f16, f32")),
            });
        }
        "--rank" => parsed.rank = Some(given.whole()?),
        "--error" => parsed.error = Some(given.number()?),
        _ => return Err(given.bad("is not an option")),
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::new(arguments.quiet);
    match arguments.command.as_str() {
        "inspect" => inspect(arguments),
        "convert" => convert(arguments, &screen),
        "resize" => resize(arguments, &screen),
        "merge" => merge(arguments, &screen),
        "extract" => extract(arguments, &screen),
        "bake" => bake(arguments, &screen),
        other => {
            let problem = "is none of inspect, convert, resize, merge, extract, bake";
            Err(Error::setting(other, problem, "See --help"))
        }
    }
}

fn missing(name: &str) -> Error {
    Error::setting(name, "is missing", "See --help")
}

impl Arguments {
    /// The only file.
    fn file(&self) -> Result<&str> {
        match &self.files[..] {
            [file] => Ok(file),
            [] => Err(missing("FILE")),
            [_, more, ..] => Err(Error::setting(more, "is one file too many", "Give one file")),
        }
    }

    fn goal(&self) -> Option<Goal> {
        let goal = |rank| Goal { rank, error: self.error };
        self.rank.or(self.error.map(|_| 4096)).map(goal)
    }

    fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        self.model.as_deref().map(Checkpoint::open_path).transpose()
    }

    /// Where the result goes, which is no file that is read, nor one that is there.
    fn out(&self, is_folder: bool) -> Result<PathBuf> {
        let out = self.out.clone().ok_or_else(|| missing("--out"))?;
        let files = self.files.iter().map(|file| strengths(file).0);
        let models = [&self.model, &self.base, &self.tuned].into_iter().flatten();
        for read in files.chain(models.map(String::as_str)) {
            let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
                (Ok(a), Ok(b)) => a == b,
                _ => a == b,
            };
            if same(&out, Path::new(read)) {
                let problem = "is a file that is read";
                return Err(Error::file(read, problem, "Write to another one"));
            }
        }
        let taken = if is_folder {
            std::fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some())
        } else {
            out.exists()
        };
        if taken && !self.overwrite {
            let problem = "is there already";
            let remedy = "Choose another name, or say --overwrite";
            return Err(Error::file(out.display().to_string(), problem, remedy));
        }
        options::check_place(&out, is_folder)?;
        Ok(out)
    }

    fn is_peft(&self) -> bool {
        self.format == Some(Format::Peft)
    }
}

fn layers(checkpoint: Option<&Checkpoint>, file: &str) -> Result<Layers> {
    match checkpoint {
        Some(checkpoint) => Ok(Layers::of(checkpoint)),
        None => Layers::told_by(&FileSource::open(file)?),
    }
}

fn open(file: &str, layers: &Layers) -> Result<Opened> {
    let config = config_beside(file)?;
    let config = config.as_deref().map(parse_json).transpose().map_err(|error| {
        let problem = format!("beside {file} isn't JSON ({error})");
        Error::file("adapter_config.json", problem, "Copy the file again from where it came from")
    })?;
    Opened::read(&FileSource::open(file)?, config.as_ref(), layers)
}

/// The layers of the model, or of Stable Diffusion as it usually is, and the file read for them.
fn open_for(arguments: &Arguments, file: &str) -> Result<(Layers, Opened)> {
    let checkpoint = arguments.checkpoint()?;
    let layers = layers(checkpoint.as_ref(), file)?;
    let opened = open(file, &layers).map_err(|error| hinted(error, checkpoint.is_some()))?;
    Ok((layers, opened))
}

/// What doesn't fit Stable Diffusion may fit a model that wasn't given.
fn hinted(error: Error, model: bool) -> Error {
    match error {
        Error::Key { file, key, problem, .. } if !model && problem.contains("the layer needs") => {
            let remedy =
                "Give the model that it is for (--model), unless that is Stable Diffusion 1 or 2";
            Error::key(file, key, problem, remedy)
        }
        other => other,
    }
}

/// What of a file isn't used.
fn tell_unused(opened: &Opened, screen: &Screen) {
    let file = &opened.file;
    for (key, why) in &file.report.unused {
        screen.say(&format!("{}: left out: {key}: {why}\n", file.name));
    }
    for embedding in &file.embeddings {
        let name = embedding.names.first().map_or("", String::as_str);
        screen.say(&format!("{}: left out: the word {name} that it brings along\n", file.name));
    }
}

fn tell_left_out(left_out: &[(String, String)], screen: &Screen) {
    for (path, why) in left_out {
        screen.say(&format!("left out: {path}: {why}\n"));
    }
}

fn tell_resized(resized: &[Resized], screen: &Screen) {
    for Resized { path, before, rank, error, .. } in resized {
        let before =
            if *before > 0 { format!("rank {before} to {rank}") } else { format!("rank {rank}") };
        screen.say(&format!("{path}: {before}, {:.2} % lost\n", 100.0 * error));
    }
    if !resized.is_empty() {
        let lost = 100.0 * tools::resize::total_error(resized);
        screen.say(&format!("of all that was resized {lost:.2} % is lost\n"));
    }
}

/// Writes to a name that nothing reads, then moves it: no half a file has the right name.
fn save(path: &Path, write: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = std::fs::File::create(&part).map_err(|error| unwritable(&part, &error))?;
    let written = write(&mut file).and_then(|()| {
        file.sync_all()
            .and_then(|()| std::fs::rename(&part, path))
            .map_err(|e| unwritable(path, &e))
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Writes modules as `--format` and `--precision` say.
fn write(
    arguments: &Arguments,
    out: &Path,
    (origin, modules, layers): (&Origin, &[lorakeet::adapters::AdapterModule], &Layers),
    made: &str,
    screen: &Screen,
) -> Result<()> {
    let format = arguments.format.unwrap_or(Format::Kohya);
    let (files, left_out) = origin.write(modules, format, arguments.half, layers, made)?;
    tell_left_out(&left_out, screen);
    if arguments.is_peft() {
        std::fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
    }
    for file in files {
        let path = if arguments.is_peft() { out.join(&file.name) } else { out.to_path_buf() };
        save(&path, |to| to.write_all(&file.bytes).map_err(|error| unwritable(&path, &error)))?;
        screen.say(&format!("{}: {}\n", path.display(), options::mebi(file.bytes.len() as u64)));
    }
    Ok(())
}

fn inspect(arguments: &Arguments) -> Result<()> {
    let file = arguments.file()?;
    let (layers, opened) = open_for(arguments, file)?;
    let found = tools::inspect(&opened, &layers)?;
    let text = if arguments.json {
        let json = serde_json::to_string_pretty(&found).map_err(|error| {
            Error::file(file, error.to_string(), "This is a fault of Lorakeet: please report it")
        })?;
        format!("{json}\n")
    } else {
        found.to_string()
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn convert(arguments: &Arguments, screen: &Screen) -> Result<()> {
    let (file, out) = (arguments.file()?, arguments.out(arguments.is_peft())?);
    let (layers, opened) = open_for(arguments, file)?;
    tell_unused(&opened, screen);
    let made = format!("{} in other names", opened.file.name);
    write(arguments, &out, (&opened.origin, &opened.file.modules, &layers), &made, screen)
}

fn resize(arguments: &Arguments, screen: &Screen) -> Result<()> {
    let (file, out) = (arguments.file()?, arguments.out(arguments.is_peft())?);
    let goal = arguments.goal().ok_or_else(|| missing("--rank or --error"))?;
    let (layers, opened) = open_for(arguments, file)?;
    tell_unused(&opened, screen);
    let (modules, resized, kept) = tools::resize(&opened.file.modules, &layers, goal)?;
    for (path, why) in kept {
        screen.say(&format!("stays as it is: {path}: {why}\n"));
    }
    tell_resized(&resized, screen);
    let lost = 100.0 * tools::resize::total_error(&resized);
    let made = format!("{} in at most {} ranks, {lost:.2} % lost", opened.file.name, goal.rank);
    write(arguments, &out, (&opened.origin, &modules, &layers), &made, screen)
}

/// Every file with its strengths.
fn open_all<'a>(
    arguments: &'a Arguments,
    layers: &Layers,
    screen: &Screen,
) -> Result<Vec<(Opened, [f32; 2], &'a str)>> {
    if arguments.files.is_empty() {
        return Err(missing("FILE"));
    }
    let one = |argument: &'a String| {
        let (file, unet, text_encoder) = strengths(argument);
        let opened =
            open(file, layers).map_err(|error| hinted(error, arguments.model.is_some()))?;
        tell_unused(&opened, screen);
        Ok((opened, [unet, text_encoder], file))
    };
    arguments.files.iter().map(one).collect()
}

/// As the library wants them.
fn given<'a>(opened: &'a [(Opened, [f32; 2], &str)]) -> Vec<Weighted<'a>> {
    let each = |(opened, strengths, _): &'a (Opened, [f32; 2], &str)| Weighted {
        name: &opened.file.name,
        modules: &opened.file.modules,
        strengths: *strengths,
    };
    opened.iter().map(each).collect()
}

/// Of a new file, named after it.
fn origin(out: &Path, half: bool) -> Origin {
    let title = out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Origin { title, half, ..Origin::default() }
}

fn made_of(opened: &[(Opened, [f32; 2], &str)]) -> String {
    let each = |(opened, [unet, text], _): &(Opened, [f32; 2], &str)| {
        format!("{} at {unet} and {text}", opened.file.name)
    };
    opened.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn merge(arguments: &Arguments, screen: &Screen) -> Result<()> {
    let out = arguments.out(arguments.is_peft())?;
    let first = arguments.files.first().ok_or_else(|| missing("FILE"))?;
    let checkpoint = arguments.checkpoint()?;
    let layers = layers(checkpoint.as_ref(), strengths(first).0)?;
    let opened = open_all(arguments, &layers, screen)?;
    let adapters = given(&opened);
    let bases = checkpoint.as_ref().map(|model| move |site: &Site| tools::bake::base(model, site));
    let bases = bases.as_ref().map(|bases| bases as &tools::merge::Bases<'_>);
    let merged = tools::merge(&adapters, &layers, arguments.goal(), bases)?;
    tell_left_out(&merged.left_out, screen);
    tell_resized(&merged.resized, screen);
    if merged.whole > 0 {
        screen.say(&format!(
            "{} layers have adapters of several kinds, which make whole differences (--rank N makes LoRA \
             of them)\n",
            merged.whole
        ));
    }
    let origin = origin(&out, opened.iter().all(|(opened, ..)| opened.origin.half));
    write(arguments, &out, (&origin, &merged.modules, &layers), &made_of(&opened), screen)
}

fn extract(arguments: &Arguments, screen: &Screen) -> Result<()> {
    if let Some(file) = arguments.files.first() {
        return Err(Error::setting(file, "is no model of --base or --tuned", "See --help"));
    }
    let out = arguments.out(arguments.is_peft())?;
    let model = |path: &Option<String>, name| {
        Checkpoint::open_path(path.as_deref().ok_or_else(|| missing(name))?)
    };
    let (base, tuned) = (model(&arguments.base, "--base")?, model(&arguments.tuned, "--tuned")?);
    let wanted = tools::extract::Wanted { goal: arguments.goal(), biases: arguments.biases };
    let found = tools::extract(&base, &tuned, wanted, &mut |done| {
        screen.say(&format!("extracting: {:.0} %", 100.0 * done));
    })?;
    tell_left_out(&found.left_out, screen);
    tell_resized(&found.resized, screen);
    screen.say(&format!("{} layers are the same in both\n", found.same));
    screen.say("The autoencoders aren't compared: no adapter has a place for them\n");
    let half = tuned.unet.tensors.values().all(|stored| stored.info.dtype == Dtype::F16);
    let origin = origin(&out, half);
    let made = format!("what {} has that {} hasn't", tuned.name, base.name);
    write(arguments, &out, (&origin, &found.modules, &Layers::of(&base)), &made, screen)
}

fn bake(arguments: &Arguments, screen: &Screen) -> Result<()> {
    let model = arguments.model.as_deref().ok_or_else(|| missing("--model"))?;
    let is_folder = Path::new(model).is_dir();
    let out = arguments.out(is_folder)?;
    let checkpoint = Checkpoint::open_path(model)?;
    let layers = Layers::of(&checkpoint);
    let opened = open_all(arguments, &layers, screen)?;
    let adapters = given(&opened);
    let mut changed = 0;
    if is_folder {
        let inside = |from: &Path| {
            let place = from.strip_prefix(model).unwrap_or(from);
            checkpoint.sources.iter().any(|source| Path::new(source.name()) == place)
        };
        if within(&out, Path::new(model)) {
            let problem = format!("lies within {model}, which is copied");
            return Err(Error::file(out.display().to_string(), problem, "Write beside it"));
        }
        copy_folder(Path::new(model), &out, &inside)?;
    }
    for (number, source) in checkpoint.sources.iter().enumerate() {
        let path = if is_folder { out.join(source.name()) } else { out.clone() };
        save(&path, |file| {
            let mut file = std::io::BufWriter::new(file);
            let mut write =
                |bytes: &[u8]| file.write_all(bytes).map_err(|error| unwritable(&path, &error));
            let baked = tools::bake(&checkpoint, number, &layers.sites, &adapters, &mut write)?;
            tell_left_out(&baked.left_out, screen);
            changed += baked.changed;
            file.flush().map_err(|error| unwritable(&path, &error))
        })?;
    }
    screen.say(&format!("{}: {changed} tensors changed ({})\n", out.display(), made_of(&opened)));
    Ok(())
}

/// Whether a place that may not be there yet is below a folder.
fn within(place: &Path, folder: &Path) -> bool {
    let there = place.ancestors().find_map(|path| path.canonicalize().ok());
    there.zip(folder.canonicalize().ok()).is_some_and(|(place, folder)| place.starts_with(folder))
}

/// Copies a model's folder, but for the files that are written anew.
fn copy_folder(from: &Path, to: &Path, left_out: &dyn Fn(&Path) -> bool) -> Result<()> {
    let fail = |path: &Path, error: &std::io::Error| unwritable(path, error);
    std::fs::create_dir_all(to).map_err(|error| fail(to, &error))?;
    for entry in std::fs::read_dir(from).map_err(|error| fail(from, &error))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target, left_out)?;
        } else if !left_out(&path) {
            std::fs::copy(&path, &target).map_err(|error| fail(&target, &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "web/demo-model/model";
    const INK: &str = "web/demo-model/lora/ink.kohya.safetensors";

    fn told(words: &[&str]) -> Result<()> {
        let words: Vec<String> =
            words.iter().map(|&word| word.into()).chain(["--quiet".into()]).collect();
        run(&parse(&words)?)
    }

    fn message(words: &[&str]) -> String {
        told(words).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_written_over_in_silence() {
        let folder = std::env::temp_dir().join(format!("lorakeet-adapter-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let copy = folder.join("ink.safetensors");
        std::fs::copy(INK, &copy).unwrap();
        let (ink, before) = (copy.to_str().unwrap(), std::fs::read(&copy).unwrap());
        let convert = ["convert", ink, "--model", MODEL];
        let over_itself = [&convert[..], &["--out", ink, "--overwrite"]].concat();
        assert!(message(&over_itself).contains("is a file that is read"));
        let other = folder.join("other.safetensors");
        let other = [&convert[..], &["--out", other.to_str().unwrap()]].concat();
        told(&other).unwrap();
        assert!(message(&other).contains("is there already"));
        told(&[&other[..], &["--overwrite"]].concat()).unwrap();
        // A folder within what is copied would have no end.
        let model = folder.join("model");
        copy_folder(Path::new(MODEL), &model, &|_| false).unwrap();
        let (model, inside) = (model.to_str().unwrap(), model.join("new"));
        let bake = ["bake", ink, "--model", model, "--out", inside.to_str().unwrap()];
        assert!(message(&bake).contains("lies within"), "{}", message(&bake));
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        let left = std::fs::read_dir(&folder).unwrap().flatten();
        assert!(
            left.map(|entry| entry.file_name())
                .all(|name| !name.to_str().unwrap().contains("part"))
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn wrong_words_are_refused_by_name() {
        assert!(message(&["melt", INK]).contains("melt: is none of inspect"));
        assert!(message(&["inspect"]).contains("FILE: is missing"));
        assert!(message(&["inspect", INK, INK]).contains("one file too many"));
        assert!(message(&["convert", INK]).contains("--out: is missing"));
        assert!(
            message(&["convert", INK, "--fromat", "peft"]).contains("--fromat: is not an option")
        );
        assert!(
            message(&["resize", INK, "--out", "/tmp/x", "--rank", "0", "--model", MODEL])
                .contains("rank: 0 is not from 1 to 4096")
        );
        // The demo's layers are narrower than Stable Diffusion's.
        assert!(message(&["inspect", INK]).contains("Give the model that it is for (--model)"));
        assert!(told(&["inspect", INK, "--model", MODEL]).is_ok());
    }
}

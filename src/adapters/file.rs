//! An adapter's file to host memory: every naming, every check, nothing half applied. Formats and
//! formulas: `docs/specs/adapter-formats.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kinds::tensors::{Found, Tensors};
use super::kinds::{self, Kind, Role};
use super::module::AdapterModule;
use super::remedies::{BROKEN, OTHER_MODEL, READABLE, UNSUPPORTED};
use super::settings::Settings;
use super::{CoverageReport, Embedding, base, embedding, reader, speed};
use crate::error::{Error, Result};
use crate::keys::adapter_names::{self, Loaded, ModuleNames, Naming};
use crate::keys::detect::{self, FileKind};
use crate::keys::ldm::UNetLayout;
use crate::weights::{Index, Source};

pub use crate::keys::adapter_names::Part;

/// A layer of the model that an adapter can sit on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Which part of the model it is in.
    pub part: Part,
    /// Its path in diffusers' names.
    pub path: String,
    /// Its weight's shape: `[out, in]` or `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
}

/// A whole adapter, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterFile {
    /// The file's name.
    pub name: String,
    /// Its modules, by part and path.
    pub modules: Vec<AdapterModule>,
    /// Words that it teaches the text encoder.
    pub embeddings: Vec<Embedding>,
    /// How it fits the model.
    pub report: CoverageReport,
}

const NO_ALPHA: &str = "The file doesn't say its alpha, which PEFT writes into adapter_config.json: it is \
                        taken to be the rank, as diffusers does. Bring that file along with it if there \
                        is one";

/// Reads an adapter for a model with these sites. `config` is an `adapter_config.json` that came with it;
/// `layout` that of the model's UNet, where ldm has names for it.
///
/// # Errors
/// Names the file, the key and the remedy: not an adapter, for another base, nothing in it of a kind
/// that is supported, a factor missing, misshapen or not finite. What else can't be used is left out
/// and named in the report.
pub fn read(
    source: &dyn Source,
    config: Option<&Value>,
    sites: &[Site],
    layout: Option<&UNetLayout>,
) -> Result<AdapterFile> {
    let index = Index::read(source)?;
    if embedding::is_embedding(&index) {
        let embeddings = embedding::read(&index, source, text_widths(sites))?;
        let report = CoverageReport::of_embeddings(&embeddings);
        return Ok(AdapterFile { name: index.file, modules: Vec::new(), embeddings, report });
    }
    refuse(&index, sites)?;
    let mut keys = Keys::sort(&index, source, sites, layout)?;
    if keys.modules.is_empty() {
        return Err(no_module_fits(&index));
    }
    let (embeddings, misfits) = embedding::bundled(&index, source, text_widths(sites));
    keys.unused.extend(misfits);
    let settings = Settings::new(&index, config);
    let modules = keys.read(&index, source, sites, &settings)?;
    if modules.is_empty() {
        let (key, reason) = keys.unused.pop().unwrap_or_default();
        return Err(Error::key(&index.file, key, reason, READABLE));
    }
    let mut report = report(&modules, &keys);
    report.notes.extend(left_out(&keys.others, &report.unused));
    let (used, in_file) = (report.modules_used, report.modules_in_file);
    report.notes.extend(base::note(&index, used, in_file, loaded(sites).xl));
    let scaled = || modules.iter().filter(|module| module.factors.is_scaled());
    let untold = scaled().next().is_some() && scaled().all(|module| module.alpha.is_none());
    if keys.naming == Some(Naming::Peft) && untold {
        report.notes.push(NO_ALPHA.into());
    }
    report.notes.extend(settings.notes);
    report.advice = speed::advice(source, &index.metadata, &modules)?;
    let mut report = report.finish(&index.metadata, scaled().any(|module| module.alpha.is_some()));
    report.bundled(&embeddings);
    Ok(AdapterFile { name: index.file, modules, embeddings, report })
}

/// Numbers in the vectors of the text encoder, and of the second one.
fn text_widths(sites: &[Site]) -> [Option<usize>; 2] {
    [Part::TextEncoder, Part::TextEncoder2].map(|part| {
        let query = |site: &&Site| site.part == part && site.path.ends_with(".q_proj");
        sites.iter().find(query).and_then(|site| site.shape.get(1).copied())
    })
}

/// What the model with these sites is.
fn loaded(sites: &[Site]) -> Loaded {
    Loaded {
        xl: sites.iter().any(|site| site.part == Part::TextEncoder2),
        deep: sites.iter().any(|site| site.path.contains(".transformer_blocks.1.")),
    }
}

/// A file's keys by the layers that they are for, and what is left over.
struct Keys<'a> {
    modules: BTreeMap<(Part, String), BTreeMap<Role, &'a str>>,
    /// Names of modules, those that the model lacks too.
    in_file: BTreeSet<&'a str>,
    /// Keys that aren't used, with the reason.
    unused: Vec<(String, String)>,
    /// Kinds of which something that isn't zero is left out.
    others: BTreeSet<&'static str>,
    naming: Option<Naming>,
}

impl<'a> Keys<'a> {
    fn sort(
        index: &'a Index,
        source: &dyn Source,
        sites: &[Site],
        layout: Option<&UNetLayout>,
    ) -> Result<Self> {
        let paths = sites.iter().map(|site| (site.part, site.path.as_str()));
        let names = ModuleNames::new(paths, layout);
        let norms = sites.iter().filter(|site| site.shape.len() == 1);
        let norms: BTreeSet<(Part, &str)> =
            norms.map(|site| (site.part, site.path.as_str())).collect();
        let mut keys = Self {
            modules: BTreeMap::new(),
            in_file: BTreeSet::new(),
            unused: Vec::new(),
            others: BTreeSet::new(),
            naming: None,
        };
        for key in index.tensors.keys() {
            if let Some(kind) = adapter_names::other_kind(key) {
                keys.leave_out_kind(kind, key, index.is_zero(source, key)?);
                continue;
            }
            if embedding::is_bundled(key, text_widths(sites)) {
                continue;
            }
            let Some((name, role)) = kinds::split(index, key) else {
                let reason = "not a name that any LoRA tool writes";
                keys.unused.push((key.clone(), reason.to_string()));
                continue;
            };
            keys.in_file.insert(name);
            let Some(module) = names.get(name) else {
                keys.unused.push((key.clone(), "the model has no such layer".to_string()));
                continue;
            };
            let norm = norms.contains(&(module.0, module.1.as_str()));
            if norm != kinds::is_of_norms(role).unwrap_or(norm) {
                let is = if norm { "a norm" } else { "no norm" };
                keys.unused.push((key.clone(), format!("the model's layer of that name is {is}")));
                continue;
            }
            keys.naming.get_or_insert_with(|| adapter_names::naming(key));
            if let Some(before) = keys.modules.entry(module.clone()).or_default().insert(role, key)
            {
                let problem = format!("names the same factor as {before}");
                return Err(Error::key(&index.file, key, problem, BROKEN));
            }
        }
        Ok(keys)
    }

    fn leave_out_kind(&mut self, kind: &'static str, key: &str, zero: bool) {
        let reason = format!("{}, which {UNSUPPORTED}", belongs(kind));
        let reason = if zero { format!("{reason}; it is all zeros") } else { reason };
        self.others.extend((!zero).then_some(kind));
        self.unused.push((key.to_string(), reason));
    }

    /// The modules, by part and path.
    fn read(
        &mut self,
        index: &Index,
        source: &dyn Source,
        sites: &[Site],
        settings: &Settings,
    ) -> Result<Vec<AdapterModule>> {
        let shapes: BTreeMap<(Part, &str), &[usize]> =
            sites.iter().map(|site| ((site.part, site.path.as_str()), &site.shape[..])).collect();
        let made = base::words(index);
        let mut read = Vec::with_capacity(self.modules.len());
        for ((part, path), keys) in &self.modules {
            let shape = shapes.get(&(*part, path.as_str())).copied().unwrap_or_default();
            let (part, made) = (*part, made.as_str());
            let tensors = Tensors { index, source, settings, part, path, keys, shape, made };
            let found = reader::read(&tensors)?;
            let mut unused = |reason: &str| {
                let all = keys.values().map(|key| (key.to_string(), reason.to_string()));
                self.unused.extend(all);
            };
            if found.is_empty() {
                unused("its layer has no factors in the file");
            }
            for found in found {
                match found {
                    Found::Factors(module, _) => read.push(module),
                    Found::LeftOut(kind, reason) => {
                        self.others.insert(kind);
                        unused(&reason);
                    }
                }
            }
        }
        Ok(read)
    }
}

/// What people are told of the modules that were read.
fn report(modules: &[AdapterModule], keys: &Keys) -> CoverageReport {
    let layers: BTreeSet<(Part, &str)> =
        modules.iter().map(|module| (module.part, module.path.as_str())).collect();
    let count = |part| layers.iter().filter(|(of, _)| *of == part).count();
    // A LoKr of whole factors has no rank.
    let ranked = || modules.iter().filter(|module| module.rank > 0);
    let ranks = || ranked().map(|module| module.rank);
    let alphas = || ranked().map(|module| module.alpha.unwrap_or(module.rank as f32));
    let kinds: Vec<&str> = Kind::of(modules).into_iter().map(Kind::label).collect();
    let mut report = CoverageReport {
        kind: kinds.join(" + "),
        naming: keys.naming.map_or("", Naming::label).into(),
        modules_used: layers.len(),
        modules_in_file: keys.in_file.len(),
        unet_modules: count(Part::UNet),
        text_encoder_modules: count(Part::TextEncoder) + count(Part::TextEncoder2),
        second_encoder_modules: count(Part::TextEncoder2),
        ranks: [ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)],
        alphas: [
            alphas().reduce(f32::min).unwrap_or_default(),
            alphas().reduce(f32::max).unwrap_or_default(),
        ],
        unused: keys.unused.clone(),
        ..CoverageReport::default()
    };
    if modules.iter().all(AdapterModule::is_zero) {
        report.notes.push("All its up weights are zero: it changes nothing.".into());
    }
    report
}

/// Refuses what is no adapter, an adapter for another base, or of a kind not supported.
fn refuse(index: &Index, sites: &[Site]) -> Result<()> {
    let file = index.file.as_str();
    let keys = || index.tensors.keys().map(String::as_str);
    let loaded = loaded(sites);
    let other_base = |key| Some((key, adapter_names::other_base(key, loaded)?));
    let by_width = || base::by_width(index).filter(|(_, base)| loaded.xl && *base != base::XL);
    if let Some((key, base)) = keys().find_map(other_base).or_else(by_width) {
        let problem = format!("belongs to an adapter for {base}, not for this model");
        return Err(Error::key(file, key, problem, OTHER_MODEL));
    }
    let ours = |key| {
        let role = kinds::split(index, key).map(|(_, role)| role);
        adapter_names::other_kind(key).is_none() && role.is_some_and(|role| role != Role::SCALE)
    };
    if keys().any(ours) {
        return Ok(());
    }
    if let Some((key, kind)) = keys().find_map(|key| Some((key, adapter_names::other_kind(key)?))) {
        let problem = format!("{}, a kind that isn't supported yet", belongs(kind));
        return Err(Error::key(file, key, problem, READABLE));
    }
    let (problem, remedy) = match detect::file_kind(keys()) {
        FileKind::Checkpoint => ("is a whole model, not an adapter", "Open it as a model instead"),
        FileKind::Part(_) => (
            "is a part of a model, not an adapter",
            "Open the whole model folder it belongs to instead",
        ),
        FileKind::OtherModel(_) => ("is a model of another kind, not an adapter", OTHER_MODEL),
        FileKind::Embedding | FileKind::Adapter | FileKind::Unknown => {
            ("holds no tensor with an adapter's name", READABLE)
        }
    };
    Err(Error::file(file, problem, remedy))
}

fn no_module_fits(index: &Index) -> Error {
    let first = index.tensors.keys().next().map_or("", String::as_str);
    let made = base::words(index);
    let problem = format!("neither this nor any other key names a layer of the loaded model{made}");
    Error::key(&index.file, first, problem, OTHER_MODEL)
}

fn belongs(kind: &str) -> String {
    let article = if kind.starts_with(['e', 'o']) { "an" } else { "a" };
    format!("belongs to {article} {kind} adapter")
}

/// What a person has to know of the kinds of which something is left out.
fn left_out(kinds: &BTreeSet<&str>, unused: &[(String, String)]) -> Option<String> {
    let kinds: Vec<&str> = kinds.iter().copied().collect();
    let tensors = unused.iter().filter(|(_, reason)| reason.ends_with(UNSUPPORTED)).count();
    (!kinds.is_empty()).then(|| {
        format!(
            "{tensors} of its tensors are left out, since they are of a kind that isn't supported yet \
             ({}): pictures differ from those of tools that use them",
            kinds.join(", ")
        )
    })
}

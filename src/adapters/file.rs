//! An adapter's file to host memory: every naming, every check, nothing half applied. Formats and
//! formulas: `docs/specs/adapter-formats.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::CoverageReport;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::keys::adapter_names::{self, ModuleNames, Naming, Role};
use crate::keys::detect::{self, FileKind};
use crate::keys::ldm::UNetLayout;
use crate::weights::{Dtype, Index, Source};

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

/// A tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// One module of an adapter: `y += strength * scale * up(mid(down(x)))`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraWeights {
    /// Which part of the model it is for.
    pub part: Part,
    /// Its layer's path in diffusers' names.
    pub path: String,
    /// `[r, in]`, or for a convolution `[r, in, kh, kw]` (`[r, in, 1, 1]` with `mid`).
    pub down: HostTensor,
    /// `[r, r, kh, kw]`, Tucker form only.
    pub mid: Option<HostTensor>,
    /// `[out, r]`, or for a convolution `[out, r, 1, 1]`.
    pub up: HostTensor,
    /// alpha / rank, alpha / sqrt(rank) (rank-stabilised), or the file's own `.scale`.
    pub scale: f32,
    /// The low rank.
    pub rank: usize,
    /// What the file says of it.
    pub alpha: Option<f32>,
}

/// A whole adapter, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterFile {
    /// The file's name.
    pub name: String,
    /// Its modules, by part and path.
    pub modules: Vec<LoraWeights>,
    /// How it fits the model.
    pub report: CoverageReport,
}

const OTHER_MODEL: &str = "Use an adapter made for the model that is loaded";
pub(super) const BROKEN: &str = "The adapter's file is broken: get another copy";

/// Reads a LoRA or LoCon for a model with these sites. `config` is an `adapter_config.json` that
/// came with it; `layout` that of the model's UNet, where ldm has names for it.
///
/// # Errors
/// Names the file, the key and the remedy: not an adapter, for another base, of a kind that isn't
/// supported, a factor missing, misshapen or not finite.
pub fn read(
    source: &dyn Source,
    config: Option<&Value>,
    sites: &[Site],
    layout: Option<&UNetLayout>,
) -> Result<AdapterFile> {
    let index = Index::read(source)?;
    let file = index.file.as_str();
    refuse(&index, sites)?;

    let shapes: BTreeMap<(Part, &str), &[usize]> =
        sites.iter().map(|site| ((site.part, site.path.as_str()), &site.shape[..])).collect();
    let names = ModuleNames::new(sites.iter().map(|site| (site.part, site.path.as_str())), layout);
    let mut modules: BTreeMap<(Part, String), BTreeMap<Role, &str>> = BTreeMap::new();
    let mut in_file = BTreeSet::new();
    let mut unused = Vec::new();
    let mut naming: Option<Naming> = None;
    for key in index.tensors.keys() {
        let Some((name, role)) = adapter_names::split(key) else {
            let reason = if key.starts_with("bundle_emb.") {
                "an embedding that came bundled; embeddings aren't used"
            } else {
                "not a name that any LoRA tool writes"
            };
            unused.push((key.clone(), reason.to_string()));
            continue;
        };
        in_file.insert(name);
        match names.get(name) {
            Some(module) => {
                naming.get_or_insert_with(|| adapter_names::naming(key));
                if let Some(before) = modules.entry(module.clone()).or_default().insert(role, key) {
                    let problem = format!("names the same factor as {before}");
                    return Err(Error::key(file, key, problem, BROKEN));
                }
            }
            None => unused.push((key.clone(), "the model has no such layer".to_string())),
        }
    }
    if modules.is_empty() {
        return Err(no_module_fits(&index));
    }

    let settings = Settings::new(&index, config)?;
    let mut read = Vec::with_capacity(modules.len());
    for ((part, path), keys) in &modules {
        let shape = shapes.get(&(*part, path.as_str())).copied().unwrap_or_default();
        let module = Module { index: &index, source, part: *part, path, keys, shape };
        read.push(module.read(&settings)?);
    }

    let count = |part| read.iter().filter(|module: &&LoraWeights| module.part == part).count();
    let ranks = || read.iter().map(|module| module.rank);
    let alphas = || read.iter().map(|module| module.alpha.unwrap_or(module.rank as f32));
    let convolution = |module: &LoraWeights| {
        module.mid.is_some() || module.down.shape[2..].iter().any(|&k| k > 1)
    };
    let mut report = CoverageReport {
        kind: if read.iter().any(convolution) { "LoCon" } else { "LoRA" }.into(),
        naming: naming.map_or("", Naming::label).into(),
        modules_used: read.len(),
        modules_in_file: in_file.len(),
        unet_modules: count(Part::UNet),
        text_encoder_modules: count(Part::TextEncoder),
        ranks: [ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)],
        alphas: [alphas().fold(f32::MAX, f32::min), alphas().fold(0.0, f32::max)],
        unused,
        ..CoverageReport::default()
    };
    if read.iter().all(|module| module.up.data.iter().all(|&value| value == 0.0)) {
        report.notes.push("All its up weights are zero: it changes nothing.".into());
    }
    let report = report.finish(&index.metadata);
    Ok(AdapterFile { name: file.into(), modules: read, report })
}

/// Refuses what is no adapter, an adapter for another base, or of a kind not supported.
fn refuse(index: &Index, sites: &[Site]) -> Result<()> {
    let file = index.file.as_str();
    let keys = || index.tensors.keys().map(String::as_str);
    let deep = sites.iter().any(|site| site.path.contains(".transformer_blocks.1."));
    let other_base = |key| Some((key, adapter_names::other_base(key, deep)?));
    if let Some((key, base)) = keys().find_map(other_base) {
        let problem = format!("belongs to an adapter for {base}, not for this model");
        return Err(Error::key(file, key, problem, OTHER_MODEL));
    }
    if let Some((key, kind)) = keys().find_map(|key| Some((key, adapter_names::other_kind(key)?))) {
        let article = if kind.starts_with(['I', 'O', 'e']) { "an" } else { "a" };
        let problem =
            format!("belongs to {article} {kind} adapter, a kind that isn't supported yet");
        return Err(Error::key(file, key, problem, "Use a LoRA or LoCon file"));
    }
    if keys().any(|key| adapter_names::split(key).is_some_and(|(_, role)| role != Role::Scale)) {
        return Ok(());
    }
    let (problem, remedy) = match detect::file_kind(keys()) {
        FileKind::Checkpoint => ("is a whole model, not an adapter", "Open it as a model instead"),
        FileKind::Part(_) => (
            "is a part of a model, not an adapter",
            "Open the whole model folder it belongs to instead",
        ),
        FileKind::OtherModel(_) => ("is a model of another kind, not an adapter", OTHER_MODEL),
        FileKind::Embedding => (
            "is a textual-inversion embedding, not an adapter",
            "Use a LoRA or LoCon file; embeddings aren't supported yet",
        ),
        FileKind::Adapter | FileKind::Unknown => {
            ("holds no tensor with an adapter's name", "Use a LoRA or LoCon file")
        }
    };
    Err(Error::file(file, problem, remedy))
}

fn no_module_fits(index: &Index) -> Error {
    let first = index.tensors.keys().next().map_or("", String::as_str);
    let base = index
        .metadata
        .get("ss_base_model_version")
        .or_else(|| index.metadata.get("modelspec.architecture"));
    let made = base.map_or(String::new(), |base| format!(", which says it was made for {base}"));
    Error::key(
        &index.file,
        first,
        format!("neither this nor any other key names a layer of the loaded model{made}"),
        OTHER_MODEL,
    )
}

struct Module<'a> {
    index: &'a Index,
    source: &'a dyn Source,
    part: Part,
    path: &'a str,
    keys: &'a BTreeMap<Role, &'a str>,
    /// Of the layer's weight.
    shape: &'a [usize],
}

impl Module<'_> {
    fn read(&self, settings: &Settings) -> Result<LoraWeights> {
        let down = self.factor(Role::Down)?;
        let up = self.factor(Role::Up)?;
        let mid = self.keys.contains_key(&Role::Mid).then(|| self.factor(Role::Mid)).transpose()?;
        let rank = down.shape[0];
        if rank == 0 {
            return Err(self.error(Role::Down, "has rank 0".into(), BROKEN));
        }
        let alpha = match self.number(Role::Alpha)? {
            Some(alpha) => Some(alpha),
            None => settings.alpha(self.part, self.path),
        };
        let scale = match (self.number(Role::Scale)?, alpha) {
            (Some(scale), _) => scale,
            // kohya: an alpha of 0 or none stands for the rank.
            (None, None | Some(0.0)) => 1.0,
            (None, Some(alpha)) if settings.rank_stabilised(self.part) => {
                alpha / (rank as f32).sqrt()
            }
            (None, Some(alpha)) => alpha / rank as f32,
        };
        let (down, mid, up) = self.fit(down, mid, up, rank)?;
        Ok(LoraWeights {
            part: self.part,
            path: self.path.into(),
            down,
            mid,
            up,
            scale,
            rank,
            alpha,
        })
    }

    /// Gives the factors the shapes that the layer wants: a 1x1 convolution's and a linear layer's
    /// differ by trailing ones.
    fn fit(
        &self,
        mut down: HostTensor,
        mid: Option<HostTensor>,
        mut up: HostTensor,
        rank: usize,
    ) -> Result<(HostTensor, Option<HostTensor>, HostTensor)> {
        let squeeze = |shape: &[usize], length: usize| -> Vec<usize> {
            let mut shape = shape.to_vec();
            while shape.len() > length && shape.last() == Some(&1) {
                shape.pop();
            }
            shape.resize(length.max(shape.len()), 1);
            shape
        };
        let length = self.shape.len();
        down.shape = squeeze(&down.shape, length);
        up.shape = squeeze(&up.shape, length);
        let (output, input) = (self.shape[0], self.shape[1]);
        let kernel = &self.shape[2..];
        let ones = vec![1; kernel.len()];
        let wanted =
            |first: usize, second: usize, kernel: &[usize]| [&[first, second], kernel].concat();
        let down_kernel = if mid.is_some() { &ones } else { kernel };
        let down_wanted = wanted(rank, input, down_kernel);
        if down.shape != down_wanted {
            return Err(self.misfit(Role::Down, &down.shape, &down_wanted));
        }
        let up_wanted = wanted(output, rank, &ones);
        if up.shape != up_wanted {
            return Err(self.misfit(Role::Up, &up.shape, &up_wanted));
        }
        if let Some(mid) = &mid {
            if kernel.is_empty() {
                let problem = "is the core of a convolution, but the layer is linear".into();
                return Err(self.error(Role::Mid, problem, OTHER_MODEL));
            }
            let mid_wanted = wanted(rank, rank, kernel);
            if mid.shape != mid_wanted {
                return Err(self.misfit(Role::Mid, &mid.shape, &mid_wanted));
            }
        }
        Ok((down, mid, up))
    }

    fn misfit(&self, role: Role, found: &[usize], wanted: &[usize]) -> Error {
        let cross = self.path.ends_with("attn2.to_k") || self.path.ends_with("attn2.to_v");
        if role == Role::Down && cross && found.len() == wanted.len() && found[1] != wanted[1] {
            let name = |width| match width {
                768 => "Stable Diffusion 1",
                1024 => "Stable Diffusion 2",
                2048 => "Stable Diffusion XL",
                _ => "a model of its own kind",
            };
            let problem = format!(
                "reads text embeddings {} wide ({}), the loaded model's are {} wide ({})",
                found[1],
                name(found[1]),
                wanted[1],
                name(wanted[1])
            );
            return self.error(role, problem, OTHER_MODEL);
        }
        let problem = format!("has the shape {found:?} where the layer needs {wanted:?}");
        self.error(role, problem, OTHER_MODEL)
    }

    fn factor(&self, role: Role) -> Result<HostTensor> {
        let Some(&key) = self.keys.get(&role) else {
            let partner = self.keys.values().next().copied().unwrap_or(self.path);
            let missing = if role == Role::Up { "up" } else { "down" };
            let problem = format!("has no {missing} factor beside it");
            return Err(Error::key(&self.index.file, partner, problem, BROKEN));
        };
        let info = self.index.info(key)?;
        if !matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let problem = format!("is of type {}, not a float", info.dtype.name());
            return Err(self.error(role, problem, BROKEN));
        }
        if !(2..=4).contains(&info.shape.len()) {
            let problem = format!("has the shape {:?}, not that of a matrix or kernel", info.shape);
            return Err(self.error(role, problem, BROKEN));
        }
        let data = self.index.read_f32(self.source, key)?;
        if data.iter().any(|value| !value.is_finite()) {
            return Err(self.error(role, "holds NaN or infinity".into(), BROKEN));
        }
        Ok(HostTensor { shape: info.shape.clone(), data })
    }

    fn number(&self, role: Role) -> Result<Option<f32>> {
        let Some(key) = self.keys.get(&role) else { return Ok(None) };
        let values = self.index.read_f32(self.source, key)?;
        match values[..] {
            [value] if value.is_finite() => Ok(Some(value)),
            [_] => Err(self.error(role, "is NaN or infinity".into(), BROKEN)),
            _ => Err(self.error(role, format!("has {} numbers, not one", values.len()), BROKEN)),
        }
    }

    fn error(&self, role: Role, problem: String, remedy: &str) -> Error {
        let key = self.keys.get(&role).copied().unwrap_or(self.path);
        Error::key(&self.index.file, key, problem, remedy)
    }
}

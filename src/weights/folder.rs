//! A model in diffusers' folder layout: `model_index.json` and one folder a component.

use std::rc::Rc;

use serde_json::Value;

use super::checkpoint::{Component, TokenizerFiles, WHAT_TO_BRING};
use super::draft::Draft;
use super::json::read_json;
use super::json_tokenizer::split_tokenizer;
use super::{Index, Source, clues};
use crate::error::{Error, Result};
use crate::keys::xl::is_xl;

/// Endings of weights that are Python pickles or another framework's.
const FOREIGN: [&str; 7] = [".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx"];

/// Whether a file can matter to a model, by its name: the others in a folder aren't even opened.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn is_relevant(name: &str) -> bool {
    let ours = [".json", ".txt", ".safetensors"];
    ours.iter().chain(&FOREIGN).any(|ending| name.ends_with(ending))
}

/// The path before `model_index.json` (or, where that is missing, before `unet/config.json`), if
/// these files are a diffusers folder. The shallowest one counts.
pub(super) fn find_root(files: &[Rc<dyn Source>]) -> Option<String> {
    ["model_index.json", "unet/config.json"].iter().find_map(|wanted| {
        files
            .iter()
            .filter_map(|file| file.name().strip_suffix(wanted))
            .filter(|root| root.is_empty() || root.ends_with('/'))
            .min_by_key(|root| root.len())
            .map(str::to_string)
    })
}

/// Opens a diffusers folder.
///
/// # Errors
/// When it isn't Stable Diffusion 1 or 2, or a file is missing or damaged.
pub(super) fn open(files: &[Rc<dyn Source>], root: &str) -> Result<Draft> {
    let folder = Folder { files, root };
    let index = folder.find("model_index.json").map(read_json).transpose()?;
    refuse(&folder, index.as_ref())?;
    let (mut sources, mut ignored) = (Vec::new(), Vec::new());
    let mut component = |name, stem| component(&folder, name, stem, &mut sources, &mut ignored);
    let unet = component("unet", "diffusion_pytorch_model")?;
    let text_encoder = component("text_encoder", "model")?;
    let xl = is_xl(&unet.config);
    if !xl && index.as_ref().is_some_and(|index| index["text_encoder_2"][0].is_string()) {
        return Err(misnamed(&folder, index.as_ref()));
    }
    let text_encoder_2 = xl.then(|| component("text_encoder_2", "model")).transpose()?;
    let vae = component("vae", "diffusion_pytorch_model")?;
    let name = match root.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => "model".into(),
    };
    let scheduler_config = folder.json("scheduler/scheduler_config.json")?;
    let original = index.as_ref().and_then(|index| index["_name_or_path"].as_str());
    let names = format!("{name} {}", original.unwrap_or_default());
    let clues = clues::of_folder(&unet.file, &names, &unet.config, &scheduler_config);
    Ok(Draft {
        file: format!("{root}model_index.json"),
        name,
        sources,
        unet,
        text_encoder: Some(text_encoder),
        text_encoder_2,
        vae: Some(vae),
        scheduler_config: Some(scheduler_config),
        tokenizer: tokenizer(&folder, "tokenizer")?,
        tokenizer_2: tokenizer(&folder, "tokenizer_2")?,
        force_zeros: index
            .as_ref()
            .is_none_or(|index| index["force_zeros_for_empty_prompt"] != Value::Bool(false)),
        clues,
        ignored,
        notes: Vec::new(),
    })
}

struct Folder<'a> {
    files: &'a [Rc<dyn Source>],
    root: &'a str,
}

impl Folder<'_> {
    fn find(&self, path: &str) -> Option<&Rc<dyn Source>> {
        self.files.iter().find(|file| file.name().strip_prefix(self.root) == Some(path))
    }

    fn get(&self, path: &str) -> Result<&Rc<dyn Source>> {
        self.find(path).ok_or_else(|| {
            Error::file(
                format!("{}{path}", self.root),
                "is missing from the model's folder",
                "Download the whole folder again, or bring it as a whole",
            )
        })
    }

    /// A file that has to be there and to hold a JSON object.
    fn json(&self, path: &str) -> Result<Value> {
        read_json(self.get(path)?)
    }

    /// The files in a component's own folder, by their names in it.
    fn within<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a Rc<dyn Source>)> {
        let prefix = format!("{}{name}/", self.root);
        self.files.iter().filter_map(move |file| {
            let rest = file.name().strip_prefix(prefix.as_str())?;
            (!rest.contains('/')).then_some((rest, file))
        })
    }
}

/// Refuses pipelines that are no Stable Diffusion 1, 2 or XL, by what they are called.
fn refuse(folder: &Folder, index: Option<&Value>) -> Result<()> {
    let class = index.and_then(|index| index["_class_name"].as_str()).unwrap_or_default();
    let has = |name: &str| {
        folder.within(name).next().is_some()
            || index.is_some_and(|index| index[name][0].is_string())
    };
    // Pipelines of XL that take what every other one takes; inpainting is told by the UNet's input.
    const XL: [&str; 3] = [
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    ];
    let second = has("text_encoder_2");
    let first = folder.within("text_encoder").next().is_some();
    let named = class.is_empty() || XL.contains(&class);
    let scheduler = index
        .and_then(|index| index["scheduler"][1].as_str())
        .is_some_and(|scheduler| scheduler.starts_with("EDM"));
    let what = match class {
        _ if second && named && !first => "the refiner of Stable Diffusion XL",
        _ if second && named && scheduler => {
            "Playground v2.5 or a relative (its scheduler is EDM's)"
        }
        _ if second && named && !has("transformer") => return Ok(()),
        _ if class.contains("XL") => "a relative of Stable Diffusion XL",
        _ if has("transformer") => "a transformer model (Stable Diffusion 3, Flux or the like)",
        _ if has("prior") || has("decoder") || has("controlnet") => "of another kind",
        _ => return Ok(()),
    };
    let class = if class.is_empty() { String::new() } else { format!(" ({class})") };
    Err(Error::file(
        format!("{}model_index.json", folder.root),
        format!("the model is {what}{class}, not Stable Diffusion 1, 2 or XL"),
        "Use a model of Stable Diffusion 1.x, 2.x or XL",
    ))
}

/// The error about a UNet that isn't that of the pipeline which names it.
fn misnamed(folder: &Folder, index: Option<&Value>) -> Error {
    let class = index.and_then(|index| index["_class_name"].as_str()).unwrap_or_default();
    Error::file(
        format!("{}model_index.json", folder.root),
        format!(
            "the model is Stable Diffusion XL ({class}) by this file, and by unet/config.json it isn't \
             (addition_embed_type is not text_time)"
        ),
        "Download the whole folder again",
    )
}

fn component(
    folder: &Folder,
    name: &'static str,
    stem: &str,
    sources: &mut Vec<Rc<dyn Source>>,
    ignored: &mut Vec<String>,
) -> Result<Component> {
    let config = folder.json(&format!("{name}/config.json"))?;
    let chosen = choose(folder, name, stem)?;
    let mut component = Component::new(name, chosen.name());
    component.config = config;
    if chosen.name().ends_with(".json") {
        add_sharded(folder, name, chosen, &mut component, sources, ignored)?;
    } else {
        let index = Index::read(chosen.as_ref())?;
        component.add_file(&index, chosen.as_ref(), sources.len(), ignored)?;
        sources.push(Rc::clone(chosen));
    }
    if component.tensors.is_empty() {
        return Err(Error::file(
            chosen.name(),
            "holds no tensors",
            "Download the component's folder again",
        ));
    }
    Ok(component)
}

/// The best weights of a component: half precision before full, since it is half the download and
/// memory; averaged weights before `non_ema` ones; one file before several.
fn choose<'a>(folder: &'a Folder, name: &str, stem: &str) -> Result<&'a Rc<dyn Source>> {
    let found: Vec<_> = folder.within(name).collect();
    let ranked = |(file, source): &(&str, &'a Rc<dyn Source>)| {
        Some((rank(file, stem)?, file.to_string(), *source))
    };
    if let Some((_, _, source)) =
        found.iter().filter_map(ranked).min_by_key(|row| (row.0, row.1.clone()))
    {
        return Ok(source);
    }
    let mut others = found.iter().filter(|(file, _)| file.ends_with(".safetensors"));
    if let (Some((_, only)), None) = (others.next(), others.next()) {
        return Ok(only);
    }
    let expected = format!("{}{name}/{stem}.safetensors", folder.root);
    match found.iter().find(|(file, _)| FOREIGN.iter().any(|ending| file.ends_with(ending))) {
        Some((_, foreign)) => Err(Error::file(
            foreign.name(),
            "isn't a .safetensors file, and there is none beside it",
            format!("Download or convert the weights as {expected}"),
        )),
        None => Err(Error::file(
            &expected,
            format!("the {name} folder has no weights"),
            format!("Put {stem}.safetensors or {stem}.fp16.safetensors there. {WHAT_TO_BRING}"),
        )),
    }
}

/// Lower is better; `None` for what are no weights, parts of sharded ones included.
/// `diffusion_pytorch_model.fp16.safetensors` and
/// `diffusion_pytorch_model.safetensors.index.fp16.json` both occur.
fn rank(file: &str, stem: &str) -> Option<(u8, u8, u8)> {
    let words: Vec<&str> = file.strip_prefix(stem)?.strip_prefix('.')?.split('.').collect();
    let sharded = match *words.last()? {
        "safetensors" => false,
        "json" if words.contains(&"safetensors") && words.contains(&"index") => true,
        _ => return None,
    };
    let variants: Vec<&str> =
        words.into_iter().filter(|word| !["safetensors", "index", "json"].contains(word)).collect();
    if variants.iter().any(|word| word.contains("-of-")) {
        return None;
    }
    let precision = |word: &&str| match *word {
        "fp16" => 0,
        "bf16" => 1,
        "fp32" | "non_ema" => 2,
        _ => 3,
    };
    let precision = variants.iter().map(precision).min().unwrap_or(2);
    let unaveraged = variants.contains(&"non_ema");
    Some((u8::from(unaveraged), precision, u8::from(sharded)))
}

/// Adds all parts that a `*.safetensors.index.json` names.
fn add_sharded(
    folder: &Folder,
    name: &str,
    chosen: &Rc<dyn Source>,
    component: &mut Component,
    sources: &mut Vec<Rc<dyn Source>>,
    ignored: &mut Vec<String>,
) -> Result<()> {
    let list = read_json(chosen)?;
    let damaged = |key: &str, problem: String| {
        Error::key(chosen.name(), key, problem, "Download the component's folder again")
    };
    let map = list["weight_map"]
        .as_object()
        .filter(|map| !map.is_empty())
        .ok_or_else(|| damaged("weight_map", "is missing or lists no tensors".into()))?;
    let mut parts: Vec<(&str, Index)> = Vec::new();
    for (key, part) in map {
        let part = part.as_str().ok_or_else(|| damaged(key, "isn't the name of a part".into()))?;
        let at = match parts.iter().position(|row| row.0 == part) {
            Some(at) => at,
            None => {
                let source = folder.find(&format!("{name}/{part}")).ok_or_else(|| {
                    Error::file(
                        format!("{}{name}/{part}", folder.root),
                        format!("is missing; {} lists it as one of the parts", chosen.name()),
                        "Add this file, or download the component's folder again",
                    )
                })?;
                let index = Index::read(source.as_ref())?;
                component.add_file(&index, source.as_ref(), sources.len(), ignored)?;
                sources.push(Rc::clone(source));
                parts.push((part, index));
                parts.len() - 1
            }
        };
        if !parts[at].1.tensors.contains_key(key) {
            return Err(damaged(key, format!("should be in {part}, and isn't")));
        }
    }
    Ok(())
}

/// `vocab.json` and `merges.txt`, or both out of the `tokenizer.json` that newer versions of
/// transformers write; `None` when the folder has no tokenizer of this name at all.
fn tokenizer(folder: &Folder, name: &str) -> Result<Option<TokenizerFiles>> {
    if folder.within(name).next().is_none() {
        return Ok(None);
    }
    let at = |file: &str| format!("{name}/{file}");
    let optional = |file: &str| folder.find(&at(file)).map(read_json).transpose();
    let combined = folder.find(&at("tokenizer.json"));
    let (vocab, merges) = match (folder.find(&at("vocab.json")), combined) {
        (None, Some(combined)) => split_tokenizer(combined)?,
        _ => {
            (folder.get(&at("vocab.json"))?.read_all()?, folder.get(&at("merges.txt"))?.read_all()?)
        }
    };
    Ok(Some(TokenizerFiles {
        vocab,
        merges,
        config: optional("tokenizer_config.json")?,
        special_tokens: optional("special_tokens_map.json")?,
    }))
}

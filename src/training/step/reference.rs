//! Random numbers and inputs from a file, in place of our own: a run that can be compared with
//! PyTorch's step by step. Names as in the demo model's `light-tuning/given.safetensors`.

use super::draws::Draws;
use crate::adapters::Part;
use crate::adapters::save::kohya_name;
use crate::error::{Error, Result};
use crate::training::data::dataset::{Dataset, Example, Latents};
use crate::training::data::picture::Role;
use crate::training::trained::adapter::{Adapter, Module};
use crate::weights::{Index, Source};

/// The draws of every batch of a run, and the adapter's first values.
#[derive(Debug, Clone)]
pub struct Reference {
    batches: Vec<Draws>,
    class_batches: Vec<Draws>,
    init: Vec<(String, Vec<f32>)>,
}

impl Reference {
    /// Reads `index`, `timesteps`, `noise` and `caption_dropped` (`[batches, batch, ..]`), with the
    /// prefix `class_` too where they are there, and `init.*`; every name after `prefix`.
    ///
    /// # Errors
    /// Names what is missing or misshapen.
    pub fn read(source: &dyn Source, prefix: &str) -> Result<Self> {
        let index = Index::read(source)?;
        let batches = |kind: &str| -> Result<Vec<Draws>> {
            let key = |name: &str| format!("{prefix}{kind}{name}");
            let first = key("index");
            let [count, batch] = index.info(&first)?.shape[..] else {
                return Err(Error::key(source.name(), first, "is no matrix", REMEDY));
            };
            let whole = |name: &str| index.read_f32(source, &key(name));
            let (pictures, timesteps, noise) =
                (whole("index")?, whole("timesteps")?, whole("noise")?);
            let dropped = if index.tensors.contains_key(&key("caption_dropped")) {
                whole("caption_dropped")?
            } else {
                vec![0.0; count * batch]
            };
            let samples = (count * batch).max(1);
            for (name, numbers) in
                [("timesteps", timesteps.len()), ("caption_dropped", dropped.len())]
            {
                if numbers != count * batch {
                    let problem = format!("has {numbers} numbers, not {count} x {batch}");
                    return Err(Error::key(source.name(), key(name), problem, REMEDY));
                }
            }
            let rows = |values: &[f32], i: usize| values[i * batch..(i + 1) * batch].to_vec();
            Ok((0..count)
                .map(|i| Draws {
                    index: rows(&pictures, i).iter().map(|&x| x as usize).collect(),
                    timesteps: rows(&timesteps, i).iter().map(|&x| x as usize).collect(),
                    noise: (i * batch..(i + 1) * batch)
                        .map(|j| {
                            let each = noise.len() / samples;
                            noise[j * each..(j + 1) * each].to_vec()
                        })
                        .collect(),
                    dropped: rows(&dropped, i).iter().map(|&x| x != 0.0).collect(),
                    mirrored: vec![false; batch],
                    posterior: Vec::new(),
                })
                .collect())
        };
        let start = format!("{prefix}init.");
        let init = index
            .tensors
            .keys()
            .filter_map(|key| Some((key, key.strip_prefix(&start)?)))
            .map(|(key, name)| Ok((name.to_string(), index.read_f32(source, key)?)))
            .collect::<Result<_>>()?;
        let has_class = index.tensors.contains_key(&format!("{prefix}class_index"));
        Ok(Self {
            batches: batches("")?,
            class_batches: if has_class { batches("class_")? } else { Vec::new() },
            init,
        })
    }

    /// The draws of a batch, counted over the whole run.
    pub fn draws(&self, batch: usize) -> Option<&Draws> {
        self.batches.get(batch)
    }

    /// Those of its class pictures.
    pub fn class_draws(&self, batch: usize) -> Option<&Draws> {
        self.class_batches.get(batch)
    }

    /// Sets the adapter's first values.
    ///
    /// # Errors
    /// When one is missing or of another size.
    pub fn initialise(&self, adapter: &mut Adapter, file: &str) -> Result<()> {
        let Adapter { modules, parameters, .. } = adapter;
        for module in modules.iter() {
            for piece in &module.pieces {
                let key = tensor_name(module, piece.name);
                let values = self.init.iter().find(|(name, _)| *name == key);
                let fits = values.filter(|(_, values)| values.len() == piece.range.len());
                let Some((_, values)) = fits else {
                    let problem = format!("is missing or isn't of shape {:?}", piece.shape);
                    return Err(Error::key(file, format!("init.{key}"), problem, REMEDY));
                };
                parameters[piece.range.clone()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

/// The pictures of a reference file: `latents [n, 4, h, w]`, `text [n, tokens, width]`,
/// `text_empty`, and where they are there `held_out.latents`, `held_out.text`, `class_latents`,
/// `class_text [1 or n, ..]`; every name after `prefix`.
///
/// # Errors
/// Names what is missing or misshapen.
pub fn dataset(source: &dyn Source, prefix: &str) -> Result<Dataset> {
    let index = Index::read(source)?;
    let key = |name: &str| format!("{prefix}{name}");
    let read = |name: &str| index.read_f32(source, &key(name));
    let [tokens, width] = match index.info(&key("text"))?.shape[..] {
        [_, tokens, width] => [tokens, width],
        _ => return Err(Error::key(source.name(), key("text"), "isn't [n, l, c]", REMEDY)),
    };
    let mut examples = Vec::new();
    let sets = [
        ("latents", "text", Role::Train),
        ("held_out.latents", "held_out.text", Role::HeldOut),
        ("class_latents", "class_text", Role::Class),
    ];
    for (latents, text, role) in sets {
        if role != Role::Train && !index.tensors.contains_key(&key(latents)) {
            continue;
        }
        let [n, channels, height, width_] = index.info(&key(latents))?.shape[..] else {
            return Err(Error::key(source.name(), key(latents), "isn't [n, c, h, w]", REMEDY));
        };
        let shape = [channels, height, width_];
        let (numbers, texts) = (read(latents)?, read(text)?);
        let (each, row) = (channels * height * width_, tokens * width);
        if texts.len() < row {
            return Err(Error::key(source.name(), key(text), "is too short", REMEDY));
        }
        for i in 0..n {
            // One text may stand for all.
            let at = if texts.len() == row { 0 } else { i * row };
            let text = texts.get(at..at + row).map(<[f32]>::to_vec).unwrap_or_default();
            let mean = numbers[i * each..(i + 1) * each].to_vec();
            let latents = Latents { shape, mean, deviation: None };
            let name = format!("{}{i}", key(latents_name(role)));
            let caption = String::new();
            let sizes = Default::default();
            examples.push(Example { name, caption, role, latents, mirrored: None, text, sizes });
        }
    }
    let class_prompt = index.tensors.contains_key(&key("class_text"));
    Ok(Dataset {
        examples,
        empty: read("text_empty")?,
        class_prompt: class_prompt.then(|| read("class_text")).transpose()?,
        text_shape: [tokens, width],
        // Files of this form are of SD 1 and 2.
        pooled: 0,
    })
}

fn latents_name(role: Role) -> &'static str {
    match role {
        Role::Train => "latents ",
        Role::HeldOut => "held_out.latents ",
        Role::Class => "class_latents ",
    }
}

const REMEDY: &str = "Give a file of the form of light-tuning/given.safetensors";

/// `lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight` and the like.
pub fn tensor_name(module: &Module, piece: &str) -> String {
    format!("{}.{piece}", kohya_name(Part::UNet, &module.path))
}

//! UNet names: the single-file (ldm) vocabulary of CompVis' `openaimodel.py` to diffusers' and back.
//!
//! ldm numbers its blocks through, diffusers groups them by resolution: the translation is
//! arithmetic on two numbers, which [`UNetLayout`] holds. Source: diffusers
//! `loaders/single_file_utils.py`, `convert_ldm_unet_checkpoint`.

use serde_json::Value;

/// How a UNet's blocks are grouped; all that the translation of names needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UNetLayout {
    /// Number of ldm blocks per resolution level, which is `layers_per_block + 1`.
    pub level: usize,
    /// For each of diffusers' `up_blocks`, whether it has attentions. Down blocks mirror it.
    pub up_attentions: Vec<bool>,
}

impl UNetLayout {
    /// The layout of Stable Diffusion 1 and 2.
    pub fn stable_diffusion() -> Self {
        Self { level: 3, up_attentions: vec![false, true, true, true] }
    }

    /// From a diffusers `config.json`; `None` where ldm has no such UNet (a different number of
    /// layers per block).
    pub fn from_config(config: &Value) -> Option<Self> {
        let layers = match &config["layers_per_block"] {
            Value::Array(list) if list.iter().all(|layers| Some(layers) == list.first()) => {
                list.first()?.as_u64()?
            }
            layers => layers.as_u64()?,
        };
        let up_attentions = config["up_block_types"]
            .as_array()?
            .iter()
            .map(|name| Some(name.as_str()?.contains("CrossAttn")))
            .collect::<Option<_>>()?;
        Some(Self { level: usize::try_from(layers).ok()?.checked_add(1)?, up_attentions })
    }

    /// From the ldm names themselves, without `model.diffusion_model.`. Reads the stride off the
    /// first downsampler, so that files converted from distilled UNets, which keep SD 1's numbers
    /// with gaps, are understood too.
    pub fn from_ldm_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut ops, mut inputs) = (Vec::new(), Vec::new());
        let (mut outputs, mut attentions) = (Vec::new(), Vec::new());
        for key in keys {
            if let Some((at, part, rest)) = numbered(key, "input_blocks.") {
                inputs.push(at);
                if part == 0 && rest.starts_with("op.") {
                    ops.push(at);
                }
            } else if let Some((at, part, rest)) = numbered(key, "output_blocks.") {
                outputs.push(at);
                if part == 1 && is_transformer(rest) {
                    attentions.push(at);
                }
            }
        }
        let level = match ops.iter().min() {
            Some(&first) => first,
            None => *inputs.iter().max()? + 1,
        };
        let last = *outputs.iter().max()?;
        if level == 0 {
            return None;
        }
        let mut up_attentions = vec![false; last / level + 1];
        for at in attentions {
            up_attentions[at / level] = true;
        }
        Some(Self { level, up_attentions })
    }
}

/// More ldm blocks than any UNet has; bounds what a forged name can make us allocate.
const MOST_BLOCKS: usize = 1000;

/// diffusers' name (without its component) of an ldm UNet tensor (without
/// `model.diffusion_model.`), such as `input_blocks.1.0.in_layers.2.weight` to
/// `down_blocks.0.resnets.0.conv1.weight`.
pub fn unet_to_diffusers(key: &str, layout: &UNetLayout) -> Option<String> {
    let (module, parameter) = key.rsplit_once('.')?;
    Some(format!("{}.{parameter}", unet_module_to_diffusers(module, layout)?))
}

/// diffusers' path of an ldm UNet module.
pub fn unet_module_to_diffusers(path: &str, layout: &UNetLayout) -> Option<String> {
    if let Some(row) = SINGLE.iter().find(|row| row.0 == path) {
        return Some(row.1.into());
    }
    let blocks = layout.up_attentions.len();
    if let Some((at, part, rest)) = numbered(path, "input_blocks.") {
        // Block 0 is conv_in.
        let (block, layer) = (at.checked_sub(1)? / layout.level, (at - 1) % layout.level);
        return match (part, rest) {
            _ if block >= blocks => None,
            (0, "op") if layer + 1 == layout.level => {
                Some(format!("down_blocks.{block}.downsamplers.0.conv"))
            }
            _ if layer + 1 == layout.level => None,
            _ => in_block(&format!("down_blocks.{block}"), layer, part, rest),
        };
    }
    if let Some((at, part, rest)) = numbered(path, "output_blocks.") {
        let (block, layer) = (at / layout.level, at % layout.level);
        return match (part, rest) {
            _ if block >= blocks => None,
            (1 | 2, "conv") if layer + 1 == layout.level => {
                Some(format!("up_blocks.{block}.upsamplers.0.conv"))
            }
            _ => in_block(&format!("up_blocks.{block}"), layer, part, rest),
        };
    }
    let (at, rest) = head_number(path.strip_prefix("middle_block.")?)?;
    match at {
        0 | 2 => in_block("mid_block", at / 2, 0, rest),
        1 => in_block("mid_block", 0, 1, rest),
        _ => None,
    }
}

/// ldm's path (without `model.diffusion_model.`) of a diffusers UNet module (without `unet.`): the
/// inverse of [`unet_module_to_diffusers`].
pub fn unet_module_to_ldm(path: &str, layout: &UNetLayout) -> Option<String> {
    if let Some(row) = SINGLE.iter().find(|row| row.1 == path) {
        return Some(row.0.into());
    }
    let (level, blocks) = (layout.level, layout.up_attentions.len());
    if let Some((block, rest)) = path.strip_prefix("down_blocks.").and_then(head_number) {
        if block >= blocks {
            return None;
        }
        if rest == "downsamplers.0.conv" {
            return Some(format!("input_blocks.{}.0.op", (block + 1) * level));
        }
        let (layer, part, rest) = out_of_block(rest)?;
        return (layer + 1 < level)
            .then(|| join(&format!("input_blocks.{}.{part}", 1 + block * level + layer), &rest));
    }
    if let Some((block, rest)) = path.strip_prefix("up_blocks.").and_then(head_number) {
        let attentions = *layout.up_attentions.get(block)?;
        if rest == "upsamplers.0.conv" {
            let part = if attentions { 2 } else { 1 };
            return Some(format!("output_blocks.{}.{part}.conv", block * level + level - 1));
        }
        let (layer, part, rest) = out_of_block(rest)?;
        return (layer < level)
            .then(|| join(&format!("output_blocks.{}.{part}", block * level + layer), &rest));
    }
    let (layer, part, rest) = out_of_block(path.strip_prefix("mid_block.")?)?;
    match (part, layer) {
        (0, 0 | 1) => Some(join(&format!("middle_block.{}", 2 * layer), &rest)),
        (1, 0) => Some(join("middle_block.1", &rest)),
        _ => None,
    }
}

/// Modules of which a UNet has one: ldm, diffusers.
const SINGLE: [(&str, &str); 8] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("time_embed.cond_proj", "time_embedding.cond_proj"),
    // What SDXL adds to the time embedding.
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];

/// The parts of a ResNet block: ldm, diffusers.
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("emb_layers.1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
];

/// The parts of a transformer of depth 1.
const TRANSFORMER: [&str; 16] = [
    "norm",
    "proj_in",
    "proj_out",
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.0.attn1.to_k",
    "transformer_blocks.0.attn1.to_v",
    "transformer_blocks.0.attn1.to_out.0",
    "transformer_blocks.0.attn2.to_q",
    "transformer_blocks.0.attn2.to_k",
    "transformer_blocks.0.attn2.to_v",
    "transformer_blocks.0.attn2.to_out.0",
    "transformer_blocks.0.ff.net.0.proj",
    "transformer_blocks.0.ff.net.2",
    "transformer_blocks.0.norm1",
    "transformer_blocks.0.norm2",
    "transformer_blocks.0.norm3",
];

/// Every ldm name (without `model.diffusion_model.`) that a tensor of a Stable Diffusion UNet can have,
/// of blocks up to number 24 (SD 1 and 2 have 12): for names that have to be found by another form.
pub fn unet_names() -> Vec<String> {
    let mut modules: Vec<String> = SINGLE.iter().map(|row| row.0.into()).collect();
    let numbered =
        (0..=24).flat_map(|at| ["input", "output"].map(|side| format!("{side}_blocks.{at}")));
    for block in numbered.chain(["middle_block".into()]) {
        let parts = RESNET.iter().map(|row| row.0).chain(TRANSFORMER).chain(["op", "conv"]);
        for name in parts {
            modules.extend((0..3).map(|part| format!("{block}.{part}.{name}")));
        }
    }
    let both = |module: String| [format!("{module}.weight"), format!("{module}.bias")];
    modules.into_iter().flat_map(both).collect()
}

/// Within a transformer both vocabularies agree. Empty stands for the transformer itself.
fn is_transformer(rest: &str) -> bool {
    rest.is_empty()
        || ["norm", "proj_in", "proj_out", "transformer_blocks"]
            .iter()
            .any(|name| rest.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('.')))
}

/// Part 0 of an ldm block is a ResNet, part 1 a transformer.
fn in_block(block: &str, layer: usize, part: usize, rest: &str) -> Option<String> {
    match part {
        0 if rest.is_empty() => Some(format!("{block}.resnets.{layer}")),
        0 => {
            let name = RESNET.iter().find(|row| row.0 == rest)?.1;
            Some(format!("{block}.resnets.{layer}.{name}"))
        }
        1 if is_transformer(rest) => Some(join(&format!("{block}.attentions.{layer}"), rest)),
        _ => None,
    }
}

/// Layer, part and ldm's path within the part, of a diffusers path within its block.
fn out_of_block(path: &str) -> Option<(usize, usize, String)> {
    if let Some((layer, rest)) = path.strip_prefix("resnets.").and_then(head_number) {
        let name = match rest {
            "" => "",
            _ => RESNET.iter().find(|row| row.1 == rest)?.0,
        };
        return Some((layer, 0, name.into()));
    }
    let (layer, rest) = head_number(path.strip_prefix("attentions.")?)?;
    is_transformer(rest).then(|| (layer, 1, rest.into()))
}

fn join(path: &str, rest: &str) -> String {
    if rest.is_empty() { path.into() } else { format!("{path}.{rest}") }
}

/// `12.rest` to 12 and `rest`, `12` to 12 and nothing.
pub(super) fn head_number(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.split_once('.').unwrap_or((path, ""));
    // No sign, no leading zero: a name has one spelling.
    let plain = number == "0" || number.starts_with(|c: char| ('1'..='9').contains(&c));
    let number = plain.then(|| number.parse().ok()).flatten()?;
    (number <= MOST_BLOCKS).then_some((number, rest))
}

/// `prefix` `12.0.rest` to 12, 0 and `rest`.
fn numbered<'a>(path: &'a str, prefix: &str) -> Option<(usize, usize, &'a str)> {
    let (at, rest) = head_number(path.strip_prefix(prefix)?)?;
    let (part, rest) = head_number(rest)?;
    Some((at, part, rest))
}

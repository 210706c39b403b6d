//! VAE names: the single-file (ldm) vocabulary, and diffusers' own older one, to diffusers' current
//! one. Source: diffusers `loaders/single_file_utils.py`, `convert_ldm_vae_checkpoint`.

use super::ldm::head_number;

/// Number of resolution levels of an ldm VAE, off its names (without `first_stage_model.`).
pub fn ldm_levels<'a>(keys: impl IntoIterator<Item = &'a str>) -> usize {
    keys.into_iter()
        .filter_map(|key| {
            let rest = key.strip_prefix("decoder.up.").or(key.strip_prefix("encoder.down."))?;
            Some(head_number(rest)?.0 + 1)
        })
        .max()
        .unwrap_or(0)
}

/// diffusers' current name of a VAE tensor in either older vocabulary (or in the current one, which
/// stays): attention is `to_q`, `to_k`, `to_v`, `to_out.0`. `levels` is what [`ldm_levels`] tells:
/// ldm counts the decoder's blocks from the picture up, diffusers in the order they run.
pub fn to_diffusers(key: &str, levels: usize) -> Option<String> {
    let (module, parameter) = key.rsplit_once('.')?;
    let (part, path) = match module.split_once('.') {
        Some((part @ ("encoder" | "decoder"), path)) => (part, path),
        _ if matches!(module, "quant_conv" | "post_quant_conv") => return Some(key.into()),
        _ => return None,
    };
    let path = match path {
        "conv_in" | "conv_out" | "conv_norm_out" => path.to_string(),
        "norm_out" => "conv_norm_out".into(),
        // TAESD's, which have one name everywhere.
        _ if path.starts_with("layers.") => path.to_string(),
        _ => mid(path).or_else(|| level(part, path, levels))?,
    };
    Some(format!("{part}.{path}.{parameter}"))
}

/// A half of TAESD in a file of its own, in the names of its makers: a sequence of layers by number.
/// Source: madebyollin/taesd, `taesd.py`, and diffusers `convert_tiny_autoencoder_to_diffusers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TinyHalf {
    /// `taesd_encoder.safetensors`.
    Encoder,
    /// `taesd_decoder.safetensors`.
    Decoder,
}

impl TinyHalf {
    /// The half that has these names, and nothing else.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut first, mut second) = (false, false);
        for key in keys {
            let (layer, rest) = head_number(key)?;
            let (path, parameter) = rest.rsplit_once('.').unwrap_or(("", rest));
            let block = path.strip_prefix("conv.").is_some_and(|at| at.parse::<usize>().is_ok());
            if !matches!(parameter, "weight" | "bias") || !(block || matches!(path, "" | "skip")) {
                return None;
            }
            first |= layer == 0;
            second |= key == "1.weight";
        }
        match (first, second) {
            (true, false) => Some(Self::Encoder),
            // The decoder's first layer has no numbers: it limits the latents.
            (false, true) => Some(Self::Decoder),
            _ => None,
        }
    }

    /// diffusers' name of a tensor; its decoder doesn't count that first layer.
    pub fn to_diffusers(self, key: &str) -> Option<String> {
        let (layer, rest) = head_number(key)?;
        Some(match self {
            Self::Encoder => format!("encoder.layers.{layer}.{rest}"),
            Self::Decoder => format!("decoder.layers.{}.{rest}", layer.checked_sub(1)?),
        })
    }

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Encoder => "TAESD's encoder",
            Self::Decoder => "TAESD's decoder",
        }
    }
}

/// Paths within the middle block.
fn mid(path: &str) -> Option<String> {
    if let Some(name) =
        path.strip_prefix("mid.attn_1.").or(path.strip_prefix("mid_block.attentions.0."))
    {
        let name = ATTENTION.iter().find(|row| row.0 == name || row.1 == name || row.2 == name)?.2;
        return Some(format!("mid_block.attentions.0.{name}"));
    }
    let (layer, name) = match path.strip_prefix("mid.block_") {
        // ldm counts these two from 1.
        Some(rest) => head_number(rest).and_then(|(n, name)| Some((n.checked_sub(1)?, name)))?,
        None => head_number(path.strip_prefix("mid_block.resnets.")?)?,
    };
    Some(format!("mid_block.resnets.{layer}.{}", resnet(name)?))
}

/// Paths within a resolution level.
fn level(part: &str, path: &str, levels: usize) -> Option<String> {
    let (ldm, own, sampler, group) = match part {
        "encoder" => ("down.", "down_blocks.", "downsample.conv", "downsamplers"),
        _ => ("up.", "up_blocks.", "upsample.conv", "upsamplers"),
    };
    if let Some((block, rest)) = path.strip_prefix(ldm).and_then(head_number) {
        let block =
            if part == "encoder" { block } else { levels.checked_sub(1)?.checked_sub(block)? };
        if rest == sampler {
            return Some(format!("{own}{block}.{group}.0.conv"));
        }
        let (layer, name) = head_number(rest.strip_prefix("block.")?)?;
        return Some(format!("{own}{block}.resnets.{layer}.{}", resnet(name)?));
    }
    let (_, rest) = head_number(path.strip_prefix(own)?)?;
    let known = match rest.split_once('.')? {
        ("resnets", rest) => resnet(head_number(rest)?.1)? == head_number(rest)?.1,
        (name, rest) => name == group && rest == "0.conv",
    };
    known.then(|| path.to_string())
}

/// The parts of the attention: ldm, diffusers to 0.17, diffusers.
const ATTENTION: [(&str, &str, &str); 5] = [
    ("norm", "group_norm", "group_norm"),
    ("q", "query", "to_q"),
    ("k", "key", "to_k"),
    ("v", "value", "to_v"),
    ("proj_out", "proj_attn", "to_out.0"),
];

fn resnet(name: &str) -> Option<&str> {
    match name {
        "norm1" | "conv1" | "norm2" | "conv2" | "conv_shortcut" => Some(name),
        "nin_shortcut" => Some("conv_shortcut"),
        _ => None,
    }
}

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

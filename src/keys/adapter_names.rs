//! The names of adapter tensors: which module, which factor, in any tool's way of writing them.
//!
//! A module's name is never taken apart at its underscores (`to_out_0` could be many things): the
//! names that each tool would write for the model's own modules are laid out in a table and looked
//! up.

use std::collections::HashMap;

use super::ldm::{UNetLayout, unet_module_to_ldm};

/// The part of the model that a module belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The denoiser.
    UNet,
    /// CLIP's text model.
    TextEncoder,
    /// SDXL's second one.
    TextEncoder2,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UNet, Self::TextEncoder, Self::TextEncoder2];

    /// As diffusers' folders call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

/// How a file names its tensors, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `lora_unet_..`, `lora_te_..`.
    Kohya,
    /// kohya's prefix with ldm paths, `lora_unet_input_blocks_..`.
    KohyaLdm,
    /// `lycoris_..`.
    Lycoris,
    /// `...lora.down.weight`, `...processor.to_q_lora.down.weight`.
    Diffusers,
    /// `...lora_A.weight`.
    Peft,
    /// `diffusion_model.input_blocks..`.
    Generic,
}

impl Naming {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kohya => "kohya",
            Self::KohyaLdm => "kohya (ldm names)",
            Self::Lycoris => "LyCORIS",
            Self::Diffusers => "diffusers",
            Self::Peft => "PEFT",
            Self::Generic => "ldm",
        }
    }
}

/// Marks of the kinds that aren't read, by name.
const OTHER_KINDS: [(&str, &str); 5] = [
    ("oft_diag", "old OFT"),
    (".boft_R", "BOFT (PEFT)"),
    (".boft_s", "BOFT (PEFT)"),
    ("vera_lambda", "VeRA"),
    ("lora_embedding_", "embedding LoRA"),
];

/// The kind that a key belongs to, if it is one that isn't read.
pub fn other_kind(key: &str) -> Option<&'static str> {
    OTHER_KINDS.iter().find(|(mark, _)| key.contains(mark)).map(|(_, kind)| *kind)
}

/// How a key is named.
pub fn naming(key: &str) -> Naming {
    if key.starts_with("lora_unet_input_blocks")
        || key.starts_with("lora_unet_output_blocks")
        || key.starts_with("lora_unet_middle_block")
    {
        Naming::KohyaLdm
    } else if key.starts_with("lora_") || key.starts_with("oft_unet_") {
        Naming::Kohya
    } else if key.starts_with("lycoris_") {
        Naming::Lycoris
    } else if [".lora_A", ".lora_B", ".lora_magnitude_vector", "base_model.model."]
        .iter()
        .any(|mark| key.contains(mark))
    {
        Naming::Peft
    } else if key.contains("diffusion_model.") {
        Naming::Generic
    } else {
        Naming::Diffusers
    }
}

/// What of the loaded model tells whether a key can belong to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// It is SDXL, or a relative.
    pub xl: bool,
    /// It has transformers of more than one block, as SDXL's are.
    pub deep: bool,
}

/// The model that a key can only belong to, if it isn't the loaded one.
pub fn other_base(key: &str, loaded: Loaded) -> Option<&'static str> {
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    let starts = |parts: &[&str]| parts.iter().any(|part| key.starts_with(part));
    if starts(&["lora_te3_", "text_encoder_3.", "text_encoders.t5xxl", "t5xxl."]) {
        Some("Stable Diffusion 3")
    } else if !loaded.xl
        && starts(&["lora_te2_", "text_encoder_2.", "text_encoders.clip_g.", "clip_g."])
    {
        Some("Stable Diffusion XL")
    } else if loaded.xl && (key.starts_with("lora_te_") || has(&OUTSIDE_XL)) {
        Some("Stable Diffusion 1 or 2")
    } else if has(&["double_blocks", "single_blocks", "single_transformer_blocks"]) {
        Some("Flux")
    } else if has(&["joint_blocks"]) {
        Some("Stable Diffusion 3")
    } else if key.starts_with("transformer.") || key.starts_with("lora_transformer_") {
        Some("a diffusion transformer (Flux, Stable Diffusion 3 or the like)")
    } else if !loaded.deep
        && !loaded.xl
        && has(&["attentions_0_transformer_blocks_1_", "attentions.0.transformer_blocks.1."])
    {
        Some("Stable Diffusion XL")
    } else {
        None
    }
}

/// Places that SD 1 and 2 have in their UNet and no relative of SDXL has: attention at the outermost
/// level, and a fourth level.
const OUTSIDE_XL: [&str; 12] = [
    "down_blocks_0_attentions_",
    "down_blocks.0.attentions.",
    "input_blocks_1_1_",
    "input_blocks.1.1.",
    "down_blocks_3_",
    "down_blocks.3.",
    "up_blocks_3_",
    "up_blocks.3.",
    "output_blocks_9_",
    "output_blocks.9.",
    "output_blocks_11_",
    "output_blocks.11.",
];

/// From every name that a tool may give a module to the module.
#[derive(Debug, Default)]
pub struct ModuleNames(HashMap<String, (Part, String)>);

impl ModuleNames {
    /// Lays out the names of a model's modules, given in diffusers' names. `layout` is that of its
    /// UNet, where ldm has names for it.
    pub fn new<'a>(
        modules: impl IntoIterator<Item = (Part, &'a str)>,
        layout: Option<&UNetLayout>,
    ) -> Self {
        let mut names = HashMap::new();
        for (part, path) in modules {
            let mut add = |name: String| {
                names.entry(name).or_insert_with(|| (part, path.to_string()));
            };
            match part {
                Part::UNet => {
                    let flat = path.replace('.', "_");
                    for prefix in ["lora_unet_", "lycoris_", "oft_unet_"] {
                        add(format!("{prefix}{flat}"));
                    }
                    for prefix in [
                        "",
                        "unet.",
                        "base_model.model.",
                        "unet.base_model.model.",
                        "base_model.model.unet.",
                    ] {
                        add(format!("{prefix}{path}"));
                    }
                    if let Some(ldm) = layout.and_then(|layout| unet_module_to_ldm(path, layout)) {
                        let flat = ldm.replace('.', "_");
                        for prefix in ["lora_unet_", "lycoris_", "oft_unet_"] {
                            add(format!("{prefix}{flat}"));
                        }
                        // OneTrainer's two forms among them: after `unet.`, and alone.
                        for prefix in ["diffusion_model.", "model.diffusion_model.", "unet.", ""] {
                            add(format!("{prefix}{ldm}"));
                        }
                    }
                }
                Part::TextEncoder => {
                    let short = path.strip_prefix("text_model.").unwrap_or(path);
                    for path in [path, short] {
                        let flat = path.replace('.', "_");
                        for prefix in ["lora_te_", "lora_te1_", "lycoris_te_", "lycoris_te1_"] {
                            add(format!("{prefix}{flat}"));
                        }
                        for prefix in [
                            "text_encoder.",
                            "text_encoders.",
                            "text_encoders.clip_l.",
                            "text_encoders.clip_l.transformer.",
                            "clip_l.",
                            "text_encoder.base_model.model.",
                            "base_model.model.",
                            "base_model.model.text_encoder.",
                            "",
                        ] {
                            add(format!("{prefix}{path}"));
                        }
                    }
                }
                Part::TextEncoder2 => {
                    let short = path.strip_prefix("text_model.").unwrap_or(path);
                    for path in [path, short] {
                        let flat = path.replace('.', "_");
                        for prefix in ["lora_te2_", "lycoris_te2_"] {
                            add(format!("{prefix}{flat}"));
                        }
                        for prefix in [
                            "text_encoder_2.",
                            "text_encoders.clip_g.",
                            "text_encoders.clip_g.transformer.",
                            "clip_g.",
                            "text_encoder_2.base_model.model.",
                            "base_model.model.text_encoder_2.",
                        ] {
                            add(format!("{prefix}{path}"));
                        }
                    }
                }
            }
        }
        Self(names)
    }

    /// The module of a name.
    pub fn get(&self, name: &str) -> Option<&(Part, String)> {
        self.0.get(name).or_else(|| self.0.get(&old_diffusers(name)?))
    }
}

/// Old diffusers named the attention processor's layers: `attn1.processor.to_out` is
/// `attn1.to_out.0`, and the text encoder's `self_attn.to_q` is `self_attn.q_proj`.
fn old_diffusers(name: &str) -> Option<String> {
    if let Some((layer, last)) = name.rsplit_once(".self_attn.to_") {
        return Some(format!("{layer}.self_attn.{last}_proj"));
    }
    let name = name.replace(".processor.", ".");
    match name.strip_suffix(".to_out") {
        Some(attention) => Some(format!("{attention}.to_out.0")),
        None => Some(name),
    }
}

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

/// The model that a key can only belong to, if it isn't Stable Diffusion 1 or 2. `deep`: the loaded
/// model itself has transformers of more than one block, as SDXL's are.
pub fn other_base(key: &str, deep: bool) -> Option<&'static str> {
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    if key.starts_with("lora_te2_") || key.starts_with("text_encoder_2.") {
        Some("Stable Diffusion XL")
    } else if has(&["double_blocks", "single_blocks", "single_transformer_blocks"]) {
        Some("Flux")
    } else if has(&["joint_blocks"]) {
        Some("Stable Diffusion 3")
    } else if key.starts_with("transformer.") || key.starts_with("lora_transformer_") {
        Some("a diffusion transformer (Flux, Stable Diffusion 3 or the like)")
    } else if !deep
        && has(&["attentions_0_transformer_blocks_1_", "attentions.0.transformer_blocks.1."])
    {
        Some("Stable Diffusion XL")
    } else {
        None
    }
}

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
                        add(format!("lora_unet_{}", ldm.replace('.', "_")));
                        add(format!("diffusion_model.{ldm}"));
                        add(format!("model.diffusion_model.{ldm}"));
                    }
                }
                Part::TextEncoder => {
                    let short = path.strip_prefix("text_model.").unwrap_or(path);
                    for path in [path, short] {
                        let flat = path.replace('.', "_");
                        for prefix in ["lora_te_", "lora_te1_", "lycoris_te_"] {
                            add(format!("{prefix}{flat}"));
                        }
                        for prefix in [
                            "text_encoder.",
                            "text_encoders.",
                            "text_encoders.clip_l.",
                            "text_encoders.clip_l.transformer.",
                            "text_encoder.base_model.model.",
                            "base_model.model.",
                            "base_model.model.text_encoder.",
                            "",
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

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

/// What a tensor is within its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The factor next to the input (A).
    Down,
    /// The core of a Tucker decomposition.
    Mid,
    /// The factor next to the output (B).
    Up,
    /// LoHa: the first product's left factor.
    HadaW1A,
    /// LoHa: the first product's right factor.
    HadaW1B,
    /// LoHa: the second product's left factor.
    HadaW2A,
    /// LoHa: the second product's right factor.
    HadaW2B,
    /// LoHa: the core of the first product in Tucker form.
    HadaT1,
    /// LoHa: the core of the second product in Tucker form.
    HadaT2,
    /// LoKr: the first Kronecker factor, whole.
    LokrW1,
    /// LoKr: the first factor's left half.
    LokrW1A,
    /// LoKr: the first factor's right half.
    LokrW1B,
    /// LoKr: the second Kronecker factor, whole.
    LokrW2,
    /// LoKr: the second factor's left half.
    LokrW2A,
    /// LoKr: the second factor's right half.
    LokrW2B,
    /// LoKr: the core of the second factor in Tucker form.
    LokrT2,
    /// DoRA's magnitude as LyCORIS and kohya's relatives write it: its shape tells the axis.
    DoraScale,
    /// DoRA's magnitude as PEFT writes it: always that of the output rows.
    MagnitudeVector,
    /// The number that alpha / rank is made of.
    Alpha,
    /// The scale itself (A1111), in place of alpha / rank.
    Scale,
}

impl Role {
    /// The last part of the name in kohya's files, for messages and for writing; A and B are named
    /// as the words that people use.
    pub fn label(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Mid => "mid",
            Self::Up => "up",
            Self::HadaW1A => "hada_w1_a",
            Self::HadaW1B => "hada_w1_b",
            Self::HadaW2A => "hada_w2_a",
            Self::HadaW2B => "hada_w2_b",
            Self::HadaT1 => "hada_t1",
            Self::HadaT2 => "hada_t2",
            Self::LokrW1 => "lokr_w1",
            Self::LokrW1A => "lokr_w1_a",
            Self::LokrW1B => "lokr_w1_b",
            Self::LokrW2 => "lokr_w2",
            Self::LokrW2A => "lokr_w2_a",
            Self::LokrW2B => "lokr_w2_b",
            Self::LokrT2 => "lokr_t2",
            Self::DoraScale => "dora_scale",
            Self::MagnitudeVector => "lora_magnitude_vector",
            Self::Alpha => "alpha",
            Self::Scale => "scale",
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

/// Suffixes of the LoRA family; `default` and `default_0` are the names that PEFT and diffusers give
/// an adapter unless told another. Longer ones come first where
/// one ends with another.
const SUFFIXES: [(&str, Role); 20] = [
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_mid.weight", Role::Mid),
    (".lora_up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_A.default_0.weight", Role::Down),
    (".lora_B.default_0.weight", Role::Up),
    (".lora_A", Role::Down),
    (".lora_B", Role::Up),
    (".network_alpha", Role::Alpha),
    (".alpha", Role::Alpha),
    (".scale", Role::Scale),
];

/// Tensors that are called the same in every naming of modules. They are parameters, not layers, so
/// that LyCORIS writes nothing behind them; PEFT may write an adapter's name, `.weight` or both.
const PARAMETERS: [Role; 15] = [
    Role::HadaW1A,
    Role::HadaW1B,
    Role::HadaW2A,
    Role::HadaW2B,
    Role::HadaT1,
    Role::HadaT2,
    Role::LokrW1,
    Role::LokrW1A,
    Role::LokrW1B,
    Role::LokrW2,
    Role::LokrW2A,
    Role::LokrW2B,
    Role::LokrT2,
    Role::DoraScale,
    Role::MagnitudeVector,
];

/// Marks of the kinds that aren't read, by name.
const OTHER_KINDS: [(&str, &str); 9] = [
    ("oft_blocks", "OFT"),
    ("oft_diag", "OFT"),
    (".oft_R", "OFT"),
    (".boft_R", "BOFT"),
    (".boft_s", "BOFT"),
    ("on_input", "IA3"),
    ("ia3_l", "IA3"),
    ("vera_lambda", "VeRA"),
    ("lora_embedding_", "embedding LoRA"),
];

/// As above, but only at a key's end: `.diff` is in `model.diffusion_model.` too.
const OTHER_ENDINGS: [(&str, &str); 6] = [
    (".a1.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".diff_b", "full-difference"),
    (".diff", "full-difference"),
    (".w_norm", "norm-difference"),
    (".b_norm", "norm-difference"),
];

/// The kind that a key belongs to, if it is one that isn't read.
pub fn other_kind(key: &str) -> Option<&'static str> {
    let within = OTHER_KINDS.iter().find(|(mark, _)| key.contains(mark));
    let at_end = || OTHER_ENDINGS.iter().find(|(ending, _)| key.ends_with(ending));
    within.or_else(at_end).map(|(_, kind)| *kind)
}

/// Splits a key into its module's name and the tensor's role in it.
pub fn split(key: &str) -> Option<(&str, Role)> {
    let suffix =
        SUFFIXES.iter().find_map(|(suffix, role)| Some((key.strip_suffix(suffix)?, *role)));
    suffix.or_else(|| parameter(key)).filter(|(module, _)| !module.is_empty())
}

/// The module and role of a key whose last part, but for PEFT's endings, is a parameter's name.
fn parameter(key: &str) -> Option<(&str, Role)> {
    let key = key.strip_suffix(".weight").unwrap_or(key);
    let key =
        [".default", ".default_0"].iter().find_map(|end| key.strip_suffix(end)).unwrap_or(key);
    let (module, last) = key.rsplit_once('.')?;
    let role = PARAMETERS.into_iter().find(|role| role.label() == last)?;
    Some((module, role))
}

/// How a key is named.
pub fn naming(key: &str) -> Naming {
    if key.starts_with("lora_unet_input_blocks")
        || key.starts_with("lora_unet_output_blocks")
        || key.starts_with("lora_unet_middle_block")
    {
        Naming::KohyaLdm
    } else if key.starts_with("lora_") {
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
                    for prefix in ["lora_unet_", "lycoris_"] {
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

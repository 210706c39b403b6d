//! What a tensor is within its module.

/// By the last part of its name in kohya's and LyCORIS' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(&'static str);

impl Role {
    /// The number that alpha / rank is made of.
    pub const ALPHA: Self = Self("alpha");
    /// The scale itself (A1111), in place of alpha / rank.
    pub const SCALE: Self = Self("scale");

    /// The shape that a layer is to be given before anything is added (ComfyUI).
    pub const RESHAPE: Self = Self("reshape_weight");

    /// DoRA's magnitude as LyCORIS and kohya's relatives write it: its shape tells the axis.
    pub const DORA_SCALE: Self = Self("dora_scale");
    /// DoRA's magnitude as PEFT writes it: always that of the output rows.
    pub const MAGNITUDE_VECTOR: Self = Self("lora_magnitude_vector");
    /// Both, which make a DoRA of what they stand beside.
    pub const MAGNITUDES: [Self; 2] = [Self::DORA_SCALE, Self::MAGNITUDE_VECTOR];

    /// The role of this name.
    pub const fn new(label: &'static str) -> Self {
        Self(label)
    }

    /// The name, for messages and for writing.
    pub fn label(self) -> &'static str {
        self.0
    }
}

/// How a tensor of a role is called: the end of its key.
pub type Suffix = (&'static str, Role);

/// Those that any kind may have.
pub const SUFFIXES: [Suffix; 4] = [
    (".network_alpha", Role::ALPHA),
    (".alpha", Role::ALPHA),
    (".scale", Role::SCALE),
    (".reshape_weight", Role::RESHAPE),
];

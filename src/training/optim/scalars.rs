//! What optimisers share: the groups of the parameters, and the numbers that each remembers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A part of the parameters and the factor on its learning rate (LoRA+: 1 for A, 4 to 16 for B).
/// With factor 0 it is frozen: no step, no weight decay, no averages.
pub type Group = (Range<usize>, f64);

/// The numbers beside the tensors. In JSON the f64 are 16 hexadecimal digits, their bits: read back
/// they are the same, whatever a JSON library does to decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scalars {
    /// Steps done.
    pub step: u64,
    /// Prodigy's distance d, by which it multiplies the learning rate. 1 with the others.
    #[serde(with = "bits")]
    pub d: f64,
    /// The largest guess of d so far.
    #[serde(with = "bits")]
    pub d_max: f64,
    /// The numerator of the guess.
    #[serde(with = "bits")]
    pub numerator: f64,
}

/// An f64 as the hexadecimal digits of its bits.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", value.to_bits()))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map(f64::from_bits).map_err(D::Error::custom)
    }
}

//! 8-bit floats that were scaled to use their range: beside such a weight stands the one number that
//! it is to be multiplied by. Source: ComfyUI, `comfy/ops.py` (`scaled_fp8_ops`) and
//! `QUANTIZATION.md`.

use std::collections::BTreeMap;

use super::{Dtype, Index, Source};
use crate::error::{Error, Result};

/// Factors by the weight's key.
#[derive(Default)]
pub(super) struct Scales(BTreeMap<String, f32>);

/// ComfyUI's older name for the factor, and its present one.
const WEIGHT: [&str; 2] = [".scale_weight", ".weight_scale"];
/// For products in 8 bits, which nothing here computes.
const INPUT: [&str; 2] = [".scale_input", ".input_scale"];

impl Scales {
    /// Reads a file's factors.
    ///
    /// # Errors
    /// When a weight has one for each row or block, or isn't of 8-bit floats.
    pub(super) fn read(index: &Index, source: &dyn Source) -> Result<Self> {
        const REMEDY: &str =
            "Use a version of the file in float16, or in fp8 without scales by row";
        let mut factors = BTreeMap::new();
        for (key, info) in &index.tensors {
            let Some(layer) = WEIGHT.iter().find_map(|ending| key.strip_suffix(ending)) else {
                continue;
            };
            let fail = |problem: String| Err(Error::key(&index.file, key, problem, REMEDY));
            let weight = format!("{layer}.weight");
            let Some(scaled) = index.tensors.get(&weight) else {
                return fail(format!("scales {weight}, which isn't there"));
            };
            if !matches!(scaled.dtype, Dtype::F8E4M3 | Dtype::F8E5M2) {
                return fail(format!("scales weights of type {}", scaled.dtype.name()));
            }
            if info.elements() != 1 {
                return fail(format!("has {} factors for one weight", info.elements()));
            }
            let factor = index.read_f32(source, key)?[0];
            if !factor.is_finite() {
                return fail("is NaN or infinity".into());
            }
            factors.insert(weight, factor);
        }
        Ok(Self(factors))
    }

    /// The factor of a tensor, if it has one.
    pub(super) fn of(&self, key: &str) -> Option<f32> {
        self.0.get(key).copied()
    }

    /// Why a tensor is of no component, if it is one of those that tell of 8-bit weights.
    pub(super) fn reason(key: &str) -> Option<&'static str> {
        if WEIGHT.iter().any(|ending| key.ends_with(ending)) {
            Some("the scale of an 8-bit weight, which was applied")
        } else if INPUT.iter().any(|ending| key.ends_with(ending)) {
            Some("a scale for arithmetic in 8 bits; ours is in f32")
        } else if key.ends_with("scaled_fp8") || key.ends_with(".comfy_quant") {
            Some("a marker of 8-bit weights")
        } else {
            None
        }
    }
}

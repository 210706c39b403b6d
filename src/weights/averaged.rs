//! Files that hold the moving average of a UNet's weights and not the weights: ldm's `LitEma` takes the
//! dots out of the names (`ldm/modules/ema.py`), which are put back here.

use std::collections::BTreeMap;

use super::Index;
use crate::keys::ldm;

const PREFIX: &str = "model_ema.diffusion_model";

/// ldm's names (without `model.diffusion_model.`) by their form without dots.
pub(super) struct Averaged(BTreeMap<String, String>);

impl Averaged {
    /// For a file that has averages and no weights.
    pub(super) fn of(index: &Index) -> Option<Self> {
        let has = |prefix: &str| index.tensors.keys().any(|key| key.starts_with(prefix));
        if has("model.diffusion_model.") || !has(PREFIX) {
            return None;
        }
        let without = |name: String| (name.replace('.', ""), name);
        Some(Self(ldm::unet_names().into_iter().map(without).collect()))
    }

    /// The name of an averaged tensor without prefix; one that isn't known stays without dots. `None`
    /// for what is no average of the UNet's.
    pub(super) fn name(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(PREFIX)?;
        Some(self.0.get(rest).cloned().unwrap_or_else(|| rest.to_string()))
    }
}

//! One module of an adapter in host memory, whatever its kind: what [`super::file`] reads,
//! [`super::AdapterSet`] attaches and [`super::save`] writes.

use super::kinds::{HostFactors, Kind};
use crate::keys::adapter_names::Part;

/// One module of an adapter: what it does to one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterModule {
    /// Which part of the model it is for.
    pub part: Part,
    /// Its layer's path in diffusers' names.
    pub path: String,
    /// What it is made of.
    pub factors: HostFactors,
    /// alpha / rank, alpha / sqrt(rank) (rank-stabilised), or the file's own `.scale`; 1 for a LoKr
    /// of whole factors and for kinds that have none.
    pub scale: f32,
    /// The low rank; 0 for what has none.
    pub rank: usize,
    /// What the file says of it.
    pub alpha: Option<f32>,
}

impl AdapterModule {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.factors.kind()
    }

    /// Whether it adds nothing at any strength.
    pub fn is_zero(&self) -> bool {
        self.scale == 0.0 || self.factors.is_zero()
    }
}

impl Kind {
    /// What all these modules together are called.
    pub fn of(modules: &[AdapterModule]) -> Vec<Self> {
        Self::all_of(modules.iter().map(AdapterModule::kind))
    }
}

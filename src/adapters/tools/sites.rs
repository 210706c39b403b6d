//! The layers of a model that adapters name, without loading it.

use std::collections::BTreeMap;

use super::standard;
use crate::adapters::base;
use crate::adapters::file::{Part, Site};
use crate::error::Result;
use crate::keys::ldm::UNetLayout;
use crate::weights::{Checkpoint, Component, Index, Source};

/// Layers, and how ldm would name those of the UNet.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers {
    /// Every layer that an adapter can sit on.
    pub sites: Vec<Site>,
    /// See [`UNetLayout`].
    pub layout: Option<UNetLayout>,
}

impl Layers {
    /// Those of a checkpoint, from names and shapes alone.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let parts = [
            (Part::UNet, Some(&checkpoint.unet)),
            (Part::TextEncoder, Some(&checkpoint.text_encoder)),
            (Part::TextEncoder2, checkpoint.text_encoder_2.as_ref()),
        ];
        let parts = parts.into_iter().filter_map(|(part, component)| Some((part, component?)));
        let sites = parts.flat_map(|(part, component)| of(part, component)).collect();
        Self { sites, layout: UNetLayout::from_config(&checkpoint.unet.config) }
    }

    /// Those of Stable Diffusion 1 or 2, whichever an adapter's file was made for; of 1 where it
    /// doesn't tell.
    ///
    /// # Errors
    /// When the header can't be read.
    pub fn told_by(source: &dyn Source) -> Result<Self> {
        let second = base::is_second(&Index::read(source)?);
        Ok(Self { sites: standard::sites(second), layout: Some(UNetLayout::stable_diffusion()) })
    }

    /// The shape of each layer's weight.
    pub fn shapes(&self) -> BTreeMap<(Part, &str), &[usize]> {
        self.sites.iter().map(|site| ((site.part, site.path.as_str()), &site.shape[..])).collect()
    }
}

fn of(part: Part, component: &Component) -> Vec<Site> {
    let site = |(name, shape): (&String, &Vec<usize>)| {
        let path = name.strip_suffix(".weight")?;
        // Tables of tokens and positions are no layers.
        let table = path.contains(".embeddings.");
        (!table && (1..=4).contains(&shape.len())).then(|| Site {
            part,
            path: path.into(),
            shape: shape.clone(),
        })
    };
    let shapes = component.tensors.iter().map(|(name, stored)| (name, &stored.info.shape));
    shapes.filter_map(site).collect()
}

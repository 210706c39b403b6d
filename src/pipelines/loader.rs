use std::rc::Rc;

use burn::tensor::Device;

use crate::error::Result;
use crate::layers::{LoadReport, Parameters, Progress, Site, Storage};
use crate::weights::{Component, Source};

/// From a checkpoint's components to models on one device.
pub(super) struct Loader<'a, 'p> {
    /// The files and how weights are kept; nothing where tensors are only looked for.
    reading: Option<(&'a [Rc<dyn Source>], Storage)>,
    device: &'a Device,
    progress: &'p mut dyn FnMut(Progress<'_>),
    /// One for each component that was loaded.
    pub(super) reports: Vec<LoadReport>,
}

impl<'a, 'p> Loader<'a, 'p> {
    pub(super) fn new(
        sources: &'a [Rc<dyn Source>],
        device: &'a Device,
        storage: Storage,
        progress: &'p mut dyn FnMut(Progress<'_>),
    ) -> Self {
        Self { reading: Some((sources, storage)), device, progress, reports: Vec::new() }
    }

    /// One whose models are made of placeholders.
    pub(super) fn dry(device: &'a Device, progress: &'p mut dyn FnMut(Progress<'_>)) -> Self {
        Self { reading: None, device, progress, reports: Vec::new() }
    }

    /// Builds a model; its layers take up the slots of `sites` where it is loaded once more.
    pub(super) fn load<M>(
        &mut self,
        component: &Component,
        sites: &[Site],
        build: impl FnOnce(&Parameters) -> M,
    ) -> Result<(M, Vec<Site>)> {
        let parameters = match self.reading {
            Some((sources, storage)) => {
                Parameters::new(component, sources, self.device, storage, self.progress)
            }
            None => Parameters::dry(component, self.device, self.progress),
        };
        parameters.reuse_slots(sites);
        let model = build(&parameters);
        let (report, sites) = parameters.finish()?;
        report.check(&component.file)?;
        self.reports.push(report);
        Ok((model, sites))
    }

    /// Compares a component with the model that would be loaded of it, of which nothing stays. Its sites
    /// have no shapes.
    pub(super) fn look_for<M>(
        &mut self,
        component: &Component,
        build: impl FnOnce(&Parameters) -> M,
    ) -> Result<Vec<Site>> {
        // Placeholders of one number have to lie somewhere.
        let host = Device::flex();
        let mut dry = Loader::dry(&host, self.progress);
        let (_, sites) = dry.load(component, &[], build)?;
        self.reports.append(&mut dry.reports);
        Ok(sites)
    }
}

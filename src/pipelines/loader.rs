use std::rc::Rc;

use burn::tensor::Device;

use crate::error::Result;
use crate::layers::{LoadReport, Parameters, Progress, Site, Storage};
use crate::weights::{Component, Source};

/// From a checkpoint's components to models on one device.
pub(super) struct Loader<'a, 'p> {
    pub(super) sources: &'a [Rc<dyn Source>],
    pub(super) device: &'a Device,
    pub(super) storage: Storage,
    pub(super) progress: &'p mut dyn FnMut(Progress<'_>),
    /// One for each component that was loaded.
    pub(super) reports: Vec<LoadReport>,
}

impl Loader<'_, '_> {
    /// Builds a model; its layers take up the slots of `sites` where it is loaded once more.
    pub(super) fn load<M>(
        &mut self,
        component: &Component,
        sites: &[Site],
        build: impl FnOnce(&Parameters) -> M,
    ) -> Result<(M, Vec<Site>)> {
        let parameters =
            Parameters::new(component, self.sources, self.device, self.storage, self.progress);
        parameters.reuse_slots(sites);
        let model = build(&parameters);
        let (report, sites) = parameters.finish()?;
        report.check(&component.file)?;
        self.reports.push(report);
        Ok((model, sites))
    }
}

//! How much memory a run took, beside what was told before it ([`crate::training::estimate()`]).
//!
//! Only passes are counted: pictures drawn between two steps, and a text encoder that came back for
//! them, are no part of what was told. The CPU backend computes in the process's own memory, where
//! the allocator counts. On a GPU the page's worker counts its buffers ([`memory::on_gpu`]).

use burn::tensor::Device;

use crate::memory;

/// The most that passes took so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Of one pass at most, above what there was before it.
    most: Option<u64>,
    /// Bytes that the GPU's buffers had before the pass in flight.
    before: Option<u64>,
}

impl Meter {
    /// A device's pools give back what nothing uses, such as what preparing the pictures took.
    pub(super) fn new(device: &Device) -> Self {
        give_back(device);
        Self::default()
    }

    /// Asks the device for a pass.
    pub(super) fn count<T>(&mut self, device: &Device, pass: impl FnOnce() -> T) -> T {
        if *device != Device::flex() {
            self.before = memory::on_gpu().map(|[bytes, _]| bytes);
            return pass();
        }
        if !memory::is_counted() {
            return pass();
        }
        let (done, above) = memory::peak_of(pass);
        self.saw(above as u64);
        done
    }

    /// The numbers of the pass are there: all of it has been computed.
    pub(super) fn conclude(&mut self) {
        if let (Some(before), Some([_, most])) = (self.before.take(), memory::on_gpu()) {
            self.saw(most.saturating_sub(before));
        }
    }

    /// Of one pass at most. None: no pass was made yet, or nobody counts.
    pub(super) fn most(&self) -> Option<u64> {
        self.most
    }

    fn saw(&mut self, bytes: u64) {
        self.most = self.most.max(Some(bytes));
    }
}

/// A device's pools give back what nothing uses: what an evaluation took would stay beside what a pass
/// takes.
pub(super) fn give_back(device: &Device) {
    if device.memory_pool_usage().is_some() {
        device.memory_cleanup();
    }
}

//! How much memory a run took, beside what was told before it ([`crate::training::estimate()`]).
//!
//! Only passes are counted: pictures drawn between two steps, and a text encoder that came back for
//! them, are no part of what was told. The CPU backend computes in the process's own memory, where
//! the allocator counts. A GPU's pools keep the pages that they once needed: the pass for which they
//! grew tells what passes take, and those that find room in them take no more.

use burn::tensor::Device;

use crate::memory;

/// The most that passes took so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Of one pass at most, above what there was before it.
    most: Option<u64>,
    /// Bytes that a device's pools had reserved before the pass in flight, and those in use.
    before: Option<[u64; 2]>,
}

impl Meter {
    /// A device's pools give back what nothing uses, such as what preparing the pictures took: else
    /// the passes would find room there and nothing could be told.
    pub(super) fn new(device: &Device) -> Self {
        give_back(device);
        Self::default()
    }

    /// Asks the device for a pass.
    pub(super) fn count<T>(&mut self, device: &Device, pass: impl FnOnce() -> T) -> T {
        self.before = pools(device);
        // Of a device that has memory of its own and doesn't tell of it, nothing is known.
        let on_host = self.before.is_none() && memory::is_counted() && *device == Device::flex();
        if !on_host {
            return pass();
        }
        let (done, above) = memory::peak_of(pass);
        self.saw(above as u64);
        done
    }

    /// The numbers of the pass are there: all of it has been computed.
    pub(super) fn conclude(&mut self, device: &Device) {
        if let (Some([reserved, used]), Some([now, _])) = (self.before.take(), pools(device))
            && now > reserved
        {
            self.saw(now - used);
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

/// A device's pools give back what nothing uses. A tensor of theirs has a page of its own, so other work has
/// other pages: those of an evaluation and of a pass would lie side by side.
pub(super) fn give_back(device: &Device) {
    if pools(device).is_some() {
        device.memory_cleanup();
    }
}

fn pools(device: &Device) -> Option<[u64; 2]> {
    let usage = device.memory_pool_usage()?;
    Some([usage.bytes_reserved, usage.bytes_in_use])
}

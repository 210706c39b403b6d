//! What JavaScript calls: one class, [`Engine`], with a device and what it is at ([`mode::Mode`]).
//! `web/protocol.js` documents the messages that carry its values on.

mod device;
mod draw;
mod events;
mod job;
mod load;
mod mode;
mod model;
mod run;
mod train;
mod values;

use wasm_bindgen::prelude::*;

use super::failure::JsResult;
use crate::memory;
use device::OpenDevice;
use mode::Mode;

pub(super) use device::open_device;

/// A device, and at most one model on it, with its adapters, a picture in the making and a run.
#[wasm_bindgen]
pub struct Engine {
    device: OpenDevice,
    mode: Mode,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `webgpu` or `cpu`. With `kernels` `off` it computes with burn's own
    /// operations only, to tell what the kernels gain, or whether one is at fault. `memory` is the
    /// most that it may take, such as `3GB`; without it, what the module's heap can grow to, and of a
    /// GPU, whatever it gives.
    ///
    /// # Errors
    /// When there is no such device, or `memory` is no number of bytes.
    pub async fn open(
        backend: String,
        kernels: Option<String>,
        memory: Option<String>,
    ) -> JsResult<Engine> {
        let device = OpenDevice::open(&backend, kernels.as_deref(), memory.as_deref()).await?;
        Ok(Self { device, mode: Mode::Empty })
    }

    /// Which kernels run: `{kind, refused, milliseconds}`, `kind` being null where none do, `refused`
    /// the names of those that computed wrongly here and are not used.
    ///
    /// # Errors
    /// None that JavaScript could cause.
    pub fn kernels(&self) -> JsResult<JsValue> {
        values::to_js(&self.device.kernels)
    }

    /// What the engine holds: `{model, held, heap, peak, offer}`.
    ///
    /// # Errors
    /// None that JavaScript could cause.
    pub fn memory(&self) -> JsResult<JsValue> {
        let held = self.device.held();
        let model = self.mode.model().ok();
        values::to_js(&events::Memory {
            model: model.map(|model| events::Kept {
                weights: model.storage.into(),
                bytes: model.bytes,
                sizes: model.sizes.into(),
            }),
            held,
            heap: device::heap(),
            peak: memory::peak_above(0) as u64,
            offer: events::Offer::new(&self.device, held),
        })
    }
}

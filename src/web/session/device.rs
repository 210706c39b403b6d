//! The device that everything is computed on.

use burn::tensor::{DType, Device};
use js_sys::WebAssembly;
use wasm_bindgen::prelude::*;

use crate::error::Error;
use crate::kernels::{self, Choice, gpu};
use crate::memory;
use crate::pipelines::memory::{Offer, parse_bytes};
use crate::web::failure::JsResult;
use crate::web::gpu::{KernelReport, largest_buffer, software_adapter};

/// A device, with what is known of it.
pub(super) struct OpenDevice {
    pub(super) device: Device,
    pub(super) gpu: bool,
    /// Bytes of the largest buffer; None: it takes whatever there is memory for.
    pub(super) largest_buffer: Option<u64>,
    pub(super) kernels: KernelReport,
    /// Bytes in all that a person allows.
    pub(super) limit: Option<u64>,
    /// Bytes in use before any model was loaded.
    pub(super) bare: u64,
}

impl OpenDevice {
    /// Opens `webgpu` or `cpu` and checks the kernels, unless they are `off`. `limit`: see
    /// [`parse_bytes`].
    pub(super) async fn open(
        backend: &str,
        kernels: Option<&str>,
        limit: Option<&str>,
    ) -> JsResult<Self> {
        let limit = limit.map(parse_bytes).transpose()?;
        let choice = match kernels {
            None | Some("on") => Choice::Best,
            Some("off") => Choice::None,
            Some(other) => {
                let problem = format!("kernels can't be {other}");
                return Err(Error::setting("kernels", problem, "Use on or off").into());
            }
        };
        kernels::choose(choice);
        let (device, gpu) = open_device(backend).await?;
        let kernels = match choice {
            Choice::None => KernelReport::default(),
            _ => KernelReport::check(&device, gpu).await?,
        };
        let largest_buffer = if gpu { largest_buffer().await } else { None };
        let mut opened = Self { device, gpu, largest_buffer, kernels, limit, bare: 0 };
        opened.bare = opened.held();
        Ok(opened)
    }

    /// Bytes in use where models lie: in the module's heap, or in a GPU's pools.
    pub(super) fn held(&self) -> u64 {
        match self.pools() {
            Some([used, _]) => used,
            None => memory::held() as u64,
        }
    }

    /// Bytes that this process keeps from others, used or not.
    pub(super) fn reserved(&self) -> u64 {
        heap() + self.pools().map_or(0, |[_, reserved]| reserved)
    }

    /// What there is for a model, `taken` bytes being in use.
    pub(super) fn offer(&self, taken: u64) -> Offer {
        // WebGPU tells nobody how much memory a GPU has.
        let own = if self.gpu { None } else { Some(HEAP) };
        let total = match (own, self.limit) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        };
        Offer { total, taken, buffer: self.largest_buffer }
    }

    /// Bytes that a GPU's pools have in use, and those that they have reserved.
    fn pools(&self) -> Option<[u64; 2]> {
        let usage = if self.gpu { self.device.memory_pool_usage() } else { None }?;
        Some([usage.bytes_in_use, usage.bytes_reserved])
    }
}

/// Bytes that the module's heap has grown to.
pub(super) fn heap() -> u64 {
    let heap: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let bytes = js_sys::Reflect::get(&heap.buffer(), &"byteLength".into());
    bytes.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0) as u64
}

/// What a module of 32 bits can address, which is the most that `build.rs` lets its memory grow to.
const HEAP: u64 = 1 << 32;

#[wasm_bindgen]
extern "C" {
    /// `web/module.js`: brings the functions that only a GPU's backend calls, where they are a module
    /// of their own. `xtask/src/split` has the stubs that stand for them call it too, by this name.
    #[wasm_bindgen(js_name = lorakeetGpuPart)]
    fn gpu_part();

    /// `web/gpu-buffers.js`
    type GpuBuffers;
    /// Of the page's worker; in others nobody counts.
    #[wasm_bindgen(thread_local_v2, js_name = lorakeetGpuBuffers)]
    static GPU_BUFFERS: Option<GpuBuffers>;
    #[wasm_bindgen(method, getter)]
    fn bytes(this: &GpuBuffers) -> f64;
    #[wasm_bindgen(method, js_name = takePeak)]
    fn take_peak(this: &GpuBuffers) -> f64;
}

fn gpu_buffers() -> Option<[u64; 2]> {
    GPU_BUFFERS.with(|it| it.as_ref().map(|it| [it.bytes() as u64, it.take_peak() as u64]))
}

/// Opens a device, and says whether it is a GPU.
pub(crate) async fn open_device(backend: &str) -> JsResult<(Device, bool)> {
    match backend {
        "cpu" => Ok((Device::flex(), false)),
        "webgpu" => {
            gpu_part();
            gpu::set_software(software_adapter().await);
            let device = Device::wgpu_options().init_async().await.map_err(|error| {
                Error::device(
                    format!("WebGPU can't be started: {error}"),
                    "Add ?backend=cpu to the page's address to run without a GPU",
                )
            })?;
            gpu::set_native_halves(device.supports_dtype(DType::F16));
            memory::ask_for_gpu(gpu_buffers);
            Ok((device, true))
        }
        other => {
            let problem = format!("there is no backend {other}");
            Err(Error::setting("backend", problem, "Use webgpu or cpu").into())
        }
    }
}

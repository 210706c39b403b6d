//! The device that everything is computed on.

use burn::tensor::{DType, Device, Tensor};
use wasm_bindgen::prelude::*;

use super::JsResult;
use crate::error::Error;
use crate::kernels::{self, Choice, gpu};
use crate::web::gpu::{KernelReport, largest_buffer, software_adapter};

/// A device, with what is known of it.
pub(super) struct OpenDevice {
    pub(super) device: Device,
    pub(super) gpu: bool,
    /// Bytes of the largest buffer; None: it takes whatever there is memory for.
    pub(super) largest_buffer: Option<u64>,
    pub(super) kernels: KernelReport,
}

impl OpenDevice {
    /// Opens `webgpu` or `cpu` and checks the kernels, unless they are `off`.
    pub(super) async fn open(backend: &str, kernels: Option<&str>) -> JsResult<Self> {
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
        Ok(Self { device, gpu, largest_buffer, kernels })
    }
}

#[wasm_bindgen]
extern "C" {
    /// `web/module.js`: brings the functions that only a GPU's backend calls, where they are a module
    /// of their own. `xtask/src/split` has the stubs that stand for them call it too, by this name.
    #[wasm_bindgen(js_name = lorakeetGpuPart)]
    fn gpu_part();
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
            Ok((device, true))
        }
        other => {
            let problem = format!("there is no backend {other}");
            Err(Error::setting("backend", problem, "Use webgpu or cpu").into())
        }
    }
}

/// A tensor's numbers.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> JsResult<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|error| lost(&error.to_string()))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| lost(&format!("{error:?}")))
}

/// Waits until the device has done everything queued so far.
pub(super) async fn wait(device: &Device) -> JsResult<()> {
    read(Tensor::<1>::zeros([1], device)).await.map(|_| ())
}

fn lost(error: &str) -> JsError {
    Error::device(
        format!("the GPU failed: {error}"),
        "Try a smaller picture, or add ?backend=cpu to the page's address",
    )
    .into()
}

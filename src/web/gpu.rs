//! What the browser says of its GPU, and whether our kernels compute rightly on it.

use burn::tensor::{Device, Tensor};
use js_sys::{Function, Object, Promise, Reflect};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::failure::JsResult;
use super::readback::read;
use crate::kernels::{self, cpu::microkernel};
use crate::layers::checks;

/// Which kernels run.
#[derive(Debug, Default, Serialize)]
pub struct KernelReport {
    kind: Option<String>,
    refused: Vec<&'static str>,
    milliseconds: f64,
}

impl KernelReport {
    /// Compares each kernel with burn's operations on the CPU and takes out of use what differs.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn check(device: &Device, gpu: bool) -> JsResult<Self> {
        let started = js_sys::Date::now();
        let checks = checks(device);
        // One readback for all.
        let results = Tensor::cat(checks.iter().map(|check| check.result.clone()).collect(), 0);
        let values = read(results).await?;
        let mut refused = Vec::new();
        let mut rest = &values[..];
        for check in &checks {
            let (result, after) = rest.split_at(check.result.dims()[0].min(rest.len()));
            rest = after;
            if !check.passes(result) {
                kernels::forbid(check.operation);
                refused.push(check.operation.name());
            }
        }
        let kind = if gpu { "WGSL" } else { microkernel::installed() };
        let milliseconds = js_sys::Date::now() - started;
        Ok(Self { kind: Some(kind.into()), refused, milliseconds })
    }
}

/// Whether the adapter that WebGPU gives runs on the CPU. Where the browser doesn't tell, it is taken
/// for a GPU.
pub async fn software_adapter() -> bool {
    // The adapter itself said so before its `info` did.
    for path in [&["info", "isFallbackAdapter"][..], &["isFallbackAdapter"]] {
        if ask(path).await.is_ok_and(|answer| answer.is_truthy()) {
            return true;
        }
    }
    false
}

/// Bytes of the largest buffer that a shader can be given. burn asks for all that the adapter offers.
/// Where the browser doesn't tell, there is no limit to keep to.
pub async fn largest_buffer() -> Option<u64> {
    let mut least = None;
    for limit in ["maxBufferSize", "maxStorageBufferBindingSize"] {
        let bytes = ask(&["limits", limit]).await.ok()?.as_f64()? as u64;
        least = Some(least.map_or(bytes, |least: u64| least.min(bytes)));
    }
    least
}

/// What WebGPU's adapter has at the end of a path.
async fn ask(path: &[&str]) -> Result<JsValue, JsValue> {
    let get = |object: &JsValue, key: &str| Reflect::get(object, &key.into());
    let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into()?;
    // As burn asks for its own: where there are two GPUs, another question may mean the other one.
    let options = Object::new();
    Reflect::set(&options, &"powerPreference".into(), &"high-performance".into())?;
    let promise: Promise = request.call1(&gpu, &options)?.dyn_into()?;
    let adapter = JsFuture::from(promise).await?;
    path.iter().try_fold(adapter, |object, key| get(&object, key))
}

//! What the browser says of its GPU.

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Whether the adapter that WebGPU gives runs on the CPU. Where the browser doesn't tell, it is taken
/// for a GPU.
pub async fn software_adapter() -> bool {
    match ask().await {
        Ok(answer) => answer.is_truthy(),
        Err(_) => false,
    }
}

async fn ask() -> Result<JsValue, JsValue> {
    let get = |object: &JsValue, key: &str| Reflect::get(object, &key.into());
    let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu")?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into()?;
    let adapter = JsFuture::from(request.call0(&gpu)?.dyn_into::<Promise>()?).await?;
    get(&get(&adapter, "info")?, "isFallbackAdapter")
}

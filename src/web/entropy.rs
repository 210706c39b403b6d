//! Random numbers from the browser for a module whose memory is shared: `crypto.getRandomValues`
//! refuses such memory, and the crates that call it know of shared memory only where std does.

use js_sys::{Function, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

/// Has `crypto.getRandomValues` fill memory of its own and copy from there, in this worker.
///
/// # Errors
/// Where there is no `crypto`.
pub fn mend() -> Result<(), JsValue> {
    let crypto = Reflect::get(&js_sys::global(), &"crypto".into())?;
    let key = JsValue::from_str("getRandomValues");
    let original: Function = Reflect::get(&crypto, &key)?.dyn_into()?;
    let this = crypto.clone();
    let filled = Closure::<dyn Fn(Uint8Array) -> Result<Uint8Array, JsValue>>::new(
        move |bytes: Uint8Array| {
            let fresh = Uint8Array::new_with_length(bytes.length());
            original.call1(&this, &fresh)?;
            bytes.set(&fresh, 0);
            Ok(bytes)
        },
    );
    Reflect::set(&crypto, &key, &filled.into_js_value())?;
    Ok(())
}

//! The micro-kernels that `build.rs` wrote, put in the place of those that the compiler made.

use js_sys::{Function, Object, Reflect, Uint8Array, WebAssembly};
use wasm_bindgen::{JsCast, JsValue};

use crate::kernels::cpu::microkernel;

/// With fused multiply-and-add where the browser has relaxed SIMD, without it elsewhere.
///
/// # Errors
/// What the browser says against them. The compiler's stay then.
pub fn install() -> Result<(), JsValue> {
    let relaxed = include_bytes!(concat!(env!("OUT_DIR"), "/relaxed.wasm"));
    let plain = include_bytes!(concat!(env!("OUT_DIR"), "/plain.wasm"));
    let (name, exports) = match load(relaxed) {
        Ok(exports) => ("relaxed SIMD", exports),
        Err(_) => ("SIMD", load(plain)?),
    };
    let table: WebAssembly::Table = wasm_bindgen::function_table().unchecked_into();
    for (index, place) in microkernel::places().into_iter().enumerate() {
        let function = Reflect::get(&exports, &format!("rows{}", index + 1).into())?;
        table.set(place as usize as u32, &function.unchecked_into::<Function>())?;
    }
    microkernel::note_installed(name);
    Ok(())
}

/// Compiles a module that works on this module's memory; its exports.
fn load(bytes: &[u8]) -> Result<JsValue, JsValue> {
    let module = WebAssembly::Module::new(&Uint8Array::from(bytes).into())?;
    let (imports, env) = (Object::new(), Object::new());
    Reflect::set(&env, &"memory".into(), &wasm_bindgen::memory())?;
    Reflect::set(&imports, &"env".into(), &env)?;
    Ok(WebAssembly::Instance::new(&module, &imports)?.exports().into())
}

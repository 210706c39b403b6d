//! The micro-kernels that `build.rs` wrote, put in the place of those that the compiler made, and what
//! threads are started with.

use js_sys::{Array, Function, Object, Reflect, Uint8Array, WebAssembly};
use wasm_bindgen::prelude::*;

use crate::kernels::cpu::{microkernel, softmax, threads};

macro_rules! written {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm"))
    };
}

/// With fused multiply-and-add where the browser has relaxed SIMD, without it elsewhere.
///
/// # Errors
/// What the browser says against them. The compiler's stay then.
pub fn install() -> Result<(), JsValue> {
    let (relaxed, plain): (&[u8], &[u8]) = if shared() {
        (written!("relaxed-shared"), written!("plain-shared"))
    } else {
        (written!("relaxed"), written!("plain"))
    };
    let (name, module) = match compile(relaxed) {
        Ok(module) => ("relaxed SIMD", module),
        Err(_) => ("SIMD", compile(plain)?),
    };
    let exports = instance(&module)?;
    let table: WebAssembly::Table = wasm_bindgen::function_table().unchecked_into();
    for (name, place) in places() {
        let function = Reflect::get(&exports, &name.into())?;
        table.set(place, &function.unchecked_into::<Function>())?;
    }
    MODULE.set(Some(module));
    microkernel::note_installed(name);
    Ok(())
}

thread_local! {
    static MODULE: std::cell::Cell<Option<WebAssembly::Module>> = const { std::cell::Cell::new(None) };
}

/// Whether threads can work on this module's memory.
pub fn shared() -> bool {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    !memory.buffer().is_instance_of::<js_sys::ArrayBuffer>()
}

fn compile(bytes: &[u8]) -> Result<WebAssembly::Module, JsValue> {
    WebAssembly::Module::new(&Uint8Array::from(bytes).into())
}

/// The exports of a module that works on this module's memory.
fn instance(module: &WebAssembly::Module) -> Result<JsValue, JsValue> {
    let (imports, env) = (Object::new(), Object::new());
    Reflect::set(&env, &"memory".into(), &wasm_bindgen::memory())?;
    Reflect::set(&imports, &"env".into(), &env)?;
    Ok(WebAssembly::Instance::new(module, &imports)?.exports().into())
}

/// Names of what is exchanged, and places in the table of functions: on wasm a function pointer is
/// one.
fn places() -> Vec<(String, u32)> {
    let tiles = microkernel::places().into_iter().enumerate();
    let tiles = tiles.map(|(index, place)| (format!("rows{}", index + 1), place as usize as u32));
    let of_softmax = softmax::places().into_iter().map(|(name, place)| (name, place as u32));
    let atomics = threads::places().into_iter().filter(|_| shared());
    let atomics = atomics.map(|(name, place)| (name.into(), place as usize as u32));
    tiles.chain(of_softmax).chain(atomics).collect()
}

/// What `web/thread.js` is sent to become a thread of the CPU backend: `{module, memory, kernels,
/// places, failed}`; null where memory isn't shared.
///
/// # Errors
/// None that JavaScript could cause.
#[wasm_bindgen(js_name = threadMaterial)]
pub fn thread_material() -> Result<JsValue, JsValue> {
    let kernels = MODULE.take();
    MODULE.set(kernels.clone());
    let Some(kernels) = kernels.filter(|_| shared()) else { return Ok(JsValue::NULL) };
    let places: Array =
        places().into_iter().map(|(name, place)| Array::of2(&name.into(), &place.into())).collect();
    let material = Object::new();
    for (key, value) in [
        ("module", wasm_bindgen::module()),
        ("memory", wasm_bindgen::memory()),
        ("kernels", kernels.into()),
        ("places", places.into()),
        ("failed", (threads::failed() as usize as u32).into()),
    ] {
        Reflect::set(&material, &key.into(), &value)?;
    }
    Ok(material.into())
}

/// So many threads are there now besides the caller's. `sleep`: whether the caller's may be blocked.
#[wasm_bindgen(js_name = threadsReady)]
pub fn threads_ready(helpers: usize, sleep: bool) {
    threads::set_helpers(helpers, sleep);
}

/// A thread's life; `thread` counts from 1. Called by `web/thread.js` on an instance of its own.
#[wasm_bindgen]
pub fn thread_work(thread: usize) {
    threads::help(thread)
}

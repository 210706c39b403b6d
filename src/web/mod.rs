//! The worker's side of the page: the only code that knows there is a browser. JavaScript sees one
//! class, [`Engine`], and [`Bench`] to measure with; `web/protocol.js` documents the messages that
//! carry the engine's values on.

mod bench;
mod blob;
mod entropy;
mod failure;
mod gpu;
mod microkernels;
mod readback;
mod session;

pub use bench::Bench;
pub use gpu::software_adapter;
pub use microkernels::{thread_material, thread_work, threads_ready};
pub use session::Engine;

use std::sync::Once;

use wasm_bindgen::prelude::*;

/// The module's memory never shrinks: what a run took is counted as it is allocated.
#[global_allocator]
static ALLOCATOR: crate::memory::Counting = crate::memory::Counting;

/// Where a panic's message is left for the worker to report: a wasm trap carries none.
const PANIC_MESSAGE: &str = "lorakeetPanic";

/// Runs when the module is instantiated.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        let message = JsValue::from_str(&info.to_string());
        // A failure to leave the message must not hide the panic itself.
        let _ = js_sys::Reflect::set(&js_sys::global(), &PANIC_MESSAGE.into(), &message);
        console_error_panic_hook::hook(info);
    }));
    prepare();
}

/// What has to be done once before burn is used. [`start`] does it on the page; a module of tests,
/// which has no start, calls it itself.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: once, and before anything else. Where nothing calls it, the linker has every call
        // from JavaScript run all of burn's constructors first, which took a fifth of a picture's
        // time.
        unsafe { __wasm_call_ctors() };
        if microkernels::shared()
            && let Err(problem) = entropy::mend()
        {
            console_warn(&problem);
        }
        // The compiler's kernels, which are slower, stay where the browser refuses.
        if let Err(problem) = microkernels::install() {
            console_warn(&problem);
        }
    });
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = warn)]
    fn console_warn(problem: &JsValue);
}

//! The worker's side of the page: the only code that knows there is a browser. JavaScript sees one
//! class, [`Engine`], and [`Bench`] to measure with; `web/protocol.js` documents the messages that
//! carry the engine's values on.

mod bench;
mod blob;
mod engine;
mod training;

pub use bench::Bench;
pub use engine::Engine;

use wasm_bindgen::prelude::*;

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
}

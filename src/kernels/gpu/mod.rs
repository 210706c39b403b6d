//! The kernels of WebGPU: WGSL that is generated for the shapes at hand, for what every browser
//! offers: f32, no subgroups, 256 invocations and 16 KiB of workgroup memory.
//!
//! Software adapters (SwiftShader) run each invocation on a CPU: there, large register tiles and no
//! workgroup memory are fast; on a GPU it is smaller tiles and neighbours that read neighbouring
//! memory. [`set_software`] says which one it is.

pub mod attention;
pub mod conv;
pub mod matmul;
pub mod norm;
pub mod pack;
pub mod panel;
pub mod parts;
pub mod stored;
pub mod text;
pub mod weight_gradient;

#[cfg(target_arch = "wasm32")]
mod convolve;
#[cfg(target_arch = "wasm32")]
mod cube;
#[cfg(target_arch = "wasm32")]
mod flash;
#[cfg(target_arch = "wasm32")]
mod launch;
#[cfg(target_arch = "wasm32")]
mod product;
#[cfg(target_arch = "wasm32")]
mod sweep;

use std::cell::Cell;

thread_local! {
    static SOFTWARE: Cell<bool> = const { Cell::new(false) };
    static NATIVE_HALVES: Cell<bool> = const { Cell::new(false) };
}

/// Says whether the adapter is a fallback one, which runs on the CPU.
pub fn set_software(software: bool) {
    SOFTWARE.set(software);
}

/// Whether [`set_software`] was told so.
pub fn software() -> bool {
    SOFTWARE.get()
}

/// Says whether shaders may use the type f16 (WebGPU's feature `shader-f16`): weights in halves are
/// then read as such.
pub fn set_native_halves(native: bool) {
    NATIVE_HALVES.set(native);
}

/// Whether [`set_native_halves`] was told so.
pub fn native_halves() -> bool {
    NATIVE_HALVES.get()
}

//! What the two hosts do in ways of their own: a clock, a line of output, and counted memory.

use burn::tensor::Device;

#[path = "../../tests/support/counting.rs"]
mod counting;

/// Prints a line.
#[cfg(not(target_arch = "wasm32"))]
pub fn print(line: &str) {
    println!("{line}");
}

/// Prints a line.
#[cfg(target_arch = "wasm32")]
pub fn print(line: &str) {
    wasm_bindgen_test::console_log!("{line}");
}

/// Seconds since some moment.
#[cfg(not(target_arch = "wasm32"))]
pub fn now() -> f64 {
    use std::time::Instant;
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Seconds since some moment. (std has no clock in a browser.)
#[cfg(target_arch = "wasm32")]
pub fn now() -> f64 {
    let of = |object: &wasm_bindgen::JsValue, name: &str| {
        js_sys::Reflect::get(object, &name.into()).unwrap()
    };
    let performance = of(&js_sys::global(), "performance");
    let now: js_sys::Function = of(&performance, "now").into();
    now.call0(&performance).unwrap().as_f64().unwrap() / 1e3
}

/// Bytes of the tab's memory that the module has; it never gives any back.
#[cfg(target_arch = "wasm32")]
pub fn linear_memory() -> u64 {
    core::arch::wasm32::memory_size::<0>() as u64 * 65536
}

/// Memory from one moment on: of the process, or of a device that has its own.
pub struct Meter<'a> {
    device: Option<&'a Device>,
    before: u64,
}

impl<'a> Meter<'a> {
    /// Whether burn tells how much memory a device of its own has, rather than the process.
    pub fn has_pools(device: &Device) -> bool {
        device.memory_pool_usage().is_some()
    }

    /// From here on.
    pub fn start(device: &'a Device) -> Self {
        // What nothing uses is given back first, so that what is reserved afterwards was needed.
        device.memory_cleanup();
        match device.memory_pool_usage() {
            None => Self { device: None, before: counting::start() as u64 },
            Some(usage) => Self { device: Some(device), before: usage.bytes_reserved },
        }
    }

    /// By how many bytes there was more at most. Of a device: by how many its pools are larger,
    /// which keep what they once needed.
    pub fn peak(&self) -> u64 {
        match self.device {
            None => counting::peak_above(self.before as usize) as u64,
            Some(device) => {
                let usage = device.memory_pool_usage().unwrap_or_default();
                usage.bytes_reserved.saturating_sub(self.before)
            }
        }
    }
}

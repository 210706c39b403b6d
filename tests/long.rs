//! What takes too long for every change: `cargo xtask test --kill`, `--soak` and `--browsers` build and
//! serve the page as for `tests/e2e.rs`, and ask for the test of that name.
#![cfg(not(target_arch = "wasm32"))]

#[path = "long/browsers.rs"]
mod browsers;
#[path = "e2e/files.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod files;
#[path = "long/kill.rs"]
mod kill;
#[path = "../xtask/src/memory.rs"]
mod memory;
#[path = "e2e/page.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod page;
#[path = "e2e/reference.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod reference;
#[path = "long/soak.rs"]
mod soak;
#[path = "e2e/train.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod train;
#[path = "e2e/webdriver.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod webdriver;

/// A number that an environment variable may change.
fn asked(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")),
        Err(_) => usual,
    }
}

//! `cargo xtask bench --native`: the CPU backend, natively. `cargo test --bench training` builds it
//! on the dependencies that the tests are built on; with `--release` everything is built anew.

mod measure;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use burn::tensor::Device;
use measure::{ALL, Plan, block, decode, inference, print, training};

fn main() {
    // Cargo adds options of its own, such as `--bench`.
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f));
    let device = Device::flex();
    let plan = |rounds| Plan { backend: backend(), batch: 4, rounds, kinds: ALL };
    if wanted("native_training") {
        wait(training(&device, &plan(11)));
    }
    if wanted("native_inference") {
        wait(inference(&device, &plan(41)));
    }
    if wanted("native_block") {
        wait(block(&device, &plan(3)));
    }
    if filters.iter().any(|filter| filter.contains("decode")) {
        // Minutes, so only when it is asked for.
        wait(decode(&device, &plan(1), 512));
    }
    print(&format!("\n{}", machine()));
}

fn backend() -> String {
    let build = if cfg!(debug_assertions) {
        "the tests' build: optimised, with overflow checks"
    } else {
        "release build"
    };
    format!("CPU backend, native ({build})")
}

/// Where the numbers come from.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // rayon's own rule.
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = threads.filter(|&n| n > 0).unwrap_or(cores);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    format!(
        "CPU: {name}, {cores} cores, {threads} rayon threads. Load average of the last minute: \
         {load} (this benchmark's own is at most {threads})."
    )
}

/// The CPU backend never keeps anyone waiting.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

//! The page, from `index.html` and the crate to `dist/`, by trunk.

use crate::setup::Tools;
use crate::shell::{Result, root, run, say, which};
use crate::version;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Builds the page and returns its folder.
pub fn page(tools: &Tools) -> Result<PathBuf> {
    let start = Instant::now();
    let dist = root().join("dist");
    say("building the page (the first time takes 10 minutes and more on two cores)");
    let mut trunk = tools.command(&tools.trunk)?;
    // Trunk needn't fetch anything: its tools are on its PATH, in the versions that it wants.
    trunk.args(["build", "--offline", "true"]);
    if tools.wasm_opt.is_none() {
        // Trunk runs wasm-opt in release builds; the cargo profile stays the one of Trunk.toml.
        trunk.args(["--release", "false"]);
    }
    run(trunk)?;
    version::stamp(&dist)?;
    let module = dist.join("lorakeet_bg.wasm");
    let size = std::fs::metadata(&module).map_err(|e| format!("{}: {e}", module.display()))?.len();
    let packed = gzipped(&module).map_or(String::new(), |n| format!(", {} gzipped", megabytes(n)));
    say(format!(
        "the page is in {} after {} s; its wasm module is {}{packed}",
        dist.display(),
        start.elapsed().as_secs(),
        megabytes(size)
    ));
    Ok(dist)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// What a server that compresses would send.
fn gzipped(file: &Path) -> Option<u64> {
    let gzip = which(&["gzip"])?;
    let packed = std::env::temp_dir().join(format!("lorakeet-{}.gz", std::process::id()));
    let out = std::fs::File::create(&packed).ok()?;
    let status = Command::new(gzip).arg("-9c").arg(file).stdout(out).status();
    let size = std::fs::metadata(&packed).ok()?.len();
    let _ = std::fs::remove_file(packed);
    status.ok()?.success().then_some(size)
}

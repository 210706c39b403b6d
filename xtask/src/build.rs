//! The page, from `index.html` and the crate to `dist/`: trunk builds it, its module is cut in two, and
//! wasm-opt goes over both.

use crate::setup::Tools;
use crate::shell::{Result, root, run, say, which};
use crate::{split, version};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Builds the page and returns its folder.
pub fn page(tools: &Tools) -> Result<PathBuf> {
    let start = Instant::now();
    let dist = root().join("dist");
    say("building the page (the first time takes 10 minutes and more on two cores)");
    let mut trunk = tools.command(&tools.trunk)?;
    // Trunk needn't fetch anything: its tools are on its PATH, in the versions that it wants. In
    // release builds it runs wasm-opt itself, after which names tell too little to cut by; the cargo
    // profile stays the one of Trunk.toml.
    trunk.args(["build", "--offline", "true", "--release", "false"]);
    run(trunk)?;
    let mut modules = vec![split::MAIN];
    match split::page(&dist) {
        Ok(cut) => {
            modules.push(split::PART);
            say(cut.to_string());
        }
        // The page works, and everybody loads all of it.
        Err(problem) => say(format!("the page's module stays whole: {problem}")),
    }
    let modules: Vec<PathBuf> = modules.iter().map(|name| dist.join(name)).collect();
    optimise(tools, &modules)?;
    modules.iter().try_for_each(|module| split::finish(module))?;
    version::stamp(&dist)?;
    let sizes: Vec<String> = modules.iter().map(|module| size(module)).collect::<Result<_>>()?;
    say(format!(
        "the page is in {} after {} s; {}",
        dist.display(),
        start.elapsed().as_secs(),
        sizes.join(", ")
    ));
    Ok(dist)
}

/// What wasm-opt does to each module. All that it could (-Oz, which trunk has it do) makes files smaller
/// and what is sent of them larger, since LLVM's code repeats itself more (docs/performance.md).
const PASSES: [&str; 12] = [
    "--duplicate-function-elimination",
    "--remove-unused-module-elements",
    "--dce",
    "--optimize-instructions",
    "--vacuum",
    "--precompute",
    "--remove-unused-brs",
    "--remove-unused-names",
    "--merge-blocks",
    "--vacuum",
    "--rse",
    "--duplicate-function-elimination",
];

/// wasm-opt over each module, for what index.html tells trunk.
fn optimise(tools: &Tools, modules: &[PathBuf]) -> Result<()> {
    let Some(wasm_opt) = &tools.wasm_opt else { return Ok(()) };
    let html = std::fs::read_to_string(root().join("index.html")).map_err(|e| e.to_string())?;
    let name = "data-wasm-opt-params";
    let parameters = attribute(&html, name).ok_or(format!("index.html has no {name}"))?;
    // At once: it runs on one thread.
    std::thread::scope(|scope| {
        let started: Vec<_> = modules
            .iter()
            .map(|module| {
                scope.spawn(move || {
                    let mut command = tools.command(wasm_opt)?;
                    // Names go last.
                    command.args(parameters.split_whitespace()).args(PASSES).arg("--debuginfo");
                    run({
                        command.arg("--output").arg(module).arg(module);
                        command
                    })
                })
            })
            .collect();
        started.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("wasm-opt could not be waited for".into()))
        })
    })
}

/// The value of an attribute that stands once in a page.
fn attribute<'a>(html: &'a str, name: &str) -> Option<&'a str> {
    html.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

/// Name and size of a file.
fn size(file: &Path) -> Result<String> {
    let bytes = std::fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?.len();
    let packed = gzipped(file).map_or(String::new(), |n| format!(" ({} gzipped)", megabytes(n)));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} {}{packed}", megabytes(bytes)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasm_opt_is_called_as_the_page_says() {
        let html = r#"<link data-wasm-opt="z" data-wasm-opt-params="--enable-threads -g" />"#;
        assert_eq!(attribute(html, "data-wasm-opt"), Some("z"));
        assert_eq!(attribute(html, "data-wasm-opt-params"), Some("--enable-threads -g"));
        assert_eq!(attribute(html, "data-wasm"), None);
    }
}

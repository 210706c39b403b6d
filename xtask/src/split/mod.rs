//! Cuts the page's WebAssembly module in two: what every visitor needs, and what only a GPU's backend
//! calls, which web/module.js fetches where that is the backend (ARCHITECTURE.md, "Two modules").
//!
//! Names decide, which a build leaves in the module until then. They needn't be right: whatever is
//! called that went is loaded at that moment.

mod arrange;
mod link;
mod module;
mod plan;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use crate::shell::Result;
use module::Module;
use plan::Plan;
use write::{Facts, Halves};

/// The page's module, as wasm-bindgen names it.
pub const MAIN: &str = "lorakeet_bg.wasm";
/// What is cut off.
pub const PART: &str = "lorakeet_gpu.wasm";
/// What wasm-bindgen wrote around the module.
const GLUE: &str = "lorakeet.js";

/// Crates and modules that only a GPU's backend runs, by how their paths begin. (Tensors of every
/// backend have shapes of cubecl_zspace, and what they share is in cubecl_common.)
const GPU: [&str; 16] = [
    "burn_cubecl",
    "burn_fusion",
    "burn_wgpu",
    "cubecl::",
    "cubecl_core",
    "cubecl_ir",
    "cubecl_opt",
    "cubecl_runtime",
    "cubecl_server",
    "cubecl_std",
    "cubecl_wgpu",
    "cubek",
    "lorakeet::kernels::gpu",
    "naga",
    "pliron",
    "wgpu",
];

/// What a linker names the function that calls all constructors. It runs before the part can be there.
const CONSTRUCTORS: &str = "__wasm_call_ctors";

/// JavaScript's function that brings the part (src/web/session/device.rs).
const LOAD: &str = "lorakeetGpuPart";

/// Cuts the built page's module; says in its glue that there is a part.
///
/// # Errors
/// Why it can't be cut; it is whole then.
pub fn page(dist: &Path) -> Result<Facts> {
    let read = |name: &str| {
        let file = dist.join(name);
        std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))
    };
    let write = |name: &str, bytes: &[u8]| {
        let file = dist.join(name);
        std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))
    };
    let mut glue = String::from_utf8(read(GLUE)?).map_err(|e| format!("{GLUE}: {e}"))?;
    let halves = cut(&read(MAIN)?).map_err(|problem| format!("{MAIN}: {}", problem.0))?;
    write(MAIN, &halves.main)?;
    write(PART, &halves.part)?;
    glue.push_str(&format!("\n// By xtask.\nexport const gpuPart = {PART:?};\n"));
    write(GLUE, glue.as_bytes())?;
    Ok(halves.facts)
}

/// Puts a module's functions into the order of their names and takes the names off; for after wasm-opt,
/// which has an order of its own.
///
/// # Errors
/// What can't be read or written.
pub fn finish(file: &Path) -> Result<()> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let bytes = std::fs::read(file).map_err(|e| told(&e))?;
    let bytes = arrange::arranged(&bytes).map_err(|problem| told(&problem.0))?;
    std::fs::write(file, bytes).map_err(|e| told(&e))
}

fn cut(bytes: &[u8]) -> std::result::Result<Halves, module::Problem> {
    let mut module = Module::read(bytes)?;
    let imported = |f: &module::Function| f.body.is_none() && f.name.contains(LOAD);
    let load = module.functions.iter().position(imported);
    let load = load.ok_or("it doesn't import what loads a part")?;
    let wanted = |name: &str| {
        let name = plain(name);
        GPU.iter().any(|path| mentions(&name, path))
    };
    let owned = |name: &str| {
        let name = plain(name);
        let name = name.trim_start_matches(['<', '&', '(', '[']).trim_start_matches("mut ");
        GPU.iter().any(|path| name.starts_with(path))
    };
    let plan = Plan::new(&mut module, wanted, owned, CONSTRUCTORS)?;
    write::write(&module, &plan, load as u32)
}

/// Whether a path that begins so stands anywhere in a function's name.
fn mentions(name: &str, path: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    name.match_indices(path).any(|(at, _)| !name[..at].ends_with(inside))
}

/// A name without the numbers that tell crates of one name apart, as `[0f3c]`.
fn plain(name: &str) -> String {
    let mut parts = name.split('[');
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.split_once(']') {
            Some((number, rest)) if number.chars().all(|c| c.is_ascii_hexdigit()) => plain += rest,
            _ => plain.extend(["[", part]),
        }
    }
    plain
}

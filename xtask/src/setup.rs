//! What building the page takes besides cargo: the compiler for its target, trunk, wasm-bindgen and
//! wasm-opt. Everything is installed once, per version, into a folder outside the checkout.

use crate::shell::{Result, cargo, command, is_executable, output, root, run, say, version, which};
use crate::version::sum;
use crate::wasm::{self, Toolchain};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools, found or installed.
pub struct Tools {
    pub toolchain: Toolchain,
    pub trunk: PathBuf,
    pub wasm_bindgen: PathBuf,
    /// Without it the page works and is larger.
    pub wasm_opt: Option<PathBuf>,
}

impl Tools {
    /// A command that finds these tools first on its PATH.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let tools = [Some(&self.trunk), Some(&self.wasm_bindgen), self.wasm_opt.as_ref()];
        let folders: Vec<PathBuf> =
            tools.into_iter().flatten().filter_map(|t| t.parent()).map(Path::to_path_buf).collect();
        self.toolchain.command(program, &folders)
    }

    /// Runs the browser tests that `cargo test` built.
    pub fn test_runner(&self) -> PathBuf {
        self.wasm_bindgen
            .with_file_name(format!("wasm-bindgen-test-runner{}", env::consts::EXE_SUFFIX))
    }
}

/// Everything that building the page takes.
pub fn page() -> Result<Tools> {
    let toolchain = wasm::find_or_install()?;
    // wasm-bindgen's generator must be of the very version that the module was compiled with.
    let bindgen = locked_version("wasm-bindgen")?;
    let trunk = trunk_toml("trunk-version")?;
    let wasm_opt = trunk_toml("wasm_opt")?;
    Ok(Tools {
        toolchain,
        wasm_bindgen: cargo_tool("wasm-bindgen-cli", "wasm-bindgen", &bindgen, false)?,
        trunk: cargo_tool("trunk", "trunk", &trunk, true)?,
        wasm_opt: find_wasm_opt(wasm_opt.trim_start_matches("version_"))?,
    })
}

/// Of Firefox's driver, on crates.io.
const GECKODRIVER: &str = "0.36.0";

/// The folder that tools are installed into.
pub fn tools_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("LORAKEET_TOOLS") {
        return Ok(root().join(dir));
    }
    let home = env::var_os("HOME").or_else(|| env::var_os("USERPROFILE"));
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(home?).join(".cache")))
        .ok_or("set LORAKEET_TOOLS to a folder for the tools: there is no home folder")?;
    Ok(cache.join("lorakeet").join("tools"))
}

/// A program from crates.io at exactly this version: on PATH, installed earlier, or installed now.
fn cargo_tool(package: &str, program: &str, wanted: &str, locked: bool) -> Result<PathBuf> {
    let dir = tools_dir()?.join(format!("{package}-{wanted}"));
    let installed = dir.join("bin").join(format!("{program}{}", env::consts::EXE_SUFFIX));
    for candidate in [Some(installed.clone()), which(&[program])].into_iter().flatten() {
        if is_executable(&candidate) && has_version(&candidate, wanted) {
            return Ok(candidate);
        }
    }
    say(format!("installing {package} {wanted} into {} (takes some minutes)", dir.display()));
    let mut install = cargo();
    install.arg("install").arg("--root").arg(&dir).arg(format!("{package}@{wanted}"));
    if locked {
        install.arg("--locked");
    }
    // A build folder that stays, so that an interrupted installation goes on where it stopped.
    let build = tools_dir()?.join("build");
    install.env("CARGO_TARGET_DIR", &build);
    // Wherever the person's own toolchain file or flags point, this is a plain program for here.
    install.env_remove("RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    // Some ask for the slowest build there is, which takes minutes and wins seconds.
    for (setting, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
        install.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    run(install)?;
    let _ = std::fs::remove_dir_all(build);
    if has_version(&installed, wanted) {
        return Ok(installed);
    }
    Err(format!("{} was installed and is not {program} {wanted}", installed.display()))
}

/// Firefox's driver, from crates.io where it isn't on PATH and may be installed.
pub fn geckodriver(install: bool) -> Result<Option<PathBuf>> {
    let there = which(&["geckodriver"]).or_else(|| {
        let bin = tools_dir().ok()?.join(format!("geckodriver-{GECKODRIVER}")).join("bin");
        Some(bin.join(format!("geckodriver{}", env::consts::EXE_SUFFIX)))
            .filter(|it| is_executable(it))
    });
    match there {
        None if install => cargo_tool("geckodriver", "geckodriver", GECKODRIVER, true).map(Some),
        there => Ok(there),
    }
}

/// The wasm-opt that Trunk.toml names: installed earlier, on PATH, or from npm's `binaryen` (which
/// is wasm-opt compiled to wasm: it runs wherever Node.js does).
fn find_wasm_opt(wanted: &str) -> Result<Option<PathBuf>> {
    let dir = tools_dir()?.join(format!("binaryen-{wanted}"));
    let script = if cfg!(windows) { "wasm-opt.cmd" } else { "wasm-opt" };
    let installed = dir.join("node_modules").join(".bin").join(script);
    for candidate in [Some(installed.clone()), which(&["wasm-opt"])].into_iter().flatten() {
        if is_executable(&candidate) && has_version(&candidate, wanted) {
            return Ok(Some(candidate));
        }
    }
    if npm().is_none() {
        say(format!(
            "no wasm-opt {wanted} and no npm to install it with: the page is built without it and \
             is larger. To have it, install Node.js, or binaryen {wanted}"
        ));
        return Ok(None);
    }
    say(format!("installing wasm-opt (binaryen {wanted} from npm) into {}", dir.display()));
    let done = npm_install(&dir, &format!("binaryen@{wanted}.0.0"));
    if done.is_ok() && has_version(&installed, wanted) {
        return Ok(Some(installed));
    }
    let reason = done.err().unwrap_or_else(|| "what npm installed does not run here".into());
    say(format!("{reason}; the page is built without wasm-opt and is larger"));
    Ok(None)
}

/// npm, where it is installed.
pub fn npm() -> Option<PathBuf> {
    if cfg!(windows) { which(&["npm.cmd"]) } else { which(&["npm"]) }
}

/// A package from npm, into a folder of its own.
fn npm_install(dir: &Path, package: &str) -> Result<()> {
    let npm = npm().ok_or(format!("no npm to install {package} with: install Node.js"))?;
    let mut install = command(npm);
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(dir);
    install.arg(package);
    run(install)
}

/// Of this content alone, and nothing that the registry may hand out in its place.
fn npm_pinned(dir: &Path, package: &str, version: &str, integrity: &str) -> Result<()> {
    let wanted = format!("\"dependencies\": {{ \"{package}\": \"{version}\" }}");
    let lock = format!(
        "{{ \"lockfileVersion\": 3, \"packages\": {{ \"\": {{ {wanted} }}, \"node_modules/{package}\": \
         {{ \"version\": \"{version}\", \"integrity\": \"{integrity}\" }} }} }}\n"
    );
    npm_ci(dir, &format!("{{ {wanted} }}\n"), &lock)
}

/// The packages of a lock file, each of the content whose hash it names.
pub fn npm_ci(dir: &Path, manifest: &str, lock: &str) -> Result<()> {
    let npm = npm().ok_or(format!("no npm to install {} with: install Node.js", dir.display()))?;
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for (name, text) in [("package.json", manifest), ("package-lock.json", lock)] {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut install = command(npm);
    install.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(dir);
    run(install)
}

/// The rules of accessibility that the page is held to. Its licence is the MPL: it is never shipped.
const AXE: &str = "4.14.1";
const AXE_INTEGRITY: &str = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// axe-core's script, installed earlier or now; none where there is no npm.
pub fn axe() -> Result<Option<PathBuf>> {
    let dir = tools_dir()?.join(format!("axe-core-{AXE}"));
    let script = dir.join("node_modules").join("axe-core").join("axe.min.js");
    if script.is_file() {
        return Ok(Some(script));
    }
    if npm().is_none() {
        say(format!(
            "no npm to install axe-core {AXE} with: the page is not held to its rules. Install Node.js"
        ));
        return Ok(None);
    }
    say(format!("installing axe-core {AXE} from npm into {}", dir.display()));
    npm_pinned(&dir, "axe-core", AXE, AXE_INTEGRITY)?;
    Ok(Some(script))
}

/// The oldest Node.js that checks the page's scripts: it tells modules by their text, and eslint runs.
pub const NODE: &str = "20.19";

/// Node.js, where it is new enough.
pub fn node() -> Option<PathBuf> {
    let node = which(&["node"])?;
    let found = output(command(&node).arg("--version"))?;
    (version(found.trim_start_matches('v')) >= version(NODE)).then_some(node)
}

/// The folder of the packages that check the page's scripts: those of `tests/page/package-lock.json`,
/// each with its hash, installed earlier or now.
pub fn script_tools() -> Result<PathBuf> {
    let settings = |name: &str| {
        let path = root().join("tests/page").join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let lock = settings("package-lock.json")?;
    let dir = tools_dir()?.join(format!("page-{:08x}", sum(lock.as_bytes())));
    let packages = dir.join("node_modules");
    // npm writes this when the rest is there
    if !packages.join(".package-lock.json").is_file() {
        say(format!("installing what checks the page's scripts from npm into {}", dir.display()));
        npm_ci(&dir, &settings("package.json")?, &lock)?;
    }
    Ok(packages)
}

/// What the race is run against: onnxruntime-web, from npm. It is measured and never shipped.
pub struct Rival {
    pub version: &'static str,
    /// The folder with its modules.
    pub dist: PathBuf,
}

/// The newest on npm when the figures in README.md were taken (`npm view onnxruntime-web version`).
const RIVAL: &str = "1.30.0";

/// Installed earlier, or now.
pub fn rival() -> Result<Rival> {
    let dir = tools_dir()?.join(format!("onnxruntime-web-{RIVAL}"));
    let dist = dir.join("node_modules").join("onnxruntime-web").join("dist");
    if !dist.join("ort.webgpu.min.mjs").is_file() {
        say(format!("installing onnxruntime-web {RIVAL} from npm into {}", dir.display()));
        npm_install(&dir, &format!("onnxruntime-web@{RIVAL}"))?;
    }
    Ok(Rival { version: RIVAL, dist })
}

/// Whether `program --version` prints exactly `wanted`.
fn has_version(program: &Path, wanted: &str) -> bool {
    let text = output(command(program).arg("--version")).unwrap_or_default();
    version(&text).is_some_and(|found| Some(found) == version(wanted))
}

/// A package's version in Cargo.lock.
fn locked_version(package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))
        .map_err(|e| format!("Cargo.lock: {e}"))?;
    find_locked_version(&lock, package).ok_or(format!("Cargo.lock names no {package}"))
}

fn find_locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = ").map(|v| v.trim_matches('"').to_string())
}

/// The text value of a key in Trunk.toml.
fn trunk_toml(key: &str) -> Result<String> {
    let text = std::fs::read_to_string(root().join("Trunk.toml"))
        .map_err(|e| format!("Trunk.toml: {e}"))?;
    find_key(&text, key).ok_or(format!("Trunk.toml has no {key}"))
}

fn find_key(toml: &str, key: &str) -> Option<String> {
    toml.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = (name.trim() == key).then_some(value)?;
        value.split('"').nth(1).map(|v| v.trim_start_matches(['=', '^']).to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_locked_package_is_found_by_its_whole_name() {
        let lock = "[[package]]\nname = \"wasm-bindgen-test\"\nversion = \"0.3.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(find_locked_version(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(find_locked_version(lock, "wasm"), None);
    }

    #[test]
    fn trunk_toml_names_the_tools() {
        let toml = "trunk-version = \"=0.21.14\"\n[tools]\n# wasm_opt = \"no\"\n\
                    wasm_opt = \"version_132\"\n";
        assert_eq!(find_key(toml, "trunk-version").as_deref(), Some("0.21.14"));
        assert_eq!(find_key(toml, "wasm_opt").as_deref(), Some("version_132"));
        assert_eq!(find_key(toml, "sass"), None);
    }
}

//! Running other programs, and saying so.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everything that can go wrong ends as a message for the person at the terminal.
pub type Result<T> = std::result::Result<T, String>;

/// The package root, the folder that holds `Cargo.toml`.
pub fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = xtask.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().map(Path::to_path_buf).unwrap_or(xtask)
}

/// Cargo's target folder for native builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// One line about what is going on.
pub fn say(line: impl AsRef<str>) {
    println!("[xtask] {}", line.as_ref());
}

/// A command without the variables that `cargo run` sets for xtask itself: a second cargo, perhaps
/// of another toolchain, must not take them for its own.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if own.iter().any(|prefix| text.starts_with(prefix)) || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
    // The same for the folders of shared libraries: cargo's and rustup's own are put in front.
    for name in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        if let Some(value) = env::var_os(name) {
            let target = target_dir();
            let kept = env::split_paths(&value).filter(|dir| {
                !dir.starts_with(&target)
                    && !dir.components().any(|c| c.as_os_str() == "toolchains")
            });
            match env::join_paths(kept) {
                Ok(kept) if !kept.is_empty() => command.env(name, kept),
                _ => command.env_remove(name),
            };
        }
    }
    command.current_dir(root());
    command
}

/// The cargo that runs xtask, for everything native.
pub fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs the command with its output on the terminal; an exit status other than 0 is an error.
pub fn run(mut command: Command) -> Result<()> {
    let text = shown(&command);
    say(format!("$ {text}"));
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{text}` failed: {status}")),
        Err(e) => Err(format!("`{text}` could not be started: {e}")),
    }
}

/// The standard output of a command that succeeds, else nothing.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn shown(command: &Command) -> String {
    let mut text = Path::new(command.get_program()).file_name().map_or_else(
        || command.get_program().to_string_lossy().into_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// The first of `names` that is an executable on PATH.
pub fn which(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    names.iter().find_map(|name| {
        let name = format!("{name}{}", env::consts::EXE_SUFFIX);
        env::split_paths(&path).map(|dir| dir.join(&name)).find(|file| is_executable(file))
    })
}

#[cfg(unix)]
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// PATH with `first` in front of it.
pub fn path_with(first: &[PathBuf]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(first.iter().cloned().chain(env::split_paths(&path)))
        .map_err(|e| format!("PATH: {e}"))
}

/// The first word of `text` that reads like a version, as numbers: "rustc 1.95.0 (5980 ...)" gives
/// `[1, 95, 0]`.
pub fn version(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().find_map(|word| {
        let numbers: std::result::Result<Vec<u64>, _> =
            word.split('.').map(str::parse::<u64>).collect();
        numbers.ok()
    })
}

/// Installs Debian packages where that is possible: on Debian and its relatives, as root.
/// Returns whether it was; `Err` when the installation itself failed.
pub fn apt_install(packages: &[&str]) -> Result<bool> {
    let root = output(Command::new("id").arg("-u")).as_deref() == Some("0");
    if which(&["apt-get"]).is_none() || !root {
        return Ok(false);
    }
    let apt = |args: &[&str]| {
        let mut command = command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command
    };
    // A failing update is no reason to stop: the lists at hand may do.
    if let Err(e) = run(apt(&["update", "-q"])) {
        say(e);
    }
    run(apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_print() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), Some(vec![1, 95, 0]));
        assert_eq!(version("wasm-opt version 132 (version_132)"), Some(vec![132]));
        assert_eq!(version("Chromium 156.0.8078.79 built on Debian"), Some(vec![156, 0, 8078, 79]));
        assert_eq!(version("no number here"), None);
        assert!(version("rustc 1.100.0") > version("rustc 1.95.1"));
    }
}

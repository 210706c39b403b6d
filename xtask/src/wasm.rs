//! The compiler for wasm32-unknown-unknown, in three ways: the installed toolchain has the target;
//! rustup adds it; or Debian's own Rust, which brings the sources of std and builds them.

use crate::shell::{
    Result, apt_install, cargo, command, output, path_with, root, run, say, target_dir, version,
    which,
};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's current Rust (the one its browsers are built with): compiler, cargo, clippy, sources of
/// std, LLVM, linker.
const DEBIAN_PACKAGES: &[&str] =
    &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22", "rust-web-clippy"];
const DEBIAN_BIN: &str = "/usr/bin";

/// How to run cargo for the page.
pub struct Toolchain {
    cargo: PathBuf,
    /// Debian's Rust rather than the one that runs xtask.
    debian: bool,
}

impl Toolchain {
    /// Any program that calls cargo for the page: the right cargo and rustc first on PATH, a target
    /// folder of its own (two compilers in one folder evict each other's work).
    pub fn command(&self, program: &Path, tools: &[PathBuf]) -> Result<Command> {
        let mut command = command(program);
        let mut first = tools.to_vec();
        if self.debian {
            first.push(DEBIAN_BIN.into());
            command
                .env_remove("RUSTUP_TOOLCHAIN")
                .env("RUSTC", Path::new(DEBIAN_BIN).join("rustc"))
                .env("RUSTDOC", Path::new(DEBIAN_BIN).join("rustdoc"))
                // build-std is not stable yet. `test` is named so that the page and its browser
                // tests are built on the same std: cargo adds it for tests otherwise, which makes
                // every dependency another one.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort,test");
        }
        command
            .env("PATH", path_with(&first)?)
            .env("CARGO", &self.cargo)
            .env("CARGO_TARGET_DIR", target_dir().join("wasm"));
        Ok(command)
    }

    /// `cargo ARGS` for the page's target; the profile is `web` unless `args` name one.
    pub fn cargo_for_page(&self, args: &[String]) -> Result<Command> {
        let mut command = self.command(&self.cargo, &[])?;
        let (sub, rest) = args.split_first().ok_or("cargo: which command of cargo?")?;
        command.args([sub, "--target", TARGET]);
        let profile = |arg: &String| arg.starts_with("--profile") || arg == "--release";
        if !rest.iter().any(profile) {
            command.args(["--profile", "web"]);
        }
        command.args(rest);
        Ok(command)
    }

    /// Whether this toolchain has clippy.
    pub fn has_clippy(&self) -> bool {
        let mut command = match self.command(&self.cargo, &[]) {
            Ok(command) => command,
            Err(_) => return false,
        };
        output(command.args(["clippy", "--version"])).is_some()
    }
}

/// Finds a compiler for the page or installs one.
pub fn find_or_install() -> Result<Toolchain> {
    let own = cargo();
    let own = PathBuf::from(own.get_program());
    if has_target() {
        return Ok(Toolchain { cargo: own, debian: false });
    }
    if which(&["rustup"]).is_some() {
        say(format!("the Rust toolchain lacks {TARGET}: asking rustup for it"));
        let mut rustup = command("rustup");
        rustup.args(["target", "add", TARGET]);
        match run(rustup) {
            Ok(()) if has_target() => return Ok(Toolchain { cargo: own, debian: false }),
            Ok(()) => say("rustup added the target to another toolchain than the active one"),
            Err(e) => say(e),
        }
    }
    let wants = rust_version()?;
    let debian = Toolchain { cargo: Path::new(DEBIAN_BIN).join("cargo"), debian: true };
    if let Err(missing) = debian_is_complete(&wants) {
        say(format!("{missing}: trying Debian's own Rust"));
        if !apt_install(DEBIAN_PACKAGES)? {
            return Err(needed());
        }
        debian_is_complete(&wants)
            .map_err(|e| format!("{e} after the installation. {}", needed()))?;
    }
    say("using Debian's Rust for the page; it builds std from source");
    Ok(debian)
}

fn needed() -> String {
    format!(
        "no Rust compiler for {TARGET}. Install one of these and run the command again:\n  \
         with rustup:           rustup target add {TARGET}\n  \
         on Debian 12 or newer: sudo apt-get install {}",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// Whether the active toolchain brings a compiled std for the target.
fn has_target() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let dir = output(command(rustc).args(["--print", "target-libdir", "--target", TARGET]));
    let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok());
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Debian's Rust with everything that building std for wasm takes; `Err` says what is missing.
fn debian_is_complete(wants: &str) -> Result<()> {
    let bin = Path::new(DEBIAN_BIN);
    let rustc = bin.join("rustc");
    let has = output(command(&rustc).env_remove("RUSTUP_TOOLCHAIN").arg("--version"));
    let has = has.ok_or("no Rust from Debian's packages")?;
    if version(&has) < version(wants) {
        return Err(format!("{} is {has}, and Rust {wants} is needed", rustc.display()));
    }
    let sysroot =
        output(command(&rustc).env_remove("RUSTUP_TOOLCHAIN").args(["--print", "sysroot"]));
    let std = PathBuf::from(sysroot.unwrap_or_default()).join("lib/rustlib/src/rust/library/std");
    if !std.is_dir() {
        return Err(format!("{} is not there (rust-web-src)", std.display()));
    }
    if !bin.join("cargo").is_file() {
        return Err("no cargo from Debian's packages (cargo-web)".into());
    }
    // A link into lld-22, so that this fails when either package is missing.
    if !bin.join("rust-lld").is_file() {
        return Err("no linker for wasm (rust-web-llvm, lld-22)".into());
    }
    Ok(())
}

/// `rust-version` of Cargo.toml.
fn rust_version() -> Result<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).map_err(|e| e.to_string())?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version"));
    let value =
        line.and_then(|line| line.split('"').nth(1)).ok_or("Cargo.toml: no rust-version")?;
    Ok(value.to_string())
}

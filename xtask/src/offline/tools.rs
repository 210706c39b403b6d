//! Compilers of real GPUs that run where there is none: Mesa's, by its shims of the kernel's drivers,
//! and Dawn, Chrome's WebGPU, for Node. Nothing is installed: all lies in a folder of the tools.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::setup::{NODE, node, npm_ci, tools_dir};
use crate::shell::{Result, command, output, run, say, which};

/// Dawn for Node, from npm, and the hashes of what comes.
const DAWN: [&str; 2] = [include_str!("package.json"), include_str!("package-lock.json")];

/// The release of Debian whose Mesa has the drivers of Apple's, NVIDIA's and Qualcomm's GPUs for this
/// kind of machine. It moves on; apt checks what comes against Debian's signatures.
const RELEASE: &str = "sid";

/// What is told where fetching fails.
const MISSING: &str = "`cargo xtask gpu` takes Mesa's drivers from a mirror of Debian (66 MB) and Dawn \
    from npm (21 MB), once: it needs the network for that, and no more afterwards";

/// Where Debian puts libraries on this kind of machine.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// What goes through, in order: a script that Node runs on Dawn.
const COMPILE: &str = include_str!("compile.mjs");

/// A driver of Mesa's, and the shim that stands for its hardware.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    pub name: &'static str,
    pub shim: &'static str,
    /// Which GPU it is, and that the driver prints what it compiles.
    pub environment: &'static [(&'static str, &'static str)],
}

/// The compilers, in their folder.
pub struct Compilers {
    folder: PathBuf,
    node: PathBuf,
}

impl Compilers {
    /// Those of an earlier time, or fetched now.
    pub fn find_or_fetch() -> Result<Self> {
        let node =
            node().ok_or(format!("compiling for GPUs offline needs Node.js {NODE} or newer"))?;
        let folder = tools_dir()?.join("gpu-compilers");
        let found = Self { folder, node };
        let script = found.folder.join("compile.mjs");
        let locked = fs::read_to_string(found.folder.join("package-lock.json"));
        // The script is written last: where it lies, all that it needs does.
        if !script.is_file() || locked.is_ok_and(|lock| lock != DAWN[1]) {
            say(format!("fetching Mesa and Dawn into {}", found.folder.display()));
            found.fetch().map_err(|e| format!("{e}\n{MISSING}"))?;
        }
        write(&script, COMPILE)?;
        Ok(found)
    }

    /// Which Mesa it is.
    pub fn version(&self) -> Result<String> {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let files = fs::read_dir(self.folder.join("debs")).map_err(|e| format!("debs: {e}"))?;
        let mut names = files.flatten().map(name);
        let found = names.find_map(|name| {
            Some(name.strip_prefix("mesa-vulkan-drivers_")?.split('_').next()?.to_string())
        });
        found.ok_or(format!("there is no mesa-vulkan-drivers in {}", self.folder.display()))
    }

    /// Compiles the files; all that is printed goes to `log`.
    pub fn compile(&self, driver: Driver, files: &[PathBuf], log: &Path) -> Result<String> {
        let failed = |e: std::io::Error| format!("{}: {e}", log.display());
        let libraries = self.folder.join(RELEASE).join(LIBRARIES);
        // The release's own loader and C library: this machine's are older.
        let mut node = command(libraries.join("ld-linux-x86-64.so.2"));
        node.arg("--library-path").arg(&libraries);
        node.arg("--preload").arg(libraries.join(format!("lib{}_noop_drm_shim.so", driver.shim)));
        node.arg(&self.node).arg("compile.mjs").args(files);
        node.envs(driver.environment.iter().copied())
            .env("VK_DRIVER_FILES", self.folder.join(format!("{}.json", driver.name)))
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .current_dir(&self.folder);
        // One file, so that the driver's lines stay with the script's.
        let all = File::create(log).map_err(failed)?;
        node.stdout(all.try_clone().map_err(failed)?).stderr(all);
        let status = node.status().map_err(|e| format!("node: {e}"))?;
        let text = fs::read(log).map_err(failed)?;
        if !status.success() {
            return Err(format!(
                "compiling for {} failed ({status}): see {}",
                driver.name,
                log.display()
            ));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn fetch(&self) -> Result<()> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || which(&["apt-get"]).is_none()
        {
            return Err("compiling for GPUs offline needs Debian or its like on x86-64: Mesa's \
                        drivers come from its packages"
                .into());
        }
        for folder in ["apt/lists/partial", "apt/cache/archives/partial", "debs", RELEASE] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("deb [signed-by={key}] {} {RELEASE} main\n", mirror()?);
        write(&self.folder.join("apt/sources.list"), &source)?;
        run(self.apt("apt-get", &["update"]))?;
        for package in self.packages()? {
            let mut download = self.apt("apt-get", &["download", &format!("{package}/{RELEASE}")]);
            download.current_dir(self.folder.join("debs"));
            run(download)?;
        }
        let debs = fs::read_dir(self.folder.join("debs")).map_err(|e| format!("debs: {e}"))?;
        for deb in debs.flatten() {
            let mut unpack = command("dpkg");
            unpack.arg("-x").arg(deb.path()).arg(self.folder.join(RELEASE));
            run(unpack)?;
        }
        for driver in ["asahi", "nouveau", "freedreno", "radeon"] {
            self.describe(driver)?;
        }
        npm_ci(&self.folder, DAWN[0], DAWN[1])
    }

    /// apt with nothing of this machine's own but Debian's keys.
    fn apt(&self, program: &str, args: &[&str]) -> Command {
        let mut apt = command(program);
        let folder = |name: &str| self.folder.join("apt").join(name).display().to_string();
        for (name, value) in [
            ("Dir::Etc::sourcelist", folder("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State::Lists", folder("lists")),
            ("Dir::Cache", folder("cache")),
        ] {
            apt.arg("-o").arg(format!("{name}={value}"));
        }
        apt.args(args);
        apt
    }

    /// Mesa's drivers and shims, and what they need.
    fn packages(&self) -> Result<Vec<String>> {
        let mut depends = self.apt("apt-cache", &["depends", "--recurse"]);
        let without = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
        depends.args(without.map(|kind| format!("--no-{kind}")));
        depends.args(["mesa-vulkan-drivers", "mesa-drm-shim", "libstdc++6"]);
        let text = output(&mut depends).ok_or("apt-cache depends failed")?;
        let wanted = ["lib", "mesa-", "zlib1g"];
        // Packages stand at the start of a line; names that several packages provide in brackets.
        let names = text.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word)));
        let mut names: Vec<_> =
            names.map(|name| name.split(':').next().unwrap_or(name).into()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Says to Vulkan where a driver lies.
    fn describe(&self, driver: &str) -> Result<()> {
        let folder = self.folder.join(RELEASE);
        let file = folder.join("usr/share/vulkan/icd.d").join(format!("{driver}_icd.json"));
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let library = folder.join(LIBRARIES).join(format!("libvulkan_{driver}.so"));
        let place = |line: &str| match line.split_once("\"library_path\":") {
            Some((before, _)) => format!("{before}\"library_path\": \"{}\"", library.display()),
            None => line.to_string(),
        };
        let lines: Vec<_> = text.lines().map(place).collect();
        write(&self.folder.join(format!("{driver}.json")), &lines.join("\n"))
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}

/// The mirror that this machine's own apt takes Debian from.
fn mirror() -> Result<String> {
    let mut targets = command("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let text = output(&mut targets).unwrap_or_default();
    let debian = text.lines().find(|line| line.ends_with("/debian/"));
    Ok(debian.ok_or("apt here knows no mirror of Debian")?.to_string())
}

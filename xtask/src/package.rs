//! The engine as an npm package: laid out from the built page by `api/make.js`, packed by npm, tried in an
//! empty project.

use crate::browser::{self, Browser};
use crate::shell::{Result, command, output, root, run as run_command, say, target_dir};
use crate::{build, scripts, setup};
use std::path::{Path, PathBuf};

/// `cargo xtask package`.
pub fn run(args: &[String]) -> Result<()> {
    let packer = Packer::find()?;
    let dist = match args {
        [] => build::page(&setup::page()?)?,
        [built] if built == "--built" => root().join("dist"),
        _ => return Err("package takes --built alone; see cargo xtask --help".into()),
    };
    let tarball = packer.pack(&dist)?;
    packer.test(&tarball, &browser::find_or_install()?)?;
    say(format!("the package is {}", tarball.display()));
    Ok(())
}

/// What makes the package, and tries it.
pub struct Packer {
    node: PathBuf,
    npm: PathBuf,
    compiler: PathBuf,
}

impl Packer {
    /// # Errors
    /// What of it this machine lacks.
    pub fn find() -> Result<Self> {
        let node = setup::node().ok_or(format!("no Node.js of version {}", setup::NODE))?;
        let npm = setup::npm().ok_or("no npm")?;
        Ok(Self { node, npm, compiler: setup::script_tools()?.join("typescript/bin/tsc") })
    }

    /// Lays the package out in the target folder, and returns it as one file.
    pub fn pack(&self, dist: &Path) -> Result<PathBuf> {
        say("the npm package");
        let folder = target_dir().join("package");
        let laid_out = folder.join("lorakeet");
        let mut make = scripts::script(&self.node, &root().join("api/make.js"), &[]);
        make.arg(dist).arg(&laid_out).arg(&self.compiler);
        run_command(make)?;
        let mut pack = command(&self.npm);
        pack.args(["pack", "--silent", "--pack-destination"]).arg(&folder).arg(&laid_out);
        let name = output(&mut pack).ok_or(format!("npm can't pack {}", laid_out.display()))?;
        Ok(folder.join(name))
    }

    /// Installs it into an empty project, and draws with it in the browser.
    pub fn test(&self, tarball: &Path, browser: &Browser) -> Result<()> {
        say("the npm package in an empty project");
        let mut test = scripts::node_test(&self.node, "tests/page/package")?;
        test.env("LORAKEET_PACKAGE", tarball)
            .env("LORAKEET_NPM", &self.npm)
            .env("LORAKEET_TSC", &self.compiler)
            .env("LORAKEET_CHROME", &browser.chrome);
        run_command(test)
    }
}

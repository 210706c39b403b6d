//! Browsers beside Chromium, for the test that says whether the page works in them.

use crate::setup;
use crate::shell::{Result, apt_install, command, is_executable, say, which};
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// What was found; a browser's test runs where its variables are there.
pub struct Others {
    /// For the tests.
    pub variables: Vec<(&'static str, OsString)>,
    /// Parts of their tests' names.
    pub tests: Vec<&'static str>,
    /// What WebKit's browser opens its window on, where a person has no screen; it has to stay.
    screen: Option<Screen>,
}

/// A screen that nobody sees; gone when dropped.
struct Screen {
    server: Child,
    display: String,
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Firefox and WebKit, as far as they are installed; with `install`, after trying to install them.
pub fn find(install: bool) -> Result<Others> {
    if install && (firefox().is_none() || webkit().is_none()) {
        apt_install(&["firefox-esr", "webkit2gtk-driver", "xvfb"])?;
    }
    let mut found = Others { variables: Vec::new(), tests: Vec::new(), screen: None };
    match (firefox(), setup::geckodriver(install)?) {
        (Some(firefox), Some(driver)) => {
            found.variables.push(("LORAKEET_FIREFOX", firefox.into()));
            found.variables.push(("LORAKEET_GECKODRIVER", driver.into()));
            found.tests.push("firefox");
        }
        (None, _) => say("no Firefox here (Debian's firefox-esr): its test is left out"),
        (_, None) => say("no geckodriver here: Firefox's test is left out; \
                          `cargo xtask test --browsers` installs it"),
    }
    match webkit() {
        Some((driver, browser)) => match screen() {
            Ok(screen) => {
                let display =
                    screen.as_ref().map(|screen| ("DISPLAY", screen.display.clone().into()));
                found.variables.extend(display);
                found.screen = screen;
                found.variables.push(("LORAKEET_WEBKITDRIVER", driver.into()));
                found.variables.push(("LORAKEET_MINIBROWSER", browser.into()));
                found.tests.push("webkit");
            }
            Err(reason) => say(format!("{reason}: WebKit's test is left out")),
        },
        None => say("no WebKit here (Debian's webkit2gtk-driver): its test is left out"),
    }
    Ok(found)
}

fn firefox() -> Option<PathBuf> {
    which(&["firefox-esr", "firefox"])
}

/// WebKitGTK's driver, and the small browser that comes with the library.
fn webkit() -> Option<(PathBuf, PathBuf)> {
    let driver = which(&["WebKitWebDriver"])?;
    let libraries = ["/usr/lib", "/usr/libexec", "/usr/lib64"].map(PathBuf::from);
    let folders = libraries.into_iter().flat_map(|folder| {
        let below = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(folder).chain(below).collect::<Vec<_>>()
    });
    let browser = folders
        .flat_map(|folder| {
            ["4.1", "4.0"].map(|api| folder.join(format!("webkit2gtk-{api}/MiniBrowser")))
        })
        .find(|place| is_executable(place))?;
    Some((driver, browser))
}

/// None where the person has a screen.
fn screen() -> Result<Option<Screen>> {
    if env::var_os("DISPLAY").is_some() || env::var_os("WAYLAND_DISPLAY").is_some() {
        return Ok(None);
    }
    let Some(server) = which(&["Xvfb"]) else {
        return Err("no screen and no Xvfb (Debian's xvfb)".into());
    };
    let mut server = command(server)
        .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("Xvfb: {error}"))?;
    let mut line = String::new();
    let output = server.stdout.take().ok_or("Xvfb has no output")?;
    let read = BufReader::new(output).read_line(&mut line);
    let number = line.trim();
    if read.is_err() || number.is_empty() {
        let _ = server.kill();
        return Err("Xvfb opened no screen".into());
    }
    Ok(Some(Screen { server, display: format!(":{number}") }))
}

//! Chromium and ChromeDriver, for the tests that run in a browser.

use crate::shell::{Result, apt_install, command, is_executable, output, say, version, which};
use std::env;
use std::path::PathBuf;

/// A browser and the program that drives it, of one major version.
pub struct Browser {
    pub chrome: PathBuf,
    pub driver: PathBuf,
}

const CHROME_NAMES: &[&str] =
    &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const CHROME_PLACES: &[&str] = &[
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
];

/// Finds Chromium and ChromeDriver, or installs them where apt-get may.
pub fn find_or_install() -> Result<Browser> {
    if let Some(browser) = find()? {
        return Ok(browser);
    }
    say("no Chromium with ChromeDriver here: trying apt-get");
    if apt_install(&["chromium", "chromium-driver"])?
        && let Some(browser) = find()?
    {
        return Ok(browser);
    }
    Err("the browser tests need Chromium (or Chrome) and ChromeDriver of the same version.\n  \
         on Debian: sudo apt-get install chromium chromium-driver\n  \
         elsewhere: https://googlechromelabs.github.io/chrome-for-testing/\n\
         They are looked for on PATH, or where the variables CHROME and CHROMEDRIVER say.\n\
         `cargo xtask test --native` runs the tests that need no browser"
        .into())
}

/// Opens the address in the person's browser, if there is a way to.
pub fn open(url: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    if let Err(e) = command(opener).arg(url).spawn() {
        say(format!("{opener}: {e}; open {url} by hand"));
    }
}

/// Chromium alone, for tests that drive it themselves.
pub fn chrome() -> Result<Option<PathBuf>> {
    let place = || CHROME_PLACES.iter().map(PathBuf::from).find(|place| is_executable(place));
    Ok(named("CHROME")?.or_else(|| which(CHROME_NAMES)).or_else(place))
}

fn find() -> Result<Option<Browser>> {
    let chrome = chrome()?;
    let driver = named("CHROMEDRIVER")?.or_else(|| which(&["chromedriver"]));
    let (Some(chrome), Some(driver)) = (chrome, driver) else { return Ok(None) };
    let ask = |program| output(command(program).arg("--version")).and_then(|v| version(&v));
    // Chrome prints no version on Windows; the driver itself will complain then.
    if let (Some(of_chrome), Some(of_driver)) = (ask(&chrome), ask(&driver))
        && of_chrome.first() != of_driver.first()
    {
        return Err(format!(
            "{} is of version {} and {} of version {}: install a pair of one version, or name \
             one by the variables CHROME and CHROMEDRIVER",
            chrome.display(),
            of_chrome[0],
            driver.display(),
            of_driver[0]
        ));
    }
    Ok(Some(Browser { chrome, driver }))
}

/// A program that an environment variable names.
fn named(variable: &str) -> Result<Option<PathBuf>> {
    match env::var_os(variable).map(PathBuf::from) {
        Some(path) if !is_executable(&path) => {
            Err(format!("{variable} is {}, which is no program", path.display()))
        }
        path => Ok(path),
    }
}

//! The tests: of the page's scripts, native, in the browser, and the real page end to end.

use crate::browser::{self, Browser};
use crate::others::{self, Others};
use crate::package::Packer;
use crate::setup::{self, Tools};
use crate::shell::{Result, cargo, root, run as run_command, say, target_dir};
use crate::{build, scripts, server};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Which tests to run, and what to hand on to each `cargo test`.
#[derive(Default)]
pub struct Options {
    page: bool,
    /// Where pictures of the page's states go.
    shots: Option<PathBuf>,
    native: bool,
    web: bool,
    e2e: bool,
    full: bool,
    /// Tests of `tests/long.rs` that are asked for.
    long: Vec<&'static str>,
    browsers: bool,
    /// The page as it lies in dist/.
    built: bool,
    args: Vec<String>,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Self> {
        let split = args.iter().position(|a| a == "--").unwrap_or(args.len());
        let mut options = Self::default();
        let mut words = args[..split].iter();
        while let Some(arg) = words.next() {
            match arg.as_str() {
                "--page" => options.page = true,
                "--shots" => {
                    let folder = words.next().ok_or("test: --shots needs a folder")?;
                    options.shots = Some(std::path::absolute(folder).map_err(|e| e.to_string())?);
                    options.page = true;
                }
                "--native" => options.native = true,
                "--web" => options.web = true,
                "--e2e" => options.e2e = true,
                "--full" => options.full = true,
                "--kill" => options.long.push("kill"),
                "--soak" => options.long.push("soak"),
                "--browsers" => options.browsers = true,
                "--built" => options.built = true,
                other => {
                    return Err(format!("test: unknown option `{other}`; see cargo xtask --help"));
                }
            }
        }
        options.args = args.iter().skip(split + 1).cloned().collect();
        let Self { page, native, web, e2e, full, browsers, .. } = options;
        let some = page || native || web || e2e || full || browsers;
        if !some && options.long.is_empty() {
            (options.page, options.native, options.web, options.e2e) = (true, true, true, true);
        }
        Ok(options)
    }

    fn dist(&self, tools: &Tools) -> Result<PathBuf> {
        if self.built { Ok(root().join("dist")) } else { build::page(tools) }
    }
}

/// Runs the tests. Those that are quick to start come first, what needs a browser after them.
pub fn run(options: &Options) -> Result<()> {
    if options.page {
        scripts::check(options.shots.as_deref())?;
    }
    if options.native {
        say("native tests");
        let mut test = cargo();
        run_command({
            test.args(["test", "--workspace"]).args(&options.args);
            test
        })?;
    }
    let through = options.e2e || options.browsers || !options.long.is_empty();
    if options.web || options.full || through {
        let tools = setup::page()?;
        let browser = browser::find_or_install()?;
        if options.web {
            say("tests in the browser");
            // A software GPU takes its time, the ignored test half an hour.
            in_browser("web", 3000, &tools, &browser, &options.args)?;
        }
        if through {
            page_tests(options, options.dist(&tools)?, &browser)?;
        }
        if options.full {
            full_size(options, &tools, &browser)?;
        }
    }
    say("all these tests passed");
    Ok(())
}

/// What is asked for of the tests that drive the built page, but for those of full size.
fn page_tests(options: &Options, dist: PathBuf, browser: &Browser) -> Result<()> {
    let args = &options.args;
    if options.e2e {
        say("end-to-end test of the page");
        let axe = setup::axe()?.unwrap_or_default();
        let more = vec![("LORAKEET_AXE", axe.into())];
        through_the_page("e2e", dist.clone(), browser, args, more)?;
        match Packer::find() {
            Ok(packer) => packer.test(&packer.pack(&dist)?, browser)?,
            Err(lacking) => say(format!("{lacking}: the npm package is neither made nor tested")),
        }
    }
    if options.browsers {
        other_browsers(&others::find(true)?, dist.clone(), browser)?;
    }
    for what in &options.long {
        say(format!("through the page, for long: {what}"));
        let args = [&[(*what).to_string()], args.as_slice()].concat();
        through_the_page("long", dist.clone(), browser, &args, Vec::new())?;
    }
    Ok(())
}

/// One file of `tests`, compiled to wasm, in headless Chromium; `limit` in seconds for all of it.
pub fn in_browser(
    name: &str,
    limit: u32,
    tools: &Tools,
    browser: &Browser,
    args: &[String],
) -> Result<()> {
    run_command(in_browser_command(name, limit, tools, browser, args)?)
}

/// The same, not yet started.
pub fn in_browser_command(
    name: &str,
    limit: u32,
    tools: &Tools,
    browser: &Browser,
    args: &[String],
) -> Result<Command> {
    let mut words: Vec<String> = ["test", "--test", name].map(String::from).to_vec();
    words.extend_from_slice(args);
    let mut test = tools.toolchain.cargo_for_page(&words)?;
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", tools.test_runner())
        .env("CHROMEDRIVER", &browser.driver)
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", capabilities(browser)?)
        // The runner's own limit is 20 seconds.
        .env("WASM_BINDGEN_TEST_TIMEOUT", limit.to_string())
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60");
    Ok(test)
}

/// A file of `tests` that drives the built page. It is told where everything is by these variables, and
/// is ignored in a plain `cargo test`, which has no page to offer.
fn through_the_page(
    name: &str,
    dist: PathBuf,
    browser: &Browser,
    args: &[String],
    more: Vec<(&str, OsString)>,
) -> Result<()> {
    let url = server::spawn(server::Site::new(dist))?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", name]).args(args);
    if !args.iter().any(|a| a == "--") {
        test.arg("--");
    }
    test.args(["--ignored", "--nocapture", "--test-threads=1"])
        .env("LORAKEET_URL", url)
        .env("LORAKEET_WEBDRIVER_JSON", capabilities(browser)?)
        .env("LORAKEET_FULL_SIZE", target_dir().join("full-size"))
        .env("CHROMEDRIVER", &browser.driver)
        .envs(more);
    run_command(test)
}

/// The page in the browsers that were found; a word where there are none.
fn other_browsers(found: &Others, dist: PathBuf, browser: &Browser) -> Result<()> {
    if found.tests.is_empty() {
        say("no other browser: the page was tested in Chromium alone");
        return Ok(());
    }
    say(format!("the page in other browsers: {}", found.tests.join(", ")));
    let names = found.tests.iter().map(|test| format!("browsers_{test}"));
    let args: Vec<String> = std::iter::once("--".into()).chain(names).collect();
    through_the_page("long", dist, browser, &args, found.variables.clone())
}

/// SD 1.5 at full size, of random weights: against PyTorch, natively and in the browser, and through
/// the page. What fails doesn't keep the rest from being measured. Tests begin with their file's word,
/// and a filter that does too spares the other files' builds.
fn full_size(options: &Options, tools: &Tools, browser: &Browser) -> Result<()> {
    let args = &options.args;
    let words = ["native", "web_", "page_"];
    let begins = |word: &str| args.iter().any(|arg| arg.starts_with(word));
    let asked = |word| begins(word) || !words.into_iter().any(begins);

    let mut native = Ok(());
    if asked("native") {
        say("full size, natively");
        let mut test = cargo();
        let tests = ["--test", "random_model", "--test", "training"];
        test.args(["test", "--workspace"]).args(tests).args(args);
        test.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
        native = run_command(test);
    }
    let mut web = Ok(());
    if asked("web_") {
        say("full size in the browser");
        let mut words = args.to_vec();
        words.extend(["--", "--include-ignored", "--nocapture"].map(String::from));
        web = in_browser("full_web", 2 * 3600, tools, browser, &words);
    }
    if !asked("page_") {
        return native.and(web);
    }
    let dist = options.dist(tools)?;
    say("full size through the page");
    let folder = target_dir().join("full-size");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    through_the_page("full", dist, browser, args, Vec::new()).and(native).and(web)
}

/// `webdriver.json` with the browser that was found, as a file in the target folder.
fn capabilities(browser: &Browser) -> Result<PathBuf> {
    let source = root().join("webdriver.json");
    let text =
        std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let options = "\"goog:chromeOptions\": {";
    if !text.contains(options) {
        return Err(format!("{}: no {options}", source.display()));
    }
    let chrome = browser.chrome.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let text = text.replacen(options, &format!("{options} \"binary\": \"{chrome}\","), 1);
    let file = target_dir().join("webdriver.json");
    std::fs::create_dir_all(target_dir())
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(file)
}

/// Hostile files through the readers, as many as are asked for; CI's tests have their own.
pub fn fuzz(args: &[String]) -> Result<()> {
    let count = match args {
        [] => "1000000",
        [split, count] if split == "--" && count.parse::<u64>().is_ok() => count,
        _ => return Err("fuzz: takes `-- N`, a number of files".into()),
    };
    say(format!("{count} hostile files"));
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "fuzz", "--", "--ignored", "--nocapture"]);
    test.env("LORAKEET_FUZZ", count);
    run_command(test)
}

/// What every change has to pass.
pub fn ci() -> Result<()> {
    say("formatting");
    let mut fmt = cargo();
    fmt.args(["fmt", "--all", "--check"]);
    run_command(fmt)?;

    say("clippy");
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    run_command(clippy)?;

    let tools = setup::page()?;
    if tools.toolchain.has_clippy() {
        say("clippy for the page");
        let words = "clippy --lib --test web --test bench_web --test full_web -- -D warnings";
        let words: Vec<String> = words.split(' ').map(String::from).collect();
        run_command(tools.toolchain.cargo_for_page(&words)?)?;
    } else {
        say("the page's compiler comes without clippy: skipped for wasm");
    }
    // Before the page's scripts are tested, which do without a browser where there is none.
    let browser = browser::find_or_install()?;
    run(&Options::parse(&[])?)?;
    let found = others::find(false)?;
    other_browsers(&found, root().join("dist"), &browser)
}

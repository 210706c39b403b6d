//! The page's scripts (`web/`): their types, the rules that they are held to, the tests of what needs no
//! browser, and those of the page as it lies, with an engine that is played. `tests/page` has all of it.

use crate::shell::{Result, command, root, run, say};
use crate::{browser, setup};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kinds of places that scripts run in: each has its own globals.
const KINDS: [&str; 3] = ["window", "worker", "service-worker"];

/// Types, rules, tests. What can't be had on this machine is said and left out. `shots`: a folder for pictures of
/// every state of the page.
pub fn check(shots: Option<&Path>) -> Result<()> {
    let Some(node) = setup::node() else {
        say(format!(
            "no Node.js of version {} or newer: the page's scripts are not checked, and the tests of \
             those without a page not run. To have it, install Node.js",
            setup::NODE
        ));
        return Ok(());
    };
    match setup::script_tools() {
        Ok(tools) => {
            types(&node, &tools)?;
            rules(&node, &tools)?;
        }
        Err(reason) => say(format!("{reason}; the page's types and rules are not checked")),
    }
    tests(&node)?;
    match browser::chrome()? {
        Some(chrome) => states(&node, &chrome, shots),
        None => {
            say("no Chromium here: the page's states are not tested");
            Ok(())
        }
    }
}

fn types(node: &Path, tools: &Path) -> Result<()> {
    say("types of the page's scripts");
    run(script(node, &root().join("tests/page/elements.js"), &[]))?;
    let compiler = tools.join("typescript/bin/tsc");
    for kind in KINDS {
        run(script(node, &compiler, &["--project", &format!("tests/page/{kind}.json")]))?;
    }
    Ok(())
}

fn rules(node: &Path, tools: &Path) -> Result<()> {
    say("rules of the page's scripts");
    let linter = tools.join("eslint/bin/eslint.js");
    let settings = ["--config", "tests/page/eslint.config.js", "--max-warnings", "0"];
    run(script(node, &linter, &[&settings[..], &["web", "api", "tests/page"]].concat()))
}

/// What has no document and no engine, in Node.js.
fn tests(node: &Path) -> Result<()> {
    say("tests of the page's scripts without a page");
    run(node_test(node, "tests/page")?)
}

/// Every state of the page as it lies, in the browser, with a played engine.
fn states(node: &Path, chrome: &Path, shots: Option<&Path>) -> Result<()> {
    say("states of the page, with a played engine");
    let mut test = node_test(node, "tests/page/stage")?;
    test.env("LORAKEET_CHROME", chrome);
    if let Some(folder) = shots {
        test.env("LORAKEET_SHOTS", folder);
    }
    run(test)
}

/// The tests of a folder. Each file has a process of its own, two at once: more would wait for each other's browsers.
pub fn node_test(node: &Path, folder: &str) -> Result<Command> {
    let place = root().join(folder);
    let entries = std::fs::read_dir(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".test.js"))
        .map(|name| PathBuf::from(folder).join(name))
        .collect();
    files.sort();
    let mut test = command(node);
    // web/ has no package.json to say that these are modules: they are found out, without a word
    test.args(["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", "--test-concurrency=2"]);
    test.args(files);
    Ok(test)
}

pub fn script(node: &Path, file: &Path, args: &[&str]) -> Command {
    let mut command = command(node);
    command.arg(file).args(args);
    command
}

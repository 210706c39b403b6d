//! The page's scripts (`web/`): their types, the rules that they are held to, and the tests of what
//! needs no browser. `tests/page` has the settings of all three.

use crate::setup;
use crate::shell::{Result, command, root, run, say};
use std::path::Path;
use std::process::Command;

/// The kinds of places that scripts run in: each has its own globals.
const KINDS: [&str; 3] = ["window", "worker", "service-worker"];

/// Types, rules, tests. What can't be had on this machine is said and left out.
pub fn check() -> Result<()> {
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
    tests(&node)
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
    run(script(node, &linter, &[&settings[..], &["web", "tests/page"]].concat()))
}

/// What has no document and no engine, in Node.js.
fn tests(node: &Path) -> Result<()> {
    say("tests of the page's scripts without a page");
    let folder = root().join("tests/page");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".test.js"))
        .map(|name| format!("tests/page/{name}"))
        .collect();
    files.sort();
    let mut test = command(node);
    // web/ has no package.json to say that these are modules: they are found out, without a word
    test.args(["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test"]).args(files);
    run(test)
}

fn script(node: &Path, file: &Path, args: &[&str]) -> Command {
    let mut command = command(node);
    command.arg(file).args(args);
    command
}

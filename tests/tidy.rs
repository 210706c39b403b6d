//! The boundaries of ARCHITECTURE.md as tests: which module may know which, who may name the
//! browser, and that what ships is complete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[allow(dead_code, reason = "the headers are for xtask")]
#[path = "../xtask/src/policy.rs"]
mod policy;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with one of these endings, as (path from the root, text).
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending)) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder}");
    found.sort();
    found
}

/// Without comments and strings: a doc comment may speak of anything.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The arrows between modules; there are no others. A new one is a decision to write down in
/// ARCHITECTURE.md, section 1.
const ARROWS: [(&str, &[&str]); 16] = [
    ("error", &[]),
    ("memory", &[]),
    ("image", &["error"]),
    ("noise", &["error"]),
    ("tokenizer", &["error"]),
    ("keys", &["error"]),
    ("schedulers", &["error"]),
    ("weights", &["error", "keys"]),
    ("kernels", &[]),
    ("layers", &["error", "weights", "kernels"]),
    ("models", &["error", "layers", "weights"]),
    ("adapters", &["error", "layers", "weights", "keys"]),
    (
        "pipelines",
        &[
            "error",
            "models",
            "layers",
            "schedulers",
            "adapters",
            "tokenizer",
            "image",
            "weights",
            "keys",
            "noise",
        ],
    ),
    (
        "training",
        &[
            "error",
            "memory",
            "kernels",
            "pipelines",
            "models",
            "layers",
            "schedulers",
            "adapters",
            "weights",
            "noise",
        ],
    ),
    (
        "web",
        &[
            "error",
            "memory",
            "pipelines",
            "training",
            "adapters",
            "models",
            "weights",
            "image",
            "layers",
            "kernels",
            "schedulers",
        ],
    ),
    ("lib", &[]),
];

#[test]
fn modules_know_only_what_the_arrows_allow() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into();
    let mut wrong = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        let module = path["src/".len()..].split(['/', '.']).next().unwrap().to_string();
        let allowed = arrows.get(module.as_str()).unwrap_or_else(|| panic!("{module}: no arrows"));
        for (at, _) in code(&text).match_indices("crate::") {
            let rest = &code(&text)[at + "crate::".len()..];
            let used: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{path}: {module} -> {used}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn only_src_web_knows_the_browser_and_only_it_waits() {
    let names =
        ["web_sys", "js_sys", "wasm_bindgen", "console_error_panic_hook", "async fn", ".await"];
    let wrong: Vec<String> = files("src", &[".rs"])
        .into_iter()
        .filter(|(path, _)| !path.starts_with("src/web/"))
        .flat_map(|(path, text)| {
            let code = code(&text);
            names
                .into_iter()
                .filter(move |name| code.contains(name))
                .map(move |name| format!("{path}: {name}"))
        })
        .collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn names_and_numbers_know_no_tensor() {
    for folder in ["src/keys", "src/schedulers", "src/weights"] {
        for (path, text) in files(folder, &[".rs"]) {
            assert!(!code(&text).contains("burn::"), "{path} names burn");
        }
    }
}

/// A long file has its reason written here.
#[test]
fn files_stay_readable() {
    let reasons: BTreeMap<&str, &str> = [
        ("src/models/unet_2d_condition.rs", "the config's checks and the network side by side"),
        ("web/train/trainer.js", "a run from its start to its end, in one place"),
    ]
    .into();
    for (path, text) in files("src", &[".rs"]).into_iter().chain(files("web", &[".js"])) {
        let lines = text.lines().count();
        assert!(lines <= 400 || reasons.contains_key(path.as_str()), "{path} has {lines} lines");
        assert!(lines <= 600, "{path} has {lines} lines");
    }
}

/// Only the controller talks to the engine and only the engine to the worker. (bench.html is a page
/// of its own, with workers of its own.)
#[test]
fn parts_of_the_page_emit_and_the_controller_wires() {
    for (path, text) in files("web", &[".js"]) {
        let code = code(&text);
        // Workers started in any other way don't run under the page's policy.
        assert_eq!(code.contains("new Worker("), path == "web/workers.js", "{path}");
        let may = [
            "web/engine.js",
            "web/module.js",
            "web/bench/worked.js",
            "web/library/library.js",
            "web/workers.js",
        ];
        let starts_worker = code.contains("startWorker(");
        assert_eq!(starts_worker, may.contains(&path.as_str()), "{path}");
        if path.starts_with("web/ui/") {
            for other in ["engine.js", "controller.js", "worker.js", "postMessage"] {
                assert!(!code.contains(other), "{path} names {other}");
            }
        }
    }
}

#[test]
fn the_page_ships_every_file_that_it_names() {
    let demo = std::fs::read_to_string(root().join("web/demo.js")).unwrap();
    let mut named = 0;
    for quoted in demo.split('"').skip(1).step_by(2) {
        let file = match quoted {
            _ if quoted.starts_with("demo-model/") || quoted.starts_with("clip-") => {
                format!("web/{quoted}")
            }
            _ if quoted.ends_with(".json") || quoted.ends_with(".safetensors") => {
                format!("web/demo-model/model/{quoted}")
            }
            _ => continue,
        };
        assert!(root().join(&file).is_file(), "{file}");
        named += 1;
    }
    assert!(named >= 14, "{named}");
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        assert!(root().join(file).is_file(), "{file}");
    }
}

/// What a visitor's browser may load: this page's own origin alone. (Whether the browser holds to it is tried
/// by tests/e2e/promise.rs.)
#[test]
fn nothing_leaves_the_tab() {
    for (page, policy) in [("index.html", policy::PAGE), ("bench.html", policy::BENCH)] {
        let page = std::fs::read_to_string(root().join(page)).unwrap();
        let said = page.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1);
        assert_eq!(said.and_then(|rest| rest.split('"').next()), Some(policy));
        let body = page.split_once("<body").unwrap().1;
        assert!(!body.contains("<script") && !body.contains(" style="), "nothing is inline");
    }
    for (path, text) in files("web", &[".js"]) {
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "srcdoc", "document.write"] {
            assert!(!code(&text).contains(sink), "{path}: {sink} makes markup of a text");
        }
    }
    // Hosts that a person may choose to download from, and how addresses of them look.
    let names_hosts = ["web/download/address.js", "web/download/known.js", "web/download/frame.js"];
    for (path, text) in files("web", &[".js", ".css"]) {
        for scheme in ["http://", "https://"] {
            let foreign = text.lines().find(|line| {
                line.contains(scheme)
                    && !line.trim_start().starts_with("//")
                    && !line.contains("www.w3.org")
            });
            assert!(
                foreign.is_none() || names_hosts.contains(&path.as_str()),
                "{path}: {foreign:?}"
            );
        }
        // The frame that downloads widens its own policy by the hosts chosen, and nothing else does.
        let widens = code(&text).contains("connect-src");
        assert_eq!(widens, path == "web/download/frame.js", "{path}");
    }
    let frame = std::fs::read_to_string(root().join("web/download/frame.html")).unwrap();
    assert!(frame.contains("script-src 'self';") && frame.contains("form-action 'none'"));
    assert!(!frame.contains("connect-src"), "a policy can be narrowed, and never widened");
}

//! The boundaries of ARCHITECTURE.md as tests: which module may know which, who may name the
//! browser, and that what ships is complete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[allow(dead_code, reason = "the headers are for xtask")]
#[path = "../xtask/src/policy.rs"]
mod policy;

#[path = "tidy/arrows.rs"]
mod arrows;

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
const ARROWS: [(&str, &[&str]); 18] = [
    ("error", &[]),
    ("memory", &[]),
    ("image", &["error"]),
    ("noise", &["error"]),
    ("linalg", &["noise"]),
    ("tokenizer", &["error"]),
    ("prompt", &["error", "tokenizer"]),
    ("keys", &["error"]),
    ("schedulers", &["error"]),
    ("weights", &["error", "keys"]),
    ("kernels", &[]),
    ("layers", &["error", "weights", "kernels"]),
    ("models", &["error", "layers", "weights"]),
    ("adapters", &["error", "layers", "weights", "keys", "linalg"]),
    (
        "pipelines",
        &[
            "error",
            "models",
            "layers",
            "schedulers",
            "adapters",
            "tokenizer",
            "prompt",
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
            "linalg",
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

fn arrows_between_files() -> arrows::Arrows {
    let files: Vec<(String, String)> =
        files("src", &[".rs"]).into_iter().map(|(path, text)| (path, code(&text))).collect();
    arrows::arrows(&files)
}

/// A reader who follows the arrows from any file comes to an end.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles = arrows::circles(&arrows_between_files());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn circles_are_found_behind_names_that_are_handed_on() {
    let file = |name: &str, code: &str| (format!("src/{name}"), code.to_string());
    let of = |files: &[(String, String)]| arrows::arrows(files);
    // b uses c by the name that their folder hands on, and c uses b.
    let mut made = vec![
        file("a/mod.rs", "mod b;\nmod c;\npub use c::{C, More as D};\n"),
        file("a/b.rs", "use super::D;\npub struct B;\n"),
        file("a/c.rs", "pub struct C;\npub struct More;\nfn f() { crate::a::b::B; }\n"),
        file("lib.rs", "pub mod a;\npub use a::C;\n"),
    ];
    let both = ["src/a/b.rs", "src/a/c.rs"].map(String::from);
    assert_eq!(arrows::circles(&of(&made)), [both.into()]);
    assert!(of(&made)["src/a/mod.rs"].is_empty(), "it only hands names on");
    // A file's tests and what stands in strings make no arrows.
    made[2].1 = "pub struct C;\npub struct More;\nconst S: &str = \"crate::a::b::B\";\n\
                 #[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}\n"
        .into();
    assert_eq!(arrows::circles(&of(&made)), []);
    // What a folder's own file defines is used there.
    made[0].1 += "pub struct Own;\nfn g() { b::B; }\n";
    made[1].1 = "use super::Own;\npub struct B;\n".into();
    assert_eq!(arrows::circles(&of(&made)).len(), 1);
}

/// The rooms of `src/training`: each may use those above it that are named here.
const ROOMS: [(&str, &[&str]); 10] = [
    ("settings", &[]),
    ("numbers", &[]),
    ("data", &["settings"]),
    ("trained", &["settings", "numbers"]),
    ("optim", &["settings"]),
    ("plan", &["settings", "data", "trained"]),
    ("step", &["settings", "numbers", "data", "trained"]),
    ("run", &["settings", "numbers", "data", "trained", "optim", "plan", "step"]),
    ("judge", &["settings", "data", "trained", "plan", "step", "run"]),
    ("export.rs", &["settings", "data", "trained", "step", "run"]),
];

#[test]
fn rooms_of_training_know_only_those_above_them() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.into();
    let room = |file: &str| {
        let inside = file.strip_prefix("src/training/").filter(|rest| *rest != "mod.rs");
        inside.map(|rest| rest.split('/').next().unwrap().to_string())
    };
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (file, used) in arrows_between_files() {
        let Some(from) = room(&file) else { continue };
        let allowed = rooms.get(from.as_str()).unwrap_or_else(|| panic!("{file}: no room"));
        for other in &used {
            let Some(to) = room(other).filter(|to| *to != from) else { continue };
            if !allowed.contains(&to.as_str()) {
                wrong.push(format!("{file} -> {other}"));
            }
            seen.insert((from.clone(), to));
        }
    }
    assert_eq!(wrong, [""; 0]);
    for (i, (from, allowed)) in ROOMS.iter().enumerate() {
        for to in *allowed {
            assert!(ROOMS[..i].iter().any(|(above, _)| above == to), "{from} -> {to} leads down");
            assert!(
                seen.contains(&(from.to_string(), to.to_string())),
                "nothing goes {from} -> {to}"
            );
        }
    }
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
    let reasons: BTreeMap<&str, &str> =
        [("src/models/unet_2d_condition.rs", "the config's checks and the network side by side")]
            .into();
    let scripts = files("web", &[".js"]).into_iter().chain(files("api", &[".js"]));
    for (path, text) in files("src", &[".rs"]).into_iter().chain(scripts) {
        let lines = text.lines().count();
        assert!(lines <= 400 || reasons.contains_key(path.as_str()), "{path} has {lines} lines");
        assert!(lines <= 600, "{path} has {lines} lines");
    }
}

/// A function that is longer than a screen has its reason written here.
#[test]
fn functions_stay_readable() {
    let reasons: BTreeMap<&str, &str> = [
        ("src/kernels/cpu/attention.rs: attention", "one pass over blocks that share many sums"),
        ("src/kernels/cpu/attention_gradients.rs: attention_gradients", "the same, backwards"),
        ("src/adapters/speed.rs: recipe", "a table, a row for each family"),
        ("src/weights/index.rs: read", "what a header is checked for, in the file's order"),
    ]
    .into();
    let mut long = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (first, line) in lines.iter().enumerate() {
            let inside = line.trim_start();
            let indent = &line[..line.len() - inside.len()];
            let words: Vec<&str> = inside.split([' ', '(', '<']).collect();
            let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
            let head = ["pub", "const", "async", "unsafe", "extern", "\"C\"", "super)", "crate)"];
            let begins = words[..at].iter().all(|word| head.contains(word));
            let end = format!("{indent}}}");
            let Some(length) = lines[first..].iter().position(|line| *line == end) else {
                continue;
            };
            if begins && length >= 80 {
                long.push((format!("{path}: {}", words[at + 1]), length + 1));
            }
        }
    }
    for (name, _) in &long {
        assert!(reasons.contains_key(name.as_str()), "{long:?}");
    }
    assert_eq!(long.len(), reasons.len(), "a reason that nothing needs: {long:?}");
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
            "web/decoder.js",
            "web/engine.js",
            "web/module.js",
            "web/bench/worked.js",
            "web/library/library.js",
            "web/sums.js",
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
    for (path, text) in files("web", &[".js"]).into_iter().chain(files("api", &[".js"])) {
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

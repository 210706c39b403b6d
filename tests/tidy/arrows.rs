//! Which file of `src` uses which, computed from `use` lines and paths in the code.
//!
//! A name that a module only hands on (`pub use`) leads to the file that defines it. Tests inside files
//! are left out: they may look at anything.

use std::collections::{BTreeMap, BTreeSet};

/// A file, and what it is as a module.
#[derive(Debug, Default)]
struct Module {
    file: String,
    /// Names of items that are defined in the file.
    items: BTreeSet<String>,
    /// Names that `use` brings in, each with its path from the crate's root.
    names: BTreeMap<String, Vec<String>>,
    /// Modules all of whose names are brought in.
    globs: Vec<Vec<String>>,
    /// Paths in the code, from the crate's root.
    paths: BTreeSet<Vec<String>>,
}

/// Arrows between files, by their paths.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The arrows between files, given as (path from the package's root, code without comments).
pub fn arrows(files: &[(String, String)]) -> Arrows {
    let paths: BTreeSet<Vec<String>> = files.iter().map(|(file, _)| module_path(file)).collect();
    let modules: BTreeMap<Vec<String>, Module> = files
        .iter()
        .map(|(file, code)| (module_path(file), read(file, &without_tests(code), &paths)))
        .collect();
    let mut arrows = Arrows::new();
    for module in modules.values() {
        let used = module.paths.iter().filter_map(|path| behind(&modules, path, 0));
        let others = used.filter(|file| *file != module.file).collect();
        arrows.insert(module.file.clone(), others);
    }
    arrows
}

/// Files that use each other in a circle, each group once.
pub fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(file) = left.pop() {
            for next in arrows.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        arrows.keys().map(|file| (file, reach(file))).collect();
    let mut groups = BTreeSet::new();
    for (&file, far) in &reached {
        if far.contains(file) {
            let back = |other: &&String| reached.get(*other).is_some_and(|far| far.contains(file));
            groups.insert(far.iter().filter(back).cloned().collect());
        }
    }
    groups.into_iter().collect()
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(String::from).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

/// The code up to the file's tests, without what stands in strings.
fn without_tests(code: &str) -> String {
    let at = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    let code = code[..at].replace("'\"'", "' '").replace("\\\\", "").replace("\\\"", "");
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

fn read(file: &str, code: &str, modules: &BTreeSet<Vec<String>>) -> Module {
    let here = module_path(file);
    let mut module = Module { file: file.into(), ..Module::default() };
    let words = words(code);
    let mut rest = String::new();
    let mut uses = Vec::new();
    for statement in code.split_inclusive(';') {
        // What comes before a `use` is attributes, braces, other code.
        match find_use(statement) {
            Some(at) => {
                rest.push_str(&statement[..at]);
                let tree = statement[at + "use ".len()..].trim_end_matches(';');
                let public = statement[..at].trim_end().rsplit('\n').next().unwrap_or("");
                let public = public.trim_start().starts_with("pub");
                uses.push((tree.split_whitespace().collect::<Vec<_>>().join(" "), public));
            }
            None => rest.push_str(statement),
        }
    }
    for pair in words.windows(2) {
        let defines =
            ["struct", "enum", "fn", "trait", "type", "const", "static", "union", "macro_rules"];
        if defines.contains(&pair[0].as_str()) {
            module.items.insert(pair[1].clone());
        }
    }
    let mut found = Vec::new();
    for (tree, public) in &uses {
        expand(tree, &[], &mut |path, name| found.push((path, name, *public)));
    }
    let inside: BTreeSet<String> = self::words(&rest).into_iter().collect();
    for (path, name, public) in found {
        let Some(path) = absolute(&here, &path, modules) else { continue };
        if name == "*" {
            module.globs.push(path.clone());
            module.paths.insert(path);
            continue;
        }
        // A module is used where a path goes through it.
        let is_module = modules.contains(&path);
        if !is_module && (!public || inside.contains(&name)) {
            module.paths.insert(path.clone());
        }
        module.names.insert(name, path);
    }
    for path in paths(&rest) {
        let path = match module.names.get(&path[0]) {
            Some(start) => start.iter().chain(&path[1..]).cloned().collect(),
            None => match absolute(&here, &path, modules) {
                Some(path) => path,
                None => continue,
            },
        };
        module.paths.insert(path);
    }
    module
}

/// Where a statement's `use` begins.
fn find_use(statement: &str) -> Option<usize> {
    let at = statement.rfind("use ")?;
    let before = statement[..at].chars().next_back();
    before.is_none_or(char::is_whitespace).then_some(at)
}

/// A tree such as `a::{b, c as d}` as paths with the names that they have here.
fn expand(tree: &str, start: &[String], found: &mut dyn FnMut(Vec<String>, String)) {
    let tree = tree.trim();
    let (head, rest) = match tree.split_once('{') {
        Some((head, rest)) => (head, rest.strip_suffix('}')),
        None => (tree, None),
    };
    let (head, alias) = match head.split_once(" as ") {
        Some((head, alias)) => (head, Some(alias.trim())),
        None => (head, None),
    };
    let mut path = start.to_vec();
    path.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(String::from));
    if let Some(rest) = rest {
        let mut depth = 0;
        let mut from = 0;
        for (at, letter) in rest.char_indices().chain([(rest.len(), ',')]) {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let part = rest[from..at].trim();
                    if !part.is_empty() {
                        expand(part, &path, found);
                    }
                    from = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    let name = path.last().cloned().unwrap_or_default();
    found(path, alias.map_or(name, String::from));
}

/// A path from the crate's root; none: it leads out of the crate.
fn absolute(
    here: &[String],
    path: &[String],
    modules: &BTreeSet<Vec<String>>,
) -> Option<Vec<String>> {
    let mut at = here.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        child => {
            at.push(child.into());
            if !modules.contains(&at) {
                return None;
            }
            rest = &rest[1..];
        }
    }
    at.extend(rest.iter().cloned());
    Some(at)
}

/// The file that defines what a path leads to.
fn behind(
    modules: &BTreeMap<Vec<String>, Module>,
    path: &[String],
    depth: usize,
) -> Option<String> {
    let mut at = 0;
    while at < path.len() && modules.contains_key(&path[..=at]) {
        at += 1;
    }
    let module = modules.get(&path[..at])?;
    let Some(name) = path.get(at) else { return Some(module.file.clone()) };
    if module.items.contains(name) || depth > 8 {
        return Some(module.file.clone());
    }
    let onwards = |start: &Vec<String>| {
        let path: Vec<String> = start.iter().chain(&path[at + 1..]).cloned().collect();
        behind(modules, &path, depth + 1)
    };
    if let Some(start) = module.names.get(name) {
        return onwards(start);
    }
    for glob in &module.globs {
        let there = modules.get(glob);
        if there.is_some_and(|there| there.items.contains(name) || there.names.contains_key(name)) {
            return onwards(&glob.iter().chain([name]).cloned().collect());
        }
    }
    Some(module.file.clone())
}

fn words(code: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(|c| !word(c)).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// Every path of two or more names in the code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c| !word(c))
        .filter(|path| path.contains("::") && !path.starts_with("::"))
        .map(|path| path.split("::").filter(|part| !part.is_empty()).map(String::from).collect())
        .filter(|path: &Vec<String>| path.len() > 1)
        .collect()
}

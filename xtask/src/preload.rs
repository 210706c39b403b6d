//! Tells the browser of the page's modules at once, which otherwise finds each one only in what imports it.

use crate::shell::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const MAIN: &str = "web/main.js";

/// Writes a link for each module into the built page, before the first one. Workers' modules aren't among
/// them, nor is the wasm: a worker fetches anew what its page has preloaded, where the host doesn't say
/// how long a file may be kept.
pub fn write(dist: &Path) -> Result<()> {
    let page = dist.join("index.html");
    let failed = |e: std::io::Error| format!("{}: {e}", page.display());
    let html = fs::read_to_string(&page).map_err(failed)?;
    let first = format!("  <script type=\"module\" src=\"{MAIN}\"></script>");
    if !html.contains(&first) {
        return Err(format!("{}: no `{first}`", page.display()));
    }
    let mut found = BTreeSet::new();
    modules(dist, MAIN, &mut found)?;
    found.remove(MAIN);
    let link = |path: &String| format!("  <link rel=\"modulepreload\" href=\"{path}\">\n");
    let links: String = found.iter().map(link).collect();
    fs::write(&page, html.replacen(&first, &(links + &first), 1)).map_err(failed)
}

/// A module and all that it imports, by paths in `dist`.
fn modules(dist: &Path, path: &str, found: &mut BTreeSet<String>) -> Result<()> {
    if !found.insert(path.to_string()) {
        return Ok(());
    }
    let text = fs::read_to_string(dist.join(path)).map_err(|e| format!("{path}: {e}"))?;
    for imported in text.lines().filter_map(imported) {
        modules(dist, &beside(path, imported), found)?;
    }
    Ok(())
}

/// What a line imports: `import "./a.js";`, or the last line of `import { a } from "./a.js";`.
fn imported(line: &str) -> Option<&str> {
    let (before, rest) = line.strip_suffix("\";")?.rsplit_once('"')?;
    (before == "import " || before.ends_with(" from ")).then_some(rest)
}

/// `./b.js` or `../b.js` seen from a module.
fn beside(module: &str, address: &str) -> String {
    let mut parts: Vec<&str> = module.split('/').collect();
    parts.pop();
    for part in address.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_s_imports_are_found_however_they_are_written() {
        for (line, wanted) in [
            ("import { a } from \"./a.js\";", Some("./a.js")),
            ("import * as a from \"../b/a.js\";", Some("../b/a.js")),
            ("} from \"./a.js\";", Some("./a.js")),
            ("import \"./a.js\";", Some("./a.js")),
            ("export { a } from \"./a.js\";", Some("./a.js")),
            ("  const wasm = await import(\"./a.js\");", None),
            ("/** @type {import(\"./a.js\").A} */", None),
            ("say(\"from a.js\");", None),
        ] {
            assert_eq!(imported(line), wanted, "{line}");
        }
        assert_eq!(beside("web/ui/a.js", "../b.js"), "web/b.js");
        assert_eq!(beside("web/main.js", "./ui/b.js"), "web/ui/b.js");
    }

    #[test]
    fn the_page_s_own_modules_are_all_found() {
        let mut found = BTreeSet::new();
        modules(&crate::shell::root(), MAIN, &mut found).unwrap();
        for module in ["web/controller.js", "web/ui/tabs.js", "web/library/library.js"] {
            assert!(found.contains(module), "{module}: {found:?}");
        }
        assert!(!found.contains("web/worker.js"), "a worker's");
    }
}

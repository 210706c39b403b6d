//! The list of the page's files in its service worker (`web/service-worker.js`): by it a browser tells
//! one build from another, and whether what a host hands out is all of one build.

use crate::shell::Result;
use std::fs;
use std::path::Path;

/// In the folder of the built page.
pub const SCRIPT: &str = "service-worker.js";

/// Where the list goes.
const PLACE: &str = "const FILES = null;";

/// What not everybody needs: a browser keeps it from its first use on.
const LATE: [&str; 1] = [crate::split::PART];

/// Writes the list of all files in `dist` into its service worker.
pub fn stamp(dist: &Path) -> Result<()> {
    let script = dist.join(SCRIPT);
    let failed = |e: std::io::Error| format!("{}: {e}", script.display());
    let text = fs::read_to_string(&script).map_err(failed)?;
    if !text.contains(PLACE) {
        return Err(format!("{}: no `{PLACE}`", script.display()));
    }
    let mut files = Vec::new();
    list(dist, "", &mut files)?;
    files.sort();
    let entry = |(path, bytes, sum): &(String, usize, u32)| {
        let late = if LATE.contains(&path.as_str()) { ", true" } else { "" };
        format!("{path:?}: [{bytes}, {sum}{late}]")
    };
    let entries: Vec<String> = files.iter().map(entry).collect();
    let list = format!("const FILES = {{\n  {},\n}};", entries.join(",\n  "));
    fs::write(&script, text.replace(PLACE, &list)).map_err(failed)
}

/// Every file below a folder that a page may ask for, as path, bytes and sum.
fn list(folder: &Path, prefix: &str, files: &mut Vec<(String, usize, u32)>) -> Result<()> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|n| format!("{n:?} is no name"))?;
        let path = format!("{prefix}{name}");
        if name.starts_with('.') || name == SCRIPT {
            continue;
        }
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{path}/"), files)?;
        } else {
            let bytes = fs::read(entry.path()).map_err(failed)?;
            files.push((path, bytes.len(), sum(&bytes)));
        }
    }
    Ok(())
}

/// FNV-1a in 32 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>); the service worker has it too.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |state, &byte| (state ^ u32::from(byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_gets_every_file_but_itself() {
        let dist = std::env::temp_dir().join(format!("lorakeet-version-{}", std::process::id()));
        fs::create_dir_all(dist.join("web/deep")).unwrap();
        fs::create_dir_all(dist.join(".stage")).unwrap();
        fs::write(dist.join(SCRIPT), format!("before\n{PLACE}\nafter\n")).unwrap();
        fs::write(dist.join("index.html"), "foobar").unwrap();
        fs::write(dist.join("web/deep/a.js"), "").unwrap();
        fs::write(dist.join("lorakeet_gpu.wasm"), "").unwrap();
        fs::write(dist.join(".stage/b.js"), "1").unwrap();
        stamp(&dist).unwrap();
        // Known answers of FNV-1a.
        let wanted = "before\nconst FILES = {\n  \"index.html\": [6, 3214735720],\n  \
                      \"lorakeet_gpu.wasm\": [0, 2166136261, true],\n  \
                      \"web/deep/a.js\": [0, 2166136261],\n};\nafter\n";
        assert_eq!(fs::read_to_string(dist.join(SCRIPT)).unwrap(), wanted);
        assert!(stamp(&dist).is_err(), "it has its list already");
        fs::remove_dir_all(dist).unwrap();
    }
}

//! What makes the built page one build: the list of its files in its service worker
//! (`web/service-worker.js`), by which a browser tells one build from another, and whether what a host hands
//! out is all of one build; and the marks and headers that go with it.

use crate::shell::Result;
use crate::{policy, preload};
use std::fs;
use std::path::Path;

/// In the folder of the built page.
pub const SCRIPT: &str = "service-worker.js";

/// What a build writes into scripts: the list, the headers, the mark, and that there is a service worker.
const FILES: &str = "const FILES = null;";
const HEADERS: &str = "const HEADERS = null;";
const BUILD: &str = "const BUILD = \"\";";
const BUILT: &str = "const BUILT = false;";

const VISITS: &str = "web/visits.js";
const DOCUMENTS: [&str; 3] = ["index.html", "bench.html", "web/download/frame.html"];

/// What not everybody needs: a browser keeps it from its first use on.
const LATE: [&str; 1] = [crate::split::PART];

/// Writes into the scripts and documents in `dist` what makes them one build.
pub fn stamp(dist: &Path) -> Result<()> {
    replace(&dist.join(VISITS), &[(BUILT, "const BUILT = true;".into())])?;
    preload::write(dist)?;
    let mark = format!("lorakeet-{:08x}", sum(files_of(dist)?.as_bytes()));
    for document in DOCUMENTS {
        let end = "</head>";
        let meta = format!("  <meta name=\"build\" content=\"{mark}\">\n{end}");
        replace(&dist.join(document), &[(end, meta)])?;
    }
    let stamps = [
        (FILES, format!("const FILES = {};", files_of(dist)?)),
        (HEADERS, format!("const HEADERS = {};", headers())),
        (BUILD, format!("const BUILD = {mark:?};")),
    ];
    replace(&dist.join(SCRIPT), &stamps)
}

/// Replaces what stands once in a file.
fn replace(file: &Path, stamps: &[(&str, String)]) -> Result<()> {
    let failed = |e: std::io::Error| format!("{}: {e}", file.display());
    let mut text = fs::read_to_string(file).map_err(failed)?;
    for (place, stamp) in stamps {
        if text.matches(place).count() != 1 {
            return Err(format!("{}: `{place}` doesn't stand there once", file.display()));
        }
        text = text.replace(place, stamp);
    }
    fs::write(file, text).map_err(failed)
}

/// The headers of files that have their own, and under "" everybody else's, as a script writes them.
fn headers() -> String {
    let object = |path: &str| {
        let lines = policy::headers(path);
        let lines: Vec<String> =
            lines.iter().map(|(name, value)| format!("    {name:?}: {value:?}")).collect();
        format!("  {path:?}: {{\n{},\n  }}", lines.join(",\n"))
    };
    let objects: Vec<String> =
        policy::SPECIAL.iter().chain(&[""]).map(|path| object(path)).collect();
    format!("{{\n{},\n}}", objects.join(",\n"))
}

/// All files in `dist` as a script writes them.
fn files_of(dist: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(dist, "", &mut files)?;
    files.sort();
    let entry = |(path, bytes, sum): &(String, usize, u32)| {
        let late = if LATE.contains(&path.as_str()) { ", true" } else { "" };
        format!("{path:?}: [{bytes}, {sum}{late}]")
    };
    let entries: Vec<String> = files.iter().map(entry).collect();
    Ok(format!("{{\n  {},\n}}", entries.join(",\n  ")))
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
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |state, &byte| (state ^ u32::from(byte)).wrapping_mul(16_777_619))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_by_its_files_and_its_documents_by_its_mark() {
        let dist = std::env::temp_dir().join(format!("lorakeet-version-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let file = dist.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let read = |path: &str| fs::read_to_string(dist.join(path)).unwrap();
        put(SCRIPT, &format!("before\n{FILES}\n{HEADERS}\n{BUILD}\nafter\n"));
        put(VISITS, &format!("{BUILT}\n"));
        put(
            "index.html",
            "<head>\n  <script type=\"module\" src=\"web/main.js\"></script>\n</head>",
        );
        put("bench.html", "<head>\n</head>");
        put("web/download/frame.html", "<head>\n</head>");
        put("web/main.js", "import { deep } from \"./deep/a.js\";\n");
        put("web/deep/a.js", "");
        put("lorakeet_gpu.wasm", "foobar");
        put(".stage/b.js", "1");
        stamp(&dist).unwrap();

        let script = read(SCRIPT);
        assert!(script.starts_with("before\nconst FILES = {\n  \"bench.html\": ["), "{script}");
        // Known answers of FNV-1a.
        assert!(script.contains("\n  \"lorakeet_gpu.wasm\": [6, 3214735720, true],\n"), "{script}");
        assert!(script.contains("\n  \"web/deep/a.js\": [0, 2166136261],\n"), "{script}");
        assert!(!script.contains("stage") && !script.contains(&format!("{SCRIPT:?}")), "{script}");
        assert!(
            script.contains("\"Content-Security-Policy\": \"frame-ancestors 'self'\""),
            "{script}"
        );
        let index = read("index.html");
        let entry = format!("\"index.html\": [{}, {}]", index.len(), sum(index.as_bytes()));
        assert!(script.contains(&entry), "as it is handed out: {script}");

        let mark = script.split("const BUILD = \"").nth(1).unwrap().split('"').next().unwrap();
        assert!(mark.starts_with("lorakeet-") && mark.len() == 17, "{mark}");
        for document in DOCUMENTS {
            assert!(read(document).contains(&format!("content=\"{mark}\"")), "{document}");
        }
        assert!(index.contains("href=\"web/deep/a.js\""), "{index}");
        assert_eq!(read(VISITS), "const BUILT = true;\n");
        assert!(stamp(&dist).is_err(), "it has its list already");
        fs::remove_dir_all(dist).unwrap();
    }
}

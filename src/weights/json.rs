//! The small JSON files of a model's folder.

use std::rc::Rc;

use serde_json::Value;

use super::Source;
use crate::error::{Error, Result};

/// Reads a JSON object. Python writes infinities as bare words (`"lambda_min_clipped": -Infinity`, in
/// every DPM-Solver's config), which is no JSON: they read as null, which stands for a field's default.
///
/// # Errors
/// Text that is no JSON object.
pub(super) fn read_json(source: &Rc<dyn Source>) -> Result<Value> {
    let damaged = |problem: String| {
        Error::file(
            source.name(),
            problem,
            "Download the file again; a config is a small JSON file",
        )
    };
    let bytes = source.read_all()?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("isn't text (UTF-8)".into()))?;
    let value: Value = serde_json::from_str(&without_infinities(&text))
        .map_err(|error| damaged(format!("isn't JSON ({error})")))?;
    if value.is_object() { Ok(value) } else { Err(damaged("isn't a JSON object".into())) }
}

/// Replaces the bare words `Infinity`, `-Infinity` and `NaN` outside strings by `null`.
fn without_infinities(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|w| rest.starts_with(w));
        let length = match (in_string, word) {
            (false, Some(word)) => {
                out.push_str("null");
                word.len()
            }
            // An escaped character never ends a string.
            (true, _) if c == '\\' => {
                let escaped = rest.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&rest[..escaped]);
                escaped
            }
            _ => {
                in_string ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

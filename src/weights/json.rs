//! The small JSON files that lie beside weights.

use std::rc::Rc;

use serde_json::Value;

use super::{Source, text};
use crate::error::{Error, Result};

/// Reads a file that holds a JSON object.
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
    let text = text::unicode(&source.read_all()?);
    let text = text.ok_or_else(|| damaged("isn't text (UTF-8 or UTF-16)".into()))?;
    let value = parse_json(&text).map_err(|error| damaged(format!("isn't JSON ({error})")))?;
    if value.is_object() { Ok(value) } else { Err(damaged("isn't a JSON object".into())) }
}

/// Parses JSON as tools in Python write it: with infinities as bare words (`"lambda_min_clipped":
/// -Infinity`, in every DPM-Solver's config), which is no JSON. They read as null, which stands for a
/// field's default. A byte order mark is passed over.
///
/// # Errors
/// serde's, where it is no JSON.
pub fn parse_json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&without_infinities(text.trim_start_matches('\u{FEFF}')))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_are_null_and_strings_stay() {
        let text =
            r#"\u{FEFF}{"a": -Infinity, "b": [NaN, Infinity], "c": "NaN \" -Infinity", "é": 1}"#;
        let text = text.replace(r"\u{FEFF}", "\u{FEFF}");
        let expected = serde_json::json!({
            "a": null, "b": [null, null], "c": "NaN \" -Infinity", "é": 1,
        });
        assert_eq!(parse_json(&text).unwrap(), expected);
        assert!(parse_json("{\"a\": Infinit}").is_err());
    }
}

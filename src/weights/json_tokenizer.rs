//! The `tokenizer.json` that newer versions of transformers write.

use std::rc::Rc;

use super::Source;
use super::json::read_json;
use crate::error::{Error, Result};

/// The vocabulary and the merges of a `tokenizer.json`, in the form of the two older files. Merges
/// are pairs, or (before tokenizers 0.20) pairs joined by a space.
pub(super) fn split_tokenizer(source: &Rc<dyn Source>) -> Result<(Vec<u8>, Vec<u8>)> {
    let json = read_json(source)?;
    let damaged = |key: &str| {
        Error::key(
            source.name(),
            key,
            "isn't that of a CLIP tokenizer (BPE)",
            "Put vocab.json and merges.txt into the tokenizer's folder",
        )
    };
    let vocab = json["model"]["vocab"].as_object().ok_or_else(|| damaged("model.vocab"))?;
    let vocab = serde_json::to_vec(vocab).map_err(|_| damaged("model.vocab"))?;
    let list = json["model"]["merges"].as_array().ok_or_else(|| damaged("model.merges"))?;
    let mut merges = String::from("#version: 0.2\n");
    for merge in list {
        match (merge.as_str(), merge[0].as_str(), merge[1].as_str()) {
            (Some(joined), _, _) => merges.push_str(joined),
            (None, Some(left), Some(right)) => {
                merges.push_str(left);
                merges.push(' ');
                merges.push_str(right);
            }
            _ => return Err(damaged("model.merges")),
        }
        merges.push('\n');
    }
    Ok((vocab, merges.into_bytes()))
}

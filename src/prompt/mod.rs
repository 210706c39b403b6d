//! What a prompt's signs mean: weights of words, chunks of 75 tokens, texts that change while a picture is
//! drawn, tags of adapters. AUTOMATIC1111's rules, for which shared prompts are written.
//!
//! A prompt is read in this order: comments and tags are taken out ([`read`]), a [`Timeline`] tells the text
//! of each model call, [`weights::parse`] cuts a text into words with weights, [`chunks`] makes rows of
//! tokens of them.

mod chunks;
mod count;
mod editing;
mod notes;
mod tags;
pub mod weights;
mod words;

pub use chunks::{Chunk, MOST_CHUNKS, chunks};
pub use count::TokenCount;
pub use editing::{Calls, Timeline};
pub use tags::{Network, Tag, without_networks};
pub use words::{FIRST_ID, Word, Words, unknown};

/// How weights act on what the text encoder gives (A1111's `emphasis`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emphasis {
    /// Multiplied, and the chunk's mean restored.
    #[default]
    Original,
    /// Multiplied.
    NoNorm,
    /// The difference from the empty prompt's, multiplied (ComfyUI).
    ComfyUi,
    /// Read and not used: all weights are 1.
    Ignore,
    /// Brackets are text.
    None,
}

impl Emphasis {
    /// The words of a text with their weights, as far as these are used.
    pub fn parts(self, text: &str) -> Vec<weights::Part> {
        match self {
            Self::None => weights::plain(text),
            _ => weights::parse(text),
        }
    }
}

/// A prompt without what is no text of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What is left: editing and weights are still in it.
    pub text: String,
    /// The tags that were taken out, in order.
    pub tags: Vec<Tag>,
    /// What may be read otherwise than it was meant, as sentences.
    pub notes: Vec<String>,
}

/// Takes comments (`#` to the end of its line) and tags (`<lora:name:0.8>`) out of a prompt for a picture of
/// `steps` steps.
pub fn read(prompt: &str, steps: impl Into<Calls>) -> Read {
    let (text, comment) = without_comments(prompt);
    let (text, tags) = tags::take(&text);
    let notes = notes::notes(&text, comment.as_deref(), &tags, steps.into());
    Read { text, tags, notes }
}

/// The text, and the first comment.
fn without_comments(prompt: &str) -> (String, Option<String>) {
    let Some(at) = prompt.find('#') else {
        return (prompt.into(), None);
    };
    let comment = prompt[at..].lines().next().map(String::from);
    let kept = prompt.split('\n').map(|line| line.split('#').next().unwrap_or(""));
    (kept.collect::<Vec<_>>().join("\n"), comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_with_their_lines() {
        let read = read("a cat # of mine\n# only this\non a mat", 20);
        assert_eq!(read.text, "a cat \n\non a mat");
        assert!(read.notes[0].contains("`# of mine`"), "{:?}", read.notes);
        assert_eq!(super::read("a cat", 20).notes, [""; 0]);
    }
}

//! How long a prompt is, as A1111's counter shows it (`modules/ui.py`, `update_token_counter`).

use super::chunks::{MOST_CHUNKS, room, rows};
use super::{Emphasis, Timeline, Words, read};
use crate::error::Result;
use crate::tokenizer::ClipTokenizer;

/// Tokens of a prompt, beside the room for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TokenCount {
    /// Of the longest of its texts: 75 for each chunk but the last, and the last one's. Of a prompt that is
    /// too long, as far as it was read.
    pub tokens: usize,
    /// In the chunks that they take.
    pub room: usize,
    /// What a prompt may have at most.
    pub most: usize,
}

impl TokenCount {
    /// That of a prompt for a picture of `steps` steps.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub fn of(
        tokenizer: &ClipTokenizer,
        words: &Words,
        prompt: &str,
        steps: usize,
        emphasis: Emphasis,
    ) -> Result<Self> {
        let each = room(tokenizer);
        let mut tokens = 0;
        for (_, text) in &Timeline::new(&read(prompt, steps).text, steps).entries {
            let rows = rows(tokenizer, words, &emphasis.parts(text))?;
            tokens = tokens.max(rows.iter().map(|row| row.counted).sum());
        }
        let room = tokens.next_multiple_of(each).max(each);
        Ok(Self { tokens, room, most: MOST_CHUNKS * each })
    }
}

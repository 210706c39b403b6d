//! Rows of tokens for the text encoder, which takes 77 at a time: start, 75 of the text, end. A longer text
//! has several rows, whose outputs come one after the other. A1111's `sd_hijack_clip.tokenize_line`.

use super::weights::Part;
use super::words::{Piece, Word, Words, pieces};
use crate::error::{Error, Result};
use crate::tokenizer::ClipTokenizer;

/// How many rows a text may have: 600 tokens. Attention to a prompt grows with it.
pub const MOST_CHUNKS: usize = 8;

/// A chunk ends after a comma that has at most this many tokens after it (A1111's
/// `comma_padding_backtrack`).
const BACKTRACK: usize = 20;

/// A row, filled up.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Start token, the text's, end token, padding.
    pub ids: Vec<u32>,
    /// One a token: 1 but for the text's own.
    pub weights: Vec<f64>,
    /// What A1111's counter counts for it: 75 for one that is closed, the last one's tokens.
    pub counted: usize,
}

impl Chunk {
    /// Whether any weight isn't 1.
    pub fn is_weighted(&self) -> bool {
        self.weights.iter().any(|weight| *weight != 1.0)
    }
}

/// The rows of a text, at least one. Ids of [`Words`] stand for their vectors.
///
/// # Errors
/// Names the prompt where it has more than [`MOST_CHUNKS`] of them.
pub fn chunks(tokenizer: &ClipTokenizer, words: &Words, parts: &[Part]) -> Result<Vec<Chunk>> {
    let rows = rows(tokenizer, words, parts)?;
    if rows.len() > MOST_CHUNKS {
        let most = MOST_CHUNKS * room(tokenizer);
        let problem = format!("is longer than {most} tokens, which is what is read of one");
        return Err(Error::setting("prompt", problem, "Shorten it"));
    }
    Ok(rows)
}

/// Tokens of text in a row.
pub(super) fn room(tokenizer: &ClipTokenizer) -> usize {
    tokenizer.max_length() - 2
}

/// The rows of a text, up to one more than may be.
pub(super) fn rows(tokenizer: &ClipTokenizer, words: &Words, parts: &[Part]) -> Result<Vec<Chunk>> {
    let mut rows = Rows {
        tokenizer,
        comma: tokenizer.tokens(",")?.first().copied(),
        done: Vec::new(),
        row: Vec::new(),
        last_comma: None,
    };
    for part in parts {
        match part {
            Part::Break => rows.close(rows.row.len(), rows.room()),
            // Each by itself: the edge of a weight splits a word.
            Part::Text(text, weight) => {
                for piece in pieces(text, words) {
                    match piece {
                        Piece::Text(text) => {
                            rows.read(&tokenizer.tokens(text)?, words, *weight);
                        }
                        Piece::Word(word) => rows.embed(word, *weight),
                    }
                }
            }
        }
        if rows.done.len() > MOST_CHUNKS {
            break;
        }
    }
    if !rows.row.is_empty() || rows.done.is_empty() {
        let tokens = rows.row.len();
        rows.close(tokens, tokens);
    }
    Ok(rows.done)
}

struct Rows<'a> {
    tokenizer: &'a ClipTokenizer,
    comma: Option<u32>,
    done: Vec<Chunk>,
    row: Vec<(u32, f64)>,
    /// Its place in the row.
    last_comma: Option<usize>,
}

impl Rows<'_> {
    fn room(&self) -> usize {
        room(self.tokenizer)
    }

    /// Tokens of a text, and the words in them.
    fn read(&mut self, tokens: &[u32], words: &Words, weight: f64) {
        let mut rest = tokens;
        while let [id, after @ ..] = rest {
            self.make_room(*id);
            if let Some(word) = words.at(rest) {
                self.embed(word, weight);
                rest = &rest[word.tokens.len()..];
            } else {
                self.row.push((*id, weight));
                rest = after;
            }
        }
    }

    /// A word's vectors stay together.
    fn embed(&mut self, word: &Word, weight: f64) {
        let room = self.room();
        if self.row.len() + word.ids.len() > room {
            self.close(self.row.len(), room);
        }
        self.row.extend(word.ids.clone().map(|id| (id, weight)));
    }

    /// For the next token, which may be a comma.
    fn make_room(&mut self, id: u32) {
        let room = self.room();
        if Some(id) == self.comma {
            self.last_comma = Some(self.row.len());
        } else if self.row.len() == room
            && let Some(comma) = self.last_comma
            && room - comma <= BACKTRACK
        {
            self.close(comma + 1, room);
        }
        if self.row.len() == room {
            self.close(room, room);
        }
    }

    /// Ends a row after this many tokens; the rest begins the next one, without its commas.
    fn close(&mut self, tokens: usize, counted: usize) {
        let rest = self.row.split_off(tokens);
        let (ids, weights) = std::mem::replace(&mut self.row, rest).into_iter().unzip();
        self.last_comma = None;
        let ids: Vec<u32> = ids;
        let mut around = vec![1.0];
        around.extend::<Vec<f64>>(weights);
        around.resize(self.tokenizer.max_length(), 1.0);
        self.done.push(Chunk { ids: self.tokenizer.filled(&ids), weights: around, counted });
    }
}

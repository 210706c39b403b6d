//! Words that embeddings teach (textual inversion): where a prompt has one, the text encoder takes vectors
//! in place of its token table's rows. A1111's `textual_inversion.py`.

use std::ops::Range;

/// Ids from here on stand for vectors of embeddings: no vocabulary comes near.
pub const FIRST_ID: u32 = 1 << 24;

/// A word that an embedding teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As its file is called, or as the file calls it.
    pub name: String,
    /// What the tokenizer makes of the name: where a text has these, it has the word.
    pub tokens: Vec<u32>,
    /// One for each of its vectors.
    pub ids: Range<u32>,
}

/// All words that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(Vec<Word>);

impl Words {
    /// Adds one, in place of an older one of the same tokens.
    pub fn add(&mut self, word: Word) {
        self.0.retain(|known| known.tokens != word.tokens);
        self.0.push(word);
    }

    /// The longest word that a text's tokens begin with.
    pub fn at(&self, tokens: &[u32]) -> Option<&Word> {
        let begins = |word: &&Word| !word.tokens.is_empty() && tokens.starts_with(&word.tokens);
        self.0.iter().filter(begins).max_by_key(|word| word.tokens.len())
    }

    /// The one that ComfyUI's `embedding:name` asks for: without its folder, with or without its ending.
    pub fn named(&self, name: &str) -> Option<&Word> {
        let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
        let is_it = |word: &&Word| [file, stem].iter().any(|n| word.name.eq_ignore_ascii_case(n));
        self.0.iter().find(is_it)
    }
}

const ENDINGS: [&str; 3] = [".safetensors", ".pt", ".bin"];
const MARK: &str = "embedding:";

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Word(&'a Word),
}

/// A text cut at each `embedding:name` whose name is known. Such a name ends at a blank, and commas at its
/// end are text (ComfyUI's `sd1_clip.py`).
pub(super) fn pieces<'a>(text: &'a str, words: &'a Words) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for (from, name) in asked(text) {
        let at = from - (text.len() - rest.len());
        if let Some(word) = words.named(name) {
            pieces.extend([Piece::Text(&rest[..at]), Piece::Word(word)]);
            rest = &rest[at + MARK.len() + name.len()..];
        }
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()));
    pieces
}

/// The names that a text asks for with `embedding:`, and where that begins.
fn asked(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices(MARK).filter_map(|(at, _)| {
        let begins = text[..at].chars().next_back().is_none_or(char::is_whitespace);
        let name = text[at + MARK.len()..].split(char::is_whitespace).next()?;
        let name = name.trim_end_matches(',');
        (begins && !name.is_empty()).then_some((at, name))
    })
}

/// A note on the first name that a text asks for and nothing teaches.
pub fn unknown(text: &str, words: &Words) -> Option<String> {
    // Brackets are cut off before a text is read.
    let parts = text.split(['(', ')', '[', ']', '|']);
    let name = parts.flat_map(asked).map(|(_, name)| name.split(':').next().unwrap_or(name));
    let missing = name.filter(|name| words.named(name).is_none()).min_by_key(|name| name.len())?;
    Some(format!(
        "`{MARK}{missing}` is read as plain words: there is no embedding of this name. Add its file"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let mut words = Words::default();
        for (i, (name, tokens)) in [("style", vec![7]), ("style red", vec![7, 8]), ("one", vec![9])]
            .into_iter()
            .enumerate()
        {
            let first = FIRST_ID + 10 * i as u32;
            words.add(Word { name: name.into(), tokens, ids: first..first + 2 });
        }
        words
    }

    #[test]
    fn the_longest_word_counts_and_a_newer_one_takes_its_place() {
        let mut words = words();
        assert_eq!(words.at(&[7, 8, 1]).unwrap().name, "style red");
        assert_eq!(words.at(&[7, 1]).unwrap().name, "style");
        assert_eq!(words.at(&[1, 7]), None);
        words.add(Word { name: "Style".into(), tokens: vec![7], ids: 0..1 });
        assert_eq!(words.at(&[7]).unwrap().name, "Style");
    }

    #[test]
    fn names_are_asked_for_as_comfyui_does() {
        let words = words();
        let cut = |text| {
            let names = |piece: &Piece| match piece {
                Piece::Text(text) => (*text).to_string(),
                Piece::Word(word) => format!("<{}>", word.name),
            };
            pieces(text, &words).iter().map(names).collect::<Vec<_>>()
        };
        assert_eq!(cut("a cat"), ["a cat"]);
        assert_eq!(cut("a embedding:style, b"), ["a ", "<style>", ", b"]);
        assert_eq!(cut("embedding:dir/One.safetensors embedding:one"), ["<one>", "<one>"]);
        assert_eq!(
            cut("an embedding:nobody and notembedding:one"),
            ["an embedding:nobody and notembedding:one"]
        );
        assert_eq!(cut("embedding: x"), ["embedding: x"]);
        assert_eq!(unknown("bad, (embedding:style:1.2)", &words), None);
        assert!(unknown("(embedding:nobody:1.2)", &words).unwrap().contains("`embedding:nobody`"));
        assert_eq!(unknown("a cat", &words), None);
    }
}

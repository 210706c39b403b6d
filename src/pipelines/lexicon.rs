//! The words that a model's embeddings teach its text encoder, and the vectors behind their ids.

use crate::adapters::Embedding;
use crate::error::Result;
use crate::prompt::{FIRST_ID, Word, Words};
use crate::tokenizer::ClipTokenizer;

/// Those of every attached file, in the order in which they came.
#[derive(Debug)]
pub(super) struct Lexicon {
    entries: Vec<Entry>,
    /// Ids are never given again: encoded prompts are known by them.
    next: u32,
}

#[derive(Debug)]
struct Entry {
    adapter: u64,
    on: bool,
    /// One for each of its names, of the same ids.
    words: Vec<Word>,
    embedding: Embedding,
}

impl Default for Lexicon {
    fn default() -> Self {
        Self { entries: Vec::new(), next: FIRST_ID }
    }
}

impl Lexicon {
    /// Adds an adapter's embeddings, switched on. Gives those names that are ordinary words, of which a
    /// prompt may have one without meaning it.
    ///
    /// # Errors
    /// Where the tokenizer fails on a name; nothing is added then.
    pub(super) fn add(
        &mut self,
        adapter: u64,
        embeddings: Vec<Embedding>,
        tokenizer: &ClipTokenizer,
    ) -> Result<Vec<String>> {
        let (mut entries, mut ordinary) = (Vec::new(), Vec::new());
        let mut next = self.next;
        for embedding in embeddings {
            let ids = next..next + embedding.vectors() as u32;
            next = ids.end;
            let mut words = Vec::new();
            for name in &embedding.names {
                let (name, tokens) = (name.clone(), tokenizer.tokens(name)?);
                if tokens.len() == 1 {
                    ordinary.push(name.clone());
                }
                words.push(Word { name, tokens, ids: ids.clone() });
            }
            entries.push(Entry { adapter, on: true, words, embedding });
        }
        self.next = next;
        self.entries.extend(entries);
        Ok(ordinary)
    }

    /// Switches an adapter's words.
    pub(super) fn set(&mut self, adapter: u64, on: bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.adapter == adapter) {
            entry.on = on;
        }
    }

    pub(super) fn remove(&mut self, adapter: u64) {
        self.entries.retain(|entry| entry.adapter != adapter);
    }

    /// Those that are switched on.
    pub(super) fn words(&self) -> Words {
        let mut words = Words::default();
        let on = self.entries.iter().filter(|entry| entry.on);
        on.flat_map(|entry| entry.words.iter().cloned()).for_each(|word| words.add(word));
        words
    }

    /// What a text encoder, the first or the second, takes for an id.
    pub(super) fn vector(&self, encoder: usize, id: u32) -> Option<&[f32]> {
        let has = |entry: &&Entry| entry.words.first().is_some_and(|word| word.ids.contains(&id));
        let entry = self.entries.iter().find(has)?;
        let (values, width) = entry.embedding.of(encoder)?;
        let at = (id - entry.words.first()?.ids.start) as usize * width;
        values.get(at..at + width)
    }
}

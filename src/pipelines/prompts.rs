//! Prompts that were encoded. Moving an adapter's slider starts a picture anew, most often of the same
//! prompt and with a text encoder that computes as before: there is nothing to encode then.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::error::Result;
use crate::layers::Site;
use crate::models::TextStates;

/// How many are kept of each text encoder: a prompt and its negative at a few strengths of an adapter that
/// trained it. 0.5 MB each for SD 1.5.
const KEPT: usize = 8;

/// What the text encoder's output depends on besides its weights.
#[derive(Debug, PartialEq)]
struct Key {
    /// Which of the model's text encoders.
    encoder: usize,
    ids: Vec<Vec<u32>>,
    /// Layers that were left out.
    skipped: usize,
    /// The text encoder's adapters that count, with their strengths' bits. Numbers of adapters are
    /// never given again, and an adapter's factors never change.
    adapters: BTreeMap<u64, u32>,
}

/// The last few, oldest first.
#[derive(Debug, Default)]
pub(super) struct Prompts(RefCell<Vec<(Key, TextStates)>>);

impl Prompts {
    /// The states of these rows of tokens: those kept, or what `encode` makes of them, without the last
    /// `skipped` layers. `sites` are the text encoder's.
    pub(super) fn get(
        &self,
        encoder: usize,
        ids: &[Vec<u32>],
        skipped: usize,
        sites: &[Site],
        encode: impl FnOnce() -> Result<TextStates>,
    ) -> Result<TextStates> {
        let mut adapters = BTreeMap::new();
        for site in sites {
            for branch in site.slot.branches().iter() {
                let strength = branch.strength.get();
                if strength != 0.0 {
                    adapters.insert(branch.adapter, strength.to_bits());
                }
            }
        }
        let key = Key { encoder, ids: ids.to_vec(), skipped, adapters };
        let found = self.0.borrow().iter().position(|(known, _)| *known == key);
        let states = match found {
            // Used last, it goes last.
            Some(at) => self.0.borrow_mut().remove(at).1,
            None => encode()?,
        };
        let mut kept = self.0.borrow_mut();
        kept.push((key, states.clone()));
        let of_it = |(key, _): &(Key, TextStates)| key.encoder == encoder;
        let mut surplus = kept.iter().filter(|kept| of_it(kept)).count().saturating_sub(KEPT);
        kept.retain(|kept| {
            let goes = surplus > 0 && of_it(kept);
            surplus -= usize::from(goes);
            !goes
        });
        Ok(states)
    }
}

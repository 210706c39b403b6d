//! The tokenizers of a model's text encoders: its files' own, or CLIP's.

use crate::error::{Error, Result};
use crate::tokenizer::{ClipTokenizer, TokenizerFiles};
use crate::weights::Checkpoint;

/// Number of `!` in every CLIP vocabulary, which fills up what SDXL's second text encoder reads.
const SECOND_PAD: u32 = 0;

/// That of SDXL's second text encoder: the checkpoint's own, or that of the first with another padding.
/// Where no file says so `!` stays an ordinary sign: as ComfyUI and A1111 read prompts, and unlike
/// diffusers, whose second tokenizer looks for its padding in the text.
pub(super) fn second_tokenizer(
    checkpoint: &Checkpoint,
    clip_merges: Option<&[u8]>,
) -> Result<ClipTokenizer> {
    match &checkpoint.tokenizer_2 {
        Some(files) if files.config.is_some() || files.special_tokens.is_some() => own(files),
        Some(files) => Ok(own(files)?.padded_with(SECOND_PAD)),
        None => Ok(tokenizer(checkpoint, clip_merges)?.padded_with(SECOND_PAD)),
    }
}

/// A tokenizer of a checkpoint's files.
fn own(files: &crate::weights::TokenizerFiles) -> Result<ClipTokenizer> {
    let text = |json: &Option<serde_json::Value>| json.as_ref().map(ToString::to_string);
    let (config, special) = (text(&files.config), text(&files.special_tokens));
    ClipTokenizer::new(TokenizerFiles {
        vocab: &files.vocab,
        merges: &files.merges,
        config: config.as_deref().map(str::as_bytes),
        special_tokens_map: special.as_deref().map(str::as_bytes),
    })
}

/// The checkpoint's own tokenizer, or CLIP's.
pub(super) fn tokenizer(
    checkpoint: &Checkpoint,
    clip_merges: Option<&[u8]>,
) -> Result<ClipTokenizer> {
    match (&checkpoint.tokenizer, clip_merges) {
        (Some(files), _) => own(files),
        (None, Some(merges)) => ClipTokenizer::from_merges(merges, checkpoint.family.pad_token()),
        (None, None) => Err(Error::file(
            &checkpoint.name,
            "brings no tokenizer",
            "Give CLIP's merges.txt along with it",
        )),
    }
}

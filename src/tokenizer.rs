//! CLIP's tokenizer: prompt text to token ids, exactly as transformers' `CLIPTokenizer` does it
//! (`tokenization_clip.py` of transformers 5).

use std::collections::HashMap;

use serde::Deserialize;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer,
    SplitDelimiterBehavior, TokenizerImpl,
};

use crate::error::{Error, Result};

/// A prompt as the text encoder takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Start token, the text's tokens, end token, padding: always `max_length` ids.
    pub ids: Vec<u32>,
    /// The end of the text, as written, whose tokens did not fit.
    pub truncated: Option<String>,
}

/// The text that a model's tokenizer folder holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    /// `vocab.json`: an object of tokens and ids.
    pub vocab: &'a [u8],
    /// `merges.txt`: one merge a line, the most frequent first.
    pub merges: &'a [u8],
    /// `tokenizer_config.json`, where there is one: special tokens, `model_max_length`.
    pub config: Option<&'a [u8]>,
    /// `special_tokens_map.json`, where there is one: its tokens win over the config's.
    pub special_tokens_map: Option<&'a [u8]>,
}

/// Byte-level BPE on lower-cased text, with CLIP's way of splitting words.
pub struct ClipTokenizer {
    bpe: TokenizerImpl<BPE, ClipNormalizer, ClipPreTokenizer, ByteLevel, ByteLevel>,
    start: u32,
    end: u32,
    pad: u32,
    max_length: usize,
}

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// The positions of every CLIP text encoder in Stable Diffusion.
const MAX_LENGTH: usize = 77;

const VOCAB_FILE: &str = "vocab.json";
const MERGES_FILE: &str = "merges.txt";
const REMEDY: &str = "Take the tokenizer folder of a diffusers model as it is";

impl ClipTokenizer {
    /// A model's own tokenizer.
    ///
    /// # Errors
    /// Names the file and the token or line: text that can't be parsed, merges of tokens that the
    /// vocabulary lacks, special tokens that it lacks.
    pub fn new(files: TokenizerFiles) -> Result<Self> {
        let vocab: HashMap<String, u32> = serde_json::from_slice(files.vocab).map_err(|e| {
            Error::file(VOCAB_FILE, format!("not an object of tokens and ids: {e}"), REMEDY)
        })?;
        let config = match files.config {
            Some(json) => parse("tokenizer_config.json", json)?,
            None => Config::default(),
        };
        let special = match files.special_tokens_map {
            Some(json) => parse("special_tokens_map.json", json)?,
            None => Config::default(),
        };
        Self::build(vocab.into_iter().collect(), merges(files.merges)?, config.with(special))
    }

    /// The tokenizer of SD 1 and 2 (OpenAI's CLIP ViT-L/14), whose vocabulary follows from its merges:
    /// the 256 bytes, the same at a word's end, the merges in order, the two special tokens
    /// (`simple_tokenizer.py` in <https://github.com/openai/CLIP>). `pad` fills prompts up: the end
    /// token in SD 1, `!` in SD 2. For single-file checkpoints, which bring no tokenizer.
    ///
    /// # Errors
    /// As [`ClipTokenizer::new`].
    pub fn from_merges(merges_txt: &[u8], pad: &str) -> Result<Self> {
        let merges = merges(merges_txt)?;
        let bytes = byte_characters();
        let tokens = (bytes.iter().map(char::to_string))
            .chain(bytes.iter().map(|c| format!("{c}</w>")))
            .chain(merges.iter().map(|(a, b)| format!("{a}{b}")))
            .chain([START.to_string(), END.to_string()]);
        let vocab = tokens.zip(0..).collect();
        // SD 1.5's tokenizer_config.json, and SD 2's but for its padding.
        let config = Config {
            bos_token: Some(SpecialToken::Full(AddedTokenConfig::normalized(START))),
            eos_token: Some(SpecialToken::Full(AddedTokenConfig::normalized(END))),
            unk_token: Some(SpecialToken::Full(AddedTokenConfig::normalized(END))),
            pad_token: Some(SpecialToken::Plain(pad.to_string())),
            ..Config::default()
        };
        Self::build(vocab, merges, config)
    }

    fn build(vocab: Vocab, merges: Merges, config: Config) -> Result<Self> {
        let unknown = config.unk_token.as_ref().map_or(END, SpecialToken::content).to_string();
        let id = |field: &str, token: &Option<SpecialToken>, default: &str| {
            let token = token.as_ref().map_or(default, SpecialToken::content);
            vocab.get(token).copied().ok_or_else(|| {
                let problem = format!("the {field} {token} is not in the vocabulary");
                Error::key(VOCAB_FILE, token, problem, REMEDY)
            })
        };
        let start = id("bos_token", &config.bos_token, START)?;
        let end = id("eos_token", &config.eos_token, END)?;
        let pad = id("pad_token", &config.pad_token, END)?;
        id("unk_token", &config.unk_token, END)?;

        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .unk_token(unknown)
            .end_of_word_suffix("</w>".to_string())
            .continuing_subword_prefix(String::new())
            .build()
            .map_err(|e| Error::file(MERGES_FILE, e.to_string(), REMEDY))?;
        let mut bpe = TokenizerImpl::new(model);
        bpe.with_normalizer(Some(ClipNormalizer::new()?));
        bpe.with_pre_tokenizer(Some(ClipPreTokenizer::new()?));
        bpe.add_special_tokens(&config.added_tokens());
        let max_length = match config.model_max_length {
            // transformers writes 1e30 for "no limit".
            Some(length) if (3.0..=1e4).contains(&length) => length as usize,
            _ => MAX_LENGTH,
        };
        Ok(Self { bpe, start, end, pad, max_length })
    }

    /// Fills prompts up with this id, which isn't looked for in texts as a pad token is (`!` in SD 2's).
    pub fn padded_with(mut self, pad: u32) -> Self {
        self.pad = pad;
        self
    }

    /// Lets it give at most this many ids: a text encoder has only so many positions, whatever the
    /// tokenizer's files say.
    pub fn at_most(mut self, positions: usize) -> Self {
        self.max_length = self.max_length.min(positions.max(2));
        self
    }

    /// How many ids [`ClipTokenizer::encode`] gives: `model_max_length`, 77 where the files don't
    /// say.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The ids of `text`, cut or padded to [`ClipTokenizer::max_length`].
    ///
    /// # Errors
    /// Text on which the splitting of words fails.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        let encoding = self.split(text)?;
        let tokens = encoding.get_ids();
        let fit = tokens.len().min(self.max_length - 2);
        let ids = self.filled(&tokens[..fit]);
        let truncated = encoding.get_offsets().get(fit).map(|&(from, _)| {
            let from = (0..=from.min(text.len())).rev().find(|&i| text.is_char_boundary(i));
            text[from.unwrap_or(0)..].trim().to_string()
        });
        Ok(Encoding { ids, truncated })
    }

    /// The ids of `text` alone, however many.
    ///
    /// # Errors
    /// Text on which the splitting of words fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.split(text)?.get_ids().to_vec())
    }

    /// A row for the text encoder: start token, these ids, end token, padding. As many ids as fit, two fewer
    /// than [`ClipTokenizer::max_length`], are taken.
    pub fn filled(&self, ids: &[u32]) -> Vec<u32> {
        let mut row = Vec::with_capacity(self.max_length);
        row.push(self.start);
        row.extend(ids.iter().take(self.max_length - 2));
        row.push(self.end);
        row.resize(self.max_length, self.pad);
        row
    }

    fn split(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.bpe.encode(text, false).map_err(|e| {
            Error::setting("prompt", format!("can't be split into tokens: {e}"), "Change the text")
        })
    }
}

/// `merges.txt`: pairs of tokens, after an optional version line.
fn merges(text: &[u8]) -> Result<Merges> {
    let text = std::str::from_utf8(text)
        .map_err(|e| Error::file(MERGES_FILE, format!("not UTF-8 text: {e}"), REMEDY))?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|(i, line)| {
            let mut parts = line.trim_end().split(' ');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(a), Some(b), None) => Ok((a.to_string(), b.to_string())),
                _ => Err(Error::key(
                    MERGES_FILE,
                    format!("line {}", i + 1),
                    format!("`{line}` is not two tokens with a space between"),
                    REMEDY,
                )),
            }
        })
        .collect()
}

/// The visible character that stands for each byte, in the order of the vocabulary: the printable
/// ones of Latin-1 for themselves, the others from U+0100 on (`bytes_to_unicode` of GPT-2).
fn byte_characters() -> Vec<char> {
    let printable: Vec<u8> = (b'!'..=b'~').chain(0xa1..=0xac).chain(0xae..=0xff).collect();
    let others = (0..=255u8).filter(|byte| !printable.contains(byte)).count() as u32;
    let others = (0x100..0x100 + others).filter_map(char::from_u32);
    printable.iter().copied().map(char::from).chain(others).collect()
}

fn parse(file: &str, json: &[u8]) -> Result<Config> {
    serde_json::from_slice(json).map_err(|e| Error::file(file, e.to_string(), REMEDY))
}

/// The fields of `tokenizer_config.json` and `special_tokens_map.json` that matter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<HashMap<u32, AddedTokenConfig>>,
}

/// A token by name alone or with its flags.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Plain(String),
    Full(AddedTokenConfig),
}

impl SpecialToken {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) => content,
            Self::Full(token) => &token.content,
        }
    }
}

/// How a special token is found in the text.
#[derive(Debug, Clone, Deserialize)]
struct AddedTokenConfig {
    content: String,
    /// Looked for in the lower-cased text, not in the text as written.
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

impl AddedTokenConfig {
    fn plain(content: &str) -> Self {
        let content = content.to_string();
        Self { content, normalized: false, single_word: false, lstrip: false, rstrip: false }
    }

    fn normalized(content: &str) -> Self {
        Self { normalized: true, ..Self::plain(content) }
    }
}

impl Config {
    /// With the special tokens of `special_tokens_map.json`, which transformers reads only beside
    /// configs without `added_tokens_decoder`.
    fn with(self, map: Self) -> Self {
        if self.added_tokens_decoder.is_some() {
            return self;
        }
        Self {
            bos_token: map.bos_token.or(self.bos_token),
            eos_token: map.eos_token.or(self.eos_token),
            unk_token: map.unk_token.or(self.unk_token),
            pad_token: map.pad_token.or(self.pad_token),
            ..self
        }
    }

    /// The special tokens to look for in a text, in transformers' order of precedence: one that
    /// comes as a plain name is looked for in the text as written, and of several entries for one
    /// token the last counts, where one form does not replace itself.
    fn added_tokens(&self) -> Vec<AddedToken> {
        let mut listed: Vec<(u32, AddedTokenConfig)> =
            self.added_tokens_decoder.iter().flatten().map(|(&id, t)| (id, t.clone())).collect();
        listed.sort_by_key(|(id, _)| *id);
        let mut tokens: Vec<AddedTokenConfig> = listed.into_iter().map(|(_, t)| t).collect();
        let known = tokens.len();

        let plain = |content: &str| SpecialToken::Plain(content.to_string());
        let special = [
            self.bos_token.clone().unwrap_or_else(|| plain(START)),
            self.eos_token.clone().unwrap_or_else(|| plain(END)),
            self.unk_token.clone().unwrap_or_else(|| plain(END)),
            self.pad_token.clone().unwrap_or_else(|| plain(END)),
        ];
        for (i, token) in special.iter().enumerate() {
            let again = special[..i].iter().any(|earlier| {
                std::mem::discriminant(earlier) == std::mem::discriminant(token)
                    && earlier.content() == token.content()
            });
            if !again && tokens[..known].iter().all(|t| t.content != token.content()) {
                tokens.push(match token {
                    SpecialToken::Plain(content) => AddedTokenConfig::plain(content),
                    SpecialToken::Full(token) => token.clone(),
                });
            }
        }

        let last_of_each = tokens.iter().enumerate().filter(|(i, token)| {
            tokens[i + 1..].iter().all(|later| later.content != token.content)
        });
        last_of_each
            .map(|(_, token)| {
                AddedToken::from(token.content.clone(), true)
                    .normalized(token.normalized)
                    .single_word(token.single_word)
                    .lstrip(token.lstrip)
                    .rstrip(token.rstrip)
            })
            .collect()
    }
}

/// NFC, runs of white space to one space, lower case.
struct ClipNormalizer {
    spaces: Replace,
}

/// The error for one of our own patterns that the regex engine refuses.
fn pattern_error(e: tokenizers::Error) -> Error {
    Error::file("tokenizer", format!("pattern refused: {e}"), "Report this as a bug of Lorakeet")
}

impl ClipNormalizer {
    fn new() -> Result<Self> {
        let pattern = ReplacePattern::Regex(r"\s+".to_string());
        Ok(Self { spaces: Replace::new(pattern, " ").map_err(pattern_error)? })
    }
}

impl Normalizer for ClipNormalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        text.nfc();
        self.spaces.normalize(text)?;
        text.lowercase();
        Ok(())
    }
}

/// Splits into words, single digits and runs of other signs, then bytes into their characters.
struct ClipPreTokenizer {
    words: Split,
    bytes: ByteLevel,
}

impl ClipPreTokenizer {
    fn new() -> Result<Self> {
        let pattern = concat!(
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d",
            r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
        );
        let pattern = SplitPattern::Regex(pattern.to_string());
        let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true);
        Ok(Self { words: words.map_err(pattern_error)?, bytes: ByteLevel::new(false, true, true) })
    }
}

impl PreTokenizer for ClipPreTokenizer {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.words.pre_tokenize(text)?;
        self.bytes.pre_tokenize(text)
    }
}

//! Tags of networks in a prompt: `<lora:name:te:unet>`. A1111's `extra_networks.py` and
//! `extra_networks_lora.py`.

/// `<kind:part:part>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// `lora`, `lyco`, `hypernet`, or whatever stands there.
    pub kind: String,
    /// What follows, between its colons.
    pub parts: Vec<String>,
    /// As it stands in the prompt.
    pub written: String,
}

/// An adapter, as a tag asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The file's name without its ending, or the name that its metadata gives it.
    pub name: String,
    /// Strength for the text encoder.
    pub text_encoder: f64,
    /// Strength for the UNet.
    pub unet: f64,
    /// Factors of blocks, as sd-webui-lora-block-weight writes them: a list or a preset's name.
    pub blocks: Option<String>,
    /// The first step that it acts in, and the first in which it no longer does, from 1.
    pub steps: [Option<String>; 2],
}

impl Tag {
    /// The adapter that it asks for: `None` where it is no adapter's tag, or a strength is no number.
    ///
    /// The first strength is the text encoder's, and both without a second; `te=` and `unet=` name them,
    /// `lbw=`, `start=`, `stop=` and `step=3-8` spread them over blocks and steps.
    pub fn network(&self) -> Option<Network> {
        if !["lora", "lyco"].contains(&self.kind.as_str()) {
            return None;
        }
        let (name, strengths) = self.parts.split_first()?;
        let named = |key: &str| {
            strengths.iter().rev().find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        let mut placed = strengths.iter().filter(|part| !part.contains('=')).map(String::as_str);
        let (first, second) = (placed.next(), placed.next());
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
        let text_encoder = match named("te").or(first) {
            Some(text) => number(text)?,
            None => 1.0,
        };
        let unet = match named("unet").or(second) {
            Some(text) => number(text)?,
            None => text_encoder,
        };
        let owned = |key| named(key).map(String::from);
        let mut steps = [owned("start"), owned("stop")];
        if let Some((start, stop)) = named("step").and_then(|steps| steps.split_once('-')) {
            steps = [start, stop].map(|step| Some(step.to_string()));
        }
        Some(Network { name: name.clone(), text_encoder, unet, blocks: owned("lbw"), steps })
    }
}

/// A prompt without its tags, whose blanks stay, and the tags.
pub(super) fn take(prompt: &str) -> (String, Vec<Tag>) {
    let mut tags = Vec::new();
    let text = without(prompt, |tag, _| {
        tags.push(tag);
        true
    });
    (text, tags)
}

/// A prompt without the tags of those adapters that are `meant`; none of a comment is.
pub fn without_networks(prompt: &str, mut meant: impl FnMut(&Network) -> bool) -> String {
    without(prompt, |tag, before| {
        let line = before.rsplit('\n').next().unwrap_or(before);
        !line.contains('#') && tag.network().is_some_and(|network| meant(&network))
    })
}

/// A prompt without the tags that `goes` says yes to: it is told of each tag, and what is before it.
fn without(prompt: &str, mut goes: impl FnMut(Tag, &str) -> bool) -> String {
    let (mut text, mut at) = (String::new(), 0);
    while let Some(next) = prompt[at..].find('<') {
        let from = at + next;
        text.push_str(&prompt[at..from]);
        let written = tag(&prompt[from..]).map_or(0, |tag| {
            let length = tag.written.len();
            if goes(tag, &prompt[..from]) { length } else { 0 }
        });
        if written == 0 {
            text.push('<');
        }
        at = from + written.max(1);
    }
    text.push_str(&prompt[at..]);
    text
}

/// `<word:anything>` at the beginning.
fn tag(text: &str) -> Option<Tag> {
    let inside = text.strip_prefix('<')?;
    let (kind, rest) = inside.split_once(':')?;
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let end = rest.find('>').filter(|end| *end > 0)?;
    if kind.is_empty() || !kind.chars().all(is_word) {
        return None;
    }
    let parts = rest[..end].split(':').map(String::from).collect();
    let written = text[..1 + kind.len() + 1 + end + 1].into();
    Some(Tag { kind: kind.into(), parts, written })
}

//! What the UNet attends to at each of its calls: the prompts' embeddings, with the weights of their words.

use burn::tensor::{Tensor, TensorData};

use super::{Settings, StableDiffusion};
use crate::error::Result;
use crate::keys::family::Base;
use crate::prompt::{self, Calls, Chunk, Emphasis, Timeline, Words};

/// A picture's prompts, read: the text of each model call.
pub(super) struct Texts {
    /// Without guidance there is none.
    negative: Option<Timeline>,
    positive: Timeline,
}

/// The same, encoded. Cloning shares the embeddings.
#[derive(Clone)]
pub(super) struct Conditioning {
    /// Of each of a prompt's texts, `[1, tokens, width]`.
    negative: Vec<Tensor<3>>,
    positive: Vec<Tensor<3>>,
    /// What the last call took, and of which of the prompts' texts it is.
    joined: Option<([usize; 2], Tensor<3>)>,
}

impl Texts {
    /// Reads a picture's prompts, and gives notes on them. `calls` are those that the sampler makes in all,
    /// as prompts that change count them.
    pub(super) fn read(
        settings: &Settings,
        words: &Words,
        guided: bool,
        calls: Calls,
    ) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let mut read = |prompt: &str| {
            let read = prompt::read(prompt, calls);
            notes.extend(read.notes);
            notes.extend(prompt::unknown(&read.text, words));
            Timeline::new(&read.text, calls)
        };
        let positive = read(&settings.prompt);
        let negative = guided.then(|| read(&settings.negative_prompt));
        (Self { negative, positive }, notes)
    }

    /// Whether the others are the same texts, be it for other calls: then they are encoded alike.
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        let texts =
            |it: &Timeline| it.entries.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        let of = |it: &Self| (it.negative.as_ref().map(texts), texts(&it.positive));
        of(self) == of(other)
    }

    /// Whether there is a negative prompt, and so two predictions.
    pub(super) fn is_guided(&self) -> bool {
        self.negative.is_some()
    }
}

/// Layers of the text encoder that are left out, and a note where the setting isn't followed.
pub(super) fn skipped(model: &StableDiffusion, settings: &Settings) -> (usize, Option<String>) {
    let skipped = settings.clip_skip.saturating_sub(1);
    if skipped > 0 && model.family.base == Base::Sd2 {
        let note = "Clip skip isn't used: models of this family have it built in";
        return (0, Some(note.into()));
    }
    (skipped, None)
}

impl Conditioning {
    /// Encodes a picture's prompts.
    ///
    /// # Errors
    /// Where a prompt is too long, or the text encoder can't be loaded.
    pub(super) fn new(model: &StableDiffusion, settings: &Settings, texts: &Texts) -> Result<Self> {
        let words = model.words();
        let chunks = |timeline: &Timeline| chunks(model, timeline, &words, settings.emphasis);
        let negative = texts.negative.as_ref().map_or(Ok(Vec::new()), chunks)?;
        let positive = chunks(&texts.positive)?;
        let encoded = Encoded::new(model, settings, negative.iter().chain(&positive).flatten())?;
        let encoded = |texts: &[Vec<Chunk>]| texts.iter().map(|text| encoded.text(text)).collect();
        Ok(Self { negative: encoded(&negative), positive: encoded(&positive), joined: None })
    }

    /// `[1 or 2, tokens, width]`: the negative prompt's first, where there is guidance. Where one of them
    /// has fewer tokens both are repeated until they have as many, which changes nothing: attention to the
    /// same twice is attention to it once.
    pub(super) fn context(&mut self, texts: &Texts, call: usize) -> Tensor<3> {
        let at = |timeline: &Timeline| timeline.at_call(call);
        let places = [texts.negative.as_ref().map_or(0, at), at(&texts.positive)];
        if let Some((known, context)) = &self.joined
            && *known == places
        {
            return context.clone();
        }
        let positive = self.positive[places[1]].clone();
        let context = match self.negative.get(places[0]).cloned() {
            None => positive,
            Some(negative) => {
                let [ours, theirs] = [&positive, &negative].map(|text| text.dims()[1]);
                let shared = ours / greatest_divisor(ours, theirs) * theirs;
                let repeated = [(negative, theirs), (positive, ours)]
                    .map(|(text, tokens)| text.repeat_dim(1, shared / tokens));
                Tensor::cat(repeated.to_vec(), 0)
            }
        };
        self.joined = Some((places, context.clone()));
        context
    }
}

/// The rows of tokens of each of a prompt's texts.
fn chunks(
    model: &StableDiffusion,
    timeline: &Timeline,
    words: &Words,
    emphasis: Emphasis,
) -> Result<Vec<Vec<Chunk>>> {
    let of_text = |(_, text): &(usize, String)| {
        let mut chunks = prompt::chunks(&model.tokenizer, words, &emphasis.parts(text))?;
        if emphasis == Emphasis::Ignore {
            chunks.iter_mut().for_each(|chunk| chunk.weights.fill(1.0));
        }
        Ok(chunks)
    };
    timeline.entries.iter().map(of_text).collect()
}

/// Every different row of tokens, encoded in one batch.
struct Encoded {
    rows: Vec<Vec<u32>>,
    /// `[rows, tokens, width]`.
    values: Tensor<3>,
    /// The empty prompt's, where weights are counted from there.
    empty: Option<Tensor<3>>,
    emphasis: Emphasis,
}

impl Encoded {
    fn new<'a>(
        model: &StableDiffusion,
        settings: &Settings,
        chunks: impl Iterator<Item = &'a Chunk>,
    ) -> Result<Self> {
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut weighted = false;
        for chunk in chunks {
            weighted |= chunk.is_weighted();
            if !rows.contains(&chunk.ids) {
                rows.push(chunk.ids.clone());
            }
        }
        let (skipped, _) = skipped(model, settings);
        let values = model.embeddings_without(&rows, skipped)?;
        let from_empty = weighted && settings.emphasis == Emphasis::ComfyUi;
        let nothing = || model.embeddings_without(&[model.tokenizer.filled(&[])], skipped);
        let empty = from_empty.then(nothing).transpose()?;
        Ok(Self { rows, values, empty, emphasis: settings.emphasis })
    }

    /// A text's embeddings, `[1, tokens, width]`.
    fn text(&self, chunks: &[Chunk]) -> Tensor<3> {
        Tensor::cat(chunks.iter().map(|chunk| self.chunk(chunk)).collect(), 1)
    }

    /// A chunk's embeddings `[1, tokens, width]`, weighted.
    fn chunk(&self, chunk: &Chunk) -> Tensor<3> {
        let row = self.rows.iter().position(|ids| *ids == chunk.ids).unwrap_or(0);
        let values = self.values.clone().narrow(0, row, 1);
        if !chunk.is_weighted() {
            return values;
        }
        weigh(values, &chunk.weights, self.emphasis, self.empty.as_ref())
    }
}

/// A chunk's embeddings `[1, tokens, width]`, weighted token by token. `empty` are the empty prompt's, from
/// which ComfyUI counts.
///
/// A1111's `sd_emphasis.py`, ComfyUI's `sd1_clip.py`.
pub fn weigh(
    values: Tensor<3>,
    weights: &[f64],
    emphasis: Emphasis,
    empty: Option<&Tensor<3>>,
) -> Tensor<3> {
    let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let weights = TensorData::new(weights, [1, values.dims()[1], 1]);
    let weights: Tensor<3> = Tensor::from_data(weights, &values.device());
    let weights = weights.cast(values.dtype());
    match (emphasis, empty) {
        (Emphasis::ComfyUi, Some(empty)) => {
            // What has weight 1 stays as it is, bit for bit.
            let ordinary = weights.clone().equal_elem(1.0).expand(values.shape());
            let apart = (values.clone() - empty.clone()) * weights + empty.clone();
            apart.mask_where(ordinary, values)
        }
        (Emphasis::Original, _) => with_mean_of(values.clone() * weights, values),
        _ => values * weights,
    }
}

/// Scaled so that its mean over all entries is that of `model`. Where a mean is nearly 0 beside the entries
/// the factor would be anything: it is left out then.
fn with_mean_of(values: Tensor<3>, model: Tensor<3>) -> Tensor<3> {
    /// Of the entries' root mean square.
    const NEAR: f32 = 1e-6;
    let mean = values.clone().mean();
    let least = values.clone().square().mean().sqrt() * NEAR;
    let factor = model.mean() / mean.clone();
    let near = mean.abs().lower(least);
    let ones = factor.ones_like();
    values * factor.mask_where(near, ones).unsqueeze()
}

fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

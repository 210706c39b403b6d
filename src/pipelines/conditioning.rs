//! What the UNet attends to at each of its calls: the prompts' embeddings, with the weights of their words.

use burn::tensor::{Tensor, TensorData};

use super::{Settings, StableDiffusion};
use crate::error::Result;
use crate::keys::family::Base;
use crate::models::TextStates;
use crate::prompt::{self, Calls, Chunk, Emphasis, Timeline, Words};

/// A picture's prompts, read: the text of each model call.
pub(super) struct Texts {
    /// Without guidance there is none.
    negative: Option<Timeline>,
    positive: Timeline,
}

/// What the UNet is told of a text, or of two at once: its embeddings `[1 or 2, tokens, width]` and, of
/// SDXL, its pooled vectors `[1 or 2, width]`.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) hidden: Tensor<3>,
    pub(super) pooled: Option<Tensor<2>>,
}

/// The prompts, encoded. Cloning shares the embeddings.
#[derive(Clone)]
pub(super) struct Conditioning {
    /// Of each of a prompt's texts.
    negative: Vec<Said>,
    positive: Vec<Said>,
    /// What the last call took, and of which of the prompts' texts it is.
    joined: Option<([usize; 2], Said)>,
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

/// Layers of the text encoder that are left out, and a note where the setting isn't followed. (What users
/// of SDXL call a clip skip of 2 is what its text encoders do anyway.)
pub(super) fn skipped(model: &StableDiffusion, settings: &Settings) -> (usize, Option<String>) {
    let skipped = settings.clip_skip.saturating_sub(1);
    if skipped > 0 && model.family.base != Base::Sd1 {
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
        let all = negative.iter().chain(&positive);
        let encoded = (0..model.text_encoders())
            .map(|encoder| {
                let of_it = all.clone().flat_map(|text| &text.0[encoder]);
                Encoded::new(model, encoder, settings, of_it)
            })
            .collect::<Result<Vec<_>>>()?;
        let zeros = model.force_zeros && !settings.encode_empty_negative;
        let said = |texts: &[Chunked]| texts.iter().map(|text| text.said(&encoded)).collect();
        let mut negative_said: Vec<Said> = said(&negative);
        for (chunks, said) in negative.iter().zip(&mut negative_said) {
            if zeros && chunks.1 {
                said.empty();
            }
        }
        Ok(Self { negative: negative_said, positive: said(&positive), joined: None })
    }

    /// What is said at a call: the negative prompt's first, where there is guidance. In turn: one after the
    /// other, else as one. Where one of them has fewer tokens then, both are repeated until they have as
    /// many, which changes nothing: attention to the same twice is attention to it once.
    pub(super) fn said(&mut self, texts: &Texts, call: usize, in_turn: bool) -> Vec<Said> {
        let at = |timeline: &Timeline| timeline.at_call(call);
        let places = [texts.negative.as_ref().map_or(0, at), at(&texts.positive)];
        if let Some((known, said)) = &self.joined
            && *known == places
            && !in_turn
        {
            return vec![said.clone()];
        }
        let positive = self.positive[places[1]].clone();
        let said = match self.negative.get(places[0]).cloned() {
            None => positive,
            Some(negative) if in_turn => return vec![negative, positive],
            Some(negative) => negative.and(positive),
        };
        self.joined = Some((places, said.clone()));
        vec![said]
    }
}

impl Said {
    /// Two texts as one.
    fn and(self, other: Self) -> Self {
        let [one, two] = [&self, &other].map(|said| said.hidden.dims()[1]);
        let shared = one / greatest_divisor(one, two) * two;
        let repeated = [(self.hidden, one), (other.hidden, two)]
            .map(|(text, tokens)| text.repeat_dim(1, shared / tokens));
        Self {
            hidden: Tensor::cat(repeated.to_vec(), 0),
            pooled: self.pooled.zip(other.pooled).map(|(one, two)| Tensor::cat(vec![one, two], 0)),
        }
    }

    /// Of SDXL: what stands for no negative prompt. (SD 1 and 2 encode an empty one.)
    fn empty(&mut self) {
        if let Some(pooled) = &mut self.pooled {
            (self.hidden, *pooled) = (self.hidden.zeros_like(), pooled.zeros_like());
        }
    }
}

/// The rows of tokens of one text, for each text encoder, and whether there is no text.
struct Chunked(Vec<Vec<Chunk>>, bool);

impl Chunked {
    /// What the encoders' states say of it: they lie side by side, and the pooled vector is the first
    /// chunk's.
    fn said(&self, encoded: &[Encoded]) -> Said {
        let texts = self.0.iter().zip(encoded);
        let hidden = texts.clone().map(|(chunks, encoded)| encoded.text(chunks)).collect();
        let pooled =
            texts.filter_map(|(chunks, encoded)| encoded.pooled(chunks.first()?)).next_back();
        Said { hidden: Tensor::cat(hidden, 2), pooled }
    }
}

/// The rows of tokens of each of a prompt's texts.
fn chunks(
    model: &StableDiffusion,
    timeline: &Timeline,
    words: &Words,
    emphasis: Emphasis,
) -> Result<Vec<Chunked>> {
    let of_text = |(_, text): &(usize, String)| {
        let of_encoder = |encoder: usize| {
            let tokenizer = model.tokenizer_of(encoder);
            let mut chunks = prompt::chunks(tokenizer, words, &emphasis.parts(text))?;
            if emphasis == Emphasis::Ignore {
                chunks.iter_mut().for_each(|chunk| chunk.weights.fill(1.0));
            }
            Ok(chunks)
        };
        let mut each =
            (0..model.text_encoders()).map(of_encoder).collect::<Result<Vec<Vec<Chunk>>>>()?;
        // Tokenizers may differ in a sign or two, and so, at an edge, in the number of chunks.
        let most = each.iter().map(Vec::len).max().unwrap_or(0);
        for (encoder, chunks) in each.iter_mut().enumerate() {
            while chunks.len() < most {
                let ids = model.tokenizer_of(encoder).filled(&[]);
                let weights = vec![1.0; ids.len()];
                chunks.push(Chunk { ids, weights, counted: 0 });
            }
        }
        Ok(Chunked(each, text.trim().is_empty()))
    };
    timeline.entries.iter().map(of_text).collect()
}

/// Every different row of tokens, encoded by one of the text encoders in one batch.
struct Encoded {
    rows: Vec<Vec<u32>>,
    states: TextStates,
    /// The empty prompt's, where weights are counted from there.
    empty: Option<Tensor<3>>,
    emphasis: Emphasis,
}

impl Encoded {
    fn new<'a>(
        model: &StableDiffusion,
        encoder: usize,
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
        let states = model.states(encoder, &rows, skipped)?;
        let from_empty = weighted && settings.emphasis == Emphasis::ComfyUi;
        let nothing = || {
            let row = model.tokenizer_of(encoder).filled(&[]);
            Ok(model.states(encoder, &[row], skipped)?.hidden)
        };
        let empty = from_empty.then(nothing).transpose()?;
        Ok(Self { rows, states, empty, emphasis: settings.emphasis })
    }

    fn row(&self, chunk: &Chunk) -> usize {
        self.rows.iter().position(|ids| *ids == chunk.ids).unwrap_or(0)
    }

    /// A chunk's pooled vector, `[1, width]`, of an encoder that gives one. Weights don't act on it.
    fn pooled(&self, chunk: &Chunk) -> Option<Tensor<2>> {
        let pooled = self.states.pooled.clone()?;
        Some(pooled.narrow(0, self.row(chunk), 1))
    }

    /// A text's embeddings, `[1, tokens, width]`.
    fn text(&self, chunks: &[Chunk]) -> Tensor<3> {
        Tensor::cat(chunks.iter().map(|chunk| self.chunk(chunk)).collect(), 1)
    }

    /// A chunk's embeddings `[1, tokens, width]`, weighted.
    fn chunk(&self, chunk: &Chunk) -> Tensor<3> {
        let values = self.states.hidden.clone().narrow(0, self.row(chunk), 1);
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

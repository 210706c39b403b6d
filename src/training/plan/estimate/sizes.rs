//! What a pass is made of, as far as memory goes: layers, how the device computes, how large the tensors
//! are, and what of a stage is trained.

/// A layer of the UNet that an adapter can sit on.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// In diffusers' names.
    pub path: &'a str,
    /// Of its weight: `[out, in]` or `[out, in, kh, kw]`.
    pub shape: &'a [usize],
}

impl Layer<'_> {
    /// Numbers in its weight.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().map(|&length| length as u64).product()
    }
}

/// How a device computes, as far as it decides on memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Whether our kernels run: their norms keep less, their attention keeps no scores, and their frozen
    /// layers keep nothing.
    pub kernels: bool,
    /// Whether it is the CPU backend, whose memory is the process's own.
    pub cpu: bool,
    /// Whether weights are stored in less than f32.
    pub narrow: bool,
}

/// Samples at once, height and width of their latents, tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Samples.
    pub batch: usize,
    /// Height and width.
    pub latents: [usize; 2],
    /// Of a text embedding.
    pub tokens: usize,
}

/// What of one stage is trained.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trained {
    pub(super) self_attention: bool,
    pub(super) cross_attention: bool,
    pub(super) feed_forward: bool,
    pub(super) projections: bool,
    pub(super) convolutions: bool,
    /// Numbers in its trained weights, and in the largest of them.
    pub(super) numbers: f64,
    pub(super) largest: f64,
}

impl Trained {
    pub(super) fn add(&mut self, layer: &Layer) {
        let path = layer.path;
        self.self_attention |= path.contains(".attn1.");
        self.cross_attention |= path.contains(".attn2.");
        self.feed_forward |= path.contains(".ff.");
        self.projections |= path.contains(".proj_");
        self.convolutions |= path.contains(".conv");
        self.numbers += layer.numbers() as f64;
        self.largest = self.largest.max(layer.numbers() as f64);
    }
}

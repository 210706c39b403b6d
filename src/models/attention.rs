//! Attention and feed-forward of the transformer blocks: diffusers `models/attention.py`,
//! `attention_processor.py`.

use burn::tensor::Tensor;

use crate::layers::{LayerNorm, Linear, Parameters, attention, geglu};

/// `Attention`: self attention without a context, cross attention with one.
#[derive(Debug)]
pub struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    /// `width` of the queries and the output, `context` of keys and values. The UNet's projections
    /// to q, k and v have no bias, the VAE's have.
    pub fn load(
        parameters: &Parameters,
        width: usize,
        context: usize,
        heads: usize,
        bias: bool,
    ) -> Self {
        let at = |name| parameters.at(name);
        Self {
            to_q: Linear::load(&at("to_q"), width, width, bias),
            to_k: Linear::load(&at("to_k"), context, width, bias),
            to_v: Linear::load(&at("to_v"), context, width, bias),
            to_out: Linear::load(&at("to_out").at(0), width, width, true),
            heads,
        }
    }

    /// `x [n, l, width]`, `context [n, m, context] -> [n, l, width]`.
    pub fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>) -> Tensor<3> {
        let context = context.unwrap_or_else(|| x.clone());
        let q = self.to_q.forward(x);
        let k = self.to_k.forward(context.clone());
        let v = self.to_v.forward(context);
        self.to_out.forward(attention(q, k, v, self.heads, false))
    }
}

/// `FeedForward` with `GEGLU`: `ff.net.0.proj` and `ff.net.2` (`ff.net.1` is dropout).
#[derive(Debug)]
pub struct FeedForward {
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    /// Four times the width inside, twice that before the gate.
    pub fn load(parameters: &Parameters, width: usize) -> Self {
        let net = parameters.at("net");
        Self {
            proj: Linear::load(&net.at(0).at("proj"), width, 8 * width, true),
            out: Linear::load(&net.at(2), 4 * width, width, true),
        }
    }

    /// `[n, l, width] -> [n, l, width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.out.forward(geglu(self.proj.forward(x)))
    }
}

/// `BasicTransformerBlock`: self attention, cross attention, feed-forward, each on a normalised
/// input and added to what came in.
#[derive(Debug)]
pub struct BasicTransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl BasicTransformerBlock {
    /// `context` is the width of the text embeddings.
    pub fn load(parameters: &Parameters, width: usize, context: usize, heads: usize) -> Self {
        const EPSILON: f64 = 1e-5;
        let at = |name| parameters.at(name);
        Self {
            norm1: LayerNorm::load(&at("norm1"), width, EPSILON),
            attn1: Attention::load(&at("attn1"), width, width, heads, false),
            norm2: LayerNorm::load(&at("norm2"), width, EPSILON),
            attn2: Attention::load(&at("attn2"), width, context, heads, false),
            norm3: LayerNorm::load(&at("norm3"), width, EPSILON),
            ff: FeedForward::load(&at("ff"), width),
        }
    }

    /// `x [n, l, width]`, `context [n, m, context] -> [n, l, width]`.
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let x = self.attn1.forward(self.norm1.forward(x.clone()), None) + x;
        let x = self.attn2.forward(self.norm2.forward(x.clone()), Some(context)) + x;
        self.ff.forward(self.norm3.forward(x.clone())) + x
    }
}

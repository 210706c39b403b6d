//! The layers of an autoencoder by the numbers of their values.

use std::ops::Range;

use burn::tensor::Tensor;

use super::walk::{Network, Rows};
use crate::layers::{Conv2d, GroupNorm, Moments};
use crate::models::autoencoder_kl::MidBlock;
use crate::models::autoencoder_tiny;
use crate::models::resnet::{Downsample2D, ResnetBlock2D, Upsample2D, normalised};

/// A layer that makes a value.
#[derive(Debug, Clone, Copy)]
pub(in crate::models) enum Stage<'a> {
    /// The network's input.
    Input,
    /// A convolution.
    Convolution(&'a Conv2d),
    /// Norm, SiLU and a convolution.
    Out(&'a GroupNorm, &'a Conv2d),
    /// The first half of a residual block.
    Enter(&'a ResnetBlock2D),
    /// The second half, and the way past it.
    Leave(&'a ResnetBlock2D),
    /// The mid block's attention.
    Attend(&'a MidBlock),
    /// To twice the size.
    Enlarge(&'a Upsample2D),
    /// To half the size.
    Halve(&'a Downsample2D),
    /// A layer of TAESD, with what is done to numbers before and after it.
    Tiny(fn(Tensor<4>) -> Tensor<4>, &'a autoencoder_tiny::Layer, fn(Tensor<4>) -> Tensor<4>),
}

/// An autoencoder's half: a layer for each value.
#[derive(Debug, Clone)]
pub struct Stages<'a> {
    /// Groups of its norms.
    pub(super) groups: usize,
    /// The first is the input.
    pub(super) stages: Vec<Stage<'a>>,
}

impl Network<Tensor<4>> for Stages<'_> {
    type Moments = Moments;

    fn apply(&self, node: usize, x: Tensor<4>, moments: Option<&Moments>) -> Tensor<4> {
        match &self.stages[node] {
            Stage::Input => x,
            Stage::Convolution(conv) => conv.forward(x),
            Stage::Out(norm, conv) => conv.forward(normalised(norm, x, moments)),
            Stage::Enter(block) => block.enter(x, moments),
            Stage::Leave(block) => block.leave(x, moments),
            Stage::Attend(block) => block.attend(x),
            Stage::Enlarge(sampler) => sampler.forward(x, None),
            Stage::Halve(sampler) => sampler.forward(x),
            Stage::Tiny(before, layer, after) => after(layer.forward(before(x))),
        }
    }

    fn add(&self, node: usize, y: Tensor<4>, skip: Tensor<4>) -> Tensor<4> {
        match &self.stages[node] {
            Stage::Leave(block) => block.past(y, skip),
            _ => y + skip,
        }
    }

    fn measure(&self, x: &Tensor<4>) -> Moments {
        Moments::of(x.clone(), self.groups)
    }

    fn merge(&self, bands: &[Moments]) -> Moments {
        Moments::merge(bands)
    }
}

impl Rows for Tensor<4> {
    fn rows(&self) -> usize {
        self.dims()[2]
    }

    fn narrow(self, rows: Range<usize>) -> Self {
        Tensor::narrow(self, 2, rows.start, rows.len())
    }

    fn join(mut pieces: Vec<Self>) -> Self {
        if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(pieces, 2) }
    }
}

//! Residual blocks and resampling: diffusers `models/resnet.py`, `upsampling.py`,
//! `downsampling.py`.

use burn::tensor::Tensor;

use crate::layers::{Conv2d, Conv2dConfig, GroupNorm, Linear, Moments, Parameters, enlarge, silu};

/// Two normalised convolutions around the time embedding, and a way past them.
#[derive(Debug)]
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    output_scale_factor: f64,
}

/// What all residual blocks of one model have in common.
#[derive(Debug, Clone, Copy)]
pub struct ResnetConfig {
    /// Width of the time embedding; the VAE has none.
    pub time_embedding: Option<usize>,
    /// `norm_num_groups`.
    pub groups: usize,
    /// `norm_eps`.
    pub epsilon: f64,
    /// What the sum is divided by; 1 but for unusual mid blocks.
    pub output_scale_factor: f64,
}

impl ResnetBlock2D {
    /// Loads a block from `input` to `output` channels.
    pub fn load(
        parameters: &Parameters,
        input: usize,
        output: usize,
        config: ResnetConfig,
    ) -> Self {
        let at = |name| parameters.at(name);
        let ResnetConfig { time_embedding, groups, epsilon, output_scale_factor } = config;
        Self {
            norm1: GroupNorm::load(&at("norm1"), groups, input, epsilon),
            conv1: Conv2d::load(&at("conv1"), input, output, Conv2dConfig::SAME),
            time_emb_proj: time_embedding
                .map(|width| Linear::load(&at("time_emb_proj"), width, output, true)),
            norm2: GroupNorm::load(&at("norm2"), groups, output, epsilon),
            conv2: Conv2d::load(&at("conv2"), output, output, Conv2dConfig::SAME),
            conv_shortcut: (input != output)
                .then(|| Conv2d::load(&at("conv_shortcut"), input, output, Conv2dConfig::POINT)),
            output_scale_factor,
        }
    }

    /// `x [n, in, h, w]`, `emb [n, width] -> [n, out, h, w]`.
    pub fn forward(&self, x: Tensor<4>, emb: Option<&Tensor<2>>) -> Tensor<4> {
        let mut hidden = self.enter(x.clone(), None);
        if let (Some(projection), Some(emb)) = (&self.time_emb_proj, emb) {
            let shift = projection.forward(silu(emb.clone()));
            let [n, c] = shift.dims();
            hidden = hidden + shift.reshape([n, c, 1, 1]);
        }
        let hidden = self.leave(hidden, None);
        self.past(hidden, x)
    }

    /// The first normalised convolution, `x [n, in, h, w] -> [n, out, h, w]`, by given statistics of x
    /// or by its own.
    pub(super) fn enter(&self, x: Tensor<4>, moments: Option<&Moments>) -> Tensor<4> {
        self.conv1.forward(normalised(&self.norm1, x, moments))
    }

    /// The second, of the hidden value.
    pub(super) fn leave(&self, hidden: Tensor<4>, moments: Option<&Moments>) -> Tensor<4> {
        self.conv2.forward(normalised(&self.norm2, hidden, moments))
    }

    /// The sum with x, which leads past them.
    pub(super) fn past(&self, hidden: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
        let sum = match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x) + hidden,
            None => x + hidden,
        };
        if self.output_scale_factor == 1.0 { sum } else { sum / self.output_scale_factor }
    }
}

/// Norm and SiLU, by given statistics or by those of x.
pub(super) fn normalised(norm: &GroupNorm, x: Tensor<4>, moments: Option<&Moments>) -> Tensor<4> {
    match moments {
        Some(moments) => norm.forward_silu_by(x, moments),
        None => norm.forward_silu(x),
    }
}

/// Halves height and width with a strided 3x3 convolution.
#[derive(Debug)]
pub struct Downsample2D {
    conv: Conv2d,
}

impl Downsample2D {
    /// `padding` before and after: (1, 1) in the UNet, (0, 1) in the VAE's encoder.
    pub fn load(parameters: &Parameters, channels: usize, padding: (usize, usize)) -> Self {
        let config = Conv2dConfig { padding, ..Conv2dConfig::HALVE };
        Self { conv: Conv2d::load(&parameters.at("conv"), channels, channels, config) }
    }

    /// `[n, c, h, w] -> [n, c, h/2, w/2]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
    }
}

/// Doubles height and width by repetition, then a 3x3 convolution.
#[derive(Debug)]
pub struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    /// Loads the convolution after the repetition.
    pub fn load(parameters: &Parameters, channels: usize) -> Self {
        let conv = Conv2d::load(&parameters.at("conv"), channels, channels, Conv2dConfig::SAME);
        Self { conv }
    }

    /// `[n, c, h, w] -> [n, c, 2h, 2w]`, or `size`, which may be one less in either direction:
    /// that of the skip connection which comes next, where the downsampling had rounded up.
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        match size {
            Some([height, width]) if [height, width] != [2 * h, 2 * w] => {
                self.conv.forward(enlarge(x).narrow(2, 0, height).narrow(3, 0, width))
            }
            _ => self.conv.forward_enlarged(x),
        }
    }
}

//! The time embedding: diffusers `models/embeddings.py`.

use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor, TensorData};

use crate::layers::{Linear, Parameters};

/// Sinusoids of the timesteps, `[n, channels]` (`get_timestep_embedding`).
///
/// `flip` puts the cosines first; `shift` is `downscale_freq_shift`.
pub fn timestep_embedding(
    timesteps: &[f64],
    channels: usize,
    flip: bool,
    shift: f64,
    device: &Device,
) -> Tensor<2> {
    const MAX_PERIOD: f64 = 10_000.0;
    let half = channels / 2;
    let mut values = Vec::with_capacity(timesteps.len() * channels);
    for &t in timesteps {
        let angle = |i: usize| {
            // PyTorch computes the frequency and the angle in f32; so is this, or the last digits
            // of large angles would differ.
            let exponent = -(MAX_PERIOD.ln() as f32) * i as f32 / (half as f64 - shift) as f32;
            f64::from(t as f32 * exponent.exp())
        };
        let sines = (0..half).map(|i| angle(i).sin() as f32);
        let cosines = (0..half).map(|i| angle(i).cos() as f32);
        if flip {
            values.extend(cosines.chain(sines));
        } else {
            values.extend(sines.chain(cosines));
        }
        values.resize(values.len() + channels % 2, 0.0);
    }
    Tensor::from_data(TensorData::new(values, [timesteps.len(), channels]), device)
}

/// `TimestepEmbedding`: two linear layers with SiLU between them.
#[derive(Debug)]
pub struct TimestepEmbedding {
    linear_1: Linear,
    cond_proj: Option<Linear>,
    linear_2: Linear,
}

impl TimestepEmbedding {
    /// `condition` is the width of an extra guidance embedding (LCM), if there is one.
    pub fn load(
        parameters: &Parameters,
        input: usize,
        width: usize,
        condition: Option<usize>,
    ) -> Self {
        Self {
            linear_1: Linear::load(&parameters.at("linear_1"), input, width, true),
            cond_proj: condition
                .map(|c| Linear::load(&parameters.at("cond_proj"), c, input, false)),
            linear_2: Linear::load(&parameters.at("linear_2"), width, width, true),
        }
    }

    /// `[n, input] -> [n, width]`.
    pub fn forward(&self, sample: Tensor<2>, condition: Option<Tensor<2>>) -> Tensor<2> {
        let sample = match (&self.cond_proj, condition) {
            (Some(projection), Some(condition)) => sample + projection.forward(condition),
            _ => sample,
        };
        self.linear_2.forward(silu(self.linear_1.forward(sample)))
    }
}

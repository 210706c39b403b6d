//! What stays, while the rest is painted anew. Sources: A1111, `modules/sd_samplers_cfg_denoiser.py`;
//! diffusers, `pipeline_stable_diffusion_inpaint.py`.

use burn::tensor::Tensor;

use super::Convention;
use crate::schedulers::Call;

/// The latents that stay, and where.
pub struct Blend {
    /// The picture's, `[1, 4, h, w]`.
    pub clean: Tensor<4>,
    /// What the run started from, unit normal.
    pub noise: Tensor<4>,
    /// `[1, 1, h, w]`: 1 is painted anew.
    pub painted: Tensor<4>,
    /// Whose way.
    pub convention: Convention,
}

impl Blend {
    fn over(&self, kept: Tensor<4>, painted: Tensor<4>) -> Tensor<4> {
        kept.clone() + (painted - kept) * self.painted.clone()
    }

    /// A model's guess with what stays in it.
    pub fn guess(&self, x0: Tensor<4>) -> Tensor<4> {
        match self.convention {
            Convention::A1111 => self.over(self.clean.clone(), x0),
            Convention::Diffusers => x0,
        }
    }

    /// The sample after a call; `next` is the one that comes then.
    pub fn sample(&self, sample: Tensor<4>, next: Option<&Call>) -> Tensor<4> {
        match (self.convention, next) {
            (_, None) => self.over(self.clean.clone(), sample),
            (Convention::A1111, _) => sample,
            (Convention::Diffusers, Some(next)) => self.over(self.noised(next), sample),
        }
    }

    fn noised(&self, call: &Call) -> Tensor<4> {
        self.clean.clone().mul_scalar(call.signal) + self.noise.clone().mul_scalar(call.spread)
    }
}

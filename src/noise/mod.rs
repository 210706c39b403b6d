//! The noise that pictures begin with, and that some samplers add: numbers that follow from a seed, as other
//! programs draw them.

mod brownian;
mod philox;
mod seed_sequence;
mod torch;
mod variation;

pub use brownian::BrownianTree;
pub use philox::Philox;
pub use torch::TorchGenerator;
pub use variation::varied;

/// Whose random numbers a seed stands for (A1111's `randn_source`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rng {
    /// PyTorch's CPU generator, as diffusers and ComfyUI use it.
    #[default]
    Cpu,
    /// CUDA's, as A1111 computes it for every machine.
    Nv,
}

/// A generator of either kind.
#[derive(Debug, Clone)]
pub enum Generator {
    /// [`Rng::Cpu`].
    Cpu(Box<TorchGenerator>),
    /// [`Rng::Nv`].
    Nv(Philox),
}

impl Generator {
    /// Of a seed.
    pub fn new(rng: Rng, seed: u64) -> Self {
        match rng {
            Rng::Cpu => Self::Cpu(Box::new(TorchGenerator::new(seed))),
            Rng::Nv => Self::Nv(Philox::new(seed)),
        }
    }

    /// Unit normal numbers of the next tensor.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        match self {
            Self::Cpu(generator) => generator.randn(n),
            Self::Nv(generator) => generator.randn(n),
        }
    }
}

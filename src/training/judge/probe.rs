//! The forward passes of an evaluation: fixed pictures, timesteps and noise, with the adapter and without.

use burn::tensor::{Tensor, TensorData};

use crate::error::Result;
use crate::layers::Strength;
use crate::noise::TorchGenerator;
use crate::training::data::dataset::Example;
use crate::training::data::picture::Role;
use crate::training::plan::grid::{FEW, GRID};
use crate::training::run::context::Context;
use crate::training::run::state::State;
use crate::training::step::draws::Assembly;
use crate::training::step::pass::{self, Batch};

/// Seed of the grid's noise, the demo model's reference's too.
const GRID_SEED: u64 = 99;
pub(super) struct Probe<'a> {
    context: &'a Context,
    state: &'a State,
    assembly: Assembly<'a>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(context: &'a Context, state: &'a State) -> Self {
        Self { context, state, assembly: context.assembly() }
    }

    fn judged(&self) -> Vec<&Example> {
        let examples = self.context.dataset.examples.iter();
        examples.filter(|example| example.role != Role::Class).collect()
    }

    fn upload(&self) -> Tensor<1> {
        self.context.upload(&self.state.adapter.parameters)
    }

    /// `[n]` samples of one picture, at timesteps of the grid, under one text.
    fn batch(
        &self,
        clean: &[&Example],
        grid: &[usize],
        noise: &[Vec<f32>],
        text: &[f32],
    ) -> Result<Batch> {
        let n = grid.len();
        let (mut noisy, mut target, mut timesteps) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &place) in grid.iter().enumerate() {
            let t = timestep(place, self.context.diffusion.timesteps());
            let clean = &clean[i % clean.len()].latents.mean;
            self.assembly.diffuse(clean, &noise[i], t, &mut noisy, &mut target)?;
            timesteps.push(t as f64);
        }
        let [channels, height, width] = clean[0].latents.shape;
        let sizes = (0..n).map(|i| clean[i % clean.len()].sizes[0]).collect();
        let pixels = [n, channels, height, width];
        Ok(Batch {
            noisy: self.assembly.upload(noisy, pixels),
            timesteps,
            context: self.assembly.context(&vec![text; n], sizes),
            target: self.assembly.upload(target, pixels),
            weights: self.assembly.upload(vec![1.0; n], [n, 1]),
            thresholds: None,
        })
    }

    /// The UNet's answer, with the adapter or without.
    fn ask(&self, batch: &Batch, base: bool) -> Tensor<4> {
        let (model, adapter) = (&self.context.model, &self.state.adapter);
        if !base {
            let leaves = adapter.leaves(&self.upload(), false);
            adapter.attach(&leaves, &Strength::new(1.0), |_| Some(None));
            let answer =
                model.unet.forward(batch.noisy.clone(), &batch.timesteps, batch.context.clone());
            adapter.detach();
            return answer;
        }
        pass::base(&model.unet, adapter, batch)
    }

    /// Errors of one of the pictures that are judged, at places of the grid: `[places]`.
    pub(super) fn loss(&self, example: usize, places: &[usize], base: bool) -> Result<Tensor<1>> {
        let example = self.judged()[example];
        let noise = grid_noise(example.latents.mean.len());
        let noise: Vec<Vec<f32>> = places.iter().map(|&place| noise[place].clone()).collect();
        let batch = self.batch(&[example], places, &noise, &example.text)?;
        let n = places.len();
        let error = (self.ask(&batch, base) - batch.target.clone()).square();
        let count = error.shape().num_elements() / n;
        Ok(error.reshape([n, count]).mean_dim(1).flatten(0, 1))
    }

    /// Mean squared change of the answer under a prompt that isn't a caption, and the base's mean
    /// squared error there.
    pub(super) fn drift(&self, prompt: usize) -> Result<Tensor<1>> {
        let dataset = &self.context.dataset;
        let text = match (&dataset.class_prompt, prompt) {
            (Some(class), 1) => class,
            _ => &dataset.empty,
        };
        let all = self.judged();
        let same = |example: &&&Example| example.latents.shape == all[0].latents.shape;
        let clean: Vec<&Example> = all.iter().filter(same).take(FEW).copied().collect();
        let noise = grid_noise(clean[0].latents.mean.len());
        let batch = self.batch(&clean, &[1, 3, 5, 7], &noise, text)?;
        let (with, without) = (self.ask(&batch, false), self.ask(&batch, true));
        let moved = (with - without.clone()).square().mean();
        let own = (without - batch.target.clone()).square().mean();
        Ok(Tensor::cat(vec![moved, own], 0))
    }

    /// Mean squared distance between guesses of x0 from [`FEW`] pure noises under the first
    /// caption, with the adapter and without. The guess at the noisy end of the schedule says which
    /// composition a seed leads to.
    pub(super) fn diversity(&self) -> Result<Tensor<1>> {
        let example = self.judged()[0];
        let t = self.context.diffusion.timesteps() - 1;
        let noise = grid_noise(example.latents.mean.len());
        let [channels, height, width] = example.latents.shape;
        let shape = [FEW, channels, height, width];
        let mut batch = self.batch(&[example], &[7; FEW], &noise, &example.text)?;
        batch.noisy = self.assembly.upload(noise[..FEW].concat(), shape);
        batch.timesteps = vec![t as f64; FEW];
        let (per_noisy, per_prediction) = self.context.diffusion.denoised(t)?;
        let spread = |base| {
            let guess = batch.noisy.clone().mul_scalar(per_noisy)
                + self.ask(&batch, base).mul_scalar(per_prediction);
            // The variance over seeds is half the mean squared distance of pairs.
            (guess.clone() - guess.mean_dim(0)).square().mean()
        };
        Ok(Tensor::cat(vec![spread(false), spread(true)], 0))
    }

    /// Squared norms that only the device can tell.
    pub(super) fn norms(&self) -> Result<Tensor<1>> {
        let leaves = self.state.adapter.leaves(&self.upload(), false);
        Ok(self.state.adapter.dense_norms_squared(&leaves)?.unwrap_or_else(|| {
            Tensor::from_data(TensorData::new(vec![0.0f32], [1]), self.context.model.device())
        }))
    }
}

/// The `i`-th timestep of the grid.
pub(super) fn timestep(i: usize, steps: usize) -> usize {
    (60 + 120 * i) * steps / 1000
}

/// `torch.randn(8, elements)` of the grid's seed.
fn grid_noise(elements: usize) -> Vec<Vec<f32>> {
    let noise = TorchGenerator::new(GRID_SEED).randn(GRID * elements);
    noise.chunks_exact(elements.max(1)).map(<[f32]>::to_vec).collect()
}

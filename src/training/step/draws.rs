//! What a batch is made of: which pictures, timesteps and noise, and the tensors they become.

use burn::tensor::{Device, Tensor, TensorData};

use super::loss::Diffusion;
use super::pass::Batch;
use crate::error::{Error, Result};
use crate::models::{Added, Context};
use crate::training::data::dataset::{Dataset, Example, TimeIds};
use crate::training::numbers::random::{Stream, batch_indices, chances, generator};
use crate::training::settings::config::{Config, LossKind};

/// What one batch is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Draws {
    /// The example of each sample.
    pub index: Vec<usize>,
    /// Its timestep.
    pub timesteps: Vec<usize>,
    /// Unit normal noise (offset included), sample by sample.
    pub noise: Vec<Vec<f32>>,
    /// Whether its caption is left out.
    pub dropped: Vec<bool>,
    /// Whether it is mirrored.
    pub mirrored: Vec<bool>,
    /// For drawing latents from the posterior: unit normal, sample by sample; empty: the mean.
    pub posterior: Vec<Vec<f32>>,
}

impl Draws {
    /// The draws of a batch, which is counted over the whole run; `class`: of class pictures.
    pub fn new(
        config: &Config,
        examples: &[&Example],
        diffusion: &Diffusion,
        counter: u64,
        class: bool,
    ) -> Self {
        let Config { seed, batch, .. } = *config;
        let stream = |own, of_class| if class { of_class } else { own };
        let order = stream(Stream::Order, Stream::ClassOrder);
        let index = batch_indices(seed, order, counter, batch, examples.len());
        let timesteps = config.timesteps.draw(
            seed,
            stream(Stream::Timesteps, Stream::ClassTimesteps),
            counter,
            batch,
            0..diffusion.timesteps(),
        );
        let mut random = generator(seed, stream(Stream::Noise, Stream::ClassNoise), counter);
        let offset = stream(Stream::NoiseOffset, Stream::ClassNoiseOffset);
        let mut offsets = generator(seed, offset, counter);
        let size = |i: &usize| examples[*i].latents.mean.len();
        let mut noise = |i: &usize| {
            let mut noise = random.randn(size(i));
            if config.noise_offset > 0.0 {
                let channels = examples[*i].latents.shape[0];
                let offsets = offsets.randn(channels);
                for (plane, offset) in noise.chunks_mut(size(i) / channels).zip(offsets) {
                    plane.iter_mut().for_each(|x| *x += config.noise_offset as f32 * offset);
                }
            }
            noise
        };
        let noise = index.iter().map(&mut noise).collect();
        let sampled = index.iter().any(|&i| examples[i].latents.deviation.is_some());
        let mut posterior = generator(seed, Stream::Posterior, counter);
        Self {
            timesteps,
            noise,
            dropped: chances(
                seed,
                Stream::Captions,
                counter,
                batch,
                if class { 0.0 } else { config.caption_dropout },
            ),
            mirrored: chances(
                seed,
                Stream::Flips,
                counter,
                batch,
                if config.flip { 0.5 } else { 0.0 },
            ),
            posterior: if sampled {
                index.iter().map(|i| posterior.randn(size(i))).collect()
            } else {
                Vec::new()
            },
            index,
        }
    }

    /// Checks what a reference brings: our own draws always fit.
    ///
    /// # Errors
    /// Names what doesn't.
    pub fn check(&self, examples: &[&Example]) -> Result<()> {
        let bad = |problem: String| {
            Err(Error::setting(
                "reference",
                problem,
                "Give the file that belongs to these pictures",
            ))
        };
        if self.index.is_empty() {
            return bad("its batches are empty".into());
        }
        for (j, &i) in self.index.iter().enumerate() {
            let Some(example) = examples.get(i) else {
                return bad(format!("picture {i} of {} is asked for", examples.len()));
            };
            if self.noise[j].len() != example.latents.mean.len() {
                return bad(format!(
                    "its noise has {} numbers a picture where latents have {}",
                    self.noise[j].len(),
                    example.latents.mean.len()
                ));
            }
        }
        Ok(())
    }
}

/// What turns draws into tensors.
pub struct Assembly<'a> {
    /// The run's settings.
    pub config: &'a Config,
    /// For text embeddings.
    pub dataset: &'a Dataset,
    /// Tables of the noise schedule.
    pub diffusion: &'a Diffusion,
    /// Where the tensors go.
    pub device: &'a Device,
}

impl Assembly<'_> {
    /// One batch for each size of picture among the samples, with the weights of its samples on the
    /// host too. A sample's weight is that of its timestep times `share / n`, n being the number of
    /// all samples: the losses of the batches add up to one mean.
    pub fn batches(
        &self,
        draws: &Draws,
        examples: &[&Example],
        share: f64,
    ) -> Result<Vec<(Batch, Vec<f64>)>> {
        let n = draws.index.len();
        let mut shapes: Vec<[usize; 3]> =
            draws.index.iter().map(|&i| examples[i].latents.shape).collect();
        let each = shapes.clone();
        shapes.sort_unstable();
        shapes.dedup();
        let of_shape = |shape: [usize; 3]| {
            let samples: Vec<usize> = (0..n).filter(|&j| each[j] == shape).collect();
            let mut weights = Vec::with_capacity(samples.len());
            let mut thresholds = Vec::new();
            let (mut noisy, mut target) = (Vec::new(), Vec::new());
            let (mut texts, mut sizes) = (Vec::new(), Vec::new());
            for &j in &samples {
                let example = examples[draws.index[j]];
                let t = draws.timesteps[j];
                let (latents, told) = match &example.mirrored {
                    Some(mirrored) if draws.mirrored[j] => (mirrored, example.sizes[1]),
                    _ => (&example.latents, example.sizes[0]),
                };
                let mut clean = latents.mean.clone();
                if let (Some(deviation), Some(z)) = (&latents.deviation, draws.posterior.get(j)) {
                    for ((x, deviation), z) in clean.iter_mut().zip(deviation).zip(z) {
                        *x += deviation * z;
                    }
                }
                self.diffuse(&clean, &draws.noise[j], t, &mut noisy, &mut target)?;
                let text = if draws.dropped[j] { &self.dataset.empty } else { &example.text };
                texts.push(text.as_slice());
                sizes.push(told);
                let weight = self.diffusion.weight(t, self.config.weighting)?;
                weights.push(share * weight / n as f64);
                if self.config.loss == LossKind::Huber {
                    let delta = self.diffusion.huber_delta(t, self.config.huber_c)?;
                    thresholds.push(delta as f32);
                }
            }
            let n = samples.len();
            let [channels, height, width] = shape;
            let pixels = [n, channels, height, width];
            let batch = Batch {
                noisy: self.upload(noisy, pixels),
                timesteps: samples.iter().map(|&j| draws.timesteps[j] as f64).collect(),
                context: self.context(&texts, sizes),
                target: self.upload(target, pixels),
                weights: self.upload(weights.iter().map(|&w| w as f32).collect(), [n, 1]),
                thresholds: (!thresholds.is_empty()).then(|| self.upload(thresholds, [n, 1])),
            };
            Ok((batch, weights))
        };
        shapes.into_iter().map(of_shape).collect()
    }

    /// What the UNet is told of samples: a text for each, and of SDXL what of the picture's size.
    pub fn context(&self, texts: &[&[f32]], sizes: Vec<TimeIds>) -> Context {
        let (n, pooled) = (texts.len(), self.dataset.pooled);
        let [tokens, width] = self.dataset.text_shape;
        let (embeddings, vectors): (Vec<&[f32]>, Vec<&[f32]>) =
            texts.iter().map(|text| text.split_at(text.len().min(tokens * width))).unzip();
        let added = (pooled > 0)
            .then(|| Added { pooled: self.upload(vectors.concat(), [n, pooled]), time_ids: sizes });
        Context { text: self.upload(embeddings.concat(), [n, tokens, width]), added }
    }

    /// Appends `x_t = sqrt(abar) x0 + sqrt(1 - abar) eps`, and what the model should say to it:
    /// `eps`, or `v = sqrt(abar) eps - sqrt(1 - abar) x0`.
    pub fn diffuse(
        &self,
        clean: &[f32],
        noise: &[f32],
        t: usize,
        noisy: &mut Vec<f32>,
        target: &mut Vec<f32>,
    ) -> Result<()> {
        let mix = |(per_clean, per_noise): (f64, f64), into: &mut Vec<f32>| {
            let (per_clean, per_noise) = (per_clean as f32, per_noise as f32);
            into.extend(clean.iter().zip(noise).map(|(x, eps)| per_clean * x + per_noise * eps));
        };
        mix(self.diffusion.noising(t)?, noisy);
        mix(self.diffusion.target(t)?, target);
        Ok(())
    }

    /// Numbers to a tensor.
    pub fn upload<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }
}

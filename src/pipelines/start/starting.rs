//! A picture on its way into latents, pulled piece by piece.

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};

use super::blend::Blend;
use super::prepared::{Masked, Prepared};
use super::{Content, Convention, Pictures, Start};
use crate::error::Result;
use crate::image::{Rgb, Rgba};
use crate::noise::Generator;
use crate::pipelines::normal::normal;
use crate::pipelines::{Coding, EncodePlan, StableDiffusion, Vae};
use crate::schedulers::{Call, Schedule};
use crate::weights::Task;

/// Which picture is encoded.
#[derive(Clone, Copy, PartialEq)]
enum Encoded {
    Picture,
    Hidden,
}

/// A picture that becomes the start of a run.
pub struct Starting {
    start: Start,
    /// What is encoded next, `[1, 3, height, width]` in -1..1.
    next: Option<(Encoded, Tensor<4>)>,
    masked: Option<Masked>,
    /// What the run starts from, unit normal, `[1, 4, h, w]`.
    noise: Tensor<4>,
    /// For a sample of what the encoder gives for the picture; none: its mean.
    sample: Option<Tensor<4>>,
    plan: Option<EncodePlan>,
    coding: Option<(Encoded, Coding)>,
    vae: Option<Rc<Vae>>,
    clean: Option<Tensor<4>>,
}

/// What a run starts from.
pub struct Started {
    /// The first sample, `[1, 4, h, w]`.
    pub sample: Tensor<4>,
    /// Where not all is painted anew.
    pub blend: Option<Blend>,
    /// What an inpainting UNet takes beside the latents, if the mask says so.
    pub beside: Option<Tensor<4>>,
}

impl Starting {
    /// Of a size in pixels. `noise` is what the run starts from, `sample` what diffusers draws before it.
    ///
    /// # Errors
    /// When a mask is asked for and missing, or a picture has no pixels.
    pub fn new(
        start: &Start,
        pictures: &Pictures,
        size: [usize; 2],
        noise: Tensor<4>,
        sample: Option<Tensor<4>>,
    ) -> Result<Self> {
        let Prepared { planes, masked } = Prepared::new(start, pictures, size)?;
        let pixels = on_device(planes, size, &noise.device());
        Ok(Self { sample, masked, ..Self::of_pixels(start.clone(), pixels, noise) })
    }

    /// Of pixels that lie ready, `[1, 3, height, width]` in -1..1, all of which are painted anew.
    pub fn of_pixels(start: Start, pixels: Tensor<4>, noise: Tensor<4>) -> Self {
        let next = Some((Encoded::Picture, pixels));
        let (masked, sample, plan, coding, vae, clean) = (None, None, None, None, None, None);
        Self { start, next, masked, noise, sample, plan, coding, vae, clean }
    }

    /// As planned; otherwise within the default limits.
    pub fn set_plan(&mut self, plan: EncodePlan) {
        self.plan = Some(plan);
    }

    /// The part of its work that is done, 0 to 1.
    pub fn done(&self) -> f64 {
        if let Some((Encoded::Hidden, _)) = self.next {
            return 0.5;
        }
        let part = |(what, coding): &(Encoded, Coding)| match (what, &self.masked) {
            (_, None) => coding.done(),
            // There may be a second picture to come.
            (Encoded::Picture, Some(_)) => 0.5 * coding.done(),
            (Encoded::Hidden, Some(_)) => 0.5 + 0.5 * coding.done(),
        };
        self.coding.as_ref().map_or(0.0, part)
    }

    /// What stays of the picture, over the one that was painted.
    pub fn lay_over(&self, painted: Rgba) -> Rgba {
        match &self.masked {
            None => painted,
            Some(masked) => masked.lay_over(Rgb::on_white(&painted)).to_rgba(),
        }
    }

    /// Does the next piece of work; at its end, what the run starts from.
    ///
    /// # Errors
    /// When the autoencoder has left the device and can't be loaded again.
    pub fn advance(
        &mut self,
        model: &StableDiffusion,
        schedule: &Schedule,
        generator: &mut Generator,
    ) -> Result<Option<Started>> {
        let vae = match self.vae.take() {
            Some(vae) => vae,
            None => model.vae()?,
        };
        let (what, mut coding) = match (self.coding.take(), self.next.take()) {
            (Some(coding), _) => coding,
            (None, Some((what, pixels))) => (what, self.begin(&vae, pixels)?),
            (None, None) => return Ok(None),
        };
        let Some(encoded) = vae.advance(&mut coding) else {
            (self.coding, self.vae) = (Some((what, coding)), Some(vae));
            return Ok(None);
        };
        let latents = self.latents(&vae, encoded, what, generator);
        let is_inpainting = model.family.task == Task::Inpainting;
        if what == Encoded::Picture {
            self.clean = Some(latents);
            if let Some(masked) = self.masked.as_ref().filter(|_| is_inpainting) {
                let [_, _, height, width] = self.noise.dims().map(|length| 8 * length);
                let hidden = on_device(masked.hidden.clone(), [width, height], model.device());
                (self.next, self.vae) = (Some((Encoded::Hidden, hidden)), Some(vae));
                return Ok(None);
            }
            if self.start.convention == Convention::Diffusers && self.masked.is_some() {
                // diffusers encodes the masked picture, and draws for it, for every UNet.
                generator.randn(self.noise.dims().iter().product());
            }
            return Ok(self.started(None, schedule, is_inpainting));
        }
        Ok(self.started(Some(latents), schedule, is_inpainting))
    }

    fn begin(&self, vae: &Vae, pixels: Tensor<4>) -> Result<Coding> {
        let [_, _, height, width] = pixels.dims();
        let plan = self.plan.clone().unwrap_or_else(|| vae.usual_encode_plan([height, width]));
        vae.begin_encode(&plan, pixels)
    }

    /// Scaled latents: the posterior's mean, or a sample of it.
    fn latents(
        &mut self,
        vae: &Vae,
        encoded: Tensor<4>,
        what: Encoded,
        generator: &mut Generator,
    ) -> Tensor<4> {
        let (mean, log_variance) = vae.posterior(encoded);
        let drawn = match what {
            Encoded::Picture => self.sample.take(),
            Encoded::Hidden => (self.start.convention == Convention::Diffusers)
                .then(|| normal(generator, self.noise.dims(), &self.noise.device())),
        };
        let latents = match (log_variance, drawn) {
            (Some(log_variance), Some(noise)) => mean + log_variance.mul_scalar(0.5).exp() * noise,
            _ => mean,
        };
        latents.mul_scalar(vae.scaling_factor())
    }

    fn started(
        &mut self,
        hidden: Option<Tensor<4>>,
        schedule: &Schedule,
        is_inpainting: bool,
    ) -> Option<Started> {
        let clean = self.clean.take()?;
        let noise = self.noise.clone();
        let first = schedule.calls.first()?;
        let Some(masked) = &self.masked else {
            return Some(Started {
                sample: noised(clean, noise, first),
                blend: None,
                beside: None,
            });
        };
        let [_, _, height, width] = clean.dims();
        let mask = |values: &[f32]| -> Tensor<4> {
            let data = TensorData::new(values.to_vec(), [1, 1, height, width]);
            Tensor::from_data(data, &clean.device())
        };
        let corners = mask(&masked.corners);
        let beside = hidden.map(|hidden| Tensor::cat(vec![corners.clone(), hidden], 1));
        if self.start.convention == Convention::Diffusers {
            let sample = match self.start.strength < 1.0 {
                true => noised(clean.clone(), noise.clone(), first),
                false => noise.clone().mul_scalar(schedule.init_noise_sigma),
            };
            let blend = Blend { clean, noise, painted: corners, convention: self.start.convention };
            // Of nine channels diffusers leaves the rest to the model.
            return Some(Started { sample, blend: (!is_inpainting).then_some(blend), beside });
        }
        let painted = mask(&masked.latents);
        let clean = with_content(clean, &noise, &painted, masked);
        let sample = noised(clean.clone(), noise.clone(), first);
        let blend = Blend { clean, noise, painted, convention: self.start.convention };
        Some(Started { sample, blend: Some(blend), beside })
    }
}

/// What is under the mask before it is painted.
fn with_content(
    clean: Tensor<4>,
    noise: &Tensor<4>,
    painted: &Tensor<4>,
    masked: &Masked,
) -> Tensor<4> {
    let kept = || clean.clone() * painted.clone().neg().add_scalar(1.0);
    match masked.inpaint.content {
        Content::Original | Content::Fill => clean,
        Content::Noise => kept() + noise.clone() * painted.clone(),
        Content::Nothing => kept(),
    }
}

/// Planes of a size in pixels.
fn on_device(planes: Vec<f32>, [width, height]: [usize; 2], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(planes, [1, 3, height, width]), device)
}

/// What a schedule's first call gets of clean latents.
pub fn noised(clean: Tensor<4>, noise: Tensor<4>, first: &Call) -> Tensor<4> {
    clean.mul_scalar(first.signal) + noise.mul_scalar(first.spread)
}

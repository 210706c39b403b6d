//! One way down a schedule, of latents of one size. A picture is made of one, or of two where it is drawn
//! once more and larger.

use burn::tensor::{Tensor, TensorData};

use super::conditioning::{Conditioning, Texts};
use super::normal::normal;
use super::sampler::Sampler;
use super::start::blend::Blend;
use super::start::starting::{Started, Starting, noised};
use super::{DecodePlan, EncodePlan, Pictures, Settings, StableDiffusion, Start, inpainting};
use crate::error::{Error, Result};
use crate::image::Rgba;
use crate::models::embeddings::timestep_embedding;
use crate::models::unet_2d_condition::UNetPass;
use crate::models::{Added, Context};
use crate::noise::{BrownianTree, Generator};
use crate::prompt::Calls;
use crate::schedulers::{Call, Schedule, SchedulerKind};
use crate::weights::Task;

/// Latents on their way down.
pub(super) struct Pass {
    schedule: Schedule,
    generator: Generator,
    /// Where the scheduler takes its noise from that.
    path: Option<BrownianTree>,
    texts: Texts,
    conditioning: Option<Conditioning>,
    guidance: f64,
    /// Model calls of all its steps, as prompts that change count them.
    pub calls: usize,
    /// What it starts from, unit normal, `[1, 4, h, w]`.
    noise: Tensor<4>,
    /// For a sample of the picture that it starts from; none: its mean.
    sample: Option<Tensor<4>>,
    /// How it starts, if not from noise alone.
    start: Option<Start>,
    starting: Option<Starting>,
    /// What stays of the picture that it starts from.
    blend: Option<Blend>,
    /// What an inpainting UNet takes beside the latents.
    beside: Option<Tensor<4>>,
    sampler: Sampler,
    unet: Option<UNetPass>,
    /// Whether the UNet is asked of the two prompts one after the other, and what it said of the first.
    in_turn: bool,
    answers: Vec<Tensor<4>>,
    /// What SDXL's UNet is told of the picture's size: of the negative prompt, then of the prompt.
    time_ids: [[f64; 6]; 2],
    /// Model calls done, and blocks of the next one.
    call: usize,
    stage: usize,
    pub encode_plan: Option<EncodePlan>,
    pub decode_plan: Option<DecodePlan>,
}

impl Pass {
    /// Draws the initial noise, or takes `noise` for it, and gives notes on the prompts. `before`: the
    /// model calls of the pass before this one.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn new(
        model: &StableDiffusion,
        settings: &Settings,
        noise: Option<Vec<f32>>,
        before: Option<usize>,
    ) -> Result<(Self, Vec<String>)> {
        let kind = match &settings.scheduler {
            Some(name) => name.parse::<SchedulerKind>()?,
            None => model.scheduler,
        };
        let start = settings.start.clone();
        let of_start = start.as_ref().map(|start| start.steps(settings.steps));
        let (steps, begin) = of_start.unwrap_or(Ok((settings.steps, 0)))?;
        let config = settings.scheduler_config(kind, steps, &model.scheduler_config)?;
        let schedule = Schedule::beginning(kind, &config, steps, begin)?;

        let channels = model.unet.config().out_channels;
        let shape = [1, channels, settings.height / 8, settings.width / 8];
        let count: usize = shape.iter().product();
        if let Some(noise) = noise.as_ref().filter(|noise| noise.len() != count) {
            return Err(Error::setting(
                "noise",
                format!("has {} numbers where {shape:?} needs {count}", noise.len()),
                "Give noise of the picture's size divided by 8",
            ));
        }
        let mut generator = Generator::new(settings.rng, settings.seed);
        let sampled = start.as_ref().is_some_and(|it| it.draws_a_sample(model.family.task));
        let sample = sampled.then(|| normal(&mut generator, shape, model.device()));
        let noise =
            noise.unwrap_or_else(|| settings.noise(&mut generator, [shape[1], shape[2], shape[3]]));
        let noise = Tensor::from_data(TensorData::new(noise, shape), model.device());
        // LCM models take guidance as an input (`time_cond_proj_dim`) and need no second prediction.
        let guided = settings.guidance > 1.0 && model.unet.config().time_cond_proj_dim.is_none();
        let path = schedule.path;
        let path = path.map(|ends| BrownianTree::new(settings.rng, settings.seed, count, ends));
        let calls = Calls { count: settings.steps * kind.calls_a_step(), before };
        let (texts, notes) = Texts::read(settings, &model.words(), guided, calls);
        let pass = Self {
            sampler: Sampler::new(noise.clone().mul_scalar(schedule.init_noise_sigma)),
            schedule,
            generator,
            path,
            texts,
            conditioning: None,
            guidance: settings.guidance,
            calls: calls.count,
            noise,
            sample,
            start,
            starting: None,
            blend: None,
            beside: None,
            unet: None,
            in_turn: guided && model.guides_in_turn(settings.width, settings.height),
            answers: Vec::new(),
            time_ids: settings.sizes.time_ids([settings.width, settings.height]),
            call: 0,
            stage: 0,
            encode_plan: None,
            decode_plan: None,
        };
        Ok((pass, notes))
    }

    /// Asks the UNet of the two prompts one after the other, or at once. Not while it is asked.
    pub fn guide_in_turn(&mut self, in_turn: bool) {
        if self.unet.is_none() && self.answers.is_empty() {
            self.in_turn = in_turn && self.texts.is_guided();
        }
    }

    /// Starts from the picture that its settings speak of, if they do.
    ///
    /// # Errors
    /// When it is missing, or of no use.
    pub fn start_from(&mut self, pictures: Option<&Pictures>) -> Result<()> {
        let Some(start) = &self.start else { return Ok(()) };
        let Some(pictures) = pictures else {
            let remedy = "Choose the picture to start from";
            return Err(Error::setting("picture", "is missing", remedy));
        };
        let [height, width] = self.size().map(|length| 8 * length);
        let (noise, sample) = (self.noise.clone(), self.sample.take());
        self.starting = Some(Starting::new(start, pictures, [width, height], noise, sample)?);
        Ok(())
    }

    /// Starts from pixels of its size, `[1, 3, height, width]` in -1..1.
    pub fn start_from_pixels(&mut self, pixels: Tensor<4>) {
        let start = self.start.clone().unwrap_or_default();
        self.starting = Some(Starting::of_pixels(start, pixels, self.noise.clone()));
    }

    /// Starts from latents of its size.
    pub fn start_from_latents(&mut self, clean: Tensor<4>) {
        if let Some(first) = self.schedule.calls.first() {
            self.sampler = Sampler::new(noised(clean, self.noise.clone(), first));
        }
    }

    /// Height and width of its latents.
    pub fn size(&self) -> [usize; 2] {
        let [_, _, height, width] = self.noise.dims();
        [height, width]
    }

    pub fn latents(&self) -> Tensor<4> {
        self.sampler.sample()
    }

    /// Encodes its prompts, or takes over those of the pass `before`, where they are the same.
    pub fn encode_texts(
        &mut self,
        model: &StableDiffusion,
        settings: &Settings,
        before: Option<&Self>,
    ) -> Result<()> {
        let same = before.filter(|before| before.texts.are_those_of(&self.texts));
        self.conditioning = match same.and_then(|before| before.conditioning.clone()) {
            Some(known) => Some(known),
            None => Some(Conditioning::new(model, settings, &self.texts)?),
        };
        Ok(())
    }

    /// Whether it starts from a picture that it was given.
    pub fn starts_from_picture(&self) -> bool {
        self.starting.is_some()
    }

    /// Encodes the next piece of the picture that it starts from; true: that was the last one.
    pub fn encode_piece(&mut self, model: &StableDiffusion) -> Result<bool> {
        let Some(starting) = &mut self.starting else { return Ok(true) };
        if let Some(plan) = self.encode_plan.take() {
            starting.set_plan(plan);
        }
        let started = starting.advance(model, &self.schedule, &mut self.generator)?;
        let Some(Started { sample, blend, beside }) = started else { return Ok(false) };
        (self.sampler, self.blend, self.beside) = (Sampler::new(sample), blend, beside);
        Ok(true)
    }

    /// Makes ready what the UNet takes beside the latents.
    pub fn begin_to_denoise(&mut self, model: &StableDiffusion) -> Result<()> {
        if model.family.task == Task::Inpainting && self.beside.is_none() {
            self.beside = Some(inpainting::of_nothing(model, self.size())?);
        }
        Ok(())
    }

    /// Does the next block of a model call; at the end of a step, what the model takes the finished latents
    /// to be.
    pub fn denoise_block(&mut self, model: &StableDiffusion) -> Option<Tensor<4>> {
        let unet = &model.unet;
        let call = self.schedule.calls[self.call];
        let pass = match &mut self.unet {
            Some(pass) => pass,
            none => {
                let [done, steps] = [self.call, self.schedule.calls.len()]
                    .map(|calls| self.schedule.steps_within(calls) as f32);
                model.adapters.borrow_mut().at(Some(done / steps));
                let mut input = self.sampler.sample().mul_scalar(call.input_scale);
                if let Some(beside) = &self.beside {
                    input = Tensor::cat(vec![input, beside.clone()], 1);
                }
                let said = self.conditioning.as_mut()?.said(&self.texts, self.call, self.in_turn);
                let said = said.into_iter().nth(self.answers.len())?;
                let batch = said.hidden.dims()[0];
                let input = input.repeat_dim(0, batch);
                // Without guidance there is no negative prompt.
                let first = self.answers.len() + usize::from(!self.texts.is_guided());
                let time_ids = self.time_ids.iter().skip(first).take(batch).copied().collect();
                let added = said.pooled.map(|pooled| Added { pooled, time_ids });
                let context = Context { text: said.hidden, added };
                let condition = unet.config().time_cond_proj_dim.map(|width| {
                    // diffusers, `get_guidance_scale_embedding`
                    let scale = (self.guidance - 1.0) * 1000.0;
                    timestep_embedding(&[scale], width, false, 1.0, model.device())
                });
                none.insert(unet.begin(input, &[call.timestep], context, condition))
            }
        };
        self.stage += 1;
        let output = unet.advance(pass)?;
        self.unet = None;
        if self.in_turn && self.answers.is_empty() {
            self.answers.push(output);
            return None;
        }
        self.stage = 0;

        let noise_prediction = if self.texts.is_guided() {
            let (unconditional, conditional) = match self.answers.pop() {
                Some(unconditional) => (unconditional, output),
                None => (output.clone().narrow(0, 0, 1), output.narrow(0, 1, 1)),
            };
            unconditional.clone() + (conditional - unconditional).mul_scalar(self.guidance)
        } else {
            output
        };
        let noise = (call.next.noise != 0.0).then(|| self.fresh_noise(&call));
        let blend = self.blend.as_ref();
        let x0 = self.sampler.apply(&call, noise_prediction, noise.as_ref(), blend);
        self.call += 1;
        if let Some(blend) = blend {
            self.sampler.keep(blend, self.schedule.calls.get(self.call));
        }
        if self.is_through() {
            model.adapters.borrow_mut().at(None);
            self.sampler = Sampler::new(self.sampler.sample());
        }
        call.ends_step.then_some(x0)
    }

    fn fresh_noise(&mut self, call: &Call) -> Tensor<4> {
        let sample = self.sampler.sample();
        match (&mut self.path, call.between) {
            (Some(path), Some([from, to])) => {
                let data = TensorData::new(path.noise(from, to), sample.dims());
                Tensor::from_data(data, &sample.device())
            }
            _ => normal(&mut self.generator, sample.dims(), &sample.device()),
        }
    }

    /// Whether its latents are final.
    pub fn is_through(&self) -> bool {
        self.call == self.schedule.calls.len()
    }

    /// What stays of the picture that it started from, over what was drawn.
    pub fn finished(&self, pixels: Rgba) -> Rgba {
        match &self.starting {
            Some(starting) => starting.lay_over(pixels),
            None => pixels,
        }
    }

    /// Steps done, and steps in all.
    pub fn steps(&self) -> [usize; 2] {
        [self.call, self.schedule.calls.len()].map(|calls| self.schedule.steps_within(calls))
    }

    /// The part of the picture that it starts from that is encoded, 0 to 1.
    pub fn encoded(&self) -> f64 {
        self.starting.as_ref().map_or(0.0, Starting::done)
    }

    /// Model calls done, and all of them.
    pub fn called(&self, model: &StableDiffusion) -> [f64; 2] {
        let stages = (1 + usize::from(self.in_turn)) * model.unet.stages();
        let within = self.stage as f64 / stages as f64;
        [self.call as f64 + within, self.schedule.calls.len() as f64]
    }
}

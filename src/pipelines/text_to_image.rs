//! Text to image, or text and image to image, pulled block by block.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};

use super::conditioning::{self, Conditioning, Texts};
use super::normal::normal;
use super::sampler::Sampler;
use super::start::blend::Blend;
use super::start::starting::{Started, Starting};
use super::{Coding, DecodePlan, EncodePlan, Pictures, Settings, StableDiffusion, Vae, inpainting};
use crate::error::{Error, Result};
use crate::image::Rgba;
use crate::models::embeddings::timestep_embedding;
use crate::models::unet_2d_condition::UNetPass;
use crate::noise::{BrownianTree, Generator};
use crate::schedulers::{Call, Schedule, SchedulerKind};
use crate::weights::Task;

/// What kind of work comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Encoding the prompts.
    Text,
    /// Encoding the picture that it starts from.
    Encode,
    /// Denoising the latents.
    Denoise,
    /// Decoding them.
    Decode,
    /// Nothing: the picture is there.
    Done,
}

/// What one pull did.
#[derive(Debug)]
pub struct Step {
    /// The phase that this work belonged to.
    pub phase: Phase,
    /// Denoising steps finished.
    pub step: usize,
    /// Denoising steps in all.
    pub steps: usize,
    /// Work done of all work, 0 to 1.
    pub fraction: f64,
    /// At the end of a denoising step: what the model takes the finished latents to be,
    /// `[1, 4, h, w]`.
    pub preview: Option<Tensor<4>>,
    /// At the very end: the picture, `[1, 3, height, width]` in about -1..1.
    pub picture: Option<Tensor<4>>,
}

/// A picture in the making. Dropping it cancels it.
pub struct TextToImage {
    model: Rc<StableDiffusion>,
    settings: Settings,
    schedule: Schedule,
    generator: Generator,
    /// Where the scheduler takes its noise from that.
    path: Option<BrownianTree>,
    texts: Texts,
    conditioning: Option<Conditioning>,
    /// What an inpainting UNet takes beside the latents.
    beside: Option<Tensor<4>>,
    /// The picture that it starts from.
    starting: Option<Starting>,
    /// What of that stays.
    blend: Option<Blend>,
    sampler: Sampler,
    decode_plan: Option<DecodePlan>,
    decoding: Option<Coding>,
    /// While it decodes: whoever releases the model's encoders in between makes it load nothing twice.
    vae: Option<Rc<Vae>>,
    pass: Option<UNetPass>,
    /// Model calls done.
    call: usize,
    stage: usize,
    phase: Phase,
    notes: Vec<String>,
}

impl TextToImage {
    /// Checks the settings and draws the initial noise, or takes `noise` (unit normal,
    /// `4 * height/8 * width/8` numbers) for it.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn new(
        model: Rc<StableDiffusion>,
        settings: Settings,
        noise: Option<Vec<f32>>,
    ) -> Result<Self> {
        Self::from_pictures(model, settings, noise, None)
    }

    /// The same, of the pictures that [`Settings::start`] speaks of.
    ///
    /// # Errors
    /// Names the setting that is out of range, or the picture that is missing.
    pub fn from_pictures(
        model: Rc<StableDiffusion>,
        settings: Settings,
        noise: Option<Vec<f32>>,
        pictures: Option<&Pictures>,
    ) -> Result<Self> {
        settings.check()?;
        let kind = match &settings.scheduler {
            Some(name) => name.parse::<SchedulerKind>()?,
            None => model.scheduler,
        };
        let start = settings.start.as_ref();
        let (steps, begin) = start.map_or(Ok((settings.steps, 0)), |s| s.steps(settings.steps))?;
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
        let sample = start
            .filter(|start| start.draws_a_sample(model.family.task))
            .map(|_| normal(&mut generator, shape, model.device()));
        let noise =
            noise.unwrap_or_else(|| settings.noise(&mut generator, [shape[1], shape[2], shape[3]]));
        let noise = Tensor::from_data(TensorData::new(noise, shape), model.device());
        let latents = noise.clone().mul_scalar(schedule.init_noise_sigma);
        let starting = match (start, pictures) {
            (None, _) => None,
            (Some(start), Some(pictures)) => {
                let size = [settings.width, settings.height];
                Some(Starting::new(start, pictures, size, noise, sample)?)
            }
            (Some(_), None) => {
                let remedy = "Choose the picture to start from";
                return Err(Error::setting("picture", "is missing", remedy));
            }
        };
        // LCM models take guidance as an input (`time_cond_proj_dim`) and need no second pass.
        let guided = settings.guidance > 1.0 && model.unet.config().time_cond_proj_dim.is_none();
        let path = schedule.path;
        let path = path.map(|ends| BrownianTree::new(settings.rng, settings.seed, count, ends));
        let calls = settings.steps * kind.calls_a_step();
        let (texts, mut notes) = Texts::read(&settings, &model.words(), guided, calls);
        notes.extend(conditioning::skipped(&model, &settings).1);
        Ok(Self {
            model,
            settings,
            schedule,
            generator,
            path,
            texts,
            conditioning: None,
            beside: None,
            starting,
            blend: None,
            sampler: Sampler::new(latents),
            decode_plan: None,
            decoding: None,
            vae: None,
            pass: None,
            call: 0,
            stage: 0,
            phase: Phase::Text,
            notes,
        })
    }

    /// Decodes as planned, for this picture's size; otherwise within [`Limits`](super::Limits)' default.
    pub fn set_decode_plan(&mut self, plan: DecodePlan) {
        self.decode_plan = Some(plan);
    }

    /// The same for the picture that it starts from.
    pub fn set_encode_plan(&mut self, plan: EncodePlan) {
        if let Some(starting) = &mut self.starting {
            starting.set_plan(plan);
        }
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latents so far, as the UNet has them: final once the phase is [`Phase::Decode`].
    pub fn latents(&self) -> Tensor<4> {
        self.sampler.sample()
    }

    /// The phase that the next pull works on.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Things worth knowing of the prompts, as sentences: what of them may be read otherwise than it was
    /// meant.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Does the next block of work.
    ///
    /// # Errors
    /// When the text encoder refuses the prompt, or an encoder that was released can't be loaded
    /// again. Calling it after the picture was given is an error too.
    pub fn advance(&mut self) -> Result<Step> {
        let phase = self.phase;
        let mut preview = None;
        let mut picture = None;
        match phase {
            Phase::Text => {
                let conditioning = Conditioning::new(&self.model, &self.settings, &self.texts)?;
                self.conditioning = Some(conditioning);
                self.phase = Phase::Encode;
                if self.starting.is_none() {
                    self.begin_to_denoise()?;
                }
            }
            Phase::Encode => self.encode_piece()?,
            Phase::Denoise => preview = self.denoise_block(),
            Phase::Decode => picture = self.decode_piece()?,
            Phase::Done => {
                return Err(Error::setting("picture", "is finished already", "Start another one"));
            }
        }
        let fraction = self.fraction();
        let step = self.schedule.steps_within(self.call);
        let steps = self.schedule.steps_within(self.schedule.calls.len());
        Ok(Step { phase, step, steps, fraction, preview, picture })
    }

    fn encode_piece(&mut self) -> Result<()> {
        let Some(starting) = &mut self.starting else { return self.begin_to_denoise() };
        let started = starting.advance(&self.model, &self.schedule, &mut self.generator)?;
        if let Some(Started { sample, blend, beside }) = started {
            (self.sampler, self.blend, self.beside) = (Sampler::new(sample), blend, beside);
            self.begin_to_denoise()?;
        }
        Ok(())
    }

    fn begin_to_denoise(&mut self) -> Result<()> {
        if self.model.family.task == Task::Inpainting && self.beside.is_none() {
            let [_, _, height, width] = self.latents().dims();
            self.beside = Some(inpainting::of_nothing(&self.model, [height, width])?);
        }
        self.phase = Phase::Denoise;
        Ok(())
    }

    fn denoise_block(&mut self) -> Option<Tensor<4>> {
        let model = self.model.clone();
        let unet = &model.unet;
        let call = self.schedule.calls[self.call];
        let pass = match &mut self.pass {
            Some(pass) => pass,
            none => {
                let mut input = self.sampler.sample().mul_scalar(call.input_scale);
                if let Some(beside) = &self.beside {
                    input = Tensor::cat(vec![input, beside.clone()], 1);
                }
                let context = self.conditioning.as_mut()?.context(&self.texts, self.call);
                let batch = context.dims()[0];
                let input = input.repeat_dim(0, batch);
                let condition = unet.config().time_cond_proj_dim.map(|width| {
                    // diffusers, `get_guidance_scale_embedding`
                    let scale = (self.settings.guidance - 1.0) * 1000.0;
                    timestep_embedding(&[scale], width, false, 1.0, model.device())
                });
                none.insert(unet.begin(input, &[call.timestep], context, condition))
            }
        };
        self.stage += 1;
        let output = unet.advance(pass)?;
        self.pass = None;
        self.stage = 0;

        let noise_prediction = if self.texts.is_guided() {
            let unconditional = output.clone().narrow(0, 0, 1);
            let conditional = output.narrow(0, 1, 1);
            unconditional.clone() + (conditional - unconditional).mul_scalar(self.settings.guidance)
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
        if self.call == self.schedule.calls.len() {
            self.phase = Phase::Decode;
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

    fn decode_piece(&mut self) -> Result<Option<Tensor<4>>> {
        let vae = match self.vae.take() {
            Some(vae) => vae,
            None => self.model.vae()?,
        };
        let mut decoding = match self.decoding.take() {
            Some(decoding) => decoding,
            None => {
                let [_, _, height, width] = self.sampler.sample().dims();
                let plan = self.decode_plan.take();
                let plan = plan.unwrap_or_else(|| vae.usual_decode_plan([height, width]));
                let latents = self.sampler.sample().div_scalar(vae.scaling_factor());
                vae.begin_decode(&plan, latents)?
            }
        };
        let picture = vae.advance(&mut decoding);
        if picture.is_some() {
            self.phase = Phase::Done;
        } else {
            (self.decoding, self.vae) = (Some(decoding), Some(vae));
        }
        Ok(picture)
    }

    /// What stays of the picture that it started from, over what was drawn: of the size of that picture
    /// where only a part of it was worked on. A picture from noise alone is as it is.
    pub fn finished(&self, pixels: Rgba) -> Rgba {
        match &self.starting {
            Some(starting) => starting.lay_over(pixels),
            None => pixels,
        }
    }

    /// Decoding is counted as two model calls, which is about what it takes at any size, encoding as one.
    fn fraction(&self) -> f64 {
        const DECODE: f64 = 2.0;
        let encode = if self.starting.is_some() { 1.0 } else { 0.0 };
        let calls = self.schedule.calls.len() as f64;
        let done = match self.phase {
            Phase::Text => 0.0,
            Phase::Encode => self.starting.as_ref().map_or(0.0, Starting::done) * encode,
            Phase::Denoise => {
                let within = self.stage as f64 / self.model.unet.stages() as f64;
                encode + self.call as f64 + within
            }
            Phase::Decode => {
                encode + calls + DECODE * self.decoding.as_ref().map_or(0.0, Coding::done)
            }
            Phase::Done => encode + calls + DECODE,
        };
        done / (encode + calls + DECODE)
    }
}

//! Text to image, pulled block by block.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};

use super::{Coding, DecodePlan, StableDiffusion, Vae, inpainting};
use crate::error::{Error, Result};
use crate::models::embeddings::timestep_embedding;
use crate::models::unet_2d_condition::UNetPass;
use crate::noise::TorchGenerator;
use crate::schedulers::{Schedule, SchedulerKind};
use crate::weights::Task;

/// What to make.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// What to draw.
    pub prompt: String,
    /// What to keep away from.
    #[serde(default)]
    pub negative_prompt: String,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 or less means none, and half the work.
    pub guidance: f64,
    /// PyTorch's CPU generator is seeded with it.
    pub seed: u64,
    /// A scheduler's name, or none for the model's own.
    #[serde(default)]
    pub scheduler: Option<String>,
    /// Pixels, a multiple of 8.
    pub width: usize,
    /// Pixels, a multiple of 8.
    pub height: usize,
}

/// What kind of work comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Encoding the prompts.
    Text,
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
    generator: TorchGenerator,
    context: Option<Tensor<3>>,
    /// What an inpainting UNet takes beside the latents.
    beside: Option<Tensor<4>>,
    latents: Tensor<4>,
    previous_x0: Option<Tensor<4>>,
    decode_plan: Option<DecodePlan>,
    decoding: Option<Coding>,
    /// While it decodes: whoever releases the model's encoders in between makes it load nothing twice.
    vae: Option<Rc<Vae>>,
    pass: Option<UNetPass>,
    step: usize,
    stage: usize,
    phase: Phase,
    truncated: Vec<String>,
}

impl TextToImage {
    /// The most pixels in either direction.
    pub const MOST_PIXELS: usize = 2048;

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
        for (name, value) in [("width", settings.width), ("height", settings.height)] {
            if value == 0 || value % 8 != 0 || value > Self::MOST_PIXELS {
                return Err(Error::setting(
                    name,
                    format!("{value} is not a multiple of 8 from 8 to {}", Self::MOST_PIXELS),
                    "Choose a multiple of 8",
                ));
            }
        }
        if !settings.guidance.is_finite() || !(0.0..=100.0).contains(&settings.guidance) {
            return Err(Error::setting(
                "guidance",
                format!("{} is not between 0 and 100", settings.guidance),
                "Choose a value from 1 (none) to 15",
            ));
        }
        let kind = match &settings.scheduler {
            Some(name) => name.parse::<SchedulerKind>()?,
            None => model.scheduler,
        };
        let schedule = Schedule::new(kind, &model.scheduler_config, settings.steps)?;

        let channels = model.unet.config().out_channels;
        let shape = [1, channels, settings.height / 8, settings.width / 8];
        let count = shape.iter().product();
        let mut generator = TorchGenerator::new(settings.seed);
        let noise = match noise {
            Some(noise) if noise.len() == count => noise,
            Some(noise) => {
                return Err(Error::setting(
                    "noise",
                    format!("has {} numbers where {shape:?} needs {count}", noise.len()),
                    "Give noise of the picture's size divided by 8",
                ));
            }
            None => generator.randn(count),
        };
        let latents = Tensor::from_data(TensorData::new(noise, shape), model.device())
            .mul_scalar(schedule.init_noise_sigma);
        Ok(Self {
            model,
            settings,
            schedule,
            generator,
            context: None,
            beside: None,
            latents,
            previous_x0: None,
            decode_plan: None,
            decoding: None,
            vae: None,
            pass: None,
            step: 0,
            stage: 0,
            phase: Phase::Text,
            truncated: Vec::new(),
        })
    }

    /// Decodes as planned, for this picture's size; otherwise within [`Limits`](super::Limits)' default.
    pub fn set_decode_plan(&mut self, plan: DecodePlan) {
        self.decode_plan = Some(plan);
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latents so far, as the UNet has them: final once the phase is [`Phase::Decode`].
    pub fn latents(&self) -> Tensor<4> {
        self.latents.clone()
    }

    /// The phase that the next pull works on.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The ends of prompts that were too long for the text encoder.
    pub fn truncated(&self) -> &[String] {
        &self.truncated
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
                self.context = Some(self.encode_prompts()?);
                if self.model.family.task == Task::Inpainting {
                    let [_, _, height, width] = self.latents.dims();
                    self.beside = Some(inpainting::of_nothing(&self.model, [height, width])?);
                }
                self.phase = Phase::Denoise;
            }
            Phase::Denoise => preview = self.denoise_block(),
            Phase::Decode => picture = self.decode_piece()?,
            Phase::Done => {
                return Err(Error::setting("picture", "is finished already", "Start another one"));
            }
        }
        let fraction = self.fraction();
        let steps = self.schedule.steps.len();
        Ok(Step { phase, step: self.step, steps, fraction, preview, picture })
    }

    fn guided(&self) -> bool {
        // LCM models take guidance as an input (`time_cond_proj_dim`) and need no second pass.
        self.settings.guidance > 1.0 && self.model.unet.config().time_cond_proj_dim.is_none()
    }

    fn encode_prompts(&mut self) -> Result<Tensor<3>> {
        let model = self.model.clone();
        let guided = self.guided();
        let mut ids = Vec::new();
        let mut encode = |text: &str| -> Result<()> {
            let encoding = model.tokenizer.encode(text)?;
            self.truncated.extend(encoding.truncated);
            ids.push(encoding.ids);
            Ok(())
        };
        if guided {
            encode(&self.settings.negative_prompt)?;
        }
        encode(&self.settings.prompt)?;
        model.embeddings(&ids)
    }

    fn denoise_block(&mut self) -> Option<Tensor<4>> {
        let model = self.model.clone();
        let unet = &model.unet;
        let step = self.schedule.steps[self.step];
        let pass = match &mut self.pass {
            Some(pass) => pass,
            none => {
                let mut input = self.latents.clone().mul_scalar(step.input_scale);
                if let Some(beside) = &self.beside {
                    input = Tensor::cat(vec![input, beside.clone()], 1);
                }
                let context = self.context.clone()?;
                let batch = context.dims()[0];
                let input = input.repeat_dim(0, batch);
                let condition = unet.config().time_cond_proj_dim.map(|width| {
                    // diffusers, `get_guidance_scale_embedding`
                    let scale = (self.settings.guidance - 1.0) * 1000.0;
                    timestep_embedding(&[scale], width, false, 1.0, model.device())
                });
                none.insert(unet.begin(input, &[step.timestep], context, condition))
            }
        };
        self.stage += 1;
        let output = unet.advance(pass)?;
        self.pass = None;
        self.stage = 0;

        let noise_prediction = if self.guided() {
            let unconditional = output.clone().narrow(0, 0, 1);
            let conditional = output.narrow(0, 1, 1);
            unconditional.clone() + (conditional - unconditional).mul_scalar(self.settings.guidance)
        } else {
            output
        };
        let x0 = self.apply(&step, noise_prediction);
        self.step += 1;
        if self.step == self.schedule.steps.len() {
            self.phase = Phase::Decode;
            self.previous_x0 = None;
        }
        Some(x0)
    }

    /// One scheduler step: a linear map (see [`crate::schedulers::Step`]). Returns x0.
    fn apply(&mut self, step: &crate::schedulers::Step, output: Tensor<4>) -> Tensor<4> {
        let sample = self.latents.clone();
        let mut x0 = sample.clone().mul_scalar(step.x0_from_sample)
            + output.clone().mul_scalar(step.x0_from_model);
        if let Some(range) = step.clip {
            x0 = x0.clamp(-range, range);
        }
        let mut next = sample.mul_scalar(step.from_sample);
        let mut add = |tensor: Tensor<4>, coefficient: f64| {
            if coefficient != 0.0 {
                next = next.clone() + tensor.mul_scalar(coefficient);
            }
        };
        add(output, step.from_model);
        add(x0.clone(), step.from_x0);
        if let Some(previous) = self.previous_x0.take() {
            add(previous, step.from_previous_x0);
        }
        if step.from_noise != 0.0 {
            let shape = x0.dims();
            let noise = self.generator.randn(shape.iter().product());
            let noise = Tensor::from_data(TensorData::new(noise, shape), self.model.device());
            add(noise, step.from_noise);
        }
        self.latents = next;
        self.previous_x0 = Some(x0.clone());
        x0
    }

    fn decode_piece(&mut self) -> Result<Option<Tensor<4>>> {
        let vae = match self.vae.take() {
            Some(vae) => vae,
            None => self.model.vae()?,
        };
        let mut decoding = match self.decoding.take() {
            Some(decoding) => decoding,
            None => {
                let [_, _, height, width] = self.latents.dims();
                let plan = self.decode_plan.take();
                let plan = plan.unwrap_or_else(|| vae.usual_decode_plan([height, width]));
                let latents = self.latents.clone().div_scalar(vae.scaling_factor());
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

    /// Decoding is counted as two denoising steps, which is about what it takes at any size.
    fn fraction(&self) -> f64 {
        const DECODE: f64 = 2.0;
        let steps = self.schedule.steps.len() as f64;
        let done = match self.phase {
            Phase::Text => 0.0,
            Phase::Denoise => {
                self.step as f64 + self.stage as f64 / self.model.unet.stages() as f64
            }
            Phase::Decode => steps + DECODE * self.decoding.as_ref().map_or(0.0, Coding::done),
            Phase::Done => steps + DECODE,
        };
        done / (steps + DECODE)
    }
}

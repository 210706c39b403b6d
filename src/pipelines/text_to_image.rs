//! Text to image, or text and image to image, pulled block by block.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::pass::Pass;
use super::{
    Coding, DecodePlan, EncodePlan, Pictures, Settings, StableDiffusion, Upscaler, Vae,
    conditioning,
};
use crate::error::{Error, Result};
use crate::image::Rgba;

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
    /// One, or the second, larger one after it.
    passes: Vec<Pass>,
    /// The one that is under way.
    at: usize,
    decoding: Option<Coding>,
    /// While it decodes: whoever releases the model's encoders in between makes it load nothing twice.
    vae: Option<Rc<Vae>>,
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
        let (mut first, mut notes) = Pass::new(&model, &settings, noise, None)?;
        first.start_from(pictures)?;
        let mut passes = vec![first];
        if let Some(larger) = settings.second_pass()? {
            let (second, of_second) = Pass::new(&model, &larger, None, Some(passes[0].calls))?;
            passes.push(second);
            // The prompts are the same, and what never shows is what doesn't in either.
            notes = of_second;
        }
        notes.extend(conditioning::skipped(&model, &settings).1);
        let (at, decoding, vae, phase) = (0, None, None, Phase::Text);
        Ok(Self { model, settings, passes, at, decoding, vae, phase, notes })
    }

    /// Decodes as planned, where the plan is for this picture's size or for that of its first pass;
    /// otherwise within [`Limits`](super::Limits)' default.
    pub fn set_decode_plan(&mut self, plan: &DecodePlan) {
        for pass in self.passes.iter_mut().filter(|pass| pass.size() == plan.input()) {
            pass.decode_plan = Some(plan.clone());
        }
    }

    /// The same for the picture that it starts from, or that its second pass does.
    pub fn set_encode_plan(&mut self, plan: EncodePlan) {
        if let Some(pass) = self.passes.last_mut() {
            pass.encode_plan = Some(plan);
        }
    }

    /// Asks the UNet of the negative prompt and of the prompt one after the other, or at once. What it does by
    /// itself [`StableDiffusion::guides_in_turn`] tells; the picture is the same.
    pub fn guide_in_turn(&mut self, in_turn: bool) {
        for pass in &mut self.passes {
            pass.guide_in_turn(in_turn);
        }
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latents so far, as the UNet has them: final once the phase is [`Phase::Decode`].
    pub fn latents(&self) -> Tensor<4> {
        self.passes[self.at].latents()
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
                for at in 0..self.passes.len() {
                    let (before, rest) = self.passes.split_at_mut(at);
                    rest[0].encode_texts(&self.model, &self.settings, before.last())?;
                }
                self.begin_pass()?;
            }
            Phase::Encode => {
                if self.passes[self.at].encode_piece(&self.model)? {
                    self.begin_to_denoise()?;
                }
            }
            Phase::Denoise => {
                let pass = &mut self.passes[self.at];
                preview = pass.denoise_block(&self.model);
                if pass.is_through() {
                    self.denoised()?;
                }
            }
            Phase::Decode => picture = self.decode_piece()?,
            Phase::Done => {
                return Err(Error::setting("picture", "is finished already", "Start another one"));
            }
        }
        let fraction = self.fraction();
        let [mut step, mut steps] = [0; 2];
        for [done, all] in self.passes.iter().map(Pass::steps) {
            (step, steps) = (step + done, steps + all);
        }
        Ok(Step { phase, step, steps, fraction, preview, picture })
    }

    fn begin_pass(&mut self) -> Result<()> {
        self.phase = Phase::Encode;
        if self.passes[self.at].starts_from_picture() { Ok(()) } else { self.begin_to_denoise() }
    }

    fn begin_to_denoise(&mut self) -> Result<()> {
        self.phase = Phase::Denoise;
        self.passes[self.at].begin_to_denoise(&self.model)
    }

    /// What makes the next pass larger, if there is one.
    fn upscaler(&self) -> Option<Upscaler> {
        let hires = self.settings.hires.as_ref().filter(|_| self.at + 1 < self.passes.len());
        hires.map(|hires| hires.upscaler)
    }

    /// The pass's latents are final: they are decoded, or made larger as they are.
    fn denoised(&mut self) -> Result<()> {
        match self.upscaler().filter(|upscaler| upscaler.takes_latents()) {
            None => self.phase = Phase::Decode,
            Some(upscaler) => {
                let latents = self.latents();
                self.at += 1;
                let pass = &mut self.passes[self.at];
                let [height, width] = pass.size();
                pass.start_from_latents(upscaler.enlarge(latents, [width, height]));
                self.begin_pass()?;
            }
        }
        Ok(())
    }

    fn decode_piece(&mut self) -> Result<Option<Tensor<4>>> {
        let vae = match self.vae.take() {
            Some(vae) => vae,
            None => self.model.vae()?,
        };
        let mut decoding = match self.decoding.take() {
            Some(decoding) => decoding,
            None => {
                let pass = &mut self.passes[self.at];
                let plan = pass.decode_plan.take();
                let plan = plan.unwrap_or_else(|| vae.usual_decode_plan(pass.size()));
                vae.begin_decode(&plan, pass.latents().div_scalar(vae.scaling_factor()))?
            }
        };
        let Some(picture) = vae.advance(&mut decoding) else {
            (self.decoding, self.vae) = (Some(decoding), Some(vae));
            return Ok(None);
        };
        let Some(upscaler) = self.upscaler() else {
            self.phase = Phase::Done;
            return Ok(Some(picture));
        };
        self.at += 1;
        let pass = &mut self.passes[self.at];
        let [height, width] = pass.size().map(|length| 8 * length);
        pass.start_from_pixels(upscaler.enlarge(picture, [width, height]));
        self.begin_pass()?;
        Ok(None)
    }

    /// What stays of the picture that it started from, over what was drawn: of the size of that picture
    /// where only a part of it was worked on. A picture from noise alone is as it is.
    pub fn finished(&self, pixels: Rgba) -> Rgba {
        self.passes[self.at].finished(pixels)
    }

    /// Decoding is counted as two model calls of its size, which is about what it takes, encoding as one.
    fn fraction(&self) -> f64 {
        const DECODE: f64 = 2.0;
        let by_picture =
            self.settings.hires.as_ref().is_some_and(|it| !it.upscaler.takes_latents());
        let last = self.passes.len() - 1;
        let [mut done, mut all] = [0.0; 2];
        for (i, pass) in self.passes.iter().enumerate() {
            let encodes = pass.starts_from_picture() || i > 0 && by_picture;
            let encode = if encodes { 1.0 } else { 0.0 };
            let decode = if i == last || by_picture { DECODE } else { 0.0 };
            let [called, calls] = pass.called(&self.model);
            let work = encode + calls + decode;
            let so_far = match self.phase {
                _ if i != self.at => {
                    if i < self.at {
                        work
                    } else {
                        0.0
                    }
                }
                Phase::Text => 0.0,
                Phase::Encode => encode * pass.encoded(),
                Phase::Denoise => encode + called,
                Phase::Decode => {
                    encode + calls + decode * self.decoding.as_ref().map_or(0.0, Coding::done)
                }
                Phase::Done => work,
            };
            let [height, width] = pass.size();
            let pixels = (height * width) as f64;
            (done, all) = (done + so_far * pixels, all + work * pixels);
        }
        done / all
    }
}

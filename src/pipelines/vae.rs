//! Either autoencoder, and a picture's way through it: planned by what there is, and pulled.

use burn::tensor::Tensor;

use super::loader::Loader;
use crate::error::{Error, Result};
use crate::layers::{Moments, Parameters};
use crate::models::bands::{Limits, Plan, Program, Walk};
use crate::models::{AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig};
use crate::weights::Component;

/// How latents become pixels.
pub type DecodePlan = Plan;

/// How pixels become latents.
pub type EncodePlan = Plan;

/// Either autoencoder.
#[derive(Debug)]
pub enum Vae {
    /// The full one.
    Kl(Box<AutoencoderKL>),
    /// TAESD.
    Tiny(AutoencoderTiny),
}

impl Vae {
    /// Loads the kind that its config names.
    pub(super) fn load(loader: &mut Loader<'_, '_>, component: &Component) -> Result<Self> {
        if component.config["_class_name"] == "AutoencoderTiny" {
            let config = AutoencoderTinyConfig::parse(component)?;
            let load = |parameters: &Parameters| AutoencoderTiny::load(&config, parameters);
            Ok(Self::Tiny(loader.load(component, &[], load)?.0))
        } else {
            let config = AutoencoderKLConfig::parse(component)?;
            let load = |parameters: &Parameters| AutoencoderKL::load(&config, parameters);
            Ok(Self::Kl(Box::new(loader.load(component, &[], load)?.0)))
        }
    }

    /// The decoder of latents of `[height, width]`, by the component's config.
    fn decoder(component: &Component, latents: [usize; 2]) -> Result<Program> {
        if component.config["_class_name"] == "AutoencoderTiny" {
            return Ok(AutoencoderTinyConfig::parse(component)?.decoder_program(latents));
        }
        Ok(AutoencoderKLConfig::parse(component)?.decoder_program(latents))
    }

    /// [`Self::decode_plan`] before it is loaded.
    pub(super) fn decode_plan_of(
        component: &Component,
        latents: [usize; 2],
        limits: Limits,
    ) -> Result<DecodePlan> {
        Self::decoder(component, latents)?.plan(limits, &decoding(latents))
    }

    /// [`Self::encode_plan`] before it is loaded.
    pub(super) fn encode_plan_of(
        component: &Component,
        pixels: [usize; 2],
        limits: Limits,
    ) -> Result<EncodePlan> {
        let program = if component.config["_class_name"] == "AutoencoderTiny" {
            AutoencoderTinyConfig::parse(component)?.encoder_program(pixels)
        } else {
            AutoencoderKLConfig::parse(component)?.encoder_program(pixels)
        };
        program.plan(limits, &encoding(pixels))
    }

    /// The plan of the least memory, before it is loaded.
    ///
    /// # Errors
    /// When its config can't be read.
    pub(super) fn least_decode_plan_of(
        component: &Component,
        latents: [usize; 2],
    ) -> Result<DecodePlan> {
        Ok(Self::decoder(component, latents)?.least_plan())
    }

    /// How latents of `[height, width]` are decoded within these limits: whole where that fits,
    /// otherwise in bands of rows, with as little work done twice as can be. The pixels are the same.
    ///
    /// # Errors
    /// When it fits in no way.
    pub fn decode_plan(&self, latents: [usize; 2], limits: Limits) -> Result<DecodePlan> {
        self.decoder_program(latents).plan(limits, &decoding(latents))
    }

    /// The same of encoding pictures of `[height, width]`.
    ///
    /// # Errors
    /// When it fits in no way.
    pub fn encode_plan(&self, pixels: [usize; 2], limits: Limits) -> Result<EncodePlan> {
        self.encoder_program(pixels).plan(limits, &encoding(pixels))
    }

    /// The plan where nobody has told what there is.
    pub(super) fn usual_decode_plan(&self, latents: [usize; 2]) -> DecodePlan {
        self.decoder_program(latents).usual_plan()
    }

    /// The same of encoding pictures of `[height, width]`.
    pub(super) fn usual_encode_plan(&self, pixels: [usize; 2]) -> EncodePlan {
        self.encoder_program(pixels).usual_plan()
    }

    fn decoder_program(&self, latents: [usize; 2]) -> Program {
        match self {
            Self::Kl(vae) => vae.config().decoder_program(latents),
            Self::Tiny(vae) => vae.config().decoder_program(latents),
        }
    }

    fn encoder_program(&self, pixels: [usize; 2]) -> Program {
        match self {
            Self::Kl(vae) => vae.config().encoder_program(pixels),
            Self::Tiny(vae) => vae.config().encoder_program(pixels),
        }
    }

    /// Begins to decode unscaled latents `[1, 4, h, w]` as planned.
    ///
    /// # Errors
    /// When the plan is for others.
    pub fn begin_decode(&self, plan: &DecodePlan, latents: Tensor<4>) -> Result<Coding> {
        Coding::new(plan, latents, Half::Decoder)
    }

    /// Begins to encode pixels `[1, 3, h, w]` in -1..1 as planned.
    ///
    /// # Errors
    /// When the plan is for others.
    pub fn begin_encode(&self, plan: &EncodePlan, pixels: Tensor<4>) -> Result<Coding> {
        Coding::new(plan, pixels, Half::Encoder)
    }

    /// Does the next piece of work. At its end: pixels `[1, 3, 8h, 8w]` in about -1..1, or what
    /// [`Self::posterior`] takes apart. It isn't called after that.
    pub fn advance(&self, coding: &mut Coding) -> Option<Tensor<4>> {
        let stages = match (self, coding.half) {
            (Self::Kl(vae), Half::Decoder) => vae.decoder_stages(),
            (Self::Kl(vae), Half::Encoder) => vae.encoder_stages(),
            (Self::Tiny(vae), Half::Decoder) => vae.decoder_stages(),
            (Self::Tiny(vae), Half::Encoder) => vae.encoder_stages(),
        };
        coding.pieces += 1;
        coding.walk.advance(&stages)
    }

    /// Encodes pixels `[1, 3, h, w]` in -1..1 in one go, within the default limits where that can be,
    /// to what [`Self::posterior`] gives.
    pub fn encode(&self, pixels: Tensor<4>) -> (Tensor<4>, Option<Tensor<4>>) {
        let [_, _, height, width] = pixels.dims();
        let plan = self.encoder_program([height, width]).usual_plan();
        self.posterior(self.finish(Coding::begin(&plan, pixels, Half::Encoder)))
    }

    /// Decodes unscaled latents `[1, 4, h, w]` in one go, within the default limits where that can be.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = latents.dims();
        let plan = self.usual_decode_plan([height, width]);
        self.finish(Coding::begin(&plan, latents, Half::Decoder))
    }

    fn finish(&self, mut coding: Coding) -> Tensor<4> {
        loop {
            if let Some(output) = self.advance(&mut coding) {
                return output;
            }
        }
    }

    /// The unscaled latents that encoding gave, and the natural logarithm of their variance where the
    /// autoencoder gives one (TAESD has none): each `[1, 4, h/8, w/8]`.
    pub fn posterior(&self, encoded: Tensor<4>) -> (Tensor<4>, Option<Tensor<4>>) {
        match self {
            Self::Kl(vae) => {
                let posterior = vae.posterior(encoded);
                (posterior.mean, Some(posterior.logvar))
            }
            Self::Tiny(_) => (encoded, None),
        }
    }

    /// What the UNet's latents are divided by before decoding.
    pub fn scaling_factor(&self) -> f64 {
        match self {
            Self::Kl(vae) => vae.config().scaling_factor,
            Self::Tiny(vae) => vae.config().scaling_factor,
        }
    }
}

fn decoding([height, width]: [usize; 2]) -> String {
    format!("decoding {} x {} pixels", 8 * width, 8 * height)
}

fn encoding([height, width]: [usize; 2]) -> String {
    format!("encoding {width} x {height} pixels")
}

#[derive(Debug, Clone, Copy)]
enum Half {
    Encoder,
    Decoder,
}

/// A picture on its way through an autoencoder. Dropping it ends it.
#[derive(Debug)]
pub struct Coding {
    walk: Walk<Tensor<4>, Moments>,
    plan: Plan,
    pieces: usize,
    half: Half,
}

impl Coding {
    fn new(plan: &Plan, input: Tensor<4>, half: Half) -> Result<Self> {
        let [n, _, height, width] = input.dims();
        if n != 1 || plan.input() != [height, width] {
            let [h, w] = plan.input();
            return Err(Error::setting(
                "plan",
                format!("is for one picture of {w} x {h}, not {n} of {width} x {height}"),
                "Plan for what is given",
            ));
        }
        Ok(Self::begin(plan, input, half))
    }

    /// The plan is for this input.
    fn begin(plan: &Plan, input: Tensor<4>, half: Half) -> Self {
        Self { walk: plan.walk(input), plan: plan.clone(), pieces: 0, half }
    }

    /// The part of its work that is done, 0 to 1.
    pub fn done(&self) -> f64 {
        self.plan.done(self.pieces)
    }
}

//! Pictures, as JavaScript asks for them.

use js_sys::Date;
use wasm_bindgen::prelude::*;

use super::device::OpenDevice;
use super::events::Drawn;
use super::job::Job;
use super::mode::{Mode, Model};
use super::values::{apart, parse, start_pictures, to_js};
use super::{Engine, JsResult};
use crate::error::Error;
use crate::image::{not_finite, to_rgba};
use crate::kernels::run_on;
use crate::layers::Storage;
use crate::memory;
use crate::pipelines::memory::{Need, Pixels, Wanted, check_picture, unet_peak};
use crate::pipelines::{DecodePlan, EncodePlan, Limits, Phase, Settings, TextToImage};
use crate::web::readback::{read, wait};

/// A denoising step longer than this is waited for block by block (milliseconds): otherwise the
/// GPU's queue would go on long after Stop.
const SLOW_STEP: f64 = 500.0;

#[wasm_bindgen]
impl Engine {
    /// Starts a picture; see [`Settings`] for the fields. The seed may be a string, since
    /// JavaScript's numbers end at 2^53. `pictures` are what `settings.start` speaks of:
    /// `{picture, mask}`, each `{width, height, rgba}`; the mask may be missing.
    ///
    /// # Errors
    /// Names the setting that is out of range, or the picture that can't be read.
    pub fn start(&mut self, settings: JsValue, pictures: &JsValue) -> JsResult<()> {
        self.stop();
        let job = self.new_job(&settings, pictures, None)?;
        self.mode.draw(job);
        Ok(())
    }

    /// How long a prompt is, for a picture of `steps` steps: `{tokens, room, most}`.
    ///
    /// # Errors
    /// When there is no model, or `emphasis` is no way to weigh words.
    #[wasm_bindgen(js_name = countTokens)]
    pub fn count_tokens(
        &self,
        prompt: &str,
        steps: usize,
        emphasis: &JsValue,
    ) -> JsResult<JsValue> {
        let emphasis = parse("emphasis", emphasis)?;
        to_js(&self.mode.model()?.diffusion.count_tokens(prompt, steps, emphasis)?)
    }

    /// Drops the picture in the making.
    pub fn stop(&mut self) {
        self.mode.stop();
    }

    /// Does the next block of work: `{kind: "progress", phase, step, steps, fraction, preview}` or
    /// `{kind: "done", width, height, rgba, seconds, notes}`.
    ///
    /// # Errors
    /// When nothing was started or the device failed; the picture is dropped then.
    pub async fn pull(&mut self) -> JsResult<JsValue> {
        let event = advance(&self.device, &mut self.mode).await;
        if !matches!(event, Ok(Drawn::Progress { .. })) {
            self.stop();
        }
        to_js(&event?)
    }
}

async fn advance(device: &OpenDevice, mode: &mut Mode) -> JsResult<Drawn> {
    let (model, job, run) = mode.drawing()?;
    let step = job.work.advance()?;
    if step.phase == Phase::Denoise && step.preview.is_none() && job.slow {
        wait(&device.device).await?;
    }
    if let Some(picture) = step.picture {
        let [_, _, height, width] = picture.dims();
        let planes = read(picture).await?;
        let pixels = job.work.finished(to_rgba(&planes, width, height));
        if let (Some(run), Some(_)) = (run, job.borrowed) {
            let latents = job.work.latents();
            let [_, channels, height, width] = latents.dims();
            run.pictured(read(latents).await?, [channels, height, width]);
        }
        return Ok(Drawn::Done {
            picture: pixels.into(),
            seconds: (Date::now() - job.started) / 1000.0,
            notes: job.work.notes().iter().cloned().chain(not_finite(&planes)).collect(),
        });
    }
    let mut preview = None;
    if let Some(x0) = step.preview {
        let [_, _, height, width] = x0.dims();
        let latents = read(x0).await?;
        preview = Some(model.diffusion.latent_rgb.preview(&latents, width, height).into());
        let now = Date::now();
        job.slow = device.gpu && now - job.step_started > SLOW_STEP;
        job.step_started = now;
    }
    Ok(Drawn::Progress {
        phase: step.phase.into(),
        step: step.step,
        steps: step.steps,
        fraction: step.fraction,
        preview,
    })
}

impl Engine {
    /// A picture to be made; `borrowed` goes off the model when it is done or dropped.
    pub(super) fn new_job(
        &self,
        settings: &JsValue,
        pictures: &JsValue,
        borrowed: Option<u64>,
    ) -> JsResult<Job> {
        memory::start();
        let settings = settings_of(settings)?;
        let pictures = start_pictures(pictures)?;
        let model = self.mode.model()?;
        let pictures = pictures.as_ref();
        let mut work =
            TextToImage::from_pictures(model.diffusion.clone(), settings, None, pictures)?;
        let plans = planned(model, work.settings(), &self.device)?;
        for plan in &plans.decode {
            work.set_decode_plan(plan);
        }
        if let Some(plan) = plans.encode {
            work.set_encode_plan(plan);
        }
        let now = Date::now();
        Ok(Job { work, borrowed, started: now, step_started: now, slow: false })
    }
}

fn settings_of(settings: &JsValue) -> JsResult<Settings> {
    let (first, rest) = apart(settings, "seed")?;
    let (second, rest) = apart(&rest, "variationSeed")?;
    let seed = seed_of("seed", &first)?;
    let variation_seed = match second.is_undefined() || second.is_null() {
        true => 0,
        false => seed_of("variation seed", &second)?,
    };
    js_sys::Reflect::set(&rest, &"seed".into(), &0.into())
        .map_err(|_| super::values::unreadable("seed"))?;
    let settings: Settings = serde_wasm_bindgen::from_value(rest).map_err(|error| {
        Error::setting("settings", error.to_string(), "Check the values in the form")
    })?;
    Ok(Settings { seed, variation_seed, ..settings })
}

/// A seed, as a number or as text.
fn seed_of(name: &str, value: &JsValue) -> JsResult<u64> {
    let seed = match (value.as_string(), value.as_f64()) {
        (Some(text), _) => text.trim().parse::<u64>().ok(),
        (None, Some(number)) if number >= 0.0 && number.fract() == 0.0 => Some(number as u64),
        _ => None,
    };
    seed.ok_or_else(|| {
        Error::setting(name, "is not a whole number of at least 0", "Use digits alone").into()
    })
}

/// How a picture is decoded in what there is, at each size at which it is, and how the one that it starts
/// from is encoded.
struct Plans {
    decode: Vec<DecodePlan>,
    encode: Option<EncodePlan>,
}

/// Refuses a picture that there is no memory for, or no buffer.
fn planned(model: &Model, settings: &Settings, device: &OpenDevice) -> JsResult<Plans> {
    let lighter = model.storage != Storage::Q8 && Storage::halves_work(&device.device);
    let model = &*model.diffusion;
    let offer = device.offer(device.held());
    let kernels = run_on(&device.device);
    let [width, height] = settings.size_drawn()?;
    let first = [settings.width, settings.height];
    let hires = settings.hires.as_ref();
    let limits = Limits { bytes: offer.workspace(), buffer: offer.buffer };
    let guided = settings.guidance > 1.0;
    let wanted = Wanted { width, height, guided, first: hires.map(|_| first) };
    // Planning goes through many schedules: this picture's is made once.
    let planned = in_pieces(limits, |limits| model.decode_plan(width, height, limits));
    // Encoding takes less than decoding: who can end can begin.
    let encoding = |limits| model.encode_plan(width, height, limits);
    let between = hires.filter(|hires| !hires.upscaler.takes_latents());
    let encodes = settings.start.is_some() || between.is_some();
    let encode = encodes.then(|| in_pieces(limits, encoding)).transpose();
    let of_first = |limits| model.decode_plan(first[0], first[1], limits);
    let small = between.map(|_| in_pieces(limits, of_first)).transpose();
    check_picture(wanted, &offer, lighter, |other| {
        let Wanted { width, height, guided, .. } = other;
        let tensor = model.largest_tensor(width, height, guided);
        if offer.buffer.is_some_and(|most| tensor > most) {
            return Ok(Need::Buffer(tensor));
        }
        let at_once = guided && !model.guides_in_turn(width, height);
        let pass = unet_peak(model.unet.config(), Pixels::of(width, height, at_once), kernels);
        let decoding = |limits| model.decode_plan(width, height, limits);
        let peak = if (width, height) == (wanted.width, wanted.height) {
            planned.as_ref().ok().map(|plan| plan.peak)
        } else {
            in_pieces(limits, decoding).ok().map(|plan| plan.peak)
        };
        // Of one that can't be decoded in what there is: what it takes at least.
        let least = || model.least_decode_plan(width, height);
        let unlimited = || in_pieces(Limits { bytes: None, ..limits }, decoding);
        Ok(match peak {
            Some(peak) => Need::Memory(peak.max(pass)),
            None if unlimited().is_ok() => Need::Memory(least()?.peak.max(pass)),
            None => Need::Buffer(least()?.largest),
        })
    })?;
    Ok(Plans { decode: small?.into_iter().chain([planned?]).collect(), encode: encode? })
}

/// In tensors of the usual size where that can be, also where nothing limits it: large ones leave
/// holes in a heap, small ones cost next to no work more.
fn in_pieces<P>(limits: Limits, plan: impl Fn(Limits) -> Result<P, Error>) -> Result<P, Error> {
    let small = Limits { buffer: limits.buffer.or(Limits::default().buffer), ..limits };
    plan(small).or_else(|_| plan(limits))
}

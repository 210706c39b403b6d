//! From pictures and captions to a data set, one picture at a time.

use std::rc::Rc;

use burn::tensor::{Tensor, TensorData};

use super::check;
use super::dataset::{Dataset, Example, Latents, TimeIds};
use super::picture::{Buckets, Picture, Role};
use crate::error::{Error, Result};
use crate::models::TextStates;
use crate::pipelines::{KeptTextEncoders, StableDiffusion};
use crate::training::settings::config::{Config, Posterior};

/// Pictures on their way to latents, one at a time. Who pulls it reads each tensor back and hands
/// its numbers in.
pub struct Preparation {
    model: Rc<StableDiffusion>,
    /// Every caption needs them.
    _encoders: KeptTextEncoders,
    pictures: Vec<Picture>,
    buckets: Buckets,
    flip: bool,
    sample: bool,
    trigger: String,
    class_prompt: Option<String>,
    /// The picture in hand; those after the last are the empty prompt and the class prompt.
    next: usize,
    texts: Vec<Vec<f32>>,
    text_shape: [usize; 2],
    pooled: usize,
    examples: Vec<Example>,
    notes: Vec<String>,
}

impl Preparation {
    /// Takes the pictures; those to hold out are taken evenly from the set where none are given.
    ///
    /// # Errors
    /// Names the setting that is out of range; when there is nothing to train on.
    pub fn new(
        model: Rc<StableDiffusion>,
        mut pictures: Vec<Picture>,
        config: &Config,
    ) -> Result<Self> {
        // Before anything is encoded: a size that is out of range would take the memory.
        config.check()?;
        check::model(&model)?;
        let count = |pictures: &[Picture], role| {
            pictures.iter().filter(|picture| picture.role == role).count()
        };
        let training = count(&pictures, Role::Train);
        if config.hold_out > 0 && count(&pictures, Role::HeldOut) == 0 {
            if config.hold_out >= training {
                return Err(Error::setting(
                    "holdOut",
                    format!("{} of {training} pictures leave none to train on", config.hold_out),
                    "Hold out fewer, or add pictures",
                ));
            }
            let mut seen = 0;
            for picture in pictures.iter_mut().filter(|picture| picture.role == Role::Train) {
                // Every n-th, from the middle of each stretch.
                let before = seen * config.hold_out / training;
                seen += 1;
                if seen * config.hold_out / training > before {
                    picture.role = Role::HeldOut;
                }
            }
        }
        if count(&pictures, Role::Train) == 0 {
            return Err(Error::setting(
                "pictures",
                "there is none to train on",
                "Add at least one picture that isn't held out",
            ));
        }
        let side = config.resolution.unwrap_or(model.native_size());
        let class = count(&pictures, Role::Class);
        let class_prompt = (config.prior.weight > 0.0 && class == 0)
            .then(|| config.prior.class_prompt.trim().to_string());
        Ok(Self {
            _encoders: KeptTextEncoders::new(model.clone()),
            model,
            buckets: Buckets::new(side),
            flip: config.flip,
            sample: config.latents == Posterior::Sample,
            trigger: config.trigger.trim().to_string(),
            class_prompt,
            next: 0,
            texts: Vec::new(),
            text_shape: [0; 2],
            pooled: 0,
            examples: Vec::with_capacity(pictures.len()),
            pictures,
            notes: Vec::new(),
        })
    }

    /// Pictures and prompts done, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        (self.next, self.pictures.len() + 1 + usize::from(self.class_prompt.is_some()))
    }

    /// What is in hand, by name.
    pub fn current(&self) -> &str {
        self.pictures.get(self.next).map_or("prompts", |picture| &picture.name)
    }

    /// Things worth knowing, as sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Encodes the next picture with its caption: text embedding, then the posterior's mean and
    /// deviation, then those of the mirrored picture, in one flat tensor. None: all are done.
    ///
    /// # Errors
    /// When the text encoder refuses a caption, or can't be loaded again.
    pub fn advance(&mut self) -> Result<Option<Tensor<1>>> {
        let (next, total) = self.progress();
        if next == total {
            return Ok(None);
        }
        let model = self.model.clone();
        let prompt = match self.pictures.get(next) {
            Some(picture) if picture.role == Role::Class => picture.caption.clone(),
            Some(picture) => caption(&self.trigger, &picture.caption),
            None if next == self.pictures.len() => String::new(),
            None => self.class_prompt.clone().unwrap_or_default(),
        };
        let encoding = model.tokenizer.encode(&prompt)?;
        if let Some(lost) = encoding.truncated {
            self.notes.push(format!("Caption too long, left out of {}: {lost}", self.current()));
        }
        let TextStates { hidden, pooled } = match model.tokenizer_2 {
            None => {
                let hidden = model.text_encoder()?.forward(&[encoding.ids])?;
                TextStates { hidden, pooled: None }
            }
            // The place after the last picture is that of dropped captions, which SDXL was trained with as
            // zeros (sgm's `GeneralConditioner`).
            Some(_) if next == self.pictures.len() => model.encode_prompt(&prompt)?.zeros(),
            Some(_) => model.encode_prompt(&prompt)?,
        };
        let [_, tokens, width] = hidden.dims();
        self.text_shape = [tokens, width];
        self.pooled = pooled.as_ref().map_or(0, |pooled| pooled.dims()[1]);
        let mut parts: Vec<Tensor<1>> = vec![hidden.flatten(0, 2)];
        parts.extend(pooled.map(|pooled| pooled.flatten(0, 1)));
        if let Some(picture) = self.pictures.get(next) {
            let [width, height] = self.buckets.nearest(picture.size());
            let planes = picture.planes([width, height]);
            let data = TensorData::new(planes, [1, 3, height, width]);
            let pixels = Tensor::<4>::from_data(data, model.device());
            parts.extend(self.posterior(pixels.clone())?);
            if self.flip {
                parts.extend(self.posterior(pixels.flip([3]))?);
            }
        }
        Ok(Some(Tensor::cat(parts, 0)))
    }

    fn posterior(&self, pixels: Tensor<4>) -> Result<Vec<Tensor<1>>> {
        let vae = self.model.vae()?;
        let scale = vae.scaling_factor();
        let (mean, logvar) = vae.encode(pixels);
        let deviation = match logvar {
            Some(logvar) => (logvar * 0.5).exp(),
            // TAESD has no deviation.
            None => mean.clone().mul_scalar(0.0),
        };
        Ok([mean, deviation].map(|part| part.mul_scalar(scale).flatten(0, 3)).into())
    }

    /// Takes the numbers of what [`Self::advance`] gave last.
    ///
    /// # Errors
    /// When a picture's latents aren't finite.
    pub fn conclude(&mut self, values: &[f32]) -> Result<()> {
        let text_len = self.text_shape[0] * self.text_shape[1] + self.pooled;
        let (text, rest) = values.split_at(text_len);
        if let Some(picture) = self.pictures.get(self.next) {
            if rest.iter().any(|value| !value.is_finite()) {
                return Err(Error::file(
                    &picture.name,
                    "became NaN or infinity in the VAE",
                    "Leave it out, or use another model",
                ));
            }
            let [width, height] = self.buckets.nearest(picture.size());
            let shape = [4, height / 8, width / 8];
            let count: usize = shape.iter().product();
            let latents = |values: &[f32]| Latents {
                shape,
                mean: values[..count].to_vec(),
                deviation: self.sample.then(|| values[count..2 * count].to_vec()),
            };
            let role = picture.role;
            let caption = match role {
                Role::Class => picture.caption.clone(),
                _ => caption(&self.trigger, &picture.caption),
            };
            self.examples.push(Example {
                name: picture.name.clone(),
                caption,
                role,
                latents: latents(rest),
                mirrored: self.flip.then(|| latents(&rest[2 * count..])),
                text: text.to_vec(),
                // Other models aren't told.
                sizes: match self.pooled {
                    0 => Default::default(),
                    _ => sizes(picture, [width, height]),
                },
            });
        } else {
            self.texts.push(text.to_vec());
        }
        self.next += 1;
        Ok(())
    }

    /// The data set, once [`Self::advance`] gave none.
    pub fn finish(self) -> Dataset {
        let mut texts = self.texts.into_iter();
        Dataset {
            examples: self.examples,
            empty: texts.next().unwrap_or_default(),
            class_prompt: texts.next(),
            text_shape: self.text_shape,
            pooled: self.pooled,
        }
    }
}

/// What SDXL is told of a picture that is scaled to cover these pixels and cut in its middle: the truth,
/// as it is and mirrored (diffusers' `train_text_to_image_lora_sdxl.py`).
fn sizes(picture: &Picture, target: [usize; 2]) -> [TimeIds; 2] {
    let [scaled, [left, top]] = picture.placed(target);
    let row = |left: usize| {
        let ([width, height], [target_width, target_height]) = (picture.size(), target);
        [height, width, top, left, target_height, target_width].map(|pixels| pixels as f64)
    };
    [row(left), row(scaled[0] - target[0] - left)]
}

/// The trigger phrase before the caption, unless it is in there already.
pub fn caption(trigger: &str, caption: &str) -> String {
    let caption = caption.trim();
    if trigger.is_empty() || caption.to_lowercase().contains(&trigger.to_lowercase()) {
        caption.into()
    } else if caption.is_empty() {
        trigger.into()
    } else {
        format!("{trigger}, {caption}")
    }
}

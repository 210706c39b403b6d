//! Pictures and captions as the UNet sees them: latents and text embeddings, computed once. After
//! that neither VAE nor text encoder is needed any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::picture::Role;
use crate::error::{Error, Result};
use crate::weights::save::{Named, Precision, write};
use crate::weights::{Bytes, Index};

/// Latents of one picture: the posterior's mean and deviation, times the VAE's scaling factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// `[4, h, w]`.
    pub shape: [usize; 3],
    /// Row-major.
    pub mean: Vec<f32>,
    /// Of the same shape, where latents are to be drawn.
    pub deviation: Option<Vec<f32>>,
}

/// One picture with its caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The picture's name.
    pub name: String,
    /// The caption as it was encoded, trigger phrase included.
    pub caption: String,
    /// What it is for.
    pub role: Role,
    /// Its latents.
    pub latents: Latents,
    /// Those of the mirrored picture: a VAE doesn't commute with mirrors.
    pub mirrored: Option<Latents>,
    /// Text embedding, `[tokens, width]`, and after it SDXL's pooled vector.
    pub text: Vec<f32>,
    /// What SDXL's UNet is told of the picture's size, as it is and mirrored.
    pub sizes: [TimeIds; 2],
}

/// Pixels: height and width of the file's picture, top and left of what is cut from it once it is scaled,
/// height and width of that.
pub type TimeIds = [f64; 6];

/// All that training needs of pictures and words.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Every picture, in the order in which they came.
    pub examples: Vec<Example>,
    /// Embedding of the empty prompt, `[tokens, width]`.
    pub empty: Vec<f32>,
    /// That of the class prompt, for prior preservation without class pictures.
    pub class_prompt: Option<Vec<f32>>,
    /// Tokens and width of every text embedding.
    pub text_shape: [usize; 2],
    /// Numbers of the pooled vector that follows each of them (SDXL); 0: none does.
    pub pooled: usize,
}

impl Dataset {
    /// The examples of a role, in order.
    pub fn of(&self, role: Role) -> Vec<&Example> {
        self.examples.iter().filter(|example| example.role == role).collect()
    }

    /// Numbers of a text: embedding and pooled vector.
    pub fn text_len(&self) -> usize {
        self.text_shape[0] * self.text_shape[1] + self.pooled
    }

    /// A safetensors file with everything in it, to resume a run without VAE and text encoder.
    ///
    /// # Errors
    /// When it can't be written, which nothing in it should bring about.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let [tokens, width] = self.text_shape;
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, values: &[f32]| {
            tensors.push(Named::new(name, shape, values, Precision::F32));
        };
        let mut add_text = |name: String, text: &[f32]| {
            let (embedding, pooled) = text.split_at(text.len().min(tokens * width));
            add(name.clone(), vec![tokens, width], embedding);
            if !pooled.is_empty() {
                add(format!("{name}.pooled"), vec![pooled.len()], pooled);
            }
        };
        add_text("text_empty".into(), &self.empty);
        if let Some(prompt) = &self.class_prompt {
            add_text("class_prompt".into(), prompt);
        }
        for (i, example) in self.examples.iter().enumerate() {
            add_text(format!("{i}.text"), &example.text);
        }
        let mut rows = Vec::new();
        for (i, example) in self.examples.iter().enumerate() {
            let both =
                [("latents", Some(&example.latents)), ("mirrored", example.mirrored.as_ref())];
            for (name, latents) in both {
                let Some(latents) = latents else { continue };
                add(format!("{i}.{name}"), latents.shape.to_vec(), &latents.mean);
                if let Some(deviation) = &latents.deviation {
                    add(format!("{i}.{name}.deviation"), latents.shape.to_vec(), deviation);
                }
            }
            let Example { name, caption, role, sizes, .. } = example;
            let sizes = (self.pooled > 0).then_some(*sizes);
            rows.push(Row { name: name.clone(), caption: caption.clone(), role: *role, sizes });
        }
        let json = serde_json::to_string(&rows)
            .map_err(|error| Error::file(FILE, error.to_string(), BROKEN))?;
        write(&tensors, &BTreeMap::from([("examples".to_string(), json)]))
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// Names what is missing or broken.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let source = Bytes::new(FILE, bytes);
        let index = Index::read(&source)?;
        let values = |key: &str| index.read_f32(&source, key);
        let text = |key: &str| -> Result<Vec<f32>> {
            let (mut text, pooled) = (values(key)?, format!("{key}.pooled"));
            if index.tensors.contains_key(&pooled) {
                text.extend(values(&pooled)?);
            }
            Ok(text)
        };
        let broken = |problem: String| Error::file(FILE, problem, BROKEN);
        let [tokens, width] = index.info("text_empty")?.shape[..] else {
            return Err(broken("has a text embedding that is no matrix".into()));
        };
        let json = index.metadata.get("examples").map_or("", String::as_str);
        let rows: Vec<Row> =
            serde_json::from_str(json).map_err(|error| broken(error.to_string()))?;
        let latents = |key: &str| -> Result<Option<Latents>> {
            if !index.tensors.contains_key(key) {
                return Ok(None);
            }
            let shape = index.info(key)?.shape.clone().try_into();
            let shape = shape.map_err(|_| broken(format!("{key} has no three dimensions")))?;
            let deviation = format!("{key}.deviation");
            let deviation =
                index.tensors.contains_key(&deviation).then(|| values(&deviation)).transpose()?;
            Ok(Some(Latents { shape, mean: values(key)?, deviation }))
        };
        let mut examples = Vec::with_capacity(rows.len());
        for (i, Row { name, caption, role, sizes }) in rows.into_iter().enumerate() {
            let missing = || broken(format!("lacks the latents of {name}"));
            examples.push(Example {
                latents: latents(&format!("{i}.latents"))?.ok_or_else(missing)?,
                mirrored: latents(&format!("{i}.mirrored"))?,
                text: text(&format!("{i}.text"))?,
                sizes: sizes.unwrap_or_default(),
                name,
                caption,
                role,
            });
        }
        let has_prompt = index.tensors.contains_key("class_prompt");
        let empty = text("text_empty")?;
        Ok(Self {
            examples,
            pooled: empty.len().saturating_sub(tokens * width),
            empty,
            class_prompt: has_prompt.then(|| text("class_prompt")).transpose()?,
            text_shape: [tokens, width],
        })
    }
}

const FILE: &str = "the run's pictures";
const BROKEN: &str = "The run's stored pictures are broken: start it anew from the picture files";

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    caption: String,
    role: Role,
    /// Of SDXL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sizes: Option<[TimeIds; 2]>,
}

//! The text encoder: transformers `models/clip/modeling_clip.py` (`CLIPTextModel`,
//! `CLIPTextModelWithProjection`).

use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

use super::{WIDEST, check_sizes, parse_config, unsupported};
use crate::error::{Error, Result};
use crate::layers::{LayerNorm, Linear, Parameters, attention};
use crate::weights::{Component, Dtype, to_f32};

/// `text_encoder/config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct CLIPTextConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width within the feed-forward.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// Positions, and so tokens of a prompt.
    pub max_position_embeddings: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// `quick_gelu` (OpenAI) or `gelu` (OpenCLIP).
    pub hidden_act: String,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// Width of the pooled vector, where there is one.
    pub projection_dim: usize,
    /// Whether there is one: `CLIPTextModelWithProjection`, SDXL's second text encoder. The component
    /// says so, no field.
    #[serde(skip)]
    pub is_projected: bool,
}

impl Default for CLIPTextConfig {
    /// transformers' own defaults, with the width of SD 1.
    fn default() -> Self {
        Self {
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            vocab_size: 49408,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            projection_dim: 512,
            is_projected: false,
        }
    }
}

impl CLIPTextConfig {
    /// Reads and checks a component's config.
    ///
    /// # Errors
    /// Names the field whose value can't be read or isn't supported.
    pub fn parse(component: &Component) -> Result<Self> {
        let mut config: Self = parse_config(component)?;
        config.is_projected = component.name == "text_encoder_2";
        if !["quick_gelu", "gelu"].contains(&config.hidden_act.as_str()) {
            return Err(unsupported(component, "hidden_act", config.hidden_act));
        }
        check_sizes(
            component,
            &[
                ("hidden_size", config.hidden_size, WIDEST),
                ("intermediate_size", config.intermediate_size, 4 * WIDEST),
                ("num_hidden_layers", config.num_hidden_layers, 64),
                ("max_position_embeddings", config.max_position_embeddings, WIDEST),
                ("vocab_size", config.vocab_size, 1 << 20),
                ("projection_dim", config.projection_dim, WIDEST),
            ],
        )?;
        let heads = config.num_attention_heads;
        if heads == 0 || !config.hidden_size.is_multiple_of(heads) {
            return Err(unsupported(component, "num_attention_heads", heads));
        }
        Ok(config)
    }
}

#[derive(Debug)]
struct EncoderLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl EncoderLayer {
    fn load(parameters: &Parameters, config: &CLIPTextConfig) -> Self {
        let width = config.hidden_size;
        let inner = config.intermediate_size;
        let linear = |group: &str, name, input, output| {
            Linear::load(&parameters.at(group).at(name), input, output, true)
        };
        let norm = |name| LayerNorm::load(&parameters.at(name), width, config.layer_norm_eps);
        Self {
            layer_norm1: norm("layer_norm1"),
            q_proj: linear("self_attn", "q_proj", width, width),
            k_proj: linear("self_attn", "k_proj", width, width),
            v_proj: linear("self_attn", "v_proj", width, width),
            out_proj: linear("self_attn", "out_proj", width, width),
            layer_norm2: norm("layer_norm2"),
            fc1: linear("mlp", "fc1", width, inner),
            fc2: linear("mlp", "fc2", inner, width),
        }
    }

    fn forward(&self, x: Tensor<3>, config: &CLIPTextConfig) -> Tensor<3> {
        let normal = self.layer_norm1.forward(x.clone());
        let q = self.q_proj.forward(normal.clone());
        let k = self.k_proj.forward(normal.clone());
        let v = self.v_proj.forward(normal);
        let attended = attention(q, k, v, config.num_attention_heads, true);
        let x = self.out_proj.forward(attended) + x;

        let hidden = self.fc1.forward(self.layer_norm2.forward(x.clone()));
        let hidden = if config.hidden_act == "gelu" {
            gelu(hidden)
        } else {
            hidden.clone() * sigmoid(hidden * 1.702)
        };
        self.fc2.forward(hidden) + x
    }
}

/// What SDXL takes of a text encoder.
#[derive(Debug, Clone)]
pub struct TextStates {
    /// What the last layer but one gives, without the final norm, `[n, tokens, hidden_size]`.
    pub hidden: Tensor<3>,
    /// Of the last layer, after the final norm, the row of the first end token, projected:
    /// `[n, projection_dim]`. None: the encoder has no projection.
    pub pooled: Option<Tensor<2>>,
}

impl TextStates {
    /// What stands for no text at all to SDXL.
    pub fn zeros(&self) -> Self {
        Self {
            hidden: self.hidden.zeros_like(),
            pooled: self.pooled.as_ref().map(Tensor::zeros_like),
        }
    }
}

/// `CLIPTextModel`, or `CLIPTextModelWithProjection`.
#[derive(Debug)]
pub struct CLIPTextModel {
    config: CLIPTextConfig,
    /// Stays on the host: a prompt needs 77 rows of a table that is too large for one binding of
    /// WebGPU's default limits.
    token_embedding: (Dtype, Vec<u8>),
    position_embedding: Tensor<2>,
    layers: Vec<EncoderLayer>,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
    device: Device,
}

impl CLIPTextModel {
    /// Builds the network that the config describes and loads it.
    pub fn load(config: &CLIPTextConfig, parameters: &Parameters) -> Self {
        let model = parameters.at("text_model");
        let embeddings = model.at("embeddings");
        let layers = model.at("encoder").at("layers");
        let width = config.hidden_size;
        let positions = [config.max_position_embeddings, width];
        Self {
            token_embedding: embeddings
                .at("token_embedding")
                .host("weight", [config.vocab_size, width]),
            position_embedding: embeddings.at("position_embedding").tensor("weight", positions),
            layers: (0..config.num_hidden_layers)
                .map(|i| EncoderLayer::load(&layers.at(i), config))
                .collect(),
            final_layer_norm: LayerNorm::load(
                &model.at("final_layer_norm"),
                width,
                config.layer_norm_eps,
            ),
            text_projection: config.is_projected.then(|| {
                let place = parameters.at("text_projection");
                Linear::load(&place, width, config.projection_dim, false)
            }),
            device: parameters.device().clone(),
            config: config.clone(),
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &CLIPTextConfig {
        &self.config
    }

    /// Rows of equal length, at most `max_position_embeddings` tokens each, to the last hidden
    /// states `[n, tokens, hidden_size]` after the final norm.
    ///
    /// # Errors
    /// When a token isn't in the vocabulary or the rows are of different or too great length.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        self.hidden(ids, 0)
    }

    /// The same without the last `skipped` layers (diffusers' `clip_skip`); the final norm comes after
    /// those that are left, at least one.
    ///
    /// # Errors
    /// As [`CLIPTextModel::forward`].
    pub fn hidden(&self, ids: &[Vec<u32>], skipped: usize) -> Result<Tensor<3>> {
        self.hidden_with(ids, skipped, |_| None)
    }

    /// The same, with vectors of `hidden_size` numbers for ids that the vocabulary lacks.
    ///
    /// # Errors
    /// As [`CLIPTextModel::forward`].
    pub fn hidden_with<'a>(
        &self,
        ids: &[Vec<u32>],
        skipped: usize,
        taught: impl Fn(u32) -> Option<&'a [f32]>,
    ) -> Result<Tensor<3>> {
        let x = self.embed(ids, taught)?;
        let layers = self.layers.len().saturating_sub(skipped).max(1);
        Ok(self.final_layer_norm.forward(self.run(x, 0..layers)))
    }

    /// What SDXL takes of rows of tokens (diffusers' `encode_prompt`), with vectors of `hidden_size`
    /// numbers for ids that the vocabulary lacks. `skipped` layers more are left out before the hidden
    /// states are taken; the pooled vector is of all layers in any case.
    ///
    /// # Errors
    /// As [`CLIPTextModel::forward`].
    pub fn states<'a>(
        &self,
        ids: &[Vec<u32>],
        skipped: usize,
        taught: impl Fn(u32) -> Option<&'a [f32]>,
    ) -> Result<TextStates> {
        let layers = self.layers.len();
        let taken = layers.saturating_sub(1 + skipped).max(1);
        let hidden = self.run(self.embed(ids, taught)?, 0..taken);
        let pooled = self.text_projection.as_ref().map(|projection| {
            let last = self.run(hidden.clone(), taken..layers);
            let last = self.final_layer_norm.forward(last);
            let width = self.config.hidden_size;
            let rows = ids.iter().enumerate().map(|(i, ids)| {
                let row = last.clone().narrow(0, i, 1).narrow(1, self.end_of(ids), 1);
                row.reshape([1, width])
            });
            projection.forward(Tensor::cat(rows.collect(), 0))
        });
        Ok(TextStates { hidden, pooled })
    }

    /// The place of the first end token, which is the last of every CLIP vocabulary. (What configs say of
    /// its id is wrong in all that there are.)
    fn end_of(&self, ids: &[u32]) -> usize {
        let end = self.config.vocab_size.saturating_sub(1);
        ids.iter().position(|&id| id as usize == end).unwrap_or(ids.len() - 1)
    }

    fn run(&self, mut x: Tensor<3>, layers: std::ops::Range<usize>) -> Tensor<3> {
        for layer in &self.layers[layers] {
            x = layer.forward(x, &self.config);
        }
        x
    }

    /// What the first layer gets, `[n, tokens, hidden_size]`.
    fn embed<'a>(
        &self,
        ids: &[Vec<u32>],
        taught: impl Fn(u32) -> Option<&'a [f32]>,
    ) -> Result<Tensor<3>> {
        let length = ids.first().map_or(0, Vec::len);
        let most = self.config.max_position_embeddings;
        if length == 0 || length > most || ids.iter().any(|row| row.len() != length) {
            return Err(Error::setting(
                "prompt",
                format!("has rows of {length} tokens where the text encoder takes 1 to {most}"),
                "Shorten the prompt",
            ));
        }
        let width = self.config.hidden_size;
        let (dtype, table) = &self.token_embedding;
        let row_bytes = width * dtype.size();
        let mut values = Vec::with_capacity(ids.len() * length * width);
        for &id in ids.iter().flatten() {
            if let Some(vector) = taught(id).filter(|vector| vector.len() == width) {
                values.extend(vector);
                continue;
            }
            // In 64 bits: an id may be any number.
            let start = usize::try_from(u64::from(id) * row_bytes as u64).ok();
            let row = start.and_then(|start| table.get(start..start.checked_add(row_bytes)?));
            let row = row.ok_or_else(|| {
                Error::setting(
                    "tokenizer",
                    format!("gave token {id} for a vocabulary of {}", self.config.vocab_size),
                    "Use the tokenizer files that belong to this text encoder",
                )
            })?;
            values.extend(to_f32(*dtype, row));
        }
        let tokens = TensorData::new(values, [ids.len(), length, width]);
        let tokens: Tensor<3> = Tensor::from_data(tokens, &self.device);
        let positions = self.position_embedding.clone().cast(tokens.dtype()).narrow(0, 0, length);

        Ok(tokens + positions.unsqueeze())
    }
}

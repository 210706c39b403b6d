//! Tiny training runs: a whole model around a drawn UNet, pictures made of random numbers, and how far
//! two vectors are apart.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::error::Result;
use lorakeet::layers::{Storage, Strength};
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::dataset::{Example, Latents};
use lorakeet::training::evaluation::Report;
use lorakeet::training::reference::tensor_name;
use lorakeet::training::trainer::read;
use lorakeet::training::{Config, Dataset, Evaluation, Reference, Role, Setup, Trainer};
use lorakeet::weights::{Bytes, Checkpoint, Source};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tiny::{self, Case, Host, Values};

/// Tokens and width of a text embedding.
pub const TEXT: [usize; 2] = [7, 32];

/// `fixtures/training/loops.json`.
#[derive(Deserialize)]
pub struct Loops {
    pub model: Case,
    pub steps: usize,
    pub warmup: usize,
    pub cases: BTreeMap<String, Value>,
}

impl Loops {
    pub fn read() -> Self {
        serde_json::from_slice(&tiny::read("training/loops.json")).unwrap()
    }
}

/// The loops' UNet (two levels, 32 and 64 channels) as a model of epsilon prediction.
pub fn model() -> Rc<StableDiffusion> {
    model_of("epsilon")
}

/// That UNet with a text encoder of its width and the demo model's autoencoder, through the same
/// doors as a user's folder.
pub fn model_of(prediction: &str) -> Rc<StableDiffusion> {
    static UNET: OnceLock<Vec<u8>> = OnceLock::new();
    let case = Loops::read().model;
    let unet = UNET.get_or_init(|| tiny::file(&case.weights()));
    load(&case.config, unet.clone(), prediction)
}

/// A UNet of this configuration, whose context is [`TEXT`] wide.
pub fn load(config: &Value, unet: Vec<u8>, prediction: &str) -> Rc<StableDiffusion> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/model");
    let demo = |name: &str| -> Rc<dyn Source> {
        tiny::source(name, std::fs::read(format!("{folder}/{name}")).unwrap())
    };
    let scheduler = json!({
        "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "beta_end": 0.012, "prediction_type": prediction
    });
    let (text_config, text) = text_encoder();
    let files = vec![
        tiny::source("model_index.json", r#"{"_class_name": "StableDiffusionPipeline"}"#),
        tiny::source("scheduler/scheduler_config.json", scheduler.to_string()),
        demo("tokenizer/vocab.json"),
        demo("tokenizer/merges.txt"),
        tiny::source("text_encoder/config.json", text_config.to_string()),
        tiny::source("text_encoder/model.safetensors", text),
        tiny::source("unet/config.json", config.to_string()),
        tiny::source("unet/diffusion_pytorch_model.safetensors", unet),
        demo("vae/config.json"),
        demo("vae/diffusion_pytorch_model.fp16.safetensors"),
    ];
    let checkpoint = Checkpoint::open(files).unwrap();
    let (model, _) =
        StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::F32, &mut |_| {})
            .unwrap();
    Rc::new(model)
}

/// One layer, 32 wide, of the demo model's vocabulary.
fn text_encoder() -> (Value, Vec<u8>) {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    let (width, inner, vocabulary) = (TEXT[1], 48, 2114);
    let draw = || {
        let layer = "text_model.encoder.layers.0";
        let mut shapes = BTreeMap::from([
            ("text_model.embeddings.token_embedding.weight".to_string(), vec![vocabulary, width]),
            ("text_model.embeddings.position_embedding.weight".into(), vec![77, width]),
        ]);
        let mut pair = |name: String, output: usize, input: Option<usize>| {
            let weight = [Some(output), input].into_iter().flatten().collect();
            shapes.insert(format!("{name}.weight"), weight);
            shapes.insert(format!("{name}.bias"), vec![output]);
        };
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            pair(format!("{layer}.self_attn.{name}"), width, Some(width));
        }
        pair(format!("{layer}.mlp.fc1"), inner, Some(width));
        pair(format!("{layer}.mlp.fc2"), width, Some(inner));
        for name in ["layer_norm1", "layer_norm2"] {
            pair(format!("{layer}.{name}"), width, None);
        }
        pair("text_model.final_layer_norm".into(), width, None);
        let mut generator = TorchGenerator::new(77);
        let values: Values = shapes
            .iter()
            .map(|(name, shape)| (name.clone(), tiny::draw(name, shape, &mut generator)))
            .collect();
        tiny::file(&values)
    };
    let config = json!({
        "model_type": "clip_text_model", "hidden_act": "quick_gelu", "hidden_size": width,
        "intermediate_size": inner, "num_attention_heads": 4, "num_hidden_layers": 1,
        "max_position_embeddings": 77, "vocab_size": vocabulary, "bos_token_id": 2112,
        "eos_token_id": 2113, "pad_token_id": 2113, "layer_norm_eps": 1e-5
    });
    (config, FILE.get_or_init(draw).clone())
}

/// A configuration from what isn't default.
pub fn config(json: Value) -> Config {
    serde_json::from_value(json).unwrap()
}

/// Pictures of random latents, one for each size `[height, width]`, with random texts.
pub fn dataset(sizes: &[[usize; 2]]) -> Dataset {
    let mut generator = TorchGenerator::new(5);
    let text_count = TEXT[0] * TEXT[1];
    let examples = sizes.iter().enumerate().map(|(i, [height, width])| {
        let count = 4 * height * width;
        Example {
            name: format!("picture {i}"),
            caption: String::new(),
            role: Role::Train,
            latents: Latents {
                shape: [4, *height, *width],
                mean: generator.randn(count),
                deviation: None,
            },
            mirrored: None,
            text: generator.randn(text_count),
            sizes: Default::default(),
        }
    });
    let examples = examples.collect();
    let empty = generator.randn(text_count);
    Dataset { examples, empty, class_prompt: None, text_shape: TEXT, pooled: 0 }
}

/// Four pictures of 8 x 8 latents.
pub fn four() -> Dataset {
    dataset(&[[8, 8]; 4])
}

/// From settings to a trainer, with its error.
pub fn try_trainer(
    model: &Rc<StableDiffusion>,
    config: &Config,
    dataset: &Dataset,
    reference: Option<Reference>,
) -> Result<Trainer> {
    let (config, dataset) = (config.clone(), Rc::new(dataset.clone()));
    let mut setup = Setup::new(model.clone(), config, dataset, reference.map(Rc::new))?;
    while let Some(tensor) = setup.advance()? {
        setup.conclude(read(tensor)?)?;
    }
    setup.finish()
}

/// From settings that must be right to a trainer.
pub fn trainer(model: &Rc<StableDiffusion>, config: &Config, dataset: &Dataset) -> Trainer {
    try_trainer(model, config, dataset, None).unwrap()
}

/// Settings under which a test's run is short and its factors move.
pub fn brisk(mut json: Value) -> Value {
    for (key, value) in [
        ("targets", json!("attention")),
        ("rank", json!(2)),
        ("alpha", json!(2)),
        ("batch", json!(2)),
        ("steps", json!(20)),
        ("warmup", json!(1)),
        ("learningRate", json!(0.01)),
    ] {
        if json.get(key).is_none() {
            json[key] = value;
        }
    }
    json
}

/// What the UNet says with the adapter as it is now, and without.
pub fn answers(model: &StableDiffusion, trainer: &Trainer) -> [Vec<f32>; 2] {
    let device = Device::flex();
    let mut generator = TorchGenerator::new(21);
    let mut draw = |shape: [usize; 4]| -> Tensor<4> {
        let data = generator.randn(shape.iter().product());
        Tensor::from_data(TensorData::new(data, shape), &device)
    };
    let (noisy, context) = (draw([2, 4, 8, 8]), draw([2, 1, TEXT[0], TEXT[1]]));
    let context: Tensor<3> = context.reshape([2, TEXT[0], TEXT[1]]);
    let ask =
        || tiny::host(model.unet.forward(noisy.clone(), &[30.0, 700.0], context.clone())).data;
    let adapter = trainer.adapter();
    let count = adapter.parameters.len();
    let flat = Tensor::from_data(TensorData::new(adapter.parameters.clone(), [count]), &device);
    let base = ask();
    adapter.attach(&adapter.leaves(&flat, false), &Strength::new(1.0), |_| Some(None));
    let adapted = ask();
    adapter.detach();
    assert_eq!(bits(&ask()), bits(&base));
    [adapted, base]
}

/// A reference that draws the same picture, timestep and noise every time.
pub fn same_again(
    trainer: &Trainer,
    picture: usize,
    t: usize,
    noise: &[f32],
    batches: usize,
) -> Reference {
    let host = |shape: &[usize], data: Vec<f32>| Host { shape: shape.to_vec(), data };
    let mut values = Values::from([
        ("index".to_string(), host(&[batches, 1], vec![picture as f32; batches])),
        ("timesteps".into(), host(&[batches, 1], vec![t as f32; batches])),
        ("noise".into(), host(&[batches, 1, noise.len()], noise.repeat(batches))),
    ]);
    for module in &trainer.adapter().modules {
        for piece in &module.pieces {
            let own = trainer.adapter().parameters[piece.range.clone()].to_vec();
            let key = format!("init.{}", tensor_name(module, piece.name));
            values.insert(key, host(&piece.shape, own));
        }
    }
    Reference::read(&Bytes::new("reference", tiny::file(&values)), "").unwrap()
}

/// Runs so many steps.
pub fn run(trainer: &mut Trainer, steps: usize) {
    for _ in 0..steps {
        let report = trainer.run_step().unwrap();
        assert!(!report.skipped_now, "step {} was skipped", report.step);
    }
}

/// A whole evaluation.
pub fn evaluate(trainer: &mut Trainer) -> Report {
    let mut evaluation = Evaluation::new(trainer);
    while let Some(tensor) = evaluation.advance(trainer).unwrap() {
        evaluation.conclude(read(tensor).unwrap());
    }
    evaluation.finish(trainer)
}

/// The bits of numbers: equal where the numbers are, and where both are the same NaN.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Euclidean norm.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The norm of the difference in units of the norm of what is expected. Where that is 0, 0 or infinity.
pub fn relative(ours: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let difference: Vec<f32> = ours.iter().zip(expected).map(|(a, b)| a - b).collect();
    match (norm(&difference), norm(expected)) {
        (0.0, _) => 0.0,
        (difference, expected) => difference / expected,
    }
}

/// The cosine of the angle between two vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot / (norm(a) * norm(b))
}

//! Stable Diffusion XL against diffusers in f64 (`fixtures/sdxl/generate.py`): both text encoders, the UNet,
//! whole pictures, adapters in every naming, and the names of all its tensors at full size
//! (`fixtures/sdxl/keys.py`).

#[path = "sdxl/adapters.rs"]
mod adapters;
#[path = "sdxl/files.rs"]
mod files;
#[path = "sdxl/fixture.rs"]
mod fixture;
#[path = "sdxl/memory.rs"]
mod memory;
#[path = "sdxl/pictures.rs"]
mod pictures;
mod support;
#[path = "sdxl/training.rs"]
mod training;

use burn::tensor::{Tensor, TensorData};
use fixture::{EXPECTED, TABLE, folder, load, off, values};
use lorakeet::layers::{Parameters, Progress, Storage};
use lorakeet::models::{Added, Context, UNet2DConditionConfig, UNet2DConditionModel};
use lorakeet::weights::{Component, Source};

/// The largest difference between diffusers' own f32 and f64 of text embeddings is 5e-6, of a UNet's output
/// 8e-6: ten times that.
const TEXT: f32 = 5e-5;
const UNET: f32 = 1e-4;

#[test]
fn both_tokenizers_give_transformers_ids() {
    let model = load(&folder());
    for (prompt, ids) in TABLE.prompts.iter().enumerate().map(|(i, prompt)| (prompt, i)) {
        assert_eq!(model.tokenizer.encode(prompt).unwrap().ids, TABLE.ids[0][ids], "{prompt}");
        let second = model.tokenizer_2.as_ref().unwrap();
        assert_eq!(second.encode(prompt).unwrap().ids, TABLE.ids[1][ids], "{prompt}");
    }
}

#[test]
fn prompts_are_encoded_as_by_diffusers() {
    let model = load(&folder());
    for (i, prompt) in TABLE.prompts.iter().enumerate() {
        let states = model.encode_prompt(prompt).unwrap();
        assert_eq!(states.hidden.dims(), [1, 77, 40]);
        off(&format!("text.{i}.embeddings"), &values(states.hidden), TEXT);
        off(&format!("text.{i}.pooled"), &values(states.pooled.unwrap()), TEXT);
    }
}

/// Two rows of the UNet's inputs, as generate.py drew them.
pub fn given(prefix: &str) -> (Tensor<4>, Context) {
    let device = burn::tensor::Device::flex();
    let data = |name: &str, shape: Vec<usize>| {
        TensorData::new(EXPECTED.values(&format!("{prefix}.{name}")), shape)
    };
    let sample = Tensor::from_data(data("sample", vec![2, 4, 8, 8]), &device);
    let text = Tensor::from_data(data("context", vec![2, 77, 40]), &device);
    let pooled = Tensor::from_data(data("text_embeds", vec![2, 24]), &device);
    let added = Some(Added { pooled, time_ids: TABLE.time_ids.clone() });
    (sample, Context { text, added })
}

#[test]
fn the_unet_is_diffusers_in_one_go_and_piece_by_piece() {
    let model = load(&folder());
    let (sample, context) = given("given");
    let whole = values(model.unet.forward(sample.clone(), &TABLE.timesteps, context.clone()));
    off("unet.output", &whole, UNET);

    // Two blocks without attention, the output; then for each transformer its residual block and its own
    // blocks, on the way down what is handed on to the way up, and what halves or doubles.
    let (down, mid, up) = (2 * (4 + 5) + 1, 1 + 3 + 1, 3 * (4 + 3) + 2);
    assert_eq!(model.unet.stages(), 3 + down + mid + up);
    let mut pass = model.unet.begin(sample, &TABLE.timesteps, context, None);
    for _ in 1..model.unet.stages() {
        assert!(model.unet.advance(&mut pass).is_none());
    }
    let pieces = values(model.unet.advance(&mut pass).unwrap());
    assert_eq!(pieces, whole);
}

#[test]
fn size_and_pooled_text_count() {
    let model = load(&folder());
    let (sample, context) = given("given");
    let added = context.added.unwrap();
    let swapped = added.time_ids.iter().map(|ids| [ids[1], ids[0], ids[3], ids[2], ids[5], ids[4]]);
    for other in [
        Added { time_ids: swapped.collect(), ..added.clone() },
        Added { pooled: added.pooled.clone().flip([0]), ..added },
    ] {
        let context = Context { text: context.text.clone(), added: Some(other) };
        let output = values(model.unet.forward(sample.clone(), &TABLE.timesteps, context));
        assert!(fixture::distance("unet.output", &output) > 100.0 * UNET);
    }
}

/// SSD-1B and Vega: transformers whose depths differ within a block, and no attention between.
#[test]
fn transformers_may_differ_in_depth() {
    let component = |change: &dyn Fn(&mut serde_json::Value)| {
        let file = support::path("tests/fixtures/sdxl/ssd/diffusion_pytorch_model.safetensors");
        let source = lorakeet::weights::FileSource::open(&file).unwrap();
        let json = support::read("tests/fixtures/sdxl/ssd/config.json");
        let mut config = serde_json::from_slice(&json).unwrap();
        change(&mut config);
        let component = Component::from_safetensors("unet", &source, config).unwrap();
        (component, std::rc::Rc::new(source) as std::rc::Rc<dyn Source>)
    };
    let (component_, source) = component(&|_| {});
    let config = UNet2DConditionConfig::parse(&component_).unwrap();
    let (device, mut progress) = (burn::tensor::Device::flex(), |_: Progress<'_>| {});
    let sources = [source];
    let parameters = Parameters::new(&component_, &sources, &device, Storage::F32, &mut progress);
    let unet = UNet2DConditionModel::load(&config, &parameters);
    let (report, _) = parameters.finish().unwrap();
    report.check("ssd").unwrap();
    assert_eq!(report.unused, [""; 0]);
    let (sample, context) = given("given");
    off("unet.output.ssd", &values(unet.forward(sample, &TABLE.timesteps, context)), UNET);

    let error = |change: &dyn Fn(&mut serde_json::Value)| {
        UNet2DConditionConfig::parse(&component(change).0).unwrap_err().to_string()
    };
    let field = "reverse_transformer_layers_per_block";
    // Without it lists by layer don't say what the way up has.
    let untold = error(&|config| config[field] = serde_json::Value::Null);
    assert!(untold.contains("transformer_layers_per_block"), "{untold}");
    let short = error(&|config| config[field] = serde_json::json!([[2, 1], [2, 1, 1], 1]));
    assert!(short.contains(field), "{short}");
    let deep = error(&|config| {
        config["mid_block_type"] = "UNetMidBlock2DCrossAttn".into();
        config["down_block_types"][2] = "DownBlock2D".into();
        config["transformer_layers_per_block"] = serde_json::json!([1, 1, 1_000_000]);
    });
    assert!(deep.contains("transformer_layers_per_block"), "{deep}");
    let embedded = error(&|config| config["addition_embed_type"] = "image".into());
    assert!(embedded.contains("addition_embed_type"), "{embedded}");
    let narrow = error(&|config| config["projection_class_embeddings_input_dim"] = 48.into());
    assert!(narrow.contains("projection_class_embeddings_input_dim"), "{narrow}");
}

//! Models and their blocks against diffusers and transformers (`fixtures/models/generate.py`).

mod tiny;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use lorakeet::error::Error;
use lorakeet::kernels::{self, Choice};
use lorakeet::layers::{Linear, Storage};
use lorakeet::models::attention::{Attention, BasicTransformerBlock, FeedForward};
use lorakeet::models::autoencoder_kl::DiagonalGaussian;
use lorakeet::models::embeddings::{TimestepEmbedding, timestep_embedding};
use lorakeet::models::resnet::{Downsample2D, ResnetBlock2D, ResnetConfig, Upsample2D};
use lorakeet::models::transformer_2d::{Transformer2DModel, TransformerConfig};
use lorakeet::models::unet_2d_blocks::{
    BlockAttention, BlockConfig, DownBlock2D, MidBlock2D, UpBlock2D, UpChannels,
};
use lorakeet::models::{
    AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig, CLIPTextConfig,
    CLIPTextModel, UNet2DConditionConfig, UNet2DConditionModel,
};
use lorakeet::pipelines::{StableDiffusion, Vae};
use lorakeet::weights::{Checkpoint, Component};
use serde_json::{Value, json};
use tiny::{Case, Host, Values, cases, distance, host, load, load_with, read, source, tensor};

/// Relative to the largest value of an output. Both sides compute in f32 and differ in the order of
/// their sums alone, by a few 1e-7 for a block. Over the deepest model here, the demo model's VAE,
/// that comes to 2.3e-6; another processor's kernels may sum in yet another order.
const TOLERANCE: f64 = 1e-5;

fn component(name: &'static str, case: &Case) -> Component {
    let file = source("weights.safetensors", tiny::file(&case.weights()));
    Component::from_safetensors(name, file.as_ref(), case.config.clone()).unwrap()
}

fn load_unet(case: &Case) -> UNet2DConditionModel {
    let config = UNet2DConditionConfig::parse(&component("unet", case)).unwrap();
    load(&case.weights(), |parameters| UNet2DConditionModel::load(&config, parameters)).0
}

fn load_text_encoder(case: &Case) -> CLIPTextModel {
    let config = CLIPTextConfig::parse(&component("text_encoder", case)).unwrap();
    load(&case.weights(), |parameters| CLIPTextModel::load(&config, parameters)).0
}

fn load_kl(case: &Case, weights: &Values) -> AutoencoderKL {
    let config = AutoencoderKLConfig::parse(&component("vae", case)).unwrap();
    load(weights, |parameters| AutoencoderKL::load(&config, parameters)).0
}

/// A whole pass; also what LCM's condition needs.
fn run_unet(unet: &UNet2DConditionModel, case: &Case) -> Host {
    let given = case.inputs();
    let condition = given.get("condition").map(tensor);
    let sample = tensor(&given["sample"]);
    let mut pass = unet.begin(sample, &case.timesteps, tensor(&given["context"]), condition);
    for _ in 1..unet.stages() {
        assert!(unet.advance(&mut pass).is_none());
    }
    host(unet.advance(&mut pass).unwrap())
}

/// What the class of the case gives, by the names of its outputs.
fn run(case: &Case) -> Values {
    let given = case.inputs();
    let x = || tensor::<4>(&given["x"]);
    let rows = || tensor::<3>(&given["x"]);
    let emb = || tensor::<2>(&given["emb"]);
    let context = || given.get("context").map(tensor::<3>);
    let any_context = || context().unwrap_or_else(|| Tensor::zeros([1, 1, 1], &Device::flex()));
    let number =
        |field: &str| case.config[field].as_u64().unwrap_or_else(|| panic!("{field}")) as usize;
    let number_or =
        |field: &str, value: usize| case.config.get(field).map_or(value, |_| number(field));
    let flag = |field: &str| case.config.get(field) == Some(&Value::Bool(true));
    let resnet = || ResnetConfig {
        time_embedding: case.config["temb_channels"].as_u64().map(|width| width as usize),
        groups: number_or("resnet_groups", number_or("groups", 0)),
        epsilon: case.config.get("eps").unwrap_or(&json!(1e-5)).as_f64().unwrap(),
        output_scale_factor: case.config["output_scale_factor"].as_f64().unwrap_or(1.0),
    };
    let transformer = |groups: &str| TransformerConfig {
        context: number("cross_attention_dim"),
        groups: number(groups),
        linear: flag("use_linear_projection"),
    };
    let block = |layers: usize, resample: bool| BlockConfig {
        layers,
        resnet: resnet(),
        attention: case.class.contains("Cross").then(|| BlockAttention {
            heads: number("num_attention_heads"),
            depth: number_or("transformer_layers_per_block", 1),
            transformer: transformer("resnet_groups"),
        }),
        resample,
    };
    let weights = case.weights();

    let mut outputs = Values::new();
    let y = match case.class.as_str() {
        "UNet2DConditionModel" => {
            outputs.insert("sample".into(), run_unet(&load_unet(case), case));
            return outputs;
        }
        "CLIPTextModel" => {
            let hidden = load_text_encoder(case).forward(&case.ids).unwrap();
            outputs.insert("hidden".into(), host(hidden));
            return outputs;
        }
        "AutoencoderKL" => {
            let vae = load_kl(case, &weights);
            let DiagonalGaussian { mean, logvar } = vae.encode(tensor(&given["pixels"]));
            outputs.insert("mean".into(), host(mean));
            outputs.insert("logvar".into(), host(logvar));
            let mut x = tensor(&given["latents"]);
            let last = vae.decode_stages() - 1;
            for stage in 0..last {
                x = vae.decode_stage(stage, x);
                outputs.insert(format!("stage.{stage}"), host(x.clone()));
            }
            outputs.insert("pixels".into(), host(vae.decode_stage(last, x)));
            let whole = host(vae.decode(tensor(&given["latents"])));
            assert_eq!(whole, outputs["pixels"], "decoding by stages");
            return outputs;
        }
        "AutoencoderTiny" => {
            let config = AutoencoderTinyConfig::parse(&component("vae", case)).unwrap();
            let (vae, _) = load(&weights, |parameters| AutoencoderTiny::load(&config, parameters));
            outputs.insert("latents".into(), host(vae.encode(tensor(&given["pixels"]))));
            let whole = host(vae.decode(tensor(&given["latents"])));
            let stages = 0..vae.decode_stages();
            let latents = tensor(&given["latents"]);
            let staged = host(stages.fold(latents, |x, stage| vae.decode_stage(stage, x)));
            assert_eq!(whole, staged, "decoding by stages");
            outputs.insert("pixels".into(), whole);
            return outputs;
        }
        "ResnetBlock2D" => {
            let (input, output) = (number("in_channels"), number("out_channels"));
            let (block, _) = load(&weights, |p| ResnetBlock2D::load(p, input, output, resnet()));
            host(block.forward(x(), given.get("emb").map(tensor).as_ref()))
        }
        "Downsample2D" => {
            let padding = if number("padding") == 1 { (1, 1) } else { (0, 1) };
            let (block, _) = load(&weights, |p| Downsample2D::load(p, number("channels"), padding));
            host(block.forward(x()))
        }
        "Upsample2D" => {
            let (block, _) = load(&weights, |p| Upsample2D::load(p, number("channels")));
            host(block.forward(x(), None))
        }
        "Attention" => {
            let (width, heads) = (number("query_dim"), number("heads"));
            assert_eq!(width, heads * number("dim_head"));
            let context_width = number_or("cross_attention_dim", width);
            let bias = flag("bias");
            let (block, _) =
                load(&weights, |p| Attention::load(p, width, context_width, heads, bias));
            host(block.forward(rows(), context()))
        }
        "FeedForward" => {
            host(load(&weights, |p| FeedForward::load(p, number("dim"))).0.forward(rows()))
        }
        "BasicTransformerBlock" => {
            let (width, heads) = (number("dim"), number("num_attention_heads"));
            let context_width = number("cross_attention_dim");
            let (block, _) =
                load(&weights, |p| BasicTransformerBlock::load(p, width, context_width, heads));
            host(block.forward(rows(), any_context()))
        }
        "Transformer2DModel" => {
            let (channels, heads) = (number("in_channels"), number("num_attention_heads"));
            let depth = number_or("num_layers", 1);
            let config = transformer("norm_num_groups");
            let (block, _) =
                load(&weights, |p| Transformer2DModel::load(p, channels, heads, depth, config));
            host(block.forward(x(), &any_context()))
        }
        "DownBlock2D" | "CrossAttnDownBlock2D" => {
            let (input, output) = (number("in_channels"), number("out_channels"));
            let config = block(number("num_layers"), flag("add_downsample"));
            let (block, _) = load(&weights, |p| DownBlock2D::load(p, input, output, config));
            let mut skips = Vec::new();
            let y = block.forward(x(), &emb(), &any_context(), &mut skips);
            for (i, skip) in skips.into_iter().enumerate() {
                outputs.insert(format!("skip.{i}"), host(skip));
            }
            host(y)
        }
        "UNetMidBlock2DCrossAttn" => {
            let (channels, config) = (number("in_channels"), block(1, false));
            let (block, _) = load(&weights, |p| MidBlock2D::load(p, channels, config));
            host(block.forward(x(), &emb(), &any_context()))
        }
        "UpBlock2D" | "CrossAttnUpBlock2D" => {
            let channels = UpChannels {
                previous: number("prev_output_channel"),
                output: number("out_channels"),
                skip: number("in_channels"),
            };
            let config = block(number("num_layers") - 1, flag("add_upsample"));
            let (block, _) = load(&weights, |p| UpBlock2D::load(p, channels, config));
            let skips = given.iter().filter(|(name, _)| name.starts_with("skip."));
            let mut skips: Vec<_> = skips.map(|(_, skip)| tensor(skip)).collect();
            let y = block.forward(x(), &emb(), &any_context(), &mut skips);
            assert!(skips.is_empty());
            host(y)
        }
        "TimestepEmbedding" => {
            let (input, width) = (number("in_channels"), number("time_embed_dim"));
            let condition = given.get("condition").map(|_| number("cond_proj_dim"));
            let (block, _) =
                load(&weights, |p| TimestepEmbedding::load(p, input, width, condition));
            host(block.forward(tensor(&given["sample"]), given.get("condition").map(tensor)))
        }
        other => panic!("{other}: no test"),
    };
    outputs.insert("y".into(), y);
    outputs
}

/// Runs every case that `chosen` picks by name, on burn's operations and on our kernels.
fn compare(chosen: impl Fn(&str) -> bool) {
    for choice in [Choice::None, Choice::All] {
        kernels::choose(choice);
        compare_now(&chosen);
    }
}

fn compare_now(chosen: impl Fn(&str) -> bool) {
    let expected = tiny::read_values("models/outputs.safetensors");
    let (mut count, mut failed) = (0, Vec::new());
    for (name, case) in cases().iter().filter(|(name, _)| chosen(name)) {
        let outputs = run(case);
        assert_eq!(outputs.len(), case.outputs.len(), "{name}");
        for (output, ours) in outputs {
            let off = distance(&ours, &expected[&format!("{name}.{output}")]);
            println!("{name}.{output}: {off:.1e}");
            if off.is_nan() || off >= TOLERANCE {
                failed.push(format!("{name}.{output}: {off:e}"));
            }
        }
        count += 1;
    }
    assert!(failed.is_empty() && count > 0, "{failed:#?}");
}

#[test]
fn unets_equal_diffusers() {
    compare(|name| name.starts_with("unet."));
}

#[test]
fn text_encoders_equal_transformers() {
    compare(|name| name.starts_with("text."));
}

#[test]
fn autoencoders_equal_diffusers() {
    compare(|name| name.starts_with("vae."));
}

#[test]
fn each_block_on_its_own_equals_diffusers() {
    compare(|name| !["unet.", "text.", "vae."].iter().any(|start| name.starts_with(start)));
}

/// A sine of t times a frequency: of a frequency near 1 PyTorch's `exp` and ours may differ by one
/// f32 epsilon, which the largest timestep multiplies.
#[test]
fn sinusoids_equal_diffusers() {
    #[derive(serde::Deserialize)]
    struct Sinusoids {
        timesteps: Vec<f64>,
        channels: usize,
        flip: bool,
        shift: f64,
    }
    let cases: Value = serde_json::from_slice(&read("models/cases.json")).unwrap();
    let expected = tiny::read_values("models/outputs.safetensors");
    let table: BTreeMap<String, Sinusoids> =
        serde_json::from_value(cases["sinusoids"].clone()).unwrap();
    assert_eq!(table.len(), 4);
    for (name, Sinusoids { timesteps, channels, flip, shift }) in table {
        let ours = host(timestep_embedding(&timesteps, channels, flip, shift, &Device::flex()));
        assert_eq!(ours.shape, expected[&name].shape, "{name}");
        let rows = ours.data.chunks(channels).zip(expected[&name].data.chunks(channels));
        for (t, (ours, theirs)) in timesteps.iter().zip(rows) {
            let allowed = (t.max(1.0) + 1.0) as f32 * f32::EPSILON;
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() <= allowed, "{name} at {t}: {a} for {b}");
            }
        }
    }
}

#[test]
fn one_timestep_stands_for_all() {
    let mut case = cases().remove("unet.plain_mid").unwrap();
    let unet = load_unet(&case);
    let given = case.inputs();
    case.timesteps = vec![500.0; 2];
    let ours = unet.forward(tensor(&given["sample"]), &[500.0], tensor(&given["context"]));
    assert_eq!(host(ours), run_unet(&unet, &case));
}

/// f16 weights that stay f16 in memory are widened when they are used, so nothing is lost.
#[test]
fn half_precision_storage_changes_no_bit() {
    let cases = cases();
    let (unet, text) = (&cases["unet.lcm"], &cases["text.gelu"]);
    let halves = |case: &Case| {
        let weights = case.weights();
        let bytes: Vec<Vec<u8>> = weights
            .values()
            .map(|host| {
                host.data.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect()
            })
            .collect();
        let views = weights.iter().zip(&bytes).map(|((name, host), bytes)| {
            use safetensors::tensor::{Dtype, TensorView};
            (name, TensorView::new(Dtype::F16, host.shape.clone(), bytes).unwrap())
        });
        safetensors::tensor::serialize(views, None).unwrap()
    };
    let config = UNet2DConditionConfig::parse(&component("unet", unet)).unwrap();
    let text_config = CLIPTextConfig::parse(&component("text_encoder", text)).unwrap();
    let [wide, narrow] = [Storage::F32, Storage::F16].map(|storage| {
        let open = |name, case| {
            let file = source("half.safetensors", halves(case));
            let component = Component::from_safetensors(name, file.as_ref(), Value::Null);
            (component.unwrap(), file)
        };
        let (component, file) = open("unet", unet);
        let (model, report, _) =
            load_with(&component, file, storage, |p| UNet2DConditionModel::load(&config, p));
        report.check("half.safetensors").unwrap();
        assert_eq!(report.bytes, 2 * report.parameters);
        let (component, file) = open("text_encoder", text);
        let (text_encoder, ..) =
            load_with(&component, file, storage, |p| CLIPTextModel::load(&text_config, p));
        (run_unet(&model, unet), host(text_encoder.forward(&text.ids).unwrap()))
    });
    assert_eq!(wide, narrow);
    let off = distance(&wide.0, &run_unet(&load_unet(unet), unet));
    assert!((1e-5..1e-2).contains(&off), "f16 weights against f32: {off:e}");
}

/// A layer of an f32 file, whose every storage rounds as it says.
#[test]
fn weights_are_rounded_as_they_are_stored() {
    let draw = |shape: [usize; 2], salt: f32| Host {
        shape: shape.to_vec(),
        data: (0..shape[0] * shape[1]).map(|i| (i as f32 * 1.7 + salt).sin()).collect(),
    };
    let run = |weight: &Host, storage| {
        let [output, input] = [weight.shape[0], weight.shape[1]];
        let file =
            source("layer.safetensors", tiny::file(&[("weight".into(), weight.clone())].into()));
        let component = Component::from_safetensors("unet", file.as_ref(), Value::Null).unwrap();
        let (layer, report, sites) =
            load_with(&component, file, storage, |p| Linear::load(p, input, output, false));
        report.check("layer.safetensors").unwrap();
        let weight = host(sites[0].weight().unwrap());
        (host(layer.forward(tensor::<2>(&draw([5, input], 0.3)))), weight)
    };
    let wide = draw([48, 64], 0.0);
    let (expected, same) = run(&wide, Storage::F32);
    assert_eq!(same, wide);
    let off = |storage| {
        let (output, weight) = run(&wide, storage);
        (distance(&output, &expected), distance(&weight, &wide))
    };
    // Half a unit in the last of 11 bits, of numbers up to 1; half a step of 127.
    let (halves, blocks) = (off(Storage::F16), off(Storage::Q8));
    assert!((1e-5..5e-4).contains(&halves.0) && (1e-4..2.5e-4).contains(&halves.1), "{halves:?}");
    assert!((1e-4..8e-3).contains(&blocks.0) && (3e-3..4e-3).contains(&blocks.1), "{blocks:?}");
    // Rows that are no whole blocks are halves; numbers that are too large for a half stay f32.
    let odd = draw([48, 40], 0.0);
    assert_eq!(run(&odd, Storage::Q8), run(&odd, Storage::F16));
    let mut large = odd;
    large.data[7] = 1e5;
    assert_eq!(run(&large, Storage::F16), run(&large, Storage::F32));
}

#[test]
fn a_text_encoder_loads_without_its_prefix() {
    let cases = cases();
    let case = &cases["text.quick_gelu"];
    let short: Values = case
        .weights()
        .into_iter()
        .map(|(name, host)| (name.strip_prefix("text_model.").unwrap().into(), host))
        .collect();
    let file = source("model.safetensors", tiny::file(&short));
    let component =
        Component::from_safetensors("text_encoder", file.as_ref(), case.config.clone()).unwrap();
    let config = CLIPTextConfig::parse(&component).unwrap();
    let (model, report, _) =
        load_with(&component, file, Storage::F32, |p| CLIPTextModel::load(&config, p));
    report.check("model.safetensors").unwrap();
    let ours = host(model.forward(&case.ids).unwrap());
    assert_eq!(ours, host(load_text_encoder(case).forward(&case.ids).unwrap()));
}

/// A token sees itself and those before it: cutting the row leaves the others as they were.
#[test]
fn a_text_encoder_reads_from_left_to_right() {
    let cases = cases();
    let case = &cases["text.gelu"];
    let model = load_text_encoder(case);
    let whole = model.forward(&case.ids).unwrap();
    let start: Vec<Vec<u32>> = case.ids.iter().map(|row| row[..5].to_vec()).collect();
    let ours = host(model.forward(&start).unwrap());
    assert!(distance(&ours, &host(whole.narrow(1, 0, 5))) < 1e-6);

    for (ids, name) in [
        (vec![], "prompt"),
        (vec![vec![]], "prompt"),
        (vec![vec![1; 17]], "prompt"),
        (vec![vec![1, 2], vec![3]], "prompt"),
        (vec![vec![1, 50]], "tokenizer"),
        (vec![vec![u32::MAX]], "tokenizer"),
    ] {
        match model.forward(&ids) {
            Err(Error::Setting { name: found, .. }) => assert_eq!(found, name, "{ids:?}"),
            other => panic!("{ids:?}: {other:?}"),
        }
    }
}

/// A picture's posterior never gets too narrow or too wide for f32 (`DiagonalGaussianDistribution`
/// in diffusers `vae.py`), and a sample lies logvar / 2 in natural logarithms from its mean.
#[test]
fn a_posterior_is_clamped_and_sampled() {
    let cases = cases();
    let case = &cases["vae.kl"];
    let mut weights = case.weights();
    for value in &mut weights.get_mut("quant_conv.weight").unwrap().data {
        *value *= 1000.0;
    }
    let posterior = load_kl(case, &weights).encode(tensor(&case.inputs()["pixels"]));
    let logvar = host(posterior.logvar).data;
    assert_eq!(logvar.iter().copied().fold(f32::MAX, f32::min), -30.0);
    assert_eq!(logvar.iter().copied().fold(f32::MIN, f32::max), 20.0);

    let one = |value: f32| Tensor::<4>::full([1, 1, 1, 1], value, &Device::flex());
    let posterior = DiagonalGaussian { mean: one(3.0), logvar: one(2.0 * 5f32.ln()) };
    let sample = host(posterior.sample(one(-2.0))).data[0];
    assert!((sample - (3.0 - 2.0 * 5.0)).abs() < 1e-5, "{sample}");
}

/// One pass over the file finds everything that is wrong with it.
#[test]
fn a_report_names_every_fault() {
    let cases = cases();
    let case = &cases["unet.plain_mid"];
    let config = UNet2DConditionConfig::parse(&component("unet", case)).unwrap();
    let mut weights = case.weights();
    weights.remove("conv_in.bias").unwrap();
    weights.get_mut("conv_out.bias").unwrap().shape = vec![2, 2];
    weights.get_mut("conv_norm_out.weight").unwrap().data[3] = f32::NAN;
    weights.insert("down_blocks.7.conv.weight".into(), Host { shape: vec![1], data: vec![1.0] });
    let file = source("broken.safetensors", tiny::file(&weights));
    let component = Component::from_safetensors("unet", file.as_ref(), Value::Null).unwrap();
    let (_, report, sites) =
        load_with(&component, file, Storage::F32, |p| UNet2DConditionModel::load(&config, p));
    assert_eq!(report.missing, ["conv_in.bias [16]"]);
    assert_eq!(report.misshapen, ["conv_out.bias is [2, 2], not [4]"]);
    assert_eq!(report.not_finite, ["conv_norm_out.weight"]);
    assert_eq!(report.unused, ["down_blocks.7.conv.weight"]);
    assert_eq!(report.used, weights.len() - 3);

    // In the order in which they are worth mending.
    let mut report = report;
    for (words, mend) in [
        ("1 tensors of the unet are missing: conv_in.bias [16]", 0),
        ("1 tensors of the unet have another shape", 1),
        ("1 tensors of the unet hold NaN or infinity", 2),
    ] {
        let error = report.check("broken.safetensors").unwrap_err().to_string();
        assert!(error.starts_with(&format!("broken.safetensors: {words}")), "{error}");
        [&mut report.missing, &mut report.misshapen, &mut report.not_finite][mend].clear();
    }
    report.check("broken.safetensors").unwrap();

    // All but the one that no layer asks for.
    let adaptable: Vec<&str> = (weights.keys().filter_map(|name| name.strip_suffix(".weight")))
        .filter(|path| *path != "down_blocks.7.conv")
        .collect();
    let mut paths: Vec<&str> = sites.iter().map(|site| site.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, adaptable, "every matrix, kernel and norm can be adapted");
}

#[test]
fn unsupported_configs_are_refused_by_field() {
    let cases = cases();
    let refused = |error: Result<(), Error>, field: &str, value: &Value| match error {
        Err(Error::Key { key, .. }) => assert_eq!(key, field, "{value}"),
        other => panic!("{field} {value}: {other:?}"),
    };
    let with = |case: &Case, name, field: &str, value: &Value| {
        let mut component = component(name, case);
        component.config[field] = value.clone();
        component
    };
    let unet = &cases["unet.plain_mid"];
    for (field, value) in [
        ("act_fn", json!("gelu")),
        ("addition_embed_type", json!("text_time")),
        ("attention_head_dim", json!(3)),
        ("attention_head_dim", json!([4])),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([0, 24])),
        ("class_embed_type", json!("timestep")),
        ("conv_in_kernel", json!(5)),
        ("down_block_types", json!(["DownBlock2D"])),
        ("down_block_types", json!(["UpBlock2D", "DownBlock2D"])),
        ("down_block_types", json!(["SimpleCrossAttnDownBlock2D", "DownBlock2D"])),
        ("downsample_padding", json!(0)),
        ("encoder_hid_dim_type", json!("image_proj")),
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!([2])),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("norm_num_groups", json!(5)),
        ("only_cross_attention", json!(true)),
        ("resnet_skip_time_act", json!(true)),
        ("time_embedding_type", json!("fourier")),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("up_block_types", json!(["UpBlock2D", "AttnUpBlock2D"])),
    ] {
        let component = with(unet, "unet", field, &value);
        refused(UNet2DConditionConfig::parse(&component).map(drop), field, &value);
    }
    let unread = with(unet, "unet", "in_channels", &json!("four"));
    refused(UNet2DConditionConfig::parse(&unread).map(drop), "in_channels", &json!("four"));
    for (field, value) in [("hidden_act", json!("relu")), ("num_attention_heads", json!(3))] {
        let component = with(&cases["text.gelu"], "text_encoder", field, &value);
        refused(CLIPTextConfig::parse(&component).map(drop), field, &value);
    }
    for (field, value) in [
        ("act_fn", json!("relu")),
        ("block_out_channels", json!([])),
        ("down_block_types", json!(vec!["AttnDownEncoderBlock2D"; 3])),
        ("norm_num_groups", json!(3)),
        ("shift_factor", json!(0.5)),
        ("up_block_types", json!(["UpDecoderBlock2D"])),
    ] {
        let component = with(&cases["vae.kl"], "vae", field, &value);
        refused(AutoencoderKLConfig::parse(&component).map(drop), field, &value);
    }
    for (field, value) in [
        ("act_fn", json!("silu")),
        ("num_decoder_blocks", json!([1, 2])),
        ("num_encoder_blocks", json!([])),
        ("upsampling_scaling_factor", json!(4)),
    ] {
        let component = with(&cases["vae.tiny"], "vae", field, &value);
        refused(AutoencoderTinyConfig::parse(&component).map(drop), field, &value);
    }
}

/// The demo model's f16 weights in f32 arithmetic, against diffusers doing the same
/// (`fixtures/demo-model/recipe/reference.py`).
#[test]
fn the_demo_model_equals_diffusers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/model");
    let checkpoint = Checkpoint::open_path(path).unwrap();
    let (model, report) =
        StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::F32, &mut |_| {})
            .unwrap();
    for component in &report.components {
        assert_eq!(component.unused, Vec::<String>::new(), "{}", component.component);
    }
    let close = |what: &str, ours: Host, expected: &Host| {
        let off = distance(&ours, expected);
        println!("demo {what}: {off:.1e}");
        assert!(off < TOLERANCE, "{what}: {off:e}");
    };

    let ids: BTreeMap<String, Vec<u32>> =
        serde_json::from_slice(&read("demo-model/reference/token-ids.json")).unwrap();
    let expected = tiny::read_values("demo-model/reference/text.safetensors");
    // In the order of reference.py, which the JSON's own doesn't survive.
    let prompts = [
        "red apple",
        "smiling face with sunglasses",
        "A sailboat, on the BLUE sea!",
        "",
        "it's a café: 42 naïve zebras",
    ];
    let rows: Vec<Vec<u32>> = prompts.iter().map(|&prompt| ids[prompt].clone()).collect();
    let hidden = host(model.text_encoder().unwrap().forward(&rows).unwrap());
    close("text", hidden, &expected["last_hidden_state"]);

    let expected = tiny::read_values("demo-model/reference/unet.safetensors");
    let (latent, embedding) = (tensor(&expected["latent"]), tensor(&expected["embedding"]));
    close("unet", host(model.unet.forward(latent, &[500.0], embedding)), &expected["eps"]);

    let vae = model.vae().unwrap();
    let Vae::Kl(vae) = &*vae else { panic!("an AutoencoderKL") };
    let expected = tiny::read_values("demo-model/reference/vae.safetensors");
    let posterior = vae.encode(tensor(&expected["image"]));
    close("mean", host(posterior.mean), &expected["mean"]);
    close("logvar", host(posterior.logvar), &expected["logvar"]);
    let decoded = host(vae.decode(tensor(&expected["mean"])));
    close("decoded", decoded, &expected["decoded_from_mean"]);
}

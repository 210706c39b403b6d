//! Opening models: every layout, and what goes wrong with each.

#[path = "support/sd15.rs"]
mod sd15;

use std::collections::BTreeMap;
use std::rc::Rc;

use lorakeet::weights::{Bytes, Checkpoint, Component, Source};
use safetensors::tensor::{Dtype, TensorView, serialize};
use sd15::{Row, Tables};
use serde_json::{Value, json};

/// Shapes by name: a file to be.
type Shapes = BTreeMap<String, Vec<usize>>;

fn ldm(rows: &[Row]) -> Shapes {
    rows.iter().map(|row| (row.2.clone(), row.3.clone())).collect()
}

fn diffusers(rows: &[Row]) -> Shapes {
    rows.iter().map(|row| (row.0.clone(), row.1.clone())).collect()
}

/// The whole single file: three components, and what trainers leave in.
fn single_file(tables: &Tables) -> Shapes {
    let mut all = ldm(&tables.unet);
    all.append(&mut ldm(&tables.vae));
    all.append(&mut ldm(&tables.text_encoder));
    all
}

/// A tensor's bytes: i-th half-precision number of a file named by a hash of its key, so that two
/// tensors never hold the same.
fn bytes_of(key: &str, elements: usize) -> Vec<u8> {
    let seed = key.bytes().fold(7u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    // Exponent bits kept below infinity.
    (0..elements as u32)
        .flat_map(|i| (seed.wrapping_add((i * 13) as u16) & 0x3FFF).to_le_bytes())
        .collect()
}

fn safetensors_with(shapes: &Shapes, metadata: &[(&str, &str)]) -> Vec<u8> {
    let data: BTreeMap<&String, Vec<u8>> =
        shapes.iter().map(|(key, shape)| (key, bytes_of(key, shape.iter().product()))).collect();
    let views = shapes.iter().map(|(key, shape)| {
        (key.clone(), TensorView::new(Dtype::F16, shape.clone(), &data[key]).unwrap())
    });
    // Of no tensors but metadata, even empty, safetensors 0.8.0 writes a header that isn't JSON.
    let metadata = (!metadata.is_empty())
        .then(|| metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    serialize(views, metadata).unwrap()
}

fn safetensors(shapes: &Shapes) -> Vec<u8> {
    safetensors_with(shapes, &[])
}

fn source(name: &str, bytes: impl Into<Vec<u8>>) -> Rc<dyn Source> {
    Rc::new(Bytes::new(name, bytes))
}

fn open_one(name: &str, shapes: &Shapes) -> lorakeet::error::Result<Checkpoint> {
    Checkpoint::open(vec![source(name, safetensors(shapes))])
}

/// A diffusers folder whose components have one small tensor each.
struct Folder(BTreeMap<String, Vec<u8>>);

impl Folder {
    fn new() -> Self {
        let mut folder = Self(BTreeMap::new());
        folder.json("model_index.json", json!({"_class_name": "StableDiffusionPipeline"}));
        folder.json("scheduler/scheduler_config.json", json!({"_class_name": "DDIMScheduler"}));
        folder.json("unet/config.json", json!({"layers_per_block": 1}));
        folder.json("vae/config.json", json!({"latent_channels": 4}));
        folder.json("text_encoder/config.json", json!({"hidden_size": 8}));
        folder.tensor("unet/diffusion_pytorch_model.safetensors", "conv_in.weight");
        folder.tensor(
            "vae/diffusion_pytorch_model.safetensors",
            "encoder.mid_block.attentions.0.query.weight",
        );
        folder.tensor("text_encoder/model.safetensors", "final_layer_norm.weight");
        folder.set("tokenizer/vocab.json", "{\"a\":0}");
        folder.set("tokenizer/merges.txt", "#version: 0.2\n");
        folder
    }

    fn set(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), bytes.into());
    }

    fn json(&mut self, path: &str, value: Value) {
        self.set(path, value.to_string());
    }

    fn tensor(&mut self, path: &str, key: &str) {
        self.set(path, safetensors(&Shapes::from([(key.into(), vec![2, 3])])));
    }

    fn remove(&mut self, path: &str) {
        assert!(self.0.remove(path).is_some());
    }

    fn open_under(&self, prefix: &str) -> lorakeet::error::Result<Checkpoint> {
        Checkpoint::open(
            self.0
                .iter()
                .map(|(path, bytes)| source(&format!("{prefix}{path}"), bytes.clone()))
                .collect(),
        )
    }

    fn open(&self) -> Checkpoint {
        self.open_under("").unwrap()
    }

    fn error(&self) -> String {
        self.open_under("").unwrap_err().to_string()
    }
}

#[test]
fn the_demo_model_opens_from_its_folder() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model/model");
    let checkpoint = Checkpoint::open_path(path).unwrap();
    assert_eq!(checkpoint.name, "model");
    let [unet, text_encoder, vae] = [&checkpoint.unet, &checkpoint.text_encoder, &checkpoint.vae];
    assert_eq!([unet, text_encoder, vae].map(|c| c.tensors.len()), [324, 68, 180]);
    assert_eq!(unet.file, "unet/diffusion_pytorch_model.fp16.safetensors");
    assert_eq!(unet.config["block_out_channels"], json!([64, 128, 128]));
    assert!(!unet.config_inferred);
    assert!(text_encoder.tensors.keys().all(|name| name.starts_with("text_model.")));
    assert!(vae.tensors.contains_key("decoder.mid_block.attentions.0.to_out.0.weight"));
    assert_eq!(checkpoint.scheduler_config["_class_name"], "DDIMScheduler");
    let tokenizer = checkpoint.tokenizer.unwrap();
    assert!(tokenizer.vocab.starts_with(b"{"));
    assert!(tokenizer.merges.starts_with(b"#version"));
    assert_eq!(tokenizer.config.unwrap()["model_max_length"], 77);
    assert_eq!(tokenizer.special_tokens.unwrap()["eos_token"]["content"], "<|endoftext|>");
    assert_eq!(checkpoint.ignored, Vec::<String>::new());
    let values = unet.tensors["conv_in.bias"].read_f32(&checkpoint.sources).unwrap();
    assert_eq!(values.len(), 64);
    assert!(values.iter().any(|&value| value != 0.0));
}

#[test]
fn a_folder_opens_under_any_leading_path_and_among_junk() {
    let mut folder = Folder::new();
    folder.set(".DS_Store", "x");
    folder.set("README.md", "hello");
    folder.tensor("v1-5-pruned.safetensors", "x");
    folder.tensor("safety_checker/model.safetensors", "x");
    folder.set("old/model_index.json", "not even JSON");
    for (prefix, name) in [("", "model"), ("my-model/", "my-model"), ("models/sd/", "sd")] {
        let checkpoint = folder.open_under(prefix).unwrap();
        assert_eq!(checkpoint.name, name);
        assert_eq!(checkpoint.sources.len(), 3);
        assert!(checkpoint.unet.tensors.contains_key("conv_in.weight"));
        assert!(checkpoint.text_encoder.tensors.contains_key("text_model.final_layer_norm.weight"));
        let old = &checkpoint.vae.tensors["encoder.mid_block.attentions.0.to_q.weight"];
        assert_eq!(old.key, "encoder.mid_block.attentions.0.query.weight");
        assert_eq!(checkpoint.sources[old.source].name(), checkpoint.vae.file);
    }
}

#[test]
fn half_precision_and_averaged_weights_come_first() {
    let mut folder = Folder::new();
    let mut used = |file: &str| {
        folder.tensor(&format!("unet/{file}"), "conv_in.weight");
        folder.open().unet.file.strip_prefix("unet/").unwrap().to_string()
    };
    let plain = "diffusion_pytorch_model.safetensors";
    assert_eq!(used("diffusion_pytorch_model.non_ema.safetensors"), plain);
    assert_eq!(used("diffusion_pytorch_model.fp16.non_ema.safetensors"), plain);
    let bf16 = "diffusion_pytorch_model.bf16.safetensors";
    assert_eq!(used(bf16), bf16);
    let fp16 = "diffusion_pytorch_model.fp16.safetensors";
    assert_eq!(used(fp16), fp16);

    let mut folder = Folder::new();
    folder.remove("unet/diffusion_pytorch_model.safetensors");
    folder.tensor("unet/diffusion_pytorch_model.non_ema.safetensors", "conv_in.weight");
    assert_eq!(folder.open().unet.file, "unet/diffusion_pytorch_model.non_ema.safetensors");
    folder.remove("unet/diffusion_pytorch_model.non_ema.safetensors");
    folder.tensor("unet/my-own-name.safetensors", "conv_in.weight");
    assert_eq!(folder.open().unet.file, "unet/my-own-name.safetensors");
}

fn sharded(index: &str) -> Folder {
    let mut folder = Folder::new();
    folder.remove("unet/diffusion_pytorch_model.safetensors");
    let parts = ["00001", "00002"]
        .map(|n| format!("diffusion_pytorch_model.fp16-{n}-of-00002.safetensors"));
    folder.tensor(&format!("unet/{}", parts[0]), "conv_in.weight");
    folder.tensor(&format!("unet/{}", parts[1]), "conv_out.weight");
    let map = json!({"conv_in.weight": parts[0], "conv_out.weight": parts[1]});
    folder.json(&format!("unet/{index}"), json!({"metadata": {}, "weight_map": map}));
    folder
}

#[test]
fn sharded_weights_open_under_each_name_of_the_index() {
    for index in [
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
    ] {
        let checkpoint = sharded(index).open();
        assert_eq!(checkpoint.sources.len(), 4);
        let places: Vec<_> = checkpoint
            .unet
            .tensors
            .iter()
            .map(|(name, stored)| (name.as_str(), checkpoint.sources[stored.source].name()))
            .collect();
        assert_eq!(
            places,
            [
                ("conv_in.weight", "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors"),
                ("conv_out.weight", "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors"),
            ]
        );
    }
}

#[test]
fn a_shard_that_is_missing_or_wrong_is_named() {
    let index = "diffusion_pytorch_model.safetensors.index.json";
    let second = "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors";
    let mut folder = sharded(index);
    folder.remove(second);
    let error = folder.error();
    assert!(error.starts_with(&format!("{second}: is missing; unet/{index} lists")), "{error}");

    let mut folder = sharded(index);
    folder.tensor(second, "something_else.weight");
    let error = folder.error();
    assert!(error.starts_with(&format!("unet/{index}: conv_out.weight: should be in")), "{error}");

    for (map, message) in [
        (json!({}), "weight_map: is missing or lists no tensors"),
        (json!({"weight_map": {}}), "weight_map: is missing or lists no tensors"),
        (json!({"weight_map": {"a": 1}}), "a: isn't the name of a part"),
        (json!([1]), "isn't a JSON object"),
    ] {
        let mut folder = sharded(index);
        folder.json(&format!("unet/{index}"), map);
        let error = folder.error();
        assert!(error.starts_with(&format!("unet/{index}: {message}")), "{error}");
    }
}

#[test]
fn what_a_folder_lacks_is_named_with_its_remedy() {
    for file in ["vae/config.json", "scheduler/scheduler_config.json", "tokenizer/merges.txt"] {
        let mut folder = Folder::new();
        folder.remove(file);
        let error = folder.error();
        assert!(error.starts_with(&format!("{file}: is missing")), "{error}");
        assert!(error.contains("Download the whole folder"), "{error}");
    }
    let mut folder = Folder::new();
    folder.remove("vae/diffusion_pytorch_model.safetensors");
    let error = folder.error();
    assert!(
        error.starts_with("vae/diffusion_pytorch_model.safetensors: the vae folder has no weights"),
        "{error}"
    );
    folder.set("vae/diffusion_pytorch_model.bin", "PK\x03\x04");
    let error = folder.error();
    assert!(
        error.starts_with("vae/diffusion_pytorch_model.bin: isn't a .safetensors file"),
        "{error}"
    );
    assert!(error.contains("convert the weights"), "{error}");

    let mut folder = Folder::new();
    folder.set("unet/config.json", "{");
    let error = folder.error();
    assert!(error.starts_with("unet/config.json: isn't JSON"), "{error}");

    let mut folder = Folder::new();
    folder.set("unet/diffusion_pytorch_model.safetensors", safetensors(&Shapes::new()));
    let error = folder.error();
    assert!(
        error.starts_with("unet/diffusion_pytorch_model.safetensors: holds no tensors"),
        "{error}"
    );
}

#[test]
fn other_pipelines_are_refused_by_name() {
    for (class, extra, what) in [
        ("StableDiffusionXLPipeline", "text_encoder_2", "Stable Diffusion XL"),
        ("StableDiffusion3Pipeline", "transformer", "Stable Diffusion 3"),
        ("FluxPipeline", "transformer", "Flux"),
    ] {
        let mut folder = Folder::new();
        folder.json("model_index.json", json!({"_class_name": class, extra: ["diffusers", "X"]}));
        let error = folder.error();
        assert!(error.starts_with("model_index.json: the model is "), "{error}");
        assert!(error.contains(what) && error.contains(class), "{error}");
    }
}

#[test]
fn the_tokenizer_comes_in_two_forms_or_not_at_all() {
    let mut folder = Folder::new();
    folder.remove("tokenizer/vocab.json");
    folder.remove("tokenizer/merges.txt");
    assert_eq!(folder.open().tokenizer, None);
    for merges in [json!([["a", "b</w>"], ["c", "d"]]), json!(["a b</w>", "c d"])] {
        folder.json(
            "tokenizer/tokenizer.json",
            json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": merges}}),
        );
        let tokenizer = folder.open().tokenizer.unwrap();
        assert_eq!(tokenizer.vocab, b"{\"a\":0}");
        assert_eq!(tokenizer.merges, b"#version: 0.2\na b</w>\nc d\n");
    }
    folder.json("tokenizer/tokenizer.json", json!({"model": {"vocab": [["a", 0.5]]}}));
    let error = folder.error();
    assert!(error.starts_with("tokenizer/tokenizer.json: model.vocab: isn't"), "{error}");
}

/// Every tensor of a component is there under its diffusers name, with its own bytes.
fn check_tensors(checkpoint: &Checkpoint, component: &Component, rows: &[Row]) {
    assert_eq!(component.tensors.len(), rows.len());
    for (diffusers, _, ldm, shape) in rows {
        let stored = &component.tensors[diffusers];
        assert_eq!((&stored.key, &stored.info.shape), (ldm, shape));
        let expected = bytes_of(ldm, shape.iter().product());
        assert!(stored.read(&checkpoint.sources).unwrap() == expected, "{diffusers}");
    }
}

#[test]
fn a_single_file_opens_with_every_key_under_its_diffusers_name() {
    let tables = sd15::small(50);
    let mut shapes = single_file(&tables);
    let junk = [
        ("alphas_cumprod", "noise schedule"),
        ("model_ema.diffusion_modelout2bias", "moving average"),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", "counter"),
        ("first_stage_model.loss.logvar", "training"),
        ("who_knows", ""),
    ];
    for (key, _) in junk {
        shapes.insert(key.into(), vec![1, 7]);
    }
    let checkpoint = open_one("models/tiny.safetensors", &shapes).unwrap();
    assert_eq!(checkpoint.name, "tiny");
    assert_eq!(checkpoint.tokenizer, None);
    check_tensors(&checkpoint, &checkpoint.unet, &tables.unet);
    check_tensors(&checkpoint, &checkpoint.vae, &tables.vae);
    check_tensors(&checkpoint, &checkpoint.text_encoder, &tables.text_encoder);
    assert_eq!(checkpoint.ignored.len(), junk.len());
    for (key, reason) in junk {
        let line = checkpoint.ignored.iter().find(|line| line.starts_with(key)).unwrap();
        assert!(line.contains(reason), "{line}");
    }

    assert!(checkpoint.unet.config_inferred);
    assert_eq!(
        checkpoint.unet.config,
        json!({
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": 8,
            "block_out_channels": [32, 64, 128, 128],
            "center_input_sample": false,
            "cross_attention_dim": 128,
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D", "DownBlock2D"],
            "downsample_padding": 1,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "in_channels": 4,
            "layers_per_block": 2,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_eps": 1e-5,
            "norm_num_groups": 32,
            "out_channels": 4,
            "sample_size": 64,
            "time_cond_proj_dim": null,
            "transformer_layers_per_block": 1,
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D"],
            "use_linear_projection": false,
        })
    );
    assert_eq!(
        checkpoint.vae.config,
        json!({
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": [32, 64, 128, 128],
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D",
                "DownEncoderBlock2D", "DownEncoderBlock2D"],
            "in_channels": 3,
            "latent_channels": 4,
            "layers_per_block": 2,
            "mid_block_add_attention": true,
            "norm_num_groups": 32,
            "out_channels": 3,
            "sample_size": 512,
            "scaling_factor": 0.18215,
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D",
                "UpDecoderBlock2D"],
            "use_post_quant_conv": true,
            "use_quant_conv": true,
        })
    );
    let text = &checkpoint.text_encoder.config;
    for (field, expected) in [
        ("hidden_size", json!(128)),
        ("num_attention_heads", json!(2)),
        ("num_hidden_layers", json!(12)),
        ("intermediate_size", json!(384)),
        ("vocab_size", json!(50)),
        ("eos_token_id", json!(49)),
        ("hidden_act", json!("quick_gelu")),
    ] {
        assert_eq!(text[field], expected, "{field}");
    }
    let scheduler = &checkpoint.scheduler_config;
    for (field, expected) in [
        ("_class_name", json!("PNDMScheduler")),
        ("beta_start", json!(0.00085)),
        ("beta_end", json!(0.012)),
        ("beta_schedule", json!("scaled_linear")),
        ("num_train_timesteps", json!(1000)),
        ("steps_offset", json!(1)),
        ("prediction_type", json!("epsilon")),
        ("set_alpha_to_one", json!(false)),
        ("clip_sample", json!(false)),
        ("skip_prk_steps", json!(true)),
    ] {
        assert_eq!(scheduler[field], expected, "{field}");
    }
}

#[test]
fn a_single_file_opens_with_each_known_variant_of_its_names() {
    let tables = sd15::small(50);
    let rename = |from: &str, to: &str| -> Shapes {
        single_file(&tables)
            .into_iter()
            .map(|(key, shape)| (key.replace(from, to), shape))
            .collect()
    };
    let names = |component: &Component| component.tensors.keys().cloned().collect::<Vec<_>>();
    let usual = open_one("a.safetensors", &single_file(&tables)).unwrap();
    let mut variants = vec![rename("transformer.text_model.", "transformer.")];
    // diffusers' VAE names, old and current, in place of ldm's.
    for old in [false, true] {
        let mut shapes = ldm(&tables.unet);
        shapes.append(&mut ldm(&tables.text_encoder));
        for (name, shape) in diffusers(&tables.vae) {
            let name = if old { name.replace("to_out.0", "proj_attn") } else { name };
            shapes.insert(format!("first_stage_model.{name}"), shape);
        }
        variants.push(shapes);
    }
    for shapes in &variants {
        let checkpoint = open_one("b.safetensors", shapes).unwrap();
        assert_eq!(names(&checkpoint.unet), names(&usual.unet));
        assert_eq!(names(&checkpoint.text_encoder), names(&usual.text_encoder));
        assert_eq!(names(&checkpoint.vae), names(&usual.vae));
        assert_eq!(checkpoint.vae.config, usual.vae.config);
        assert_eq!(checkpoint.ignored, Vec::<String>::new());
    }
}

#[test]
fn stable_diffusion_2s_fused_projections_are_cut_in_three() {
    let tables = sd15::small(50);
    let mut shapes = ldm(&tables.unet);
    for (key, shape) in &mut shapes {
        if key.ends_with(".proj_in.weight") || key.ends_with("1.proj_out.weight") {
            shape.truncate(2);
        }
    }
    shapes.append(&mut ldm(&tables.vae));
    shapes.extend(tables.open_clip_ldm.iter().cloned());
    let checkpoint = open_one("sd2.safetensors", &shapes).unwrap();
    assert_eq!(checkpoint.unet.config["use_linear_projection"], true);
    assert_eq!(checkpoint.text_encoder.tensors.len(), 23 * 16 + 4);
    assert_eq!(checkpoint.text_encoder.config["hidden_act"], "gelu");
    assert_eq!(checkpoint.text_encoder.config["num_hidden_layers"], 23);
    assert_eq!(checkpoint.ignored.len(), 14);
    for (parameter, shape) in [("weight", vec![128, 128]), ("bias", vec![128])] {
        let fused =
            format!("cond_stage_model.model.transformer.resblocks.5.attn.in_proj_{parameter}");
        let whole = bytes_of(&fused, 3 * shape.iter().product::<usize>());
        let parts: Vec<u8> = ["q", "k", "v"]
            .iter()
            .flat_map(|p| {
                let name = format!("text_model.encoder.layers.5.self_attn.{p}_proj.{parameter}");
                let stored = &checkpoint.text_encoder.tensors[&name];
                assert_eq!((&stored.key, &stored.info.shape), (&fused, &shape));
                assert_eq!(
                    stored.read_f32(&checkpoint.sources).unwrap().len(),
                    shape.iter().product::<usize>()
                );
                stored.read(&checkpoint.sources).unwrap()
            })
            .collect();
        assert!(parts == whole);
    }

    let fused = "cond_stage_model.model.transformer.resblocks.5.attn.in_proj_weight";
    shapes.insert(fused.into(), vec![127, 128]);
    let error = open_one("sd2.safetensors", &shapes).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("sd2.safetensors: {fused}: has the shape [127, 128]")),
        "{error}"
    );
}

#[test]
fn v_prediction_is_read_from_the_header() {
    let shapes = single_file(&sd15::small(50));
    let prediction = |metadata: &[(&str, &str)], shapes: &Shapes| {
        let file = source("a.safetensors", safetensors_with(shapes, metadata));
        Checkpoint::open(vec![file]).unwrap().scheduler_config["prediction_type"].clone()
    };
    assert_eq!(prediction(&[("modelspec.prediction_type", "epsilon")], &shapes), "epsilon");
    assert_eq!(prediction(&[("modelspec.prediction_type", "v")], &shapes), "v_prediction");
    assert_eq!(prediction(&[("modelspec.predict_key", "v")], &shapes), "v_prediction");
    assert_eq!(
        prediction(&[("modelspec.architecture", "stable-diffusion-v2-768-v")], &shapes),
        "v_prediction"
    );
    let mut marked = shapes.clone();
    marked.insert("v_pred".into(), vec![]);
    assert_eq!(prediction(&[], &marked), "v_prediction");
}

#[test]
fn names_nobody_knows_stay_for_the_load_report() {
    let mut shapes = single_file(&sd15::small(50));
    let odd = [
        "model.diffusion_model.input_blocks.1.0.surprise.weight",
        "first_stage_model.surprise.weight",
        "cond_stage_model.transformer.surprise.weight",
    ];
    for key in odd {
        shapes.insert(key.into(), vec![1]);
    }
    let checkpoint = open_one("a.safetensors", &shapes).unwrap();
    assert!(checkpoint.unet.tensors.contains_key(odd[0]));
    assert!(checkpoint.vae.tensors.contains_key(odd[1]));
    assert!(checkpoint.text_encoder.tensors.contains_key(odd[2]));
    // The same tensor under two names: one is taken, the other named.
    let mut shapes = single_file(&sd15::small(50));
    shapes.insert("cond_stage_model.transformer.final_layer_norm.bias".into(), vec![128]);
    let checkpoint = open_one("a.safetensors", &shapes).unwrap();
    assert_eq!(checkpoint.ignored.len(), 1);
    assert!(
        checkpoint.ignored[0].contains("is already text_model.final_layer_norm.bias"),
        "{:?}",
        checkpoint.ignored
    );
}

#[test]
fn a_single_file_that_lacks_a_component_says_which() {
    let tables = sd15::small(50);
    let mut shapes = ldm(&tables.unet);
    let error = |shapes: &Shapes| open_one("a.safetensors", shapes).unwrap_err().to_string();
    assert!(error(&shapes).starts_with("a.safetensors: holds no text encoder"));
    shapes.append(&mut ldm(&tables.text_encoder));
    assert!(error(&shapes).starts_with("a.safetensors: holds no VAE"));
    shapes.append(&mut ldm(&tables.vae));
    shapes.remove("model.diffusion_model.out.2.weight").unwrap();
    let message = error(&shapes);
    assert!(message.starts_with("a.safetensors: conv_out.weight: is missing"), "{message}");
}

#[test]
fn what_is_no_checkpoint_is_refused_with_a_remedy() {
    let tables = sd15::small(50);
    for (keys, problem, remedy) in [
        (
            vec!["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"],
            "is an adapter (LoRA), not a model",
            "Load a model first, then drop this file again",
        ),
        (vec!["emb_params"], "is a textual-inversion embedding", "Load a model first"),
        (
            vec!["conditioner.embedders.1.model.x", "model.diffusion_model.input_blocks.0.0.bias"],
            "is Stable Diffusion XL, not",
            "Use a checkpoint of",
        ),
        (vec!["model.diffusion_model.joint_blocks.0.x"], "is Stable Diffusion 3, not", "Use"),
        (vec!["double_blocks.0.img_attn.qkv.weight"], "is Flux, not", "Use"),
        (vec!["model.diffusion_model.label_emb.0.0.bias"], "is an upscaler or unCLIP", "Use"),
        (vec!["some.weight"], "is no Stable Diffusion model that we know", "Bring one"),
        (vec![], "is no Stable Diffusion model that we know", "Bring one"),
    ] {
        let shapes = keys.iter().map(|key| (key.to_string(), vec![1])).collect();
        let error = open_one("a.safetensors", &shapes).unwrap_err().to_string();
        assert!(error.starts_with(&format!("a.safetensors: {problem}")), "{error}");
        assert!(error.contains(remedy), "{error}");
    }
    for (rows, what) in
        [(&tables.unet, "a UNet"), (&tables.vae, "a VAE"), (&tables.text_encoder, "a text encoder")]
    {
        let error = open_one("a.safetensors", &diffusers(rows)).unwrap_err().to_string();
        assert!(error.contains(&format!("is only {what}, one part of a model")), "{error}");
        assert!(error.contains("a whole diffusers folder with its model_index.json"), "{error}");
    }
}

#[test]
fn a_wrong_selection_of_files_is_refused() {
    let error = |files: Vec<Rc<dyn Source>>| Checkpoint::open(files).unwrap_err().to_string();
    assert!(error(vec![]).contains("there is nothing to open"));
    let message = error(vec![source("a.txt", "x"), source("b.png", "y")]);
    assert!(message.contains("no model among these 2 files"), "{message}");
    let message = error(vec![source("a.safetensors", "x"), source("b.safetensors", "y")]);
    assert!(message.starts_with("a.safetensors: is a text, "), "{message}");
    let message = error(vec![source("a.ckpt", b"PK\x03\x04\0\0\0\0\0\0".to_vec())]);
    assert!(message.starts_with("a.ckpt: is a zip archive"), "{message}");
    // One model among other files is the model.
    let shapes = single_file(&sd15::small(50));
    let files = vec![source("README.md", "x"), source("m.safetensors", safetensors(&shapes))];
    assert_eq!(Checkpoint::open(files).unwrap().name, "m");
    let message = Checkpoint::open_path("/there/is/no/such.safetensors").unwrap_err().to_string();
    assert!(message.contains("can't be opened"), "{message}");
}

#[test]
fn a_component_opens_from_one_file_in_diffusers_names() {
    let rows = sd15::small(50).vae;
    let file = source("vae.safetensors", safetensors(&diffusers(&rows)));
    let config = json!({"latent_channels": 4});
    let component = Component::from_safetensors("vae", file.as_ref(), config.clone()).unwrap();
    assert_eq!(component.config, config);
    assert_eq!(component.file, "vae.safetensors");
    assert_eq!(component.tensors.len(), 248);
    let name = "decoder.mid_block.attentions.0.to_k.bias";
    assert_eq!(component.tensors[name].read(&[file]).unwrap(), bytes_of(name, 128));
}

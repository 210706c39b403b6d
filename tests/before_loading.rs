//! A model is judged before it is loaded: by its configs, names and shapes alone, without a tensor
//! read, and without memory for what a config asks for. A process of its own, since it counts every
//! allocation.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;
use lorakeet::error::Result;
use lorakeet::layers::Storage;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Checkpoint, Component, Source};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::path;

/// One test at a time: the count is the whole process's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A file that counts its reads.
struct Watched(Rc<dyn Source>, Rc<Cell<usize>>);

impl Source for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.1.set(self.1.get() + 1);
        self.0.read(offset, buffer)
    }
}

/// The demo model's files, opened, and how often they are read from now on.
fn demo() -> (Checkpoint, Rc<Cell<usize>>) {
    let mut checkpoint = Checkpoint::open_path(path("web/demo-model/model")).unwrap();
    let reads = Rc::new(Cell::new(0));
    for file in &mut checkpoint.sources {
        *file = Rc::new(Watched(file.clone(), reads.clone()));
    }
    (checkpoint, reads)
}

fn component<'a>(checkpoint: &'a mut Checkpoint, name: &str) -> &'a mut Component {
    match name {
        "unet" => &mut checkpoint.unet,
        "vae" => &mut checkpoint.vae,
        _ => &mut checkpoint.text_encoder,
    }
}

/// The message of a model that can't be, which took next to nothing to find out.
fn refusal(checkpoint: &Checkpoint) -> Option<String> {
    // The vocabulary takes most of it.
    const FEW: usize = 48 << 20;
    let (checked, peak) = counting::peak_of(|| StableDiffusion::check(checkpoint, None));
    assert!(peak < FEW, "{peak} bytes to look at names");
    let message = checked.err()?.to_string();
    assert!(message.contains(". "), "no remedy: {message}");
    Some(message)
}

#[test]
fn looking_finds_what_loading_finds_and_reads_nothing() {
    let _turn = turn();
    let (checkpoint, reads) = demo();
    let looked = StableDiffusion::check(&checkpoint, None).unwrap();
    assert_eq!(reads.get(), 0);
    let device = Device::flex();
    let loaded = StableDiffusion::load(&checkpoint, None, &device, Storage::F32, &mut |_| {});
    assert_eq!(looked, loaded.unwrap().1.components);
    assert!(reads.get() > 100);
}

/// What is told without a tensor read is what is allocated, natively; in each way to keep weights.
#[test]
fn the_bytes_of_a_model_are_told() {
    let _turn = turn();
    let (checkpoint, reads) = demo();
    let all = [Storage::F32, Storage::F16, Storage::Q8];
    let told = all.map(|storage| checkpoint.bytes_as(storage) as f64);
    assert_eq!(reads.get(), 0);
    // What a process makes once, such as its threads, belongs to no model.
    drop(StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::Q8, &mut |_| {}));
    let held = all.map(|storage| {
        let before = counting::held();
        let device = Device::flex();
        let model = StableDiffusion::load(&checkpoint, None, &device, storage, &mut |_| {});
        let after = counting::held();
        drop(model);
        (after - before) as f64
    });
    println!("told {told:?}, held {held:?}");
    // Beside the weights a model holds names, slots and a tokenizer, whatever the weights are, and of
    // narrow ones what rounding changed.
    let rest = held[0] - told[0];
    assert!((0.0..3e6).contains(&rest), "{rest}");
    for (held, told) in held.into_iter().zip(told) {
        let off = (held - rest) / told - 1.0;
        assert!(off.abs() < 0.02, "{held} held, {told} told");
    }
    // Most of the demo model's channels are multiples of 32.
    assert!(told[1] < 0.52 * told[0] && told[2] < 0.3 * told[0], "{told:?}");
}

#[test]
fn what_is_missing_or_misshapen_is_told_without_a_read() {
    let _turn = turn();
    let (mut checkpoint, reads) = demo();
    let key = "mid_block.resnets.0.conv1.weight";
    checkpoint.unet.tensors.remove(key);
    let message = refusal(&checkpoint).unwrap();
    assert!(message.starts_with(&checkpoint.unet.file) && message.contains(key), "{message}");
    let (mut checkpoint, _) = demo();
    let key = "encoder.conv_in.weight";
    checkpoint.vae.tensors.get_mut(key).unwrap().info.shape[0] += 1;
    let message = refusal(&checkpoint).unwrap();
    assert!(message.starts_with(&checkpoint.vae.file) && message.contains(key), "{message}");
    assert_eq!(reads.get(), 0);
}

#[test]
fn a_size_out_of_bounds_is_named_with_its_file() {
    let _turn = turn();
    let wide = json!([1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    for (part, field, value) in [
        ("unet", "block_out_channels", wide.clone()),
        ("unet", "block_out_channels", json!([])),
        ("unet", "block_out_channels", json!(vec![32; 40])),
        ("unet", "in_channels", json!(u32::MAX)),
        ("unet", "out_channels", json!(0)),
        ("unet", "cross_attention_dim", json!(4_000_000_000u32)),
        ("unet", "layers_per_block", json!(4_000_000_000u32)),
        ("unet", "layers_per_block", json!(-1)),
        ("unet", "layers_per_block", json!("2")),
        ("unet", "transformer_layers_per_block", json!(1_000_000)),
        ("unet", "time_cond_proj_dim", json!(1 << 30)),
        ("unet", "sample_size", json!(u64::MAX)),
        ("unet", "norm_num_groups", json!(0)),
        ("unet", "attention_head_dim", json!(0)),
        ("unet", "mid_block_scale_factor", json!(0)),
        ("unet", "down_block_types", json!(3)),
        ("text_encoder", "num_hidden_layers", json!(4_000_000_000u32)),
        ("text_encoder", "intermediate_size", json!(2_000_000)),
        ("text_encoder", "vocab_size", json!(1u64 << 40)),
        ("text_encoder", "max_position_embeddings", json!(1 << 30)),
        ("text_encoder", "hidden_size", json!(1.5)),
        ("text_encoder", "num_attention_heads", json!(0)),
        ("vae", "block_out_channels", wide),
        ("vae", "block_out_channels", json!(vec![32; 70])),
        ("vae", "layers_per_block", json!(0)),
        ("vae", "layers_per_block", json!(1_000_000)),
        ("vae", "latent_channels", json!(1 << 24)),
        ("vae", "scaling_factor", json!(0)),
        ("vae", "scaling_factor", json!([])),
    ] {
        let (mut checkpoint, _) = demo();
        let changed = component(&mut checkpoint, part);
        let file = changed.file.clone();
        changed.config[field] = value.clone();
        let message = refusal(&checkpoint).unwrap_or_else(|| panic!("{part}: {field}: {value}"));
        assert!(message.starts_with(&format!("{file}: {field}: ")), "{value}: {message}");
    }
}

#[test]
fn a_tiny_autoencoder_has_the_same_bounds() {
    let _turn = turn();
    for (field, value) in [
        ("num_decoder_blocks", json!([1_000_000, 1, 1, 1])),
        ("encoder_block_out_channels", json!([1 << 24, 1 << 24, 1 << 24, 1 << 24])),
        ("latent_channels", json!(0)),
    ] {
        let (mut checkpoint, _) = demo();
        checkpoint.vae.config = json!({"_class_name": "AutoencoderTiny"});
        checkpoint.vae.config[field] = value;
        let message = refusal(&checkpoint).unwrap();
        assert!(message.starts_with(&format!("{}: {field}: ", checkpoint.vae.file)), "{message}");
    }
}

/// Some tools write every field, and null for those that they don't use.
#[test]
fn null_stands_for_the_default() {
    let _turn = turn();
    let (mut checkpoint, _) = demo();
    for (part, field, default) in [
        ("unet", "norm_eps", json!(1e-5)),
        ("unet", "freq_shift", json!(0)),
        ("unet", "num_attention_heads", Value::Null),
        ("text_encoder", "layer_norm_eps", json!(1e-5)),
        ("vae", "act_fn", json!("silu")),
    ] {
        let config = &mut component(&mut checkpoint, part).config;
        let said = config.get(field).cloned().unwrap_or_else(|| default.clone());
        assert_eq!(said, default, "{part}: {field}");
        config[field] = Value::Null;
    }
    assert_eq!(refusal(&checkpoint), None);
    // Of the middle it says that there is none.
    checkpoint.unet.config["mid_block_type"] = Value::Null;
    let unused = StableDiffusion::check(&checkpoint, None).unwrap()[1].unused.clone();
    assert!(unused.iter().all(|key| key.starts_with("mid_block.")) && unused.len() > 10);
}

/// Values that parsers and multiplications trip over.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        4 => (0u64..70).prop_map(|n| json!(n)),
        1 => prop_oneof![Just(1u64 << 16), Just(1 << 31), Just(1 << 32), Just(1 << 63), Just(u64::MAX)]
            .prop_map(|n| json!(n)),
        1 => (-3i64..0).prop_map(|n| json!(n)),
        1 => prop_oneof![Just(0.0), Just(1e300), Just(-0.5)].prop_map(|x| json!(x)),
    ];
    let other = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!("8")),
        Just(json!("UNetMidBlock2D")),
        Just(json!({})),
    ];
    let list = prop::collection::vec(number.clone(), 0..10).prop_map(|list| json!(list));
    prop_oneof![5 => number, 2 => other, 2 => list]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Whatever the configs say, the model is looked at or refused, in little memory.
    #[test]
    fn configs_that_lie(
        changes in prop::collection::vec(
            (0usize..3, any::<prop::sample::Index>(), value()), 1..4
        ),
    ) {
        let _turn = turn();
        let (mut checkpoint, reads) = demo();
        for (part, field, value) in changes {
            let part = ["unet", "vae", "text_encoder"][part];
            let config = component(&mut checkpoint, part).config.as_object_mut().unwrap();
            let names: Vec<String> = config.keys().cloned().collect();
            config[&names[field.index(names.len())]] = value;
        }
        refusal(&checkpoint);
        prop_assert_eq!(reads.get(), 0);
    }
}

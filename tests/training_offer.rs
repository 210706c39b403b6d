//! What a run is told to take at SD 1.5's shape, and what is said where that isn't there: arithmetic
//! alone, on any machine.

#[path = "support/sd15.rs"]
mod sd15;

use lorakeet::models::UNet2DConditionConfig;
use lorakeet::training::estimate::passes::{Layer, Means};
use lorakeet::training::estimate::{Total, Unet};
use lorakeet::training::{Config, Offer};
use serde_json::{Value, json};

const MEGA: u64 = 1_000_000;
const CPU: Means = Means { kernels: true, cpu: true, narrow: true };
const GPU: Means = Means { cpu: false, ..CPU };

/// SD 1.5's UNet in halves.
struct Sd15 {
    config: UNet2DConditionConfig,
    layers: Vec<(String, Vec<usize>)>,
}

impl Sd15 {
    fn new() -> Self {
        let tables: sd15::Tables =
            serde_json::from_str(include_str!("fixtures/sd15-keys/keys.json")).unwrap();
        let layer = |(name, shape, ..): sd15::Row| {
            let path = name.strip_suffix(".weight").filter(|_| shape.len() > 1)?;
            Some((path.to_string(), shape))
        };
        let layers = tables.unet.into_iter().filter_map(layer).collect();
        let config = json!({"cross_attention_dim": 768, "sample_size": 64});
        Self { config: serde_json::from_value(config).unwrap(), layers }
    }

    fn unet(&self, means: Means) -> Unet<'_> {
        let layers: Vec<Layer> =
            self.layers.iter().map(|(path, shape)| Layer { path, shape }).collect();
        let weights = 2 * layers.iter().map(Layer::numbers).sum::<u64>();
        Unet { config: &self.config, layers, means, weights, native: 512 }
    }
}

fn config(json: Value) -> Config {
    serde_json::from_value(json).unwrap()
}

fn total(unet: &Unet, json: Value) -> Total {
    unet.told(&config(json)).unwrap()
}

fn free(bytes: u64) -> Offer {
    Offer { free: Some(bytes), buffer: None }
}

/// The error that says what would fit.
fn refusal(unet: &Unet, json: Value, offer: Offer) -> String {
    let config = config(json);
    let total = unet.told(&config).unwrap();
    unet.fit(&config, &total, &offer).unwrap_err().to_string()
}

#[test]
fn blocks_are_run_twice_where_a_whole_pass_finds_no_room() {
    let sd15 = Sd15::new();
    let unet = sd15.unet(CPU);
    let at_256 = json!({"resolution": 256});
    let told = total(&unet, at_256.clone());
    let (whole, blocks) = (told.bytes(false), told.bytes(true));
    println!("{} MB whole, {} by blocks", whole / MEGA, blocks / MEGA);
    let fit = |offer: Offer| unet.fit(&config(at_256.clone()), &told, &offer);
    assert_eq!(fit(free(2 * whole)), Ok(false));
    // With little to spare it isn't tried.
    assert_eq!(fit(free(whole + whole / 20)), Ok(true));
    assert_eq!(fit(free(blocks)), Ok(true));
    assert!(fit(free(blocks - 1)).is_err());
    // Where nobody knows, the settings' own limit decides.
    assert_eq!(fit(Offer::default()), Ok(whole > 1 << 30));
    let roomy = config(json!({"resolution": 256, "memoryBudget": 1u64 << 40}));
    assert_eq!(unet.fit(&roomy, &told, &Offer::default()), Ok(false));
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let sd15 = Sd15::new();
    let unet = sd15.unet(CPU);
    let blocks = |json: Value| total(&unet, json).bytes(true);
    let settings = json!({"resolution": 512, "batch": 4});
    // Just enough for two at once.
    let two = free(blocks(json!({"resolution": 512, "batch": 2})));
    let error = refusal(&unet, settings.clone(), two);
    println!("{error}");
    assert!(error.starts_with("memory: this run needs about "), "{error}");
    for part in ["are free. These fit: ", "batch 2 with accumulation 2 (", "pictures of 320 px ("] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    let off = json!({"resolution": 256, "batch": 4, "checkpointing": "off"});
    let offer = free(total(&unet, off.clone()).bytes(false) - 1);
    let error = refusal(&unet, off, offer);
    println!("{error}");
    assert!(error.contains("These fit: checkpointing on ("), "{error}");
    let wide = json!({"resolution": 256, "batch": 1, "kind": "dora", "targets": "convolution"});
    let offer = free(blocks(json!({"resolution": 256, "batch": 1, "targets": "convolution"})));
    let error = refusal(&unet, wide, offer);
    println!("{error}");
    assert!(error.contains("a LoRA ("), "{error}");
    // Hardly anything is free: only 8-bit weights could help, or nothing.
    let error = refusal(&unet, settings.clone(), free(MEGA));
    println!("{error}");
    assert!(error.contains("Nothing smaller fits here"), "{error}");
    let short = blocks(json!({"resolution": 512, "batch": 1})) - 200 * MEGA;
    let error = refusal(&unet, json!({"resolution": 512, "batch": 1}), free(short));
    println!("{error}");
    assert!(error.contains("the model loaded again with weights in 8 bits"), "{error}");
}

/// What is proposed fits indeed: read out of the words and asked again.
#[test]
fn what_is_proposed_fits() {
    let sd15 = Sd15::new();
    let unet = sd15.unet(CPU);
    let settings = json!({"resolution": 512, "batch": 8});
    let most = total(&unet, settings.clone()).bytes(true);
    for share in 1..10 {
        let offer = free(most / 10 * share);
        let error = refusal(&unet, settings.clone(), offer);
        let words = error.split_once("These fit: ").map_or("", |(_, fit)| fit);
        for proposal in words.split("; ") {
            let numbers: Vec<usize> = proposal
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .collect();
            let changed = match &numbers[..] {
                [batch, accumulation, side, ..] if proposal.contains(" and pictures of") => {
                    json!({"batch": batch, "accumulation": accumulation, "resolution": side})
                }
                [batch, accumulation, ..] if proposal.starts_with("batch") => {
                    json!({"batch": batch, "accumulation": accumulation, "resolution": 512})
                }
                [side, ..] if proposal.starts_with("pictures") => {
                    json!({"batch": 8, "resolution": side})
                }
                _ => continue,
            };
            let changed = config(changed);
            let total = unet.told(&changed).unwrap();
            assert!(unet.fit(&changed, &total, &offer).is_ok(), "{proposal} in {offer:?}");
        }
    }
}

#[test]
fn buffers_are_compared_with_the_device() {
    let sd15 = Sd15::new();
    let unet = sd15.unet(GPU);
    let least = Offer { free: None, buffer: Some(128 << 20) };
    let error = refusal(&unet, json!({"resolution": 512, "batch": 8}), least);
    println!("{error}");
    // 8 x 4096 pixels of 8 x 320 channels.
    assert!(error.starts_with("batch: this run needs a buffer of 336 MB, and the GPU"), "{error}");
    assert!(error.contains("batch 2 with accumulation 4 ("), "{error}");
    let fits = config(json!({"resolution": 512, "batch": 2}));
    assert!(unet.fit(&fits, &unet.told(&fits).unwrap(), &least).is_ok());
}

/// A GPU turns SD 1.5's frozen convolutions for the way back one at a time, and keeps none of the 541 M
/// weights a second time.
#[test]
fn a_gpu_keeps_convolutions_once() {
    let sd15 = Sd15::new();
    let settings = json!({"resolution": 256, "batch": 1});
    // The largest has 2560 channels in and 1280 out.
    for (narrow, largest) in [(true, 2 * 9 * 2560 * 1280), (false, 4 * 9 * 2560 * 1280)] {
        let bytes = |cpu| {
            let unet = sd15.unet(Means { cpu, narrow, ..GPU });
            total(&unet, settings.clone()).bytes(true)
        };
        let (reads_as_it_lies, turns) = (bytes(true), bytes(false));
        assert!((0..=largest).contains(&(turns - reads_as_it_lies)), "{turns}");
    }
}

/// More of anything takes no less.
#[test]
fn more_takes_more() {
    let sd15 = Sd15::new();
    for means in [CPU, GPU, Means { kernels: false, ..CPU }] {
        let unet = sd15.unet(means);
        let base = json!({"resolution": 256, "batch": 2, "targets": "attention"});
        let bytes = |change: Value| {
            let mut json = base.clone();
            for (key, value) in change.as_object().unwrap() {
                json[key] = value.clone();
            }
            let total = total(&unet, json);
            assert!(total.bytes(true) <= total.bytes(false), "{change}");
            [false, true].map(|checkpointed| total.bytes(checkpointed))
        };
        let [whole, blocks] = bytes(json!({}));
        for change in [
            json!({"batch": 4}),
            json!({"resolution": 320}),
            json!({"targets": "linear"}),
            json!({"kind": "dora"}),
            json!({"rank": 64}),
        ] {
            let [more, also] = bytes(change.clone());
            assert!(more > whole && also > blocks, "{change}: {more} {also}");
        }
        let [fewer, _] = bytes(json!({"blocks": ["up"]}));
        assert!(fewer < whole, "what lies before the first trained block keeps no graph");
    }
}

//! Adapters against diffusers and PEFT (`fixtures/adapters/generate.py`), in every naming, at every
//! strength, and every file that must be refused.

mod tiny;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use burn::tensor::Device;
use lorakeet::adapters::file::{self, Site};
use lorakeet::adapters::kinds::LowRank;
use lorakeet::adapters::{
    AdapterFile, AdapterModule, AdapterSet, HostFactors, HostTensor, Part, Spread, spread,
};
use lorakeet::error::{Error, Result};
use lorakeet::keys::ldm::UNetLayout;
use lorakeet::layers::{Conv2d, Conv2dConfig, Linear, Storage};
use lorakeet::models::{UNet2DConditionConfig, UNet2DConditionModel};
use lorakeet::noise::TorchGenerator;
use lorakeet::pipelines::StableDiffusion;
use lorakeet::weights::{Bytes, Checkpoint, Component, FileSource};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::Deserialize;
use serde_json::{Value, json};
use tiny::{Case, Host, Values, distance, host, read, source, tensor};

/// Relative to the largest value of an output. Both sides compute in f32: at strength 2, where a
/// rounding grows most on its way through the UNet, that comes to 4.3e-6. The adapters change the
/// outputs by 9 to 130 %.
const TOLERANCE: f64 = 1e-5;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/demo-model");

#[derive(Deserialize)]
struct Fixture {
    adapters: BTreeMap<String, Rows>,
    runs: BTreeMap<String, BTreeMap<String, f32>>,
}

#[derive(Deserialize)]
struct Rows {
    seed: u64,
    /// Part, path, rank, alpha, whether it is in Tucker form.
    modules: Vec<(String, String, usize, f32, bool)>,
}

fn fixture() -> Fixture {
    serde_json::from_slice(&read("adapters/adapters.json")).unwrap()
}

fn case(name: &str) -> Case {
    tiny::cases().remove(name).unwrap()
}

/// Drawn once for all tests.
fn weights(name: &str) -> &'static Values {
    static UNET: OnceLock<Values> = OnceLock::new();
    static TEXT: OnceLock<Values> = OnceLock::new();
    let place = if name == "unet.sd1" { &UNET } else { &TEXT };
    place.get_or_init(|| case(name).weights())
}

/// The tiny model, through the same doors as a user's folder.
struct Model {
    model: StableDiffusion,
    unet: Case,
    text: Case,
}

impl Model {
    fn new() -> Self {
        let (unet, text, vae) = (case("unet.sd1"), case("text.quick_gelu"), case("vae.tiny"));
        let tokenizer = |name: &str| {
            let bytes = std::fs::read(format!("{DEMO}/model/tokenizer/{name}")).unwrap();
            source(&format!("tokenizer/{name}"), bytes)
        };
        let part = |name: &str, case: &Case, weights: &Values| {
            [
                source(&format!("{name}/config.json"), case.config.to_string()),
                source(&format!("{name}/model.safetensors"), tiny::file(weights)),
            ]
        };
        let index = json!({"_class_name": "StableDiffusionPipeline"});
        let scheduler = json!({"_class_name": "DDIMScheduler"});
        let mut files = vec![
            source("model_index.json", index.to_string()),
            source("scheduler/scheduler_config.json", scheduler.to_string()),
            tokenizer("vocab.json"),
            tokenizer("merges.txt"),
        ];
        files.extend(part("unet", &unet, weights("unet.sd1")));
        files.extend(part("text_encoder", &text, weights("text.quick_gelu")));
        files.extend(part("vae", &vae, &vae.weights()));
        let checkpoint = Checkpoint::open(files).unwrap();
        let (model, _) =
            StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::F32, &mut |_| {})
                .unwrap();
        Self { model, unet, text }
    }

    fn add(&self, name: &str, bytes: Vec<u8>) -> Result<u64> {
        self.model.add_adapter(&Bytes::new(name, bytes), None)
    }

    fn set(&self, id: u64, strength: f32) {
        self.model.set_adapter(id, true, strength, strength).unwrap();
    }

    /// What UNet and text encoder give for the inputs of the fixtures.
    fn outputs(&self) -> [Host; 2] {
        let hidden = self.model.text_encoder().unwrap().forward(&self.text.ids).unwrap();
        [run_unet(&self.model.unet, &self.unet), host(hidden)]
    }

    /// How many branches sit in all slots together.
    fn branches(&self) -> usize {
        [Part::UNet, Part::TextEncoder]
            .iter()
            .flat_map(|&part| self.model.sites(part))
            .map(|site| site.slot.branches().len())
            .sum()
    }

    /// What an adapter's file is read against.
    fn sites(&self) -> Vec<Site> {
        [Part::UNet, Part::TextEncoder]
            .into_iter()
            .flat_map(|part| {
                self.model.sites(part).iter().map(move |site| Site {
                    part,
                    path: site.path.clone(),
                    shape: site.shape.clone(),
                })
            })
            .collect()
    }
}

fn run_unet(unet: &UNet2DConditionModel, case: &Case) -> Host {
    let given = case.inputs();
    let (sample, context) = (tensor(&given["sample"]), tensor(&given["context"]));
    host(unet.forward(sample, &case.timesteps, context))
}

/// One module of an adapter in memory, shaped as the layer's weight is.
#[derive(Debug, Clone)]
struct Module {
    part: Part,
    path: String,
    rank: usize,
    alpha: f32,
    down: Host,
    mid: Option<Host>,
    up: Host,
}

impl Module {
    fn draw(
        (part, path, rank, alpha, tucker): (Part, &str, usize, f32, bool),
        generator: &mut TorchGenerator,
    ) -> Self {
        let model = if part == Part::UNet { "unet.sd1" } else { "text.quick_gelu" };
        let shape = &weights(model)[&format!("{path}.weight")].shape;
        let (kernel, ones) = (&shape[2..], vec![1; shape.len() - 2]);
        let mut draw = |first: usize, second: usize, kernel: &[usize]| {
            tiny::draw("factor", &[&[first, second], kernel].concat(), generator)
        };
        let down = draw(rank, shape[1], if tucker { &ones } else { kernel });
        let mid = tucker.then(|| draw(rank, rank, kernel));
        let up = draw(shape[0], rank, &ones);
        Self { part, path: path.into(), rank, alpha, down, mid, up }
    }

    /// What reading it must give; alpha aside, which not every naming has.
    fn expected(&self) -> AdapterModule {
        let tensor =
            |host: &Host| HostTensor { shape: host.shape.clone(), data: host.data.clone() };
        AdapterModule {
            part: self.part,
            path: self.path.clone(),
            factors: HostFactors::LowRank(LowRank {
                down: tensor(&self.down),
                mid: self.mid.as_ref().map(tensor),
                up: tensor(&self.up),
            }),
            scale: self.alpha / self.rank as f32,
            rank: self.rank,
            alpha: None,
        }
    }

    /// `sum over n, m of up[i, n] mid[n, m, k, l] down[m, j]`, the dense product at alpha = rank.
    fn delta(&self) -> Vec<f64> {
        let (rank, columns) = (self.rank, self.down.data.len() / self.rank);
        let wide = |host: &Host| host.data.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (down, up) = (wide(&self.down), wide(&self.up));
        // [rank, the rest of the weight]
        let inner = match &self.mid {
            None => down,
            Some(mid) => {
                let area: usize = mid.shape[2..].iter().product();
                let mid = wide(mid);
                let place = |at: usize| (at / (columns * area), at / area % columns, at % area);
                let sum = |(n, j, k)| {
                    (0..rank).map(|m| mid[(n * rank + m) * area + k] * down[m * columns + j]).sum()
                };
                (0..rank * columns * area).map(place).map(sum).collect()
            }
        };
        let rest = inner.len() / rank;
        up.chunks(rank)
            .flat_map(|row| {
                (0..rest).map(|j| (0..rank).map(|n| row[n] * inner[n * rest + j]).sum())
            })
            .collect()
    }
}

/// An adapter of the fixture.
fn adapter(name: &str) -> Vec<Module> {
    let Rows { seed, modules } = fixture().adapters.remove(name).unwrap();
    let mut generator = TorchGenerator::new(seed);
    modules
        .iter()
        .map(|(part, path, rank, alpha, tucker)| {
            let part = if part == "unet" { Part::UNet } else { Part::TextEncoder };
            Module::draw((part, path, *rank, *alpha, *tucker), &mut generator)
        })
        .collect()
}

/// The 128 attention modules of SD 1.5's UNet.
fn attention(rank: usize, alpha: f32) -> Vec<Module> {
    let mut generator = TorchGenerator::new(7);
    weights("unet.sd1")
        .keys()
        .filter_map(|name| name.strip_suffix(".weight"))
        .filter(|path| path.contains(".attn"))
        .map(|path| Module::draw((Part::UNet, path, rank, alpha, false), &mut generator))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Factor {
    Down,
    Mid,
    Up,
    Alpha,
    Scale,
}

/// An adapter's tensors under the keys that a naming gives them; it leaves out those of `None`.
fn write(modules: &[Module], key: impl Fn(&Module, Factor) -> Option<String>) -> Values {
    let mut values = Values::new();
    for module in modules {
        let number = |value: f32| Host { shape: vec![], data: vec![value] };
        let factors = [
            (Factor::Down, Some(module.down.clone())),
            (Factor::Mid, module.mid.clone()),
            (Factor::Up, Some(module.up.clone())),
            (Factor::Alpha, Some(number(module.alpha))),
            (Factor::Scale, Some(number(module.alpha / module.rank as f32))),
        ];
        for (factor, host) in factors {
            if let (Some(key), Some(host)) = (key(module, factor), host) {
                assert!(values.insert(key.clone(), host).is_none(), "{key} twice");
            }
        }
    }
    values
}

fn kohya_suffix(factor: Factor) -> Option<&'static str> {
    match factor {
        Factor::Down => Some("lora_down.weight"),
        Factor::Mid => Some("lora_mid.weight"),
        Factor::Up => Some("lora_up.weight"),
        Factor::Alpha => Some("alpha"),
        Factor::Scale => None,
    }
}

fn peft_suffix(factor: Factor) -> Option<&'static str> {
    match factor {
        Factor::Down => Some("lora_A.weight"),
        Factor::Up => Some("lora_B.weight"),
        _ => None,
    }
}

/// kohya's keys, given its prefix for the text encoder.
fn kohya_with(modules: &[Module], text_prefix: &str) -> Values {
    write(modules, |module, factor| {
        let prefix = if module.part == Part::UNet { "lora_unet_" } else { text_prefix };
        Some(format!("{prefix}{}.{}", module.path.replace('.', "_"), kohya_suffix(factor)?))
    })
}

fn kohya(modules: &[Module]) -> Values {
    kohya_with(modules, "lora_te_")
}

/// ldm's name of a UNet module by its diffusers path (`fixtures/sd15-keys/generate.py`).
fn ldm_names() -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Tables {
        unet: Vec<(String, Vec<usize>, String, Vec<usize>)>,
    }
    let tables: Tables = serde_json::from_slice(&read("sd15-keys/keys.json")).unwrap();
    let rows = tables.unet.into_iter().filter_map(|(name, _, ldm, _)| {
        let ldm = ldm.strip_prefix("model.diffusion_model.")?.strip_suffix(".weight")?;
        Some((name.strip_suffix(".weight")?.to_string(), ldm.to_string()))
    });
    rows.collect()
}

fn read_adapter(model: &Model, bytes: Vec<u8>, config: Option<&Value>) -> Result<AdapterFile> {
    let layout = UNetLayout::stable_diffusion();
    let source = Bytes::new("style.safetensors", bytes);
    file::read(&source, config, &model.sites(), Some(&layout))
}

/// Factors bit for bit, scales to the rounding of a division.
fn assert_same(what: &str, read: &[AdapterModule], expected: &[AdapterModule]) {
    let key = |module: &AdapterModule| (module.part, module.path.clone());
    let expected: BTreeMap<_, _> = expected.iter().map(|module| (key(module), module)).collect();
    assert_eq!(read.len(), expected.len(), "{what}");
    for ours in read {
        let theirs = expected[&key(ours)];
        let off = (ours.scale / theirs.scale - 1.0).abs();
        assert!(off < 1e-6, "{what}: {}: {} for {}", ours.path, ours.scale, theirs.scale);
        let (scale, alpha) = (theirs.scale, theirs.alpha);
        assert!(
            AdapterModule { scale, alpha, ..ours.clone() } == *theirs,
            "{what}: {} has other factors",
            ours.path
        );
    }
}

fn expected(modules: &[Module]) -> Vec<AdapterModule> {
    modules.iter().map(Module::expected).collect()
}

/// A file in one naming must read as these modules.
fn assert_reads(model: &Model, naming: &str, values: &Values, modules: &[Module]) -> AdapterFile {
    let read = read_adapter(model, tiny::file(values), None).unwrap();
    assert_same(naming, &read.modules, &expected(modules));
    assert_eq!(read.report.unused, [], "{naming}");
    assert_eq!(read.report.naming, naming);
    read
}

#[test]
fn outputs_equal_diffusers_at_every_strength() {
    let theirs = tiny::read_values("adapters/outputs.safetensors");
    let model = Model::new();
    let ids: BTreeMap<String, u64> = fixture()
        .adapters
        .into_keys()
        .map(|name| (name.clone(), model.add(&name, tiny::file(&kohya(&adapter(&name)))).unwrap()))
        .collect();
    let runs = fixture().runs;
    assert_eq!(runs.len(), 16);
    for (run, strengths) in runs {
        for (name, &id) in &ids {
            model.set(id, strengths.get(name).copied().unwrap_or(0.0));
        }
        for (part, ours) in ["unet", "text"].into_iter().zip(model.outputs()) {
            let off = distance(&ours, &theirs[&format!("{run}.{part}")]);
            println!("{run}.{part}: {off:.1e}");
            assert!(off < TOLERANCE, "{run}.{part}: {off:e}");
        }
    }
}

/// Files that diffusers' and PEFT's own `save` functions wrote, in their present naming, with alpha
/// in the header and in adapter_config.json (rank-stabilised, with patterns).
#[test]
fn files_of_diffusers_and_peft_give_their_outputs() {
    let theirs = tiny::read_values("adapters/outputs.safetensors");
    let model = Model::new();
    let base = model.outputs();
    let close = |what: &str, ours: &Host| {
        let off = distance(ours, &theirs[what]);
        println!("{what}: {off:.1e}");
        assert!(off < TOLERANCE, "{what}: {off:e}");
    };

    let id = model.add("lora", read("adapters/diffusers.safetensors")).unwrap();
    let [unet, text] = model.outputs();
    close("diffusers.unet", &unet);
    close("diffusers.text", &text);
    let summary = "14 of 14 modules: UNet 8, text encoder 6; rank 2 to 3, alpha 3 to 5";
    assert_eq!(model.model.adapters().iter().next().unwrap().report.summary, summary);
    model.model.remove_adapter(id).unwrap();

    let config = String::from_utf8(read("adapters/peft/adapter_config.json")).unwrap();
    let file =
        Bytes::new("adapter_model.safetensors", read("adapters/peft/adapter_model.safetensors"));
    model.model.add_adapter(&file, Some(&config)).unwrap();
    let [unet, text] = model.outputs();
    close("peft.unet", &unet);
    assert_eq!(text, base[1]);
    let error = model.model.add_adapter(&file, Some("{")).unwrap_err().to_string();
    assert!(error.starts_with("adapter_config.json: isn't JSON"), "{error}");
}

#[test]
fn every_kohya_naming_reads_the_same() {
    let model = Model::new();
    for name in ["lora", "locon", "tucker"] {
        let modules = adapter(name);
        let read = assert_reads(&model, "kohya", &kohya(&modules), &modules);
        assert_eq!(read.report.kind, if name == "lora" { "LoRA" } else { "LoCon" });
        let mut alphas: Vec<_> = read.modules.iter().map(|module| module.alpha.unwrap()).collect();
        let mut wanted: Vec<_> = modules.iter().map(|module| module.alpha).collect();
        alphas.sort_by(f32::total_cmp);
        wanted.sort_by(f32::total_cmp);
        assert_eq!(alphas, wanted, "{name}");
    }

    let lora = adapter("lora");
    assert_reads(&model, "kohya", &kohya_with(&lora, "lora_te1_"), &lora);
    let short: Values = kohya(&lora)
        .into_iter()
        .map(|(key, host)| (key.replace("lora_te_text_model_", "lora_te_"), host))
        .collect();
    assert_reads(&model, "kohya", &short, &lora);

    let ldm = ldm_names();
    let locon = adapter("locon");
    let values = write(&locon, |module, factor| {
        let name = ldm[&module.path].replace('.', "_");
        Some(format!("lora_unet_{name}.{}", kohya_suffix(factor)?))
    });
    assert!(values.contains_key("lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight"));
    assert_reads(&model, "kohya (ldm names)", &values, &locon);

    let values = write(&locon, |module, factor| {
        Some(format!("lycoris_{}.{}", module.path.replace('.', "_"), kohya_suffix(factor)?))
    });
    assert_reads(&model, "LyCORIS", &values, &locon);

    for (unet, text) in [
        ("diffusion_model.", "text_encoders."),
        ("diffusion_model.", "text_encoders.clip_l."),
        ("model.diffusion_model.", "text_encoders.clip_l.transformer."),
    ] {
        let values = write(&lora, |module, factor| {
            let suffix = kohya_suffix(factor)?;
            Some(match module.part {
                Part::UNet => format!("{unet}{}.{suffix}", ldm[&module.path]),
                Part::TextEncoder | Part::TextEncoder2 => format!("{text}{}.{suffix}", module.path),
            })
        });
        assert_reads(&model, "ldm", &values, &lora);
    }
}

/// A 1x1 convolution's factors may come as matrices and a linear layer's as 1x1 kernels; an A1111
/// `.scale` stands for alpha / rank, whatever the alpha beside it; an alpha of 0 for the rank.
#[test]
fn shapes_and_scales_may_be_written_otherwise() {
    let model = Model::new();
    let lora = adapter("lora");
    let mut values = kohya(&lora);
    for host in values.values_mut() {
        match host.shape[..] {
            [_, _] => host.shape.extend([1, 1]),
            [_, _, 1, 1] => host.shape.truncate(2),
            _ => {}
        }
    }
    assert_reads(&model, "kohya", &values, &lora);

    let values = write(&lora, |module, factor| {
        let suffix = if factor == Factor::Scale { "scale" } else { kohya_suffix(factor)? };
        let prefix = if module.part == Part::UNet { "lora_unet_" } else { "lora_te_" };
        Some(format!("{prefix}{}.{suffix}", module.path.replace('.', "_")))
    });
    let mut twice = values.clone();
    for (key, host) in &mut twice {
        match key.rsplit('.').next() {
            Some("alpha") => host.data[0] = 1000.0,
            Some("scale") => host.data[0] *= 2.0,
            _ => {}
        }
    }
    assert_reads(&model, "kohya", &values, &lora);
    let doubled: Vec<Module> =
        lora.iter().cloned().map(|m| Module { alpha: 2.0 * m.alpha, ..m }).collect();
    assert_reads(&model, "kohya", &twice, &doubled);

    let as_rank: Vec<Module> =
        lora.iter().cloned().map(|m| Module { alpha: m.rank as f32, ..m }).collect();
    let mut zero = kohya(&lora);
    for (_, host) in zero.iter_mut().filter(|(key, _)| key.ends_with(".alpha")) {
        host.data[0] = 0.0;
    }
    assert_reads(&model, "kohya", &zero, &as_rank);
    let mut none = kohya(&lora);
    none.retain(|key, _| !key.ends_with(".alpha"));
    assert_reads(&model, "kohya", &none, &as_rank);
}

/// No alpha stands in these files: it is the rank.
#[test]
fn every_diffusers_naming_reads_the_same() {
    let model = Model::new();
    let mut modules = attention(4, 4.0);
    let text = adapter("lora");
    let text = text.into_iter().filter(|m| m.part == Part::TextEncoder && m.path.contains("attn"));
    modules.extend(text.map(|module| Module { alpha: module.rank as f32, ..module }));
    let direction = |factor| match factor {
        Factor::Down => Some("down"),
        Factor::Up => Some("up"),
        _ => None,
    };

    // LoRAAttnProcessor: with the component's name in front, and without (`save_attn_procs`).
    let old = |module: &Module, factor: Factor| {
        let direction = direction(factor)?;
        if module.part == Part::TextEncoder {
            let (layer, name) = module.path.rsplit_once('.')?;
            let name = name.strip_suffix("_proj")?;
            return Some(format!("text_encoder.{layer}.to_{name}_lora.{direction}.weight"));
        }
        let (attention, name) = module.path.split_once(".to_")?;
        let name = name.strip_suffix(".0").unwrap_or(name);
        Some(format!("unet.{attention}.processor.to_{name}_lora.{direction}.weight"))
    };
    let values = write(&modules, old);
    assert!(values.contains_key(
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight"
    ));
    assert_reads(&model, "diffusers", &values, &modules);
    let unet: Vec<Module> = modules.iter().filter(|m| m.part == Part::UNet).cloned().collect();
    let bare = write(&unet, |module, factor| Some(old(module, factor)?.replacen("unet.", "", 1)));
    assert_reads(&model, "diffusers", &bare, &unet);

    let current = write(&modules, |module, factor| {
        let (part, lora) = match module.part {
            Part::UNet => ("unet", "lora"),
            Part::TextEncoder | Part::TextEncoder2 => ("text_encoder", "lora_linear_layer"),
        };
        Some(format!("{part}.{}.{lora}.{}.weight", module.path, direction(factor)?))
    });
    assert_reads(&model, "diffusers", &current, &modules);
    // transformers 5 has no `text_model` in its paths.
    let short: Values = current
        .into_iter()
        .map(|(key, host)| (key.replace("text_encoder.text_model.", "text_encoder."), host))
        .collect();
    assert_reads(&model, "diffusers", &short, &modules);
}

/// r, alpha and the rest beside PEFT's names: in adapter_config.json or in the header.
#[test]
fn every_peft_naming_reads_the_same() {
    let model = Model::new();
    let lora = adapter("lora");
    let unet: Vec<Module> = lora.iter().filter(|m| m.part == Part::UNet).cloned().collect();
    let keys = |modules: &[Module], unet: &str, text: &str, end: &str| {
        write(modules, |module, factor| {
            let prefix = if module.part == Part::UNet { unet } else { text };
            let suffix = peft_suffix(factor)?.replace(".weight", end);
            Some(format!("{prefix}{}.{suffix}", module.path))
        })
    };
    let pattern = |modules: &[Module], alpha: &dyn Fn(&Module) -> f32| -> Value {
        modules.iter().map(|module| (module.path.clone(), json!(alpha(module)))).collect()
    };
    let plain = |module: &Module| module.alpha;
    let read = |values: &Values, config: &Value| {
        let read = read_adapter(&model, tiny::file(values), Some(config)).unwrap();
        assert_eq!(read.report.naming, "PEFT");
        read.modules
    };

    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 9, "use_rslora": false,
        "alpha_pattern": pattern(&unet, &plain), "rank_pattern": {}});
    for (prefix, end) in [
        ("base_model.model.", ".weight"),
        ("base_model.model.", ".default.weight"),
        ("base_model.model.", ""),
        ("unet.base_model.model.", ".weight"),
        ("unet.", ".weight"),
        ("", ".weight"),
    ] {
        let values = keys(&unet, prefix, "", end);
        assert_same(&format!("{prefix}*{end}"), &read(&values, &config), &expected(&unet));
    }

    let alone: Vec<Module> = lora.iter().filter(|m| m.part != Part::UNet).cloned().collect();
    let values = keys(&alone, "", "base_model.model.", ".weight");
    let config = json!({"lora_alpha": alone[0].alpha, "alpha_pattern": null});
    assert_same("text encoder alone", &read(&values, &config), &expected(&alone));

    // A pattern is a regular expression for the end of a path; what none names has `lora_alpha`.
    let config = json!({"lora_alpha": 3, "alpha_pattern": {r"attn2\.to_(k|x)": 8, "proj_in": 2}});
    let special: Vec<Module> = unet
        .iter()
        .cloned()
        .map(|module| {
            let alpha = match &module.path {
                path if path.ends_with("attn2.to_k") => 8.0,
                path if path.ends_with(".proj_in") => 2.0,
                _ => 3.0,
            };
            Module { alpha, ..module }
        })
        .collect();
    let values = keys(&unet, "base_model.model.", "", ".weight");
    assert_same("patterns", &read(&values, &config), &expected(&special));

    // Rank-stabilised, the same scale comes of another alpha.
    let stabilised = |module: &Module| module.alpha / (module.rank as f32).sqrt();
    let config = json!({"lora_alpha": 1, "use_rslora": true,
        "alpha_pattern": pattern(&unet, &stabilised)});
    assert_same("rslora", &read(&values, &config), &expected(&unet));

    // diffusers keeps one such config for each component in the header; it wins over the other.
    let text: Vec<Module> = lora.iter().filter(|m| m.part != Part::UNet).cloned().collect();
    let metadata = json!({
        "unet.lora_alpha": 1, "unet.use_rslora": true,
        "unet.alpha_pattern": pattern(&unet, &stabilised),
        "text_encoder.lora_alpha": 77, "text_encoder.use_rslora": false,
        "text_encoder.alpha_pattern": pattern(&text, &plain),
    });
    let values = keys(&lora, "unet.", "text_encoder.", ".weight");
    let header = [("format", "pt"), ("lora_adapter_metadata", &metadata.to_string())];
    let bytes = tiny::file_with(&values, &header);
    let read = read_adapter(&model, bytes, Some(&json!({"lora_alpha": 55}))).unwrap();
    assert_same("header", &read.modules, &expected(&lora));

    let bytes = tiny::file_with(&values, &[("lora_adapter_metadata", "{")]);
    let read = read_adapter(&model, bytes, None).unwrap();
    assert!(read.modules.iter().all(|module| module.scale == 1.0));
    let told = |note: &String| note.contains("lora_adapter_metadata isn't JSON");
    assert!(read.report.notes.iter().any(told), "{:?}", read.report.notes);
}

/// Factors that every format can hold, stored in each.
#[test]
fn every_float_type_reads_the_same() {
    let model = Model::new();
    let mut lora = adapter("lora");
    let round = |host: &mut Host| {
        for value in &mut host.data {
            // bf16's eight bits of mantissa, and small numbers that f16 has no room for left out.
            *value = half::bf16::from_f32(*value).to_f32();
            *value = if value.abs() < 1e-4 { 0.0 } else { *value };
        }
    };
    for module in &mut lora {
        round(&mut module.down);
        round(&mut module.up);
    }
    let values = kohya(&lora);
    let store = |dtype: Dtype, bytes: &dyn Fn(f32) -> Vec<u8>| {
        let data: Vec<Vec<u8>> = values
            .values()
            .map(|host| host.data.iter().flat_map(|&x| bytes(x)).collect())
            .collect();
        let views = values.iter().zip(&data).map(|((name, host), bytes)| {
            (name, TensorView::new(dtype, host.shape.clone(), bytes).unwrap())
        });
        let read = read_adapter(&model, serialize(views, None).unwrap(), None).unwrap();
        assert_same(&format!("{dtype:?}"), &read.modules, &expected(&lora));
    };
    store(Dtype::F16, &|x| half::f16::from_f32(x).to_le_bytes().to_vec());
    store(Dtype::BF16, &|x| half::bf16::from_f32(x).to_le_bytes().to_vec());
    store(Dtype::F32, &|x| x.to_le_bytes().to_vec());
    store(Dtype::F64, &|x| f64::from(x).to_le_bytes().to_vec());
}

#[test]
fn the_demo_adapters_are_the_same_in_both_formats() {
    let checkpoint = Checkpoint::open_path(format!("{DEMO}/model")).unwrap();
    let (model, _) =
        StableDiffusion::load(&checkpoint, None, &Device::flex(), Storage::F32, &mut |_| {})
            .unwrap();
    for (name, kind, summary) in [
        ("ink", "LoRA", "84 of 84 modules: UNet 84, text encoder 0; rank 8, alpha 8"),
        ("soft", "LoCon", "106 of 106 modules: UNet 106, text encoder 0; rank 4, alpha 4"),
    ] {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/demo-model");
        let read = |path: String| {
            let id = model.add_adapter(&FileSource::open(&path).unwrap(), None).unwrap();
            let report = model.adapters().iter().next().unwrap().report.clone();
            model.remove_adapter(id).unwrap();
            let sites: Vec<Site> = model
                .sites(Part::UNet)
                .iter()
                .map(|site| Site {
                    part: Part::UNet,
                    path: site.path.clone(),
                    shape: site.shape.clone(),
                })
                .collect();
            let file = file::read(&FileSource::open(&path).unwrap(), None, &sites, None).unwrap();
            (report, file.modules)
        };
        let (kohya, ours) = read(format!("{DEMO}/lora/{name}.kohya.safetensors"));
        let (diffusers, theirs) = read(format!("{fixtures}/lora/{name}.diffusers.safetensors"));
        // Both bring their alpha, the one in tensors, the other in the header.
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(diffusers.summary, summary);
        assert_eq!(kohya.summary, format!("{summary}; trained on sd_v1"));
        assert_eq!([kohya.naming, diffusers.naming], ["kohya", "PEFT"]);
        assert_eq!([kohya.kind, diffusers.kind], [kind, kind]);
    }
}

#[test]
fn coverage_is_told_in_one_line() {
    let model = Model::new();
    let bytes = tiny::file(&kohya(&attention(8, 8.0)));
    let report = read_adapter(&model, bytes, None).unwrap().report;
    let summary = "128 of 128 modules: UNet 128, text encoder 0; rank 8, alpha 8";
    assert_eq!(report.summary, summary);
    assert_eq!([report.modules_used, report.modules_in_file], [128, 128]);
    assert_eq!([report.unet_modules, report.text_encoder_modules], [128, 0]);
    assert_eq!((report.ranks, report.alphas), ([8, 8], [8.0, 8.0]));
    assert_eq!((report.base_model, report.notes.len()), (None, 0));

    let report = read_adapter(&model, tiny::file(&kohya(&adapter("lora"))), None).unwrap().report;
    let summary = "210 of 210 modules: UNet 192, text encoder 18; rank 4 to 5, alpha 1 to 3";
    assert_eq!(report.summary, summary);

    // What isn't used is named, with the reason; what the header tells is told.
    let modules = attention(2, 0.5);
    let mut values = kohya(&modules[..3]);
    let one = Host { shape: vec![1, 1], data: vec![1.0] };
    let unused = [
        ("bundle_emb.mine.string_to_param.*", "holds vectors of 1 numbers"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1.alpha", "the model has no such layer"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1.lora_up.weight", "has no such layer"),
        ("lora_unet_down_blocks_9_to_q.lora_down.weight", "the model has no such layer"),
        ("step", "not a name that any LoRA tool writes"),
    ];
    for (key, _) in unused {
        values.insert(key.into(), one.clone());
    }
    let metadata = [
        ("ss_base_model_version", "sd_v1-5"),
        ("modelspec.trigger_phrase", "in ink style"),
        ("ss_tag_frequency", r#"{"a": {"cat": 3, " dog ": 9}, "b": {"cat": 7, "": 40}}"#),
    ];
    let report = read_adapter(&model, tiny::file_with(&values, &metadata), None).unwrap().report;
    assert_eq!(
        report.summary,
        "3 of 5 modules: UNet 3, text encoder 0; rank 2, alpha 0.5; trained on sd_v1-5; \
         trigger words: in ink style, cat, dog"
    );
    assert_eq!(report.unused.len(), unused.len());
    let told: BTreeMap<&String, &String> = report.unused.iter().map(|(k, r)| (k, r)).collect();
    for ((key, reason), (wanted, part)) in told.into_iter().zip(unused) {
        assert_eq!(key, wanted);
        assert!(reason.contains(part), "{key}: {reason}");
    }

    let mut nothing = kohya(&modules);
    for (_, host) in nothing.iter_mut().filter(|(key, _)| key.contains("lora_up")) {
        host.data.fill(0.0);
    }
    let report = read_adapter(&model, tiny::file(&nothing), None).unwrap().report;
    assert_eq!(report.notes, ["All its up weights are zero: it changes nothing."]);
}

/// Factors of blocks are factors of the modules.
#[test]
fn a_strength_is_spread_over_blocks() {
    let model = Model::new();
    let layout = model.model.layout().unwrap().clone();
    let modules = adapter("lora");
    let id = model.add("lora", tiny::file(&kohya(&modules))).unwrap();
    let whole = model.outputs();
    let of = |module: &Module| match module.part {
        Part::UNet => spread::block(&module.path, &layout),
        Part::TextEncoder | Part::TextEncoder2 => Some(spread::BASE.into()),
    };
    let names: std::collections::BTreeSet<String> = modules.iter().filter_map(of).collect();
    {
        let adapters = model.model.adapters();
        let attached = adapters.iter().next().unwrap();
        assert_eq!(attached.blocks(), names.iter().collect::<Vec<_>>());
    }
    assert!(names.len() > 3, "{names:?}");
    let factors =
        names.iter().enumerate().map(|(i, name)| (name.clone(), 0.5 * (i % 5) as f32 - 1.0));
    let blocks: BTreeMap<_, _> = factors.collect();
    let spread = Spread { blocks: blocks.clone(), ..Spread::default() };
    model.model.spread_adapter(id, spread.clone()).unwrap();
    model.set(id, 0.7);
    let ours = model.outputs();
    model.model.remove_adapter(id).unwrap();

    let scaled: Vec<Module> = modules
        .into_iter()
        .map(|mut module| {
            let factor = blocks[&of(&module).unwrap()];
            module.up.data.iter_mut().for_each(|x| *x *= factor);
            module
        })
        .collect();
    let id = model.add("scaled", tiny::file(&kohya(&scaled))).unwrap();
    model.set(id, 0.7);
    for ((ours, scaled), whole) in ours.iter().zip(&model.outputs()).zip(&whole) {
        let (same, other) = (distance(ours, scaled), distance(ours, whole));
        assert!(same < 2e-5 && other > 1e-3, "{same} {other}");
    }
    let wrong = Spread { curve: vec![[2.0, 1.0]], ..Spread::default() };
    assert!(model.model.spread_adapter(id, wrong).is_err());
    assert!(model.model.spread_adapter(99, Spread::default()).is_err());
}

#[test]
fn strength_zero_and_detaching_leave_no_trace() {
    let model = Model::new();
    let base = model.outputs();
    let [lora, locon] =
        ["lora", "locon"].map(|name| model.add(name, tiny::file(&kohya(&adapter(name)))).unwrap());
    let both = model.outputs();
    assert_ne!(both[0], base[0]);
    assert_ne!(both[1], base[1]);

    model.set(lora, 0.0);
    model.set(locon, 0.0);
    assert_eq!(model.outputs(), base, "strength 0");
    model.set(lora, -0.0);
    assert_eq!(model.outputs(), base, "strength -0");
    model.model.set_adapter(lora, false, 1.0, 1.0).unwrap();
    assert_eq!(model.outputs(), base, "switched off");
    assert_eq!(model.model.adapters().iter().next().unwrap().strength(Part::UNet), 1.0);

    // Each part has its own strength.
    model.model.set_adapter(lora, true, 0.0, 1.0).unwrap();
    let [unet, text] = model.outputs();
    assert_eq!(unet, base[0]);
    assert_eq!(text, both[1]);
    model.model.set_adapter(lora, true, 1.0, 0.0).unwrap();
    model.set(locon, 1.0);
    let [unet, text] = model.outputs();
    assert_eq!(unet, both[0]);
    assert_eq!(text, base[1]);

    // One goes, the other stays as if it had been alone.
    model.set(lora, 1.0);
    model.model.remove_adapter(locon).unwrap();
    let alone = Model::new();
    alone.add("lora", tiny::file(&kohya(&adapter("lora")))).unwrap();
    assert_eq!(model.outputs(), alone.outputs());
    assert_eq!(model.branches(), 210);
    model.model.remove_adapter(lora).unwrap();
    assert_eq!(model.outputs(), base, "detached");
    assert_eq!(model.branches(), 0);
    assert_eq!(model.model.adapters().iter().count(), 0);
}

#[test]
fn unmerged_equals_merged() {
    let model = Model::new();
    for name in ["lora", "locon", "tucker"] {
        let modules = adapter(name);
        let id = model.add(name, tiny::file(&kohya(&modules))).unwrap();
        for strength in [-0.7, 2.0] {
            model.set(id, strength);
            let mut merged = weights("unet.sd1").clone();
            for module in modules.iter().filter(|module| module.part == Part::UNet) {
                let factor = f64::from(strength) * f64::from(module.alpha) / module.rank as f64;
                let weight = merged.get_mut(&format!("{}.weight", module.path)).unwrap();
                let delta = module.delta();
                assert_eq!(weight.data.len(), delta.len(), "{}", module.path);
                for (weight, delta) in weight.data.iter_mut().zip(delta) {
                    *weight = (f64::from(*weight) + factor * delta) as f32;
                }
            }
            let config = UNet2DConditionConfig::parse(&component(&model.unet)).unwrap();
            let (unet, _) = tiny::load(&merged, |p| UNet2DConditionModel::load(&config, p));
            let off = distance(&model.outputs()[0], &run_unet(&unet, &model.unet));
            println!("{name} at {strength}: {off:.1e}");
            assert!(off < TOLERANCE, "{name} at {strength}: {off:e}");
        }
        model.model.remove_adapter(id).unwrap();
    }
}

fn component(case: &Case) -> Component {
    let file = source("weights.safetensors", tiny::file(&Values::new()));
    Component::from_safetensors("unet", file.as_ref(), case.config.clone()).unwrap()
}

#[test]
fn the_order_of_adapters_does_not_matter() {
    let [there, back] = [["lora", "tucker"], ["tucker", "lora"]].map(|names| {
        let model = Model::new();
        for name in names {
            let id = model.add(name, tiny::file(&kohya(&adapter(name)))).unwrap();
            model.set(id, if name == "lora" { 0.8 } else { -1.3 });
        }
        model.outputs()
    });
    for (there, back) in there.iter().zip(&back) {
        assert!(distance(there, back) < TOLERANCE);
    }
}

/// A layer with adapters on it, and its input.
#[derive(Debug, Clone)]
struct Layer {
    input: usize,
    output: usize,
    /// None for a linear layer.
    kernel: Option<usize>,
    stride: usize,
    seed: u64,
    /// Rank, alpha and Tucker form of each adapter.
    adapters: [(usize, f32, bool); 2],
}

fn layers() -> impl Strategy<Value = Layer> {
    let adapter = || (1usize..6, 0.25f32..8.0, any::<bool>());
    let kernel = prop_oneof![Just(None), Just(Some(1usize)), Just(Some(3))];
    let sizes = (1usize..9, 1usize..9, kernel, 1usize..3);
    (sizes, 0u64..1000, [adapter(), adapter()]).prop_map(|(sizes, seed, adapters)| {
        let (input, output, kernel, stride) = sizes;
        Layer { input, output, kernel, stride, seed, adapters }
    })
}

impl Layer {
    /// The output at these strengths of the two adapters; `None` for one that isn't attached.
    fn run(&self, strengths: [Option<f32>; 2]) -> Host {
        let mut generator = TorchGenerator::new(self.seed);
        let mut draw = |name: &str, shape: &[usize]| tiny::draw(name, shape, &mut generator);
        let kernel: Vec<usize> = self.kernel.map_or(vec![], |k| vec![k, k]);
        let ones = vec![1; kernel.len()];
        let shape = [&[self.output, self.input], &kernel[..]].concat();
        let weights = Values::from([
            ("proj_in.bias".into(), draw("bias", &[self.output])),
            ("proj_in.weight".into(), draw("weight", &shape)),
        ]);
        let x = match self.kernel {
            None => draw("x", &[2, 3, self.input]),
            Some(_) => draw("x", &[2, self.input, 5, 4]),
        };
        let files = self.adapters.map(|(rank, alpha, tucker)| {
            let tucker = tucker && self.kernel.is_some();
            let down = if tucker { &ones } else { &kernel };
            let down = draw("down", &[&[rank, self.input], &down[..]].concat());
            let mid = tucker.then(|| draw("mid", &[&[rank, rank], &kernel[..]].concat()));
            let up = draw("up", &[&[self.output, rank], &ones[..]].concat());
            let path = "proj_in".into();
            kohya(&[Module { part: Part::UNet, path, rank, alpha, down, mid, up }])
        });

        let config = |kernel| Conv2dConfig {
            kernel,
            stride: self.stride,
            padding: (kernel / 2, kernel / 2),
            bias: true,
        };
        enum Loaded {
            Linear(Linear),
            Conv2d(Conv2d),
        }
        let (layer, sites) = tiny::load(&weights, |parameters| {
            let place = parameters.at("proj_in");
            match self.kernel {
                None => Loaded::Linear(Linear::load(&place, self.input, self.output, true)),
                Some(kernel) => {
                    Loaded::Conv2d(Conv2d::load(&place, self.input, self.output, config(kernel)))
                }
            }
        });
        let read_sites = [Site { part: Part::UNet, path: "proj_in".into(), shape }];
        let mut set = AdapterSet::default();
        for (file, strength) in files.iter().zip(strengths) {
            let Some(strength) = strength else { continue };
            let source = Bytes::new("layer.safetensors", tiny::file(file));
            let file = file::read(&source, None, &read_sites, None).unwrap();
            let id = set.attach(file, [&sites, &[], &[]], None, &Device::flex()).unwrap();
            set.set(id, true, strength, strength).unwrap();
        }
        match layer {
            Loaded::Linear(layer) => host(layer.forward(tensor::<3>(&x))),
            Loaded::Conv2d(layer) => host(layer.forward(tensor(&x))),
        }
    }
}

/// `a` and `b` are equal, to the rounding of sums of numbers as large as these.
fn assert_close(a: &[f32], b: &[f32], terms: &[&Host]) -> std::result::Result<(), TestCaseError> {
    let largest = terms.iter().flat_map(|host| &host.data).fold(0f32, |most, x| most.max(x.abs()));
    for (a, b) in a.iter().zip(b) {
        prop_assert!((a - b).abs() <= 2e-6 * largest, "{a} for {b} among {largest}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_layer_is_affine_in_strength(layer in layers(), strength in -2f32..2.0) {
        let [zero, one, at] =
            [0.0, 1.0, strength].map(|strength| layer.run([Some(strength), None]));
        prop_assert_eq!(&zero, &layer.run([None, None]));
        let line: Vec<f32> = zero
            .data
            .iter()
            .zip(&one.data)
            .map(|(zero, one)| zero + strength * (one - zero))
            .collect();
        assert_close(&at.data, &line, &[&zero, &one, &at])?;
    }

    #[test]
    fn two_adapters_add_up(layer in layers(), first in -2f32..2.0, second in -2f32..2.0) {
        let base = layer.run([None, None]);
        let a = layer.run([Some(first), None]);
        let b = layer.run([None, Some(second)]);
        let both = layer.run([Some(first), Some(second)]);
        let sum: Vec<f32> = (0..base.data.len())
            .map(|i| a.data[i] + b.data[i] - base.data[i])
            .collect();
        assert_close(&both.data, &sum, &[&base, &a, &b, &both])?;
    }
}

#[test]
fn settings_out_of_range_change_nothing() {
    let model = Model::new();
    let id = model.add("lora", tiny::file(&kohya(&adapter("lora")))).unwrap();
    model.set(id, 0.5);
    let before = model.outputs();
    for (unet, text) in [(10.1, 0.0), (0.0, -10.001), (f32::NAN, 0.0), (0.0, f32::INFINITY)] {
        let error = model.model.set_adapter(id, true, unet, text).unwrap_err();
        assert!(matches!(&error, Error::Setting { name, .. } if name == "strength"), "{error}");
    }
    for error in [
        model.model.set_adapter(id + 1, true, 1.0, 1.0).unwrap_err(),
        model.model.remove_adapter(id + 1).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Setting { name, .. } if name == "adapter"), "{error}");
    }
    assert_eq!(model.outputs(), before);
    model.set(id, 2.0);
    model.set(id, -2.0);
    model.set(id, 0.5);
    assert_eq!(model.outputs(), before, "a strength leaves nothing behind");
}

const TO_K: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";

/// Every file that isn't a LoRA for this model: name, bytes, what its refusal must say.
fn refused() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let one =
        |shape: &[usize]| Host { shape: shape.to_vec(), data: vec![0.5; shape.iter().product()] };
    let keys = |keys: &[(&str, &[usize])]| -> Values {
        keys.iter().map(|(key, shape)| (key.to_string(), one(shape))).collect()
    };
    let file = |given: &[(&str, &[usize])]| tiny::file(&keys(given));
    let sound = || kohya(&attention(4, 4.0));
    let beside = |more: &str, shape: &[usize]| {
        let mut values = sound();
        values.insert(format!("{TO_K}.{more}"), one(shape));
        tiny::file(&values)
    };
    let kind = |kind: &'static str| {
        vec![kind, "isn't supported yet. Use a LoRA, LoCon, DoRA, LoHa or LoKr file"]
    };
    let base = |base: &'static str| {
        vec![base, "not for this model. Use an adapter made for the model that is loaded"]
    };
    let broken =
        |problem: &'static str| vec![problem, "The adapter's file is broken: get another copy"];
    let misfit =
        |problem: &'static str| vec![problem, "Use an adapter made for the model that is loaded"];
    let changed = |key: &str, change: &dyn Fn(&mut Host)| {
        let mut values = sound();
        change(values.get_mut(key).unwrap());
        tiny::file(&values)
    };
    let (down, up, alpha) = (
        format!("{TO_K}.lora_down.weight"),
        format!("{TO_K}.lora_up.weight"),
        format!("{TO_K}.alpha"),
    );
    let without = |key: &str| {
        let mut values = sound();
        values.remove(key).unwrap();
        tiny::file(&values)
    };
    // As many numbers as before, of another type.
    let integers = |key: &str| {
        let values = sound();
        let data: Vec<Vec<u8>> = values
            .values()
            .map(|host| host.data.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let views = values.iter().zip(&data).map(|((name, host), bytes)| {
            let dtype = if name == key { Dtype::I32 } else { Dtype::F32 };
            (name, TensorView::new(dtype, host.shape.clone(), bytes).unwrap())
        });
        serialize(views, None).unwrap()
    };
    // All attention modules, with text embeddings of another width.
    let wide = |width: usize| {
        let mut values = sound();
        for (key, host) in &mut values {
            if key.contains("attn2_to_k.lora_down") || key.contains("attn2_to_v.lora_down") {
                *host = one(&[4, width]);
            }
        }
        values
    };
    // kohya trains SD XL's UNet in ldm names; two levels of it are as wide as SD 1's.
    let sdxl_unet = || {
        let mut values = Values::new();
        for (key, host) in wide(2048) {
            let key = key.replace("down_blocks_1_attentions_0", "input_blocks_4_1");
            if key.contains("input_blocks_4_1") {
                let deeper = key.replace("transformer_blocks_0", "transformer_blocks_1");
                values.insert(deeper, host.clone());
                values.insert(key, host);
            }
        }
        values
    };
    let ldm = || -> Values {
        ldm_names()
            .into_values()
            .map(|ldm| (format!("model.diffusion_model.{ldm}.weight"), one(&[1])))
            .collect()
    };
    let mut twice = sound();
    twice.insert(
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight".into(),
        one(&[4, 20]),
    );
    let garbage = b"not a safetensors file at all".to_vec();

    vec![
        (
            "loha beside lora",
            beside("hada_w1_a", &[8, 2]),
            broken("to_k.hada_w1_a: belongs to a LoHa, where others of its layer belong to a LoRA"),
        ),
        (
            "lokr beside lora",
            beside("lokr_w1", &[2, 2]),
            broken("to_k.lokr_w1: belongs to a LoKr, where others of its layer belong to a LoRA"),
        ),
        (
            "boft of PEFT",
            file(&[("base_model.model.mid_block.attentions.0.proj_in.boft_R", &[1, 8, 4, 4])]),
            kind("proj_in.boft_R: belongs to a BOFT (PEFT) adapter"),
        ),
        (
            "oft of old",
            file(&[("lora_unet_mid_block_attentions_0_proj_in.oft_diag", &[4, 8, 8])]),
            kind("belongs to an old OFT adapter"),
        ),
        (
            "vera",
            file(&[("base_model.model.mid_block.attentions.0.proj_in.vera_lambda_b", &[32])]),
            kind("belongs to a VeRA adapter"),
        ),
        (
            "glora",
            file(&[("lora_unet_mid_block_attentions_0_proj_in.a1.weight", &[4, 20])]),
            broken("a1.weight: has no a2 factor beside it"),
        ),
        (
            "sdxl",
            file(&[
                ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", &[4, 1280]),
                ("lora_unet_input_blocks_4_1_proj_in.lora_down.weight", &[4, 640]),
            ]),
            base("belongs to an adapter for Stable Diffusion XL"),
        ),
        ("sdxl unet", tiny::file(&sdxl_unet()), misfit("2048 wide (Stable Diffusion XL)")),
        ("sd2", tiny::file(&wide(1024)), misfit("1024 wide (Stable Diffusion 2)")),
        (
            "flux",
            file(&[("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", &[4, 64])]),
            base("belongs to an adapter for Flux"),
        ),
        (
            "flux of diffusers",
            file(&[("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", &[4, 64])]),
            base("belongs to an adapter for Flux"),
        ),
        (
            "sd3",
            file(&[("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", &[4, 64])]),
            base("belongs to an adapter for Stable Diffusion 3"),
        ),
        (
            "sd3 of diffusers",
            file(&[("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", &[4, 64])]),
            base("a diffusion transformer"),
        ),
        (
            "checkpoint",
            tiny::file(&ldm()),
            vec!["is a whole model, not an adapter. Open it as a model instead"],
        ),
        (
            "unet",
            tiny::file(weights("unet.sd1")),
            vec!["is a part of a model, not an adapter. Open the whole model folder"],
        ),
        (
            "text encoder",
            tiny::file(weights("text.quick_gelu")),
            vec!["is a part of a model, not an adapter. Open the whole model folder"],
        ),
        (
            "embedding",
            file(&[("emb_params", &[2, 21])]),
            vec!["emb_params", "vectors of 21 numbers"],
        ),
        ("others", file(&[("foo.bar", &[2, 2])]), vec!["holds no tensor with an adapter's name"]),
        (
            "strangers",
            file(&[("lora_unet_blocks_0_attn_q.lora_down.weight", &[2, 2])]),
            misfit("neither this nor any other key names a layer of the loaded model"),
        ),
        ("garbage", garbage, vec!["garbage: "]),
        ("no up", without(&up), broken("to_k.lora_down.weight: has no up factor beside it")),
        ("no down", without(&down), broken("to_k.lora_up.weight: has no down factor beside it")),
        ("twice", tiny::file(&twice), broken("names the same factor as")),
        (
            "nan",
            changed(&up, &|host| host.data[5] = f32::NAN),
            broken("to_k.lora_up.weight: holds NaN or infinity"),
        ),
        (
            "infinity",
            changed(&down, &|host| host.data[0] = f32::NEG_INFINITY),
            broken("to_k.lora_down.weight: holds NaN or infinity"),
        ),
        (
            "nan alpha",
            changed(&alpha, &|host| host.data[0] = f32::NAN),
            broken("to_k.alpha: is NaN or infinity"),
        ),
        (
            "long alpha",
            changed(&alpha, &|host| *host = Host { shape: vec![2], data: vec![1.0; 2] }),
            broken("to_k.alpha: has 2 numbers, not one"),
        ),
        (
            "rank",
            changed(&up, &|host| *host = one(&[16, 3])),
            misfit("to_k.lora_up.weight: has the shape [16, 3] where the layer needs [16, 4]"),
        ),
        (
            "rank 0",
            changed(&down, &|host| *host = one(&[0, 20])),
            broken("to_k.lora_down.weight: has rank 0"),
        ),
        (
            "width",
            changed(&up, &|host| *host = one(&[17, 4])),
            misfit("to_k.lora_up.weight: has the shape [17, 4] where the layer needs [16, 4]"),
        ),
        (
            "kernel",
            changed(&down, &|host| *host = one(&[4, 20, 3, 3])),
            misfit("has the shape [4, 20, 3, 3] where the layer needs [4, 20]"),
        ),
        (
            "vector",
            changed(&down, &|host| *host = one(&[80])),
            broken("to_k.lora_down.weight: has the shape [80]"),
        ),
        (
            "mid of a linear",
            beside("lora_mid.weight", &[4, 4]),
            misfit("to_k.lora_mid.weight: is the core of a convolution, but the layer is linear"),
        ),
        ("integers", integers(&up), broken("to_k.lora_up.weight: is of type I32, not a float")),
    ]
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let model = Model::new();
    let base = model.outputs();
    for (name, bytes, wanted) in refused() {
        let error = match model.add(name, bytes) {
            Ok(_) => panic!("{name} was taken"),
            Err(error) => error.to_string(),
        };
        println!("{error}");
        assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        for words in wanted {
            assert!(error.contains(words), "{name}: {error}\n  lacks: {words}");
        }
        assert_eq!(model.branches(), 0, "{name}");
        assert_eq!(model.model.adapters().iter().count(), 0, "{name}");
        assert_eq!(model.outputs(), base, "{name}");
    }

    // An adapter that is attached stays so.
    let id = model.add("lora", tiny::file(&kohya(&adapter("lora")))).unwrap();
    let with = model.outputs();
    for (name, bytes, _) in refused() {
        model.add(name, bytes).unwrap_err();
    }
    assert_eq!(model.outputs(), with);
    model.model.remove_adapter(id).unwrap();
    assert_eq!(model.outputs(), base);
}

/// Of an adapter that was made for another model than it is attached to, nothing is.
#[test]
fn a_set_attaches_all_of_an_adapter_or_nothing() {
    let model = Model::new();
    let bytes = tiny::file(&kohya(&attention(2, 2.0)));
    let good = read_adapter(&model, bytes, None).unwrap();
    let (unet, text) = (model.model.sites(Part::UNet), model.model.sites(Part::TextEncoder));
    let mut set = AdapterSet::default();
    let mut attach = |change: &dyn Fn(&mut AdapterModule)| {
        let mut file = good.clone();
        change(file.modules.last_mut().unwrap());
        set.attach(file, [unet, text, &[]], None, &Device::flex())
    };
    let error = attach(&|module| module.path = "nowhere".into()).unwrap_err().to_string();
    assert!(error.contains("nowhere: names a layer that the model lacks"), "{error}");
    let error = attach(&|module| module.part = Part::TextEncoder).unwrap_err().to_string();
    assert!(error.contains("names a layer that the model lacks"), "{error}");
    let longer = |module: &mut AdapterModule| {
        let HostFactors::LowRank(LowRank { up, .. }) = &mut module.factors else { panic!() };
        up.shape[0] += 1;
        up.data.resize(up.shape.iter().product(), 0.0);
    };
    let error = attach(&longer).unwrap_err().to_string();
    assert!(error.contains("don't fit the layer's"), "{error}");
    assert_eq!(model.branches(), 0);
    attach(&|_| {}).unwrap();
    assert_eq!(model.branches(), 128);
    assert_eq!(set.iter().count(), 1);
}

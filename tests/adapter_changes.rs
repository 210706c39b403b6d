//! IA3, OFT and differences of whole weights, biases and norms on single layers (`fixtures/adapters/
//! changes.py`), GLoRA, BOFT and LoHa and LoKr with magnitudes (`products.py` there), against the formulas,
//! PEFT and LyCORIS: every form of their files, every strength, every refusal.

mod tiny;

use std::collections::BTreeMap;

use burn::tensor::Device;
use lorakeet::adapters::file::Site;
use lorakeet::adapters::save::{self, Export, Metadata, Precision};
use lorakeet::adapters::{AdapterFile, AdapterSet, Part};
use lorakeet::layers::{self, Conv2d, Conv2dConfig, GroupNorm, LayerNorm, Linear};
use serde::Deserialize;
use serde_json::Value;
use tiny::{Host, Values, below, distance, host, read, read_for, tensor};

/// Relative to the largest output: the fixtures are computed in f64, the layers in f32.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    strengths: Vec<f32>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    layer: String,
    kind: String,
    config: Option<Value>,
    #[serde(default)]
    rank: usize,
    #[serde(default = "one")]
    scale: f32,
}

fn one() -> f32 {
    1.0
}

/// Of the layers that are changed at every pass: from two scripts.
fn fixture() -> (Fixture, Values) {
    let of = |name: &str| {
        let fixture: Fixture =
            serde_json::from_slice(&read(&format!("adapters/{name}.json"))).unwrap();
        (fixture, tiny::read_values(&format!("adapters/{name}.safetensors")))
    };
    let ((mut fixture, mut values), (more, numbers)) = (of("changes"), of("products"));
    assert_eq!(fixture.strengths, more.strengths);
    fixture.cases.extend(more.cases);
    values.extend(numbers);
    (fixture, values)
}

enum Layer {
    Linear(Linear),
    Conv2d(Conv2d),
    GroupNorm(GroupNorm),
    LayerNorm(LayerNorm),
}

impl Layer {
    /// The layer `proj_in` of a case.
    fn load(values: &Values, case: &str, layer: &str) -> (Self, Vec<layers::Site>) {
        let named = |name: &str| values[&format!("{case}/{name}")].clone();
        let weights = ["weight", "bias"].map(|name| (format!("proj_in.{name}"), named(name)));
        let weights: Values = weights.into();
        let shape = weights["proj_in.weight"].shape.clone();
        tiny::load(&weights, |parameters| {
            let place = parameters.at("proj_in");
            match layer {
                "group_norm" => Self::GroupNorm(GroupNorm::load(&place, 2, shape[0], 1e-5)),
                "layer_norm" => Self::LayerNorm(LayerNorm::load(&place, shape[0], 1e-5)),
                _ if shape.len() == 2 => {
                    Self::Linear(Linear::load(&place, shape[1], shape[0], true))
                }
                _ => {
                    let kernel = shape[2];
                    let padding = (kernel / 2, kernel / 2);
                    let config = Conv2dConfig { kernel, stride: 1, padding, bias: true };
                    Self::Conv2d(Conv2d::load(&place, shape[1], shape[0], config))
                }
            }
        })
    }

    fn run(&self, x: &Host) -> Host {
        match self {
            Self::Linear(layer) => host(layer.forward(tensor::<3>(x))),
            Self::Conv2d(layer) => host(layer.forward(tensor(x))),
            Self::GroupNorm(layer) => host(layer.forward(tensor(x))),
            Self::LayerNorm(layer) => host(layer.forward(tensor::<3>(x))),
        }
    }
}

#[test]
fn outputs_equal_the_formulas_at_every_strength() {
    let (fixture, values) = fixture();
    let mut kinds = BTreeMap::new();
    let mut worst = 0f64;
    for (name, case) in &fixture.cases {
        let (layer, sites) = Layer::load(&values, name, &case.layer);
        let x = &values[&format!("{name}/x")];
        let base = layer.run(x);
        let adapter = below(&values, &format!("{name}/adapter/"));
        let file = read_for(&sites[0].shape, &adapter, case.config.as_ref()).unwrap();
        assert_eq!(file.modules.len(), 1, "{name}");
        assert_eq!(file.report.kind, case.kind, "{name}");
        assert_eq!((&file.report.unused[..], &file.report.notes[..]), (&[][..], &[][..]), "{name}");
        assert_eq!(
            (file.modules[0].rank, file.modules[0].scale),
            (case.rank, case.scale),
            "{name}"
        );
        *kinds.entry(case.kind.clone()).or_insert(0) += 1;

        let mut set = AdapterSet::default();
        let id = set.attach(file, [&sites, &[], &[]], None, &Device::flex()).unwrap();
        for &strength in &fixture.strengths {
            set.set(id, true, strength, strength).unwrap();
            let ours = layer.run(x);
            let off = distance(&ours, &values[&format!("{name}/out/{strength}")]);
            worst = worst.max(off);
            assert!(off < TOLERANCE, "{name} at {strength}: {off:e}");
            if strength == 0.0 {
                assert_eq!(ours, base, "{name}: strength 0 is the base bit for bit");
            } else {
                assert!(distance(&ours, &base) > 0.01, "{name} at {strength} changes nothing");
            }
        }
        set.detach(id, &[&sites]).unwrap();
        assert_eq!(layer.run(x), base, "{name}: detached");
    }
    println!("largest difference: {worst:.1e}");
    let counts = [
        ("IA3", 14),
        ("OFT", 17),
        ("full difference", 3),
        ("bias difference", 5),
        ("norm difference", 4),
        ("GLoRA", 8),
        ("BOFT", 7),
        ("LoHa with DoRA", 4),
        ("LoKr with DoRA", 3),
    ];
    assert_eq!(kinds, counts.map(|(kind, count)| (kind.to_string(), count)).into());
}

/// Biases that were trained beside a LoRA: two modules on one layer, which is one of the report's.
#[test]
fn a_difference_stands_beside_another_kind() {
    let (_, values) = fixture();
    let (layer, sites) = Layer::load(&values, "full.linear", "linear");
    let x = &values["full.linear/x"];
    let one = |shape: &[usize], value: f32| Host {
        shape: shape.to_vec(),
        data: vec![value; shape.iter().product()],
    };
    let mut adapter = below(&values, "full.linear.bias/adapter/");
    adapter.insert("lora_unet_proj_in.lora_down.weight".into(), one(&[2, 12], 0.1));
    adapter.insert("lora_unet_proj_in.lora_up.weight".into(), one(&[8, 2], 0.2));
    adapter.insert("lora_unet_proj_in.alpha".into(), one(&[], 1.0));
    let both = read_for(&[8, 12], &adapter, None).unwrap();
    assert_eq!(both.report.kind, "LoRA + bias difference");
    assert_eq!((both.report.modules_used, both.report.modules_in_file), (1, 1));
    let run = |file: AdapterFile| {
        let mut set = AdapterSet::default();
        let id = set.attach(file, [&sites, &[], &[]], None, &Device::flex()).unwrap();
        let out = layer.run(x);
        set.detach(id, &[&sites]).unwrap();
        out
    };
    let bias = adapter.remove("lora_unet_proj_in.diff_b").unwrap();
    let mut expected = run(read_for(&[8, 12], &adapter, None).unwrap());
    for row in expected.data.chunks_exact_mut(8) {
        row.iter_mut().zip(&bias.data).for_each(|(x, b)| *x += b);
    }
    let off = distance(&run(both.clone()), &expected);
    assert!(off < TOLERANCE, "{off:e}");
}

/// What is written is read again as it was; what has no form in a file is refused by name.
#[test]
fn what_was_read_is_written_again() {
    let (fixture, values) = fixture();
    let mut refused = BTreeMap::new();
    for (name, case) in &fixture.cases {
        let shape = values[&format!("{name}/weight")].shape.clone();
        let adapter = below(&values, &format!("{name}/adapter/"));
        let modules = read_for(&shape, &adapter, case.config.as_ref()).unwrap().modules;
        let sites = [Site { part: Part::UNet, path: "proj_in".into(), shape }];
        let metadata = &Metadata::default();
        // A scale of its own, which no alpha can say.
        for scale in [1.0, -0.5] {
            let mut modules = modules.clone();
            modules[0].scale = scale;
            let export = Export { modules: &modules, precision: Precision::F32, metadata };
            match save::kohya(&export) {
                Ok(bytes) => save::verify(&bytes, None, &sites, None, &modules).unwrap(),
                Err(error) => *refused.entry(error.to_string()).or_insert(0) += 1,
            }
            let error = save::diffusers(&export).unwrap_err().to_string();
            assert!(error.contains("proj_in") || error.contains("as kohya files only"), "{error}");
        }
    }
    let words: Vec<&String> = refused.keys().collect();
    let reasons = [
        "of the kind BOFT, which keeps its rotations",
        "of the kind GLoRA, which multiplies kernels as matrices",
        "of the kind IA3, which scales biases",
        "of the kind OFT, which keeps its rotations",
    ];
    assert_eq!(words.len(), reasons.len(), "{words:?}");
    for (found, reason) in words.into_iter().zip(reasons) {
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let one = |shape: &[usize], value: f32| Host {
        shape: shape.to_vec(),
        data: vec![value; shape.iter().product()],
    };
    let (linear, conv, norm) = (&[8, 12][..], &[8, 6, 3, 3][..], &[8][..]);
    let other = "Use an adapter made for the model that is loaded";
    let broken = "The adapter's file is broken: get another copy";
    for (layer, tensors, says, remedy) in [
        (linear, vec![("diff", one(&[8, 11], 0.5))], "diff: has the shape [8, 11]", other),
        (conv, vec![("diff", one(&[8, 6], 0.5))], "where the layer needs [8, 6, 3, 3]", other),
        (linear, vec![("diff_b", one(&[12], 0.5))], "where the layer needs [8]", other),
        (norm, vec![("w_norm", one(&[4], 0.5))], "where the layer needs [8]", other),
        (
            norm,
            vec![("w_norm", one(&[8], 0.5)), ("diff", one(&[8], 0.5))],
            "names the same factor as lora_unet_proj_in.w_norm",
            broken,
        ),
        (linear, vec![("diff_b", one(&[8], f32::NAN))], "diff_b: holds NaN or infinity", broken),
        (
            linear,
            vec![("weight", one(&[12], 0.5)), ("on_input", one(&[], 0.0))],
            "weight: has the shape [12] where the layer needs [8, 1]",
            other,
        ),
        (linear, vec![("on_input", one(&[], 1.0))], "has no weight factor beside it", broken),
        (linear, vec![("ia3_l", one(&[8, 12], 0.5))], "ia3_l: has the shape [8, 12]", other),
        (
            linear,
            vec![("oft_blocks", one(&[3, 4, 4], 0.5))],
            "oft_blocks: has the shape [3, 4, 4] where the layer needs [2, 4, 4]",
            other,
        ),
        (linear, vec![("rescale", one(&[8, 1], 1.0))], "has no oft_blocks factor", broken),
        (
            linear,
            vec![("oft_R", one(&[4, 4], 0.1))],
            "oft_R: has the shape [4, 4] where the layer needs [4, 3]",
            other,
        ),
        (
            linear,
            vec![("oft_blocks", one(&[3, 2, 4, 4], 0.5))],
            "has 3 stages of blocks of 4, which 8 outputs can't be mixed in",
            broken,
        ),
        (
            linear,
            vec![("oft_blocks", one(&[1, 2, 2, 2], 0.5))],
            "has the shape [1, 2, 2, 2] where the layer needs [1, 4, 2, 2]",
            other,
        ),
        (
            linear,
            vec![
                ("a1.weight", one(&[12, 2], 0.5)),
                ("a2.weight", one(&[2, 12], 0.5)),
                ("b1.weight", one(&[8, 2], 0.5)),
                ("b2.weight", one(&[2, 11], 0.5)),
            ],
            "b2.weight: has the shape [2, 11] where the layer needs [2, 12]",
            other,
        ),
        (
            linear,
            vec![
                ("hada_w1_a", one(&[8, 2], 0.5)),
                ("hada_w1_b", one(&[2, 12], 0.5)),
                ("hada_w2_a", one(&[8, 2], 0.5)),
                ("hada_w2_b", one(&[2, 12], 0.5)),
                ("dora_scale", one(&[5, 1], 0.5)),
            ],
            "dora_scale: has the shape [5, 1] where the layer needs [8, 1] or [1, 12]",
            other,
        ),
        // A layer's own weight, as in a checkpoint, is no IA3.
        (linear, vec![("weight", one(&[8, 12], 0.5))], "holds no tensor with an adapter's", "file"),
        (
            norm,
            vec![("lora_down.weight", one(&[2, 8], 0.5))],
            "nor any other key names a layer",
            other,
        ),
        (linear, vec![("w_norm", one(&[8], 0.5))], "nor any other key names a layer", other),
    ] {
        let adapter: Values = tensors
            .into_iter()
            .map(|(key, host)| (format!("lora_unet_proj_in.{key}"), host))
            .collect();
        let error = match read_for(layer, &adapter, None) {
            Ok(_) => panic!("taken, for all that it {says}"),
            Err(error) => error.to_string(),
        };
        println!("{error}");
        assert!(error.starts_with("style.safetensors: "), "{error}");
        assert!(error.contains(says), "{error}\n  lacks: {says}");
        assert!(error.ends_with(remedy), "{error}\n  lacks: {remedy}");
    }
}

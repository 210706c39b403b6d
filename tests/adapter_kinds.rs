//! LoHa, LoKr and DoRA on single layers, against the formulas, PEFT and LyCORIS
//! (`fixtures/adapters/kinds.py`): every form of their files, every strength, every refusal.

mod tiny;

use std::collections::BTreeMap;

use burn::tensor::Device;
use lorakeet::adapters::file::{self, Site};
use lorakeet::adapters::kinds::DoRA;
use lorakeet::adapters::{AdapterFile, AdapterModule, AdapterSet, HostFactors, Kind, Part};
use lorakeet::error::Result;
use lorakeet::layers::{self, Conv2d, Conv2dConfig, Factors, Linear};
use lorakeet::weights::Bytes;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use tiny::{Host, Values, below, distance, host, read, read_for, tensor};

/// Relative to the largest output. The fixtures are computed in f64, the layers in f32: the furthest is
/// off by 2.9e-7.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    strengths: Vec<f32>,
    cases: BTreeMap<String, Case>,
    pairs: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    rank: usize,
    scale: f32,
    config: Option<Value>,
    stride: Option<usize>,
}

fn fixture() -> Fixture {
    serde_json::from_slice(&read("adapters/kinds.json")).unwrap()
}

enum Kernel {
    Linear(Linear),
    Conv2d(Conv2d),
}

/// The layer `proj_in`, its input, and what is attached to it.
struct Layer {
    layer: Kernel,
    sites: Vec<layers::Site>,
    x: Host,
    set: AdapterSet,
}

impl Layer {
    fn new(values: &Values, case: &str, stride: Option<usize>) -> Self {
        let mut weights = Values::new();
        for name in ["weight", "bias"] {
            weights.insert(format!("proj_in.{name}"), values[&format!("{case}/{name}")].clone());
        }
        let shape = weights["proj_in.weight"].shape.clone();
        let (layer, sites) = tiny::load(&weights, |parameters| {
            let place = parameters.at("proj_in");
            match stride {
                None => Kernel::Linear(Linear::load(&place, shape[1], shape[0], true)),
                Some(stride) => {
                    let kernel = shape[2];
                    let padding = (kernel / 2, kernel / 2);
                    let config = Conv2dConfig { kernel, stride, padding, bias: true };
                    Kernel::Conv2d(Conv2d::load(&place, shape[1], shape[0], config))
                }
            }
        });
        let x = values[&format!("{case}/x")].clone();
        Self { layer, sites, x, set: AdapterSet::default() }
    }

    fn run(&self) -> Host {
        match &self.layer {
            Kernel::Linear(layer) => host(layer.forward(tensor::<3>(&self.x))),
            Kernel::Conv2d(layer) => host(layer.forward(tensor(&self.x))),
        }
    }

    fn read(&self, adapter: &Values, config: Option<&Value>) -> Result<AdapterFile> {
        read_for(&self.sites[0].shape, adapter, config)
    }

    fn attach(&mut self, file: AdapterFile, strength: f32) -> u64 {
        let id = self.set.attach(file, [&self.sites, &[], &[]], None, &Device::flex()).unwrap();
        self.set.set(id, true, strength, strength).unwrap();
        id
    }
}

#[test]
fn outputs_equal_the_formulas_at_every_strength() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let fixture = fixture();
    let mut kinds = BTreeMap::new();
    let mut worst = 0f64;
    for (name, case) in &fixture.cases {
        let mut layer = Layer::new(&values, name, case.stride);
        let base = layer.run();
        let adapter = below(&values, &format!("{name}/adapter/"));
        let file = layer.read(&adapter, case.config.as_ref()).unwrap();
        let [module] = &file.modules[..] else { panic!("{name}") };
        assert_eq!(file.report.kind, case.kind, "{name}");
        assert_eq!((module.rank, module.scale), (case.rank, case.scale), "{name}");
        assert_eq!(file.report.unused, [], "{name}");
        let naming = if name.starts_with("peft") { "PEFT" } else { "kohya" };
        assert_eq!(file.report.naming, naming, "{name}");
        *kinds.entry(case.kind.clone()).or_insert(0) += 1;

        let id = layer.attach(file, 1.0);
        for &strength in &fixture.strengths {
            layer.set.set(id, true, strength, strength).unwrap();
            let ours = layer.run();
            let theirs = &values[&format!("{name}/out/{strength}")];
            let off = distance(&ours, theirs);
            worst = worst.max(off);
            assert!(off < TOLERANCE, "{name} at {strength}: {off:e}");
            if strength == 0.0 {
                assert_eq!(ours, base, "{name}: strength 0 is the base bit for bit");
            } else {
                assert!(distance(&ours, &base) > 0.01, "{name} at {strength} changes nothing");
            }
        }
        layer.set.set(id, false, 1.0, 1.0).unwrap();
        assert_eq!(layer.run(), base, "{name}: switched off");
        layer.set.detach(id, &[&layer.sites]).unwrap();
        assert_eq!(layer.run(), base, "{name}: detached");
        assert!(layer.sites[0].slot.branches().is_empty());
    }
    println!("largest difference: {worst:.1e}");
    let counts = [("DoRA", 14), ("LoHa", 11), ("LoKr", 14), ("LoRA", 1)];
    assert_eq!(kinds, counts.map(|(kind, count)| (kind.to_string(), count)).into());
}

/// Each starts from the base weight, in whatever order they came.
#[test]
fn two_on_one_layer_add_up() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let Fixture { cases, pairs, .. } = fixture();
    assert_eq!(pairs.len(), 5);
    for (first, second) in &pairs {
        let theirs = &values[&format!("{first}+{second}/out")];
        let both = [(first, 0.6), (second, -1.3)];
        for order in [[0, 1], [1, 0]] {
            let mut layer = Layer::new(&values, first, cases[first].stride);
            let base = layer.run();
            let mut ids = Vec::new();
            for (name, strength) in order.map(|at| both[at]) {
                let adapter = below(&values, &format!("{name}/adapter/"));
                let file = layer.read(&adapter, cases[name].config.as_ref()).unwrap();
                ids.push(layer.attach(file, strength));
            }
            let off = distance(&layer.run(), theirs);
            assert!(off < TOLERANCE, "{first} + {second}: {off:e}");

            // One goes, the other stays as if it had been alone.
            layer.set.detach(ids[0], &[&layer.sites]).unwrap();
            let (name, strength) = both[order[1]];
            let mut alone = Layer::new(&values, first, cases[first].stride);
            let adapter = below(&values, &format!("{name}/adapter/"));
            let file = alone.read(&adapter, cases[name].config.as_ref()).unwrap();
            alone.attach(file, strength);
            assert_eq!(layer.run(), alone.run(), "{name} alone");
            layer.set.detach(ids[1], &[&layer.sites]).unwrap();
            assert_eq!(layer.run(), base);
        }
    }
}

/// The names of modules are one table for every kind; PEFT may write its adapter's name behind.
#[test]
fn every_naming_reads_the_same() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let fixture = fixture();
    for name in ["loha.conv3", "lokr.both", "lokr.whole", "dora.conv3.rows", "dora.linear.columns"]
    {
        let adapter = below(&values, &format!("{name}/adapter/lora_unet_proj_in."));
        let shape = &values[&format!("{name}/weight")].shape;
        let named = |prefix: &str, end: &str| -> Values {
            let key = |key: &String| {
                let end = if key.contains('.') || key == "alpha" { "" } else { end };
                format!("{prefix}{key}{end}")
            };
            adapter.iter().map(|(name, host)| (key(name), host.clone())).collect()
        };
        let expected = read_for(shape, &named("lora_unet_proj_in.", ""), None).unwrap().modules;
        assert_eq!(expected[0].rank, fixture.cases[name].rank);
        for (prefix, end, naming) in [
            ("lycoris_proj_in.", "", "LyCORIS"),
            ("unet.proj_in.", "", "diffusers"),
            ("base_model.model.proj_in.", "", "PEFT"),
            ("base_model.model.proj_in.", ".default", "PEFT"),
            ("base_model.model.proj_in.", ".default.weight", "PEFT"),
            ("base_model.model.proj_in.", ".default_0.weight", "PEFT"),
            ("unet.base_model.model.proj_in.", ".weight", "PEFT"),
            ("lora_unet_proj_in.", ".weight", "kohya"),
        ] {
            let read = read_for(shape, &named(prefix, end), None).unwrap();
            assert_eq!(read.modules, expected, "{name}: {prefix}*{end}");
            assert_eq!(read.report.naming, naming, "{name}: {prefix}*{end}");
        }
    }
}

/// The axis of DoRA's magnitude by shape, where the layer is square too.
#[test]
fn a_magnitude_lies_where_its_shape_says() {
    let pair = |output: usize, input: usize| -> Values {
        let one = |shape: &[usize]| Host {
            shape: shape.to_vec(),
            data: vec![0.5; shape.iter().product()],
        };
        [
            ("lora_unet_proj_in.lora_down.weight".into(), one(&[2, input])),
            ("lora_unet_proj_in.lora_up.weight".into(), one(&[output, 2])),
        ]
        .into()
    };
    for (layer, key, shape, wanted) in [
        ([8, 6], "dora_scale", &[8, 1][..], &[8, 1]),
        ([8, 6], "dora_scale", &[8], &[8, 1]),
        ([8, 6], "dora_scale", &[6], &[1, 6]),
        ([8, 6], "dora_scale", &[1, 6], &[1, 6]),
        ([8, 8], "dora_scale", &[8, 1], &[8, 1]),
        ([8, 8], "dora_scale", &[1, 8], &[1, 8]),
        ([8, 8], "dora_scale", &[8], &[8, 1]),
        ([8, 8], "lora_magnitude_vector", &[8], &[8, 1]),
        ([8, 8], "lora_magnitude_vector", &[1, 8, 1, 1], &[8, 1]),
        ([8, 6], "lora_magnitude_vector", &[8, 1], &[8, 1]),
        ([1, 6], "dora_scale", &[1, 6], &[1, 6]),
        ([1, 6], "dora_scale", &[1, 1], &[1, 1]),
        ([8, 1], "dora_scale", &[8, 1], &[8, 1]),
        ([8, 1], "dora_scale", &[1, 1], &[1, 1]),
    ] {
        let mut adapter = pair(layer[0], layer[1]);
        let data = (0..shape.iter().product()).map(|i| i as f32).collect();
        let magnitude = Host { shape: shape.to_vec(), data };
        adapter.insert(format!("lora_unet_proj_in.{key}"), magnitude);
        let read = read_for(&layer, &adapter, None).unwrap();
        let HostFactors::DoRA(DoRA { magnitude, .. }) = &read.modules[0].factors else { panic!() };
        assert_eq!(magnitude.shape, wanted, "{key} {shape:?} of {layer:?}");
    }
}

#[test]
fn a_report_names_every_kind() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let sites: Vec<Site> = ["loha.conv3", "lokr.whole", "lora.linear", "dora.conv1.rows"]
        .into_iter()
        .map(|name| Site {
            part: Part::UNet,
            path: name.into(),
            shape: values[&format!("{name}/weight")].shape.clone(),
        })
        .collect();
    let report = |names: &[&str]| {
        let mut adapter = Values::new();
        for name in names {
            for (key, host) in below(&values, &format!("{name}/adapter/lora_unet_proj_in.")) {
                adapter.insert(format!("lora_unet_{}.{key}", name.replace('.', "_")), host);
            }
        }
        let source = Bytes::new("mixed.safetensors", tiny::file(&adapter));
        file::read(&source, None, &sites, None).unwrap().report
    };
    let all = report(&["loha.conv3", "lokr.whole", "lora.linear", "dora.conv1.rows"]);
    assert_eq!(all.kind, "LoRA + DoRA + LoHa + LoKr");
    assert_eq!(all.summary, "4 of 4 modules: UNet 4, text encoder 0; rank 2, alpha 3 to 4");
    let whole = report(&["lokr.whole"]);
    assert_eq!(whole.kind, "LoKr");
    assert_eq!(whole.summary, "1 of 1 modules: UNet 1, text encoder 0; whole factors");
    assert_eq!(Kind::of(&[]), []);
}

const LINEAR: [usize; 2] = [8, 12];
const CONV: [usize; 4] = [8, 6, 3, 3];

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let case = |name: &str| below(&values, &format!("{name}/adapter/"));
    let full = |key: &str| format!("lora_unet_proj_in.{key}");
    let without = |name: &str, key: &str| {
        let mut adapter = case(name);
        adapter.remove(&full(key)).unwrap();
        adapter
    };
    let with = |name: &str, key: &str, shape: &[usize]| {
        let mut adapter = case(name);
        let data = vec![0.5; shape.iter().product()];
        adapter.insert(full(key), Host { shape: shape.to_vec(), data });
        adapter
    };
    let number = |name: &str, key: &str, value: f32| {
        let mut adapter = case(name);
        adapter.get_mut(&full(key)).unwrap().data[1] = value;
        adapter
    };
    let (linear, conv) = (&LINEAR[..], &CONV[..]);
    let broken = "The adapter's file is broken: get another copy";
    let other = "Use an adapter made for the model that is loaded";
    for (shape, adapter, says, remedy) in [
        (linear, without("loha.linear", "hada_w2_b"), "has no hada_w2_b factor beside it", broken),
        (linear, without("loha.linear", "hada_w1_a"), "has no hada_w1_a factor beside it", broken),
        (conv, without("loha.tucker", "hada_t2"), "has no hada_t2 factor beside it", broken),
        (linear, without("lokr.both", "lokr_w1_b"), "has no lokr_w1_b factor beside it", broken),
        (linear, without("lokr.half", "lokr_w2_a"), "has no lokr_w2_a factor beside it", broken),
        (linear, without("lokr.whole", "lokr_w2"), "has no lokr_w2 factor beside it", broken),
        (linear, without("lokr.whole", "lokr_w1"), "has no lokr_w1 factor beside it", broken),
        (linear, without("dora.linear.rows", "lora_up.weight"), "has no up factor", broken),
        (
            linear,
            with("loha.linear", "hada_w1_a", &[9, 2]),
            "hada_w1_a: has the shape [9, 2] where the layer needs [8, 2]",
            other,
        ),
        (
            linear,
            with("loha.linear", "hada_w2_b", &[3, 12]),
            "hada_w2_b: has the shape [3, 12] where the layer needs [2, 12]",
            other,
        ),
        (
            linear,
            case("loha.conv3"),
            "hada_w1_b: has the shape [2, 54] where the layer needs [2, 12]",
            other,
        ),
        (
            linear,
            with("loha.linear", "hada_t1", &[2, 2, 1, 1]),
            "hada_t1: is the core of a convolution, but the layer is linear",
            other,
        ),
        (
            conv,
            with("loha.tucker", "hada_t1", &[2, 2, 5, 5]),
            "hada_t1: has the shape [2, 2, 5, 5] where the layer needs [2, 2, 3, 3]",
            other,
        ),
        (
            linear,
            with("lokr.whole", "lokr_w2", &[4, 5]),
            "lokr_w2: makes a 4 x 5 matrix, whose Kronecker product with the first factor's 2 x 3 \
             isn't the layer's [8, 12]",
            other,
        ),
        (
            linear,
            with("lokr.half", "lokr_w2_a", &[4, 3]),
            "lokr_w2_a: has the shape [4, 3] where the layer needs [4, 2]",
            other,
        ),
        (conv, case("lokr.whole"), "lokr_w2: makes a 4 x 4 matrix", other),
        // As many columns, but no kernel of the layer's.
        (
            conv,
            with("lokr.whole.conv3", "lokr_w2", &[2, 18, 1, 1]),
            "lokr_w2: makes a 2 x 18",
            other,
        ),
        (conv, with("lokr.whole.conv3", "lokr_w1", &[4, 27]), "the first factor's 4 x 27", other),
        (linear, with("lokr.both", "lokr_w1", &[2, 3]), "stands beside the whole lokr_w1", broken),
        (linear, with("lokr.half", "lokr_w2", &[4, 4]), "stands beside the whole lokr_w2", broken),
        (
            linear,
            with("dora.linear.rows", "dora_scale", &[9, 1]),
            "dora_scale: has the shape [9, 1] where the layer needs [8, 1] or [1, 12]",
            other,
        ),
        (
            linear,
            with("dora.linear.rows", "dora_scale", &[8, 12]),
            "dora_scale: has the shape [8, 12] where the layer needs [8, 1] or [1, 12]",
            other,
        ),
        (
            linear,
            with("lora.linear", "lora_magnitude_vector", &[12]),
            "lora_magnitude_vector: has the shape [12] where the layer needs [8]",
            other,
        ),
        (
            linear,
            with("dora.linear.rows", "lora_magnitude_vector", &[8]),
            "dora_scale: names the same factor as lora_unet_proj_in.lora_magnitude_vector",
            broken,
        ),
        (
            linear,
            with("loha.linear", "dora_scale", &[9, 1]),
            "dora_scale: has the shape [9, 1] where the layer needs [8, 1] or [1, 12]",
            other,
        ),
        (
            linear,
            with("loha.linear", "lokr_w1", &[2, 3]),
            "lokr_w1: belongs to a LoKr, where others of its layer belong to a LoHa",
            broken,
        ),
        (linear, with("loha.linear", "hada_w1_b", &[0, 12]), "hada_w1_b: has rank 0", broken),
        (linear, with("lokr.whole", "lokr_w2", &[4, 0]), "has the shape [4, 0]", broken),
        (linear, with("lokr.whole", "lokr_w2", &[4]), "has the shape [4], not that of", broken),
        (linear, number("loha.linear", "hada_w2_a", f32::NAN), "hada_w2_a: holds NaN", broken),
        (linear, number("lokr.both", "lokr_w1_a", f32::INFINITY), "lokr_w1_a: holds NaN", broken),
        (
            linear,
            number("dora.linear.rows", "dora_scale", f32::NAN),
            "dora_scale: holds NaN",
            broken,
        ),
    ] {
        let error = match read_for(shape, &adapter, None) {
            Ok(_) => panic!("taken, for all that it {says}"),
            Err(error) => error.to_string(),
        };
        println!("{error}");
        assert!(error.starts_with("style.safetensors: "), "{error}");
        assert!(error.contains(says), "{error}\n  lacks: {says}");
        assert!(error.ends_with(remedy), "{error}\n  lacks: {remedy}");
    }
}

/// A module that a program made may lie too: nothing is attached then.
#[test]
fn a_set_checks_dense_factors_again() {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let fixture = fixture();
    for (name, case) in fixture.cases.iter().filter(|(_, case)| case.kind != "LoRA") {
        let mut layer = Layer::new(&values, name, case.stride);
        let adapter = below(&values, &format!("{name}/adapter/"));
        let file = layer.read(&adapter, case.config.as_ref()).unwrap();
        let tensors = file.modules[0].factors.named().len();
        for at in 0..tensors {
            let mut lying = file.clone();
            let module: &mut AdapterModule = &mut lying.modules[0];
            let count = std::cell::Cell::new(0);
            module.factors = module.factors.map(|tensor| {
                let mut tensor = tensor.clone();
                if count.replace(count.get() + 1) == at {
                    tensor.shape[0] += 1;
                    tensor.data.resize(tensor.shape.iter().product(), 0.0);
                }
                tensor
            });
            let error = layer
                .set
                .attach(lying, [&layer.sites, &[], &[]], None, &Device::flex())
                .unwrap_err();
            assert!(error.to_string().contains("don't fit the layer's"), "{name} {at}: {error}");
            assert!(layer.sites[0].slot.branches().is_empty());
        }
        let id = layer.attach(file, 1.0);
        assert!(matches!(layer.sites[0].slot.branches()[0].factors, Factors::Change(_)));
        layer.set.detach(id, &[&layer.sites]).unwrap();
    }
}

const NAMES: [&str; 18] = [
    "lora_down.weight",
    "lora_mid.weight",
    "lora_up.weight",
    "hada_w1_a",
    "hada_w1_b",
    "hada_w2_a",
    "hada_w2_b",
    "hada_t1",
    "hada_t2",
    "lokr_w1",
    "lokr_w1_a",
    "lokr_w1_b",
    "lokr_w2",
    "lokr_w2_a",
    "lokr_w2_b",
    "lokr_t2",
    "dora_scale",
    "lora_magnitude_vector",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Whatever stands under these names: an adapter that can be attached and run, or an error.
    #[test]
    fn arbitrary_shapes_are_read_or_refused(
        family in 0usize..3,
        given in prop::collection::vec(
            (0usize..8, prop::collection::vec(prop_oneof![9 => 1usize..5, 1 => 0usize..9], 1..5)),
            1..7,
        ),
        layer in prop::collection::vec(1usize..5, 2),
        kernel in prop_oneof![Just(None), Just(Some(1usize)), Just(Some(3))],
    ) {
        let names = [&NAMES[..3], &NAMES[3..9], &NAMES[9..16]][family];
        let mut adapter = Values::new();
        for (at, shape) in &given {
            let name = names.get(*at).unwrap_or(&NAMES[16 + at % 2]);
            let data = vec![0.25; shape.iter().product()];
            adapter.insert(format!("lora_unet_proj_in.{name}"), Host { shape: shape.clone(), data });
        }
        let shape = [&layer[..], &kernel.map_or(vec![], |k| vec![k, k])].concat();
        match read_for(&shape, &adapter, None) {
            Err(error) => prop_assert!(error.to_string().starts_with("style.safetensors: ")),
            Ok(file) => {
                let mut values = Values::new();
                let inputs = if kernel.is_some() { vec![1, layer[1], 4, 4] } else { vec![1, 1, layer[1]] };
                for (name, shape) in [("weight", shape), ("bias", vec![layer[0]]), ("x", inputs)] {
                    let data = vec![0.5; shape.iter().product()];
                    values.insert(format!("case/{name}"), Host { shape, data });
                }
                let mut layer = Layer::new(&values, "case", kernel.map(|_| 1));
                layer.attach(file, 1.0);
                prop_assert!(layer.run().data.iter().all(|value| value.is_finite()));
            }
        }
    }
}

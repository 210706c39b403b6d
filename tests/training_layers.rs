//! One layer with one adapter in training, against PyTorch and PEFT (T1, T1b, T4 of
//! `docs/specs/training.md`; `fixtures/training/generate.py`).

mod support;
mod tiny;
mod tuning;

use std::collections::BTreeMap;

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::adapters::kinds::Difference;
use lorakeet::kernels::{self, Choice};
use lorakeet::layers::{Branch, Conv2d, Conv2dConfig, Factors, Linear, Parameters, Site, Strength};
use lorakeet::training::adapter::{DOWN, MAGNITUDE, UP, row_norms};
use lorakeet::training::leaves::flatten;
use lorakeet::training::trainer::read;
use lorakeet::training::{Adapter, Config};
use serde::Deserialize;
use serde_json::json;
use support::{Tensors, fixture, values};
use tiny::{Host, Values};
use tuning::{bits, config, relative};

/// A row of `layers.json`.
#[derive(Deserialize)]
struct Row {
    name: String,
    layer: String,
    weight: Vec<usize>,
    kernel: usize,
    stride: usize,
    padding: usize,
    bias: bool,
    x: Vec<usize>,
    adapter: String,
    rank: usize,
    alpha: f64,
    scale: f64,
    strength: f32,
    factors: BTreeMap<String, Vec<usize>>,
}

fn rows() -> Vec<Row> {
    #[derive(Deserialize)]
    struct Rows {
        cases: Vec<Row>,
    }
    serde_json::from_slice::<Rows>(&tiny::read("training/layers.json")).unwrap().cases
}

enum Layer {
    Linear(Linear),
    Conv2d(Conv2d),
}

/// A layer with the adapter that training would put on it.
struct Bench {
    row: Row,
    layer: Layer,
    site: Site,
    adapter: Adapter,
    x: Vec<f32>,
    g: Vec<f32>,
}

impl Bench {
    fn new(row: Row, file: &Tensors) -> Self {
        let of = |name: &str| file.values(&format!("{}.{name}", row.name));
        let mut weights = Values::new();
        weights.insert("weight".into(), Host { shape: row.weight.clone(), data: of("weight") });
        if row.bias {
            weights.insert("bias".into(), Host { shape: vec![row.weight[0]], data: of("bias") });
        }
        let (layer, sites) = load(&row, &weights);
        let config = config(json!({
            "kind": row.adapter, "rank": row.rank, "alpha": row.alpha,
            "rankStabilised": row.name.ends_with("rank_stabilised"),
        }));
        let adapter = Self::adapter(&sites[0], &config, &row, file);
        let (x, g) = (of("x"), of("g"));
        Self { layer, site: sites[0].clone(), adapter, x, g, row }
    }

    /// As training lays it out, its numbers from the file.
    fn adapter(site: &Site, config: &Config, row: &Row, file: &Tensors) -> Adapter {
        let norms = read(row_norms(&[site]).unwrap()).unwrap();
        let mut adapter = Adapter::new(&[site], config, 1, &norms, Vec::new()).unwrap();
        let module = &adapter.modules[0];
        let scale = f64::from(module.scale);
        assert!((scale / row.scale - 1.0).abs() < 1e-6, "{}: scale {scale}", row.name);
        let mut names: Vec<&str> = module.pieces.iter().map(|piece| piece.name).collect();
        names.sort_unstable();
        assert_eq!(names, row.factors.keys().collect::<Vec<_>>(), "{}", row.name);
        if row.adapter == "dora" {
            // The magnitudes start at the norms of the rows.
            let weight = file.values(&format!("{}.weight", row.name));
            let own = weight.chunks_exact(weight.len() / row.weight[0]).map(tuning::norm);
            let own: Vec<f32> = own.map(|x| x as f32).collect();
            let start = module.piece(&adapter.parameters, MAGNITUDE).unwrap();
            assert!(relative(start, &own) < 1e-6, "{}", row.name);
        }
        for piece in &adapter.modules[0].pieces {
            let values = file.values(&format!("{}.{}", row.name, piece.name));
            assert_eq!(values.len(), piece.range.len(), "{}.{}", row.name, piece.name);
            adapter.parameters[piece.range.clone()].copy_from_slice(&values);
        }
        adapter
    }

    /// Flat input to flat output.
    fn forward(&self, x: Tensor<1>) -> Tensor<1> {
        match (&self.layer, &self.row.x[..]) {
            (Layer::Linear(layer), &[a, b]) => layer.forward(x.reshape([a, b])).flatten(0, 1),
            (Layer::Linear(layer), &[a, b, c]) => layer.forward(x.reshape([a, b, c])).flatten(0, 2),
            (Layer::Conv2d(layer), &[n, c, h, w]) => {
                layer.forward(x.reshape([n, c, h, w])).flatten(0, 3)
            }
            (_, shape) => panic!("{shape:?}"),
        }
    }

    /// `sum(y g)` with these parameters, summed in f64.
    fn loss(&self, parameters: &[f32], x: &[f32]) -> f64 {
        self.adapter.attach(
            &self.adapter.leaves(&flat(parameters), false),
            &Strength::new(self.row.strength),
            |_| Some(None),
        );
        let y = values(self.forward(flat(x)));
        self.adapter.detach();
        y.iter().zip(&self.g).map(|(&y, &g)| f64::from(y) * f64::from(g)).sum()
    }
}

fn load(row: &Row, weights: &Values) -> (Layer, Vec<Site>) {
    let (output, input) = (row.weight[0], row.weight[1]);
    let options = Conv2dConfig {
        kernel: row.kernel,
        stride: row.stride,
        padding: (row.padding, row.padding),
        bias: row.bias,
    };
    let build = |parameters: &Parameters| match row.layer.as_str() {
        "linear" => Layer::Linear(Linear::load(parameters, input, output, row.bias)),
        _ => Layer::Conv2d(Conv2d::load(parameters, input, output, options)),
    };
    tiny::load(weights, build)
}

fn flat(values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
}

/// On burn's operations and on our kernels.
#[test]
fn layers_and_their_gradients_are_pytorchs() {
    for choice in [Choice::None, Choice::All] {
        kernels::choose(choice);
        compare_layers();
    }
}

fn compare_layers() {
    let file = fixture("training/layers.safetensors");
    let rows = rows();
    assert_eq!(rows.len(), 16);
    for row in rows {
        let bench = Bench::new(row, &file);
        let name = &bench.row.name;
        let of = |tensor: &str| file.values(&format!("{name}.{tensor}"));
        let x = flat(&bench.x).autodiff().require_grad();
        let leaves = bench.adapter.leaves(&flat(&bench.adapter.parameters), true);
        let strength = Strength::new(bench.row.strength);
        bench.adapter.attach(&leaves, &strength, |_| Some(None));
        let y = bench.forward(x.clone());
        bench.adapter.detach();
        let forward = relative(&values(y.clone().inner()), &of("y"));
        assert!(forward < 1e-5, "{name}: y is {forward:e} off");

        let mut gradients = (y * flat(&bench.g)).sum().backward();
        let grad_x = relative(&values(x.grad(&gradients).unwrap()), &of("grad_x"));
        assert!(grad_x < 1e-4, "{name}: the gradient of x is {grad_x:e} off");
        let mut sums = Vec::new();
        leaves.collect(&bench.adapter, None, &mut gradients, &mut sums);
        let gradient = values(flatten(&bench.adapter, sums, &Device::flex()));
        let mut worst = 0f64;
        for piece in &bench.adapter.modules[0].pieces {
            let ours = &gradient[piece.range.clone()];
            let off = relative(ours, &of(&format!("grad.{}", piece.name)));
            assert!(off < 1e-4, "{name}: the gradient of {} is {off:e} off", piece.name);
            worst = worst.max(off);
        }
        println!("{name:32} y {forward:.1e}, grad x {grad_x:.1e}, grad factors {worst:.1e}");
    }
}

/// The other witness, which needs no PyTorch. Every output is linear in each single number of input
/// and factors, so central differences are exact but for f32's rounding and may take large steps.
/// DoRA's up and down are left out: its gradient is by definition not that of the norm.
#[test]
fn gradients_are_slopes() {
    let file = fixture("training/layers.safetensors");
    for row in rows() {
        let bench = Bench::new(row, &file);
        let name = &bench.row.name;
        let step = 0.5f32;
        let slopes = |at: &[f32], loss: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            let slope = |i: usize| {
                let mut moved = at.to_vec();
                moved[i] = at[i] + step;
                let above = loss(&moved);
                moved[i] = at[i] - step;
                ((above - loss(&moved)) / f64::from(2.0 * step)) as f32
            };
            (0..at.len()).map(slope).collect()
        };
        let of_x = slopes(&bench.x, &|x| bench.loss(&bench.adapter.parameters, x));
        let off = relative(&of_x, &file.values(&format!("{name}.grad_x")));
        assert!(off < 1e-4, "{name}: x {off:e}");
        let of_factors =
            slopes(&bench.adapter.parameters, &|parameters| bench.loss(parameters, &bench.x));
        for piece in &bench.adapter.modules[0].pieces {
            if bench.row.adapter == "dora" && piece.name != MAGNITUDE {
                continue;
            }
            let ours = &of_factors[piece.range.clone()];
            let off = relative(ours, &file.values(&format!("{name}.grad.{}", piece.name)));
            assert!(off < 1e-4, "{name}: {} {off:e}", piece.name);
        }
    }
}

/// What a layer answers to each unit input, together: its weight `[out, in * kh * kw]`, read off its
/// forward pass.
fn answered(layer: &Layer, shape: &[usize]) -> Vec<f32> {
    let (output, inputs) = (shape[0], shape[1..].iter().product());
    let mut units = vec![0.0; inputs * inputs];
    units.iter_mut().step_by(inputs + 1).for_each(|unit| *unit = 1.0);
    let units = flat(&units);
    let answers: Tensor<2> = match layer {
        Layer::Linear(layer) => layer.forward(units.reshape([inputs, inputs])),
        Layer::Conv2d(layer) => layer
            .forward(units.reshape([inputs, shape[1], shape[2], shape[3]]))
            .reshape([inputs, output]),
    };
    values(answers.transpose())
}

/// T4: `W + s B A` is PEFT's merged weight, whether the layer computes it from activations or from a
/// product that is added to the weight; without the adapter the layer is the one from before.
#[test]
fn merged_weights_are_pefts_and_detaching_leaves_nothing() {
    let file = fixture("training/merge.safetensors");
    for (name, weight) in [("linear", vec![10, 12]), ("conv", vec![10, 6, 3, 3])] {
        let of = |tensor: &str| file.values(&format!("{name}.{tensor}"));
        let (down, up, alpha) = (of(DOWN), of(UP), f64::from(of("alpha")[0]));
        let rank = up.len() / weight[0];
        let row = Row {
            name: name.into(),
            layer: if name == "linear" { "linear".into() } else { "conv2d".into() },
            kernel: *weight.last().unwrap(),
            stride: 1,
            padding: 0,
            bias: false,
            x: Vec::new(),
            adapter: "lora".into(),
            rank,
            alpha,
            scale: alpha / rank as f64,
            strength: 1.0,
            factors: BTreeMap::from([(DOWN.into(), Vec::new()), (UP.into(), Vec::new())]),
            weight,
        };
        let weights = Values::from([(
            "weight".to_string(),
            Host { shape: row.weight.clone(), data: of("weight") },
        )]);
        let (layer, sites) = load(&row, &weights);
        let config = config(json!({"kind": "lora", "rank": rank, "alpha": alpha}));
        let adapter = Bench::adapter(&sites[0], &config, &row, &file);
        let base = answered(&layer, &row.weight);
        assert_eq!(bits(&base), bits(&of("weight")), "{name}");

        let near = |how: &str| {
            let worst = support::distance(&answered(&layer, &row.weight), &of("merged"));
            println!("{name} {how}: {worst:e}");
            assert!(worst <= 1e-6, "{name} {how}: {worst:e}");
        };
        let leaves = adapter.leaves(&flat(&adapter.parameters), false);
        adapter.attach(&leaves, &Strength::new(1.0), |_| Some(None));
        near("by activations");
        adapter.detach();
        assert_eq!(bits(&answered(&layer, &row.weight)), bits(&base), "{name}");

        let inputs = down.len() / rank;
        let product =
            flat(&up).reshape([row.weight[0], rank]).matmul(flat(&down).reshape([rank, inputs]));
        sites[0].slot.attach(Branch {
            adapter: 7,
            strength: Strength::new(1.0),
            scale: row.scale as f32,
            factors: Factors::Change(Rc::new(Difference { weight: Some(product), bias: None })),
            dropout: None,
        });
        near("by a difference");
        sites[0].slot.detach(7);
        assert_eq!(bits(&answered(&layer, &row.weight)), bits(&base), "{name}");
        assert_eq!(sites[0].slot.branches().len(), 0);
    }
}

/// A strength of 0 is the bare layer bit for bit, for every kind.
#[test]
fn strength_zero_is_the_bare_layer() {
    let file = fixture("training/layers.safetensors");
    for row in rows() {
        let bench = Bench::new(row, &file);
        let bare = values(bench.forward(flat(&bench.x)));
        let leaves = bench.adapter.leaves(&flat(&bench.adapter.parameters), false);
        let strength = Strength::new(0.0);
        bench.adapter.attach(&leaves, &strength, |_| Some(None));
        let name = &bench.row.name;
        assert_eq!(bench.site.slot.branches().len(), 1, "{name}");
        assert_eq!(bits(&values(bench.forward(flat(&bench.x)))), bits(&bare), "{name}");
        // The strength is shared: moving it needs no attaching anew.
        strength.set(1.0);
        assert_ne!(bits(&values(bench.forward(flat(&bench.x)))), bits(&bare), "{name}");
        bench.adapter.detach();
    }
}

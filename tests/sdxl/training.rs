//! One training step: what it is told of texts and sizes, its errors and its gradients.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use lorakeet::adapters::Part;
use lorakeet::layers::Site;
use lorakeet::training::step::pass::{Batch, gradient};
use lorakeet::training::{Adapter, Config, Dataset, Preparation, leaves};
use serde_json::json;

use super::fixture::{EXPECTED, NAMES, TABLE, folder, load, values};
use super::given;
use super::support::{self, Tensors};

fn config(json: serde_json::Value) -> Config {
    serde_json::from_value(json).unwrap()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[test]
fn a_steps_errors_and_gradients_are_pytorchs_whole_and_piece_by_piece() {
    let model = load(&folder());
    let config = config(json!({"targets": "linear", "rank": 4, "alpha": 2.0, "batch": 2}));
    let sites: Vec<&Site> = Adapter::targets(model.sites(Part::UNet), &config).unwrap();
    let kohya = Tensors::new("lora", support::read("tests/fixtures/sdxl/lora.kohya.safetensors"));
    let names: BTreeMap<&str, &str> = NAMES
        .adapter
        .iter()
        .filter(|row| row[0] == "unet")
        .map(|row| (row[1].as_str(), row[2].as_str()))
        .collect();
    assert_eq!(sites.len(), names.len());
    let adapter = Adapter::new(&sites, &config, 3, &[], Vec::new()).unwrap();
    let mut adapter = adapter.with_stages(|path| model.unet.stage_of(path));
    let modules = adapter.modules.clone();
    for module in &modules {
        for (piece, side) in module.pieces.iter().zip(["down", "up"]) {
            let name = format!("{}.lora_{side}.weight", names[module.path.as_str()]);
            adapter.parameters[piece.range.clone()].copy_from_slice(&kohya.values(&name));
        }
    }
    // Blocks of one transformer lie in stages of their own, in the order of a pass.
    let stage = |path: &str| model.unet.stage_of(path);
    let at = "down_blocks.1.attentions.1";
    let first = stage("down_blocks.1.resnets.1.conv1");
    let stages =
        ["proj_in", "transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2", "proj_out"]
            .map(|layer| stage(&format!("{at}.{layer}")));
    assert_eq!(stages, [1, 1, 2, 2].map(|more| first + more));
    assert_eq!(stage("down_blocks.1.downsamplers.0.conv"), first + 4);

    let (_, context) = given("train.given");
    let batch = Batch {
        noisy: tensor(EXPECTED.values("train.noisy"), [2, 4, 8, 8]),
        timesteps: TABLE.timesteps.clone(),
        context,
        target: tensor(EXPECTED.values("train.given.noise"), [2, 4, 8, 8]),
        weights: tensor(vec![0.5; 2], [2, 1]),
        thresholds: None,
    };
    let count = adapter.parameters.len();
    let flat = tensor(adapter.parameters.clone(), [count]);
    for blocks in [false, true] {
        let mut sums = Vec::new();
        let (errors, _) =
            gradient(&model.unet, &adapter, &flat, &batch, &|_| Some(None), blocks, &mut sums);
        let (ours, theirs) = (values(errors), EXPECTED.values("train.errors"));
        let off = support::distance(&ours, &theirs) / theirs[0].max(theirs[1]);
        assert!(off < 1e-5, "errors {ours:?}, PyTorch's {theirs:?}");
        let all = values(leaves::flatten(&adapter, sums, &Device::flex()));
        let mut worst = 0.0f64;
        for module in &modules {
            for (piece, side) in module.pieces.iter().zip(["down", "up"]) {
                let theirs = EXPECTED.values(&format!("train.grad.{}.{side}", module.path));
                let ours = &all[piece.range.clone()];
                let square = |values: &mut dyn Iterator<Item = f32>| {
                    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
                };
                let differences = &mut ours.iter().zip(&theirs).map(|(a, b)| a - b);
                let off = square(differences) / square(&mut theirs.iter().copied());
                assert!(off < 1e-4, "{} {side}: {off:e} (blocks: {blocks})", module.path);
                worst = worst.max(off);
            }
        }
        println!("errors {off:.1e}, gradients {worst:.1e} of each one's norm (blocks: {blocks})");
    }
}

fn prepared(pictures: &[[usize; 2]], json: serde_json::Value) -> Dataset {
    use lorakeet::training::{Picture, Role};

    let picture = |&[width, height]: &[usize; 2]| {
        let rgba = (0..width * height).flat_map(|i| [(i % 251) as u8, (i % 13) as u8, 90, 255]);
        let name = format!("{width}x{height}");
        Picture::new(name, "a red fox", Role::Train, [width, height], rgba.collect()).unwrap()
    };
    let pictures = pictures.iter().map(picture).collect();
    let mut work = Preparation::new(Rc::new(load(&folder())), pictures, &config(json)).unwrap();
    while let Some(tensor) = work.advance().unwrap() {
        work.conclude(&values(tensor)).unwrap();
    }
    work.finish()
}

#[test]
fn a_data_set_tells_the_truth_of_sizes_and_drops_captions_to_zeros() {
    let dataset = prepared(&[[64, 64], [200, 100]], json!({"resolution": 64, "flip": true}));
    assert_eq!((dataset.text_shape, dataset.pooled), ([77, 40], 24));
    // 200 x 100 is scaled to 96 x 48 and loses 8 pixels on either side.
    let [square, wide] = [0, 1].map(|i| dataset.examples[i].sizes);
    assert_eq!(square, [[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]; 2]);
    assert_eq!(wide, [[100.0, 200.0, 0.0, 8.0, 48.0, 80.0]; 2]);
    assert!(dataset.empty.len() == dataset.text_len() && dataset.empty.iter().all(|it| *it == 0.0));
    let states = load(&folder()).encode_prompt("a red fox").unwrap();
    let text = [values(states.hidden), values(states.pooled.unwrap())].concat();
    assert_eq!(dataset.examples[1].text, text);
    assert_eq!(Dataset::from_bytes(&dataset.to_bytes().unwrap()).unwrap(), dataset);
    // An odd number of pixels too many: the mirrored picture loses the other one.
    let odd = &prepared(&[[67, 64]], json!({"resolution": 64, "flip": true})).examples[0].sizes;
    assert_eq!(odd.map(|row| row[3]), [1.0, 2.0]);
}

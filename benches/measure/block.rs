//! A training step of SD 1.5's first block at 64x64 latents, over its forward pass: what the demo
//! model is too small to tell.

use std::rc::Rc;

use burn::tensor::{Device, Tensor};
use lorakeet::kernels;
use lorakeet::layers::{Branch, Factors, Parameters, Site, Storage, Strength};
use lorakeet::models::unet_2d_blocks::DownBlock2D;
use lorakeet::models::{UNet2DConditionConfig, UNet2DConditionModel};
use lorakeet::training::Config;
use lorakeet::training::adapter::Adapter;
use lorakeet::weights::{Bytes, Component, Source};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::host::now;
use super::table::{Table, quantile, ratio, time};
use super::{Plan, print, print_table, values};

const RANK: usize = 8;
const BLOCK: &str = "down_blocks.0.";

/// Random, evenly spread with a deviation of 1.
pub(super) fn draw<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    let numbers = numbers(dims.iter().product(), 1.7, 0.0);
    Tensor::<1>::from_floats(&numbers[..], device).reshape(dims)
}

pub(super) fn numbers(count: usize, deviation: f32, middle: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / 2f32.powi(31) - 1.0)
        .map(|x| x * deviation + middle)
        .collect()
}

/// The block with random weights.
fn load(device: &Device) -> (DownBlock2D, Vec<Site>) {
    let about: Value =
        serde_json::from_str(include_str!("../../web/bench/sd15-unet.json")).unwrap();
    let tensors = about["tensors"].as_object().unwrap();
    let made: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .filter(|(name, _)| name.starts_with(BLOCK))
        .map(|(name, shape)| {
            let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
            let fan_in = shape[1..].iter().product::<usize>() as f32;
            let gain = shape.len() == 1 && name.contains("norm") && name.ends_with("weight");
            let deviation = if shape.len() == 1 { 0.1 } else { (3.0 / fan_in).sqrt() };
            let values = numbers(shape.iter().product(), deviation, f32::from(gain));
            (name.clone(), shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = made.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let source: Rc<dyn Source> = Rc::new(Bytes::new("block.safetensors", file));
    let component =
        Component::from_safetensors("unet", source.as_ref(), about["config"].clone()).unwrap();
    let config = UNet2DConditionConfig::parse(&component).unwrap();
    let sources = [source];
    let mut ignore = |_: lorakeet::layers::Progress<'_>| {};
    let parameters = Parameters::new(&component, &sources, device, Storage::F32, &mut ignore);
    let place = parameters.at("down_blocks").at(0);
    let block = UNet2DConditionModel::load_down_block(&config, 0, &place);
    let (report, sites) = parameters.finish().unwrap();
    report.check(&component.file).unwrap();
    (block, sites)
}

/// A LoRA on these layers; its factors, leaves of a graph where `tracked`.
fn attach(sites: &[&Site], tracked: bool, device: &Device) -> Vec<Tensor<2>> {
    let mut leaves = Vec::new();
    let strength = Strength::new(1.0);
    for site in sites {
        let [out, input] = site.matrix();
        let mut leaf = |dims: [usize; 2]| {
            let leaf = draw(dims, device).mul_scalar(0.01);
            let leaf = if tracked { leaf.autodiff().require_grad() } else { leaf };
            leaves.push(leaf.clone());
            leaf
        };
        let factors = if site.shape.len() == 2 {
            Factors::Linear { down: leaf([input, RANK]), up: leaf([RANK, out]) }
        } else {
            let down = leaf([RANK, input]).reshape([RANK, input, 1, 1]);
            Factors::Conv2d { down, mid: None, up: leaf([out, RANK]).reshape([out, RANK, 1, 1]) }
        };
        let strength = strength.clone();
        site.slot.attach(Branch { adapter: 1, strength, scale: 1.0, factors, dropout: None });
    }
    leaves
}

/// What is trained: its name, the targets as the page has them, and whether the gradient goes on to
/// what comes before the block. In SD 1.5 nothing does that is trained.
const CASES: [(&str, &str, bool); 3] = [
    ("LoRA, attention", "attention", false),
    ("LoRA", "linear", false),
    ("LoRA, attention; and the input's gradient", "attention", true),
];

/// Step over forward, for a LoRA on attention and on all linear layers of the transformers.
pub async fn block(device: &Device, plan: &Plan) {
    let (block, sites) = load(device);
    let x = draw([1, 320, 64, 64], device);
    let (emb, context) = (draw([1, 1280], device), draw([1, 77, 768], device));
    let flow = draw([1, 320, 32, 32], device);
    let run = |x| block.forward(x, &emb, &context, &mut Vec::new());
    let mut table = Table::new(&[
        "adapter",
        "forward",
        "with the adapter",
        "step",
        "step / forward",
        "step / with the adapter",
        "step with checkpointing",
        "that / forward",
    ]);
    for (name, targets, further) in CASES {
        let config: Config = serde_json::from_value(json!({ "targets": targets })).unwrap();
        let targets = Adapter::targets(&sites, &config).unwrap();
        let detach = || sites.iter().for_each(|site| site.slot.detach(1));
        let attach = |tracked| {
            detach();
            attach(&targets, tracked, device)
        };
        let (mut base, mut own, mut steps, mut twice) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..=plan.rounds {
            let start = now();
            values(run(x.clone())).await;
            let forward = now() - start;
            attach(false);
            let start = now();
            values(run(x.clone())).await;
            let adapted = now() - start;
            let mut times = [0.0; 2];
            for (checkpointing, time) in [false, true].into_iter().zip(&mut times) {
                let start = now();
                // As `training::pass` does it.
                let kept = checkpointing.then(|| {
                    attach(false);
                    kernels::keep(|| run(x.clone())).1
                });
                let leaves = attach(true);
                let input = x.clone().autodiff();
                let input = if further { input.require_grad() } else { input };
                let output = match kept {
                    None => run(input.clone()),
                    Some(kept) => kernels::recall(kept, || run(input.clone())),
                };
                let mut gradients = (output * flow.clone()).sum().backward();
                let ends = leaves.iter().map(|leaf| leaf.grad_remove(&mut gradients).unwrap());
                let mut ends: Vec<_> = ends.map(|end| end.flatten::<1>(0, 1)).collect();
                ends.extend(further.then(|| input.grad(&gradients).unwrap().flatten(0, 3)));
                values(Tensor::cat(ends, 0)).await;
                *time = now() - start;
            }
            detach();
            if round > 0 {
                base.push(forward);
                own.push(adapted);
                steps.push(times[0]);
                twice.push(times[1]);
            }
        }
        table.row([
            name.into(),
            time(quantile(&base, 0.5)),
            time(quantile(&own, 0.5)),
            time(quantile(&steps, 0.5)),
            ratio(&steps, &base),
            ratio(&steps, &own),
            time(quantile(&twice, 0.5)),
            ratio(&twice, &base),
        ]);
    }
    print(&format!("\n### Training of SD 1.5's first block, {}", plan.backend));
    print(&format!(
        "\nBatch 1, latents of 64x64, rank {RANK}; medians of {} rounds, in brackets the middle \
         half. A step is the forward pass and the adapter's gradients.",
        plan.rounds
    ));
    print_table(&table);
}

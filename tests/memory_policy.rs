//! What is told of memory before a model or a picture, beside what the allocator counts. A process of
//! its own, since it counts every allocation.
//!
//! `cargo test --test memory_policy -- --nocapture` prints the table.

#[path = "support/counting.rs"]
mod counting;
mod support;

use burn::tensor::{Device, Tensor};
use lorakeet::kernels::{self, Choice};
use lorakeet::layers::Storage;
use lorakeet::models::{Added, Context};
use lorakeet::pipelines::StableDiffusion;
use lorakeet::pipelines::memory::{Pixels, Sizes, unet_peak};
use lorakeet::weights::Checkpoint;
use support::{demo_model, path};

/// One forward pass of the UNet, counted.
fn counted(model: &StableDiffusion, side: usize, guided: bool) -> usize {
    let (device, config) = (Device::flex(), model.unet.config());
    let n = 1 + usize::from(guided);
    let sample = Tensor::<4>::ones([n, config.in_channels, side / 8, side / 8], &device);
    let context = Tensor::<3>::ones([n, 77, config.cross_attention_dim], &device);
    counting::peak_of(|| model.unet.forward(sample, &[500.0], context)).1
}

/// The same of SDXL's, whose widths are tiny here.
fn counted_deep(model: &StableDiffusion, side: usize, guided: bool) -> usize {
    let (device, config) = (Device::flex(), model.unet.config());
    let n = 1 + usize::from(guided);
    let sample = Tensor::<4>::ones([n, config.in_channels, side / 8, side / 8], &device);
    let text = Tensor::<3>::ones([n, 77, config.cross_attention_dim], &device);
    let pooled = Tensor::<2>::ones([n, config.pooled_width().unwrap()], &device);
    let added = Some(Added { pooled, time_ids: vec![[512.0; 6]] });
    let context = Context { text, added };
    counting::peak_of(|| model.unet.forward(sample, &[500.0], context)).1
}

/// In one test, since counts are of the whole process.
#[test]
fn what_is_told_is_what_it_takes() {
    let model = demo_model();
    println!("| kernels | side | guided | told | counted | told / counted |");
    println!("|---|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for (choice, ours) in [(Choice::All, true), (Choice::None, false)] {
        kernels::choose(choice);
        for (side, guided) in [(256, false), (256, true), (384, false), (384, true)] {
            let told = unet_peak(model.unet.config(), Pixels::of(side, side, guided), ours);
            let counted = counted(&model, side, guided) as u64;
            let ratio = told as f64 / counted as f64;
            let [a, b] = [told, counted].map(|bytes| bytes as f64 / 1e6);
            println!("| {ours} | {side} | {guided} | {a:.1} MB | {b:.1} MB | {ratio:.2} |");
            // Of a small pass, what burn's attention works in at least is most of it.
            if (ours || side > 256) && !(0.9..1.5).contains(&ratio) {
                wrong.push((ours, side, guided, ratio));
            }
        }
    }
    // SDXL's UNet, whose transformers have several blocks, goes piece by piece.
    let deep = support::load(&Checkpoint::open_path(path("tests/fixtures/sdxl/folder")).unwrap());
    kernels::choose(Choice::All);
    for (side, guided) in [(512, false), (512, true)] {
        let told = unet_peak(deep.unet.config(), Pixels::of(side, side, guided), true);
        let counted = counted_deep(&deep, side, guided) as u64;
        let ratio = told as f64 / counted as f64;
        let [a, b] = [told, counted].map(|bytes| bytes as f64 / 1e6);
        println!("| deep | {side} | {guided} | {a:.1} MB | {b:.1} MB | {ratio:.2} |");
        if !(0.9..1.5).contains(&ratio) {
            wrong.push((true, side, guided, ratio));
        }
    }
    assert_eq!(wrong, []);
    // A model takes what was told of it, and its tokenizer.
    let checkpoint = Checkpoint::open_path(path("web/demo-model/model")).unwrap();
    let told = Sizes::of(&checkpoint).f32;
    let before = counting::start();
    let device = Device::flex();
    let model = StableDiffusion::load(&checkpoint, None, &device, Storage::F32, &mut |_| {});
    let took = (counting::held() - before) as u64;
    assert!(model.is_ok());
    println!("weights: told {told}, took {took}");
    assert!((8 * took / 10..11 * took / 10).contains(&told), "{told} told, {took} taken");
}

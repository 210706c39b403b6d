//! What a plan says of an autoencoder's memory is what it takes. A process of its own, since it counts
//! every allocation.
//!
//! `cargo test --test bands_memory -- --nocapture` prints both.

#[path = "support/counting.rs"]
mod counting;
mod support;

use burn::tensor::{Device, Tensor};
use lorakeet::kernels::{self, Choice};
use lorakeet::pipelines::{Limits, Vae};
use support::{demo_model, values};

/// What the kernels keep of their own: convolutions copy some rows with their border.
const KEPT: usize = 9 << 20;

/// What they take while they run: a thread's packed panels, and where pixels lie.
const RUNNING: usize = 2 << 20;

/// Decodes or encodes within a part of what the whole picture takes; bytes planned, and taken.
fn measure(vae: &Vae, input: &Tensor<4>, decode: bool, percent: u64) -> [usize; 2] {
    let [_, _, h, w] = input.dims();
    let plan = |limits| {
        if decode { vae.decode_plan([h, w], limits) } else { vae.encode_plan([h, w], limits) }
    };
    let whole = plan(Limits::NONE).unwrap().peak;
    let bytes = Some(whole * percent / 100);
    let plan = plan(Limits { bytes, buffer: None }).unwrap();
    // The input is there already, and counted in the plan.
    let input_bytes = 4 * input.dims().iter().product::<usize>();
    let before = counting::start();
    let begin = input.clone();
    let mut coding =
        if decode { vae.begin_decode(&plan, begin) } else { vae.begin_encode(&plan, begin) }
            .unwrap();
    let output = loop {
        if let Some(output) = vae.advance(&mut coding) {
            break output;
        }
    };
    let taken = counting::peak_above(before) + input_bytes;
    assert!(values(output).iter().all(|value| value.is_finite()));
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "{} {h} x {w}, {percent} %: planned {:.1} MiB, taken {:.1}; {} rows, {:.2} times the work",
        if decode { "decoding" } else { "encoding" },
        mib(plan.peak as usize),
        mib(taken),
        plan.tile,
        plan.work
    );
    [plan.peak as usize, taken]
}

#[test]
fn plans_are_kept() {
    // The page's kernels; natively others run.
    kernels::choose(Choice::All);
    let model = demo_model();
    let vae = model.vae().unwrap();
    let device = Device::flex();
    let draw = |shape: [usize; 4]| {
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7313).sin()).collect();
        Tensor::<1>::from_floats(&numbers[..], &device).reshape(shape)
    };
    let (latents, pixels) = (draw([1, 4, 32, 24]), draw([1, 3, 256, 192]));
    // What the kernels keep is there then, for the larger of the two.
    measure(&vae, &pixels, false, 100);
    measure(&vae, &latents, true, 100);
    for (decode, input, percents) in [(true, &latents, [100, 50]), (false, &pixels, [100, 60])] {
        for percent in percents {
            let [planned, taken] = measure(&vae, input, decode, percent);
            assert!(taken <= planned + RUNNING, "{taken} bytes of {planned}");
            assert!(planned * 4 <= taken * 5, "{planned} bytes planned for {taken}");
        }
    }
    // And what was kept is given back.
    let held = counting::held();
    kernels::release_scratch();
    let freed = held - counting::held();
    assert!(freed > 1 << 20 && freed <= KEPT, "{freed} bytes");
}

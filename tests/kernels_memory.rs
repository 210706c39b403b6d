//! Attention's memory grows with the tokens, not with their square: no score matrix, forward and
//! back. Stored weights are widened in panels. A process of its own, since it counts every allocation.
//!
//! `cargo test --test kernels_memory -- --nocapture` prints the table of docs/performance.md.

#[path = "support/counting.rs"]
mod counting;

use std::sync::{Mutex, MutexGuard};

use burn::tensor::{DType, Device, Tensor};
use lorakeet::kernels::{self, Blocks, Choice, PackedWeight};
use lorakeet::layers::attention;

/// One test at a time: the count is the whole process's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes of an attention of two heads of width 8 over `tokens`, forward alone, and forward and back.
fn peaks(tokens: usize, choice: Choice) -> [usize; 2] {
    kernels::choose(choice);
    let device = Device::flex();
    let draw = |seed: usize| -> Tensor<3> {
        let values: Vec<f32> = (0..tokens * 16).map(|i| ((i * seed) as f32).sin()).collect();
        Tensor::<1>::from_floats(&values[..], &device).reshape([1, tokens, 16])
    };
    let [q, k, v] = [3, 5, 7].map(draw);
    let before = counting::start();
    drop(attention(q.clone(), k.clone(), v.clone(), 2, false));
    let forward = counting::peak_above(before);
    let before = counting::start();
    let [q, k, v] = [q, k, v].map(|x| x.autodiff().require_grad());
    let gradients = attention(q.clone(), k, v, 2, false).sum().backward();
    assert!(q.grad(&gradients).is_some());
    [forward, counting::peak_above(before)]
}

/// Bytes that a convolution and a linear layer with this weight take besides it, there and back.
fn beside<const D: usize>(run: impl Fn(Tensor<D>) -> Tensor<D>, x: Tensor<D>) -> usize {
    let before = counting::start();
    let x = x.autodiff().require_grad();
    let gradients = run(x.clone()).sum().backward();
    assert!(x.grad(&gradients).is_some());
    counting::peak_above(before)
}

/// Halves and 8-bit blocks are widened as they are used, a panel at a time: no weight stands in memory
/// twice, and no graph keeps one in f32.
#[test]
fn stored_weights_are_never_whole_in_f32() {
    const CHANNELS: usize = 384;
    let _turn = turn();
    kernels::choose(Choice::All);
    let device = Device::flex();
    let shape = [CHANNELS, CHANNELS, 3, 3];
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32).sin()).collect();
    let numbers = || Tensor::<1>::from_floats(&values[..], &device);
    let blocks = Blocks::new(&values, &shape, &device);
    let halves = PackedWeight::new(numbers().reshape(shape).cast(DType::F16));
    let flat = Blocks::new(&values, &[9 * CHANNELS, CHANNELS], &device);
    let narrow: Tensor<2> = numbers().reshape([9 * CHANNELS, CHANNELS]).cast(DType::F16);
    let picture = Tensor::<4>::zeros([1, CHANNELS, 4, 4], &device);
    let rows = Tensor::<2>::zeros([4, CHANNELS], &device);
    let layers = [
        beside(|x| kernels::conv2d_packed(x, &halves, None, 1, (1, 1)), picture.clone()),
        beside(|x| kernels::conv2d_blocks(x, &blocks, None, 1, (1, 1), false), picture),
        beside(|x| kernels::linear(x, narrow.clone(), None), rows.clone()),
        beside(|x| kernels::linear_blocks(x, &flat, None), rows),
    ];
    // A thread's panels are 0.6 MB, the weight in f32 would be 5.3.
    assert!(layers.iter().all(|bytes| *bytes < count), "{layers:?} beside {} in f32", 4 * count);
}

#[test]
fn attention_grows_with_its_tokens() {
    let _turn = turn();
    println!("| tokens | kernel | forward and back | burn's | forward and back |");
    println!("|---|---|---|---|---|");
    let mib = |bytes: usize| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
    let mut rows = Vec::new();
    for tokens in [256, 512, 1024, 2048, 4096] {
        let (ours, burns) = (peaks(tokens, Choice::All), peaks(tokens, Choice::None));
        let [a, b, c, d] = [ours[0], ours[1], burns[0], burns[1]].map(mib);
        println!("| {tokens} | {a} | {b} | {c} | {d} |");
        rows.push(ours);
    }
    // Twice the tokens, twice the bytes, and some for what doesn't grow.
    for pair in rows.windows(2) {
        for (small, large) in pair[0].into_iter().zip(pair[1]) {
            assert!(large < 5 * small / 2, "{small} bytes, then {large}");
        }
    }
}

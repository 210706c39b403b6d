//! Attention's memory grows with the tokens, not with their square: no score matrix, forward and
//! back. A process of its own, since it counts every allocation.
//!
//! `cargo test --test kernels_memory -- --nocapture` prints the table of docs/performance.md.

#[path = "support/counting.rs"]
mod counting;

use burn::tensor::{Device, Tensor};
use lorakeet::kernels::{self, Choice};
use lorakeet::layers::attention;

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

#[test]
fn attention_grows_with_its_tokens() {
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

//! The kernels that real GPUs get, on whatever adapter there is: at the edges of their tiles, and at
//! the widths that Stable Diffusion has.

use burn::tensor::Device;
use lorakeet::kernels::gpu;
use lorakeet::layers::checks;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::kernels::{
    Case, Draw, Square, attention, compare, conv2d, linear, linear_adapted, linear_onto,
};
use super::stored::{conv2d_blocks, conv2d_packed, enlarging, linear_blocks, linear_halves};
use super::webgpu;

/// Rows, columns and terms of products: one tile, a little more, a little less than two. Gradients take
/// them in other orders, so that each is a row, a column and a term somewhere. Then widths of layers.
const PRODUCTS: [[usize; 3]; 11] = [
    [64, 64, 32],
    [65, 68, 48],
    [127, 124, 64],
    [128, 132, 80],
    [80, 144, 100],
    [144, 80, 64],
    [66, 64, 33],
    [77, 320, 768],
    [70, 640, 320],
    [64, 1280, 640],
    [66, 320, 1280],
];

fn products(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, sizes) in PRODUCTS.into_iter().enumerate() {
        cases.push(linear(draw, device, sizes));
        cases.push(linear_onto(draw, device, sizes));
        // Ranks that are less than a step of the sums, one, and more, in fours and not.
        let rank = [4, 16, 20, 32, 6][i % 5];
        cases.push(linear_adapted(draw, device, sizes, rank));
        cases.push(linear_halves(draw, device, sizes));
        let [m, n, k] = sizes;
        cases.push(linear_blocks(draw, device, [m, n, k.next_multiple_of(32)]));
    }
    cases
}

/// Pictures, channels in and out, height and width; stride and padding.
const SQUARES: [([usize; 5], usize, (usize, usize)); 15] = [
    ([2, 16, 64, 8, 8], 1, (1, 1)),
    ([1, 48, 65, 5, 13], 1, (1, 1)),
    ([1, 32, 130, 1, 70], 1, (1, 1)),
    ([1, 64, 80, 12, 13], 1, (0, 0)),
    ([1, 64, 96, 11, 13], 1, (1, 0)),
    ([1, 68, 64, 10, 10], 1, (0, 1)),
    ([2, 80, 64, 17, 16], 2, (1, 1)),
    ([1, 64, 96, 17, 17], 2, (0, 1)),
    ([1, 96, 64, 16, 18], 2, (1, 0)),
    ([1, 320, 320, 9, 8], 1, (1, 1)),
    ([1, 320, 320, 17, 16], 2, (1, 1)),
    ([1, 640, 64, 8, 8], 1, (1, 1)),
    ([1, 64, 640, 8, 8], 1, (1, 1)),
    ([1, 1280, 64, 8, 8], 1, (1, 1)),
    ([1, 64, 1280, 8, 8], 1, (1, 1)),
];

fn convolutions(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases = Vec::new();
    for (sizes, stride, padding) in SQUARES {
        let square = Square { sizes, kernel: 3, stride, padding };
        cases.push(conv2d(draw, device, square));
        cases.push(conv2d_packed(draw, device, square));
        let [n, input, output, h, w] = sizes;
        let point = Square { sizes, kernel: 1, stride: 1, padding: (0, 0) };
        cases.push(conv2d(draw, device, point));
        cases.push(conv2d_packed(draw, device, point));
        // Blocks are 32 of the numbers that lie next to each other.
        let [input, output] = [input, output].map(|channels| channels.next_multiple_of(32));
        let sizes = [n, input, output, h, w];
        cases.push(conv2d_blocks(draw, device, Square { sizes, ..square }, false));
    }
    for sizes in [[1, 16, 64, 4, 5], [2, 48, 66, 5, 7], [1, 320, 64, 4, 4], [1, 64, 320, 5, 4]] {
        for stored in [true, false] {
            cases.push(enlarging(draw, device, sizes, stored));
        }
        let [n, input, output, h, w] = sizes;
        let [input, output] = [input, output].map(|channels| channels.next_multiple_of(32));
        let sizes = [n, input, output, h, w];
        let square = Square { sizes, kernel: 3, stride: 1, padding: (1, 1) };
        cases.push(conv2d_blocks(draw, device, square, true));
    }
    cases
}

/// Heads of the widths of SD 1 (40, 80, 160) and of all others (64; the text encoders' are causal): less
/// than a tile of queries and of keys, one, and more; the prompt's 77 keys.
fn attentions(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases = Vec::new();
    for width in [40, 64, 80, 160] {
        for (n, queries, keys) in [(2, 70, 77), (1, 64, 64), (1, 3, 130), (1, 129, 5)] {
            cases.push(attention(draw, device, [n, queries, keys], [2, width], false));
        }
    }
    for length in [1, 77, 130] {
        cases.push(attention(draw, device, [1, length, length], [2, 64], true));
    }
    cases
}

async fn of_a_gpu(cases: fn(&mut Draw, &Device) -> Vec<Case>) {
    let device = webgpu().await;
    let here = gpu::software();
    gpu::set_software(false);
    compare(&device, cases).await;
    gpu::set_software(here);
}

#[wasm_bindgen_test]
async fn webgpu_products_in_tiles() {
    of_a_gpu(products).await;
}

#[wasm_bindgen_test]
async fn webgpu_convolutions_in_tiles() {
    of_a_gpu(convolutions).await;
}

#[wasm_bindgen_test]
async fn webgpu_attention_in_tiles() {
    of_a_gpu(attentions).await;
}

/// What is looked at when a real GPU opens: all of it holds, and it takes in the tiles.
#[wasm_bindgen_test]
async fn webgpu_checks_of_a_gpu() {
    let device = webgpu().await;
    let here = gpu::software();
    let numbers = [true, false].map(|software| {
        gpu::set_software(software);
        checks(&device)
    });
    gpu::set_software(here);
    let mut results = [0, 0];
    for (checks, count) in numbers.into_iter().zip(&mut results) {
        for check in checks {
            let result = super::values(check.result.clone()).await;
            assert!(check.passes(&result), "{}", check.operation.name());
            *count += result.len();
        }
    }
    assert!(results[1] > 2 * results[0], "{results:?}");
}

/// A step of the demo model through what a real GPU runs.
#[wasm_bindgen_test]
async fn webgpu_unet_in_tiles() {
    let model = super::model(&webgpu().await);
    let here = gpu::software();
    gpu::set_software(false);
    let ours = super::unet_step(&model).await;
    gpu::set_software(here);
    let error = super::distance(&ours, &super::unet_reference().values("eps"));
    console_log!("UNet step in tiles against diffusers: {error:e}");
    assert!(error < 1e-4, "{error:e}");
}

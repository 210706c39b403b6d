//! Weights in halves and in 8-bit blocks: the kernels that read them as such against the CPU's on the
//! same weights widened to f32, and the demo model.

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::f16;
use lorakeet::kernels::{self, Blocks, Operation, PackedWeight, gpu};
use lorakeet::layers::{Storage, checks, enlarge};
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::kernels::{Case, Draw, Square, compare};
use super::{demo, values, webgpu};

fn halves<const D: usize>(draw: &mut Draw, dims: [usize; D], device: &Device) -> Tensor<D> {
    let numbers: Vec<_> =
        draw.numbers(dims.iter().product()).into_iter().map(f16::from_f32).collect();
    Tensor::from_data(TensorData::new(numbers, dims), (device, DType::F16))
}

/// Halves where this device's kernels read them, else widened.
fn readable<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    if kernels::read_halves(&weight.device()) { weight } else { kernels::widen(weight) }
}

/// A product with a weight in halves.
pub fn linear_halves(draw: &mut Draw, device: &Device, [m, n, k]: [usize; 3]) -> Case {
    let bias = (draw.below(2) == 0).then(|| draw.tensor([n], device));
    let weight = readable(halves(draw, [n, k], device));
    let leaves = vec![draw.tensor([m * k], device)];
    let f = move |x: &[Tensor<1>]| {
        let x = x[0].clone().reshape([m, k]);
        kernels::linear(x, weight.clone(), bias.clone()).flatten(0, 1)
    };
    (format!("linear in halves {m} {n} {k}"), leaves, Box::new(f))
}

/// A product with a weight in 8-bit blocks.
pub fn linear_blocks(draw: &mut Draw, device: &Device, [m, n, k]: [usize; 3]) -> Case {
    let bias = (draw.below(2) == 0).then(|| draw.tensor([n], device));
    let weight = Blocks::new(&draw.numbers(n * k), &[n, k], device);
    let leaves = vec![draw.tensor([m * k], device)];
    let f = move |x: &[Tensor<1>]| {
        let x = x[0].clone().reshape([m, k]);
        kernels::linear_blocks(x, &weight, bias.clone()).flatten(0, 1)
    };
    (format!("linear in blocks {m} {n} {k}"), leaves, Box::new(f))
}

/// A convolution with weights in halves, or in f32, packed where the device reads them so.
pub fn conv2d_packed(draw: &mut Draw, device: &Device, square: Square) -> Case {
    let Square { sizes: [n, input, output, h, w], kernel, stride, padding } = square;
    let leaves = vec![draw.tensor([n * input * h * w], device)];
    let bias = (draw.below(2) == 0).then(|| draw.tensor([output], device));
    let wide = draw.below(3) == 0;
    let weight = halves(draw, [output, input, kernel, kernel], device);
    let weight = if wide { kernels::widen(weight) } else { weight };
    let packed = (kernel == 3 && kernels::keep_packed(device, weight.dtype()))
        .then(|| PackedWeight::new(weight.clone()));
    let weight = readable(weight);
    let f = move |x: &[Tensor<1>]| {
        let (x, bias) = (x[0].clone().reshape([n, input, h, w]), bias.clone());
        let y = match &packed {
            Some(packed) => kernels::conv2d_packed(x, packed, bias, stride, padding),
            None => kernels::conv2d(x, weight.clone(), bias, stride, padding),
        };
        y.flatten(0, 3)
    };
    (format!("conv2d {} {square}", if wide { "packed" } else { "in halves" }), leaves, Box::new(f))
}

fn cases(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    // The last few are large enough for the tiles of real GPUs.
    for i in 0..55 {
        let least = if i < 50 { 1 } else { 64 };
        let [m, n, k] = [(); 3].map(|()| least + draw.below(40));
        cases.push(linear_halves(draw, device, [m, n, k]));
        let k = 32 * (1 + draw.below(3));
        cases.push(linear_blocks(draw, device, [m, n, k]));
    }
    for i in 0..110 {
        let (channels, pixels) = if i < 100 { (1, 3) } else { (64, 8) };
        let channels = [1 + draw.below(9), channels + draw.below(9)];
        let square = Square::draw(draw, channels, pixels, i);
        cases.push(conv2d_packed(draw, device, square));
    }
    cases.extend((0..60).map(|i| convolution_in_blocks(draw, i, device)));
    cases
}

/// Of size 1 or 3, the latter also enlarging; the last few are large enough for the tiles of real GPUs.
fn convolution_in_blocks(draw: &mut Draw, i: usize, device: &Device) -> Case {
    let (blocks, pixels) = if i < 50 { (1, 3) } else { (2, 8) };
    let channels = [(); 2].map(|()| 32 * (blocks + draw.below(2)));
    let square = Square::draw(draw, channels, pixels, i);
    conv2d_blocks(draw, device, square, i % 4 == 3)
}

/// A convolution with weights in 8-bit blocks, which may enlarge its input.
pub fn conv2d_blocks(draw: &mut Draw, device: &Device, square: Square, enlarged: bool) -> Case {
    let Square { sizes: [n, input, output, h, w], kernel, stride, padding } = square;
    let (stride, padding) = if enlarged { (1, (1, 1)) } else { (stride, padding) };
    let shape = [output, input, kernel, kernel];
    // What blocks hold on either device, so that both have the same numbers: a block's largest is 1, and
    // the others are whole parts of 127.
    let mut numbers: Vec<f32> = draw.numbers(output * input * kernel * kernel);
    numbers.iter_mut().for_each(|x| *x = (127.0 * x.clamp(-1.0, 1.0)).round() / 127.0);
    for (row, line) in numbers.chunks_exact_mut(input * kernel * kernel).enumerate() {
        line.iter_mut().enumerate().for_each(|(k, x)| {
            if (k + row) % 32 == 0 {
                *x = 1.0;
            }
        });
    }
    let weight = Blocks::new(&numbers, &shape, device);
    assert!(weight.error() < 1e-6 * numbers.len() as f64, "{}", weight.error());
    let bias = (draw.below(2) == 0).then(|| draw.tensor([output], device));
    let leaves = vec![draw.tensor([n * input * h * w], device)];
    let f = move |x: &[Tensor<1>]| {
        let x = x[0].clone().reshape([n, input, h, w]);
        kernels::conv2d_blocks(x, &weight, bias.clone(), stride, padding, enlarged).flatten(0, 3)
    };
    let how = if enlarged { "enlarging " } else { "" };
    (format!("{how}conv2d in blocks {square}"), leaves, Box::new(f))
}

/// A convolution of a picture enlarged to twice its size: in one kernel where the device has it, with
/// weights in halves where `stored` and this device reads them.
pub fn enlarging(
    draw: &mut Draw,
    device: &Device,
    [n, input, output, h, w]: [usize; 5],
    stored: bool,
) -> Case {
    let leaves = vec![draw.tensor([n * input * h * w], device)];
    let bias = (draw.below(2) == 0).then(|| draw.tensor([output], device));
    let weight = halves(draw, [output, input, 3, 3], device);
    let wide = kernels::widen(weight.clone());
    let kept = if stored { weight } else { wide.clone() };
    let packed =
        kernels::keep_packed(device, kept.dtype()).then(|| PackedWeight::new(kept.clone()));
    let weight = wide;
    let f = move |x: &[Tensor<1>]| {
        let (x, bias) = (x[0].clone().reshape([n, input, h, w]), bias.clone());
        let y = match &packed {
            Some(packed) => kernels::conv2d_enlarged_packed(x, packed, bias),
            None if kernels::serve(Operation::Enlarged, &x) => {
                kernels::conv2d_enlarged(x, weight.clone(), bias)
            }
            None => kernels::conv2d(enlarge(x), weight.clone(), bias, 1, (1, 1)),
        };
        y.flatten(0, 3)
    };
    (format!("enlarging {n} {input} {output} {h} {w}"), leaves, Box::new(f))
}

fn enlarging_cases(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for i in 0..110 {
        let (channels, pixels) = if i < 100 { (1, 1) } else { (64, 4) };
        let (n, input, output) = (1 + draw.below(2), 1 + draw.below(9), channels + draw.below(9));
        let (h, w) = (pixels + draw.below(8), pixels + draw.below(8));
        cases.push(enlarging(draw, device, [n, input, output, h, w], i % 2 == 0));
    }
    cases
}

#[wasm_bindgen_test]
async fn webgpu_enlarges_and_convolves() {
    let device = webgpu().await;
    let here = gpu::software();
    for software in [true, false] {
        gpu::set_software(software);
        compare(&device, enlarging_cases).await;
    }
    gpu::set_software(here);
}

#[wasm_bindgen_test]
async fn webgpu_reads_stored_weights() {
    let device = webgpu().await;
    let (here, native) = (gpu::software(), gpu::native_halves());
    console_log!("shader-f16: {native}");
    for as_f16 in [false, native] {
        for software in [true, false] {
            gpu::set_software(software);
            gpu::set_native_halves(as_f16);
            compare(&device, cases).await;
        }
        if !native {
            break;
        }
    }
    gpu::set_software(here);
    gpu::set_native_halves(native);
}

/// What the page asks of every kernel when it opens a device.
#[wasm_bindgen_test]
async fn webgpu_passes_its_self_check() {
    let device = webgpu().await;
    for check in checks(&device) {
        let result = values(check.result.clone()).await;
        assert!(check.passes(&result), "{}", check.operation.name());
    }
}

#[wasm_bindgen_test]
async fn webgpu_widens_every_number() {
    let device = webgpu().await;
    let mut draw = Draw(3);
    for (output, input) in [(1, 1), (3, 5), (7, 4), (64, 33)] {
        let dims = [output, input, 3, 3];
        let mut numbers: Vec<_> =
            draw.numbers(9 * output * input).into_iter().map(f16::from_f32).collect();
        // The largest and the smallest of the normal ones, and both zeros.
        let special = [f16::MAX, f16::MIN, f16::MIN_POSITIVE, f16::ZERO, f16::NEG_ZERO];
        numbers[..5].copy_from_slice(&special);
        let expected: Vec<f32> = numbers.iter().map(|number| number.to_f32()).collect();
        let weight: Tensor<4> =
            Tensor::from_data(TensorData::new(numbers, dims), (&device, DType::F16));
        assert_eq!(values(kernels::widen(weight.clone())).await, expected);
        assert_eq!(values(PackedWeight::new(weight.clone()).widened()).await, expected);
        let weight = kernels::widen(weight);
        assert_eq!(values(PackedWeight::new(weight).widened()).await, expected);
        let numbers = draw.numbers(32 * output * input);
        let size = [output, 32 * input];
        let [here, there] = [super::cpu(), device.clone()]
            .map(|device| Blocks::new(&numbers, &size, &device).widened());
        let (here, there) = (values(here).await, values(there).await);
        assert!(super::distance(&there, &here) < 1e-6);
    }
    // In a GPU's order, with blocks of its own, and back: as near as rounding leaves them.
    let size = [64, 32, 3, 3];
    let numbers = draw.numbers(size.iter().product());
    let blocks = Blocks::new(&numbers, &size, &device);
    let back = values(blocks.widened()).await;
    let changed: f64 = back.iter().zip(&numbers).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    assert!(super::distance(&back, &numbers) < 0.02);
    assert!((changed / blocks.error() - 1.0).abs() < 1e-3, "{changed} {}", blocks.error());
}

/// A model kept in halves computes what it does when its halves are widened at once; kept in 8-bit
/// blocks, the same within their rounding.
#[wasm_bindgen_test]
async fn webgpu_unet_with_stored_weights() {
    let device = webgpu().await;
    let used = || device.memory_pool_usage().map_or(0, |usage| usage.bytes_in_use);
    let mut results = Vec::new();
    let mut bytes = Vec::new();
    for storage in [Storage::F32, Storage::F16, Storage::Q8] {
        let before = used();
        let model = demo::model_in(storage, &device);
        // Uploaded, and the order of the file let go of.
        let step = super::unet_step(&model).await;
        let after = used().saturating_sub(before);
        console_log!("{storage:?}: {after} bytes of weights on the device");
        bytes.push(after);
        results.push(step);
    }
    let [half, blocks] = [1, 2].map(|stored: usize| super::distance(&results[stored], &results[0]));
    console_log!("halves {half:e}, 8-bit blocks {blocks:e}");
    assert!(half < 1e-5, "{half:e}");
    assert!((1e-4..0.1).contains(&blocks), "{blocks:e}");
    assert!(bytes[1] < bytes[0] && bytes[2] < bytes[1], "{bytes:?}");
}

//! The kernels in the browser, against their twins: the CPU's with the WebAssembly that `build.rs`
//! wrote, and WebGPU's.

use burn::tensor::{Device, Tensor};
use lorakeet::kernels::cpu::microkernel;
use lorakeet::kernels::{self, Choice, gpu};
use lorakeet::layers;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use super::{values, webgpu};

/// Numbers that look random, and are the same every time.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    pub fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(20_001) as f32 / 1e4 - 1.0).collect()
    }

    pub fn tensor<const D: usize>(&mut self, dims: [usize; D], device: &Device) -> Tensor<D> {
        let numbers = self.numbers(dims.iter().product());
        Tensor::<1>::from_floats(&numbers[..], device).reshape(dims)
    }
}

/// One operation on leaves of its own: the output and all gradients, flat.
type Compute = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1>>;

/// Its name, the sizes of its leaves, and what is computed of them.
pub type Case = (String, Vec<Tensor<1>>, Compute);

/// The product `[m, n]` of `[m, k]` and a weight `[n, k]`, perhaps with a bias.
pub fn linear(draw: &mut Draw, device: &Device, [m, n, k]: [usize; 3]) -> Case {
    let leaves = vec![draw.tensor([m * k], device), draw.tensor([n * k], device)];
    let bias = (draw.below(2) == 0).then(|| draw.tensor([n], device));
    let f = move |x: &[Tensor<1>]| {
        let [a, b] = [x[0].clone().reshape([m, k]), x[1].clone().reshape([n, k])];
        kernels::linear(a, b, bias.clone()).flatten(0, 1)
    };
    (format!("linear {m} {n} {k}"), leaves, Box::new(f))
}

/// The same added to a tensor.
pub fn linear_onto(draw: &mut Draw, device: &Device, [m, n, k]: [usize; 3]) -> Case {
    let leaves = [m * n, m * k, n * k].map(|count| draw.tensor([count], device)).to_vec();
    let f = move |x: &[Tensor<1>]| {
        let [y, a] = [x[0].clone().reshape([m, n]), x[1].clone().reshape([m, k])];
        // As an adapter's up weight lies.
        let b = x[2].clone().reshape([k, n]).transpose();
        kernels::linear_onto(y, a, b, 0.3).flatten(0, 1)
    };
    (format!("linear_onto {m} {n} {k}"), leaves, Box::new(f))
}

/// The same with an adapter of this rank.
pub fn linear_adapted(
    draw: &mut Draw,
    device: &Device,
    [m, n, k]: [usize; 3],
    rank: usize,
) -> Case {
    let counts = [m * k, n * k, m * rank, n * rank];
    let leaves = counts.map(|count| draw.tensor([count], device)).to_vec();
    let bias = (draw.below(2) == 0).then(|| draw.tensor([n], device));
    let f = move |x: &[Tensor<1>]| {
        let matrix = |i: usize, size: [usize; 2]| x[i].clone().reshape(size);
        let (a, weight, hidden) = (matrix(0, [m, k]), matrix(1, [n, k]), matrix(2, [m, rank]));
        let up = matrix(3, [rank, n]).transpose();
        kernels::linear_adapted(a, weight, bias.clone(), hidden, up, 0.3).flatten(0, 1)
    };
    (format!("linear_adapted {m} {n} {k} {rank}"), leaves, Box::new(f))
}

/// What a convolution is of.
#[derive(Debug, Clone, Copy)]
pub struct Square {
    /// Pictures, channels in and out, height and width of the input.
    pub sizes: [usize; 5],
    /// Side of the weights: 1 or 3.
    pub kernel: usize,
    pub stride: usize,
    /// Padding before and after, along both axes.
    pub padding: (usize, usize),
}

impl std::fmt::Display for Square {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sizes: [n, input, output, h, w], kernel, stride, padding: (a, b) } = self;
        write!(f, "{n} {input} {output} {h} {w} {kernel} {stride} {a} {b}")
    }
}

impl Square {
    /// Any, of such channels and so large an input.
    pub fn draw(draw: &mut Draw, [input, output]: [usize; 2], pixels: usize, i: usize) -> Self {
        let n = 1 + draw.below(2);
        let (h, w) = (pixels + draw.below(8), pixels + draw.below(8));
        let kernel = [1, 3][i % 2];
        let (stride, padding) = if kernel == 1 {
            (1, (0, 0))
        } else {
            (1 + draw.below(2), (draw.below(2), draw.below(2)))
        };
        Self { sizes: [n, input, output, h, w], kernel, stride, padding }
    }
}

/// A convolution, perhaps with a bias.
pub fn conv2d(draw: &mut Draw, device: &Device, square: Square) -> Case {
    let Square { sizes: [n, input, output, h, w], kernel, stride, padding } = square;
    let leaves = vec![
        draw.tensor([n * input * h * w], device),
        draw.tensor([output * input * kernel * kernel], device),
    ];
    let bias = (draw.below(2) == 0).then(|| draw.tensor([output], device));
    let f = move |x: &[Tensor<1>]| {
        let weight = x[1].clone().reshape([output, input, kernel, kernel]);
        let x = x[0].clone().reshape([n, input, h, w]);
        kernels::conv2d(x, weight, bias.clone(), stride, padding).flatten(0, 3)
    };
    (format!("conv2d {square}"), leaves, Box::new(f))
}

/// Attention of so many heads of this width: `[n, queries, keys]`.
pub fn attention(
    draw: &mut Draw,
    device: &Device,
    [n, queries, keys]: [usize; 3],
    [heads, width]: [usize; 2],
    causal: bool,
) -> Case {
    let row = heads * width;
    let leaves =
        [queries, keys, keys].map(|length| draw.tensor([n * length * row], device)).to_vec();
    let f = move |x: &[Tensor<1>]| {
        let q = x[0].clone().reshape([n, queries, row]);
        let [k, v] = [&x[1], &x[2]].map(|x| x.clone().reshape([n, keys, row]));
        kernels::attention(q, k, v, heads, causal).flatten(0, 2)
    };
    (format!("attention {n} {queries} {keys} {heads} {width} {causal}"), leaves, Box::new(f))
}

fn cases(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    // The last few are large enough for the tiles of real GPUs.
    for i in 0..50 {
        let least = if i < 44 { 1 } else { 64 };
        let sizes = [(); 3].map(|()| least + draw.below(40));
        cases.push(linear(draw, device, sizes));
        cases.push(linear_onto(draw, device, sizes));
        let rank = 1 + draw.below(20);
        cases.push(linear_adapted(draw, device, sizes, rank));
    }
    for i in 0..106 {
        let (channels, pixels) = if i < 100 { (1, 3) } else { (64, 8) };
        let channels = [1 + draw.below(9), channels + draw.below(9)];
        let square = Square::draw(draw, channels, pixels, i);
        cases.push(conv2d(draw, device, square));
    }
    for _ in 0..50 {
        let (n, queries, heads) = (1 + draw.below(2), 1 + draw.below(20), 1 + draw.below(3));
        let (width, causal) = (4 * (1 + draw.below(5)), draw.below(2) == 0);
        let keys = if causal { queries } else { 1 + draw.below(20) };
        cases.push(attention(draw, device, [n, queries, keys], [heads, width], causal));
    }
    for _ in 0..50 {
        let (n, groups, members) = (1 + draw.below(2), 1 + draw.below(4), 1 + draw.below(3));
        let (h, w, silu) = (2 + draw.below(5), 1 + draw.below(5), draw.below(2) == 0);
        let channels = groups * members;
        let leaves = vec![draw.tensor([n * channels * h * w], device)];
        let [weight, bias] = [(); 2].map(|()| draw.tensor([channels], device));
        let f = move |x: &[Tensor<1>]| {
            let x = x[0].clone().reshape([n, channels, h, w]);
            kernels::group_norm(x, weight.clone(), bias.clone(), groups, 1e-3, silu).flatten(0, 3)
        };
        cases.push((
            format!("group_norm {n} {groups} {members} {h} {w} {silu}"),
            leaves,
            Box::new(f),
        ));
    }
    for _ in 0..50 {
        let (rows, width) = (1 + draw.below(9), 2 + draw.below(20));
        let [weight, bias] = [(); 2].map(|()| draw.tensor([width], device));
        let leaves = vec![draw.tensor([rows * width], device)];
        let f = move |x: &[Tensor<1>]| {
            let x = x[0].clone().reshape([rows, width]);
            kernels::layer_norm(x, weight.clone(), bias.clone(), 1e-3).flatten(0, 1)
        };
        cases.push((format!("layer_norm {rows} {width}"), leaves, Box::new(f)));
        let leaves = vec![draw.tensor([rows * 2 * width], device)];
        let f = move |x: &[Tensor<1>]| {
            kernels::geglu(kernels::silu(x[0].clone().reshape([rows, 2 * width]))).flatten(0, 1)
        };
        cases.push((format!("silu, geglu {rows} {width}"), leaves, Box::new(f)));
    }
    cases
}

/// The output and the gradients of all leaves.
async fn answers(leaves: &[Tensor<1>], f: &Compute) -> Vec<Vec<f32>> {
    let leaves: Vec<_> = leaves.iter().map(|x| x.clone().autodiff().require_grad()).collect();
    let y = f(&leaves);
    let weights: Vec<f32> = (0..y.dims()[0]).map(|i| (i as f32 * 0.7).sin()).collect();
    let weights = Tensor::<1>::from_floats(&weights[..], &y.device());
    let gradients = (y.clone() * weights).sum().backward();
    let mut all = vec![values(y.inner()).await];
    for leaf in &leaves {
        all.push(values(leaf.grad(&gradients).unwrap()).await);
    }
    all
}

/// The largest difference over the largest expected number; a NaN and a difference of length are
/// infinite.
fn apart(ours: &[f32], expected: &[f32]) -> f32 {
    let most = expected.iter().fold(0.1f32, |most, x| most.max(x.abs()));
    let off = ours.iter().zip(expected).map(|(a, b)| (a - b).abs() / most);
    let off = off.fold(0f32, |most, x| if x <= most { most } else { x });
    if ours.len() != expected.len() || off.is_nan() { f32::INFINITY } else { off }
}

/// Every case on `device` and by the kernels that native tests hold against f64, in plain code.
pub async fn compare(device: &Device, cases: fn(&mut Draw, &Device) -> Vec<Case>) {
    let cpu = super::cpu();
    let (mut there, mut here) = (Draw(7), Draw(7));
    let pairs = cases(&mut there, device).into_iter().zip(cases(&mut here, &cpu));
    let (mut worst, mut failed) = (0f32, Vec::new());
    for ((name, leaves, f), (_, cpu_leaves, cpu_f)) in pairs {
        let ours = answers(&leaves, &f).await;
        let expected = answers(&cpu_leaves, &cpu_f).await;
        for (i, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            let off = apart(ours, expected);
            if off >= 2e-5 {
                failed.push(format!("{name}, {i}: {off:e}"));
            }
            worst = worst.max(off);
        }
    }
    console_log!("kernels: {worst:e} at most");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[wasm_bindgen_test]
fn the_browser_took_the_written_microkernels() {
    super::cpu();
    assert_ne!(microkernel::installed(), "compiled");
    console_log!("micro-kernels: {}", microkernel::installed());
}

/// Products and convolutions through the written micro-kernels against burn's.
#[wasm_bindgen_test]
async fn cpu_unet_with_and_without_kernels() {
    let model = super::model(&super::cpu());
    kernels::choose(Choice::None);
    let expected = super::unet_step(&model).await;
    kernels::choose(Choice::Best);
    let ours = super::unet_step(&model).await;
    let off = super::distance(&ours, &expected);
    console_log!("CPU, kernels on and off: {off:e}");
    assert!(off < 1e-5 && ours != expected, "{off:e}");
}

#[wasm_bindgen_test]
async fn webgpu_kernels_equal_the_cpus() {
    let device = webgpu().await;
    let here = gpu::software();
    for software in [true, false] {
        gpu::set_software(software);
        compare(&device, cases).await;
    }
    gpu::set_software(here);
}

/// Queries, keys and values that are one tensor: all of a shader's bindings may be written, and WebGPU
/// refuses two such on the same bytes.
fn shared_inputs(draw: &mut Draw, device: &Device) -> Vec<Case> {
    let f = |x: &[Tensor<1>]| {
        let x = x[0].clone().reshape([1, 6, 8]);
        kernels::attention(x.clone(), x.clone(), x, 2, false).flatten(0, 2)
    };
    let product = |x: &[Tensor<1>]| {
        let x = x[0].clone().reshape([6, 6]);
        kernels::linear_onto(x.clone(), x.clone(), x, 0.5).flatten(0, 1)
    };
    vec![
        ("attention of one tensor".into(), vec![draw.tensor([48], device)], Box::new(f)),
        ("a square added to itself".into(), vec![draw.tensor([36], device)], Box::new(product)),
    ]
}

#[wasm_bindgen_test]
async fn webgpu_kernels_take_a_tensor_twice() {
    compare(&webgpu().await, shared_inputs).await;
}

/// Several blocks of queries and of keys, with the functions that `build.rs` wrote, and odd widths.
#[wasm_bindgen_test]
async fn cpu_attention_in_blocks_equals_its_twin() {
    let device = super::cpu();
    let mut draw = Draw(11);
    let mut worst = 0f32;
    for _ in 0..50 {
        let (queries, heads, width) = (1 + draw.below(250), 1 + draw.below(2), 1 + draw.below(45));
        let causal = draw.below(3) == 0;
        let keys = if causal { queries } else { 1 + draw.below(700) };
        let row = heads * width;
        let [q, k, v] = [queries, keys, keys].map(|length| draw.tensor([length * row], &device));
        // Scores that differ as those of trained networks do.
        let leaves = vec![q.mul_scalar(4.0), k, v];
        let f: Compute = Box::new(move |x| {
            let q = x[0].clone().reshape([1, queries, row]);
            let [k, v] = [&x[1], &x[2]].map(|x| x.clone().reshape([1, keys, row]));
            layers::attention(q, k, v, heads, causal).flatten(0, 2)
        });
        let ours = answers(&leaves, &f).await;
        kernels::choose(Choice::None);
        let expected = answers(&leaves, &f).await;
        kernels::choose(Choice::Best);
        for (ours, expected) in ours.iter().zip(&expected) {
            let off = apart(ours, expected);
            // A score of 10 is known to 1e-6 in f32, and so is its power, relatively, on both sides.
            assert!(off < 5e-5, "{queries} {keys} {heads} {width} {causal}: {off:e}");
            worst = worst.max(off);
        }
    }
    console_log!("attention in blocks: {worst:e} at most");
}

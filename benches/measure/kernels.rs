//! Each kernel against burn's operations for the same, forward alone and with its gradients.

use burn::tensor::module;
use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, activation};
use half::f16;
use lorakeet::kernels::{self, Blocks, PackedWeight};

use super::host::now;
use super::table::{Table, quantile, ratio, time};
use super::{Plan, print, values};

type Values = Tensor<3>;

/// One operation at one size: what is multiplied and added, and the two ways to do it, on an input
/// and two weights that stay.
struct Case {
    name: &'static str,
    operations: f64,
    input: [usize; 3],
    kernel: Box<dyn Fn(Values) -> Values>,
    burn: Box<dyn Fn(Values) -> Values>,
}

fn draw<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::<1>::from_floats(&numbers(dims.iter().product())[..], device).reshape(dims)
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 1.7).sin() * 0.1).collect()
}

fn linear(name: &'static str, [m, n, k]: [usize; 3], device: &Device) -> Case {
    let (weight, bias) = (draw([n, k], device), draw([n], device));
    let (w, b) = (weight.clone(), bias.clone());
    Case {
        name,
        operations: 2.0 * (m * n * k) as f64,
        input: [1, m, k],
        kernel: Box::new(move |x| kernels::linear(x, w.clone(), Some(b.clone()))),
        burn: Box::new(move |x| module::linear(x, weight.clone().transpose(), Some(bias.clone()))),
    }
}

/// A linear layer with an adapter of this rank, whose hidden values are there.
fn adapted(name: &'static str, [m, n, k, rank]: [usize; 4], device: &Device) -> Case {
    let (weight, hidden, up) =
        (draw([n, k], device), draw([1, m, rank], device), draw([rank, n], device));
    let (w, h, u) = (weight.clone(), hidden.clone(), up.clone());
    Case {
        name,
        operations: 2.0 * (m * n * (k + rank)) as f64,
        input: [1, m, k],
        kernel: Box::new(move |x| {
            kernels::linear_adapted(x, w.clone(), None, h.clone(), u.clone().transpose(), 0.5)
        }),
        burn: Box::new(move |x| {
            module::linear(x, weight.clone().transpose(), None)
                + module::linear(hidden.clone().mul_scalar(0.5), up.clone(), None)
        }),
    }
}

fn conv(name: &'static str, [n, channels, side]: [usize; 3], device: &Device) -> Case {
    let (weight, bias) = (draw([channels, channels, 3, 3], device), draw([channels], device));
    let (w, b) = (weight.clone(), bias.clone());
    let packed = kernels::keep_packed(device, weight.dtype()).then(|| PackedWeight::new(w.clone()));
    let square = move |x: Values| x.reshape([n, channels, side, side]);
    let flat = move |y: Tensor<4>| y.reshape([n, channels, side * side]);
    Case {
        name,
        operations: 18.0 * (n * channels * channels * side * side) as f64,
        input: [n, channels, side * side],
        kernel: Box::new(move |x| {
            let (w, b) = (w.clone(), Some(b.clone()));
            flat(match &packed {
                Some(packed) => kernels::conv2d_packed(square(x), packed, b, 1, (1, 1)),
                None => kernels::conv2d(square(x), w, b, 1, (1, 1)),
            })
        }),
        burn: Box::new(move |x| {
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            flat(module::conv2d(square(x), weight.clone(), Some(bias.clone()), options))
        }),
    }
}

fn halves<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    let numbers: Vec<_> = numbers(dims.iter().product()).into_iter().map(f16::from_f32).collect();
    Tensor::from_data(TensorData::new(numbers, dims), (device, DType::F16))
}

/// The same operation with its weight stored otherwise; burn's side stays as it is, in f32.
fn stored(base: Case, name: &'static str, kernel: impl Fn(Values) -> Values + 'static) -> Case {
    Case { name, kernel: Box::new(kernel), ..base }
}

/// Kernels that read weights in halves and in 8-bit blocks, where a device has them.
fn stored_cases(device: &Device) -> Vec<Case> {
    if !kernels::read_halves(device) {
        return Vec::new();
    }
    let (size, sides) = ([256, 1280, 1280], [1, 320, 32]);
    let [m, n, k] = size;
    let weight = halves([n, k], device);
    let blocks = Blocks::new(&numbers(n * k), &[n, k], device);
    let narrow = [sides[1], sides[1], 3, 3];
    let square_blocks = Blocks::new(&numbers(narrow.iter().product()), &narrow, device);
    let packed = PackedWeight::new(halves([sides[1], sides[1], 3, 3], device));
    let [_, channels, side] = sides;
    let square = [1, channels, side, side];
    let base = |name| linear(name, [m, n, k], device);
    vec![
        stored(base(""), "linear 256 x 1280 x 1280, halves", move |x| {
            kernels::linear(x, weight.clone(), None)
        }),
        stored(base(""), "linear 256 x 1280 x 1280, 8-bit", move |x| {
            kernels::linear_blocks(x, &blocks, None)
        }),
        stored(conv("", sides, device), "3x3 320 to 320, 32x32, halves", move |x| {
            let y = kernels::conv2d_packed(x.reshape(square), &packed, None, 1, (1, 1));
            y.reshape([1, channels, side * side])
        }),
        stored(conv("", sides, device), "3x3 320 to 320, 32x32, 8-bit", move |x| {
            let x = x.reshape(square);
            let y = kernels::conv2d_blocks(x, &square_blocks, None, 1, (1, 1), false);
            y.reshape([1, channels, side * side])
        }),
    ]
}

/// A low-rank convolution, whose weight is what is trained.
fn adapter(name: &'static str, [n, channels, side, rank]: [usize; 4], device: &Device) -> Case {
    let x = draw([n, channels, side, side], device);
    let y = x.clone();
    let weight = move |w: Values| w.reshape([rank, channels, 3, 3]);
    let flat = move |y: Tensor<4>| y.reshape([n, rank, side * side]);
    Case {
        name,
        operations: 18.0 * (n * channels * rank * side * side) as f64,
        input: [rank, channels, 9],
        kernel: Box::new(move |w| flat(kernels::conv2d(x.clone(), weight(w), None, 1, (1, 1)))),
        burn: Box::new(move |w| {
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            flat(module::conv2d(y.clone(), weight(w), None, options))
        }),
    }
}

fn attention(name: &'static str, [n, tokens, heads, width]: [usize; 4]) -> Case {
    let row = heads * width;
    let split = move |x: Values| x.reshape([n, tokens, heads, width]).swap_dims(1, 2);
    Case {
        name,
        operations: 4.0 * (n * heads * tokens * tokens * width) as f64,
        input: [n, tokens, row],
        kernel: Box::new(move |x| kernels::attention(x.clone(), x.clone() * 0.9, x, heads, false)),
        burn: Box::new(move |x| {
            let (q, k, v) = (split(x.clone()), split(x.clone() * 0.9), split(x));
            let options = AttentionModuleOptions::default();
            let y = module::attention(q, k, v, None, None, options);
            y.swap_dims(1, 2).reshape([n, tokens, row])
        }),
    }
}

fn group_norm(name: &'static str, [n, channels, pixels]: [usize; 3], device: &Device) -> Case {
    const GROUPS: usize = 32;
    let (weight, bias) = (draw([channels], device), draw([channels], device));
    let (w, b) = (weight.clone(), bias.clone());
    Case {
        name,
        operations: f64::NAN,
        input: [n, channels, pixels],
        kernel: Box::new(move |x| {
            let x = x.reshape([n, channels, pixels, 1]);
            let y = kernels::group_norm(x, w.clone(), b.clone(), GROUPS, 1e-5, true);
            y.reshape([n, channels, pixels])
        }),
        burn: Box::new(move |x| {
            let x = x.reshape([n, GROUPS, channels / GROUPS * pixels]);
            let centred = x.clone() - x.mean_dim(2);
            let variance = centred.clone().square().mean_dim(2);
            let y = (centred / (variance + 1e-5).sqrt()).reshape([n, channels, pixels]);
            let each = |x: &Tensor<1>| x.clone().reshape([1, channels, 1]);
            activation::silu(y * each(&weight) + each(&bias))
        }),
    }
}

fn layer_norm(name: &'static str, [rows, width]: [usize; 2], device: &Device) -> Case {
    let (weight, bias) = (draw([width], device), draw([width], device));
    let (w, b) = (weight.clone(), bias.clone());
    Case {
        name,
        operations: f64::NAN,
        input: [1, rows, width],
        kernel: Box::new(move |x| kernels::layer_norm(x, w.clone(), b.clone(), 1e-5)),
        burn: Box::new(move |x| module::layer_norm(x, weight.clone(), Some(bias.clone()), 1e-5)),
    }
}

fn geglu(name: &'static str, [rows, width]: [usize; 2]) -> Case {
    Case {
        name,
        operations: f64::NAN,
        input: [1, rows, 2 * width],
        kernel: Box::new(kernels::geglu),
        burn: Box::new(move |x| {
            let value = x.clone().narrow(2, 0, width);
            value * activation::gelu(x.narrow(2, width, width))
        }),
    }
}

fn cases(device: &Device) -> Vec<Case> {
    vec![
        linear("linear 1024 x 320 x 320", [1024, 320, 320], device),
        linear("linear 256 x 1280 x 1280", [256, 1280, 1280], device),
        adapted("linear 1024 x 320 x 320, rank 16", [1024, 320, 320, 16], device),
        conv("3x3 320 to 320, 32x32", [1, 320, 32], device),
        conv("3x3 128 to 128, 16x16, batch 2", [2, 128, 16], device),
        adapter("3x3 320 to 8, 32x32, gradient of the weight", [1, 320, 32, 8], device),
        attention("attention 1024 tokens, 8 x 40", [1, 1024, 8, 40]),
        attention("attention 256 tokens, 8 x 16, batch 2", [2, 256, 8, 16]),
        group_norm("group norm + SiLU 320, 32x32", [1, 320, 1024], device),
        layer_norm("layer norm 1024 x 320", [1024, 320], device),
        geglu("GEGLU 1024 x 1280", [1024, 1280]),
    ]
}

/// Seconds until the first number of the result is here, of a pass forward, or there and back.
async fn measure(f: &dyn Fn(Values) -> Values, x: &Values, back: bool) -> f64 {
    let start = now();
    let result = if back {
        let x = x.clone().autodiff().require_grad();
        let gradients = f(x.clone()).sum().backward();
        x.grad(&gradients).unwrap()
    } else {
        f(x.clone())
    };
    values(result.flatten::<1>(0, 2).narrow(0, 0, 1)).await;
    now() - start
}

/// Prints the table of all kernels.
pub async fn kernels(device: &Device, plan: &Plan) {
    print(&format!("\nKernels against burn's own operations, {}:\n", plan.backend));
    let mut table = Table::new(&[
        "operation",
        "kernel",
        "GFLOP/s",
        "burn / kernel",
        "there and back",
        "burn / kernel, there and back",
    ]);
    for case in cases(device).into_iter().chain(stored_cases(device)) {
        let x = draw(case.input, device);
        let mut times = [(); 4].map(|()| Vec::new());
        for round in 0..=plan.rounds {
            let ways: [(&dyn Fn(Values) -> Values, bool); 4] = [
                (&case.kernel, false),
                (&case.burn, false),
                (&case.kernel, true),
                (&case.burn, true),
            ];
            for (times, (f, back)) in times.iter_mut().zip(ways) {
                let seconds = measure(f, &x, back).await;
                // The first round compiles.
                if round > 0 {
                    times.push(seconds);
                }
            }
        }
        let [forward, burn, back, burn_back] = &times;
        let speed = case.operations / quantile(forward, 0.5) / 1e9;
        table.row([
            case.name.into(),
            time(quantile(forward, 0.5)),
            if speed.is_nan() { "".into() } else { format!("{speed:.1}") },
            ratio(burn, forward),
            time(quantile(back, 0.5)),
            ratio(burn_back, back),
        ]);
    }
    table.lines().iter().for_each(|line| print(line));
}

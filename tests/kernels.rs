//! Kernels and their twins: layers with `Choice::All` and with `Choice::None` give the same values
//! and the same gradients, alone on shapes that proptest draws, and in the whole UNet.

use burn::tensor::{DType, Device, Distribution, Tensor};
use lorakeet::kernels::{self, Blocks, Choice};
use lorakeet::layers::{attention, enlarge, geglu, silu};
use proptest::prelude::*;

fn draw<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// The largest difference over the largest value, or over a tenth: what goes in has a deviation of one,
/// and where slopes cancel, as a single key's does, the rounding of their terms is what is left. NaN
/// and a difference of shapes are infinite.
fn distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    if a.dims() != b.dims() {
        return f32::INFINITY;
    }
    let most = b.clone().abs().max().into_scalar::<f32>().max(0.1);
    let difference = (a - b).abs().max().into_scalar::<f32>() / most;
    if difference.is_nan() { f32::INFINITY } else { difference }
}

/// Runs `f` on tracked copies of `inputs`, kernels on and off: the values, then all gradients.
fn both_ways<const D: usize, const E: usize>(
    inputs: Vec<Tensor<D>>,
    f: impl Fn(&[Tensor<D>]) -> Tensor<E>,
) -> f32 {
    let run = |choice| {
        kernels::choose(choice);
        let leaves: Vec<_> = inputs.iter().map(|x| x.clone().autodiff().require_grad()).collect();
        let y = f(&leaves);
        // A weight for each element, so that gradients differ from place to place.
        let count = y.shape().num_elements();
        let weights = Tensor::<1>::from_floats(
            &(0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()[..],
            &y.device(),
        );
        let loss = (y.clone() * weights.reshape(y.dims())).sum();
        let gradients = loss.backward();
        let of_leaves = leaves.iter().map(|leaf| leaf.grad(&gradients).expect("tracked"));
        let result = (y.inner(), of_leaves.collect::<Vec<_>>());
        kernels::choose(Choice::Best);
        result
    };
    let ((on, on_gradients), (off, off_gradients)) = (run(Choice::All), run(Choice::None));
    let pairs = on_gradients.into_iter().zip(off_gradients);
    pairs.map(|(a, b)| distance(a, b)).fold(distance(on, off), f32::max)
}

/// A weight in halves, and another in 8-bit blocks.
fn stored<const D: usize>(shape: [usize; D], device: &Device) -> (Tensor<D>, Blocks) {
    let values = draw(shape, device).into_data().try_into_vec::<f32>().expect("numbers");
    (draw(shape, device).cast(DType::F16), Blocks::new(&values, &shape, device))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn attention_and_its_twin(n in 1usize..3, queries in 1usize..20, keys in 1usize..20, heads in 1usize..4, width in 1usize..10, causal: bool) {
        let device = Device::flex();
        let keys = if causal { queries } else { keys };
        let row = heads * width;
        // One tensor type for all: queries and keys differ in length.
        let (q, k, v) = (draw([n, queries, row], &device), draw([n, keys, row], &device), draw([n, keys, row], &device));
        let all = both_ways(vec![q, k, v], |x| attention(x[0].clone(), x[1].clone(), x[2].clone(), heads, causal));
        prop_assert!(all < 2e-5, "{all}");
    }

    /// In place of y where nobody else holds it, and not where somebody does.
    #[test]
    fn sums_onto_a_tensor(rows in 1usize..20, input in 1usize..20, output in 1usize..20, held: bool) {
        let device = Device::flex();
        let (y, x) = (draw([rows, output], &device), draw([rows, input], &device));
        let weight = draw::<2>([input, output], &device).transpose();
        let expected = y.clone() + x.clone().matmul(weight.clone().transpose()) * 0.3;
        let kept = held.then(|| (y.clone(), y.clone() * 1.0));
        let sum = kernels::linear_onto(y, x, weight, 0.3);
        prop_assert!(distance(sum, expected) < 1e-5);
        if let Some((y, before)) = kept {
            prop_assert_eq!(distance(y, before), 0.0);
        }
    }

    #[test]
    fn adapted_linear_layers(rows in 1usize..20, input in 1usize..20, output in 1usize..20, rank in 1usize..9) {
        let device = Device::flex();
        let sizes = [[rows, input], [output, input], [rows, rank], [rank, output]];
        let tensors = sizes.map(|size| draw::<2>(size, &device));
        let bias = draw([output], &device);
        let run = |kernel: bool| {
            let leaves = tensors.clone().map(|tensor| tensor.autodiff().require_grad());
            let [x, weight, hidden, up] = leaves.clone();
            let y = if kernel {
                kernels::linear_adapted(x, weight, Some(bias.clone()), hidden, up.transpose(), 0.3)
            } else {
                x.matmul(weight.transpose()) + bias.clone().autodiff().unsqueeze() + hidden.matmul(up) * 0.3
            };
            let gradients = (y.clone() * y.clone()).sum().backward();
            (y.inner(), leaves.map(|leaf| leaf.grad(&gradients).unwrap()))
        };
        let ((y, gradients), (expected, slopes)) = (run(true), run(false));
        prop_assert!(distance(y, expected) < 1e-5);
        for (gradient, slope) in gradients.into_iter().zip(slopes) {
            prop_assert!(distance(gradient, slope) < 1e-5);
        }
    }

    #[test]
    fn enlarging_convolutions_and_their_twins(n in 1usize..3, input in 1usize..9, output in 1usize..9, h in 1usize..9, w in 1usize..9, bias: bool) {
        let device = Device::flex();
        let weight = draw([output, input, 3, 3], &device);
        let bias = bias.then(|| draw([output], &device));
        let x = draw([n, input, h, w], &device);
        // Kernels in both runs; what differs is who enlarges.
        let run = |at_once: bool| {
            let x = x.clone().autodiff().require_grad();
            let (weight, bias) = (weight.clone(), bias.clone());
            let y = if at_once {
                kernels::conv2d_enlarged(x.clone(), weight, bias)
            } else {
                kernels::conv2d(enlarge(x.clone()), weight, bias, 1, (1, 1))
            };
            let gradients = (y.clone() * y.clone()).sum().backward();
            (y.inner(), x.grad(&gradients).unwrap())
        };
        let ((y, gradient), (expected, of_twin)) = (run(true), run(false));
        prop_assert!(distance(y, expected) < 1e-5);
        prop_assert!(distance(gradient, of_twin) < 1e-5);
    }

    /// Read as they are stored, or widened for burn's operations; and either way what the weight in f32
    /// gives.
    #[test]
    fn stored_linear_layers_and_their_twins(rows in 1usize..20, blocks in 1usize..4, output in 1usize..20, bias: bool) {
        let device = Device::flex();
        let x = draw([rows, 32 * blocks], &device);
        let bias = bias.then(|| draw([output], &device));
        let (narrow, in_blocks) = stored([output, 32 * blocks], &device);
        let all = both_ways(vec![x.clone()], |x| kernels::linear(x[0].clone(), narrow.clone(), bias.clone()));
        prop_assert!(all < 1e-5, "{all}");
        let all = both_ways(vec![x.clone()], |x| kernels::linear_blocks(x[0].clone(), &in_blocks, bias.clone()));
        prop_assert!(all < 1e-5, "{all}");
        let wide = |weight| kernels::linear(x.clone(), weight, bias.clone());
        let off = distance(wide(narrow.clone()), wide(narrow.cast(DType::F32)));
        prop_assert!(off < 1e-5, "{off}");
        let off = distance(kernels::linear_blocks(x.clone(), &in_blocks, bias.clone()), wide(in_blocks.widened()));
        prop_assert!(off < 1e-5, "{off}");
    }

    #[test]
    fn stored_convolutions_and_their_twins(n in 1usize..3, h in 2usize..6, w in 2usize..6, stride in 1usize..3, point: bool, enlarged: bool) {
        let device = Device::flex();
        let (kernel, stride) = if point { (1, 1) } else if enlarged { (3, 1) } else { (3, stride) };
        let (padding, enlarged) = (((kernel - 1) / 2, (kernel - 1) / 2), enlarged && !point);
        let shape = [32, 32, kernel, kernel];
        let (narrow, in_blocks) = stored(shape, &device);
        let x = draw([n, 32, h, w], &device);
        let bias = Some(draw([32], &device));
        let all = both_ways(vec![x.clone()], |x| kernels::conv2d(x[0].clone(), narrow.clone(), bias.clone(), stride, padding));
        prop_assert!(all < 1e-5, "{all}");
        let convolve = |x: Tensor<4>| kernels::conv2d_blocks(x, &in_blocks, bias.clone(), stride, padding, enlarged);
        let all = both_ways(vec![x.clone()], |x| convolve(x[0].clone()));
        prop_assert!(all < 1e-5, "{all}");
        let wide = |x, weight| kernels::conv2d(x, weight, bias.clone(), stride, padding);
        let off = distance(wide(x.clone(), narrow.clone()), wide(x.clone(), narrow.cast(DType::F32)));
        prop_assert!(off < 1e-5, "{off}");
        let weight = in_blocks.widened().reshape(shape);
        let expected = wide(if enlarged { enlarge(x.clone()) } else { x.clone() }, weight);
        let off = distance(convolve(x), expected);
        prop_assert!(off < 1e-5, "{off}");
    }

    #[test]
    fn activations_and_their_twins(n in 1usize..4, length in 1usize..9, half in 1usize..20) {
        let device = Device::flex();
        // A row near one keeps the distance, which is relative to the largest number, from being taken of
        // GELU far below zero alone: there it is what f32 leaves of a difference, in kernel and twin alike.
        let near_one = draw([n, 1, 2 * half], &device) * 0.1 + 1.0;
        let x = Tensor::cat(vec![draw([n, length, 2 * half], &device) * 3.0, near_one], 1);
        let all = both_ways(vec![x.clone()], |x| silu(x[0].clone()));
        prop_assert!(all < 1e-5, "{all}");
        let all = both_ways(vec![x], |x| geglu(x[0].clone()));
        prop_assert!(all < 1e-5, "{all}");
    }
}

//! Every kernel against a plain sum in f64, on shapes that proptest draws.
#![allow(clippy::needless_range_loop, reason = "sums that read like their formulas")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::gemm::{Start, multiply};
use super::norm::{self, Groups};
use super::pack::Matrix;
use super::weights::Weights;
use super::{attention, attention_gradients, conv, math, threads};

/// The largest difference over the largest expected value.
fn distance(ours: &[f32], expected: &[f64]) -> f64 {
    distance_of(1e-6, ours, expected)
}

/// The same over the size of what goes in, where that is larger: rounding goes by it where a few sums
/// cancel.
fn distance_of_sums(ours: &[f32], expected: &[f64]) -> f64 {
    distance_of(0.3, ours, expected)
}

fn distance_of(least: f64, ours: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let most = expected.iter().fold(least, |most, x| most.max(x.abs()));
    let differences = ours.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs());
    // `max` would pass over a NaN.
    differences.fold(0.0, |most: f64, x| if x <= most { most } else { x }) / most
}

/// Numbers that look random, and that a failing case can be repeated with.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// One to four threads for what the test shares.
fn on_threads(seed: u64) {
    threads::set_count(1 + (seed >> 7) as usize % 4);
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// The slope of `sum(f(x) * g)` at every element of `x`, by central differences in f64.
fn slopes(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let mut x = wide(x);
    (0..x.len())
        .map(|i| {
            let here = x[i];
            x[i] = here + STEP;
            let above = f(&x);
            x[i] = here - STEP;
            let below = f(&x);
            x[i] = here;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn products(m in 1usize..20, n in 1usize..40, k in 0usize..40, layout in 0usize..4, start in 0usize..4, seed: u64) {
        on_threads(seed);
        let (a, b) = (numbers(m * k + 1, seed), numbers(k * n + 1, seed + 1));
        let bias = numbers(m.max(n), seed + 2);
        let stride = n + seed as usize % 3;
        let given = numbers(m * stride, seed + 3);
        let view = |data, rows, columns, transposed| if transposed {
            Matrix { data, row: 1, column: rows }
        } else {
            Matrix { data, row: columns, column: 1 }
        };
        let (left, right) = (view(&a[..], m, k, layout & 1 == 1), view(&b[..], k, n, layout & 2 == 2));
        let start = [Start::Zero, Start::Given, Start::Rows(&bias), Start::Columns(&bias)][start];
        let mut c = given.clone();
        multiply([m, n, k], left, &right, &mut c, stride, start);
        let mut expected = wide(&given);
        for i in 0..m {
            for j in 0..n {
                let product = |l: usize| f64::from(a[i * left.row + l * left.column]) * f64::from(b[l * right.row + j * right.column]);
                let first = match start {
                    Start::Zero => 0.0,
                    Start::Given => given[i * stride + j],
                    Start::Rows(bias) => bias[i],
                    Start::Columns(bias) => bias[j],
                };
                expected[i * stride + j] = f64::from(first) + (0..k).map(product).sum::<f64>();
            }
        }
        // What lies between the rows is untouched, which the comparison covers.
        prop_assert!(distance(&c, &expected) < 1e-5);
    }

    #[test]
    fn convolutions(
        n in 1usize..3, input in 1usize..5, output in 1usize..8, h in 1usize..12, w in 1usize..12,
        kernel in 1usize..4, stride in 1usize..4, before in 0usize..4, after in 0usize..4, seed: u64,
    ) {
        let shape = conv::Shape {
            n, input, output, size: [h, w], kernel: [kernel; 2], stride,
            before: [before; 2], after: [after; 2],
        };
        prop_assume!(h + before + after >= kernel && w + before + after >= kernel);
        let [oh, ow] = shape.out();
        on_threads(seed);
        let (x, weight) = (numbers(n * input * h * w, seed), numbers(output * input * kernel * kernel, seed + 1));
        let (bias, g) = (numbers(output, seed + 2), numbers(n * output * oh * ow, seed + 3));
        let mut y = vec![0f64; g.len()];
        let (mut dx, mut dw) = (vec![0f64; x.len()], vec![0f64; weight.len()]);
        for b in 0..n { for o in 0..output { for r in 0..oh { for c in 0..ow {
            let at = ((b * output + o) * oh + r) * ow + c;
            y[at] += f64::from(bias[o]);
            for i in 0..input { for kr in 0..kernel { for kc in 0..kernel {
                let (row, column) = (r * stride + kr, c * stride + kc);
                if row < before || column < before || row - before >= h || column - before >= w { continue; }
                let from = ((b * input + i) * h + row - before) * w + column - before;
                let tap = ((o * input + i) * kernel + kr) * kernel + kc;
                y[at] += f64::from(x[from]) * f64::from(weight[tap]);
                dx[from] += f64::from(g[at]) * f64::from(weight[tap]);
                dw[tap] += f64::from(g[at]) * f64::from(x[from]);
            }}}
        }}}}
        prop_assert!(distance(&conv::conv2d(&x, Weights::Full(&weight), Some(&bias), shape), &y) < 1e-5);
        prop_assert!(distance(&conv::conv2d_input_gradient(&g, Weights::Full(&weight), shape), &dx) < 1e-5);
        prop_assert!(distance_of_sums(&conv::conv2d_weight_gradient(&x, &g, shape), &dw) < 1e-5);
    }

    #[test]
    fn attentions(
        n in 1usize..3, queries in 1usize..12, keys in 1usize..20, heads in 1usize..3, width in 1usize..6,
        causal: bool, seed: u64,
    ) {
        let keys = if causal { queries } else { keys };
        attends(attention::Shape { n, queries, keys, heads, width, causal, statistics: true }, seed)?;
    }

    #[test]
    fn norms(n in 1usize..3, members in 1usize..4, groups in 1usize..4, pixels in 2usize..20, silu: bool, seed: u64) {
        let channels = members * groups;
        let epsilon = 1e-3;
        let shape = Groups { channels, groups, pixels, epsilon, silu };
        on_threads(seed);
        let (x, g) = (numbers(n * channels * pixels, seed), numbers(n * channels * pixels, seed + 1));
        let (weight, bias) = (numbers(channels, seed + 2), numbers(channels, seed + 3));
        let normal = |line: &[f64]| {
            let count = line.len() as f64;
            let mean = line.iter().sum::<f64>() / count;
            let variance = line.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            line.iter().map(|x| (x - mean) / (variance + f64::from(epsilon)).sqrt()).collect::<Vec<_>>()
        };
        let grouped = |x: &[f64]| -> Vec<f64> {
            let normal = x.chunks(members * pixels).flat_map(normal);
            normal.enumerate().map(|(i, x)| {
                let c = i / pixels % channels;
                let y = x * f64::from(weight[c]) + f64::from(bias[c]);
                if silu { y / (1.0 + (-y).exp()) } else { y }
            }).collect()
        };
        let by_layer = |x: &[f64]| -> Vec<f64> {
            let normal = x.chunks(channels).flat_map(normal);
            normal.enumerate().map(|(i, x)| x * f64::from(weight[i % channels]) + f64::from(bias[i % channels])).collect()
        };
        // Of a line of two values hardly a slope is left, but the rounding of its terms is.
        let near = |ours: &[f32], slopes: &[f64]| {
            let most = slopes.iter().fold(0f64, |most, x| most.max(x.abs()));
            let close = |(o, s): (&f32, &f64)| (f64::from(*o) - s).abs() < 2e-5 + 2e-4 * most;
            ours.len() == slopes.len() && ours.iter().zip(slopes).all(close)
        };
        prop_assert!(distance(&norm::group_norm(&x, &weight, &bias, shape), &grouped(&wide(&x))) < 1e-5);
        let mut gradient = g.clone();
        norm::group_norm_gradient(&x, &weight, &bias, &mut gradient, shape);
        prop_assert!(near(&gradient, &slopes(&x, |x| dot(&grouped(x), &g))));
        prop_assert!(distance(&norm::layer_norm(&x, &weight, &bias, epsilon), &by_layer(&wide(&x))) < 1e-5);
        if channels > 1 {
            let mut gradient = g.clone();
            norm::layer_norm_gradient(&x, &weight, &mut gradient, epsilon);
            prop_assert!(near(&gradient, &slopes(&x, |x| dot(&by_layer(x), &g))));
        }
    }

    #[test]
    fn activations(x in vec(-9f32..9.0, 1..40), seed: u64) {
        // Far below zero these are small differences of large numbers, in f32 everywhere: absolute
        // errors count.
        let near = |ours: Vec<f32>, expected: Vec<f64>| {
            ours.len() == expected.len()
                && ours.iter().zip(&expected).all(|(o, e)| (f64::from(*o) - e).abs() < 2e-5)
        };
        on_threads(seed);
        let g = numbers(x.len(), seed);
        let silu = |x: &[f64]| x.iter().map(|x| x / (1.0 + (-x).exp())).collect::<Vec<_>>();
        prop_assert!(near(norm::silu(&x), silu(&wide(&x))));
        let mut gradient = g.clone();
        norm::silu_gradient(&x, &mut gradient);
        prop_assert!(near(gradient, slopes(&x, |x| dot(&silu(x), &g))));
        let width = x.len() / 2;
        if width > 0 {
            let (x, g) = (&x[..2 * width], &g[..width]);
            let gelu = |x: f64| x * 0.5 * (1.0 + erf(x / 2f64.sqrt()));
            let geglu =
                |x: &[f64]| (0..width).map(|i| x[i] * gelu(x[width + i])).collect::<Vec<_>>();
            prop_assert!(near(norm::geglu(x, width), geglu(&wide(x))));
            let expected = slopes(x, |x| dot(&geglu(x), g));
            let mut gradient = x.to_vec();
            norm::geglu_gradient(&mut gradient, g, width);
            prop_assert!(near(gradient, expected));
        }
    }
}

fn attends(shape: attention::Shape, seed: u64) -> Result<(), TestCaseError> {
    let attention::Shape { n, queries, keys, heads, width, causal, .. } = shape;
    let row = heads * width;
    on_threads(seed);
    let [q, k, v, g] = [queries, keys, keys, queries]
        .map(|length| numbers(n * length * row, seed ^ length as u64));
    let v = v.iter().rev().copied().collect::<Vec<_>>();
    let forward = |q: &[f64], k: &[f64], v: &[f64]| {
        let mut y = vec![0f64; q.len()];
        for b in 0..n {
            for head in 0..heads {
                for i in 0..queries {
                    let seen = if causal { i + 1 } else { keys };
                    let at = |length: usize, i: usize, c: usize| {
                        (b * length + i) * row + head * width + c
                    };
                    let score = |j: usize| {
                        (0..width).map(|c| q[at(queries, i, c)] * k[at(keys, j, c)]).sum::<f64>()
                            / (width as f64).sqrt()
                    };
                    let weights: Vec<f64> = (0..seen).map(|j| score(j).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for c in 0..width {
                        y[at(queries, i, c)] =
                            (0..seen).map(|j| weights[j] / sum * v[at(keys, j, c)]).sum();
                    }
                }
            }
        }
        y
    };
    let [wq, wk, wv] = [&q, &k, &v].map(|x| wide(x));
    let [output, logarithms] = attention::attention(&q, &k, &v, shape);
    prop_assert!(distance(&output, &forward(&wq, &wk, &wv)) < 1e-5);
    let passed = attention_gradients::Passed {
        q: &q,
        k: &k,
        v: &v,
        output: &output,
        logarithms: &logarithms,
        g: &g,
    };
    let [dq, dk, dv] = attention_gradients::attention_gradients(passed, shape);
    // A single key's score has no slope: what is left there is rounding of either side.
    let near = |ours: &[f32], slopes: Vec<f64>| {
        slopes.iter().zip(ours).all(|(s, o)| (s - f64::from(*o)).abs() < 1e-5 + 1e-5 * s.abs())
    };
    prop_assert!(near(&dq, slopes(&q, |q| dot(&forward(q, &wk, &wv), &g))));
    prop_assert!(near(&dk, slopes(&k, |k| dot(&forward(&wq, k, &wv), &g))));
    prop_assert!(near(&dv, slopes(&v, |v| dot(&forward(&wq, &wk, v), &g))));
    Ok(())
}

proptest! {
    /// Scores that lie far apart, so that a later block's are too large for the first one's scale.
    #[test]
    fn attention_of_large_scores(queries in 1usize..12, keys in 1usize..40, seed: u64) {
        let (width, row) = (4, 4);
        let shape =
            attention::Shape { n: 1, queries, keys, heads: 1, width, causal: false, statistics: true };
        on_threads(seed);
        let q: Vec<f32> = numbers(queries * row, seed).iter().map(|x| x * 300.0).collect();
        let (k, v) = (numbers(keys * row, seed + 1), numbers(keys * row, seed + 2));
        let [output, logarithms] = attention::attention(&q, &k, &v, shape);
        for i in 0..queries {
            let terms = |j: usize| (0..width).map(|c| f64::from(q[i * row + c]) * f64::from(k[j * row + c])).sum::<f64>() / 2.0;
            let scores: Vec<f64> = (0..keys).map(terms).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let logarithm = most * std::f64::consts::LOG2_E + sum.log2();
            prop_assert!((f64::from(logarithms[i]) - logarithm).abs() < 1e-6 * logarithm.abs().max(100.0));
            for c in 0..width {
                let expected: f64 = (0..keys).map(|j| weights[j] / sum * f64::from(v[j * row + c])).sum();
                prop_assert!((f64::from(output[i * row + c]) - expected).abs() < 3e-4, "{} {expected}", output[i * row + c]);
            }
        }
    }
}

/// A head wider than products are summed in one go.
#[test]
fn attention_of_one_wide_head() {
    let [n, queries, keys, heads, width] = [1, 2, 9, 1, 330];
    let shape =
        attention::Shape { n, queries, keys, heads, width, causal: false, statistics: true };
    attends(shape, 5).unwrap();
}

/// The error function: by its series, which cancels where x is large, and there by the continued
/// fraction of its complement.
fn erf(x: f64) -> f64 {
    if x.abs() > 2.5 {
        let fraction = (1..80).rev().fold(x.abs(), |rest, n| x.abs() + f64::from(n) / 2.0 / rest);
        let complement = (-x * x).exp() / fraction / std::f64::consts::PI.sqrt();
        return x.signum() * (1.0 - complement);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn exponentials_and_error_function() {
    for i in -130_000..=130_000 {
        let x = i as f32 / 1000.0;
        let expected = f64::from(x.clamp(-126.0, 126.0)).exp2();
        let ours = f64::from(math::exp2(x));
        assert!((ours / expected - 1.0).abs() < 2e-7, "exp2({x}) = {ours}, not {expected}");
    }
    assert!(math::exp2(f32::NAN).is_nan());
    for i in -6000..=6000 {
        let x = i as f32 / 1000.0;
        assert!((f64::from(math::erf(x)) - erf(f64::from(x))).abs() < 5e-7, "erf({x})");
    }
}

/// More rows, columns and terms than one block holds, A in both orders; the same on any number of
/// threads, bit for bit.
#[test]
fn blocks_join() {
    let [m, n, k] = [263, 531, 300];
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let right = Matrix { data: &b, row: n, column: 1 };
    for (row, column) in [(k, 1), (1, m)] {
        let left = Matrix { data: &a, row, column };
        let mut expected = vec![0f64; m * n];
        for i in 0..m {
            for l in 0..k {
                for j in 0..n {
                    let term = f64::from(a[i * row + l * column]) * f64::from(b[l * n + j]);
                    expected[i * n + j] += term;
                }
            }
        }
        let product = |count| {
            threads::set_count(count);
            let mut c = vec![f32::NAN; m * n];
            multiply([m, n, k], left, &right, &mut c, n, Start::Zero);
            c
        };
        let alone = product(1);
        assert!(distance(&alone, &expected) < 1e-5);
        assert!(alone == product(2) && alone == product(3));
    }
}

#[test]
fn every_part_is_done_once_with_memory_of_its_own() {
    for count in [1, 2, 5] {
        threads::set_count(count);
        let mut done = vec![0.0; 100];
        let split = threads::Split::new(&mut done);
        threads::share(100, 3, |part, scratch| {
            scratch.fill(part as f32);
            std::thread::yield_now();
            assert!(scratch.iter().all(|value| *value == part as f32));
            // SAFETY: one element for each part.
            let element = unsafe { split.piece(part, 1) };
            element[0] += scratch[2];
        });
        assert!(done.iter().enumerate().all(|(part, value)| *value == part as f32));
    }
}

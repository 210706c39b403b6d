//! Convolution as a matrix product whose right side, the pixels under the moving kernel, is gathered
//! panel by panel and never stands in memory (implicit GEMM).

use std::cell::RefCell;
use std::ops::Range;

use super::gemm::{Start, multiply};
use super::microkernel::COLUMNS;
use super::pack::{Matrix, Source};
use super::threads::share_lines;

thread_local! {
    static PADDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Sizes of a convolution `[n, input, height, width] -> [n, output, ..]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Pictures.
    pub n: usize,
    /// Channels that come in.
    pub input: usize,
    /// Channels that go out.
    pub output: usize,
    /// Of what comes in: height, width.
    pub size: [usize; 2],
    /// Height, width.
    pub kernel: [usize; 2],
    /// In both directions.
    pub stride: usize,
    /// Rows before, columns before.
    pub before: [usize; 2],
    /// Rows after, columns after.
    pub after: [usize; 2],
}

impl Shape {
    /// Height and width of what goes out.
    pub fn out(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            (self.size[i] + self.before[i] + self.after[i] - self.kernel[i]) / self.stride + 1
        })
    }
}

/// `x [n, input, h, w]`, `weight [output, input, kh, kw]`, `bias [output] -> [n, output, h', w']`.
pub fn conv2d(x: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape) -> Vec<f32> {
    let [h, w] = shape.size;
    let pixels = shape.out().iter().product::<usize>();
    let depth = shape.input * shape.kernel[0] * shape.kernel[1];
    assert_eq!(x.len(), shape.n * shape.input * h * w);
    assert_eq!(weight.len(), shape.output * depth);
    let start = bias.map_or(Start::Zero, Start::Rows);
    let size = [shape.output, pixels, depth];
    let a = Matrix { data: weight, row: depth, column: 1 };
    let mut y = vec![0.0; shape.n * shape.output * pixels];
    if x.is_empty() || y.is_empty() {
        return y;
    }
    let images = x.chunks_exact(shape.input * h * w);
    let outputs = y.chunks_exact_mut(shape.output * pixels);
    let point = shape.kernel == [1, 1] && shape.stride == 1;
    if point && shape.before == [0, 0] && shape.after == [0, 0] {
        for (x, y) in images.zip(outputs) {
            multiply(size, a, &Matrix { data: x, row: pixels, column: 1 }, y, pixels, start);
        }
        return y;
    }
    let places = Places::new(shape);
    PADDED.with_borrow_mut(|padded| {
        for (x, y) in images.zip(outputs) {
            pad(x, shape, padded);
            multiply(size, a, &Pixels { padded, places: &places }, y, pixels, start);
        }
    });
    y
}

/// The picture with its border of zeros.
fn pad(x: &[f32], shape: Shape, padded: &mut Vec<f32>) {
    let [h, w] = shape.size;
    let [ph, pw] = padded_size(shape);
    let [top, left] = shape.before;
    padded.resize(shape.input * ph * pw, 0.0);
    share_lines(padded, shape.input, ph * pw, |padded, first| {
        padded.fill(0.0);
        let channels = x[first * h * w..].chunks_exact(h * w);
        for (x, padded) in channels.zip(padded.chunks_exact_mut(ph * pw)) {
            for (line, row) in x.chunks_exact(w).enumerate() {
                padded[(top + line) * pw + left..][..w].copy_from_slice(row);
            }
        }
    });
}

fn padded_size(shape: Shape) -> [usize; 2] {
    std::array::from_fn(|i| shape.size[i] + shape.before[i] + shape.after[i])
}

/// The gradient of the weight: `x [n, input, h, w]`, `g [n, output, h', w'] -> [output, input, kh, kw]`,
/// for each picture g times the transpose of the pixels under the kernel.
pub fn conv2d_weight_gradient(x: &[f32], g: &[f32], shape: Shape) -> Vec<f32> {
    let [h, w] = shape.size;
    let pixels = shape.out().iter().product::<usize>();
    let Places { taps, pixels: places } = Places::new(shape);
    let turned = Places { taps: places, pixels: taps };
    let depth = turned.pixels.len();
    let mut gradient = vec![0.0; shape.output * depth];
    let size = [shape.output, depth, pixels];
    PADDED.with_borrow_mut(|padded| {
        let images = x.chunks_exact(shape.input * h * w);
        for (x, g) in images.zip(g.chunks_exact(shape.output * pixels)) {
            pad(x, shape, padded);
            let a = Matrix { data: g, row: pixels, column: 1 };
            let b = Pixels { padded, places: &turned };
            multiply(size, a, &b, &mut gradient, depth, Start::Given);
        }
    });
    gradient
}

/// Where the terms of the sums lie: a term's place is that of its tap plus that of its pixel.
struct Places {
    /// One for each row of B: channel, kernel row, kernel column.
    taps: Vec<usize>,
    /// One for each column of B: output row, output column.
    pixels: Vec<usize>,
}

impl Places {
    fn new(shape: Shape) -> Self {
        let [ph, pw] = padded_size(shape);
        let [kh, kw] = shape.kernel;
        let [oh, ow] = shape.out();
        let grid = |rows: usize, columns: usize, step: usize| {
            (0..rows).flat_map(move |r| (0..columns).map(move |c| (r * pw + c) * step))
        };
        let kernel: Vec<usize> = grid(kh, kw, 1).collect();
        let taps = (0..shape.input)
            .flat_map(|channel| kernel.iter().map(move |tap| channel * ph * pw + tap))
            .collect();
        Self { taps, pixels: grid(oh, ow, shape.stride).collect() }
    }
}

/// B `[input * kh * kw, output pixels]`.
struct Pixels<'a> {
    padded: &'a [f32],
    places: &'a Places,
}

impl Source for Pixels<'_> {
    fn pack(&self, k: Range<usize>, columns: Range<usize>, panels: &mut [f32]) {
        let taps = &self.places.taps[k];
        let pixels = self.places.pixels[columns].chunks(COLUMNS);
        for (panel, pixels) in panels.chunks_exact_mut(taps.len() * COLUMNS).zip(pixels) {
            let lines = panel.chunks_exact_mut(COLUMNS).zip(taps);
            let first = pixels[0];
            // The places rise, so both ends being eight apart, all lie side by side.
            if pixels.len() == COLUMNS && pixels[COLUMNS - 1] == first + COLUMNS - 1 {
                for (line, tap) in lines {
                    line.copy_from_slice(&self.padded[first + tap..][..COLUMNS]);
                }
            } else {
                for (line, tap) in lines {
                    for (value, pixel) in line.iter_mut().zip(pixels) {
                        *value = self.padded[pixel + tap];
                    }
                }
            }
        }
    }
}

/// The gradient of the input: `g [n, output, h', w'] -> [n, input, h, w]`, `shape` being that of the
/// convolution whose gradient it is. It is the convolution of `g`, its pixels `stride` apart in
/// zeros, with the kernel turned by half a circle and its channels exchanged.
pub fn conv2d_input_gradient(g: &[f32], weight: &[f32], shape: Shape) -> Vec<f32> {
    let [kh, kw] = shape.kernel;
    let taps = kh * kw;
    let mut turned = vec![0.0; weight.len()];
    let line = shape.output * taps;
    share_lines(&mut turned, shape.input, line, |turned, first| {
        for (i, turned) in turned.chunks_exact_mut(line).enumerate() {
            for (o, target) in turned.chunks_exact_mut(taps).enumerate() {
                let source = &weight[(o * shape.input + first + i) * taps..][..taps];
                target.iter_mut().zip(source.iter().rev()).for_each(|(t, s)| *t = *s);
            }
        }
    });
    let [oh, ow] = shape.out();
    let spread: [usize; 2] = [oh, ow].map(|length| (length - 1) * shape.stride + 1);
    let spaced;
    let g = if shape.stride == 1 {
        g
    } else {
        let mut wide = vec![0.0; shape.n * shape.output * spread[0] * spread[1]];
        for (g, wide) in g.chunks_exact(oh * ow).zip(wide.chunks_exact_mut(spread[0] * spread[1])) {
            for (y, row) in g.chunks_exact(ow).enumerate() {
                let line = &mut wide[y * shape.stride * spread[1]..][..spread[1]];
                line.iter_mut().step_by(shape.stride).zip(row).for_each(|(w, g)| *w = *g);
            }
        }
        spaced = wide;
        &spaced
    };
    // A padding wider than the kernel reaches leaves a border that nothing flows back from.
    let before = std::array::from_fn(|i| shape.kernel[i] - 1 - shape.before[i]);
    let after = std::array::from_fn(|i| shape.size[i] + shape.before[i] - spread[i]);
    let back = Shape {
        n: shape.n,
        input: shape.output,
        output: shape.input,
        size: spread,
        kernel: shape.kernel,
        stride: 1,
        before,
        after,
    };
    conv2d(g, &turned, None, back)
}

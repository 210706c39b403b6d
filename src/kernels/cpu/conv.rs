//! Convolution as a matrix product whose right side, the pixels under the moving kernel, is gathered
//! panel by panel and never stands in memory (implicit GEMM).

use std::cell::RefCell;
use std::ops::Range;

use super::gemm::{Start, multiply};
use super::microkernel::COLUMNS;
use super::pack::{Matrix, Source, fit};
use super::threads::share_lines;
use super::weights::{Left, Taps, Weights};

thread_local! {
    static PADDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Frees the memory that is kept for pictures with their borders.
pub fn release_scratch() {
    PADDED.take();
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
    /// Of the weight: `[output, input, height, width]`.
    pub fn weight(&self) -> [usize; 4] {
        [self.output, self.input, self.kernel[0], self.kernel[1]]
    }

    /// Height and width of what goes out.
    pub fn out(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            (self.size[i] + self.before[i] + self.after[i] - self.kernel[i]) / self.stride + 1
        })
    }
}

/// `x [n, input, h, w]`, `weight [output, input, kh, kw]`, `bias [output] -> [n, output, h', w']`.
pub fn conv2d(x: &[f32], weight: Weights<'_>, bias: Option<&[f32]>, shape: Shape) -> Vec<f32> {
    convolve(x, weight, bias, shape, 1)
}

/// As [`conv2d`] of `x [n, input, h / 2, w / 2]` enlarged to `shape`'s size: each pixel twice in both
/// directions.
pub fn conv2d_enlarged(
    x: &[f32],
    weight: Weights<'_>,
    bias: Option<&[f32]>,
    shape: Shape,
) -> Vec<f32> {
    convolve(x, weight, bias, shape, 2)
}

fn convolve(
    x: &[f32],
    weight: Weights<'_>,
    bias: Option<&[f32]>,
    shape: Shape,
    enlarge: usize,
) -> Vec<f32> {
    let image = shape.input * (shape.size[0] / enlarge) * (shape.size[1] / enlarge);
    let pixels = shape.out().iter().product::<usize>();
    let depth = shape.input * shape.kernel[0] * shape.kernel[1];
    assert_eq!(x.len(), shape.n * image);
    assert!(weight.len() >= shape.output * depth);
    let start = bias.map_or(Start::Zero, Start::Rows);
    let a = Left::Weights(weight, depth);
    let mut y = vec![0.0; shape.n * shape.output * pixels];
    if x.is_empty() || y.is_empty() {
        return y;
    }
    let images = x.chunks_exact(image);
    let outputs = y.chunks_exact_mut(shape.output * pixels);
    let point = shape.kernel == [1, 1] && shape.stride == 1;
    if point && shape.before == [0, 0] && shape.after == [0, 0] {
        for (x, y) in images.zip(outputs) {
            let x = Matrix { data: x, row: pixels, column: 1 };
            multiply([shape.output, pixels, depth], a, &x, y, pixels, start);
        }
        return y;
    }
    let bands = Bands { enlarge, ..Bands::of(shape) };
    let places = Places::new(shape, &bands);
    let width = shape.out()[1];
    PADDED.with_borrow_mut(|padded| {
        for (x, y) in images.zip(outputs) {
            for band in bands.iter() {
                bands.pad(x, &band, padded);
                let size = [shape.output, band.len() * width, depth];
                let y = &mut y[band.start * width..];
                multiply(size, a, &Pixels { padded, places: &places }, y, pixels, start);
            }
        }
    });
    y
}

/// The most floats of a picture that are copied with their border at a time, if a row takes no more:
/// 8 MiB.
const MOST_PADDED: usize = if cfg!(test) { 64 } else { 1 << 21 };

/// A picture with its border of zeros, some rows of the output at a time: its copy stays small and in
/// the cache.
struct Bands {
    /// Of what is padded.
    shape: Shape,
    /// Rows of the output.
    rows: usize,
    /// Rows of the output in a band; the last may have fewer.
    each: usize,
    /// Rows of the padded picture that the first row of a band needs, and that each other one adds.
    reach: usize,
    step: usize,
    /// How often each pixel is to be there in either direction.
    enlarge: usize,
}

impl Bands {
    /// For a convolution.
    fn of(shape: Shape) -> Self {
        Self::new(shape, shape.out()[0], shape.kernel[0], shape.stride)
    }

    fn new(shape: Shape, rows: usize, reach: usize, step: usize) -> Self {
        let row = shape.input * padded_size(shape)[1];
        let fit = (MOST_PADDED / row.max(1)).saturating_sub(reach) / step + 1;
        Self { shape, rows, each: fit.min(rows), reach, step, enlarge: 1 }
    }

    fn iter(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, each) = (self.rows, self.each);
        (0..rows).step_by(each.max(1)).map(move |first| first..rows.min(first + each))
    }

    /// Rows of the copy.
    fn height(&self) -> usize {
        self.each.saturating_sub(1) * self.step + self.reach
    }

    /// Copies what these rows of the output need of `x [input, h, w]`, or of the x that is enlarged to
    /// that.
    fn pad(&self, x: &[f32], band: &Range<usize>, padded: &mut Vec<f32>) {
        let [h, w] = self.shape.size;
        let (pw, height) = (padded_size(self.shape)[1], self.height());
        let [top, left] = self.shape.before;
        let first_row = band.start * self.step;
        let lines = first_row.max(top)..(first_row + height).min(top + h).max(first_row.max(top));
        fit(padded, self.shape.input * height * pw);
        share_lines(padded, self.shape.input, (height * pw) as u64, |padded, first| {
            padded.fill(0.0);
            let (h, columns) = (h / self.enlarge, w / self.enlarge);
            let channels = x[first * h * columns..].chunks_exact(h * columns);
            for (x, padded) in channels.zip(padded.chunks_exact_mut(height * pw)) {
                for line in lines.clone() {
                    let row = &x[(line - top) / self.enlarge * columns..][..columns];
                    let into = &mut padded[(line - first_row) * pw + left..][..w];
                    if self.enlarge == 1 {
                        into.copy_from_slice(row);
                    } else {
                        let into = into.chunks_exact_mut(2).zip(row);
                        into.for_each(|(into, value)| into.fill(*value));
                    }
                }
            }
        });
    }
}

fn padded_size(shape: Shape) -> [usize; 2] {
    std::array::from_fn(|i| shape.size[i] + shape.before[i] + shape.after[i])
}

/// The gradient of the weight: `x [n, input, h, w]`, `g [n, output, h', w'] -> [output, input, kh, kw]`,
/// for each picture g times the transpose of the pixels under the kernel.
pub fn conv2d_weight_gradient(x: &[f32], g: &[f32], shape: Shape) -> Vec<f32> {
    let [h, w] = shape.size;
    let pixels = shape.out().iter().product::<usize>();
    let bands = Bands::of(shape);
    let Places { taps, pixels: places } = Places::new(shape, &bands);
    let turned = Places { taps: places, pixels: taps };
    let (depth, width) = (turned.pixels.len(), shape.out()[1]);
    let mut gradient = vec![0.0; shape.output * depth];
    PADDED.with_borrow_mut(|padded| {
        let images = x.chunks_exact(shape.input * h * w);
        for (x, g) in images.zip(g.chunks_exact(shape.output * pixels)) {
            for band in bands.iter() {
                bands.pad(x, &band, padded);
                let size = [shape.output, depth, band.len() * width];
                let a = Matrix { data: &g[band.start * width..], row: pixels, column: 1 };
                let b = Pixels { padded, places: &turned };
                multiply(size, a, &b, &mut gradient, depth, Start::Given);
            }
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
    /// Of a band.
    fn new(shape: Shape, bands: &Bands) -> Self {
        let (pw, height) = (padded_size(shape)[1], bands.height());
        let kernel: Vec<usize> = grid(shape.kernel, pw, 1).collect();
        let taps = (0..shape.input)
            .flat_map(|channel| kernel.iter().map(move |tap| channel * height * pw + tap))
            .collect();
        Self { taps, pixels: grid([bands.each, shape.out()[1]], pw, shape.stride).collect() }
    }
}

/// Places in rows `width` apart, in steps in both directions.
fn grid([rows, columns]: [usize; 2], width: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..rows).flat_map(move |r| (0..columns).map(move |c| (r * width + c) * step))
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

/// What flows back to every `stride`-th row, or column, of the input: `x[stride j + r]` has it from
/// `g[j + shift - m]` by way of the kernel's tap `first + stride m`, for every `m` below `count`.
#[derive(Debug, Clone, Copy)]
struct Phase {
    r: usize,
    first: usize,
    count: usize,
    shift: usize,
    /// How many there are of those rows.
    length: usize,
}

impl Phase {
    fn all(shape: Shape, axis: usize) -> Vec<Self> {
        let Shape { size, kernel, stride, before, .. } = shape;
        let phase = |r| {
            let first = (r + before[axis]) % stride;
            Self {
                r,
                first,
                count: kernel[axis].saturating_sub(first).div_ceil(stride),
                shift: (r + before[axis] - first) / stride,
                length: (size[axis] - r).div_ceil(stride),
            }
        };
        (0..stride.min(size[axis])).map(phase).collect()
    }
}

/// One phase of rows with one of columns: a product of its own.
struct Part<'a> {
    at: [Phase; 2],
    weight: Weights<'a>,
    /// The kernel's places that lead back here.
    taps: Vec<usize>,
    places: Places,
}

impl<'a> Part<'a> {
    /// `border`: g, as it is padded for all parts, and its bands of rows.
    fn new(
        at: [Phase; 2],
        weight: Weights<'a>,
        shape: Shape,
        border: Shape,
        bands: &Bands,
    ) -> Self {
        let ([_, kw], pw, height) = (shape.kernel, padded_size(border)[1], bands.height());
        let [down, across] = at;
        // Where a term lies in a channel of g, and by which tap it counts.
        let (terms, taps): (Vec<usize>, Vec<usize>) = (0..down.count * across.count)
            .map(|i| {
                let [y, x] = [i / across.count, i % across.count];
                let row = border.before[0] + down.shift - y;
                let tap = (down.first + shape.stride * y) * kw + across.first + shape.stride * x;
                (row * pw + border.before[1] + across.shift - x, tap)
            })
            .unzip();
        let rows = (0..shape.output)
            .flat_map(|o| terms.iter().map(move |place| o * height * pw + place))
            .collect();
        let pixels = grid([bands.each, across.length], pw, 1).collect();
        Self { at, weight, taps, places: Places { taps: rows, pixels } }
    }

    /// What flows to this part's pixels of one picture's gradient `[input, h, w]`, all of them for a
    /// stride of 1, in a band of the part's rows, which `padded` is for.
    fn run(&self, padded: &[f32], band: &Range<usize>, gradient: &mut [f32], shape: Shape) {
        let ([h, w], [down, across]) = (shape.size, self.at);
        let rows = band.start..band.end.min(down.length);
        let (pixels, depth) = (rows.len() * across.length, self.places.taps.len());
        if depth == 0 || pixels == 0 {
            return;
        }
        let size = [shape.input, pixels, depth];
        let (weights, kernel) = (self.weight, shape.kernel.iter().product());
        let a = Left::Taps(Taps { weights, input: shape.input, kernel, taps: &self.taps });
        let b = Pixels { padded, places: &self.places };
        if shape.stride == 1 {
            return multiply(size, a, &b, &mut gradient[rows.start * w..], h * w, Start::Zero);
        }
        let mut part = vec![0.0; shape.input * pixels];
        multiply(size, a, &b, &mut part, pixels, Start::Zero);
        share_lines(gradient, shape.input, pixels as u64, |gradient, first| {
            let parts = part[first * pixels..].chunks_exact(pixels);
            for (gradient, part) in gradient.chunks_exact_mut(h * w).zip(parts) {
                let lines = gradient.chunks_mut(w).skip(down.r).step_by(shape.stride);
                for (row, part) in lines.skip(rows.start).zip(part.chunks_exact(across.length)) {
                    let row = row[across.r..].iter_mut().step_by(shape.stride);
                    row.zip(part).for_each(|(x, part)| *x = *part);
                }
            }
        });
    }
}

/// The gradient of the input: `g [n, output, h', w'] -> [n, input, h, w]`, `shape` being that of the
/// convolution whose gradient it is. The input's pixels lie in `stride * stride` grids, to each of
/// which other taps of the kernel lead back, so that there are as many products as the convolution
/// itself has; a convolution of g with zeros between its pixels has four times as many for a
/// stride of 2.
pub fn conv2d_input_gradient(g: &[f32], weight: Weights<'_>, shape: Shape) -> Vec<f32> {
    let (image, out) = (shape.input * shape.size[0] * shape.size[1], shape.out());
    let phases = [0, 1].map(|axis| Phase::all(shape, axis));
    // A border that is wide enough for all of them.
    let most =
        |axis: usize, of: fn(&Phase) -> usize| phases[axis].iter().map(of).max().unwrap_or(0);
    let before = [0, 1].map(|axis| most(axis, |p| p.count.saturating_sub(p.shift + 1)));
    let after = [0, 1].map(|axis| most(axis, |p| p.length + p.shift).saturating_sub(out[axis]));
    let border = Shape { input: shape.output, size: out, before, after, ..shape };
    let pairs = phases[0].iter().flat_map(|r| phases[1].iter().map(move |c| [*r, *c]));
    // A part's row j reads padded rows from j on, up to `j + before + shift`.
    let reach = before[0] + most(0, |p| p.shift) + 1;
    let bands = Bands::new(border, most(0, |p| p.length), reach, 1);
    let parts: Vec<_> = pairs.map(|at| Part::new(at, weight, shape, border, &bands)).collect();
    let mut gradient = vec![0.0; shape.n * image];
    if gradient.is_empty() || g.is_empty() {
        return gradient;
    }
    PADDED.with_borrow_mut(|padded| {
        let pictures = g.chunks_exact(shape.output * out[0] * out[1]);
        for (gradient, g) in gradient.chunks_exact_mut(image).zip(pictures) {
            for band in bands.iter() {
                bands.pad(g, &band, padded);
                parts.iter().for_each(|part| part.run(padded, &band, gradient, shape));
            }
        }
    });
    gradient
}

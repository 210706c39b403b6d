//! Pictures at another size, as Pillow resizes them: a filter as wide as the picture shrinks, rows first,
//! rounded to bytes after each direction. Source: Pillow, `src/libImaging/Resample.c`.

use super::Rgb;

/// How neighbours are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Three lobes of the windowed sinc.
    Lanczos,
    /// The cubic with a = -0.5.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        if x >= self.support() {
            return 0.0;
        }
        match self {
            Self::Lanczos => sinc(x) * sinc(x / 3.0),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if x == 0.0 { 1.0 } else { angle.sin() / angle }
}

/// Bytes of `channels` a pixel, `from` wide and high, at another size, neither of them empty.
pub fn resize(
    bytes: &[u8],
    channels: usize,
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Vec<u8> {
    if from == to {
        return bytes.to_vec();
    }
    let [width, height] = from;
    let rows = along(bytes, channels, [width, height], [channels, width * channels], to[0], filter);
    // Columns: neighbours are a row apart.
    let columns =
        along(&rows, channels, [height, to[0]], [to[0] * channels, channels], to[1], filter);
    transposed(&columns, channels, [to[1], to[0]])
}

/// Each line of `size[0]` pixels resampled to `to`; there are `size[1]` lines. `strides`: bytes to the
/// next pixel of a line, and to the next line.
fn along(
    bytes: &[u8],
    channels: usize,
    size: [usize; 2],
    strides: [usize; 2],
    to: usize,
    filter: Filter,
) -> Vec<u8> {
    let windows = windows(size[0], to, filter);
    let mut out = Vec::with_capacity(size[1] * to * channels);
    for line in 0..size[1] {
        for (first, weights) in &windows {
            for channel in 0..channels {
                let start = line * strides[1] + first * strides[0] + channel;
                let sum: f64 = weights
                    .iter()
                    .enumerate()
                    .map(|(i, weight)| weight * f64::from(bytes[start + i * strides[0]]))
                    .sum();
                out.push((sum + 0.5).floor().clamp(0.0, 255.0) as u8);
            }
        }
    }
    out
}

/// For each new place the first old one and the weights from there on.
pub fn windows(from: usize, to: usize, filter: Filter) -> Vec<(usize, Vec<f64>)> {
    let ratio = from as f64 / to as f64;
    let scale = ratio.max(1.0);
    let support = filter.support() * scale;
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * ratio;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let at = |x: usize| filter.weight((x as f64 - centre + 0.5) / scale);
            let weights: Vec<f64> = (first..end).map(at).collect();
            let total: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / total).collect())
        })
        .collect()
}

/// Lines of columns to lines of rows. `size`: pixels of a line, lines.
fn transposed(bytes: &[u8], channels: usize, size: [usize; 2]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for y in 0..size[0] {
        for x in 0..size[1] {
            let start = (x * size[0] + y) * channels;
            out.extend_from_slice(&bytes[start..start + channels]);
        }
    }
    out
}

/// How a picture of another shape comes to a size. Source: A1111, `modules/images.py`, `resize_image`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// Stretched.
    Stretch,
    /// Its middle: what is over is cut.
    #[default]
    Crop,
    /// All of it; bars in the colours of its edges (of the outermost pixels; A1111 mixes three).
    Fill,
}

impl Fit {
    /// The size that a picture is scaled to before it is cut or filled up.
    pub fn scaled(self, from: [usize; 2], to: [usize; 2]) -> [usize; 2] {
        let ([from_w, from_h], [w, h]) = (from, to);
        // Products in place of quotients: w / h > from_w / from_h.
        let is_wider = w * from_h > from_w * h;
        let is_narrower = w * from_h < from_w * h;
        let by_width = [w, (from_h * w / from_w).max(1)];
        let by_height = [(from_w * h / from_h).max(1), h];
        match self {
            Self::Stretch => to,
            Self::Crop => {
                if is_wider {
                    by_width
                } else {
                    by_height
                }
            }
            Self::Fill => {
                if is_narrower {
                    by_width
                } else {
                    by_height
                }
            }
        }
    }

    /// The picture at a size.
    pub fn of(self, picture: &Rgb, to: [usize; 2]) -> Rgb {
        let bytes = self.of_bytes(&picture.bytes, 3, [picture.width, picture.height], to);
        Rgb { width: to[0], height: to[1], bytes }
    }

    /// The same of bytes of `channels` a pixel.
    pub fn of_bytes(
        self,
        bytes: &[u8],
        channels: usize,
        from: [usize; 2],
        to: [usize; 2],
    ) -> Vec<u8> {
        let scaled = self.scaled(from, to);
        let bytes = resize(bytes, channels, from, scaled, Filter::Lanczos);
        if scaled == to {
            return bytes;
        }
        // Where a place of the result lies in what was scaled; past an edge it is the edge.
        let place = |axis: usize, at: usize| {
            let offset = (to[axis] / 2) as isize - (scaled[axis] / 2) as isize;
            (at as isize - offset).clamp(0, scaled[axis] as isize - 1) as usize
        };
        let mut out = Vec::with_capacity(to[0] * to[1] * channels);
        for y in 0..to[1] {
            let row = place(1, y) * scaled[0];
            for x in 0..to[0] {
                let start = (row + place(0, x)) * channels;
                out.extend_from_slice(&bytes[start..start + channels]);
            }
        }
        out
    }
}

//! Which convolution, of which sizes, and where its pixels lie.

use super::super::stored::Stored;
use super::super::text::{Buffer, F32, Text, product_buffers};

/// Numbers of `info` that all kernels here have, before the place of the grid's part.
pub(super) const SIZES: usize = 8;

/// How pixels of x and y belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// y is the convolution of x.
    Forward,
    /// y is the convolution of x enlarged to twice its size (nearest), stride 1, padding 1. Its
    /// gradient: [`Mode::Gradient`] at the larger size, then `Operation::SumBlocks`.
    Upsample,
    /// y is the gradient of a convolution's input, x that of its output.
    Gradient,
}

/// Which convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// How pixels of x and y belong together.
    pub mode: Mode,
    /// 1 or 2.
    pub stride: u32,
    /// Padding at the top and at the left, 0 or 1; that at the bottom and at the right follows from
    /// the sizes.
    pub before: [u32; 2],
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether a tensor like y is added.
    pub residual: bool,
    /// How the weights lie.
    pub weights: Stored,
}

impl Convolution {
    /// `[m, d, s]`: tap t takes pixel `(m o + s (t - before)) / d` of x to pixel o of y, along
    /// either axis; for a gradient only where that is a whole number, otherwise rounded down.
    pub(super) fn ratio(self) -> [i32; 3] {
        let stride = self.stride as i32;
        match self.mode {
            Mode::Forward => [stride, 1, 1],
            Mode::Upsample => [1, 2, 1],
            Mode::Gradient => [1, stride, -1],
        }
    }

    /// The pixel of x that a tap takes to pixel `at` of y, if there is one, both counted from where
    /// a patch starts.
    pub(super) fn source(self, at: u32, tap: u32, before: u32) -> Option<i32> {
        let ([m, d, s], [at, tap, before]) = (self.ratio(), [at, tap, before].map(|n| n as i32));
        let full = m * at + s * (tap - before);
        (self.mode != Mode::Gradient || full % d == 0).then_some(full.div_euclid(d))
    }

    /// The same in WGSL: of pixel `o{name}` and of `tap`. Declares the pixel of x, `i{name}`, and
    /// whether it exists, `v{name}`.
    pub(super) fn declare_source(
        self,
        t: &mut Text,
        [name, tap]: [&str; 2],
        limit: &str,
        before: u32,
    ) {
        let [m, d, s] = self.ratio();
        let whole = if self.mode == Mode::Gradient { d } else { 1 };
        t.line(format!("let f{name} = {m} * i32(o{name}) + {s} * (i32({tap}) - {before});"));
        t.line(format!("let i{name} = f{name} / {d};"));
        t.line(format!("let e{name} = f{name} >= 0 && f{name} % {whole} == 0;"));
        t.line(format!("let v{name} = e{name} && i{name} < {limit};"));
    }

    pub(super) fn bindings(self, vectors: bool) -> impl Iterator<Item = Buffer> {
        let added = [self.bias.then_some(("bias", F32)), self.residual.then_some(("res", F32))];
        product_buffers([("x", F32), ("w", self.weights.element(vectors))], added, F32)
    }
}

/// The sizes of x and y, whichever of them is the convolution's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Pictures.
    pub n: u32,
    /// Channels of x.
    pub x_channels: u32,
    /// Height and width of x, before [`Mode::Upsample`] enlarges it.
    pub x: [u32; 2],
    /// Channels of y.
    pub y_channels: u32,
    /// Height and width of y.
    pub y: [u32; 2],
}

impl Sizes {
    /// Multiplications and additions of all taps.
    pub fn work(&self) -> u64 {
        let Self { n, x_channels, y_channels, y: [height, width], .. } = *self;
        [x_channels, y_channels, height, width].map(u64::from).iter().product::<u64>()
            * 18
            * u64::from(n)
    }

    /// The kernel's `info`: `[Cin, H, W, Cout, CoutP, Ho, Wo, bias stride]` with x as `[n, Cin, H,
    /// W]`, y as `[n, Cout, Ho, Wo]`, CoutP being Cout rounded up to a multiple of 4. The bias is
    /// `[Cout]`, or `[n, Cout]` where `bias_per_picture`.
    pub fn info(&self, bias_per_picture: bool) -> [u32; 8] {
        let Self { x_channels, x: [h, w], y_channels, y: [ho, wo], .. } = *self;
        let stride = if bias_per_picture { y_channels } else { 0 };
        [x_channels, h, w, y_channels, y_channels.next_multiple_of(4), ho, wo, stride]
    }
}

/// What `info` holds.
pub(super) fn declare_sizes(t: &mut Text) {
    t.lines(["let Cin = info[0];", "let H = i32(info[1]);", "let W = i32(info[2]);"]);
    t.lines(["let Cout = info[3];", "let CP = info[4];", "let Ho = info[5];", "let Wo = info[6];"]);
}

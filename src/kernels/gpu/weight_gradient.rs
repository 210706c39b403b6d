//! The gradient of a 3 x 3 convolution's weights: for each pair of channels and each tap, the sum
//! over all pixels of the output's gradient times what the tap takes to them.

use super::conv::Sizes;
use super::text::{F32, Text, U32};

/// A kernel for the gradient `y` of the weights `[Cout, Cin, 3, 3]`, in parts: each invocation goes
/// over some lines of the output, for one input channel and some output channels. The parts are to
/// be added up; with so few results as an adapter's rank gives, it is by parts that a GPU is filled.
///
/// - Bindings: `x [n, Cin, H, W]`, `g [n, Cout, Ho, Wo]`, `y [parts, Cout, Cin, 3, 3]`, `info`.
/// - `info` is [`WeightGradient::info`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightGradient {
    /// The convolution's, 1 or 2.
    pub stride: u32,
    /// Its padding at the top and at the left, 0 or 1; that at the bottom and at the right follows
    /// from the sizes.
    pub before: [u32; 2],
    /// Output channels of an invocation.
    pub channels: u32,
    /// Pixels of a line per step: their patches of x overlap, and are read once.
    pub pixels: u32,
    /// Invocations of a workgroup along the input channels, and along the output channels.
    pub group: [u32; 2],
}

impl WeightGradient {
    /// The kernel for these sizes, those of the convolution's forward pass.
    pub fn choose(stride: u32, before: [u32; 2], sizes: &Sizes, software: bool) -> Self {
        let (input, output) = (sizes.x_channels, sizes.y_channels);
        let channels = if software && output > 4 { 8 } else { 4 };
        let mut group = if software { [4, 4] } else { [32, 2] };
        while group[0] >= 2 * input {
            group[0] /= 2;
        }
        while group[1] > 1 && group[1] * channels >= 2 * output {
            group[1] /= 2;
        }
        Self { stride, before, channels, pixels: 4, group }
    }

    /// Into how many parts the lines are split, and how many lines each has.
    pub fn parts(&self, sizes: &Sizes, software: bool) -> [u32; 2] {
        let lines = sizes.n * sizes.y[0];
        // As in products: on a CPU, 64 invocations keep the cores busy; on a GPU, 8192 of them hide
        // the latency of memory.
        let wanted = if software { 64 } else { 8192 };
        let invocations = sizes.x_channels * sizes.y_channels.div_ceil(self.channels);
        let each = lines.div_ceil((wanted / invocations).clamp(1, lines));
        [lines.div_ceil(each), each]
    }

    /// `[Cin, H, W, Cout, Ho, Wo, lines, lines of a part]`.
    pub fn info(&self, sizes: &Sizes, [_, each]: [u32; 2]) -> [u32; 8] {
        let Sizes { n, x_channels, x: [h, w], y_channels, y: [ho, wo] } = *sizes;
        [x_channels, h, w, y_channels, ho, wo, n * ho, each]
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        [self.group[0], self.group[1], 1]
    }

    /// Workgroups for these sizes.
    pub fn grid(&self, sizes: &Sizes, [parts, _]: [u32; 2]) -> [u32; 3] {
        let [x, y] = self.group;
        [sizes.x_channels.div_ceil(x), sizes.y_channels.div_ceil(y * self.channels), parts]
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let mut t = Text::new([("x", F32), ("g", F32), ("y", F32), ("info", U32)]);
        t.main(self.workgroup(), |t| {
            self.locate(t);
            t.block("for (var line = first; line < last; line++)", |t| {
                t.lines(["let oy = line % Ho;", "let n = line / Ho;"]);
                t.line("let gb = n * Cout * P + oy * Wo;");
                self.declare_axis(t, ["y", "H", " * W"], "oy", 3, self.before[0]);
                let row = |k| format!("let r{k} = (n * Cin + ci) * HW + oy{k};");
                t.lines((0..3).map(row));
                let step = self.pixels;
                t.block(format!("for (var ox = 0u; ox < Wo; ox += {step}u)"), |t| self.step(t));
            });
            self.store(t);
        });
        t.finish()
    }

    /// Where the invocation's channels and lines lie, and its sums `c{channel}_{tap}`.
    fn locate(&self, t: &mut Text) {
        let Self { channels, group: [x, y], .. } = *self;
        t.lines(["let Cin = info[0];", "let H = i32(info[1]);", "let W = i32(info[2]);"]);
        t.lines(["let Cout = info[3];", "let Ho = info[4];", "let Wo = info[5];"]);
        t.line(format!("let ci = wg.x * {x}u + li.x;"));
        t.line(format!("let co = (wg.y * {y}u + li.y) * {channels}u;"));
        t.block("if (ci >= Cin || co >= Cout)", |t| t.line("return;"));
        t.lines(["let P = Ho * Wo;", "let HW = u32(H * W);"]);
        t.lines(["let first = wg.z * info[7];", "let last = min(first + info[7], info[6]);"]);
        for j in 0..channels {
            t.line(format!("let q{j} = min(co + {j}u, Cout - 1u) * P;"));
            t.lines((0..9).map(|tap| format!("var c{j}_{tap} = 0.0;")));
        }
    }

    /// Of `count` rows or columns of x from where the patch of output pixel `at` starts: where each
    /// lies (`o{axis}`), clamped, and whether it exists (`v{axis}`).
    fn declare_axis(
        &self,
        t: &mut Text,
        [axis, limit, pitch]: [&str; 3],
        at: &str,
        count: u32,
        before: u32,
    ) {
        t.line(format!("let i{axis} = i32({at} * {}u) - {before};", self.stride));
        for k in 0..count {
            let place = format!("i{axis} + {k}");
            t.line(format!("let v{axis}{k} = {place} >= 0 && {place} < {limit};"));
            t.line(format!("let o{axis}{k} = u32(clamp({place}, 0, {limit} - 1){pitch});"));
        }
    }

    /// Some pixels of a line, for all nine taps.
    fn step(&self, t: &mut Text) {
        let Self { stride, channels, pixels, .. } = *self;
        let columns = (pixels - 1) * stride + 3;
        self.declare_axis(t, ["x", "W", ""], "ox", columns, self.before[1]);
        for (column, k) in (0..columns).flat_map(|column| (0..3).map(move |k| (column, k))) {
            let load = format!("x[r{k} + ox{column}]");
            let exists = format!("vy{k} && vx{column}");
            t.line(format!("let x{k}_{column} = select(0.0, {load}, {exists});"));
        }
        for pixel in 0..pixels {
            t.line(format!("let p{pixel} = gb + min(ox + {pixel}u, Wo - 1u);"));
            for j in 0..channels {
                let load = format!("g[p{pixel} + q{j}]");
                // The first pixel of a step exists.
                let load = if pixel == 0 {
                    load
                } else {
                    format!("select(0.0, {load}, ox + {pixel}u < Wo)")
                };
                t.line(format!("let g{pixel}_{j} = {load};"));
                for tap in 0..9 {
                    let x = format!("x{}_{}", tap / 3, pixel * stride + tap % 3);
                    t.line(format!("c{j}_{tap} = fma(g{pixel}_{j}, {x}, c{j}_{tap});"));
                }
            }
        }
    }

    fn store(&self, t: &mut Text) {
        for j in 0..self.channels {
            t.block(format!("if (co + {j}u < Cout)"), |t| {
                t.line(format!("let o = ((wg.z * Cout + co + {j}u) * Cin + ci) * 9u;"));
                t.lines((0..9).map(|tap| format!("y[o + {tap}u] = c{j}_{tap};")));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::check;
    use super::*;

    #[test]
    fn kernels_are_sound_and_cover_channels_and_lines() {
        let channels = [1, 3, 4, 8, 32, 320];
        for i in 0..432 {
            let (software, stride) = (i % 2 == 0, 1 + i / 2 % 2);
            let (x_channels, y_channels) =
                (channels[i as usize / 4 % 6], channels[i as usize / 24 % 6]);
            let y = [[1, 1], [7, 18], [64, 64]][i as usize / 144];
            let x = y.map(|length| length * stride);
            let sizes = Sizes { n: 2, x_channels, x, y_channels, y };
            let kernel = WeightGradient::choose(stride, [1, 0], &sizes, software);
            let parts = kernel.parts(&sizes, software);
            let wgsl = kernel.wgsl();
            assert_eq!(check::source(&wgsl, kernel.workgroup()), ["x", "g", "y", "info"]);
            let size = [kernel.group[0], kernel.group[1] * kernel.channels, parts[1]];
            let all = [x_channels, y_channels, 2 * y[0]];
            check::covers(kernel.grid(&sizes, parts), size, all);
        }
    }

    #[test]
    fn few_channels_are_split_into_parts_that_fill_the_device() {
        let sizes = Sizes { n: 2, x_channels: 320, x: [64, 64], y_channels: 4, y: [64, 64] };
        let kernel = WeightGradient::choose(1, [1, 1], &sizes, false);
        assert_eq!(kernel.parts(&sizes, false), [22, 6]);
        let sizes = Sizes { y_channels: 320, ..sizes };
        let kernel = WeightGradient::choose(1, [1, 1], &sizes, true);
        assert_eq!(kernel.parts(&sizes, true), [1, 128]);
    }
}

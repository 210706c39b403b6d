//! Convolutions of size 3 x 3 as matrix products, without the matrix of patches in memory: output
//! channels are rows, pixels are columns, and the sums go over input channels and taps.

use std::collections::BTreeSet;

use super::parts;
use super::text::{Text, Tile};

mod convolution;
mod panel;
mod tiled;

use convolution::{SIZES, declare_sizes};

pub use convolution::{Convolution, Mode, Sizes};
pub use panel::Panel;
pub use tiled::Tiled;

/// A kernel for `y = x * w + bias + residual`.
///
/// - Bindings: `x`, `w` as [`super::pack`] lays it out, `bias` (where there is one), `res` (where
///   `residual`), `y`, `info`.
/// - `info` is [`Sizes::info`], then the place of the grid's part ([`super::parts`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conv {
    /// Each invocation on its own, from the buffers.
    Direct(Direct),
    /// Workgroups together, by way of workgroup memory.
    Tiled(Tiled),
    /// The same four numbers at a time, where x has channels enough.
    Panel(Panel),
}

impl Conv {
    /// The kernel for these sizes.
    pub fn choose(convolution: Convolution, sizes: &Sizes, software: bool) -> Self {
        let Sizes { x_channels, y_channels, y: [height, width], .. } = *sizes;
        // From the literature, not measured on a GPU here: below this, most of a tile is padding.
        if !software && y_channels >= 64 && height * width >= 64 && x_channels >= 4 {
            if Panel::takes(x_channels) {
                return Self::Panel(Panel { convolution });
            }
            return Self::Tiled(Tiled { convolution, tile: Tile::SMALL });
        }
        Self::Direct(Direct::choose(convolution, sizes, software))
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        match self {
            Self::Direct(kernel) => kernel.wgsl(),
            Self::Tiled(kernel) => kernel.wgsl(),
            Self::Panel(kernel) => kernel.wgsl(),
        }
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        match self {
            Self::Direct(Direct { group: [x, y], .. }) => [*x, *y, 1],
            Self::Tiled(_) => Tile::WORKGROUP,
            Self::Panel(_) => super::panel::WORKGROUP,
        }
    }

    /// Workgroups for these sizes.
    pub fn grid(&self, sizes: &Sizes) -> [u32; 3] {
        let Sizes { n, y_channels, y: [height, width], .. } = *sizes;
        match self {
            Self::Direct(Direct { patch, channels, group: [x, y], .. }) => {
                let patches = height.div_ceil(patch[0]) * width.div_ceil(patch[1]);
                [y_channels.div_ceil(x * channels), patches.div_ceil(*y), n]
            }
            Self::Tiled(Tiled { tile, .. }) => {
                [(height * width).div_ceil(tile.width()), y_channels.div_ceil(tile.height()), n]
            }
            Self::Panel(_) => Panel::grid(height * width, y_channels, n),
        }
    }
}

/// A convolution in which each invocation keeps some channels of a patch of pixels in registers: of
/// each channel of x it reads what the patch depends on once, for all nine taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direct {
    /// What is computed.
    pub convolution: Convolution,
    /// Height and width of the patch: even for [`Mode::Upsample`], multiples of the stride for
    /// [`Mode::Gradient`], so that all patches depend on x alike.
    pub patch: [u32; 2],
    /// Channels that an invocation computes, in runs of 4. Neighbouring invocations take neighbouring
    /// runs, so that their reads of weights coalesce.
    pub channels: u32,
    /// Invocations of a workgroup along the channels, and along the patches.
    pub group: [u32; 2],
}

/// A product that an invocation adds: tap `tap` takes the pixel `from` of x to pixel `to` of the
/// patch, both counted from where the patch starts.
#[derive(Debug, Clone, Copy)]
struct Step {
    tap: u32,
    from: [i32; 2],
    to: u32,
}

impl Direct {
    /// The kernel for these sizes.
    pub fn choose(convolution: Convolution, sizes: &Sizes, software: bool) -> Self {
        let Sizes { n, y_channels, y: [height, width], .. } = *sizes;
        if software {
            let channels = match y_channels {
                64.. => 16,
                8.. => 8,
                _ => 4,
            };
            let patch = [height, width].map(|size| if size > 2 { 4 } else { 2 });
            let group = [if y_channels >= 16 { 4 } else { 1 }, 4];
            return Self { convolution, patch, channels, group };
        }
        // Fewer registers and more invocations than on a CPU hide the latency of memory.
        let results = u64::from(n) * u64::from(y_channels) * u64::from(height * width);
        let strided = convolution.mode == Mode::Forward && convolution.stride == 2;
        let patch = [2, if strided || results / 32 < 8192 { 2 } else { 4 }];
        let x = [16, 4].into_iter().find(|x| y_channels >= 4 * x).unwrap_or(1);
        Self { convolution, patch, channels: 4, group: [x, 64 / x] }
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let steps = self.steps();
        let mut t = Text::new(self.convolution.bindings(true));
        self.convolution.weights.declare(&mut t, "w", true);
        t.main([self.group[0], self.group[1], 1], |t| {
            self.locate(t);
            locate_pixels(t, &steps);
            for to in 0..self.patch[0] * self.patch[1] {
                t.lines((0..self.channels / 4).map(|j| format!("var c{to}_{j} = vec4<f32>();")));
            }
            t.lines(["let HW = u32(H * W);", "var xb = wg.z * Cin * HW;", "var wb = 0u;"]);
            t.block("for (var ci = 0u; ci < Cin; ci++)", |t| {
                self.multiply(t, &steps);
                t.lines(["xb += HW;", "wb += 9u * C4;"]);
            });
            self.store(t);
        });
        t.finish()
    }

    fn steps(&self) -> Vec<Step> {
        let Self { convolution, patch: [height, width], .. } = *self;
        let all = (0..9).flat_map(|tap| (0..height * width).map(move |to| (tap, to)));
        let step = |(tap, to)| {
            let row = convolution.source(to / width, tap / 3, convolution.before[0])?;
            let column = convolution.source(to % width, tap % 3, convolution.before[1])?;
            Some(Step { tap, from: [row, column], to })
        };
        all.filter_map(step).collect()
    }

    /// Where the patch lies: its first pixel of y (`oy`, `ox`) and of x (`iy`, `ix`), its channels
    /// as vectors (`q{j}`; `qb` and so on before clamping).
    fn locate(&self, t: &mut Text) {
        let Self { convolution, patch: [height, width], channels, group: [x, y] } = *self;
        declare_sizes(t);
        t.line("let C4 = CP / 4u;");
        let [wx, wy] = parts::place(SIZES);
        t.line(format!("let qb = {wx} * {}u + li.x;", x * channels / 4));
        t.line(format!("let pi = {wy} * {y}u + li.y;"));
        t.line(format!("let npx = (Wo + {}u) / {width}u;", width - 1));
        t.line(format!("let oy = (pi / npx) * {height}u;"));
        t.line(format!("let ox = (pi % npx) * {width}u;"));
        t.block("if (oy >= Ho || qb >= C4)", |t| t.line("return;"));
        let [m, d, _] = convolution.ratio();
        t.lines(["y", "x"].map(|axis| format!("let i{axis} = i32(o{axis}) * {m} / {d};")));
        t.lines((0..channels / 4).map(|j| format!("let q{j} = min(qb + {}u, C4 - 1u);", j * x)));
    }

    /// The products of one input channel.
    fn multiply(&self, t: &mut Text, steps: &[Step]) {
        let pixels: BTreeSet<_> = steps.iter().map(|step| step.from.map(offset)).collect();
        for [row, column] in pixels {
            let load = format!("x[xb + or{row} + oc{column}]");
            let exists = format!("vr{row} && vc{column}");
            t.line(format!("let x{row}_{column} = select(0.0, {load}, {exists});"));
        }
        for steps in steps.chunk_by(|a, b| a.tap == b.tap) {
            let tap = steps[0].tap;
            for j in 0..self.channels / 4 {
                let place = format!("wb + {tap}u * C4 + q{j}");
                let load = self.convolution.weights.at("w", &place, true);
                t.line(format!("let w{tap}_{j} = {load};"));
                for Step { from, to, .. } in steps {
                    let [row, column] = from.map(offset);
                    let x = format!("vec4<f32>(x{row}_{column})");
                    t.line(format!("c{to}_{j} = fma({x}, w{tap}_{j}, c{to}_{j});"));
                }
            }
        }
    }

    fn store(&self, t: &mut Text) {
        let Self { convolution, patch: [height, width], channels, group } = *self;
        for to in 0..height * width {
            let (row, column) = (to / width, to % width);
            t.line(format!("let o{to} = (oy + {row}u) * Wo + ox + {column}u;"));
            t.line(format!("let v{to} = oy + {row}u < Ho && ox + {column}u < Wo;"));
        }
        let bias = if convolution.bias { " + bv" } else { "" };
        let more = if convolution.residual { " + res[o]" } else { "" };
        for channel in 0..channels {
            let (j, part) = (channel / 4, channel % 4);
            t.line(format!("let co{channel} = (qb + {}u) * 4u + {part}u;", j * group[0]));
            t.block(format!("if (co{channel} < Cout)"), |t| {
                if convolution.bias {
                    t.line(format!("let bv = bias[wg.z * info[7] + co{channel}];"));
                }
                t.line(format!("let yo = (wg.z * Cout + co{channel}) * Ho * Wo;"));
                for to in 0..height * width {
                    t.block(format!("if (v{to})"), |t| {
                        t.line(format!("let o = yo + o{to};"));
                        t.line(format!("y[o] = c{to}_{j}[{part}]{bias}{more};"));
                    });
                }
            });
        }
    }
}

/// For every row and column of x that is needed: where it starts (`or`, `oc`), clamped, and whether
/// it is inside (`vr`, `vc`).
fn locate_pixels(t: &mut Text, steps: &[Step]) {
    let axes = [["r", "iy", "H", " * W"], ["c", "ix", "W", ""]];
    for (axis, [name, first, limit, pitch]) in axes.into_iter().enumerate() {
        let needed: BTreeSet<_> = steps.iter().map(|step| step.from[axis]).collect();
        for from in needed {
            let (at, id) = (format!("{first} + {from}"), offset(from));
            t.line(format!("let v{name}{id} = {at} >= 0 && {at} < {limit};"));
            t.line(format!("let o{name}{id} = u32(clamp({at}, 0, {limit} - 1){pitch});"));
        }
    }
}

/// A number as part of a name.
fn offset(number: i32) -> String {
    if number < 0 { format!("m{}", -number) } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::stored::Stored;
    use super::super::text::check;
    use super::*;

    #[test]
    fn kernels_are_sound_and_cover_the_output() {
        use Mode::*;
        let modes = [(Forward, 1), (Forward, 2), (Upsample, 1), (Gradient, 1), (Gradient, 2)];
        let channels = [1, 3, 4, 16, 64, 320];
        for i in 0..1080 {
            let ((mode, stride), software) = (modes[i % 5], i % 2 == 0);
            let (before, bias, residual) = ([0, 1], software, stride == 1);
            let weights = [Stored::F32, Stored::Halves, Stored::Native, Stored::Blocks][i % 4];
            let convolution = Convolution { mode, stride, before, bias, residual, weights };
            let (x_channels, y_channels) = (channels[i / 10 % 6], channels[i / 60 % 6]);
            let y = [[2, 2], [7, 18], [64, 32]][i / 360];
            let sizes = Sizes { n: 2, x_channels, x: y, y_channels, y };
            let kernel = Conv::choose(convolution, &sizes, software);
            let names: Vec<_> = convolution.bindings(false).map(|(name, _)| name).collect();
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), names);
            let (size, covered) = match kernel {
                Conv::Direct(Direct { patch, channels, group: [w, h], .. }) => {
                    assert!(patch.iter().all(|length| length % 2 == 0));
                    let patches = y[0].div_ceil(patch[0]) * y[1].div_ceil(patch[1]);
                    ([w * channels, h, 1], [y_channels, patches, 2])
                }
                Conv::Tiled(Tiled { tile, .. }) => {
                    ([tile.width(), tile.height(), 1], [y[0] * y[1], y_channels, 2])
                }
                Conv::Panel(_) => ([64, 64, 1], [y[0] * y[1], y_channels, 2]),
            };
            check::covers(kernel.grid(&sizes), size, covered);
        }
    }
}

//! Convolutions on real GPUs, taps outside, channels inside.

use super::super::panel::{self, DEPTH, SIDE, VECTORS, WORKGROUP, place};
use super::super::parts;
use super::super::text::{Text, VEC4};
use super::{Convolution, SIZES, declare_sizes};

/// A convolution whose workgroups compute 64 channels of 64 pixels; see [`panel`]. Where a tap takes
/// its pixels from, and whether they exist, is found once per tap; the loop over the channels of x,
/// which have to be a multiple of 16, only moves on. For real GPUs only.
///
/// The four pixels of a vector are 16 apart: neighbouring invocations read and write neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Panel {
    /// What is computed.
    pub convolution: Convolution,
}

/// Channels of x that the invocations of a workgroup copy at once, 16 of them each.
const CHANNELS: u32 = WORKGROUP[0] * WORKGROUP[1] / 16;

impl Panel {
    /// Whether there is such a kernel for so many channels of x.
    pub fn takes(x_channels: u32) -> bool {
        x_channels.is_multiple_of(DEPTH)
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let Self { convolution } = *self;
        let mut t = Text::new(convolution.bindings(true));
        convolution.weights.declare(&mut t, "w", true);
        panel::declare(&mut t);
        t.main(WORKGROUP, |t| {
            panel::locate(t, "info[0]", parts::place(SIZES));
            declare_sizes(t);
            t.lines(["let P = Ho * Wo;", "let HW = u32(H * W);", "let C4 = CP / 4u;"]);
            t.lines(["let q = lane % 16u;", "let kb = lane / 16u;"]);
            t.line("let mq = min(m0 / 4u + q, C4 - 1u);");
            t.block("for (var ky = 0u; ky < 3u; ky++)", |t| {
                t.block("for (var kx = 0u; kx < 3u; kx++)", |t| {
                    self.locate_tap(t);
                    t.block(format!("for (var k0 = 0u; k0 < K; k0 += {DEPTH}u)"), |t| {
                        self.copy(t);
                        panel::multiply(t);
                    });
                });
            });
            self.store(t);
        });
        t.finish()
    }

    /// Of a tap: the pixels `p{j}` of x, whether they exist (`v{j}`), and where x and the weights of
    /// this invocation's first channel lie (`xp`, `wp`).
    fn locate_tap(&self, t: &mut Text) {
        let Self { convolution } = *self;
        for j in 0..4 {
            // Found anew for each tap: kept, all of it would take registers from the sums.
            t.line(format!("let g{j} = n0 + q + {}u;", 16 * j));
            t.lines([format!("let oy{j} = g{j} / Wo;"), format!("let ox{j} = g{j} % Wo;")]);
            convolution.declare_source(t, [&format!("y{j}"), "ky"], "H", convolution.before[0]);
            convolution.declare_source(t, [&format!("x{j}"), "kx"], "W", convolution.before[1]);
            t.line(format!("let v{j} = g{j} < P && vy{j} && vx{j};"));
            t.line(format!("let p{j} = select(0u, u32(iy{j} * W + ix{j}), v{j});"));
        }
        t.line("var xp = (wg.z * Cin + kb) * HW;");
        t.line("var wp = (kb * 9u + ky * 3u + kx) * C4 + mq;");
    }

    /// This invocation's part of a step.
    fn copy(&self, t: &mut Text) {
        let parts = 0..DEPTH / CHANNELS;
        for i in parts.clone() {
            let number = |j| {
                let from = format!("x[xp + {}u * HW + p{j}]", i * CHANNELS);
                format!("select(0.0, {from}, v{j})")
            };
            let numbers: Vec<_> = (0..4).map(number).collect();
            t.line(format!("let x{i} = {VEC4}({});", numbers.join(", ")));
        }
        for i in parts.clone() {
            let from = format!("wp + {}u * C4", 9 * i * CHANNELS);
            t.line(format!("let w{i} = {};", self.convolution.weights.at("w", &from, true)));
        }
        // Channel kb + 8 i is the term with this place.
        t.line(format!(
            "let sp = (kb / 4u) * {}u + (kb % 4u) * {}u + q;",
            place(1, 0),
            place(0, 1)
        ));
        for i in parts {
            let term = place(i * CHANNELS / 4, 0);
            t.line(format!("s[sp + {term}u] = w{i};"));
            t.line(format!("s[sp + {}u] = x{i};", term + VECTORS));
        }
        t.line(format!("xp += {DEPTH}u * HW;"));
        t.line(format!("wp += {}u * C4;", 9 * DEPTH));
    }

    fn store(&self, t: &mut Text) {
        let Convolution { bias, residual, .. } = self.convolution;
        panel::store(t, "Cout", |t, i| {
            t.line("let yo = (wg.z * Cout + r) * P;");
            if bias {
                t.line("let bv = bias[wg.z * info[7] + r];");
            }
            let (bias, more) =
                (if bias { " + bv" } else { "" }, if residual { " + res[o]" } else { "" });
            for j in 0..4 {
                t.block("", |t| {
                    t.line(format!("let n = n0 + li.x + {}u;", 16 * j));
                    t.block("if (n < P)", |t| {
                        t.lines(["let o = yo + n;", &format!("y[o] = c{i}[{j}]{bias}{more};")]);
                    });
                });
            }
        });
    }

    /// Workgroups for so many pixels and channels of y, and pictures.
    pub fn grid(pixels: u32, y_channels: u32, n: u32) -> [u32; 3] {
        [pixels.div_ceil(SIDE), y_channels.div_ceil(SIDE), n]
    }
}

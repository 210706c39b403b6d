//! Convolutions by way of workgroup memory.

use super::super::parts;
use super::super::text::{Fill, Text, Tile};
use super::{Convolution, SIZES, declare_sizes};

/// A convolution by way of workgroup memory; see [`Tile`]. For real GPUs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiled {
    /// What is computed.
    pub convolution: Convolution,
    /// What a workgroup computes: rows are channels of y, columns are its pixels.
    pub tile: Tile,
}

impl Tiled {
    /// The source.
    pub fn wgsl(&self) -> String {
        let Self { convolution, tile } = *self;
        let mut t = Text::new(convolution.bindings(false));
        convolution.weights.declare(&mut t, "w", false);
        tile.declare(&mut t);
        t.main(Tile::WORKGROUP, |t| {
            tile.locate(t, "info[0] * 9u", parts::place(SIZES));
            declare_sizes(t);
            t.lines(["let P = Ho * Wo;", "let xb = wg.z * Cin * u32(H * W);"]);
            tile.multiply(t, |t| {
                let load = convolution.weights.at("w", "k * CP + g", false);
                tile.fill(t, Fill::rows(false, "Cout"), |t| t.line(format!("v = {load};")));
                tile.fill(t, Fill::columns(false, "P"), |t| {
                    t.lines(["let ci = k / 9u;", "let ky = k % 9u / 3u;", "let kx = k % 3u;"]);
                    t.lines(["let oy = g / Wo;", "let ox = g % Wo;"]);
                    convolution.declare_source(t, ["y", "ky"], "H", convolution.before[0]);
                    convolution.declare_source(t, ["x", "kx"], "W", convolution.before[1]);
                    t.block("if (vy && vx)", |t| {
                        t.line("v = x[xb + (ci * u32(H) + u32(iy)) * u32(W) + u32(ix)];");
                    });
                });
            });
            let bias = if convolution.bias { " + bias[wg.z * info[7] + r]" } else { "" };
            let more = if convolution.residual { " + res[o]" } else { "" };
            tile.store(t, ["Cout", "P"], |t, i, j| {
                t.line("let o = (wg.z * Cout + r) * P + n;");
                t.line(format!("y[o] = c{i}_{j}{bias}{more};"));
            });
        });
        t.finish()
    }
}

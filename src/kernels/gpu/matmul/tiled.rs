//! Products by way of workgroup memory.

use super::super::parts;
use super::super::text::{F32, Fill, Text, Tile};
use super::{Bias, Form, LowRank, Product, SIZES};

/// A product by way of workgroup memory; see [`Tile`]. For real GPUs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiled {
    /// What is computed.
    pub product: Product,
    /// What a workgroup computes of it.
    pub tile: Tile,
}

impl Tiled {
    /// The source.
    pub fn wgsl(&self) -> String {
        let Self { product: Product { form, bias, residual, low_rank, a, b }, tile } = *self;
        let elements = [a.element(false), b.element(false), F32, F32];
        let mut t = Text::new(self.product.bindings(elements));
        a.declare(&mut t, "a", false);
        b.declare(&mut t, "b", false);
        tile.declare(&mut t);
        t.main(Tile::WORKGROUP, |t| {
            t.lines(["let M = info[0];", "let N = info[1];"]);
            tile.locate(t, "info[2]", parts::place(SIZES));
            t.lines(["let ab = wg.z * info[3];", "let bb = wg.z * info[4];"]);
            t.lines(["let yb = wg.z * info[5];", "let alpha = bitcast<f32>(info[6]);"]);
            // Along K, a row of a (a column of b) is one after the other.
            let (a_along_k, b_along_k) = (form != Form::Tn, form == Form::Nt);
            let in_a = if a_along_k { "ab + g * K + k" } else { "ab + k * M + g" };
            let in_b = if b_along_k { "bb + g * K + k" } else { "bb + k * N + g" };
            let [a, b] = [a.at("a", in_a, false), b.at("b", in_b, false)];
            tile.multiply(t, |t| {
                tile.fill(t, Fill::rows(a_along_k, "M"), |t| t.line(format!("v = {a};")));
                tile.fill(t, Fill::columns(b_along_k, "N"), |t| t.line(format!("v = {b};")));
            });
            let bias = match bias {
                Bias::None => "",
                Bias::Columns => " + bias[n]",
                Bias::Rows => " + bias[r]",
            };
            let more = if residual { " + res[o]" } else { "" };
            tile.store(t, ["M", "N"], |t, i, j| {
                t.line("let o = yb + r * N + n;");
                if low_rank == LowRank::None {
                    t.line(format!("y[o] = c{i}_{j} * alpha{bias}{more};"));
                    return;
                }
                t.line("var s = 0.0;");
                let (by, terms) = if low_rank == LowRank::Fours { (" / 4u", 4) } else { ("", 1) };
                t.block(format!("for (var q = 0u; q < info[7]; q += {terms}u)"), |t| {
                    t.line(format!("let g = h[(r * info[7] + q){by}];"));
                    for term in 0..terms {
                        let part = if terms > 1 { format!("[{term}]") } else { String::new() };
                        t.line(format!("s = fma(g{part}, u[(q + {term}u) * N + n], s);"));
                    }
                });
                t.line(format!("y[o] = c{i}_{j} + s * alpha{bias}{more};"));
            });
        });
        t.finish()
    }
}

//! Products on real GPUs.

use super::super::panel::{self, DEPTH, SIDE, VECTORS, WORKGROUP, place};
use super::super::parts;
use super::super::text::{Text, VEC4};
use super::{Bias, Form, LowRank, Product, SIZES};

/// A product whose workgroups compute 64 x 64 results; see [`panel`]. Half of the invocations copy a,
/// the others b: four vectors each. A product of low rank is added as further terms of the sums. For
/// real GPUs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Panel {
    /// What is computed.
    pub product: Product,
}

/// Rows of a, or columns of b.
struct Factor {
    buffer: &'static str,
    /// Whether the terms of a sum lie next to each other in the buffer. Otherwise its rows (columns)
    /// do.
    along_k: bool,
    /// How many rows (columns) there are, in numbers, and in vectors; which is the workgroup's first.
    size: [&'static str; 3],
    /// Where the product's part of the buffer starts, in numbers.
    start: &'static str,
}

impl Panel {
    /// Whether there is such a kernel for these sizes: what is read four numbers at a time has to be
    /// a multiple of 4, and the sums have no rest.
    pub fn takes(product: Product, [m, n, k]: [u32; 3]) -> bool {
        let along_m = product.form != Form::Tn || m.is_multiple_of(4);
        let low_rank = product.low_rank != LowRank::Any;
        k.is_multiple_of(DEPTH) && n.is_multiple_of(4) && along_m && low_rank
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let Product { form, bias, residual, low_rank, a, b } = self.product;
        let bias_element = if bias == Bias::Columns { VEC4 } else { "f32" };
        let elements = [a.element(true), b.element(true), bias_element, VEC4];
        let mut t = Text::new(self.product.bindings(elements));
        a.declare(&mut t, "a", true);
        b.declare(&mut t, "b", true);
        panel::declare(&mut t);
        t.main(WORKGROUP, |t| {
            t.lines(["let M = info[0];", "let N4 = info[1] / 4u;", "let terms = info[2];"]);
            t.lines(["let M4 = M / 4u;", "let N = info[1];", "let R = info[7];"]);
            let length = if low_rank == LowRank::None {
                "info[2]".into()
            } else {
                format!("info[2] + (info[7] + {}u) / {DEPTH}u * {DEPTH}u", DEPTH - 1)
            };
            panel::locate(t, &length, parts::place(SIZES));
            t.line("let alpha = bitcast<f32>(info[6]);");
            // Four terms, 4 kq and so on, of four rows (columns), 4 q and so on.
            t.lines(["let of_a = lane < 64u;", "let kq = lane % 4u;", "let q = lane % 64u / 4u;"]);
            t.line(format!("let sp = select({VECTORS}u, 0u, of_a) + kq * {}u + q;", place(1, 0)));
            let along_k = [form != Form::Tn, form == Form::Nt];
            let factors = [
                Factor {
                    buffer: "a",
                    along_k: along_k[0],
                    size: ["M", "M4", "m0"],
                    start: "wg.z * info[3]",
                },
                Factor {
                    buffer: "b",
                    along_k: along_k[1],
                    size: ["N", "N4", "n0"],
                    start: "wg.z * info[4]",
                },
            ];
            t.lines((0..4).map(|j| format!("var p{j} = 0u;")));
            either(t, &factors, |t, factor| factor.locate(t));
            t.block(format!("for (var k0 = 0u; k0 < K; k0 += {DEPTH}u)"), |t| {
                t.lines((0..4).map(|j| format!("var g{j} = {VEC4}();")));
                if low_rank == LowRank::None {
                    self.copy(t, &factors);
                } else {
                    t.block("if (k0 < terms)", |t| self.copy(t, &factors));
                    t.block("if (k0 >= terms)", copy_low_rank);
                }
                t.lines((0..4).map(|j| format!("s[sp + {}u] = g{j};", place(0, j))));
                panel::multiply(t);
            });
            let alpha = if low_rank == LowRank::None { " * alpha" } else { "" };
            let bias = match bias {
                Bias::None => "",
                Bias::Columns => " + bias[n]",
                Bias::Rows => " + bias[r]",
            };
            let more = if residual { " + res[o]" } else { "" };
            t.lines(["let yb = wg.z * info[5] / 4u;", "let n = n0 / 4u + li.x;"]);
            t.block("if (n < N4)", |t| {
                panel::store(t, "M", |t, i| {
                    t.line("let o = yb + r * N4 + n;");
                    t.line(format!("y[o] = c{i}{alpha}{bias}{more};"));
                });
            });
        });
        t.finish()
    }

    /// This invocation's part of a step: reads `g{j}`, four rows (columns) of term `4 kq + j`.
    fn copy(&self, t: &mut Text, factors: &[Factor; 2]) {
        either(t, factors, |t, factor| {
            let stored = if factor.buffer == "a" { self.product.a } else { self.product.b };
            let load = |j| stored.at(factor.buffer, &format!("p{j}"), true);
            if factor.along_k {
                t.lines((0..4).map(|j| format!("let r{j} = {};", load(j))));
                turn(t);
                t.lines((0..4).map(|j| format!("p{j} += {}u;", DEPTH / 4)));
            } else {
                t.lines((0..4).map(|j| format!("g{j} = {};", load(j))));
                t.lines((0..4).map(|j| format!("p{j} += {DEPTH}u * {};", factor.size[1])));
            }
        });
    }

    /// Workgroups for `batch` products with `[m, n]` results.
    pub fn grid(m: u32, n: u32, batch: u32) -> [u32; 3] {
        [n.div_ceil(SIDE), m.div_ceil(SIDE), batch]
    }
}

impl Factor {
    /// Where this invocation's vectors of the first step lie, `p{j}`. Rows (columns) beyond the last
    /// are the last again; nothing is stored of them.
    fn locate(&self, t: &mut Text) {
        let [size, vectors, first] = self.size;
        for j in 0..4 {
            let at = if self.along_k {
                format!("min({first} + 4u * q + {j}u, {size} - 1u) * (terms / 4u) + kq")
            } else {
                format!("(4u * kq + {j}u) * {vectors} + min({first} / 4u + q, {vectors} - 1u)")
            };
            t.line(format!("p{j} = ({}) / 4u + {at};", self.start));
        }
    }
}

/// Does something for the factor that this invocation copies.
fn either(t: &mut Text, [a, b]: &[Factor; 2], body: impl Fn(&mut Text, &Factor)) {
    t.block("if (of_a)", |t| body(t, a));
    t.block("if (!of_a)", |t| body(t, b));
}

/// `g{j}` of four terms from `r{j}` of four rows.
fn turn(t: &mut Text) {
    for j in 0..4 {
        let parts: Vec<_> = (0..4).map(|row| format!("r{row}[{j}]")).collect();
        t.line(format!("g{j} = {VEC4}({});", parts.join(", ")));
    }
}

/// As [`Panel::copy`], of the product of low rank, which has zeros beyond its rank.
fn copy_low_rank(t: &mut Text) {
    t.lines(["let k = k0 - terms + 4u * kq;", "let inside = k < R;"]);
    t.block("if (of_a && inside)", |t| {
        let load = |j| {
            let row = format!("min(m0 + 4u * q + {j}u, M - 1u)");
            format!("let r{j} = h[({row} * R + k) / 4u] * alpha;")
        };
        t.lines((0..4).map(load));
        turn(t);
    });
    t.block("if (!of_a && inside)", |t| {
        t.line("let column = min(n0 / 4u + q, N4 - 1u);");
        t.lines((0..4).map(|j| format!("g{j} = u[(k + {j}u) * N4 + column];")));
    });
}

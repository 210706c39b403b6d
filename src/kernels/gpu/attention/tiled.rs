//! Attention by way of workgroup memory.

use super::super::parts;
use super::super::text::{Text, VEC4};
use super::{Pass, SIZES, Sizes};

mod gradients;

/// Attention in tiles, for real GPUs: a workgroup has some rows (queries; for [`Pass::KeyGradient`]
/// keys), and goes over all columns (keys; queries), some at a time. Its invocations compute 4 x 4
/// products of rows and columns each, `depth` terms at a time, pass what becomes of them through
/// workgroup memory, and add multiples of columns to sums of 4 rows, of which each has some vectors.
/// No invocation keeps a whole row: that is what overflows registers.
///
/// The four columns of an invocation, and the vectors of its sums, are `lanes` apart: neighbouring
/// invocations read neighbouring vectors of workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiled {
    /// What is computed.
    pub pass: Pass,
    /// Width of a head.
    pub width: u32,
    /// Whether query i sees the keys up to `i + keys - queries` only.
    pub causal: bool,
    /// Invocations side by side; a tile has four times as many columns.
    lanes: u32,
    /// Invocations one below the other; a tile has four times as many rows.
    height: u32,
    /// Terms of a product per step.
    depth: u32,
    /// Columns per step when multiples of them are added.
    step: u32,
}

/// Vectors that are left free after four terms in workgroup memory: neighbouring invocations write
/// terms that are four apart, which would lie in one bank.
const GAP: u32 = 2;

/// A buffer's rows of one head, of which there are `count` (a variable), from vector `base` on.
#[derive(Clone, Copy)]
struct Side {
    buffer: &'static str,
    base: &'static str,
    count: &'static str,
}

impl Tiled {
    /// The kernel, where there is one for heads of this width.
    pub fn new(pass: Pass, width: u32, causal: bool) -> Option<Self> {
        // Such that 16 KiB of workgroup memory are enough, and lanes divide the vectors of a row. The
        // gradients keep more numbers: with one vector of each sum to an invocation, they need no more
        // registers than there are.
        let forward = matches!(pass, Pass::Forward { .. });
        let [lanes, height, depth, step] = match (width, forward) {
            (40, _) => [10, 16, 20, 20],
            (64, true) => [8, 16, 16, 16],
            (64, false) => [16, 8, 16, 16],
            (80, true) => [10, 16, 20, 8],
            (80, false) => [20, 8, 20, 8],
            (160, true) => [20, 8, 20, 8],
            (160, false) => [40, 4, 8, 8],
            _ => return None,
        };
        let tiled = Self { pass, width, causal, lanes, height, depth, step };
        (pass != Pass::Statistics).then_some(tiled)
    }

    /// Rows of a workgroup.
    pub fn rows(&self) -> u32 {
        4 * self.height
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        [self.lanes, self.height, 1]
    }

    /// Workgroups for these sizes.
    pub fn grid(&self, sizes: &Sizes) -> [u32; 3] {
        let keys = self.pass == Pass::KeyGradient;
        let length = if keys { sizes.keys } else { sizes.queries };
        [length.div_ceil(self.rows()), sizes.heads, sizes.n]
    }

    fn invocations(&self) -> u32 {
        self.lanes * self.height
    }

    /// Vectors of a row.
    fn vectors(&self) -> u32 {
        self.width / 4
    }

    /// Vectors of a row that an invocation has the sums of.
    fn own(&self) -> u32 {
        self.vectors() / self.lanes
    }

    /// Columns of a tile.
    fn columns(&self) -> u32 {
        4 * self.lanes
    }

    /// Where in workgroup memory the factors lie that sums are made of: behind the columns' vectors,
    /// and behind the numbers that [`Self::share`] passes on.
    fn factors(&self) -> u32 {
        (self.step * self.vectors()).max(self.invocations())
    }

    /// From the factors of one column to those of the next: an odd number of vectors, so that
    /// invocations side by side write to banks of their own, where memory is enough.
    fn pitch(&self) -> u32 {
        if self.width == 160 { self.height } else { self.height + 1 }
    }

    /// Vectors of workgroup memory: the two uses follow each other.
    fn memory(&self) -> u32 {
        let products = self.depth * (self.height + self.lanes) + 2 * GAP * (self.depth / 4);
        products.max(self.factors() + self.columns() * self.pitch())
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let mut t = Text::new(self.pass.bindings());
        t.line(format!("var<workgroup> s: array<{VEC4}, {}>;", self.memory()));
        t.line("var<workgroup> bounds: vec4<u32>;");
        t.main(self.workgroup(), |t| {
            let keys = self.pass == Pass::KeyGradient;
            self.locate(t, if keys { ["lk", "lq"] } else { ["lq", "lk"] });
            match self.pass {
                Pass::Forward { statistics } => self.forward(t, statistics),
                Pass::QueryGradient => self.query_gradient(t),
                Pass::KeyGradient => self.key_gradient(t),
                Pass::Statistics => {}
            }
        });
        t.finish()
    }

    /// Sizes, of which `rows` is the number of rows and `columns` that of columns; the first row `r0`,
    /// and where rows (`rb`), columns (`cb`) and statistics (`sb`) of the head start.
    fn locate(&self, t: &mut Text, [rows, columns]: [&str; 2]) {
        let [_, wy] = parts::place(SIZES);
        // The loop has barriers in it, so its bounds have to be the same for all invocations, which the
        // compiler believes of this only.
        let numbers = format!("vec4<u32>(info[1], info[2], info[{SIZES}], 0u)");
        t.block("if (lane == 0u)", |t| t.line(format!("bounds = {numbers};")));
        t.line("let all = workgroupUniformLoad(&bounds);");
        t.lines(["let lq = all.x;", "let lk = all.y;", "let heads = info[3];"]);
        t.lines(["let scale = bitcast<f32>(info[4]);", &format!("let head = {wy};")]);
        t.line(format!("let r0 = (wg.x + all.z) * {}u;", self.rows()));
        t.line(format!("let rs = heads * {}u;", self.vectors()));
        t.line(format!("let rb = wg.z * {rows} * rs + head * {}u;", self.vectors()));
        t.line(format!("let cb = wg.z * {columns} * rs + head * {}u;", self.vectors()));
        t.line("let sb = (wg.z * heads + head) * lq;");
        t.lines((0..4).map(|i| format!("let ri{i} = r0 + 4u * li.y + {i}u;")));
    }

    fn forward(&self, t: &mut Text, statistics: bool) {
        let [q, k, v] = [row("q", "lq"), column("k", "lk"), column("v", "lk")];
        self.declare_sums(t, "o");
        for i in 0..4 {
            // The largest score so far, and the sum of powers relative to it: of two, since hardware
            // has those.
            t.lines([format!("var m{i} = -3.0e38;"), format!("var l{i} = 0.0;")]);
        }
        let height = self.height;
        self.each_tile(t, "lk", |t| {
            self.multiply(t, "s", q, k, " * (scale * 1.4426950408889634)");
            self.locate_columns(t);
            for i in 0..4 {
                let hidden = self.hidden("lk", &format!("cj > vec4<u32>(ri{i} + lk - lq)"));
                t.line(format!("s{i} = select(s{i}, {VEC4}(-3.4e38), {hidden});"));
                let pairs = ["x", "z"].map(|a| (a, if a == "x" { "y" } else { "w" }));
                let largest = pairs.map(|(a, b)| format!("max(s{i}.{a}, s{i}.{b})"));
                t.line(format!("let h{i} = max({}, {});", largest[0], largest[1]));
            }
            self.share(t, "h");
            t.line(format!("var n = {VEC4}(m0, m1, m2, m3);"));
            t.block(format!("for (var e = 0u; e < {}u; e++)", self.lanes), |t| {
                t.line(format!("n = max(n, s[e * {height}u + li.y]);"));
            });
            for i in 0..4 {
                t.line(format!("let f{i} = exp2(m{i} - n[{i}]);"));
                t.line(format!("let p{i} = exp2(s{i} - n[{i}]);"));
                t.line(format!("m{i} = n[{i}];"));
                t.line(format!("l{i} = l{i} * f{i} + p{i}.x + p{i}.y + p{i}.z + p{i}.w;"));
                t.lines((0..self.own()).map(|c| format!("o{i}_{c} *= f{i};")));
            }
            self.pass_on(t, "p");
            self.add(t, "o", v);
        });
        self.share(t, "l");
        t.line(format!("var l = {VEC4}();"));
        t.block(format!("for (var e = 0u; e < {}u; e++)", self.lanes), |t| {
            t.line(format!("l += s[e * {height}u + li.y];"));
        });
        self.each_row(t, "lq", |t, i| {
            self.store(t, i, "o", "o", &format!(" / l[{i}]"));
            if statistics {
                t.block("if (li.x == 0u)", |t| {
                    t.line(format!(
                        "lse[sb + ri{i}] = (m{i} + log2(l[{i}])) * 0.6931471805599453;"
                    ));
                });
            }
        });
    }

    /// Goes over the columns, of which there are `count`, from `j` on a tile at a time: with `causal`
    /// only over what one of the rows sees, or is seen by.
    fn each_tile(&self, t: &mut Text, count: &str, body: impl FnOnce(&mut Text)) {
        let [first, end] = match (self.causal, self.pass) {
            (false, _) => ["0u".into(), count.into()],
            (true, Pass::KeyGradient) => {
                let seen = "u32(max(i32(r0 + lq) - i32(lk), 0))";
                [format!("{seen} / {0}u * {0}u", self.columns()), count.into()]
            }
            (true, _) => ["0u".into(), format!("min(r0 + {}u + lk - lq, lk)", self.rows())],
        };
        let columns = self.columns();
        t.line(format!("let end = {end};"));
        t.block(format!("for (var j = {first}; j < end; j += {columns}u)"), body);
    }

    fn declare_sums(&self, t: &mut Text, sum: &str) {
        for i in 0..4 {
            t.lines((0..self.own()).map(|c| format!("var {sum}{i}_{c} = {VEC4}();")));
        }
    }

    /// `{sum}{i}`: the products of row i and this invocation's four columns, the rows times a factor.
    fn multiply(&self, t: &mut Text, sum: &str, rows: Side, columns: Side, factor: &str) {
        let Self { lanes, height, depth, .. } = *self;
        let fours = depth / 4;
        let behind = depth * height + GAP * fours;
        t.lines((0..4).map(|i| format!("var {sum}{i} = {VEC4}();")));
        t.block(format!("for (var d = 0u; d < {}u; d += {fours}u)", self.vectors()), |t| {
            // An invocation copies four terms of four rows, or of four columns, which it turns.
            let (of_rows, all) = (height * fours, (height + lanes) * fours);
            t.line(format!("let of_rows = lane < {of_rows}u;"));
            t.line(format!("let e = select(lane - {of_rows}u, lane, of_rows);"));
            t.lines([format!("let dq = e % {fours}u;"), format!("let quad = e / {fours}u;")]);
            t.lines((0..4).map(|i| format!("var g{i} = {VEC4}();")));
            let load = |t: &mut Text, side: Side, at: &dyn Fn(u32) -> String, factor: &str| {
                let Side { buffer, base, count } = side;
                for i in 0..4 {
                    let place = format!("min({}, {count} - 1u)", at(i));
                    t.line(format!("g{i} = {buffer}[{base} + {place} * rs + d + dq]{factor};"));
                }
            };
            t.block("if (of_rows)", |t| {
                load(t, rows, &|i| format!("r0 + 4u * quad + {i}u"), factor);
            });
            t.block(format!("if (!of_rows && lane < {all}u)"), |t| {
                load(t, columns, &|i| format!("j + quad + {}u", i * lanes), "");
            });
            // What lies there is read no more once all invocations are here.
            t.line("workgroupBarrier();");
            t.block(format!("if (lane < {all}u)"), |t| {
                let [a, b] = [height, lanes].map(|length| 4 * length + GAP);
                t.line(format!(
                    "let at = select({behind}u + dq * {b}u, dq * {a}u, of_rows) + quad;"
                ));
                t.line(format!("let pitch = select({lanes}u, {height}u, of_rows);"));
                for term in 0..4 {
                    let parts: Vec<_> = (0..4).map(|i| format!("g{i}[{term}]")).collect();
                    t.line(format!("s[at + {term}u * pitch] = {VEC4}({});", parts.join(", ")));
                }
            });
            t.line("workgroupBarrier();");
            t.block(format!("for (var f = 0u; f < {fours}u; f++)"), |t| {
                let [a, b] = [height, lanes].map(|length| 4 * length + GAP);
                t.line(format!("let pa = f * {a}u + li.y;"));
                t.line(format!("let pb = {behind}u + f * {b}u + li.x;"));
                for term in 0..4 {
                    t.block("", |t| {
                        t.line(format!("let a = s[pa + {}u];", term * height));
                        t.line(format!("let b = s[pb + {}u];", term * lanes));
                        t.lines(
                            (0..4).map(|i| format!("{sum}{i} = fma({VEC4}(a[{i}]), b, {sum}{i});")),
                        );
                    });
                }
            });
        });
    }

    /// `cj`: this invocation's columns.
    fn locate_columns(&self, t: &mut Text) {
        let places: Vec<_> = (0..4).map(|e| format!("{}u", e * self.lanes)).collect();
        t.line(format!("let cj = vec4<u32>(j + li.x) + vec4<u32>({});", places.join(", ")));
    }

    /// Which of the columns don't exist, or, with `causal`, are `unseen`.
    fn hidden(&self, count: &str, unseen: &str) -> String {
        let beyond = format!("cj >= vec4<u32>({count})");
        if self.causal { format!("({beyond}) | ({unseen})") } else { beyond }
    }

    /// Puts a number of each row, `{name}{i}`, where the others of the row find it.
    fn share(&self, t: &mut Text, name: &str) {
        let height = self.height;
        t.line("workgroupBarrier();");
        let numbers: Vec<_> = (0..4).map(|i| format!("{name}{i}")).collect();
        t.line(format!("s[li.x * {height}u + li.y] = {VEC4}({});", numbers.join(", ")));
        t.line("workgroupBarrier();");
    }

    /// Puts the factors of rows and columns, `{name}{i}`, where [`Self::add`] reads them: vectors of
    /// four rows of one column.
    fn pass_on(&self, t: &mut Text, name: &str) {
        for e in 0..4 {
            let rows: Vec<_> = (0..4).map(|i| format!("{name}{i}[{e}]")).collect();
            let at = self.factors() + e * self.lanes * self.pitch();
            let place = format!("{at}u + li.x * {}u + li.y", self.pitch());
            t.line(format!("s[{place}] = {VEC4}({});", rows.join(", ")));
        }
    }

    /// Adds to the sums of each row the columns of the tile, each times its factor.
    fn add(&self, t: &mut Text, sum: &str, columns: Side) {
        let Self { lanes, step, .. } = *self;
        let Side { buffer, base, count } = columns;
        let (vectors, total) = (self.vectors(), step * self.vectors());
        let rounds = total.div_ceil(self.invocations());
        t.block(format!("for (var c0 = 0u; c0 < {}u; c0 += {step}u)", self.columns()), |t| {
            for round in 0..rounds {
                t.line(format!("let e{round} = lane + {}u;", round * self.invocations()));
                let place = format!("min(j + c0 + e{round} / {vectors}u, {count} - 1u)");
                let place = format!("{base} + {place} * rs + e{round} % {vectors}u");
                t.line(format!("let g{round} = {buffer}[{place}];"));
            }
            t.line("workgroupBarrier();");
            for round in 0..rounds {
                let inside = if (round + 1) * self.invocations() <= total {
                    String::new()
                } else {
                    format!("if (e{round} < {total}u)")
                };
                t.block(inside, |t| t.line(format!("s[e{round}] = g{round};")));
            }
            t.line("workgroupBarrier();");
            t.block(format!("for (var e = 0u; e < {step}u; e += 4u)"), |t| {
                let (first, pitch) = (self.factors(), self.pitch());
                t.line(format!("let pa = {first}u + (c0 + e) * {pitch}u + li.y;"));
                t.line(format!("let pb = e * {vectors}u + li.x;"));
                for e in 0..4 {
                    t.block("", |t| {
                        t.line(format!("let a = s[pa + {}u];", e * pitch));
                        for c in 0..self.own() {
                            t.line(format!("let b{c} = s[pb + {}u];", e * vectors + c * lanes));
                            t.lines((0..4).map(|i| {
                                format!("{sum}{i}_{c} = fma({VEC4}(a[{i}]), b{c}, {sum}{i}_{c});")
                            }));
                        }
                    });
                }
            });
        });
    }

    /// Does something for each row that exists.
    fn each_row(&self, t: &mut Text, count: &str, body: impl Fn(&mut Text, u32)) {
        for i in 0..4 {
            t.block(format!("if (ri{i} < {count})"), |t| {
                t.line(format!("let at = rb + ri{i} * rs + li.x;"));
                body(t, i);
            });
        }
    }

    /// Writes this invocation's sums of row i, each times a factor.
    fn store(&self, t: &mut Text, i: u32, buffer: &str, sum: &str, factor: &str) {
        t.lines(
            (0..self.own())
                .map(|c| format!("{buffer}[at + {}u] = {sum}{i}_{c}{factor};", c * self.lanes)),
        );
    }
}

/// Rows of a buffer.
fn row(buffer: &'static str, count: &'static str) -> Side {
    Side { buffer, base: "rb", count }
}

/// Columns of a tile.
fn column(buffer: &'static str, count: &'static str) -> Side {
    Side { buffer, base: "cb", count }
}

//! Attention straight from the buffers.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::parts;
use super::super::text::{Text, VEC2, VEC4, sum4};
use super::{Pass, SIZES, Sizes};

/// Attention in which every invocation goes over the keys for some queries of its own (over the queries
/// for some keys, for [`Pass::KeyGradient`]), straight from the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direct {
    /// What is computed.
    pub pass: Pass,
    /// Width of a head, a multiple of 4.
    pub width: u32,
    /// Whether query i sees the keys up to `i + keys - queries` only.
    pub causal: bool,
    /// Queries of an invocation (keys, for [`Pass::KeyGradient`]), `group` apart: neighbouring
    /// invocations have neighbouring rows.
    pub rows: u32,
    /// Keys per step of the running softmax: sums are scaled anew once per step.
    pub keys: u32,
    /// Invocations of a workgroup.
    pub group: u32,
    /// Whether the rows stay in registers. Otherwise they are read again at every step: wide heads
    /// need more registers than there are, and shaders with so many take seconds to compile.
    pub held: bool,
}

/// A row of the other side, which all rows of the block meet: it starts at `at` in `buffer`, and its
/// vectors are called `{name}_{c}`.
struct Other {
    buffer: &'static str,
    at: String,
    name: String,
}

impl Other {
    fn load(&self, t: &mut Text, c: u32) {
        let Self { buffer, at, name } = self;
        t.line(format!("let {name}_{c} = {buffer}[{at} + {c}u];"));
    }
}

impl Direct {
    /// The kernel for heads of this width.
    pub fn choose(pass: Pass, width: u32, causal: bool, sizes: &Sizes, software: bool) -> Self {
        let widest = [16, 48, 80, u32::MAX];
        let class = widest.iter().position(|widest| width <= *widest).unwrap_or(3);
        let (most, held) = match pass {
            Pass::Forward { .. } => ([8, 4, 4, 2][class], width <= 48),
            Pass::Statistics => (1, false),
            Pass::QueryGradient => ([8, 4, 2, 2][class], width <= 80),
            Pass::KeyGradient => ([4, 2, 1, 1][class], width <= 80),
        };
        // On a GPU one row, and many invocations, which read the same keys at the same time: from
        // the literature, not measured on a GPU here. On a CPU, no fewer than four invocations.
        let mut rows = if software { most } else { 1 };
        while rows > 1 && rows * 4 > sizes.queries.min(sizes.keys) {
            rows /= 2;
        }
        let keys = if software && class == 2 { 4 } else { 2 };
        let group = if software && pass != Pass::Statistics { 4 } else { 64 };
        let causal = causal && pass != Pass::Statistics;
        Self { pass, width, causal, rows, keys, group, held }
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        [self.group, 1, 1]
    }

    /// Workgroups for these sizes.
    pub fn grid(&self, sizes: &Sizes) -> [u32; 3] {
        let keys = self.pass == Pass::KeyGradient;
        let length = if keys { sizes.keys } else { sizes.queries };
        [length.div_ceil(self.rows * self.group), sizes.heads, sizes.n]
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let mut t = Text::new(self.pass.bindings());
        t.main(self.workgroup(), |t| match self.pass {
            Pass::Forward { statistics } => self.forward(t, statistics),
            Pass::Statistics => self.statistics(t),
            Pass::QueryGradient => self.query_gradient(t),
            Pass::KeyGradient => self.key_gradient(t),
        });
        t.finish()
    }

    fn forward(&self, t: &mut Text, statistics: bool) {
        self.locate(t, "lq", "lk");
        self.declare_rows(t, &["q"], &["o"]);
        for i in 0..self.rows {
            // The largest score so far, and the sum of exponentials relative to it.
            t.line(format!("var m{i} = -3.0e38;"));
            t.line(format!("var l{i} = 0.0;"));
        }
        self.each_key(t, self.keys, |t| self.step(t));
        self.each(t, "lq", |t, i| {
            t.line(format!("let r = 1.0 / l{i};"));
            self.store(t, i, "o", "o", " * r");
            if statistics {
                t.line(format!("lse[sb + ri{i}] = m{i} + log(l{i});"));
            }
        });
    }

    /// Some keys: exponentials are relative to the largest score up to here, and what is summed up
    /// already follows.
    fn step(&self, t: &mut Text) {
        let Self { rows, keys, causal, .. } = *self;
        for e in 0..keys {
            let key = if e == 0 { "j".into() } else { format!("min(j + {e}u, lk - 1u)") };
            t.line(format!("let j{e} = ob + {key} * rs;"));
        }
        let row = |buffer: &'static str, e: u32| Other {
            buffer,
            at: format!("j{e}"),
            name: format!("{buffer}{e}"),
        };
        let products: Vec<_> = (0..keys).map(|e| (format!("t{e}_"), row("k", e))).collect();
        let products: Vec<_> = products.iter().map(|(sum, k)| (sum.as_str(), "q", k)).collect();
        self.multiply(t, &products);
        for i in 0..rows {
            for e in 0..keys {
                let score = format!("({}) * scale", sum4(&format!("t{e}_{i}")));
                let beyond = (e > 0).then(|| format!("j + {e}u >= lk"));
                let later = causal.then(|| format!("j + {e}u > ri{i} + lk - lq"));
                let hidden: Vec<_> = beyond.into_iter().chain(later).collect();
                t.line(match hidden.as_slice() {
                    [] => format!("let s{e}_{i} = {score};"),
                    any => {
                        format!("let s{e}_{i} = select({score}, -3.4e38, {});", any.join(" || "))
                    }
                });
            }
            let largest = (0..keys).fold(format!("m{i}"), |m, e| format!("max({m}, s{e}_{i})"));
            t.line(format!("let n{i} = {largest};"));
            t.line(format!("let f{i} = exp(m{i} - n{i});"));
            t.line(format!("m{i} = n{i};"));
            t.lines((0..keys).map(|e| format!("let p{e}_{i} = exp(s{e}_{i} - n{i});")));
            let sum = (0..keys).fold(format!("l{i} * f{i}"), |sum, e| format!("{sum} + p{e}_{i}"));
            t.line(format!("l{i} = {sum};"));
            t.lines(self.vectors().map(|c| format!("o{i}_{c} *= f{i};")));
        }
        for e in 0..keys {
            self.add(t, &[("o", &format!("p{e}_"), &row("v", e))], false);
        }
    }

    fn statistics(&self, t: &mut Text) {
        self.locate(t, "lq", "lk");
        t.line(format!("var t = {VEC4}();"));
        t.block(format!("for (var c = 0u; c < {}u; c++)", self.width / 4), |t| {
            t.line("t = fma(g[b0 + c], o[b0 + c], t);");
        });
        t.line(format!("stats[sb + r0] = {VEC2}(lse[sb + r0], {});", sum4("t")));
    }

    fn query_gradient(&self, t: &mut Text) {
        let [k, v] =
            ["k", "v"].map(|buffer| Other { buffer, at: "kj".into(), name: buffer.into() });
        self.locate(t, "lq", "lk");
        self.declare_rows(t, &["q", "g"], &["x"]);
        t.lines((0..self.rows).map(|i| format!("let st{i} = stats[sb + ri{i}];")));
        self.each_key(t, 1, |t| {
            t.line("let kj = ob + j * rs;");
            self.multiply(t, &[("t", "q", &k), ("u", "g", &v)]);
            for i in 0..self.rows {
                self.declare_factors(t, i, &format!("st{i}"), format!("j > ri{i} + lk - lq"));
            }
            self.add(t, &[("x", "s", &k)], self.held);
        });
        self.each(t, "lq", |t, i| self.store(t, i, "dq", "x", " * scale"));
    }

    fn key_gradient(&self, t: &mut Text) {
        let [q, g] =
            ["q", "g"].map(|buffer| Other { buffer, at: "qi".into(), name: buffer.into() });
        self.locate(t, "lk", "lq");
        self.declare_rows(t, &["k", "v"], &["x", "y"]);
        // Queries before that see none of these keys.
        let first = if self.causal { "u32(max(i32(ri0 + lq) - i32(lk), 0))" } else { "0u" };
        t.block(format!("for (var i = {first}; i < lq; i++)"), |t| {
            t.lines(["let qi = ob + i * rs;", "let st = stats[sb + i];"]);
            self.multiply(t, &[("t", "k", &q), ("u", "v", &g)]);
            for i in 0..self.rows {
                self.declare_factors(t, i, "st", format!("ri{i} > i + lk - lq"));
            }
            self.add(t, &[("x", "s", &q), ("y", "p", &g)], self.held);
        });
        self.each(t, "lk", |t, i| {
            self.store(t, i, "dk", "x", " * scale");
            self.store(t, i, "dv", "y", "");
        });
    }

    /// Of row i: the probability `p{i}` and `s{i}`, from products `t{i}` of q and k, `u{i}` of g
    /// and v.
    fn declare_factors(&self, t: &mut Text, i: u32, stats: &str, hidden: String) {
        let p = format!("exp(({}) * scale - {stats}.x)", sum4(&format!("t{i}")));
        let p = if self.causal { format!("select({p}, 0.0, {hidden})") } else { p };
        t.line(format!("let p{i} = {p};"));
        t.line(format!("let s{i} = p{i} * ({} - {stats}.y);", sum4(&format!("u{i}"))));
    }

    /// A row's vectors.
    fn vectors(&self) -> Range<u32> {
        0..self.width / 4
    }

    /// Where the rows are, of which the sequence has `length`: their numbers `ri{i}` and starts
    /// `b{i}`; and where the `others` of the sequence (`ob`, `rs` from each to the next) and its
    /// statistics (`sb`) start.
    fn locate(&self, t: &mut Text, length: &str, others: &str) {
        let Self { width, rows, group, .. } = *self;
        t.lines(["let lq = info[1];", "let lk = info[2];", "let heads = info[3];"]);
        t.line("let scale = bitcast<f32>(info[4]);");
        let [wx, wy] = parts::place(SIZES);
        t.line(format!("let r0 = {wx} * {}u + li.x;", rows * group));
        t.block(format!("if (r0 >= {length})"), |t| t.line("return;"));
        t.line(format!("let rs = heads * {}u;", width / 4));
        t.line(format!("let hb = {wy} * {}u;", width / 4));
        t.line(format!("let ob = wg.z * {others} * rs + hb;"));
        t.line(format!("let sb = (wg.z * heads + {wy}) * lq;"));
        for i in 0..rows {
            t.line(format!("let ri{i} = min(r0 + {}u, {length} - 1u);", i * group));
            t.line(format!("let b{i} = (wg.z * {length} + ri{i}) * rs + hb;"));
        }
    }

    /// Goes over the keys `j`, up to the last that a query of the block sees.
    fn each_key(&self, t: &mut Text, step: u32, body: impl FnOnce(&mut Text)) {
        let last = format!("min(ri{} + lk - lq + 1u, lk)", self.rows - 1);
        t.line(format!("let last = {};", if self.causal { &last } else { "lk" }));
        t.block(format!("for (var j = 0u; j < last; j += {step}u)"), body);
    }

    /// Reads the block's rows of these buffers, if they are held, and starts sums of rows.
    fn declare_rows(&self, t: &mut Text, buffers: &[&str], sums: &[&str]) {
        for i in 0..self.rows {
            for c in self.vectors() {
                if self.held {
                    let load = |buffer| format!("let {buffer}{i}_{c} = {buffer}[b{i} + {c}u];");
                    t.lines(buffers.iter().map(load));
                }
                t.lines(sums.iter().map(|sum| format!("var {sum}{i}_{c} = {VEC4}();")));
            }
        }
    }

    /// Products of the block's rows and others: `{sum}{i}` is that of row i of the buffer `own`.
    fn multiply(&self, t: &mut Text, products: &[(&str, &str, &Other)]) {
        for (sum, ..) in products {
            t.lines((0..self.rows).map(|i| format!("var {sum}{i} = {VEC4}();")));
        }
        let add = |t: &mut Text, c: &str| {
            for (sum, own, Other { name, .. }) in products {
                let add = |i| format!("{sum}{i} = fma({own}{i}_{c}, {name}_{c}, {sum}{i});");
                t.lines((0..self.rows).map(add));
            }
        };
        if self.held {
            for c in self.vectors() {
                products.iter().for_each(|(.., other)| other.load(t, c));
                add(t, &c.to_string());
            }
            return;
        }
        let owns: BTreeSet<_> = products.iter().map(|(_, own, _)| own).collect();
        t.block(format!("for (var c = 0u; c < {}u; c++)", self.width / 4), |t| {
            for own in owns {
                t.lines((0..self.rows).map(|i| format!("let {own}{i}_c = {own}[b{i} + c];")));
            }
            for (.., Other { buffer, at, name }) in products {
                t.line(format!("let {name}_c = {buffer}[{at} + c];"));
            }
            add(t, "c");
        });
    }

    /// Adds multiples of others to the block's sums: `{factor}{i}` of them to `{sum}{i}_{c}`. They
    /// are `loaded` already, or are now.
    fn add(&self, t: &mut Text, multiples: &[(&str, &str, &Other)], loaded: bool) {
        for c in self.vectors() {
            for (sum, factor, other) in multiples {
                if !loaded {
                    other.load(t, c);
                }
                for i in 0..self.rows {
                    let product = format!("{VEC4}({factor}{i}), {}_{c}", other.name);
                    t.line(format!("{sum}{i}_{c} = fma({product}, {sum}{i}_{c});"));
                }
            }
        }
    }

    /// Does something for each row i that exists.
    fn each(&self, t: &mut Text, length: &str, body: impl Fn(&mut Text, u32)) {
        for i in 0..self.rows {
            t.block(format!("if (r0 + {}u < {length})", i * self.group), |t| body(t, i));
        }
    }

    /// Writes the sums of row i to a buffer, each times a factor.
    fn store(&self, t: &mut Text, i: u32, buffer: &str, sum: &str, factor: &str) {
        let store = |c| format!("{buffer}[b{i} + {c}u] = {sum}{i}_{c}{factor};");
        t.lines(self.vectors().map(store));
    }
}

//! Products straight from the buffers.

use super::super::parts;
use super::super::text::{F32, Text, VEC4};
use super::{Bias, Form, LowRank, Product, SIZES};

/// A product in which each invocation keeps a tile of y in registers.
///
/// Where `m4`, `n4` or `k4` says that a size is a multiple of 4, what lies along it is read four
/// numbers at a time, and batch strides have to be multiples of 4 too. With `n4`, `Nn` and `Tn` need
/// a multiple of 4 as `columns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direct {
    /// What is computed.
    pub product: Product,
    /// Rows of y that an invocation computes, next to each other.
    pub rows: u32,
    /// Columns of y that an invocation computes: with vectors, runs of 4. Neighbouring invocations
    /// take neighbouring runs, so that their reads and writes coalesce.
    pub columns: u32,
    /// Invocations of a workgroup along the columns of y, and along its rows.
    pub group: [u32; 2],
    /// Whether M is a multiple of 4.
    pub m4: bool,
    /// Whether N is a multiple of 4.
    pub n4: bool,
    /// Whether K is a multiple of 4.
    pub k4: bool,
}

impl Direct {
    /// The kernel for sizes `[M, N, K]`. Tiles come from few sizes, so that few shaders are compiled.
    pub fn choose(product: Product, [m, n, k]: [u32; 3], software: bool) -> Self {
        let n4 = product.form != Form::Nt && n.is_multiple_of(4);
        let narrowest = if n4 { 4 } else { 1 };
        let mut rows = power_of_two(m, if software && m >= 256 { 16 } else { 8 });
        let mut columns = power_of_two(n, if software { 16 } else { 8 }).max(narrowest);
        // On a CPU, 64 invocations, 4 workgroups, keep the cores busy; on a GPU, 8192 of them hide
        // the latency of memory.
        let (wanted, smallest) = if software { (64, 16) } else { (8192, narrowest) };
        let results = u64::from(m) * u64::from(n);
        while results / u64::from(rows * columns) < wanted && rows * columns > smallest {
            if rows > 1 && (rows >= columns || columns <= 4) {
                rows /= 2;
            } else {
                columns /= 2;
            }
        }
        // With so few rows, what is read of b is hardly used again: wide tiles only cost registers.
        if rows <= 2 {
            columns = columns.min(8);
        }
        // Invocations along N, unless there are not so many columns.
        let (total, mut x) = if software { (16, 4) } else { (64, 16) };
        while x > 1 && x * columns >= 2 * n {
            x /= 2;
        }
        let mut y = total / x;
        while y > 1 && y * rows >= 2 * m {
            y /= 2;
        }
        // Nothing that makes no difference: each distinct kernel is compiled.
        let m4 = product.form == Form::Tn && m.is_multiple_of(4) && rows.is_multiple_of(4);
        let k4 = product.form != Form::Tn && k.is_multiple_of(4);
        Self { product, rows, columns, group: [x, y], m4, n4, k4 }
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let Product { a, b, bias, .. } = self.product;
        let y = if self.vectors_of_y() { VEC4 } else { F32 };
        let bias = if bias == Bias::Columns { y } else { F32 };
        let elements = [a.element(self.vectors_of_a()), b.element(self.vectors_of_b())];
        let mut t = Text::new(self.product.bindings([elements[0], elements[1], bias, y]));
        a.declare(&mut t, "a", self.vectors_of_a());
        b.declare(&mut t, "b", self.vectors_of_b());
        t.main([self.group[0], self.group[1], 1], |t| {
            self.locate(t);
            for i in 0..self.rows {
                t.lines((0..self.runs()).map(|j| format!("var c{i}_{j} = {y}();")));
            }
            match self.product.form {
                Form::Nt => self.multiply_nt(t),
                Form::Nn => self.multiply_nn(t),
                Form::Tn => self.multiply_tn(t),
            }
            if self.product.low_rank != LowRank::None {
                self.add_low_rank(t);
            }
            self.store(t);
        });
        t.finish()
    }

    fn vectors_of_a(&self) -> bool {
        match self.product.form {
            Form::Nt | Form::Nn => self.k4,
            Form::Tn => self.m4 && self.rows.is_multiple_of(4),
        }
    }

    fn vectors_of_b(&self) -> bool {
        if self.product.form == Form::Nt { self.k4 } else { self.n4 }
    }

    /// What of a is at `index`.
    fn a(&self, index: String) -> String {
        self.product.a.at("a", &index, self.vectors_of_a())
    }

    /// What of b is at `index`.
    fn b(&self, index: String) -> String {
        self.product.b.at("b", &index, self.vectors_of_b())
    }

    fn vectors_of_y(&self) -> bool {
        self.product.form != Form::Nt && self.n4
    }

    /// Columns as the text counts them: vectors, where it has vectors.
    fn runs(&self) -> u32 {
        if self.vectors_of_y() { self.columns / 4 } else { self.columns }
    }

    /// Where the tile lies: its row `r0`, its columns `n{j}` (`q0` and so on before clamping), where
    /// its rows of a (`p{i}`) and, if b lies along K, its columns of b (`o{j}`) start.
    fn locate(&self, t: &mut Text) {
        let Self { product: Product { form, .. }, rows, group: [x, y], .. } = *self;
        let (by_a, by_y) = (quarter(self.vectors_of_a()), quarter(self.vectors_of_y()));
        t.line("let M = info[0];");
        t.line(format!("let N = info[1]{by_y};"));
        t.line("let K = info[2];");
        let [wx, wy] = parts::place(SIZES);
        t.line(format!("let r0 = ({wy} * {y}u + li.y) * {rows}u;"));
        t.line(format!("let q0 = {wx} * {}u + li.x;", x * self.runs()));
        t.block("if (r0 >= M || q0 >= N)", |t| t.line("return;"));
        t.line("let ab = wg.z * info[3];");
        t.line(format!("let bb = wg.z * info[4]{by_y};"));
        t.line(format!("let yb = wg.z * info[5]{by_y};"));
        t.line("let alpha = bitcast<f32>(info[6]);");
        t.lines((0..self.runs()).map(|j| format!("let n{j} = min(q0 + {}u, N - 1u);", j * x)));
        if form != Form::Tn {
            let start = |i| format!("let p{i} = (ab + min(r0 + {i}u, M - 1u) * K){by_a};");
            t.lines((0..rows).map(start));
        } else if self.vectors_of_a() {
            let start = |i| format!("let p{i} = ab / 4u + min(r0 / 4u + {i}u, M / 4u - 1u);");
            t.lines((0..rows / 4).map(start));
        } else {
            t.lines((0..rows).map(|i| format!("let p{i} = ab + min(r0 + {i}u, M - 1u);")));
        }
        if form == Form::Nt {
            let start = |j| format!("let o{j} = (bb + n{j} * K){by_a};");
            t.lines((0..self.runs()).map(start));
        }
    }

    /// Both factors along K: four terms of every sum at a time.
    fn multiply_nt(&self, t: &mut Text) {
        let (length, terms) = if self.k4 { ("K / 4u", 4) } else { ("K", 1) };
        t.block(format!("for (var k = 0u; k < {length}; k++)"), |t| {
            let rows = (0..self.rows).map(|i| (i, self.a(format!("p{i} + k"))));
            t.lines(rows.map(|(i, a)| format!("let x{i} = {a};")));
            let columns = (0..self.columns).map(|j| (j, self.b(format!("o{j} + k"))));
            t.lines(columns.map(|(j, b)| format!("let w{j} = {b};")));
            for term in 0..terms {
                let part = if self.k4 { format!("[{term}]") } else { String::new() };
                self.add(t, |i| format!("x{i}{part}"), |j| format!("w{j}{part}"));
            }
        });
    }

    /// a along K, b along N: four rows of b at a time.
    fn multiply_nn(&self, t: &mut Text) {
        let (by_a, terms) = (quarter(self.k4), if self.k4 { 4 } else { 1 });
        t.block(format!("for (var k = 0u; k < K; k += {terms}u)"), |t| {
            let rows = (0..self.rows).map(|i| (i, self.a(format!("p{i} + k{by_a}"))));
            t.lines(rows.map(|(i, a)| format!("let x{i} = {a};")));
            for term in 0..terms {
                let part = if self.k4 { format!("[{term}]") } else { String::new() };
                t.line(format!("let bk{term} = bb + (k + {term}u) * N;"));
                let load = |j| format!("let w{term}_{j} = {};", self.b(format!("bk{term} + n{j}")));
                t.lines((0..self.runs()).map(load));
                self.add(t, |i| format!("x{i}{part}"), |j| format!("w{term}_{j}"));
            }
        });
    }

    /// a along M, b along N: the outer product of one row of each at a time.
    fn multiply_tn(&self, t: &mut Text) {
        let vectors = self.vectors_of_a();
        t.block("for (var k = 0u; k < K; k++)", |t| {
            t.line(format!("let ak = k * M{};", quarter(vectors)));
            t.line("let bk = bb + k * N;");
            let loads = if vectors { self.rows / 4 } else { self.rows };
            let rows = (0..loads).map(|i| (i, self.a(format!("p{i} + ak"))));
            t.lines(rows.map(|(i, a)| format!("let x{i} = {a};")));
            let columns = (0..self.runs()).map(|j| (j, self.b(format!("bk + n{j}"))));
            t.lines(columns.map(|(j, b)| format!("let w{j} = {b};")));
            let row = |i| if vectors { format!("x{}[{}]", i / 4, i % 4) } else { format!("x{i}") };
            self.add(t, row, |j| format!("w{j}"));
        });
    }

    /// A row of u, or four of them, at a time.
    fn add_low_rank(&self, t: &mut Text) {
        let fours = self.product.low_rank == LowRank::Fours;
        let (by, terms) = (quarter(fours), if fours { 4 } else { 1 });
        t.line("let R = info[7];");
        let start = |i| format!("let h{i} = min(r0 + {i}u, M - 1u) * R{by};");
        t.lines((0..self.rows).map(start));
        t.block(format!("for (var r = 0u; r < R; r += {terms}u)"), |t| {
            let load = |i| format!("let g{i} = h[h{i} + r{by}] * alpha;");
            t.lines((0..self.rows).map(load));
            for term in 0..terms {
                let part = if fours { format!("[{term}]") } else { String::new() };
                let load = |j| format!("let v{term}_{j} = u[(r + {term}u) * N + n{j}];");
                t.lines((0..self.runs()).map(load));
                self.add(t, |i| format!("g{i}{part}"), |j| format!("v{term}_{j}"));
            }
        });
    }

    /// A term of every sum: that of row i and column j is `x(i) * w(j)`.
    fn add(&self, t: &mut Text, x: impl Fn(u32) -> String, w: impl Fn(u32) -> String) {
        for i in 0..self.rows {
            let x = if self.vectors_of_y() { format!("{VEC4}({})", x(i)) } else { x(i) };
            t.lines((0..self.runs()).map(|j| format!("c{i}_{j} = fma({x}, {}, c{i}_{j});", w(j))));
        }
    }

    fn store(&self, t: &mut Text) {
        let Product { bias, residual, low_rank, .. } = self.product;
        let alpha = if low_rank == LowRank::None { " * alpha" } else { "" };
        for i in 0..self.rows {
            t.block(format!("if (r0 + {i}u < M)"), |t| {
                t.line(format!("let yo = yb + (r0 + {i}u) * N;"));
                for j in 0..self.runs() {
                    let bias = match bias {
                        Bias::None => String::new(),
                        Bias::Columns => format!(" + bias[n{j}]"),
                        Bias::Rows => format!(" + bias[r0 + {i}u]"),
                    };
                    let more = if residual { format!(" + res[yo + n{j}]") } else { "".into() };
                    t.block(format!("if (q0 + {}u < N)", j * self.group[0]), |t| {
                        t.line(format!("y[yo + n{j}] = c{i}_{j}{alpha}{bias}{more};"));
                    });
                }
            });
        }
    }
}

/// Turns a place in scalars into one in vectors.
fn quarter(vectors: bool) -> &'static str {
    if vectors { " / 4u" } else { "" }
}

/// The power of two that holds `size`, but at most `most`.
fn power_of_two(size: u32, most: u32) -> u32 {
    size.min(most).next_power_of_two()
}

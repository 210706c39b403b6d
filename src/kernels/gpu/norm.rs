//! Norms, and what else goes over a tensor once: activations and the like.
//!
//! The formulas of the norms' gradients are those of the twin on the CPU; they need no more than
//! the input, and compute its mean and variance again.

use super::text::{Buffer, EACH, F32, Text, U32, VEC4, each_grid, spread, sum4, workgroup_number};

/// What is normalised: rows of `channels * pixels` numbers next to each other, each by its own mean
/// and variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rows {
    /// Rows: pictures times groups; tokens, for a layer norm.
    pub count: u32,
    /// Groups of a picture; 1 for a layer norm.
    pub groups: u32,
    /// Channels of a group, each with its weight and bias; a layer norm's width.
    pub channels: u32,
    /// Pixels of a channel; 1 for a layer norm.
    pub pixels: u32,
}

impl Rows {
    /// The kernel's `info`: `[rows, groups, channels, pixels, epsilon (bits of an f32)]`.
    pub fn info(&self, epsilon: f32) -> [u32; 5] {
        [self.count, self.groups, self.channels, self.pixels, epsilon.to_bits()]
    }
}

/// A kernel for group and layer norms, `y = (x - mean) / sqrt(variance + epsilon) * w + b`, where
/// `silu` then times its own sigmoid, or for the gradient of their input.
///
/// - Bindings: `x`, `w`, `b`, `y`, `info`; for a gradient `x`, `g` (that of the output), `w`, `b`
///   (only where `silu`), `y`, `info`. `w` and `b` are `[groups * channels]`.
/// - `info` is [`Rows::info`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Norm {
    /// Whether SiLU follows.
    pub silu: bool,
    /// Whether y is the gradient of the input.
    pub gradient: bool,
    /// Whether pixels is 1, so that each number of a row has a weight of its own.
    pub single: bool,
    /// Whether rows are read four numbers at a time: pixels, or with `single` channels, have to be
    /// a multiple of 4.
    pub vectors: bool,
    /// Whether each invocation has a row of its own. Otherwise a workgroup shares one.
    pub serial: bool,
    /// Invocations of a workgroup; 4, 16, 64 or 256 if they share a row.
    pub group: u32,
}

impl Norm {
    /// The kernel for these rows. That a GPU's workgroups share rows is from the literature, not
    /// measured on a GPU here; on software adapters it costs two thirds of the speed and more.
    pub fn choose(rows: &Rows, silu: bool, gradient: bool, software: bool) -> Self {
        let single = rows.pixels == 1;
        let run = if single { rows.channels } else { rows.pixels };
        let group = match rows.channels * rows.pixels {
            _ if software => 4,
            1024.. => 256,
            _ => 64,
        };
        let vectors = run.is_multiple_of(4);
        Self { silu, gradient, single, vectors, serial: software, group }
    }

    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        [self.group, 1, 1]
    }

    /// Workgroups for this many rows.
    pub fn grid(&self, rows: u32) -> [u32; 3] {
        spread(if self.serial { rows.div_ceil(self.group) } else { rows })
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let mut t = Text::new(self.bindings());
        if !self.serial {
            self.declare_total(&mut t);
        }
        if self.silu {
            declare_sigmoid(&mut t, element(self.vectors));
        }
        t.main(self.workgroup(), |t| {
            self.locate(t);
            self.declare_statistics(t);
            if self.gradient { self.store_gradient(t) } else { self.store(t) }
        });
        t.finish()
    }

    fn bindings(&self) -> impl Iterator<Item = Buffer> {
        let x = element(self.vectors);
        let w = element(self.vectors && self.single);
        let g = self.gradient.then_some(("g", x));
        // WebGPU derives the layout from what is used: unused buffers may not be bound.
        let b = (self.silu || !self.gradient).then_some(("b", w));
        let factors = [("x", x)].into_iter().chain(g).chain([("w", w)]).chain(b);
        factors.chain([("y", x), ("info", U32)])
    }

    /// The sum of a number over the workgroup, in two steps of the square root of its size each.
    fn declare_total(&self, t: &mut Text) {
        let root = self.group.isqrt();
        t.line(format!("var<workgroup> part: array<f32, {}>;", self.group));
        t.line("var<workgroup> count: u32;");
        t.block("fn total(v: f32, i: u32) -> f32", |t| {
            t.lines(["workgroupBarrier();", "part[i] = v;", "workgroupBarrier();", "var t = 0.0;"]);
            t.block(format!("if (i < {root}u)"), |t| {
                t.block(format!("for (var j = 0u; j < {root}u; j++)"), |t| {
                    t.line(format!("t += part[i + j * {root}u];"));
                });
            });
            t.line("workgroupBarrier();");
            t.block(format!("if (i < {root}u)"), |t| t.line("part[i] = t;"));
            t.lines(["workgroupBarrier();", "t = 0.0;"]);
            t.block(format!("for (var j = 0u; j < {root}u; j++)"), |t| t.line("t += part[j];"));
            t.line("return t;");
        });
    }

    /// The sum over the row of what the invocation has summed up in `variable`.
    fn total(&self, variable: &str) -> String {
        let sum = if self.vectors { format!("({})", sum4(variable)) } else { variable.into() };
        if self.serial { sum } else { format!("total({sum}, lane)") }
    }

    /// Where the row starts (`base`), how long it is (`L` numbers, `n` elements), and where in w
    /// and b its channels start (`c0`).
    fn locate(&self, t: &mut Text) {
        let by = |vectors| if vectors { " / 4u" } else { "" };
        let number = workgroup_number();
        if self.serial {
            t.line(format!("let row = {number} * {}u + lane;", self.group));
            t.line("let rows = info[0];");
        } else {
            // The barriers in `total` ask for a bound that is the same for all invocations.
            t.line(format!("let row = {number};"));
            t.block("if (lane == 0u)", |t| t.line("count = info[0];"));
            t.line("let rows = workgroupUniformLoad(&count);");
        }
        t.block("if (row >= rows)", |t| t.line("return;"));
        t.line("let L = info[2] * info[3];");
        t.line(format!("let n = L{};", by(self.vectors)));
        t.lines(["let base = row * n;", "let inv = 1.0 / f32(L);"]);
        let by_w = by(self.vectors && self.single);
        t.line(format!("let c0 = (row % info[1]) * info[2]{by_w};"));
        if !self.single {
            t.line(format!("let hw = info[3]{};", by(self.vectors)));
        }
    }

    /// Goes over the row.
    fn each(&self, t: &mut Text, body: impl FnOnce(&mut Text)) {
        let (first, step) = if self.serial { ("0u", 1) } else { ("lane", self.group) };
        t.block(format!("for (var e = {first}; e < n; e += {step}u)"), body);
    }

    /// `mean` and `rstd`. The sums are of differences, first to the row's first number, then to the
    /// mean: sums of squares would cancel where the mean is far from 0.
    fn declare_statistics(&self, t: &mut Text) {
        let part = if self.vectors { ".x" } else { "" };
        t.line(format!("let x0 = x[base]{part};"));
        t.line(format!("var t = {}();", element(self.vectors)));
        self.each(t, |t| t.line("t += x[base + e] - x0;"));
        t.line(format!("let mean = x0 + {} * inv;", self.total("t")));
        t.line(format!("t = {}();", element(self.vectors)));
        self.each(t, |t| t.lines(["let d = x[base + e] - mean;", "t = fma(d, d, t);"]));
        let variance = format!("{} * inv", self.total("t"));
        t.line(format!("let rstd = inverseSqrt({variance} + bitcast<f32>(info[4]));"));
    }

    fn channel(&self) -> &'static str {
        if self.single { "let c = c0 + e;" } else { "let c = c0 + e / hw;" }
    }

    fn store(&self, t: &mut Text) {
        self.each(t, |t| {
            t.line(self.channel());
            t.line("let z = (x[base + e] - mean) * (w[c] * rstd) + b[c];");
            t.line(if self.silu { "y[base + e] = z * sigmoid(z);" } else { "y[base + e] = z;" });
        });
    }

    /// With h the normalised row and d the gradient of h: `(d - mean(d) - h mean(d h)) * rstd`.
    fn store_gradient(&self, t: &mut Text) {
        let declare_d_and_h = |t: &mut Text| {
            t.lines([self.channel(), "let h = (x[base + e] - mean) * rstd;"]);
            if self.silu {
                t.lines(["let z = h * w[c] + b[c];", "let q = sigmoid(z);"]);
                t.line("let d = g[base + e] * w[c] * (q * (1.0 + z * (1.0 - q)));");
            } else {
                t.line("let d = g[base + e] * w[c];");
            }
        };
        t.lines(["t", "var r"].map(|sum| format!("{sum} = {}();", element(self.vectors))));
        self.each(t, |t| {
            declare_d_and_h(t);
            t.lines(["t += d;", "r = fma(d, h, r);"]);
        });
        t.line(format!("let s1 = {} * inv;", self.total("t")));
        t.line(format!("let s2 = {} * inv;", self.total("r")));
        self.each(t, |t| {
            declare_d_and_h(t);
            t.line("y[base + e] = rstd * (d - s1 - h * s2);");
        });
    }
}

/// What [`Elementwise`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `x sigmoid(x)`. Bindings: `x`, `y`, `info = [count]`.
    Silu,
    /// The gradient of x. Bindings: `x`, `g`, `y`, `info = [count]`.
    SiluGradient,
    /// `x [rows, 2 * width] -> y [rows, width]`: the first half of each row times GELU of the
    /// second. Bindings: `x`, `y`, `info = [rows * width, width]`.
    Geglu,
    /// The gradient of x. Bindings: `x`, `g [rows, width]`, `y [rows, 2 * width]`, `info` as before.
    GegluGradient,
    /// `x [planes, 2 h, 2 w] -> y [planes, h, w]`: sums of 2 x 2, the gradient of an enlargement to
    /// twice the size. Bindings: `x`, `y`, `info = [planes * h * w, w]`. It has no vectors.
    SumBlocks,
}

/// A kernel with one invocation for each number of y (of g, for GEGLU's gradient).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Elementwise {
    /// What is computed.
    pub operation: Operation,
    /// Whether each invocation takes four numbers. Then all of `info` counts in fours, and has to.
    pub vectors: bool,
}

impl Elementwise {
    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        EACH
    }

    /// Workgroups for the first number of `info`.
    pub fn grid(&self, count: u32) -> [u32; 3] {
        each_grid(count)
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let element = element(self.vectors);
        let gradient = matches!(self.operation, Operation::SiluGradient | Operation::GegluGradient);
        let inputs = [("x", element)].into_iter().chain(gradient.then_some(("g", element)));
        let mut t = Text::new(inputs.chain([("y", element), ("info", U32)]));
        match self.operation {
            Operation::Silu | Operation::SiluGradient => declare_sigmoid(&mut t, element),
            Operation::Geglu | Operation::GegluGradient => declare_distribution(&mut t, element),
            Operation::SumBlocks => {}
        }
        t.each("info[0]", |t| t.lines(self.operation.body()));
        t.finish()
    }
}

impl Operation {
    fn body(self) -> &'static [&'static str] {
        match self {
            Self::Silu => &["let z = x[i];", "y[i] = z * sigmoid(z);"],
            Self::SiluGradient => &[
                "let z = x[i];",
                "let q = sigmoid(z);",
                "y[i] = g[i] * q * (1.0 + z * (1.0 - q));",
            ],
            // p is the place of the first half's number, v the second half's number.
            Self::Geglu => &[
                "let p = i + i / info[1] * info[1];",
                "let v = x[p + info[1]];",
                "y[i] = x[p] * v * distribution(v);",
            ],
            // The derivative of v P(v) is P(v) + v p(v), with p the normal density.
            Self::GegluGradient => &[
                "let p = i + i / info[1] * info[1];",
                "let v = x[p + info[1]];",
                "let c = distribution(v);",
                "let slope = c + v * 0.3989422804 * exp(-0.5 * v * v);",
                "y[p] = g[i] * v * c;",
                "y[p + info[1]] = g[i] * x[p] * slope;",
            ],
            Self::SumBlocks => &[
                "let w = info[1];",
                "let p = i / w * 4u * w + i % w * 2u;",
                "y[i] = x[p] + x[p + 1u] + x[p + 2u * w] + x[p + 2u * w + 1u];",
            ],
        }
    }
}

fn element(vectors: bool) -> &'static str {
    if vectors { VEC4 } else { F32 }
}

/// The sigmoid. WGSL leaves open what becomes of infinities, so the exponential may not overflow.
fn declare_sigmoid(t: &mut Text, element: &str) {
    t.block(format!("fn sigmoid(z: {element}) -> {element}"), |t| {
        t.line(format!("return 1.0 / (1.0 + exp(-max(z, {element}(-80.0))));"));
    });
}

/// The normal distribution, by the error function (Abramowitz and Stegun, "Handbook of Mathematical
/// Functions", 7.1.26), which is good to 1.5e-7.
fn declare_distribution(t: &mut Text, element: &str) {
    t.block(format!("fn distribution(v: {element}) -> {element}"), |t| {
        t.lines(["let a = abs(v) * 0.70710678118;", "let t = 1.0 / (1.0 + 0.3275911 * a);"]);
        t.line("let high = (1.061405429 * t - 1.453152027) * t + 1.421413741;");
        t.line("let p = ((high * t - 0.284496736) * t + 0.254829592) * t * exp(-a * a);");
        t.line(format!("return select(1.0 - 0.5 * p, 0.5 * p, v < {element}());"));
    });
}

#[cfg(test)]
mod tests {
    use super::super::text::check;
    use super::*;

    #[test]
    fn norms_are_sound_and_cover_the_rows() {
        for i in 0..288 {
            let [silu, gradient, software] = [1, 2, 4].map(|bit| i & bit != 0);
            let channels = [1, 2, 10, 40, 320, 1280][i / 8 % 6];
            let pixels = [1, 3, 4, 64, 1000, 4096][i / 48];
            let rows = Rows { count: 64, groups: 32, channels, pixels };
            let kernel = Norm::choose(&rows, silu, gradient, software);
            let names: &[&str] = match (gradient, silu) {
                (false, _) => &["x", "w", "b", "y", "info"],
                (true, true) => &["x", "g", "w", "b", "y", "info"],
                (true, false) => &["x", "g", "w", "y", "info"],
            };
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), names);
            let size = if software { 4 } else { 1 };
            check::covers(kernel.grid(64), [size, 1, 1], [64, 1, 1]);
        }
    }

    #[test]
    fn elementwise_kernels_are_sound() {
        use Operation::*;
        for (operation, bindings) in
            [(Silu, 3), (SiluGradient, 4), (Geglu, 3), (GegluGradient, 4), (SumBlocks, 3)]
        {
            let kernel = Elementwise { operation, vectors: operation != SumBlocks };
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()).len(), bindings);
        }
    }
}

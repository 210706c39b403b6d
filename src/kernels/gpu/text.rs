//! Writing WGSL, the shading language of WebGPU: [`Text`], and the parts that kernels share.
//!
//! What all the kernels have in common:
//!
//! - Every binding is `var<storage, read_write>`: inputs, then outputs, then `info`. Tensors share
//!   buffers, and WebGPU refuses a dispatch that has one buffer both as `read` and as `read_write`.
//! - Sizes are no part of the text. They come in `info`, an array of u32 (floats as their bits), so
//!   that one compiled shader serves many layers. Only what a loop is unrolled by is written in.
//! - What an invocation accumulates is written out as variables `c0_0`, `c0_1` and so on, with all
//!   loops over them unrolled. `array<f32, N>` and an index read better, but cost a fifth of the
//!   speed: Chrome's compiler keeps private arrays in memory rather than in registers.
//! - Reads are clamped to the last row or column and stores are guarded, so that inner loops have
//!   no branches and any size works.
//! - `software` asks for what suits a fallback adapter (SwiftShader: WebGPU on the CPU): large
//!   register tiles in small workgroups, as one workgroup is one job of one core, and no workgroup
//!   memory in products: at each barrier SwiftShader parks and resumes every invocation, which makes
//!   the tiled product five times as slow as the direct one (0.6 against 3 GFLOP/s).

use std::fmt::{Display, Write};

/// The element type of a scalar buffer.
pub const F32: &str = "f32";
/// The element type of a buffer that is read four numbers at a time.
pub const VEC4: &str = "vec4<f32>";
/// That of statistics, two to a row.
pub const VEC2: &str = "vec2<f32>";
/// That of `info`.
pub const U32: &str = "u32";

/// A binding: its name, and the type of its elements.
pub type Buffer = (&'static str, &'static str);

/// A kernel's source in the making.
#[derive(Debug)]
pub struct Text {
    text: String,
    depth: usize,
}

impl Text {
    /// Starts with these buffers, numbered in this order, and with the feature that they need.
    pub fn new(buffers: impl IntoIterator<Item = Buffer>) -> Self {
        let mut t = Self { text: String::new(), depth: 0 };
        let buffers: Vec<_> = buffers.into_iter().collect();
        if buffers.iter().any(|(_, element)| element.contains("f16")) {
            t.line("enable f16;");
        }
        t.lines(buffers.into_iter().enumerate().map(|(number, (name, element))| {
            let place = format!("@group(0) @binding({number})");
            format!("{place} var<storage, read_write> {name}: array<{element}>;")
        }));
        t
    }

    /// One line. It must leave braces to [`Text::block`].
    pub fn line(&mut self, line: impl Display) {
        let indent = 2 * self.depth;
        writeln!(self.text, "{:indent$}{line}", "").expect("a String takes all text");
    }

    /// A line for each item.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = impl Display>) {
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// `head { body }`. Each brace ends its line: burn's template engine, through which the source
    /// goes, would take two of them in a row for a placeholder.
    pub fn block(&mut self, head: impl Display, body: impl FnOnce(&mut Self)) {
        self.line(format!("{head} {{").trim_start());
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.line("}");
    }

    /// The entry point: `wg` is the workgroup's place in the grid, `li` the invocation's place in
    /// the workgroup, `lane` the same as one number.
    pub fn main(&mut self, [x, y, z]: [u32; 3], body: impl FnOnce(&mut Self)) {
        self.line(format!("@compute @workgroup_size({x}, {y}, {z})"));
        let builtins = [
            "@builtin(workgroup_id) wg: vec3<u32>",
            "@builtin(local_invocation_id) li: vec3<u32>",
            "@builtin(local_invocation_index) lane: u32",
        ];
        self.block(format!("fn main({})", builtins.join(", ")), body);
    }

    /// The entry point of a kernel with one invocation, `i`, for each of `count` places; see
    /// [`EACH`] and [`each_grid`].
    pub fn each(&mut self, count: &str, body: impl FnOnce(&mut Self)) {
        self.main(EACH, |t| {
            t.line(format!("let i = {} * {}u + li.x;", workgroup_number(), EACH[0]));
            t.block(format!("if (i >= {count})"), |t| t.line("return;"));
            body(t);
        });
    }

    /// The source.
    pub fn finish(self) -> String {
        self.text
    }
}

/// The most workgroups in one direction of a grid made by [`spread`].
const GRID_ROW: u32 = 32768;

/// A grid of this many workgroups: WebGPU allows 65535 in each direction only.
pub fn spread(workgroups: u32) -> [u32; 3] {
    [workgroups.min(GRID_ROW), workgroups.div_ceil(GRID_ROW), 1]
}

/// The number of a workgroup in such a grid, in WGSL. It may exceed those asked for.
pub fn workgroup_number() -> String {
    format!("(wg.y * {GRID_ROW}u + wg.x)")
}

/// The workgroup of kernels that do one thing for each place of a tensor.
pub const EACH: [u32; 3] = [64, 1, 1];

/// Their grid.
pub fn each_grid(count: u32) -> [u32; 3] {
    spread(count.div_ceil(EACH[0]))
}

/// The sum of a vector's numbers, in WGSL.
pub fn sum4(vector: &str) -> String {
    format!("{vector}.x + {vector}.y + {vector}.z + {vector}.w")
}

/// The buffers of a product: its factors, what is added to it, and the result with elements `y`.
pub fn product_buffers(
    factors: [Buffer; 2],
    added: impl IntoIterator<Item = Option<Buffer>>,
    y: &'static str,
) -> impl Iterator<Item = Buffer> {
    let added = added.into_iter().flatten();
    factors.into_iter().chain(added).chain([("y", y), ("info", U32)])
}

/// The part of a matrix product that a workgroup of 16 x 16 invocations computes together, for real
/// GPUs: all of them copy `depth` columns of a and rows of b to workgroup memory, then multiply
/// those from there, so that each number is read from the buffers once per workgroup and not once
/// per invocation (Kirk and Hwu, "Programming Massively Parallel Processors", chapter 5).
///
/// The result is in `c{i}_{j}`, which belongs to row `li.y * rows + i` and column `li.x + 16 * j` of
/// the tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of the result that an invocation computes.
    pub rows: u32,
    /// Columns of the result that an invocation computes.
    pub columns: u32,
    /// Terms of the sums per step.
    pub depth: u32,
}

/// What [`Tile::fill`] copies of one of the factors.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    rows: bool,
    along_k: bool,
    limit: &'static str,
}

impl Fill {
    /// Rows of a. `along_k` says that in the buffer the terms of a sum (k) lie next to each other,
    /// so that neighbouring invocations should take those, and not neighbouring rows. `limit` is
    /// the variable with the number of rows.
    pub fn rows(along_k: bool, limit: &'static str) -> Self {
        Self { rows: true, along_k, limit }
    }

    /// Columns of b, likewise.
    pub fn columns(along_k: bool, limit: &'static str) -> Self {
        Self { rows: false, along_k, limit }
    }
}

/// Declares the workgroup's memory that [`share_length`] needs.
pub fn declare_length(t: &mut Text) {
    t.line("var<workgroup> ku: u32;");
}

/// Declares `K`, the length of the sums. A loop with barriers in it may only be bound by what is the
/// same for all invocations, which the compiler believes of `workgroupUniformLoad`, not of a buffer.
pub fn share_length(t: &mut Text, length: &str) {
    t.block("if (lane == 0u)", |t| t.line(format!("ku = {length};")));
    t.line("let K = workgroupUniformLoad(&ku);");
}

impl Tile {
    /// 64 x 64 results per workgroup, 8.1 KiB.
    pub const SMALL: Self = Self { rows: 4, columns: 4, depth: 16 };
    /// 128 x 64 results per workgroup, 12.1 KiB.
    pub const TALL: Self = Self { rows: 8, columns: 4, depth: 16 };
    /// 128 x 128 results per workgroup, 8.1 KiB.
    pub const LARGE: Self = Self { rows: 8, columns: 8, depth: 8 };
    /// The workgroup of all tiles.
    pub const WORKGROUP: [u32; 3] = [16, 16, 1];

    /// Rows of the whole tile.
    pub fn height(&self) -> u32 {
        16 * self.rows
    }

    /// Columns of the whole tile.
    pub fn width(&self) -> u32 {
        16 * self.columns
    }

    /// Declares the workgroup's memory. A row there is one longer than the tile: with a power of
    /// two, copying along k would have all invocations write to one bank.
    pub fn declare(&self, t: &mut Text) {
        for (memory, size) in [("sa", self.height()), ("sb", self.width())] {
            let size = self.depth * (size + 1);
            t.line(format!("var<workgroup> {memory}: array<f32, {size}>;"));
        }
        declare_length(t);
    }

    /// Declares `K`, the length of the sums, and `m0` and `n0`, the tile's first row and column; `wx`
    /// and `wy` are the workgroup's place.
    pub fn locate(&self, t: &mut Text, length: &str, [wx, wy]: [String; 2]) {
        share_length(t, length);
        t.line(format!("let m0 = {wy} * {}u;", self.height()));
        t.line(format!("let n0 = {wx} * {}u;", self.width()));
    }

    /// The product: `fill` has to copy both factors, starting with term `k0`.
    pub fn multiply(&self, t: &mut Text, fill: impl FnOnce(&mut Text)) {
        let Self { rows, columns, depth } = *self;
        for i in 0..rows {
            t.lines((0..columns).map(|j| format!("var c{i}_{j} = 0.0;")));
        }
        t.block(format!("for (var k0 = 0u; k0 < K; k0 += {depth}u)"), |t| {
            fill(t);
            t.line("workgroupBarrier();");
            t.block(format!("for (var kk = 0u; kk < {depth}u; kk++)"), |t| {
                t.line(format!("let pa = kk * {}u + li.y * {rows}u;", self.height() + 1));
                t.line(format!("let pb = kk * {}u + li.x;", self.width() + 1));
                t.lines((0..rows).map(|i| format!("let x{i} = sa[pa + {i}u];")));
                t.lines((0..columns).map(|j| format!("let w{j} = sb[pb + {}u];", 16 * j)));
                for i in 0..rows {
                    t.lines((0..columns).map(|j| format!("c{i}_{j} = fma(x{i}, w{j}, c{i}_{j});")));
                }
            });
            t.line("workgroupBarrier();");
        });
    }

    /// Copies a factor to workgroup memory, zeros beyond its edges. `element` sets `v` to the number
    /// for term `k` of row or column `g`.
    pub fn fill(&self, t: &mut Text, from: Fill, element: impl FnOnce(&mut Text)) {
        let Fill { rows, along_k, limit } = from;
        let (memory, first, size) =
            if rows { ("sa", "m0", self.height()) } else { ("sb", "n0", self.width()) };
        let (inner, outer, length) =
            if along_k { ("kk", "q", self.depth) } else { ("q", "kk", size) };
        let total = self.depth * size;
        t.block(format!("for (var e = lane; e < {total}u; e += 256u)"), |t| {
            t.line(format!("let {inner} = e % {length}u;"));
            t.line(format!("let {outer} = e / {length}u;"));
            t.line("let k = k0 + kk;");
            t.line(format!("let g = {first} + q;"));
            t.line("var v = 0.0;");
            t.block(format!("if (k < K && g < {limit})"), element);
            t.line(format!("{memory}[kk * {}u + q] = v;", size + 1));
        });
    }

    /// Calls `store` with `(i, j)` of every `c{i}_{j}`, in a block in which `r` and `n` are its row
    /// and column, and within `rows` and `columns` (variables).
    pub fn store(
        &self,
        t: &mut Text,
        [rows, columns]: [&str; 2],
        mut store: impl FnMut(&mut Text, u32, u32),
    ) {
        for i in 0..self.rows {
            t.block("", |t| {
                t.line(format!("let r = m0 + li.y * {}u + {i}u;", self.rows));
                for j in 0..self.columns {
                    t.block("", |t| {
                        t.line(format!("let n = n0 + li.x + {}u;", 16 * j));
                        let inside = format!("if (r < {rows} && n < {columns})");
                        t.block(inside, |t| store(t, i, j));
                    });
                }
            });
        }
    }
}

/// What holds for the source of every kernel.
#[cfg(test)]
pub mod check {
    /// Checks the text, and returns the names of its bindings in order.
    pub fn source(wgsl: &str, workgroup: [u32; 3]) -> Vec<&str> {
        assert!(!wgsl.contains("{{") && !wgsl.contains("}}"), "a placeholder in\n{wgsl}");
        for [open, close] in ["{}", "()", "[]"].map(|pair| [&pair[..1], &pair[1..]]) {
            assert_eq!(
                wgsl.matches(open).count(),
                wgsl.matches(close).count(),
                "{open} in\n{wgsl}"
            );
        }
        // WebGPU's default limits: 256 invocations, 16 KiB of workgroup memory.
        let [x, y, z] = workgroup;
        assert!((1..=256).contains(&(x * y * z)) && z <= 64, "{workgroup:?}");
        assert!(wgsl.contains(&format!("@workgroup_size({x}, {y}, {z})")));
        let floats: usize = wgsl.lines().filter_map(workgroup_floats).sum();
        assert!(4 * floats <= 16 << 10, "{floats} floats of workgroup memory");
        names(wgsl)
    }

    /// Checks that workgroups of `size` results each cover all `results`, and that none is idle.
    pub fn covers(grid: [u32; 3], size: [u32; 3], results: [u32; 3]) {
        for axis in 0..3 {
            let [grid, size, results] = [grid, size, results].map(|of| of[axis]);
            assert!((1..=65535).contains(&grid), "{grid} workgroups");
            assert!(grid * size >= results, "{grid} of {size} for {results}");
            assert!((grid - 1) * size < results, "{grid} of {size} for {results}");
        }
    }

    fn workgroup_floats(line: &str) -> Option<usize> {
        let declared = line.strip_prefix("var<workgroup> ")?;
        let size = declared.rsplit_once(", ").map_or("1", |(_, size)| size);
        let size: usize = size.trim_end_matches([';', '>']).parse().expect("a number");
        Some(if declared.contains("vec4") { 4 * size } else { size })
    }

    fn names(wgsl: &str) -> Vec<&str> {
        let declared = wgsl.lines().filter_map(|line| line.strip_prefix("@group(0) @binding("));
        let numbered = declared.enumerate().map(|(number, rest)| {
            let (found, rest) = rest.split_once(')').expect("a number");
            assert_eq!(found, number.to_string());
            let (_, rest) = rest.split_once("read_write> ").expect("read_write");
            rest.split_once(':').expect("a type").0
        });
        numbered.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_many_workgroups_take_a_second_direction() {
        for workgroups in [1, 64, 32768, 32769, 65536, 1 << 22] {
            let [x, y, z] = spread(workgroups);
            assert!(x * y * z >= workgroups && x.max(y) <= 65535);
            // The number of a workgroup takes all rows but the last for full ones.
            assert!(y == 1 || x == GRID_ROW);
        }
    }

    #[test]
    fn braces_never_meet() {
        let mut t = Text::new([]);
        t.block("if (a)", |t| t.block("", |t| t.line("b;")));
        assert_eq!(t.finish(), "if (a) {\n  {\n    b;\n  }\n}\n");
    }
}

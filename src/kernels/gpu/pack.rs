//! The order in which [`super::conv`] reads the weights of a convolution of size 3 x 3, and the way
//! back. It takes as long as a convolution of few pixels: what is packed is kept.

use super::stored::Stored;
use super::text::{EACH, F32, Text, U32, each_grid};

/// Lays weights out with channels of y next to each other: `[A, 9, BP]` from `[B, A, 3, 3]`, or from
/// `[A, B, 3, 3]` where they are swapped. BP is B rounded up to a multiple of 4; zeros fill it. For
/// the gradient of a convolution's input, A is the convolution's output channels, B its input
/// channels, and they are swapped; otherwise A is the input, B the output channels, and they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pack {
    /// f32 from f32. Bindings: `w`, `y`, `info = [A, B, BP, swapped (0 or 1)]`.
    F32,
    /// Halves from halves, bit for bit. Bindings and `info` are the same.
    Halves,
    /// Halves for the gradient from halves that are packed for the forward pass, `[B, 9, AP]`.
    /// Bindings: `w`, `y`, `info = [A, B, BP, AP]`.
    Turn,
    /// f32 for the gradient from f32 that is packed for the forward pass. Bindings and `info` are
    /// [`Turn`](Self::Turn)'s.
    TurnF32,
    /// f32 for the gradient from 8-bit blocks that are packed for the forward pass. Bindings and
    /// `info` are [`Turn`](Self::Turn)'s.
    TurnBlocks,
}

impl Pack {
    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        EACH
    }

    /// Workgroups for `[A, 9, BP]`.
    pub fn grid(&self, a: u32, bp: u32) -> [u32; 3] {
        each_grid(a * bp / self.columns())
    }

    /// Columns that an invocation writes: whole words.
    fn columns(&self) -> u32 {
        if matches!(self, Self::Halves | Self::Turn) { 2 } else { 1 }
    }

    /// Whether what is read is packed already, for the forward pass.
    fn turns(&self) -> bool {
        matches!(self, Self::Turn | Self::TurnF32 | Self::TurnBlocks)
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let columns = self.columns();
        let (from, to) = match self {
            Self::F32 | Self::TurnF32 => (Stored::F32, F32),
            Self::TurnBlocks => (Stored::Blocks, F32),
            Self::Halves | Self::Turn => (Stored::Halves, U32),
        };
        let mut t = Text::new([("w", from.element(false)), ("y", to), ("info", U32)]);
        if columns == 1 {
            from.declare(&mut t, "w", false);
        } else {
            t.block("fn bits(i: u32) -> u32", |t| {
                t.line("return (w[i >> 1u] >> ((i & 1u) * 16u)) & 0xffffu;");
            });
        }
        t.each(&format!("info[0] * info[2] / {columns}u"), |t| {
            t.lines(["let A = info[0];", "let B = info[1];", "let BP = info[2];"]);
            t.line(format!("let row = BP / {columns}u;"));
            t.lines(["let a = i / row;", &format!("let b = i % row * {columns}u;")]);
            for j in 0..columns {
                t.line(format!("let b{j} = min(b + {j}u, B - 1u);"));
                t.line(if self.turns() {
                    format!("let s{j} = b{j} * 9u * info[3] + a;")
                } else {
                    format!(
                        "let s{j} = select((b{j} * A + a) * 9u, (a * B + b{j}) * 9u, info[3] == 1u);"
                    )
                });
            }
            t.block("for (var t = 0u; t < 9u; t++)", |t| {
                let step = if self.turns() { "t * info[3]" } else { "t" };
                t.line(format!("let o = (a * 9u + t) * row + b / {columns}u;"));
                if columns == 1 {
                    let number = from.at("w", &format!("s0 + {step}"), false);
                    t.line(format!("y[o] = select(0.0, {number}, b < B);"));
                } else {
                    for j in 0..2 {
                        let bits = format!("bits(s{j} + {step})");
                        t.line(format!("let h{j} = select(0u, {bits}, b + {j}u < B);"));
                    }
                    t.line("y[o] = h0 | (h1 << 16u);");
                }
            });
        });
        t.finish()
    }
}

/// The weights `[B, A, 3, 3]` in f32 from f32, halves or 8-bit blocks that are packed for the forward pass,
/// `[A, 9, BP]`.
///
/// - Bindings: `w`, `y`, `info = [A, B, BP]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unpack {
    /// How w lies.
    pub stored: Stored,
}

impl Unpack {
    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        EACH
    }

    /// Workgroups for `A * B`.
    pub fn grid(&self, pairs: u32) -> [u32; 3] {
        each_grid(pairs)
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let stored = self.stored;
        let mut t = Text::new([("w", stored.element(false)), ("y", F32), ("info", U32)]);
        stored.declare(&mut t, "w", false);
        t.each("info[0] * info[1]", |t| {
            t.lines(["let a = i % info[0];", "let b = i / info[0];"]);
            t.block("for (var t = 0u; t < 9u; t++)", |t| {
                let from = stored.at("w", "(a * 9u + t) * info[2] + b", false);
                t.line(format!("y[i * 9u + t] = {from};"));
            });
        });
        t.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::check;
    use super::*;

    #[test]
    fn packing_is_sound_and_covers_the_weights() {
        let one = [Pack::F32, Pack::TurnF32, Pack::TurnBlocks].map(|kernel| (kernel, 1));
        let two = [Pack::Halves, Pack::Turn].map(|kernel| (kernel, 2));
        for (kernel, columns) in one.into_iter().chain(two) {
            let wgsl = kernel.wgsl();
            assert_eq!(check::source(&wgsl, kernel.workgroup()), ["w", "y", "info"]);
            check::covers(kernel.grid(320, 324), [64 * columns, 1, 1], [320 * 324, 1, 1]);
        }
        for stored in [Stored::F32, Stored::Halves, Stored::Blocks] {
            let kernel = Unpack { stored };
            assert_eq!(check::source(&kernel.wgsl(), kernel.workgroup()), ["w", "y", "info"]);
            check::covers(kernel.grid(320 * 321), [64, 1, 1], [320 * 321, 1, 1]);
        }
    }
}

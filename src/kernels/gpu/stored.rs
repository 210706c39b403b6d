//! How constant weights lie in their buffers: as f32, as halves, or as 8-bit blocks, which a shader
//! widens as it reads them. What is computed is f32 in every case.

use super::text::{F32, Text, U32, VEC4, each_grid};

/// How the numbers of a factor lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {
    /// As f32.
    F32,
    /// Halves (IEEE 754 binary16), two to a u32, which every WebGPU can widen.
    Halves,
    /// The same bytes read as WGSL's type f16, where the adapter has the feature `shader-f16`.
    Native,
    /// 8-bit blocks: of every 32 numbers in a row, which must be whole blocks, 9 u32: the largest
    /// magnitude m (bits of an f32), then 32 integers q from -127 to 127, four to a u32, the first in
    /// the lowest byte. A number is `q / 127 * m`.
    Blocks,
}

impl Stored {
    /// Halves as this adapter reads them best.
    pub fn halves() -> Self {
        if super::native_halves() { Self::Native } else { Self::Halves }
    }

    /// The element type of a buffer that is read by numbers, or four numbers at a time.
    pub fn element(self, vectors: bool) -> &'static str {
        match (self, vectors) {
            (Self::F32, false) => F32,
            (Self::F32, true) => VEC4,
            (Self::Halves, true) => "vec2<u32>",
            (Self::Halves, false) | (Self::Blocks, _) => U32,
            (Self::Native, false) => "f16",
            (Self::Native, true) => "vec4<f16>",
        }
    }

    /// Declares what [`at`](Self::at) calls.
    pub fn declare(self, t: &mut Text, buffer: &str, vectors: bool) {
        let body: &[&str] = match (self, vectors) {
            (Self::F32 | Self::Native, _) => return,
            (Self::Halves, true) => &["return vec4(unpack2x16float(p.x), unpack2x16float(p.y));"],
            (Self::Halves, false) => {
                &["let v = unpack2x16float(p);", "return select(v.x, v.y, (i & 1u) == 1u);"]
            }
            (Self::Blocks, true) => &["return unpack4x8snorm(p) * m;"],
            (Self::Blocks, false) => {
                &["return f32(extractBits(bitcast<i32>(p), (i & 3u) * 8u, 8u)) / 127.0 * m;"]
            }
        };
        let result = if vectors { VEC4 } else { F32 };
        t.block(format!("fn {buffer}_at(i: u32) -> {result}"), |t| {
            // The place of the word that has the number, or the four.
            let place = match (self, vectors) {
                (Self::Halves, false) => "i >> 1u",
                (Self::Blocks, true) => "i + s + 1u",
                (Self::Blocks, false) => "(i >> 2u) + s + 1u",
                _ => "i",
            };
            if self == Self::Blocks {
                t.line(format!("let s = i >> {}u;", if vectors { 3 } else { 5 }));
                t.line(format!("let m = bitcast<f32>({buffer}[9u * s]);"));
            }
            t.line(format!("let p = {buffer}[{place}];"));
            t.lines(body);
        });
    }

    /// The number, or the four, at `index` of the buffer, as f32.
    pub fn at(self, buffer: &str, index: &str, vectors: bool) -> String {
        match self {
            Self::F32 => format!("{buffer}[{index}]"),
            Self::Native => {
                format!("{}({buffer}[{index}])", if vectors { VEC4 } else { F32 })
            }
            Self::Halves | Self::Blocks => format!("{buffer}_at({index})"),
        }
    }
}

/// A whole buffer widened to f32.
///
/// - Bindings: `w`, `y`, `info = [numbers, or vectors]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Widen {
    /// How w lies.
    pub stored: Stored,
    /// Whether it is read four numbers at a time.
    pub vectors: bool,
}

impl Widen {
    /// Invocations per workgroup.
    pub fn workgroup(&self) -> [u32; 3] {
        super::text::EACH
    }

    /// Workgroups for the number in `info`.
    pub fn grid(&self, count: u32) -> [u32; 3] {
        each_grid(count)
    }

    /// The source.
    pub fn wgsl(&self) -> String {
        let Self { stored, vectors } = *self;
        let y = Stored::F32.element(vectors);
        let mut t = Text::new([("w", stored.element(vectors)), ("y", y), ("info", U32)]);
        stored.declare(&mut t, "w", vectors);
        t.each("info[0]", |t| t.line(format!("y[i] = {};", stored.at("w", "i", vectors))));
        t.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::check;
    use super::*;

    #[test]
    fn every_way_to_store_has_its_element_and_its_reader() {
        use Stored::*;
        let expected = [
            (F32, false, "array<f32>", "y[i] = w[i];"),
            (F32, true, "array<vec4<f32>>", "y[i] = w[i];"),
            (Halves, false, "array<u32>", "y[i] = w_at(i);"),
            (Halves, true, "array<vec2<u32>>", "y[i] = w_at(i);"),
            (Native, false, "array<f16>", "y[i] = f32(w[i]);"),
            (Native, true, "array<vec4<f16>>", "y[i] = vec4<f32>(w[i]);"),
            (Blocks, false, "array<u32>", "y[i] = w_at(i);"),
            (Blocks, true, "array<u32>", "y[i] = w_at(i);"),
        ];
        for (stored, vectors, buffer, read) in expected {
            let kernel = Widen { stored, vectors };
            let wgsl = kernel.wgsl();
            assert_eq!(check::source(&wgsl, kernel.workgroup()), ["w", "y", "info"]);
            assert!(wgsl.contains(&format!(" w: {buffer};")) && wgsl.contains(read), "{wgsl}");
            // Only this one needs a feature, and it has to say so first.
            assert_eq!(wgsl.starts_with("enable f16;\n"), stored == Native);
            assert_eq!(wgsl.contains("fn w_at"), read.contains("w_at"));
        }
    }
}

//! The innermost loop of products: tiles of C, `ROWS x 8` sums in registers.

use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

use super::at;
use super::softmax::Exponential;

/// Rows of the largest tile: 6 x 8 sums are 12 vectors; with two of B and one of A they fill the 16
/// registers of x86-64.
pub const ROWS: u32 = 6;
/// Vectors of four columns.
const VECTORS: u32 = 2;

// The parameters, as locals; strides are in bytes. The first of every kernel:
const K: u32 = 0;
const A: u32 = 1;
const A_STRIDE: u32 = 2;
const B: u32 = 3;
/// Tiles, side by side; their panels of B follow each other.
const PANELS: u32 = 4;
// Then of a product C, the way from row to row of it, and this:
/// 0: the tiles of C are overwritten, else added to.
const ADD: u32 = 7;
// Of the others:
/// What the sums start from, a number for each row.
const STARTS: u32 = 5;
const IN_POWERS: u32 = 6;
/// From a panel of a packed matrix to the next.
const PANEL_STRIDE: u32 = 7;
// Of slopes alone this, C, and the way from row to row of it:
const IN_SLOPES: u32 = 8;
// Of powers that are added up C, the way from row to row of it, and this:
/// A vector for each row.
const SUMS: u32 = 8;

/// What becomes of the sums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// They are C.
    Product,
    /// Powers of two of them are a packed matrix.
    Powers,
    /// Multiplied with those powers they are C, and packed too.
    Slopes,
    /// Powers of two of them are C, and are added up row by row.
    Sums,
}

impl End {
    /// How many parameters its kernels have, all of them numbers of 32 bits.
    pub const fn parameters(self) -> u32 {
        match self {
            Self::Product => ADD + 1,
            Self::Powers => PANEL_STRIDE + 1,
            Self::Slopes => IN_SLOPES + 3,
            Self::Sums => SUMS + 1,
        }
    }

    /// C and its stride.
    const fn target(self) -> [u32; 2] {
        match self {
            Self::Product | Self::Powers => [ADD - 2, ADD - 1],
            Self::Slopes => [IN_SLOPES + 1, IN_SLOPES + 2],
            Self::Sums => [SUMS - 2, SUMS - 1],
        }
    }
}

/// Row `r` of a packed matrix's panel, from the panel's first row of this tile on.
fn packed(r: u32, vector: u32) -> MemArg {
    at(r * VECTORS + vector)
}

/// The kernel for tiles of so many rows.
pub fn kernel(relaxed: bool, rows: u32, end: End) -> Function {
    // Rows of A after the first, what is left of k, and a row of C.
    let (parameters, pointers) = (end.parameters(), rows - 1);
    let [c, c_stride] = end.target();
    let (left, down) = (parameters + pointers, parameters + pointers + 1);
    let (first_sum, sums) = (down + 1, rows * VECTORS);
    let exponential = first_sum + sums + VECTORS;
    let vectors = sums + VECTORS + Exponential::LOCALS;
    let mut function = Function::new([(pointers + 2, ValType::I32), (vectors, ValType::V128)]);
    let row = |r: u32| if r == 0 { A } else { parameters + r - 1 };
    let sum = |r: u32, v: u32| first_sum + r * VECTORS + v;
    let b = |v: u32| first_sum + sums + v;
    let mut code = function.instructions();
    let powers = matches!(end, End::Powers | End::Sums);
    let exponential = powers.then(|| Exponential::new(&mut code, relaxed, exponential));
    for r in 1..rows {
        code.local_get(row(r - 1)).local_get(A_STRIDE).i32_add().local_set(row(r));
    }
    let next = |code: &mut InstructionSink<'_>, r: u32| {
        if r + 1 < rows {
            code.local_get(down).local_get(c_stride).i32_add().local_set(down);
        }
    };

    code.loop_(BlockType::Empty);
    if end == End::Product {
        code.local_get(ADD).if_(BlockType::Empty);
        code.local_get(c).local_set(down);
        for r in 0..rows {
            for v in 0..VECTORS {
                code.local_get(down).v128_load(at(v)).local_set(sum(r, v));
            }
            next(&mut code, r);
        }
        code.else_();
        for r in 0..rows {
            for v in 0..VECTORS {
                code.v128_const(0).local_set(sum(r, v));
            }
        }
        code.end();
    } else {
        for r in 0..rows {
            let number = MemArg { offset: u64::from(4 * r), align: 2, memory_index: 0 };
            code.local_get(STARTS).v128_load32_splat(number);
            code.local_tee(sum(r, 0)).local_set(sum(r, 1));
        }
    }

    code.local_get(K).local_set(left);
    code.block(BlockType::Empty).local_get(K).i32_eqz().br_if(0).loop_(BlockType::Empty);
    for v in 0..VECTORS {
        code.local_get(B).v128_load(at(v)).local_set(b(v));
    }
    for r in 0..rows {
        for v in 0..VECTORS {
            // The engine keeps the spread value of A in a register for both.
            if relaxed {
                code.local_get(row(r)).v128_load32_splat(at(0)).local_get(b(v));
                code.local_get(sum(r, v)).f32x4_relaxed_madd().local_set(sum(r, v));
            } else {
                code.local_get(sum(r, v)).local_get(row(r)).v128_load32_splat(at(0));
                code.local_get(b(v)).f32x4_mul().f32x4_add().local_set(sum(r, v));
            }
        }
    }
    // Unrolled, it runs at half the speed: V8 then spills the sums.
    for r in 0..rows {
        code.local_get(row(r)).i32_const(4).i32_add().local_set(row(r));
    }
    code.local_get(B).i32_const(16 * VECTORS as i32).i32_add().local_set(B);
    code.local_get(left).i32_const(1).i32_sub().local_tee(left).br_if(0).end().end();

    if end != End::Powers {
        code.local_get(c).local_set(down);
    }
    for r in 0..rows {
        for v in 0..VECTORS {
            let sum = sum(r, v);
            match end {
                End::Product => {
                    code.local_get(down).local_get(sum).v128_store(at(v));
                }
                End::Powers => {
                    if let Some(exponential) = &exponential {
                        exponential.apply(&mut code, sum);
                    }
                    code.local_get(IN_POWERS).local_get(sum).v128_store(packed(r, v));
                }
                End::Slopes => {
                    code.local_get(sum).local_get(IN_POWERS).v128_load(packed(r, v));
                    code.f32x4_mul().local_set(sum);
                    code.local_get(IN_SLOPES).local_get(sum).v128_store(packed(r, v));
                    code.local_get(down).local_get(sum).v128_store(at(v));
                }
                End::Sums => {
                    if let Some(exponential) = &exponential {
                        exponential.bounded(&mut code, sum);
                    }
                    code.local_get(down).local_get(sum).v128_store(at(v));
                }
            }
        }
        if end == End::Sums {
            let together = at(r);
            code.local_get(SUMS).local_get(SUMS).v128_load(together);
            code.local_get(sum(r, 0)).local_get(sum(r, 1)).f32x4_add().f32x4_add();
            code.v128_store(together);
        }
        if end != End::Powers {
            next(&mut code, r);
        }
    }
    // On to the next panel, with the same rows of A.
    for r in 0..rows {
        code.local_get(row(r)).local_get(K).i32_const(2).i32_shl().i32_sub().local_set(row(r));
    }
    let matrices: &[u32] = match end {
        End::Product | End::Sums => &[],
        End::Powers => &[IN_POWERS],
        End::Slopes => &[IN_POWERS, IN_SLOPES],
    };
    for matrix in matrices {
        code.local_get(*matrix).local_get(PANEL_STRIDE).i32_add().local_set(*matrix);
    }
    if end != End::Powers {
        code.local_get(c).i32_const(16 * VECTORS as i32).i32_add().local_set(c);
    }
    code.local_get(PANELS).i32_const(1).i32_sub().local_tee(PANELS).br_if(0).end();
    code.end();
    function
}

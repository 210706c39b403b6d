//! The innermost loop of products: tiles of C, `ROWS x 8` sums in registers.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};

use super::at;

/// Rows of the largest tile: 6 x 8 sums are 12 vectors; with two of B and one of A they fill the 16
/// registers of x86-64.
pub const ROWS: u32 = 6;
/// Vectors of four columns.
const VECTORS: u32 = 2;

// The parameters, as locals; strides are in bytes.
const K: u32 = 0;
const A: u32 = 1;
const A_STRIDE: u32 = 2;
const B: u32 = 3;
const C: u32 = 4;
const C_STRIDE: u32 = 5;
/// 0: the tiles of C are overwritten, else added to.
const ADD: u32 = 6;
/// Tiles, side by side in C; their panels of B follow each other.
const PANELS: u32 = 7;
pub const PARAMETERS: u32 = 8;

/// The kernel for tiles of so many rows.
pub fn kernel(relaxed: bool, rows: u32) -> Function {
    // Rows of A after the first, what is left of k, and a row of C.
    let pointers = rows - 1;
    let (left, down) = (PARAMETERS + pointers, PARAMETERS + pointers + 1);
    let (first_sum, sums) = (down + 1, rows * VECTORS);
    let locals = [(pointers + 2, ValType::I32), (sums + VECTORS, ValType::V128)];
    let mut function = Function::new(locals);
    let row = |r: u32| if r == 0 { A } else { PARAMETERS + r - 1 };
    let sum = |r: u32, v: u32| first_sum + r * VECTORS + v;
    let b = |v: u32| first_sum + sums + v;
    let mut code = function.instructions();
    for r in 1..rows {
        code.local_get(row(r - 1)).local_get(A_STRIDE).i32_add().local_set(row(r));
    }
    let next = |code: &mut InstructionSink<'_>, r: u32| {
        if r + 1 < rows {
            code.local_get(down).local_get(C_STRIDE).i32_add().local_set(down);
        }
    };

    code.loop_(BlockType::Empty);
    code.local_get(ADD).if_(BlockType::Empty);
    code.local_get(C).local_set(down);
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

    code.local_get(C).local_set(down);
    for r in 0..rows {
        for v in 0..VECTORS {
            code.local_get(down).local_get(sum(r, v)).v128_store(at(v));
        }
        next(&mut code, r);
    }
    // On to the next panel, with the same rows of A.
    for r in 0..rows {
        code.local_get(row(r)).local_get(K).i32_const(2).i32_shl().i32_sub().local_set(row(r));
    }
    code.local_get(C).i32_const(16 * VECTORS as i32).i32_add().local_set(C);
    code.local_get(PANELS).i32_const(1).i32_sub().local_tee(PANELS).br_if(0).end();
    code.end();
    function
}

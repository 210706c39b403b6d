//! Writes the micro-kernels of `src/kernels/cpu/microkernel.rs` as WebAssembly, for wasm only.
//!
//! One module can't hold relaxed-SIMD instructions and still load in a browser that lacks them, and
//! two builds of everything would double the download. So the few instructions in which the time
//! goes are modules of their own, of some kilobytes: the page's module brings both and loads the one
//! that the browser takes. They work on the page module's memory.

use std::path::Path;
use std::{env, fs};

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, InstructionSink, MemArg, MemoryType, Module, TypeSection, ValType,
};

/// Rows of the largest tile: 6 x 8 sums are 12 vectors; with two of B and one of A they fill the 16
/// registers of x86-64.
const ROWS: u32 = 6;
/// Vectors of four columns.
const VECTORS: u32 = 2;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("wasm32") {
        return;
    }
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    for (name, relaxed) in [("relaxed.wasm", true), ("plain.wasm", false)] {
        fs::write(Path::new(&folder).join(name), module(relaxed)).expect("OUT_DIR is writable");
    }
}

/// Exports `rows1` to `rows6`.
fn module(relaxed: bool) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 7], []);
    let mut imports = ImportSection::new();
    let memory = MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import("env", "memory", EntityType::Memory(memory));
    let (mut functions, mut exports, mut code) =
        (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for rows in 1..=ROWS {
        functions.function(0);
        exports.export(&format!("rows{rows}"), ExportKind::Func, rows - 1);
        code.function(&kernel(relaxed, rows));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
}

// The parameters, as locals; strides are in bytes.
const K: u32 = 0;
const A: u32 = 1;
const A_STRIDE: u32 = 2;
const B: u32 = 3;
const C: u32 = 4;
const C_STRIDE: u32 = 5;
/// 0: the tile of C is overwritten, else added to.
const ADD: u32 = 6;

fn at(index: u32) -> MemArg {
    // Nothing is known of the alignment but that of an f32.
    MemArg { offset: u64::from(16 * index), align: 2, memory_index: 0 }
}

fn kernel(relaxed: bool, rows: u32) -> Function {
    let pointers = rows - 1;
    let (first_sum, sums) = (7 + pointers, rows * VECTORS);
    let mut function = Function::new([(pointers, ValType::I32), (sums + VECTORS, ValType::V128)]);
    let row = |r: u32| if r == 0 { A } else { 6 + r };
    let sum = |r: u32, v: u32| first_sum + r * VECTORS + v;
    let b = |v: u32| first_sum + sums + v;
    let mut code = function.instructions();
    for r in 1..rows {
        code.local_get(row(r - 1)).local_get(A_STRIDE).i32_add().local_set(row(r));
    }

    let down = |code: &mut InstructionSink<'_>, pointer: u32| {
        code.local_get(pointer).local_get(C_STRIDE).i32_add().local_set(pointer);
    };
    code.local_get(ADD).if_(BlockType::Empty);
    code.local_get(C).local_set(ADD);
    for r in 0..rows {
        for v in 0..VECTORS {
            code.local_get(ADD).v128_load(at(v)).local_set(sum(r, v));
        }
        down(&mut code, ADD);
    }
    code.end();

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
    code.local_get(K).i32_const(1).i32_sub().local_tee(K).br_if(0).end().end();

    for r in 0..rows {
        for v in 0..VECTORS {
            code.local_get(C).local_get(sum(r, v)).v128_store(at(v));
        }
        down(&mut code, C);
    }
    code.end();
    function
}

//! Writes the micro-kernels of `src/kernels/cpu/microkernel.rs` as WebAssembly, for wasm only.
//!
//! One module can't hold relaxed-SIMD instructions and still load in a browser that lacks them, and
//! two builds of everything would double the download. So the few instructions in which the time
//! goes are modules of their own, of some kilobytes: the page's module brings both and loads the one
//! that the browser takes. They work on the page module's memory.

use std::path::Path;
use std::{env, fs};

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataSection, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, ImportSection, InstructionSink, MemArg, MemoryType,
    Module, TypeSection, ValType,
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
    // The module's memory can be shared with threads (ARCHITECTURE.md, "Threads"). For the linker
    // that means std with atomics, which only a nightly compiler builds; nothing here needs them.
    for argument in [
        "--shared-memory",
        "--import-memory",
        "--max-memory=4294967296",
        "--no-check-features",
        // What wasm-bindgen looks for in a module that has threads.
        "--export=__wasm_init_tls",
        "--export=__tls_size",
        "--export=__tls_align",
        "--export=__tls_base",
    ] {
        println!("cargo::rustc-link-arg={argument}");
    }
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let object = Path::new(&folder).join("thread-local.o");
    fs::write(&object, thread_local()).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-arg={}", object.display());
    for (name, relaxed) in [("relaxed", true), ("plain", false)] {
        for (suffix, shared) in [("", false), ("-shared", true)] {
            let file = Path::new(&folder).join(format!("{name}{suffix}.wasm"));
            fs::write(file, module(relaxed, shared)).expect("OUT_DIR is writable");
        }
    }
}

/// An object file of one thread-local byte. wasm-bindgen gives each thread memory for its
/// thread-locals, of an alignment that is zero, and refused, where there are none.
///
/// Layout: https://github.com/WebAssembly/tool-conventions/blob/main/Linking.md
fn thread_local() -> Vec<u8> {
    let name = b".tdata.lorakeet";
    let named = |bytes: &mut Vec<u8>| {
        bytes.push(name.len() as u8);
        bytes.extend(name);
    };
    // A symbol table of one entry: data, thread-local (0x100), not to be stripped (0x80), hidden
    // (4); in segment 0 from 0 on, 1 long.
    let mut symbols = vec![1, 1, 0x84, 0x03];
    named(&mut symbols);
    symbols.extend([0, 0, 1]);
    // One segment: aligned to 2^0, thread-local (2).
    let mut segments = vec![1];
    named(&mut segments);
    segments.extend([0, 2]);
    let mut linking = vec![2];
    for (id, content) in [(8, symbols), (5, segments)] {
        linking.extend([id, content.len() as u8]);
        linking.extend(content);
    }

    let mut imports = ImportSection::new();
    imports.import("env", "__linear_memory", EntityType::Memory(memory(None, false)));
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(0), [0]);
    let mut module = Module::new();
    module.section(&imports).section(&data);
    module.section(&CustomSection { name: "linking".into(), data: linking.into() });
    module.finish()
}

fn memory(maximum: Option<u64>, shared: bool) -> MemoryType {
    MemoryType { minimum: 0, maximum, memory64: false, shared, page_size_log2: None }
}

/// Exports `rows1` to `rows6`, and for shared memory what has to be atomic.
fn module(relaxed: bool, shared: bool) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 8], []);
    types.ty().function([ValType::I32; 2], [ValType::I32]);
    let mut imports = ImportSection::new();
    // All that 32 bits can address, as the page module says.
    let memory = memory(shared.then_some(1 << 16), shared);
    imports.import("env", "memory", EntityType::Memory(memory));
    let (mut functions, mut exports, mut code) =
        (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for rows in 1..=ROWS {
        functions.function(0);
        exports.export(&format!("rows{rows}"), ExportKind::Func, rows - 1);
        code.function(&kernel(relaxed, rows));
    }
    for (i, name) in (ROWS..).zip(ATOMICS.into_iter().filter(|_| shared)) {
        functions.function(1);
        exports.export(name, ExportKind::Func, i);
        code.function(&atomic(name));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// `(address, value) -> result`, sequentially consistent; see `src/kernels/cpu/threads.rs`.
const ATOMICS: [&str; 6] = ["load", "store", "add", "wait", "nap", "wake"];

fn atomic(name: &str) -> Function {
    const FOREVER: i64 = -1;
    const NAP_NANOSECONDS: i64 = 100_000_000;
    let word = MemArg { offset: 0, align: 2, memory_index: 0 };
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0);
    match name {
        "load" => code.i32_atomic_load(word),
        "store" => code.local_get(1).i32_atomic_store(word).i32_const(0),
        "add" => code.local_get(1).i32_atomic_rmw_add(word),
        "wait" => code.local_get(1).i64_const(FOREVER).memory_atomic_wait32(word),
        "nap" => code.local_get(1).i64_const(NAP_NANOSECONDS).memory_atomic_wait32(word),
        _ => code.local_get(1).memory_atomic_notify(word),
    };
    code.end();
    function
}

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
const PARAMETERS: u32 = 8;

fn at(index: u32) -> MemArg {
    // Nothing is known of the alignment but that of an f32.
    MemArg { offset: u64::from(16 * index), align: 2, memory_index: 0 }
}

fn kernel(relaxed: bool, rows: u32) -> Function {
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

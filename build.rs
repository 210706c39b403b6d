//! Writes the micro-kernels of `src/kernels/cpu/{microkernel,softmax}.rs` as WebAssembly, for wasm
//! only.
//!
//! One module can't hold relaxed-SIMD instructions and still load in a browser that lacks them, and
//! two builds of everything would double the download. So the few instructions in which the time
//! goes are modules of their own, of some kilobytes: the page's module brings both and loads the one
//! that the browser takes. They work on the page module's memory.

#[path = "src/kernels/cpu/exponent.rs"]
mod exponent;
#[path = "build/product.rs"]
mod product;
#[path = "build/softmax.rs"]
mod softmax;

use std::path::Path;
use std::{env, fs};

use product::End;
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, MemArg, MemoryType, Module, TypeSection, ValType,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/kernels/cpu/exponent.rs");
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

/// Nothing is known of the alignment but that of an f32.
fn at(vector: u32) -> MemArg {
    MemArg { offset: u64::from(16 * vector), align: 2, memory_index: 0 }
}

/// Exports `rows1` to `rows6`, likewise `powers_of`, `slopes_of` and `sums_of`; `powers`; and for shared
/// memory what has to be atomic.
fn module(relaxed: bool, shared: bool) -> Vec<u8> {
    let mut imports = ImportSection::new();
    // All that 32 bits can address, as the page module says.
    let memory = memory(shared.then_some(1 << 16), shared);
    imports.import("env", "memory", EntityType::Memory(memory));
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    let mut export = |name: &str, parameters: &[ValType], results: &[ValType], body: Function| {
        let index = functions.len();
        types.ty().function(parameters.iter().copied(), results.iter().copied());
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        code.function(&body);
    };
    for (name, end) in [
        ("rows", End::Product),
        ("powers_of", End::Powers),
        ("slopes_of", End::Slopes),
        ("sums_of", End::Sums),
    ] {
        for rows in 1..=product::ROWS {
            let parameters = vec![ValType::I32; end.parameters() as usize];
            export(&format!("{name}{rows}"), &parameters, &[], product::kernel(relaxed, rows, end));
        }
    }
    let (parameters, results) = softmax::POWERS;
    export("powers", &parameters, &results, softmax::powers(relaxed));
    for name in ATOMICS.into_iter().filter(|_| shared) {
        export(name, &[ValType::I32; 2], &[ValType::I32], atomic(name));
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

//! Small modules, cut in two, looked at and run.

use std::borrow::Cow;

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink,
    MemoryType, NameMap, NameSection, RefType, TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{Validator, WasmFeatures};

use super::arrange::arranged;
use super::module::Module;
use super::{Halves, cut, mentions, plain};
use crate::shell::{command, output, which};

/// Functions of the module below, in order; the first is imported.
const NAMES: [&str; 13] = [
    "__wbg_lorakeetGpuPart_0123",
    "app::run",
    "app::indirect",
    "core::common",
    "cubecl_core::work",
    "helper",
    "<alloc::boxed::Box<wgpu::Device> as app::Draw>::draw",
    "<app::Cpu as app::Draw>::draw",
    "__wasm_call_ctors",
    "cubecl_core::register",
    "cubecl_core::tiny",
    "app::register",
    "<wgpu::Queue as app::Draw>::draw",
];

const RUN: u32 = 1;
const INDIRECT: u32 = 2;
const COMMON: u32 = 3;
const WORK: u32 = 4;
const HELPER: u32 = 5;
const DRAW: u32 = 6;
const CPU_DRAW: u32 = 7;
const CTORS: u32 = 8;
const REGISTER: u32 = 9;
const TINY: u32 = 10;
const OWN_REGISTER: u32 = 11;
const QUEUE: u32 = 12;

/// A function's body of a size that is worth moving: its parameter, and something added to it.
fn body(rest: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0);
    for _ in 0..20 {
        code.i32_const(1).i32_add();
    }
    rest(&mut code);
    code.end();
    function
}

/// What the page's module has in small: calls into a GPU's crates directly and through the table, a
/// function that only those reach, one that both reach, and something that runs at the start.
fn module(import: &str) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut imports = ImportSection::new();
    imports.import("js", import, EntityType::Function(0));
    let (maximum, shared) = (Some(2), true);
    let memory = MemoryType { minimum: 1, maximum, memory64: false, shared, page_size_log2: None };
    imports.import("js", "memory", EntityType::Memory(memory));
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for function in RUN..=QUEUE {
        functions.function(u32::from(![CTORS, REGISTER, OWN_REGISTER].contains(&function)));
        code.function(&match function {
            RUN => body(|code| {
                code.call(WORK).call(COMMON);
            }),
            INDIRECT => {
                let mut function = Function::new([]);
                function.instructions().local_get(0).local_get(0).call_indirect(0, 1).end();
                function
            }
            COMMON => body(|code| {
                code.i32_const(1000).i32_add();
            }),
            WORK => body(|code| {
                code.call(HELPER).call(COMMON).call(TINY);
                code.global_get(0).i32_add().global_set(0).i32_const(8).global_get(0);
                code.i32_store(wasm_encoder::MemArg { offset: 0, align: 2, memory_index: 0 });
                code.global_get(0);
            }),
            HELPER => body(|code| {
                code.i32_const(7).i32_mul();
            }),
            DRAW | QUEUE => body(|code| {
                code.call(HELPER);
            }),
            CTORS => {
                let mut function = Function::new([]);
                function.instructions().call(REGISTER).call(OWN_REGISTER).end();
                function
            }
            REGISTER | OWN_REGISTER => {
                let mut function = Function::new([]);
                let mut code = function.instructions();
                for _ in 0..20 {
                    code.global_get(0).i32_const(1).i32_add().global_set(0);
                }
                code.end();
                function
            }
            TINY => {
                let mut function = Function::new([]);
                function.instructions().local_get(0).i32_const(2).i32_mul().end();
                function
            }
            _ => body(|_| {}),
        });
    }
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 4,
        maximum: Some(4),
        shared: false,
    });
    let mut globals = GlobalSection::new();
    let global = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(global, &ConstExpr::i32_const(5));
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, RUN);
    exports.export("indirect", ExportKind::Func, INDIRECT);
    // A name that the splitter would like to give.
    exports.export("a", ExportKind::Func, CTORS);
    exports.export("table", ExportKind::Table, 0);
    let mut elements = ElementSection::new();
    let places = Elements::Functions(Cow::Borrowed(&[QUEUE, CPU_DRAW, DRAW, TINY]));
    elements.active(None, &ConstExpr::i32_const(0), places);
    let mut names = NameMap::new();
    for (index, name) in (0..).zip(NAMES) {
        names.append(index, name);
    }
    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables);
    module.section(&globals).section(&exports).section(&elements).section(&code);
    module.section(&name_section);
    module.finish()
}

fn halves() -> Halves {
    cut(&module(NAMES[0])).unwrap_or_else(|problem| panic!("{}", problem.0))
}

#[test]
fn both_halves_are_modules() {
    let halves = halves();
    let whole = module(NAMES[0]);
    let arranged = [&whole, &halves.main, &halves.part].map(|bytes| arranged(bytes).unwrap());
    for bytes in [&whole, &halves.main, &halves.part].into_iter().chain(&arranged) {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        validator.validate_all(bytes).unwrap();
    }
}

#[test]
fn what_only_a_gpu_needs_leaves() {
    let halves = halves();
    let (main, part) = (Module::read(&halves.main).unwrap(), Module::read(&halves.part).unwrap());
    // helper, register and the queue's draw are gone; what stubs call and what lies where a function was
    // have come.
    assert_eq!(main.functions.len(), NAMES.len() - 3 + 2);
    let moved = part.functions.iter().filter(|f| f.body.is_some()).count();
    assert_eq!(moved, 5 + 1, "work, helper, both draws and register, and what is run first");
    assert_eq!((halves.facts.moved, halves.facts.stubs), (5, 2), "three need no stub");
    // work has a new place behind the old ones, draw its own.
    let [table] = &main.tables[..] else { panic!("{} tables", main.tables.len()) };
    assert_eq!((table.initial, table.maximum), (5, Some(5)));
    assert_eq!(part.places.keys().copied().collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(main.places.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    // The part's memory is what the main module's is, shared or not.
    assert!(part.memories[0].shared && part.memories[0].maximum == Some(2));
}

#[test]
fn functions_go_by_their_names() {
    let whole = module(NAMES[0]);
    let arranged = arranged(&whole).unwrap();
    let sizes = |bytes: &[u8], order: &[u32]| -> Vec<usize> {
        let module = Module::read(bytes).unwrap();
        let body = |&f: &u32| module.functions[f as usize].body.as_ref().unwrap().range().len();
        order.iter().map(body).collect()
    };
    let by_name = [
        DRAW,
        CPU_DRAW,
        QUEUE,
        CTORS,
        INDIRECT,
        OWN_REGISTER,
        RUN,
        COMMON,
        REGISTER,
        TINY,
        WORK,
        HELPER,
    ];
    let in_turn: Vec<u32> = (RUN..=QUEUE).collect();
    assert_eq!(sizes(&arranged, &in_turn), sizes(&whole, &by_name));
    let module = Module::read(&arranged).unwrap();
    assert!(module.functions.iter().all(|f| f.body.is_none() || f.name.is_empty()), "names go");
}

#[test]
fn a_name_is_a_path_not_a_part_of_one() {
    assert!(mentions("cubecl_core::ir::Scope::new", "cubecl"));
    assert!(mentions("<alloc::vec::Vec<wgpu::Buffer> as Drop>::drop", "wgpu"));
    assert!(mentions("core::ptr::drop_in_place<&mut wgpu::Buffer>", "wgpu"));
    assert!(!mentions("app::my_wgpu::new", "wgpu"));
    assert!(!mentions("app::wgpu::new", "wgpu"));
    assert!(mentions("app::wgpu::new::<wgpu::Device>", "wgpu"));
    assert!(!mentions("", "wgpu"));
    assert_eq!(
        plain("app[1a2b]::run::<[u8; 4], wgpu[0f]::Queue>"),
        "app::run::<[u8; 4], wgpu::Queue>"
    );
    assert_eq!(plain("app::array[u8"), "app::array[u8");
}

#[test]
fn a_module_that_cannot_load_a_part_stays_whole() {
    let problem = cut(&module("something_else")).err().expect("nothing would load the part");
    assert!(problem.0.contains("doesn't import"), "{}", problem.0);
    let nameless = module(NAMES[0]);
    let nameless = &nameless[..nameless.len() - name_section_length(&nameless)];
    let problem = cut(nameless).err().expect("nothing tells what is a GPU's");
    assert!(problem.0.contains("names"), "{}", problem.0);
}

fn name_section_length(bytes: &[u8]) -> usize {
    let payloads = wasmparser::Parser::new(0).parse_all(bytes);
    let start = payloads
        .filter_map(|payload| match payload.unwrap() {
            wasmparser::Payload::CodeSectionStart { range, .. } => Some(range.end),
            _ => None,
        })
        .last();
    bytes.len() - start.unwrap()
}

/// Runs the whole, the halves with the part there from the start, and the halves without it. Node.js
/// is what people have who have wasm-opt; without it there is nothing to run them on here.
#[test]
fn the_halves_compute_what_the_whole_does() {
    let Some(node) = which(&["node"]) else { return };
    let folder = std::env::temp_dir().join(format!("lorakeet-split-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let halves = halves();
    let modules = [("whole", &module(NAMES[0])), ("main", &halves.main), ("part", &halves.part)];
    for (name, bytes) in modules {
        std::fs::write(folder.join(name), arranged(bytes).unwrap()).unwrap();
    }
    std::fs::write(folder.join("run.mjs"), SCRIPT).unwrap();
    let told = output(command(node).arg(folder.join("run.mjs")).arg(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
    let told = told.expect("the script runs");
    let [whole, eager, late]: [&str; 3] = told.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(eager, format!("{whole} loads 0"));
    assert_eq!(late, format!("{whole} loads 1 at draw, after queue stopped"));
}

/// Prints what the functions give, in order, and when the part was loaded.
const SCRIPT: &str = r#"
import { readFileSync } from "node:fs";
const module = (name) => new WebAssembly.Module(readFileSync(`${process.argv[2]}/${name}`));
for (const kind of ["whole", "eager", "late"]) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  let [loads, at, now] = [0, "", ""];
  const part = () => new WebAssembly.Instance(module("part"), { main: exports });
  const js = { memory, __wbg_lorakeetGpuPart_0123: () => { loads++; at = ` at ${now}`; part(); } };
  const { exports } = new WebAssembly.Instance(module(kind === "whole" ? "whole" : "main"), { js });
  if (kind === "eager") part();
  let stopped = "";
  try {
    if (kind === "late") exports.indirect(0);
  } catch (error) {
    stopped = `, after queue ${error instanceof WebAssembly.RuntimeError ? "stopped" : error}`;
  }
  const told = [];
  const run = (name, does) => { now = name; told.push(String(does())); };
  run("start", () => exports.a());
  run("cpu", () => exports.indirect(1));
  run("tiny", () => exports.indirect(3));
  run("draw", () => exports.indirect(2));
  run("queue", () => exports.indirect(0));
  run("work", () => exports.run(3));
  run("again", () => exports.run(4));
  run("memory", () => new Int32Array(memory.buffer)[2]);
  console.log(told.join(" ") + (kind === "whole" ? "" : ` loads ${loads}${at}${stopped}`));
}
"#;

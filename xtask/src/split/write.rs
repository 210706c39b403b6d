//! Writes the main module and its part.
//!
//! A function that moved and that the main module can call keeps a stub there: it calls through the
//! function's place in the table. Until the part is instantiated these places hold the stubs
//! themselves, or nothing; a stub first has JavaScript load the part if it isn't there.

use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, ElementSection, Elements, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, ImportSection,
    Module as Encoder, NameMap, NameSection, RawSection, SectionId, StartSection, TableSection,
    TypeSection, ValType,
};
use wasmparser::{BinaryReader, SectionLimited};

use super::link::{FUNCTION, LOADED, MEMORY, Numbers, Shared, TABLE, export_kind, loaded};
use super::module::{Module, Problem};
use super::plan::Plan;

/// What the part calls the module that its imports come from.
const MAIN: &str = "main";

/// The two modules' bytes.
pub struct Halves {
    pub main: Vec<u8>,
    pub part: Vec<u8>,
    pub facts: Facts,
}

/// What there is to tell.
#[derive(Debug, PartialEq)]
pub struct Facts {
    pub moved: usize,
    /// Those of them that the main module can call.
    pub stubs: usize,
    /// What the main module has to export besides what it did.
    pub exports: usize,
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { moved, stubs, exports } = self;
        write!(f, "{moved} functions are only a GPU's: {stubs} have stubs, for {exports} exports")
    }
}

/// Cuts a module as planned. `load` is the function, imported from JavaScript, that instantiates the
/// part.
///
/// # Errors
/// What can't be written.
pub fn write(module: &Module, plan: &Plan, load: u32) -> Result<Halves, Problem> {
    let shared = Shared::new(module, plan);
    let main = main(module, plan, &shared, load)?;
    let part = part(module, plan, &shared)?;
    let facts = Facts {
        moved: plan.moved.iter().filter(|moved| **moved).count(),
        stubs: plan.places.len(),
        exports: shared.names.len(),
    };
    Ok(Halves { main, part, facts })
}

fn main(module: &Module, plan: &Plan, shared: &Shared, load: u32) -> Result<Vec<u8>, Problem> {
    let mut encoder = Encoder::new();
    let raw = |encoder: &mut Encoder, id: SectionId| {
        if let Some(data) = module.sections.get(&(id as u8)) {
            encoder.section(&RawSection { id: id as u8, data });
        }
    };
    let section = |id: SectionId| module.sections.get(&(id as u8)).map(|b| BinaryReader::new(b, 0));
    let kept = |f: &u32| !plan.vanishes(*f);
    let functions = (0..module.functions.len() as u32).filter(kept).zip(0..).collect();
    let mut numbers = Numbers { functions, ..Numbers::default() };
    let ready = numbers.functions.len() as u32;

    let mut types = TypeSection::new();
    if let Some(reader) = section(SectionId::Type) {
        numbers.parse_type_section(&mut types, SectionLimited::new(reader)?)?;
    }
    let ready_type = types.len();
    types.ty().function([ValType::I32], [ValType::I32]);
    let gone_type = types.len();
    types.ty().function([], []);
    encoder.section(&types);
    raw(&mut encoder, SectionId::Import);

    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for (function, index) in module.functions.iter().zip(0..).filter(|(_, i)| kept(i)) {
        let Some(body) = &function.body else { continue };
        functions.function(function.ty);
        if let Some(&place) = plan.places.get(&index) {
            let parameters = module.types[function.ty as usize].params().len() as u32;
            let table = module.table.unwrap_or(0);
            code.function(&stub(parameters, place, ready, function.ty, table));
        } else if let Some(calls) = &function.calls {
            code.function(&in_turn(calls, &mut numbers, None)?);
        } else {
            numbers.parse_function_body(&mut code, body.clone())?;
        }
    }
    functions.function(ready_type);
    code.function(&when_ready(loaded(module), numbers.function_index(load)?));
    functions.function(gone_type);
    code.function(&gone());
    encoder.section(&functions);

    if !module.tables.is_empty() {
        let mut tables = TableSection::new();
        for index in module.imported.tables..module.tables.len() {
            tables.table(shared.table(index as u32, plan.added)?);
        }
        encoder.section(&tables);
    }
    raw(&mut encoder, SectionId::Memory);

    let mut globals = GlobalSection::new();
    if let Some(reader) = section(SectionId::Global) {
        numbers.parse_global_section(&mut globals, SectionLimited::new(reader)?)?;
    }
    globals.global(LOADED, &ConstExpr::i32_const(0));
    encoder.section(&globals);

    let mut exports = ExportSection::new();
    let mut export = |name: &str, kind: ExportKind, index: u32| {
        let function = kind == ExportKind::Func;
        let index = if function { numbers.function_index(index)? } else { index };
        exports.export(name, kind, index);
        Ok::<(), Problem>(())
    };
    for &(name, kind, index) in &module.exports {
        export(name, export_kind(kind), index)?;
    }
    for (name, (kind, index)) in &shared.names {
        let kinds = [ExportKind::Func, ExportKind::Table, ExportKind::Memory, ExportKind::Global];
        export(name, kinds[usize::from(*kind)], *index)?;
    }
    encoder.section(&exports);

    let stub = |index: u32| if plan.moved[index as usize] { STUB } else { "" };
    let names = names(module, &numbers, stub);
    if let Some(start) = module.start {
        encoder.section(&StartSection { function_index: numbers.function_index(start)? });
    }
    if let Some(reader) = section(SectionId::Element) {
        // Names are by number, of which these share one.
        for &function in module.places.values().filter(|f| plan.vanishes(**f)) {
            numbers.functions.insert(function, ready + 1);
        }
        let mut elements = ElementSection::new();
        numbers.parse_element_section(&mut elements, SectionLimited::new(reader)?)?;
        encoder.section(&elements);
    }
    raw(&mut encoder, SectionId::DataCount);
    encoder.section(&code);
    raw(&mut encoder, SectionId::Data);
    encoder.section(&names);
    features(module, &mut encoder);
    Ok(encoder.finish())
}

/// Calls what lies at a place of the table, once that is what it should be.
fn stub(parameters: u32, place: u32, ready: u32, ty: u32, table: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for parameter in 0..parameters {
        code.local_get(parameter);
    }
    code.i32_const(place as i32).call(ready).call_indirect(table, ty).end();
    function
}

/// Lies in the table where a function was that only the part itself can call: that its type is another's
/// stops a call, as an empty place would.
fn gone() -> Function {
    let mut function = Function::new([]);
    function.instructions().unreachable().end();
    function
}

/// Calls one function after the other; before that it tells that the part is there.
fn in_turn(calls: &[u32], numbers: &mut Numbers, loaded: Option<u32>) -> Result<Function, Problem> {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    if let Some(loaded) = loaded {
        code.i32_const(1).global_set(loaded);
    }
    for &call in calls {
        code.call(numbers.function_index(call)?);
    }
    code.end();
    Ok(function)
}

/// Gives back what it is given when the part is there.
fn when_ready(loaded: u32, load: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.global_get(loaded).i32_eqz().if_(BlockType::Empty).call(load).end();
    code.local_get(0).end();
    function
}

fn part(module: &Module, plan: &Plan, shared: &Shared) -> Result<Vec<u8>, Problem> {
    let renumber = |old: &BTreeSet<u32>| old.iter().copied().zip(0..).collect();
    let mut numbers = Numbers { types: Some(renumber(&shared.types)), ..Numbers::default() };
    let start_type = shared.types.len() as u32;
    let mut types = TypeSection::new();
    for &ty in &shared.types {
        types.ty().func_type(&RoundtripReencoder.func_type(module.types[ty as usize].clone())?);
    }
    types.ty().function([], []);

    let mut imports = ImportSection::new();
    let (mut globals, mut tables) = (BTreeMap::new(), BTreeMap::new());
    for (&(kind, index), name) in &shared.things {
        let ty = match kind {
            FUNCTION => {
                numbers.functions.insert(index, numbers.functions.len() as u32);
                EntityType::Function(numbers.type_index(module.functions[index as usize].ty)?)
            }
            TABLE => {
                tables.insert(index, tables.len() as u32);
                EntityType::Table(shared.table(index, plan.added)?)
            }
            MEMORY => {
                EntityType::Memory(RoundtripReencoder.memory_type(module.memories[index as usize])?)
            }
            _ => {
                globals.insert(index, globals.len() as u32);
                EntityType::Global(match module.globals.get(index as usize) {
                    Some(&global) => RoundtripReencoder.global_type(global)?,
                    None => LOADED,
                })
            }
        };
        imports.import(MAIN, name, ty);
    }
    let loaded = globals[&loaded(module)];
    (numbers.globals, numbers.tables) = (Some(globals), Some(tables));

    let moved = || module.functions.iter().zip(0..).filter(|(_, i)| plan.moved[*i as usize]);
    for (_, index) in moved() {
        numbers.functions.insert(index, numbers.functions.len() as u32);
    }
    let start = numbers.functions.len() as u32;
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for (function, _) in moved() {
        functions.function(numbers.type_index(function.ty)?);
        let Some(body) = &function.body else { return Err("an import was to move".into()) };
        numbers.parse_function_body(&mut code, body.clone())?;
    }
    functions.function(start_type);
    code.function(&in_turn(&plan.first, &mut numbers, Some(loaded))?);

    let table = numbers.table_index(module.table.unwrap_or(0))?;
    let elements = elements(module, plan, &mut numbers, table)?;
    let mut encoder = Encoder::new();
    encoder.section(&types).section(&imports).section(&functions);
    encoder.section(&StartSection { function_index: start }).section(&elements).section(&code);
    encoder.section(&names(module, &numbers, |_| ""));
    features(module, &mut encoder);
    Ok(encoder.finish())
}

/// Every place that a moved function has, run by run.
fn elements(
    module: &Module,
    plan: &Plan,
    numbers: &mut Numbers,
    table: u32,
) -> Result<ElementSection, Problem> {
    let mut places: BTreeMap<u32, u32> = BTreeMap::new();
    for (&place, &function) in &module.places {
        if plan.moved[function as usize] {
            places.insert(place, numbers.function_index(function)?);
        }
    }
    for (&function, &place) in &plan.places {
        places.insert(place, numbers.function_index(function)?);
    }
    let mut elements = ElementSection::new();
    let mut run: Vec<u32> = Vec::new();
    for (&place, &function) in &places {
        run.push(function);
        if !places.contains_key(&(place + 1)) {
            let first = place + 1 - run.len() as u32;
            let functions = Elements::Functions(std::mem::take(&mut run).into());
            // The first table is written without its number, in every module.
            let table = (table != 0).then_some(table);
            elements.active(table, &ConstExpr::i32_const(first as i32), functions);
        }
    }
    Ok(elements)
}

/// Stubs' names have this in front, for them to lie together.
const STUB: &str = "~";

fn names(module: &Module, numbers: &Numbers, front: impl Fn(u32) -> &'static str) -> NameSection {
    let mut by_number: Vec<(u32, u32)> =
        numbers.functions.iter().map(|(&index, &number)| (number, index)).collect();
    by_number.sort_unstable();
    let mut map = NameMap::new();
    for (number, index) in by_number {
        let name = format!("{}{}", front(index), module.functions[index as usize].name);
        map.append(number, &name);
    }
    let mut names = NameSection::new();
    names.functions(&map);
    names
}

fn features(module: &Module, encoder: &mut Encoder) {
    if let Some(data) = module.features {
        encoder.section(&CustomSection { name: "target_features".into(), data: data.into() });
    }
}

//! What the part takes from the main module, and the numbers that things have in each.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{ExportKind, GlobalType, ValType};
use wasmparser::ExternalKind;

use super::module::{Module, Problem};
use super::plan::Plan;

/// Kind and index of something that both have; by kind in the order of an importing module.
pub type Thing = (u8, u32);

pub const FUNCTION: u8 = ExportKind::Func as u8;
pub const TABLE: u8 = ExportKind::Table as u8;
pub const MEMORY: u8 = ExportKind::Memory as u8;
pub const GLOBAL: u8 = ExportKind::Global as u8;

/// What the part imports.
pub struct Shared<'a> {
    /// Everything, and the main module's name for it.
    pub things: BTreeMap<Thing, String>,
    /// Those names that it has only for this.
    pub names: Vec<(String, Thing)>,
    /// What its functions and imports have.
    pub types: BTreeSet<u32>,
    module: &'a Module<'a>,
}

impl<'a> Shared<'a> {
    pub fn new(module: &'a Module<'a>, plan: &Plan) -> Self {
        let mut wanted: BTreeSet<Thing> = BTreeSet::new();
        let mut types = BTreeSet::new();
        wanted.extend(module.memories.iter().map(|_| (MEMORY, 0)));
        wanted.extend(module.table.map(|table| (TABLE, table)));
        wanted.insert((GLOBAL, loaded(module)));
        for (function, _) in module.functions.iter().zip(&plan.moved).filter(|(_, moved)| **moved) {
            let (uses, stays) = (&function.uses, |f: &u32| !plan.moved[*f as usize]);
            wanted.extend(uses.functions.iter().copied().filter(stays).map(|f| (FUNCTION, f)));
            wanted.extend(uses.globals.iter().map(|&global| (GLOBAL, global)));
            wanted.extend(uses.tables.iter().map(|&table| (TABLE, table)));
            types.extend(&uses.types);
            types.insert(function.ty);
        }
        let functions = wanted.iter().filter(|(kind, _)| *kind == FUNCTION);
        types.extend(functions.map(|&(_, f)| module.functions[f as usize].ty));

        let mut have: BTreeMap<Thing, &str> = BTreeMap::new();
        for &(name, kind, index) in &module.exports {
            have.entry((export_kind(kind) as u8, index)).or_insert(name);
        }
        let taken: HashSet<&str> = module.exports.iter().map(|(name, ..)| *name).collect();
        let mut short = (0..).map(short_name).filter(|name| !taken.contains(name.as_str()));
        let (mut things, mut names) = (BTreeMap::new(), Vec::new());
        for thing in wanted {
            let name = have.get(&thing).map(|name| name.to_string()).unwrap_or_else(|| {
                let name = short.next().expect("there is always another");
                names.push((name.clone(), thing));
                name
            });
            things.insert(thing, name);
        }
        Self { things, names, types, module }
    }

    /// The function table with its new places.
    pub fn table(&self, index: u32, added: u32) -> Result<wasm_encoder::TableType, Problem> {
        let mut table = RoundtripReencoder.table_type(self.module.tables[index as usize])?;
        if self.module.table == Some(index) {
            table.minimum += u64::from(added);
            table.maximum = table.maximum.map(|maximum| maximum + u64::from(added));
        }
        Ok(table)
    }
}

/// The global that says whether the part is there: behind the module's own.
pub fn loaded(module: &Module) -> u32 {
    module.globals.len() as u32
}

pub const LOADED: GlobalType = GlobalType { val_type: ValType::I32, mutable: true, shared: false };

/// a, b, ... z, aa, ...
fn short_name(mut number: usize) -> String {
    let mut name = Vec::new();
    loop {
        name.push(b'a' + (number % 26) as u8);
        number /= 26;
        if number == 0 {
            break;
        }
        number -= 1;
    }
    String::from_utf8(name).expect("ASCII")
}

pub fn export_kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}

/// Numbers of the module that was read, as one of those that are written has them.
#[derive(Default)]
pub struct Numbers {
    pub functions: BTreeMap<u32, u32>,
    /// None: as they were.
    pub types: Option<BTreeMap<u32, u32>>,
    pub globals: Option<BTreeMap<u32, u32>>,
    pub tables: Option<BTreeMap<u32, u32>>,
}

fn renumbered(numbers: Option<&BTreeMap<u32, u32>>, index: u32) -> Result<u32, Error<String>> {
    let Some(numbers) = numbers else { return Ok(index) };
    let number = numbers.get(&index).copied();
    number.ok_or_else(|| Error::UserError(format!("index {index} is of the other half")))
}

impl Reencode for Numbers {
    type Error = String;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<String>> {
        renumbered(Some(&self.functions), index)
    }

    fn type_index(&mut self, index: u32) -> Result<u32, Error<String>> {
        renumbered(self.types.as_ref(), index)
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<String>> {
        renumbered(self.globals.as_ref(), index)
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<String>> {
        renumbered(self.tables.as_ref(), index)
    }
}

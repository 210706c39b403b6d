//! A WebAssembly module as far as cutting it in two takes: its sections, its functions, and what each
//! function names by an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wasm_encoder::SectionId;
use wasm_encoder::reencode::{Error, Reencode};
use wasmparser::{
    ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody, GlobalType, KnownCustom,
    MemoryType, Name, Operator, Parser, Payload, TableType, TypeRef,
};

/// A module that was read.
#[derive(Default)]
pub struct Module<'a> {
    /// What lies in each section but the custom ones, by id.
    pub sections: BTreeMap<u8, &'a [u8]>,
    pub types: Vec<FuncType>,
    /// Imported ones first, as indices count.
    pub functions: Vec<Function<'a>>,
    pub tables: Vec<TableType>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<GlobalType>,
    /// How many of `tables`, `memories` and `globals` are imported.
    pub imported: Imported,
    pub exports: Vec<(&'a str, ExternalKind, u32)>,
    pub start: Option<u32>,
    /// What the table of functions holds, by place.
    pub places: BTreeMap<u32, u32>,
    /// Which table that is.
    pub table: Option<u32>,
    /// `target_features`, by which wasm-opt knows what it may write.
    pub features: Option<&'a [u8]>,
}

/// How many of each kind come from outside.
#[derive(Default)]
pub struct Imported {
    pub tables: usize,
    pub globals: usize,
}

/// One function.
#[derive(Default)]
pub struct Function<'a> {
    pub ty: u32,
    /// As a linker or wasm-bindgen wrote it; an import's own name. Empty where there is none.
    pub name: &'a str,
    /// None: it is imported.
    pub body: Option<FunctionBody<'a>>,
    /// All that its body does, where that was changed: calls, one after the other.
    pub calls: Option<Vec<u32>>,
    pub uses: Uses,
}

/// What a function's body names.
#[derive(Default)]
pub struct Uses {
    pub functions: BTreeSet<u32>,
    pub types: BTreeSet<u32>,
    pub globals: BTreeSet<u32>,
    pub tables: BTreeSet<u32>,
    /// It names segments or takes a function's address by index, which binds it to its module.
    pub bound: bool,
}

impl<'a> Module<'a> {
    /// Reads a module of one memory at most, without tags and garbage collection.
    ///
    /// # Errors
    /// What isn't so, or isn't WebAssembly.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        let mut module = Self::default();
        module.read_sections(bytes)?;
        if module.memories.len() > 1 || module.sections.contains_key(&(SectionId::Tag as u8)) {
            return Err("several memories, or tags".into());
        }
        for function in &mut module.functions {
            let Some(body) = &function.body else { continue };
            let mut operators = body.get_operators_reader()?;
            while !operators.eof() {
                let operator = operators.read()?;
                function.uses.bound |= matches!(operator, Operator::RefFunc { .. });
                function.uses.instruction(operator)?;
            }
        }
        Ok(module)
    }

    fn read_sections(&mut self, bytes: &'a [u8]) -> Result<(), Problem> {
        let mut bodies = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section()
                && id != SectionId::Custom as u8
            {
                self.sections.insert(id, &bytes[range]);
            }
            match payload {
                Payload::TypeSection(types) => {
                    self.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        self.import(import.name, import.ty);
                    }
                }
                Payload::FunctionSection(functions) => {
                    bodies = self.functions.len();
                    for ty in functions {
                        self.functions.push(Function { ty: ty?, ..Function::default() });
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        self.tables.push(table?.ty);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.memories.push(memory?);
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        self.globals.push(global?.ty);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        self.exports.push((export.name, export.kind, export.index));
                    }
                }
                Payload::StartSection { func, .. } => self.start = Some(func),
                Payload::ElementSection(segments) => {
                    for segment in segments {
                        self.segment(segment?)?;
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    self.functions[bodies].body = Some(body);
                    bodies += 1;
                }
                Payload::CustomSection(custom) if custom.name() == "target_features" => {
                    self.features = Some(custom.data());
                }
                Payload::CustomSection(custom) => {
                    if let KnownCustom::Name(names) = custom.as_known() {
                        self.names(names)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn import(&mut self, name: &'a str, ty: TypeRef) {
        match ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.functions.push(Function { ty, name, ..Function::default() });
            }
            TypeRef::Table(ty) => {
                self.tables.push(ty);
                self.imported.tables += 1;
            }
            TypeRef::Memory(ty) => self.memories.push(ty),
            TypeRef::Global(ty) => {
                self.globals.push(ty);
                self.imported.globals += 1;
            }
            TypeRef::Tag(_) => {}
        }
    }

    /// Notes what an active segment puts into the table of functions; those of JavaScript's values
    /// start empty.
    fn segment(&mut self, segment: wasmparser::Element<'a>) -> Result<(), Problem> {
        let mut functions = Vec::new();
        match segment.items {
            ElementItems::Functions(items) => {
                for function in items {
                    functions.push(Some(function?));
                }
            }
            ElementItems::Expressions(_, items) => {
                for item in items {
                    functions.push(match item?.get_operators_reader().read()? {
                        Operator::RefFunc { function_index } => Some(function_index),
                        _ => None,
                    });
                }
            }
        }
        let ElementKind::Active { table_index, offset_expr } = segment.kind else { return Ok(()) };
        let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
            return Err("a segment at a place that isn't a constant".into());
        };
        if functions.iter().all(Option::is_none) {
            return Ok(());
        }
        let table = table_index.unwrap_or(0);
        if *self.table.get_or_insert(table) != table {
            return Err("two tables of functions".into());
        }
        for (place, function) in (value as u32..).zip(functions) {
            if let Some(function) = function {
                self.places.insert(place, function);
            }
        }
        Ok(())
    }

    fn names(&mut self, names: wasmparser::NameSectionReader<'a>) -> Result<(), Problem> {
        for subsection in names {
            if let Name::Function(names) = subsection? {
                for naming in names {
                    let naming = naming?;
                    if let Some(function) = self.functions.get_mut(naming.index as usize)
                        && function.body.is_some()
                    {
                        function.name = naming.name;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes those calls out of a function that `apart` names, and returns them. It must consist of
    /// calls without parameters and results alone, as the one does that a linker makes of constructors.
    ///
    /// # Errors
    /// What can't be read. A function of another kind stays as it is.
    pub fn take_calls(
        &mut self,
        function: u32,
        apart: impl Fn(&str) -> bool,
    ) -> Result<Vec<u32>, Problem> {
        let Some(body) = &self.functions[function as usize].body else { return Ok(Vec::new()) };
        let mut calls = Vec::new();
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } => calls.push(function_index),
                Operator::End => {}
                _ => return Ok(Vec::new()),
            }
        }
        let plain = |f: &u32| {
            let ty = &self.types[self.functions[*f as usize].ty as usize];
            ty.params().is_empty() && ty.results().is_empty()
        };
        let (taken, left): (Vec<u32>, Vec<u32>) =
            calls.iter().partition(|f| plain(f) && apart(self.functions[**f as usize].name));
        let function = &mut self.functions[function as usize];
        function.uses.functions = left.iter().copied().collect();
        function.calls = Some(left);
        Ok(taken)
    }

    /// The first of a table's places that each function has.
    pub fn first_places(&self) -> HashMap<u32, u32> {
        self.places.iter().rev().map(|(&place, &function)| (function, place)).collect()
    }
}

/// Why a module can't be read or cut.
#[derive(Debug)]
pub struct Problem(pub String);

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<wasmparser::BinaryReaderError> for Problem {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self(error.to_string())
    }
}

impl<E: std::fmt::Display> From<Error<E>> for Problem {
    fn from(error: Error<E>) -> Self {
        Self(error.to_string())
    }
}

/// Reencoding, with nothing written: it visits every index that an instruction can name.
impl Reencode for Uses {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.functions.insert(index);
        Ok(index)
    }

    fn type_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.types.insert(index);
        Ok(index)
    }

    fn global_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.globals.insert(index);
        Ok(index)
    }

    fn table_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.tables.insert(index);
        Ok(index)
    }

    fn data_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.bound = true;
        Ok(index)
    }

    fn element_index(&mut self, index: u32) -> Result<u32, Error<Self::Error>> {
        self.bound = true;
        Ok(index)
    }
}

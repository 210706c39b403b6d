//! Which functions leave the main module, and by which places of the table they are called from there.

use std::collections::BTreeMap;

use super::module::{Function, Module, Problem};

/// What goes where. (Indices are those of the module that was read.)
pub struct Plan {
    /// By function.
    pub moved: Vec<bool>,
    /// Where in the table each function lies that moves and that the main module can still call. It
    /// keeps a stub in its stead.
    pub places: BTreeMap<u32, u32>,
    /// So many of these lie behind the table's end.
    pub added: u32,
    /// What the part runs when it is instantiated.
    pub first: Vec<u32>,
}

impl Plan {
    /// Those functions move whose names are `wanted`, and what only they can reach; but not those that
    /// others call and that may be theirs, for which `owned` names what is no other's; nor what is
    /// exported, what runs when the module starts, or what `constructors` names and what that calls. Of
    /// these the part calls its own when it is there.
    ///
    /// # Errors
    /// Where a module has no table of functions, or nothing to move.
    pub fn new(
        module: &mut Module,
        wanted: impl Fn(&str) -> bool,
        owned: impl Fn(&str) -> bool,
        constructors: &str,
    ) -> Result<Self, Problem> {
        let mut first = Vec::new();
        let early = |name: &str| name == constructors;
        if let Some(function) = module.functions.iter().position(|f| early(f.name)) {
            first = module.take_calls(function as u32, &wanted)?;
        }
        let module = &*module;
        let functions = &module.functions;
        let (Some(table), Some(count)) = (module.table, u32::try_from(functions.len()).ok()) else {
            return Err("no table of functions".into());
        };
        let named = |name: &dyn Fn(&str) -> bool| -> Vec<u32> {
            (0..count).filter(|&f| name(functions[f as usize].name)).collect()
        };
        let mut stays = reached(module, named(&early), |_| true);
        for function in 0..count {
            let f = &functions[function as usize];
            stays[function as usize] |= f.body.is_none() || f.uses.bound;
        }
        for function in roots(module) {
            stays[function as usize] = true;
        }

        let mut moved = vec![false; functions.len()];
        for function in named(&wanted).into_iter().chain(first.iter().copied()) {
            moved[function as usize] = !stays[function as usize];
        }
        let taken = module.places.values().copied();
        let all = taken.chain(roots(module)).chain(named(&early)).filter(|&f| !moved[f as usize]);
        let certain = |function: &Function| {
            let length = function.body.as_ref().map_or(0, |body| body.range().len());
            length > SMALL && owned(function.name)
        };
        let harmless = harmless(module, &moved, certain);
        let main = reached(module, all.collect(), |f| harmless[f as usize]);
        for (function, moved) in moved.iter_mut().enumerate() {
            *moved = !main[function] && !stays[function];
        }

        let taken = module.first_places();
        loop {
            let called = called(module, &moved);
            let small = |&f: &u32| {
                let function = &functions[f as usize];
                let length = function.body.as_ref().map_or(0, |body| body.range().len());
                let parameters = module.types[function.ty as usize].params().len();
                let stub = taken.contains_key(&f) || called[f as usize];
                moved[f as usize]
                    && !first.contains(&f)
                    && stub
                    && length <= STUB + 2 * parameters
                    && function.uses.functions.iter().all(|&g| !moved[g as usize])
            };
            let back: Vec<u32> = (0..count).filter(small).collect();
            if back.is_empty() {
                break;
            }
            for function in back {
                moved[function as usize] = false;
            }
        }

        let end = module.tables[table as usize].initial;
        let mut next = u32::try_from(end).map_err(|_| "a table that large")?;
        let first_added = next;
        let called = called(module, &moved);
        let mut places = BTreeMap::new();
        for function in (0..count).filter(|&f| moved[f as usize]) {
            if let Some(&place) = taken.get(&function) {
                if called[function as usize] || !certain(&functions[function as usize]) {
                    places.insert(function, place);
                }
            } else if called[function as usize] {
                places.insert(function, next);
                next += 1;
            }
        }
        if !moved.contains(&true) {
            return Err("nothing to move: has it names?".into());
        }
        if first.iter().any(|&f| !moved[f as usize]) {
            return Err("a constructor of the part that something else calls".into());
        }
        Ok(Self { moved, places, added: next - first_added, first })
    }

    /// Whether nothing of a function is left in the main module.
    pub fn vanishes(&self, function: u32) -> bool {
        self.moved[function as usize] && !self.places.contains_key(&function)
    }
}

/// Bytes of a stub for a function without parameters: what isn't larger may as well stay.
const STUB: usize = 12;

/// What JavaScript and the browser call.
fn roots(module: &Module) -> Vec<u32> {
    let exported = module.exports.iter().filter(|(_, kind, _)| {
        matches!(kind, wasmparser::ExternalKind::Func | wasmparser::ExternalKind::FuncExact)
    });
    exported.map(|&(_, _, index)| index).chain(module.start).collect()
}

/// What can be reached from some functions by direct calls through those that `may` be passed.
fn reached(module: &Module, from: Vec<u32>, may: impl Fn(u32) -> bool) -> Vec<bool> {
    let mut reached = vec![false; module.functions.len()];
    let mut open = from;
    while let Some(function) = open.pop() {
        if may(function) && !std::mem::replace(&mut reached[function as usize], true) {
            open.extend(&module.functions[function as usize].uses.functions);
        }
    }
    reached
}

/// Those that stay, and of the others those that may be theirs. A compiler makes one function of
/// several whose bodies are equal, under the name of one: so what a standard library's function does for
/// a GPU's type, and what is small, may be called by others, if it calls nothing but such.
fn harmless(module: &Module, moved: &[bool], certain: impl Fn(&Function) -> bool) -> Vec<bool> {
    let own = |(function, moved): (&Function, &bool)| *moved && certain(function);
    let mut harmless: Vec<bool> =
        module.functions.iter().zip(moved).map(|function| !own(function)).collect();
    loop {
        let mut changed = false;
        for (index, function) in module.functions.iter().enumerate() {
            let foreign = |&f: &u32| !harmless[f as usize];
            if moved[index] && harmless[index] && function.uses.functions.iter().any(foreign) {
                harmless[index] = false;
                changed = true;
            }
        }
        if !changed {
            return harmless;
        }
    }
}

/// Bytes of a function that may be equal to another by chance.
const SMALL: usize = 64;

/// What those that stay call.
fn called(module: &Module, moved: &[bool]) -> Vec<bool> {
    let mut called = vec![false; moved.len()];
    for (function, _) in module.functions.iter().zip(moved).filter(|(_, moved)| !**moved) {
        for &other in &function.uses.functions {
            called[other as usize] = true;
        }
    }
    called
}

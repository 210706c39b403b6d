//! The last step: functions in the order of their names, which then go.
//!
//! Functions of one name are much alike, and what compresses looks back over some kilobytes only.

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    CodeSection, ElementSection, ExportSection, FunctionSection, GlobalSection, Module as Encoder,
    RawSection, SectionId, StartSection,
};
use wasmparser::{BinaryReader, SectionLimited};

use super::link::{Numbers, export_kind};
use super::module::{Module, Problem};

/// The module with its functions in that order, without custom sections.
///
/// # Errors
/// What can't be read.
pub fn arranged(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let module = Module::read(bytes)?;
    let functions = &module.functions;
    let mut order: Vec<u32> = (0..functions.len() as u32).collect();
    order.sort_by_key(|&f| {
        let function = &functions[f as usize];
        // Imported ones keep their places in front.
        (function.body.is_some(), function.body.as_ref().map_or("", |_| function.name), f)
    });
    let functions = order.iter().copied().zip(0..).collect();
    let mut numbers = Numbers { functions, ..Numbers::default() };

    let (mut types, mut code) = (FunctionSection::new(), CodeSection::new());
    for &f in &order {
        let function = &module.functions[f as usize];
        if let Some(body) = &function.body {
            types.function(function.ty);
            numbers.parse_function_body(&mut code, body.clone())?;
        }
    }
    let mut encoder = Encoder::new();
    for (&id, &data) in in_order(&module) {
        let reader = BinaryReader::new(data, 0);
        match id {
            _ if id == SectionId::Function as u8 => encoder.section(&types),
            _ if id == SectionId::Code as u8 => encoder.section(&code),
            _ if id == SectionId::Global as u8 => {
                let mut globals = GlobalSection::new();
                numbers.parse_global_section(&mut globals, SectionLimited::new(reader)?)?;
                encoder.section(&globals)
            }
            _ if id == SectionId::Export as u8 => {
                let mut exports = ExportSection::new();
                for &(name, kind, index) in &module.exports {
                    let index = numbers.external_index(kind, index)?;
                    exports.export(name, export_kind(kind), index);
                }
                encoder.section(&exports)
            }
            _ if id == SectionId::Start as u8 => {
                let start = module.start.ok_or("a start without a function")?;
                encoder.section(&StartSection { function_index: numbers.function_index(start)? })
            }
            _ if id == SectionId::Element as u8 => {
                let mut elements = ElementSection::new();
                numbers.parse_element_section(&mut elements, SectionLimited::new(reader)?)?;
                encoder.section(&elements)
            }
            id => encoder.section(&RawSection { id, data }),
        };
    }
    Ok(encoder.finish())
}

/// Sections as they have to stand: the count of data comes before the code.
fn in_order<'m, 'a>(module: &'m Module<'a>) -> impl Iterator<Item = (&'m u8, &'m &'a [u8])> {
    let count = SectionId::DataCount as u8;
    let before = move |id: &u8| *id < SectionId::Code as u8;
    let (early, late) = (module.sections.iter(), module.sections.iter());
    early
        .filter(move |(id, _)| before(id))
        .chain(module.sections.get_key_value(&count))
        .chain(late.filter(move |(id, _)| !before(id) && **id != count))
}

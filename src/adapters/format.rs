//! An adapter to files in a tool's names, read again and compared before anybody gets them.

use serde::Deserialize;

use super::file::Site;
use super::module::AdapterModule;
use super::peft::without_core;
use super::save::{self, Export, Metadata, Precision, verify};
use crate::error::{Error, Result};
use crate::keys::ldm::UNetLayout;

/// Whose names the file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For ComfyUI, A1111, Forge, and diffusers too.
    Kohya,
    /// `pytorch_lora_weights.safetensors`.
    Diffusers,
    /// `adapter_model.safetensors` and `adapter_config.json`.
    Peft,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is left out: a layer's path, and why.
pub type LeftOut = (String, String);

/// What is to be written, and how.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The adapter.
    pub modules: &'a [AdapterModule],
    /// The type of its numbers.
    pub precision: Precision,
    /// What is said of it.
    pub metadata: &'a Metadata,
    /// Whose names.
    pub format: Format,
}

/// Writes the adapter, reads what was written and compares it, number by number.
///
/// # Errors
/// When it changes nothing, the format has no room for a kind of it, or what was read isn't what was
/// written.
pub fn write(
    wanted: &Wanted<'_>,
    sites: &[Site],
    layout: Option<&UNetLayout>,
) -> Result<Vec<File>> {
    let Wanted { modules, precision, metadata, format } = *wanted;
    let export = Export { modules, precision, metadata };
    let check = |bytes: &[u8], config: Option<&serde_json::Value>| {
        verify(bytes, config, sites, layout, modules)
    };
    Ok(match format {
        Format::Kohya => {
            let bytes = save::kohya(&export)?;
            check(&bytes, None)?;
            vec![File { name: format!("{}.safetensors", file_name(&metadata.title)), bytes }]
        }
        Format::Diffusers => {
            let bytes = save::diffusers(&export)?;
            check(&bytes, None)?;
            vec![File { name: "pytorch_lora_weights.safetensors".into(), bytes }]
        }
        Format::Peft => {
            let (bytes, config) = save::peft(&export)?;
            let json = serde_json::from_str(&config).map_err(|error| {
                let remedy = "This is a fault of Lorakeet: please report it";
                Error::file("adapter_config.json", error.to_string(), remedy)
            })?;
            check(&bytes, Some(&json))?;
            vec![
                File { name: "adapter_model.safetensors".into(), bytes },
                File { name: "adapter_config.json".into(), bytes: config.into_bytes() },
            ]
        }
    })
}

/// The modules that a format has room for, and the others with the reason.
pub fn sorted(format: Format, modules: &[AdapterModule]) -> (Vec<AdapterModule>, Vec<LeftOut>) {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for module in modules {
        match why_not(format, module) {
            None => kept.push(module.clone()),
            Some(why) => left_out.push((module.path.clone(), why)),
        }
    }
    (kept, left_out)
}

fn why_not(format: Format, module: &AdapterModule) -> Option<String> {
    let kind = module.kind().label();
    if let Err(why) = module.factors.written() {
        return Some(format!("its {kind} {why}"));
    }
    if module.scale == 0.0 {
        return Some("has the scale 0, so that it changes nothing".into());
    }
    match format {
        Format::Kohya => None,
        Format::Diffusers | Format::Peft => match without_core(module) {
            Ok(_) => None,
            Err(Error::Setting { problem, .. }) => Some(problem),
            Err(error) => Some(error.to_string()),
        },
    }
}

/// A title as a file's name.
fn file_name(title: &str) -> String {
    let letters = title.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    let name: String = letters.collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "adapter".into() } else { name.into() }
}

//! Reading what was written: every tensor, scale and kind against the adapter in memory.

use std::mem::discriminant;

use serde_json::Value;

use super::file::{self, Site};
use super::kinds::{self, HostTensor, Role, low_rank};
use super::module::AdapterModule;
use super::peft::absorbed;
use super::save::with_scale_in_factors;
use crate::error::{Error, Result};
use crate::keys::adapter_names::ModuleNames;
use crate::keys::ldm::UNetLayout;
use crate::weights::save::Precision;
use crate::weights::{Bytes, Index};

const FILE: &str = "the saved adapter";
const REMEDY: &str = "This is a fault of Lorakeet: please report it, and save in another format";

/// Reads an adapter's file that was just written and compares it with the original: the same
/// modules, kinds and scales, and every number as it was or as float16 rounds it. `config`: what PEFT
/// wants beside its file.
///
/// # Errors
/// Names the first key that differs.
pub fn verify(
    bytes: &[u8],
    config: Option<&Value>,
    sites: &[Site],
    layout: Option<&UNetLayout>,
    original: &[AdapterModule],
) -> Result<()> {
    let source = Bytes::new(FILE, bytes);
    let read = file::read(&source, config, sites, layout)?;
    let index = Index::read(&source)?;
    let names = ModuleNames::new(sites.iter().map(|site| (site.part, site.path.as_str())), layout);
    let fail = |module: &AdapterModule, role: Option<Role>, problem: String| {
        let key = index.tensors.keys().find(|key| {
            kinds::split(&index, key).is_some_and(|(name, found)| {
                let same = names.get(name).is_some_and(|(part, path)| {
                    (*part, path.as_str()) == (module.part, module.path.as_str())
                });
                same && role.is_none_or(|role| found == role)
            })
        });
        Err(Error::key(FILE, key.unwrap_or(&module.path), problem, REMEDY))
    };
    if let Some((key, reason)) = read.report.unused.first() {
        return Err(Error::key(FILE, key, format!("isn't read back: {reason}"), REMEDY));
    }
    for theirs in original {
        // A layer may have several, of different kinds.
        let place = |ours: &&AdapterModule| (ours.part, &ours.path) == (theirs.part, &theirs.path);
        let same = |ours: &&AdapterModule| {
            place(ours) && discriminant(&ours.factors) == discriminant(&theirs.factors)
        };
        let found = read.modules.iter().find(same).or_else(|| read.modules.iter().find(place));
        let Some(ours) = found else {
            return fail(theirs, None, "is missing".into());
        };
        let mut expected = with_scale_in_factors(theirs).into_owned();
        if !ours.factors.named().iter().any(|(role, _)| *role == low_rank::MID) {
            expected.factors = absorbed(&expected.factors);
        }
        let (found, wanted) = (ours.factors.named(), expected.factors.named());
        let roles = |named: &[(Role, &HostTensor)]| named.iter().map(|(role, _)| *role).collect();
        let (found_roles, wanted_roles): (Vec<Role>, Vec<Role>) = (roles(&found), roles(&wanted));
        if found_roles != wanted_roles {
            let problem =
                format!("reads as a {}, not a {}", ours.kind().label(), theirs.kind().label());
            return fail(theirs, None, problem);
        }
        for ((role, found), (_, wanted)) in found.into_iter().zip(wanted) {
            if found.shape != wanted.shape {
                let problem = format!("reads as {:?}, not {:?}", found.shape, wanted.shape);
                return fail(theirs, Some(role), problem);
            }
            let same = |(&found, &wanted): (&f32, &f32)| {
                found == wanted || found == Precision::F16.round(wanted)
            };
            if let Some(at) = found.data.iter().zip(&wanted.data).position(|pair| !same(pair)) {
                let [found, wanted] = [found, wanted].map(|tensor| tensor.data[at]);
                let problem = format!("element {at} reads as {found}, not {wanted}");
                return fail(theirs, Some(role), problem);
            }
        }
        // To the roundings of a multiplication and a division.
        if (ours.scale - expected.scale).abs() > 1e-6 * expected.scale.abs() {
            let problem = format!("gives the scale {}, not {}", ours.scale, expected.scale);
            return fail(theirs, Some(Role::ALPHA), problem);
        }
    }
    let known = |ours: &AdapterModule| {
        original.iter().any(|theirs| (theirs.part, &theirs.path) == (ours.part, &ours.path))
    };
    match read.modules.iter().find(|ours| !known(ours)) {
        Some(extra) => fail(extra, None, "is not in the adapter".into()),
        None => Ok(()),
    }
}

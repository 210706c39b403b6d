//! One layer's modules off an adapter's file: their factors, and what these are multiplied by.

use super::kinds::tensors::{Found, Tensors};
use super::kinds::{self, HostFactors, Role};
use super::module::AdapterModule;
use super::remedies::{BROKEN, UNSUPPORTED};
use crate::error::Result;

/// Reads what the file has for a layer: a module for each kind.
///
/// # Errors
/// Names the key: a factor missing, misshapen, not finite, or of two kinds at once.
pub(super) fn read(tensors: &Tensors) -> Result<Vec<Found<AdapterModule>>> {
    let roles: Vec<Role> = tensors.keys.keys().copied().collect();
    let families = kinds::families(&roles);
    if let Some(&(first, _)) = families.first()
        && let Some((other, role)) = families.iter().find(|(family, _)| *family != first)
    {
        let problem =
            format!("belongs to a {other}, where others of its layer belong to a {first}");
        return Err(tensors.error(*role, problem, BROKEN));
    }
    if let Some(key) = tensors.keys.get(&Role::RESHAPE) {
        let wanted = tensors.index.read_f32(tensors.source, key)?;
        if !wanted.iter().copied().eq(tensors.shape.iter().map(|&size| size as f32)) {
            let reason = format!(
                "asks for a layer of the shape {wanted:?} (reshape_weight), which {UNSUPPORTED}"
            );
            return Ok(vec![Found::LeftOut("layers of another shape", reason)]);
        }
    }
    let found = kinds::read(tensors)?.into_iter().map(|found| {
        Ok(match found {
            Found::Factors(factors, rank) => Found::Factors(module(tensors, factors, rank)?, rank),
            Found::LeftOut(kind, reason) => Found::LeftOut(kind, reason),
        })
    });
    found.collect()
}

fn module(tensors: &Tensors, factors: HostFactors, rank: usize) -> Result<AdapterModule> {
    let (part, path) = (tensors.part, tensors.path.to_string());
    let own_scale = tensors.number(Role::SCALE)?;
    if !factors.is_scaled() {
        let scale = own_scale.unwrap_or(1.0);
        return Ok(AdapterModule { part, path, factors, scale, rank, alpha: None });
    }
    let settings = tensors.settings;
    let own_alpha = tensors.number(Role::ALPHA)?;
    let alpha = own_alpha.or_else(|| settings.alpha(part, &path));
    let scale = match (own_scale, alpha) {
        (Some(scale), _) => scale,
        // kohya: an alpha of 0 or none stands for the rank.
        (None, None | Some(0.0)) => 1.0,
        // LyCORIS: whole factors have no rank to divide by, whatever alpha says; PEFT divides by
        // the rank that its config names.
        (None, Some(alpha)) if rank == 0 => {
            let named = settings.rank(part, &path).filter(|rank| *rank > 0.0);
            named.filter(|_| own_alpha.is_none()).map_or(1.0, |rank| alpha / rank)
        }
        (None, Some(alpha)) if settings.rank_stabilised(part) => alpha / (rank as f32).sqrt(),
        (None, Some(alpha)) => alpha / rank as f32,
    };
    if !scale.is_finite() {
        let problem = "alpha and rank give its layer a scale that is no number".into();
        return Err(tensors.error(Role::ALPHA, problem, BROKEN));
    }
    Ok(AdapterModule { part, path, factors, scale, rank, alpha })
}

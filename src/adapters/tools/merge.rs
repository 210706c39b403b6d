//! Several adapters into one: exactly, by putting their ranks side by side, or into fewer ranks.

use std::collections::BTreeMap;

use super::change::{Base, Weighted, add, change, matrix_of};
use super::resize::{self, Goal, Resized, made};
use super::sites::Layers;
use crate::adapters::file::{Part, Site};
use crate::adapters::format::LeftOut;
use crate::adapters::kinds::{Difference, HostFactors, HostTensor, LowRank, Role};
use crate::adapters::module::AdapterModule;
use crate::adapters::peft::absorbed;
use crate::error::Result;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// The one adapter.
    pub modules: Vec<AdapterModule>,
    /// What was brought to fewer ranks.
    pub resized: Vec<Resized>,
    /// Layers of which something is left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Layers whose kinds differ and that therefore hold a whole difference now.
    pub whole: usize,
}

/// Where a model's own weights come from, for kinds whose change depends on them.
pub type Bases<'a> = dyn Fn(&Site) -> Result<Base> + 'a;

/// Merges adapters, each with its strength for UNet and text encoder. Without a goal nothing is lost: what
/// is LoRA everywhere becomes LoRA of as many ranks as all had together, and where kinds differ the
/// layer gets a whole difference. `bases` is asked for weights that a change depends on.
///
/// # Errors
/// When the goal is out of range or a factor doesn't fit its layer.
pub fn merge(
    adapters: &[Weighted<'_>],
    layers: &Layers,
    goal: Option<Goal>,
    bases: Option<&Bases<'_>>,
) -> Result<Merged> {
    goal.as_ref().map_or(Ok(()), Goal::check)?;
    let mut places: BTreeMap<(Part, &str), Vec<(&AdapterModule, f32)>> = BTreeMap::new();
    for adapter in adapters {
        for module in adapter.modules {
            let strength = adapter.strength(module.part);
            if strength != 0.0 {
                let place = places.entry((module.part, &module.path)).or_default();
                place.push((module, strength));
            }
        }
    }
    let mut merged = Merged::default();
    for site in &layers.sites {
        let Some(modules) = places.get(&(site.part, site.path.as_str())) else { continue };
        for module in merged.site(site, modules, bases)? {
            let smaller = goal.map(|goal| resize::one(&module, &site.shape, goal)).transpose()?;
            match smaller {
                Some(Ok((module, row))) => {
                    merged.modules.extend((row.rank > 0).then_some(module));
                    merged.resized.push(row);
                }
                _ => merged.modules.push(module),
            }
        }
    }
    Ok(merged)
}

impl Merged {
    /// What one layer gets.
    fn site(
        &mut self,
        site: &Site,
        given: &[(&AdapterModule, f32)],
        bases: Option<&Bases<'_>>,
    ) -> Result<Vec<AdapterModule>> {
        let mut modules = Vec::new();
        for &(module, strength) in given {
            if bases.is_none() && !scales(module, strength) {
                let why = "has magnitudes (DoRA) at another strength than 1, which depends on the model's \
                           weight: give the model along with it (--model)";
                self.left_out.push((site.path.clone(), why.into()));
                continue;
            }
            modules.push((module, strength));
        }
        let is_bias = |module: &AdapterModule| {
            matches!(&module.factors, HostFactors::Difference(Difference { weight: None, .. }))
        };
        let (biases, weights): (Vec<_>, Vec<_>) =
            modules.into_iter().partition(|(module, _)| is_bias(module));
        let mut made = Vec::new();
        match weights[..] {
            [] => {}
            [(module, strength)] if scales(module, strength) => made.push(scaled(module, strength)),
            _ => match side_by_side(&weights) {
                Some(module) => made.push(module),
                None => made.extend(self.summed(site, &weights, bases)?),
            },
        }
        if !biases.is_empty() {
            made.extend(self.summed(site, &biases, bases)?);
        }
        Ok(made)
    }

    /// The sum of all changes as a whole difference.
    fn summed(
        &mut self,
        site: &Site,
        modules: &[(&AdapterModule, f32)],
        bases: Option<&Bases<'_>>,
    ) -> Result<Option<AdapterModule>> {
        let mut base = Base::default();
        let needs = modules.iter().any(|(module, _)| module.factors.needs_base());
        if let (true, Some(bases)) = (needs, bases) {
            base = bases(site)?;
        }
        let (mut weight, mut bias) = (None, None);
        for &(module, strength) in modules {
            if module.factors.needs_base() && base.weight.is_none() {
                let kind = module.kind().label();
                let why = format!(
                    "is of the kind {kind} beside another, which depends on the model's weight: give \
                     the model along with it (--model)"
                );
                self.left_out.push((site.path.clone(), why));
                continue;
            }
            let delta = change(module, &site.shape, &base, strength)?;
            add(&mut weight, delta.weight);
            add(&mut bias, delta.bias);
        }
        if weight.is_none() && bias.is_none() {
            return Ok(None);
        }
        self.whole += usize::from(weight.is_some() && site.shape.len() > 1);
        let weight = weight.map(|data| HostTensor { shape: site.shape.clone(), data });
        let [rows, _] = matrix_of(&site.shape);
        let bias = bias.map(|data| HostTensor { shape: vec![rows], data });
        let factors = HostFactors::Difference(Difference { weight, bias });
        Ok(Some(made(site.part, &site.path, factors, 0)))
    }
}

/// Whether a strength can go into the module's own scale: what magnitudes (DoRA) make of a change isn't in
/// proportion to it.
fn scales(module: &AdapterModule, strength: f32) -> bool {
    strength == 1.0 || module.factors.named().iter().all(|(role, _)| *role != Role::DORA_SCALE)
}

fn scaled(module: &AdapterModule, strength: f32) -> AdapterModule {
    let alpha = module.alpha.map(|alpha| alpha * strength);
    AdapterModule { scale: module.scale * strength, alpha, ..module.clone() }
}

/// LoRA of as many ranks as all have together; none where one is of another kind.
fn side_by_side(modules: &[(&AdapterModule, f32)]) -> Option<AdapterModule> {
    let mut pairs = Vec::new();
    for &(module, strength) in modules {
        let HostFactors::LowRank(LowRank { down, up, .. }) = absorbed(&module.factors) else {
            return None;
        };
        pairs.push((down, up, strength * module.scale));
    }
    let (first, up, _) = pairs.first()?;
    let rank: usize = pairs.iter().map(|(down, ..)| down.shape[0]).sum();
    let down_shape = [&[rank], &first.shape[1..]].concat();
    let up_shape = [&[up.shape[0], rank], &up.shape[2..]].concat();
    let down = pairs.iter().flat_map(|(down, ..)| down.data.iter().copied()).collect();
    let rows = 0..up.shape[0];
    let row = |row: usize| {
        pairs.iter().flat_map(move |(_, up, scale)| {
            let rank = up.columns();
            up.data[row * rank..(row + 1) * rank].iter().map(move |x| x * scale)
        })
    };
    let factors = HostFactors::LowRank(LowRank {
        down: HostTensor { shape: down_shape, data: down },
        mid: None,
        up: HostTensor { shape: up_shape, data: rows.flat_map(row).collect() },
    });
    let (module, _) = modules.first()?;
    Some(made(module.part, &module.path, factors, rank))
}

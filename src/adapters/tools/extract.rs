//! An adapter out of two models: what one has that the other hasn't.

use super::bake::stored;
use super::change::matrix_of;
use super::resize::{Goal, Resized, made, of_matrix};
use super::sites::Layers;
use crate::adapters::file::Site;
use crate::adapters::format::LeftOut;
use crate::adapters::kinds::{Difference, HostFactors, HostTensor};
use crate::adapters::module::AdapterModule;
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::weights::Checkpoint;

/// What to take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wanted {
    /// LoRA of these ranks; none: whole differences.
    pub goal: Option<Goal>,
    /// Norms and biases too, where there are ranks (whole differences have them anyway): diffusers
    /// loads no such file.
    pub biases: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extraction {
    /// The adapter.
    pub modules: Vec<AdapterModule>,
    /// What was brought to ranks.
    pub resized: Vec<Resized>,
    /// Layers that differ and are left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Layers that are the same in both.
    pub same: usize,
}

/// What `tuned` has that `base` hasn't, layer by layer; at strength 1 on `base` it gives `tuned`, but for
/// what fewer ranks lose. `progress` gets the share that is done.
///
/// # Errors
/// When the goal is out of range, a file can't be read, or there is no difference.
pub fn extract(
    base: &Checkpoint,
    tuned: &Checkpoint,
    wanted: Wanted,
    progress: &mut dyn FnMut(f32),
) -> Result<Extraction> {
    wanted.goal.as_ref().map_or(Ok(()), Goal::check)?;
    let layers = Layers::of(base);
    let mut found = Extraction::default();
    for (at, site) in layers.sites.iter().enumerate() {
        progress(at as f32 / layers.sites.len() as f32);
        match difference(base, tuned, site)? {
            Between::Same => found.same += 1,
            Between::Unlike(why) => found.left_out.push((site.path.clone(), why)),
            Between::Found(weight, bias) => found.take(site, weight, bias, wanted),
        }
    }
    for site in &Layers::of(tuned).sites {
        if !layers.sites.iter().any(|own| (own.part, &own.path) == (site.part, &site.path)) {
            found.left_out.push((site.path.clone(), "the base has no such layer".into()));
        }
    }
    if found.modules.is_empty() {
        let problem = match found.left_out.first() {
            None => format!("has the same layers as {}: there is nothing to extract", base.name),
            Some((path, why)) => format!("has nothing that can be extracted ({path}: {why})"),
        };
        let remedy = "Give the model that was tuned, and the one that it was made from";
        return Err(Error::file(&tuned.name, problem, remedy));
    }
    Ok(found)
}

enum Between {
    Same,
    Unlike(String),
    Found(Option<Vec<f32>>, Option<Vec<f32>>),
}

fn difference(base: &Checkpoint, tuned: &Checkpoint, site: &Site) -> Result<Between> {
    let mut parts = [None, None];
    for (part, name) in parts.iter_mut().zip(["weight", "bias"]) {
        let key = format!("{}.{name}", site.path);
        let pair = [base, tuned].map(|model| stored(model, site.part, &key).map(|at| (model, at)));
        let [ours, theirs] = match pair {
            [Some(ours), Some(theirs)] => [ours, theirs],
            [None, None] => continue,
            [ours, _] => {
                let which = if ours.is_some() { &tuned.name } else { &base.name };
                return Ok(Between::Unlike(format!("{which} has no {key}")));
            }
        };
        let (from, to) = (&ours.1.info.shape, &theirs.1.info.shape);
        if ours.1.info.elements() != theirs.1.info.elements() || from.first() != to.first() {
            let why = format!("{key} has the shapes {from:?} and {to:?}");
            return Ok(Between::Unlike(why));
        }
        let read =
            |(model, at): (&Checkpoint, &crate::weights::Stored)| at.read_f32(&model.sources);
        let (ours, mut theirs) = (read(ours)?, read(theirs)?);
        theirs.iter_mut().zip(&ours).for_each(|(theirs, ours)| *theirs -= ours);
        if theirs.iter().any(|x| !x.is_finite()) {
            return Ok(Between::Unlike(format!("{key} holds NaN or infinity")));
        }
        *part = theirs.iter().any(|&x| x != 0.0).then_some(theirs);
    }
    Ok(match parts {
        [None, None] => Between::Same,
        [weight, bias] => Between::Found(weight, bias),
    })
}

impl Extraction {
    fn take(
        &mut self,
        site: &Site,
        weight: Option<Vec<f32>>,
        bias: Option<Vec<f32>>,
        wanted: Wanted,
    ) {
        let [rows, columns] = matrix_of(&site.shape);
        let whole = |weight: Option<Vec<f32>>, bias: Option<Vec<f32>>| {
            let weight = weight.map(|data| HostTensor { shape: site.shape.clone(), data });
            let bias = bias.map(|data| HostTensor { shape: vec![rows], data });
            let factors = HostFactors::Difference(Difference { weight, bias });
            made(site.part, &site.path, factors, 0)
        };
        let Some(goal) = wanted.goal else {
            self.modules.push(whole(weight, bias));
            return;
        };
        let is_norm = site.shape.len() == 1;
        let (matrix, rest) = if is_norm { (None, (weight, bias)) } else { (weight, (None, bias)) };
        if let Some(matrix) = matrix {
            let delta = Matrix::new(rows, columns, matrix);
            let (factors, row) = of_matrix(&delta, (site.part, &site.path), &site.shape, goal);
            if row.rank > 0 {
                self.modules.push(made(site.part, &site.path, factors, row.rank));
            }
            self.resized.push(row);
        }
        let what = if is_norm { "its norm" } else { "its bias" };
        match rest {
            (None, None) => {}
            (weight, bias) if wanted.biases => self.modules.push(whole(weight, bias)),
            _ => {
                let why =
                    format!("{what} differs too, which LoRA can't hold (--biases takes it along)");
                self.left_out.push((site.path.clone(), why));
            }
        }
    }
}

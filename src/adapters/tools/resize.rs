//! Fewer ranks: the leading singular vectors of what a module adds (kohya's
//! `networks/resize_lora.py` is the same for LoRA alone).

use super::change::{Base, change, matrix_of};
use super::sites::Layers;
use crate::adapters::file::Part;
use crate::adapters::format::LeftOut;
use crate::adapters::kinds::{DoRA, HostFactors, HostTensor, LowRank};
use crate::adapters::module::AdapterModule;
use crate::adapters::peft::absorbed;
use crate::error::{Error, Result};
use crate::linalg::{Matrix, Svd, dot, leading_svd, product_svd};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// The largest rank.
    pub rank: usize,
    /// Fewer where this share of a layer's change may be lost (its Frobenius norm).
    pub error: Option<f64>,
}

impl Goal {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Names what is out of range.
    pub fn check(&self) -> Result<()> {
        if !(1..=4096).contains(&self.rank) {
            let problem = format!("{} is not from 1 to 4096", self.rank);
            return Err(Error::setting("rank", problem, "Choose a rank such as 8"));
        }
        match self.error {
            Some(error) if !(0.0..1.0).contains(&error) => Err(Error::setting(
                "error",
                format!("{error} is not a share from 0 to 1"),
                "Choose one such as 0.05",
            )),
            _ => Ok(()),
        }
    }
}

/// What became of one module.
#[derive(Debug, Clone, PartialEq)]
pub struct Resized {
    /// Its part of the model.
    pub part: Part,
    /// Its layer.
    pub path: String,
    /// Its rank before; 0 where it had none.
    pub before: usize,
    /// Its rank now.
    pub rank: usize,
    /// The norm of what it added.
    pub norm: f64,
    /// The norm of what is lost, over that.
    pub error: f64,
}

/// What is lost of all that was resized: the norm of it, over that of everything.
pub fn total_error(resized: &[Resized]) -> f64 {
    let sum = |of: fn(&Resized) -> f64| resized.iter().map(of).sum::<f64>();
    let all = sum(|one| one.norm * one.norm);
    let lost = sum(|one| (one.norm * one.error).powi(2));
    if all > 0.0 { (lost / all).sqrt() } else { 0.0 }
}

/// Resizes every module that has something to resize. LoHa, LoKr and whole differences become LoRA; of
/// DoRA the product is resized and the magnitudes stay. What stays as it is is named with the reason.
///
/// # Errors
/// When the goal is out of range or a factor doesn't fit its layer.
pub fn resize(
    modules: &[AdapterModule],
    layers: &Layers,
    goal: Goal,
) -> Result<(Vec<AdapterModule>, Vec<Resized>, Vec<LeftOut>)> {
    goal.check()?;
    let shapes = layers.shapes();
    let (mut out, mut resized, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for module in modules {
        let shape = shapes.get(&(module.part, module.path.as_str())).copied().unwrap_or_default();
        match one(module, shape, goal)? {
            Ok((module, row)) => {
                // A layer of which nothing is left needs no module.
                out.extend((row.rank > 0).then_some(module));
                resized.push(row);
            }
            Err(why) => {
                kept.push((module.path.clone(), why));
                out.push(module.clone());
            }
        }
    }
    Ok((out, resized, kept))
}

type Outcome = std::result::Result<(AdapterModule, Resized), String>;

/// One module; or why it stays as it is.
pub(super) fn one(module: &AdapterModule, shape: &[usize], goal: Goal) -> Result<Outcome> {
    let factors = absorbed(&module.factors);
    let (magnitude, pair) = match &factors {
        HostFactors::LowRank(LowRank { down, up, .. }) => (None, Some((down, up))),
        HostFactors::DoRA(DoRA { down, up, magnitude }) => (Some(magnitude), Some((down, up))),
        HostFactors::LoHa(_) | HostFactors::LoKr(_) => (None, None),
        HostFactors::Difference(change) if change.weight.is_some() && shape.len() > 1 => {
            if change.bias.is_some() {
                return Ok(Err("has a bias beside its weight's difference".into()));
            }
            (None, None)
        }
        _ => return Ok(Err(format!("{} has no ranks", module.kind().label()))),
    };
    let Some((down, up)) = pair else {
        let delta = change(module, shape, &Base::default(), 1.0)?;
        let [rows, columns] = matrix_of(shape);
        let delta = Matrix::new(rows, columns, delta.weight.unwrap_or_default());
        let (factors, mut row) = of_matrix(&delta, (module.part, &module.path), shape, goal);
        row.before = module.rank;
        return Ok(Ok((made(module.part, &module.path, factors, row.rank), row)));
    };
    if module.rank <= goal.rank && goal.error.is_none() {
        return Ok(Err("has no more ranks than that".into()));
    }
    let scaled = Matrix::new(up.shape[0], up.columns(), up.data.clone()).scaled(module.scale);
    let down = Matrix::new(down.shape[0], down.columns(), down.data.clone());
    let svd = product_svd(&scaled, &down, module.rank);
    let squares: Vec<f64> = svd.s.iter().map(|&s| f64::from(s).powi(2)).collect();
    let total: f64 = squares.iter().sum();
    let rank = fewest(&squares, total, goal);
    let lost: f64 = squares[rank..].iter().sum();
    let factors = halves(&svd, rank, shape);
    let factors = match (magnitude, factors) {
        (Some(magnitude), HostFactors::LowRank(LowRank { down, up, .. })) => {
            HostFactors::DoRA(DoRA { down, up, magnitude: magnitude.clone() })
        }
        (_, factors) => factors,
    };
    let row = Resized {
        part: module.part,
        path: module.path.clone(),
        before: module.rank,
        rank,
        norm: total.sqrt(),
        error: if total > 0.0 { (lost / total).sqrt() } else { 0.0 },
    };
    Ok(Ok((made(module.part, &module.path, factors, rank), row)))
}

/// The leading part of a whole change.
pub(super) fn of_matrix(
    delta: &Matrix,
    (part, path): (Part, &str),
    shape: &[usize],
    goal: Goal,
) -> (HostFactors, Resized) {
    let most = goal.rank.min(delta.rows).min(delta.cols);
    let svd = leading_svd(delta, most);
    let squares: Vec<f64> = svd.s.iter().map(|&s| f64::from(s).powi(2)).collect();
    let total = dot(&delta.data, &delta.data);
    let rank = fewest(&squares, total, goal);
    let factors = halves(&svd, rank, shape);
    // Told from the numbers themselves: a difference of sums of squares would be their rounding.
    let mut lost = 0.0;
    if let HostFactors::LowRank(LowRank { down, up, .. }) = &factors {
        let down = Matrix::new(rank, down.columns(), down.data.clone());
        let near = Matrix::new(up.shape[0], rank, up.data.clone()).matmul(&down);
        let off = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        lost = delta.data.iter().zip(&near.data).map(off).sum();
    }
    let error = if total > 0.0 { (lost / total).sqrt() } else { 0.0 };
    let path = path.to_string();
    (factors, Resized { part, path, before: 0, rank, norm: total.sqrt(), error })
}

/// How many of these squares of singular values are needed.
fn fewest(squares: &[f64], total: f64, goal: Goal) -> usize {
    let most = goal.rank.min(squares.iter().take_while(|&&square| square > 0.0).count());
    let Some(error) = goal.error else { return most };
    let mut left = total;
    for (rank, square) in squares[..most].iter().enumerate() {
        if left <= error * error * total {
            return rank;
        }
        left -= square;
    }
    most
}

/// Both factors with the root of each singular value.
fn halves(svd: &Svd, rank: usize, shape: &[usize]) -> HostFactors {
    let root = |at: usize| svd.s[at].sqrt();
    let (rows, kernel) = (svd.u.rows, shape.get(2..).unwrap_or_default());
    let up = (0..rows).flat_map(|row| (0..rank).map(move |at| svd.u.row(row)[at] * root(at)));
    let down = (0..rank).flat_map(|at| svd.vt.row(at).iter().map(move |x| x * root(at)));
    let input = shape.get(1).copied().unwrap_or(1);
    HostFactors::LowRank(LowRank {
        down: HostTensor { shape: [&[rank, input], kernel].concat(), data: down.collect() },
        mid: None,
        up: HostTensor {
            shape: [&[rows, rank], &vec![1; kernel.len()][..]].concat(),
            data: up.collect(),
        },
    })
}

/// A module of scale 1.
pub(super) fn made(part: Part, path: &str, factors: HostFactors, rank: usize) -> AdapterModule {
    let alpha = (rank > 0).then_some(rank as f32);
    AdapterModule { part, path: path.into(), factors, scale: 1.0, rank, alpha }
}

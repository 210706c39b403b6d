//! What a module does to its layer's own numbers, in host memory.

use burn::tensor::{Device, Tensor, TensorData};

use crate::adapters::file::Part;
use crate::adapters::kinds::{HostFactors, HostTensor, LowRank};
use crate::adapters::module::AdapterModule;
use crate::adapters::peft::absorbed;
use crate::error::{Error, Result};
use crate::layers::{Change, Factors};
use crate::linalg::dot;

/// A layer's own numbers, as far as they are at hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Base {
    /// Row-major.
    pub weight: Option<Vec<f32>>,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

/// What is added to them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// As the layer's weight, row-major.
    pub weight: Option<Vec<f32>>,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

/// An adapter and how strong it is.
#[derive(Debug, Clone, Copy)]
pub struct Weighted<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// What it is made of.
    pub modules: &'a [AdapterModule],
    /// For UNet and text encoder.
    pub strengths: [f32; 2],
}

impl Weighted<'_> {
    /// That for a part.
    pub fn strength(&self, part: Part) -> f32 {
        match part {
            Part::UNet => self.strengths[0],
            Part::TextEncoder | Part::TextEncoder2 => self.strengths[1],
        }
    }
}

/// `sum += more`.
pub(super) fn add(sum: &mut Option<Vec<f32>>, more: Option<Vec<f32>>) {
    match (sum.as_mut(), more) {
        (_, None) => {}
        (None, more) => *sum = more,
        (Some(sum), Some(more)) => sum.iter_mut().zip(more).for_each(|(sum, x)| *sum += x),
    }
}

/// Rows and columns of a weight as a matrix.
pub(super) fn matrix_of(shape: &[usize]) -> [usize; 2] {
    [shape.first().copied().unwrap_or(1), shape.iter().skip(1).product()]
}

/// What a module adds at a strength to a layer whose weight has this shape.
///
/// # Errors
/// When a factor doesn't fit the layer, or the change depends on numbers that aren't at hand.
pub fn change(
    module: &AdapterModule,
    shape: &[usize],
    base: &Base,
    strength: f32,
) -> Result<Delta> {
    let misfit = || {
        let shapes: Vec<_> = module.factors.tensors().map(|tensor| &tensor.shape).collect();
        let problem = format!("factors of {shapes:?} don't fit the layer's {shape:?}");
        Error::setting(&module.path, problem, "Use an adapter made for this model")
    };
    if module.factors.needs_base() && base.weight.is_none() {
        let kind = module.kind().label();
        let problem = format!("is of the kind {kind}, whose change depends on the model's weight");
        return Err(Error::setting(
            &module.path,
            problem,
            "Give the model along with it (--model)",
        ));
    }
    let (device, [rows, columns]) = (Device::flex(), matrix_of(shape));
    let matrix = |host: &HostTensor| {
        let HostTensor { shape, data } = host.flattened();
        Tensor::<2>::from_data(TensorData::new(data, [shape[0], shape[1]]), &device)
    };
    if let HostFactors::LowRank(LowRank { down, up, .. }) = absorbed(&module.factors) {
        let (up, down) = (matrix(&up), matrix(&down));
        let fits = up.dims()[0] == rows && down.dims() == [up.dims()[1], columns];
        let weight = fits.then(|| values(up.matmul(down).mul_scalar(module.scale * strength)));
        return Ok(Delta { weight: Some(weight.ok_or_else(misfit)??), bias: None });
    }
    let action = module.factors.map(matrix).action(shape);
    let Some(Factors::Change(action)) = action else { return Err(misfit()) };
    of_change(&*action, [module.scale, strength], [rows, columns], base)
}

fn of_change(
    change: &dyn Change,
    [scale, strength]: [f32; 2],
    [rows, columns]: [usize; 2],
    base: &Base,
) -> Result<Delta> {
    let device = Device::flex();
    let weight = match &base.weight {
        Some(weight) => {
            Tensor::from_data(TensorData::new(weight.clone(), [rows, columns]), &device)
        }
        // Looked at by none that comes here.
        None => Tensor::zeros([1, 1], &device),
    };
    let bias = base
        .bias
        .as_ref()
        .map(|bias| Tensor::<1>::from_data(TensorData::new(bias.clone(), [bias.len()]), &device));
    let changed =
        change.changes_weight().then(|| values(change.weight_at(weight, scale, strength)));
    let bias =
        change.bias(bias, scale).map(|bias| values(bias.mul_scalar(strength))).transpose()?;
    Ok(Delta { weight: changed.transpose()?, bias })
}

fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.into_data().convert::<f32>().try_into_vec().map_err(|error| {
        Error::device(format!("The numbers can't be read back: {error:?}"), "Please report it")
    })
}

/// The Frobenius norm of what a module adds; none where that depends on the model.
///
/// # Errors
/// When a factor doesn't fit the layer.
pub fn norm(module: &AdapterModule, shape: &[usize]) -> Result<Option<f64>> {
    if module.factors.needs_base() {
        return Ok(None);
    }
    if let HostFactors::LowRank(LowRank { down, up, .. }) = absorbed(&module.factors) {
        return Ok(Some(product_norm(&up, &down) * f64::from(module.scale).abs()));
    }
    let Delta { weight, bias } = change(module, shape, &Base::default(), 1.0)?;
    let squares = [weight, bias].into_iter().flatten().map(|values| dot(&values, &values));
    Ok(Some(squares.sum::<f64>().sqrt()))
}

/// `||up down||` without the product: the sum of `(up^T up) * (down down^T)`.
fn product_norm(up: &HostTensor, down: &HostTensor) -> f64 {
    let (rank, width) = (up.columns(), down.columns());
    let rows: Vec<&[f32]> = down.data.chunks_exact(width.max(1)).collect();
    let column = |at: usize| up.data.iter().skip(at).step_by(rank.max(1)).copied().collect();
    let columns: Vec<Vec<f32>> = (0..rank).map(column).collect();
    let mut sum = 0.0;
    for i in 0..rank.min(rows.len()) {
        for j in 0..rank.min(rows.len()) {
            sum += dot(&columns[i], &columns[j]) * dot(rows[i], rows[j]);
        }
    }
    sum.max(0.0).sqrt()
}

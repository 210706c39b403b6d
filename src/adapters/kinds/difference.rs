//! Differences stored whole: of a weight and a bias (`.diff`, `.diff_b`: LyCORIS' full and what ComfyUI
//! extracts; `comfy/lora.py`), of a norm's (`.w_norm`, `.b_norm`: `lycoris/modules/norms.py`).
//! `W + m diff`, `b + m diff_b`.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::Result;
use crate::layers::{self, Change};

/// That of a weight.
pub const WEIGHT: Role = Role::new("diff");
/// That of a bias.
pub const BIAS: Role = Role::new("diff_b");
/// That of a norm's weight, in LyCORIS' words.
pub const NORM_WEIGHT: Role = Role::new("w_norm");
/// That of a norm's bias.
pub const NORM_BIAS: Role = Role::new("b_norm");

/// Its kinds: of a whole weight, of a norm, of a bias alone.
pub const KINDS: &[Kind] = &[FULL, NORM, ONLY_BIAS];
const FULL: Kind = Kind::new("full difference", Some("full"));
const NORM: Kind = Kind::new("norm difference", Some("full"));
const ONLY_BIAS: Kind = Kind::new("bias difference", Some("full"));
/// It may stand beside any other kind: biases do beside LoRA.
pub const FAMILY: Option<&str> = None;
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = false;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = false;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[WEIGHT, BIAS, NORM_WEIGHT, NORM_BIAS];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// What is added; a layer without a bias gets one.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<T> {
    /// As the layer's weight; a norm's `[channels]`.
    pub weight: Option<T>,
    /// `[out]`.
    pub bias: Option<T>,
}

impl<T> Difference<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let weight = self.weight.as_ref().map(|weight| (WEIGHT, weight));
        weight.into_iter().chain(self.bias.as_ref().map(|bias| (BIAS, bias))).collect()
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> Difference<U> {
        let weight = self.weight.as_ref().map(&mut *each);
        Difference { weight, bias: self.bias.as_ref().map(&mut *each) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    PARAMETERS.iter().copied().any(has)
}

/// Reads what there is of the two.
///
/// # Errors
/// Names the key: misshapen or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<Difference<HostTensor>>> {
    let one = |roles: [Role; 2], wanted: &[usize]| -> Result<Option<HostTensor>> {
        tensors.not_both(roles)?;
        let Some(role) = roles.into_iter().find(|role| tensors.has(*role)) else {
            return Ok(None);
        };
        let HostTensor { shape, data } = tensors.tensor(role, 1)?;
        // A kernel may lie as a matrix, a 1x1 kernel's trailing ones be there or not.
        let rows = shape[0] == wanted[0] && data.len() == wanted.iter().product::<usize>();
        if !rows {
            return Err(tensors.misfit(role, &shape, wanted));
        }
        Ok(Some(HostTensor { shape: wanted.to_vec(), data }))
    };
    let weight = one([WEIGHT, NORM_WEIGHT], tensors.shape)?;
    let bias = one([BIAS, NORM_BIAS], &tensors.shape[..1])?;
    Ok(Found::Factors(Difference { weight, bias }, 0))
}

impl Difference<HostTensor> {
    /// For people: of a whole weight, of a norm, or of a bias alone.
    pub fn kind(&self) -> Kind {
        match &self.weight {
            Some(weight) if weight.shape.len() == 1 => NORM,
            Some(_) => FULL,
            None => ONLY_BIAS,
        }
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Never.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        let norm = self.kind() == NORM;
        let pair = if norm { [NORM_WEIGHT, NORM_BIAS] } else { [WEIGHT, BIAS] };
        let piece = |(role, tensor): (Role, &HostTensor)| {
            Piece::new(pair[usize::from(role == BIAS)].label(), tensor)
        };
        Ok(self.named().into_iter().map(piece).collect())
    }

    /// Whether both are zero.
    pub fn is_zero(&self) -> bool {
        self.named().into_iter().all(|(_, tensor)| tensor.is_zero())
    }
}

impl Difference<Tensor<2>> {
    /// What it does to a layer of this shape; none where it doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, columns) = (*shape.first()?, shape.iter().skip(1).product::<usize>());
        let of = |tensor: &Option<Tensor<2>>, size: [usize; 2]| {
            tensor.as_ref().is_none_or(|tensor| tensor.dims() == size)
        };
        let fits = of(&self.weight, [output, columns]) && of(&self.bias, [output, 1]);
        fits.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl Change for Difference<Tensor<2>> {
    fn changes_weight(&self) -> bool {
        self.weight.is_some()
    }

    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        match &self.weight {
            Some(weight) => weight.clone().mul_scalar(scale),
            None => base.zeros_like(),
        }
    }

    fn bias(&self, _base: Option<Tensor<1>>, scale: f32) -> Option<Tensor<1>> {
        let bias = self.bias.as_ref()?;
        Some(bias.clone().mul_scalar(scale).flatten::<1>(0, 1))
    }
}

//! LoHa and LoKr with DoRA's magnitudes (LyCORIS' `dora_wd`; `lycoris/functional/general.py`,
//! `weight_decompose`): the weight with their change, every row or input channel of it brought to a
//! length of its own. As with DoRA, strength 0 is the base (see `docs/specs/adapter-formats.md`, E3).

use std::rc::Rc;

use burn::tensor::Tensor;

use super::dora;
use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::loha::{self, LoHa};
use super::lokr::{self, LoKr};
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::Result;
use crate::layers::{self, Change, Factors};

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[LOHA, LOKR];
/// What LoHa with magnitudes is called.
pub const LOHA: Kind = Kind::new("LoHa with DoRA", Some("loha"));
/// What LoKr with magnitudes is called.
pub const LOKR: Kind = Kind::new("LoKr with DoRA", Some("lokr"));
/// Its factors have theirs.
pub const FAMILY: Option<&str> = None;
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = true;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[];

/// What is decomposed.
#[derive(Debug, Clone, PartialEq)]
pub enum Inner<T> {
    /// See [`super::loha`].
    LoHa(LoHa<T>),
    /// See [`super::lokr`].
    LoKr(LoKr<T>),
}

/// `V = W + scale * change`, brought to the lengths in `magnitude`.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposed<T> {
    /// The change.
    pub inner: Inner<T>,
    /// `[out, 1, ..]`: of every output row; `[1, in, ..]`: of every input channel.
    pub magnitude: T,
}

impl<T> Decomposed<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let mut named = match &self.inner {
            Inner::LoHa(factors) => factors.named(),
            Inner::LoKr(factors) => factors.named(),
        };
        named.push((Role::DORA_SCALE, &self.magnitude));
        named
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> Decomposed<U> {
        let inner = match &self.inner {
            Inner::LoHa(factors) => Inner::LoHa(factors.map(each)),
            Inner::LoKr(factors) => Inner::LoKr(factors.map(each)),
        };
        Decomposed { inner, magnitude: each(&self.magnitude) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    let factors = [loha::PARAMETERS, lokr::PARAMETERS].into_iter().flatten().copied();
    factors.into_iter().any(has) && Role::MAGNITUDES.into_iter().any(has)
}

/// Reads factors and magnitudes.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<Decomposed<HostTensor>>> {
    let mut magnitude = dora::magnitude(tensors)?;
    magnitude.shape.resize(tensors.shape.len().max(2), 1);
    let of_loha = loha::PARAMETERS.iter().any(|role| tensors.has(*role));
    let inner = if of_loha {
        loha::read(tensors)?.map(Inner::LoHa)
    } else {
        lokr::read(tensors)?.map(Inner::LoKr)
    };
    Ok(inner.map(|inner| Decomposed { inner, magnitude }))
}

impl Decomposed<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        match &self.inner {
            Inner::LoHa(_) => LOHA,
            Inner::LoKr(_) => LOKR,
        }
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Never.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        Ok(Piece::all(self.named()))
    }

    /// Whether the change is zero: then it was never trained.
    pub fn is_zero(&self) -> bool {
        match &self.inner {
            Inner::LoHa(factors) => factors.is_zero(),
            Inner::LoKr(factors) => factors.is_zero(),
        }
    }
}

impl Decomposed<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<Factors> {
        let (output, input) = (*shape.first()?, *shape.get(1)?);
        let inner = match self.inner {
            Inner::LoHa(factors) => factors.action(shape)?,
            Inner::LoKr(factors) => factors.action(shape)?,
        };
        let fits = [[output, 1], [1, input]].contains(&self.magnitude.dims());
        let Factors::Change(inner) = inner else { return None };
        let magnitude = self.magnitude;
        fits.then(|| layers::Factors::Change(Rc::new(Lengthened { inner, magnitude })))
    }
}

/// A change of which every row or input channel gets a length.
#[derive(Debug)]
struct Lengthened {
    inner: Rc<dyn Change>,
    magnitude: Tensor<2>,
}

impl Change for Lengthened {
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        let moved = self.inner.weight(base.clone(), scale) + base.clone();
        moved.clone() * dora::gain(moved, self.magnitude.clone()) - base
    }
}

//! The tensors of one module in an adapter's file, checked as they are read.

use std::collections::BTreeMap;

use super::host::HostTensor;
use super::role::Role;
use crate::adapters::remedies::{BROKEN, OTHER_MODEL};
use crate::adapters::settings::Settings;
use crate::adapters::width;
use crate::error::{Error, Result};
use crate::keys::adapter_names::Part;
use crate::weights::{Index, Source};

/// What a module is read from.
pub struct Tensors<'a> {
    /// The file's header.
    pub index: &'a Index,
    /// Its bytes.
    pub source: &'a dyn Source,
    /// What stands outside its tensors.
    pub settings: &'a Settings,
    /// The part of the model.
    pub part: Part,
    /// The layer's path in diffusers' names.
    pub path: &'a str,
    /// The key of each role.
    pub keys: &'a BTreeMap<Role, &'a str>,
    /// Of the layer's weight: `[out, in]`, `[out, in, kh, kw]`, or a norm's `[channels]`.
    pub shape: &'a [usize],
    /// What ends a sentence about tensors that don't fit: which model the file was made for.
    pub made: &'a str,
}

/// What came of a module's tensors.
#[derive(Debug)]
pub enum Found<F> {
    /// The factors, and their low rank; 0 where they have none.
    Factors(F, usize),
    /// Nothing can be made of them: which kind isn't supported, and why in words.
    LeftOut(&'static str, String),
}

impl<F> Found<F> {
    /// The same with other factors.
    pub fn map<G>(self, each: impl FnOnce(F) -> G) -> Found<G> {
        match self {
            Self::Factors(factors, rank) => Found::Factors(each(factors), rank),
            Self::LeftOut(kind, reason) => Found::LeftOut(kind, reason),
        }
    }
}

impl Tensors<'_> {
    /// Rows of the weight as a matrix: its outputs.
    pub fn output(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Inputs, kernel not counted; 1 of a norm.
    pub fn input(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    /// Columns of the weight as a matrix: inputs times kernel.
    pub fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Height and width of a convolution's kernel; empty for other layers.
    pub fn kernel(&self) -> &[usize] {
        self.shape.get(2..).unwrap_or_default()
    }

    /// Whether the file has a tensor of this role.
    pub fn has(&self, role: Role) -> bool {
        self.keys.contains_key(&role)
    }

    /// A core `[r, r, kh, kw]` for the layer's kernel.
    ///
    /// # Errors
    /// Names the key that doesn't fit; so with all that follow.
    pub fn expect_core(&self, role: Role, core: &HostTensor, rank: usize) -> Result<()> {
        let kernel = self.kernel();
        if kernel.is_empty() {
            let problem = "is the core of a convolution, but the layer is linear".into();
            return Err(self.error(role, problem, OTHER_MODEL));
        }
        self.expect(role, core, &[&[rank, rank], kernel].concat())
    }

    /// The tensor as a matrix of this size; a 1x1 kernel's trailing ones may be there or not.
    ///
    /// # Errors
    /// See [`Self::expect_core`].
    pub fn matrix(&self, role: Role, tensor: HostTensor, size: [usize; 2]) -> Result<HostTensor> {
        if [tensor.shape[0], tensor.columns()] != size {
            return Err(self.misfit(role, &tensor.shape, &size));
        }
        Ok(HostTensor { shape: size.to_vec(), data: tensor.data })
    }

    /// The tensor has this shape.
    ///
    /// # Errors
    /// See [`Self::expect_core`].
    pub fn expect(&self, role: Role, tensor: &HostTensor, wanted: &[usize]) -> Result<()> {
        if tensor.shape == wanted { Ok(()) } else { Err(self.misfit(role, &tensor.shape, wanted)) }
    }

    /// The error for a tensor of another shape.
    pub fn misfit(&self, role: Role, found: &[usize], wanted: &[usize]) -> Error {
        let cross = self.path.ends_with("attn2.to_k") || self.path.ends_with("attn2.to_v");
        let input = ["down", "hada_w1_b", "hada_w2_b"].contains(&role.label());
        if input && cross && found.len() == wanted.len() && found[1] != wanted[1] {
            let name = |wide| width::model_of(wide).unwrap_or("a model of its own kind");
            let problem = format!(
                "reads text embeddings {} wide ({}), the loaded model's are {} wide ({})",
                found[1],
                name(found[1]),
                wanted[1],
                name(wanted[1])
            );
            return self.error(role, problem, OTHER_MODEL);
        }
        let made = self.made;
        let problem = format!("has the shape {found:?} where the layer needs {wanted:?}{made}");
        self.error(role, problem, OTHER_MODEL)
    }

    /// A matrix or kernel.
    ///
    /// # Errors
    /// When it is missing or no tensor of finite floats.
    pub fn factor(&self, role: Role) -> Result<HostTensor> {
        self.tensor(role, 2)
    }

    /// A tensor of floats with at least this many dimensions.
    ///
    /// # Errors
    /// As [`Self::factor`].
    pub fn tensor(&self, role: Role, least: usize) -> Result<HostTensor> {
        let Some(&key) = self.keys.get(&role) else {
            let kept = |other: &&Role| ![Role::ALPHA, Role::SCALE].contains(other);
            let partner = self.keys.iter().find(|(other, _)| kept(other));
            let partner = partner.map_or(self.path, |(_, key)| key);
            let problem = format!("has no {} factor beside it", role.label());
            return Err(Error::key(&self.index.file, partner, problem, BROKEN));
        };
        let info = self.index.info(key)?;
        if !info.dtype.is_float() {
            let problem = format!("is of type {}, not a float", info.dtype.name());
            return Err(self.error(role, problem, BROKEN));
        }
        if !(least..=4).contains(&info.shape.len()) {
            let problem = format!("has the shape {:?}, not that of a matrix or kernel", info.shape);
            return Err(self.error(role, problem, BROKEN));
        }
        if info.shape.contains(&0) {
            let problem = match info.shape[0] {
                0 => "has rank 0".into(),
                _ => format!("has the shape {:?}, that of nothing", info.shape),
            };
            return Err(self.error(role, problem, BROKEN));
        }
        let data = self.index.read_f32(self.source, key)?;
        if data.iter().any(|value| !value.is_finite()) {
            return Err(self.error(role, "holds NaN or infinity".into(), BROKEN));
        }
        Ok(HostTensor { shape: info.shape.clone(), data })
    }

    /// One number, where the file has it.
    ///
    /// # Errors
    /// When it is none, or not finite.
    pub fn number(&self, role: Role) -> Result<Option<f32>> {
        let Some(key) = self.keys.get(&role) else { return Ok(None) };
        let values = self.index.read_f32(self.source, key)?;
        match values[..] {
            [value] if value.is_finite() => Ok(Some(value)),
            [_] => Err(self.error(role, "is NaN or infinity".into(), BROKEN)),
            _ => Err(self.error(role, format!("has {} numbers, not one", values.len()), BROKEN)),
        }
    }

    /// Two names of one factor.
    ///
    /// # Errors
    /// When the file has both.
    pub fn not_both(&self, [role, other]: [Role; 2]) -> Result<()> {
        match (self.has(role), self.keys.get(&other)) {
            (true, Some(again)) => {
                Err(self.error(role, format!("names the same factor as {again}"), BROKEN))
            }
            _ => Ok(()),
        }
    }

    /// The error about a tensor.
    pub fn error(&self, role: Role, problem: String, remedy: &str) -> Error {
        let key = self.keys.get(&role).copied().unwrap_or(self.path);
        Error::key(&self.index.file, key, problem, remedy)
    }
}

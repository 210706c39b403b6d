//! IA3: every output or input of a layer is scaled (<https://arxiv.org/abs/2205.05638>). LyCORIS
//! (`lycoris/modules/ia3.py`) stores what is added to 1 and scales the weight alone; PEFT
//! (`peft/tuners/ia3/layer.py`) stores the factor itself and scales outputs with their bias.

use std::rc::Rc;

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::Result;
use crate::layers::{self, Change};

/// LyCORIS' scales. Only with [`ON_INPUT`] beside it: checkpoints call their weights so.
pub const WEIGHT: Role = Role::new("weight");
/// LyCORIS' switch: whether they are those of the inputs.
pub const ON_INPUT: Role = Role::new("on_input");
/// PEFT's factors: `[out, 1]` or `[1, in]`, of a convolution `[1, n, 1, 1]`.
pub const FACTORS: Role = Role::new("ia3_l");

/// See [`super::low_rank::KINDS`].
pub const KINDS: &[Kind] = &[Kind::new("IA3", Some("ia3"))];
/// See [`super::low_rank::FAMILY`].
pub const FAMILY: Option<&str> = None;
/// See [`super::low_rank::SCALED`].
pub const SCALED: bool = false;
/// See [`super::low_rank::NEEDS_BASE`].
pub const NEEDS_BASE: bool = true;
/// See [`super::loha::PARAMETERS`].
pub const PARAMETERS: &[Role] = &[ON_INPUT, FACTORS];
/// See [`super::low_rank::SUFFIXES`].
pub const SUFFIXES: &[Suffix] = &[(".weight", WEIGHT)];

/// `W' = W * (1 + more)`, rows or columns.
#[derive(Debug, Clone, PartialEq)]
pub struct IA3<T> {
    /// What is added to 1: `[out, 1]`, or `[1, in]` for the inputs.
    pub more: T,
    /// Whether the bias is scaled with the outputs.
    pub with_bias: bool,
}

impl<T> IA3<T> {
    /// Every tensor with its role.
    pub fn named(&self) -> Vec<(Role, &T)> {
        vec![(WEIGHT, &self.more)]
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> IA3<U> {
        IA3 { more: each(&self.more), with_bias: self.with_bias }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    [WEIGHT, ON_INPUT, FACTORS].into_iter().any(has)
}

/// Reads the scales.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<IA3<HostTensor>>> {
    tensors.not_both([FACTORS, ON_INPUT])?;
    let peft = tensors.has(FACTORS);
    let role = if peft { FACTORS } else { WEIGHT };
    let HostTensor { shape, mut data } = tensors.tensor(role, 1)?;
    let (output, input) = (tensors.output(), tensors.input());
    let on_input = match tensors.keys.get(&ON_INPUT) {
        Some(key) if !peft => !tensors.index.is_zero(tensors.source, key)?,
        _ => is_feed_forward(tensors, &shape),
    };
    let length = if on_input { input } else { output };
    let lone = shape.iter().filter(|&&size| size != 1).count() <= 1;
    if data.len() != length || !lone {
        let wanted = if on_input { [1, input] } else { [output, 1] };
        return Err(tensors.misfit(role, &shape, &wanted));
    }
    if peft {
        data.iter_mut().for_each(|factor| *factor -= 1.0);
    }
    let shape = if on_input { vec![1, input] } else { vec![output, 1] };
    let more = HostTensor { shape, data };
    Ok(Found::Factors(IA3 { more, with_bias: peft && !on_input }, 0))
}

/// Whether PEFT's factors are those of the inputs: of a matrix their shape tells, of a convolution the
/// config's `feedforward_modules` (ends of paths), or, where both sides differ, their number.
fn is_feed_forward(tensors: &Tensors, shape: &[usize]) -> bool {
    let (output, input) = (tensors.output(), tensors.input());
    if let [rows, columns] = *shape
        && (rows, columns) != (1, 1)
    {
        return rows == 1;
    }
    let named = tensors.settings.words(tensors.part, "feedforward_modules");
    let ends = |end: &String| {
        let rest = tensors.path.strip_suffix(end.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    match named {
        Some(ends_of) => ends_of.iter().any(ends),
        None => {
            let count: usize = shape.iter().product();
            count == input && count != output
        }
    }
}

impl IA3<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        KINDS[0]
    }

    /// See [`super::low_rank::LowRank::written`].
    ///
    /// # Errors
    /// Where the bias is scaled too: LyCORIS scales the weight alone.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        if self.with_bias {
            return Err("scales biases with their outputs, which only PEFT's files can say");
        }
        let switch = HostTensor { shape: vec![], data: vec![f32::from(u8::from(self.on_input()))] };
        // LyCORIS has one dimension, of linear layers; A1111 reads it of any.
        let HostTensor { data, .. } = &self.more;
        let more = HostTensor { shape: vec![data.len()], data: data.clone() };
        Ok(vec![Piece::new(WEIGHT.label(), &more), Piece::new(ON_INPUT.label(), &switch)])
    }

    fn on_input(&self) -> bool {
        self.more.shape[0] == 1 && self.more.columns() > 1
    }

    /// Whether nothing is scaled.
    pub fn is_zero(&self) -> bool {
        self.more.is_zero()
    }
}

impl IA3<Tensor<2>> {
    /// What it does to a layer of this shape; none where the scales don't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let (output, input) = (*shape.first()?, *shape.get(1)?);
        let fits = [[output, 1], [1, input]].contains(&self.more.dims());
        fits.then(|| layers::Factors::Change(Rc::new(self)))
    }
}

impl IA3<Tensor<2>> {
    fn on_input(&self) -> bool {
        let [rows, columns] = self.more.dims();
        rows == 1 && columns > 1
    }
}

impl Change for IA3<Tensor<2>> {
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2> {
        let more = self.more.clone().mul_scalar(scale);
        if !self.on_input() {
            return base * more;
        }
        let ([_, columns], [_, input]) = (base.dims(), more.dims());
        // Each input has the whole kernel.
        let each = more.reshape([input, 1]).expand([input, columns / input]);
        base * each.reshape([1, columns])
    }

    fn bias(&self, base: Option<Tensor<1>>, scale: f32) -> Option<Tensor<1>> {
        let base = base.filter(|_| self.with_bias)?;
        Some(base * self.more.clone().mul_scalar(scale).flatten::<1>(0, 1))
    }
}

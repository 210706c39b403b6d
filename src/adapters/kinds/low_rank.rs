//! LoRA and LoCon: `scale * up mid down` (`docs/specs/adapter-formats.md`, E3 and B.3). It acts on x:
//! the weight stays as it is.

use burn::tensor::Tensor;

use super::host::{HostTensor, Piece};
use super::kind::Kind;
use super::role::{Role, Suffix};
use super::tensors::{Found, Tensors};
use crate::error::Result;
use crate::layers;

/// The factor next to the input (A).
pub const DOWN: Role = Role::new("down");
/// The core of a Tucker decomposition.
pub const MID: Role = Role::new("mid");
/// The factor next to the output (B).
pub const UP: Role = Role::new("up");

/// Its kinds: LoCon is what has a kernel.
pub const KINDS: &[Kind] = &[LORA, LOCON];
/// Of matrices.
pub const LORA: Kind = Kind::new("LoRA", None);
/// With the kernels of convolutions.
pub const LOCON: Kind = Kind::new("LoCon", Some("locon"));
/// The family, where a file's layer may be of one alone.
pub const FAMILY: Option<&str> = Some("LoRA");
/// Whether alpha / rank is its scale.
pub const SCALED: bool = true;
/// Whether its change depends on the weight that it changes.
pub const NEEDS_BASE: bool = false;
/// Parameters that are called the same in every naming.
pub const PARAMETERS: &[Role] = &[];
/// `default` and `default_0` are the names that PEFT and diffusers give an adapter unless told another.
pub const SUFFIXES: &[Suffix] = &[
    (".lora_linear_layer.down.weight", DOWN),
    (".lora_linear_layer.up.weight", UP),
    (".lora_down.weight", DOWN),
    (".lora_mid.weight", MID),
    (".lora_up.weight", UP),
    ("_lora.down.weight", DOWN),
    ("_lora.up.weight", UP),
    (".lora.down.weight", DOWN),
    (".lora.up.weight", UP),
    (".lora_A.weight", DOWN),
    (".lora_B.weight", UP),
    (".lora_A.default.weight", DOWN),
    (".lora_B.default.weight", UP),
    (".lora_A.default_0.weight", DOWN),
    (".lora_B.default_0.weight", UP),
    (".lora_A", DOWN),
    (".lora_B", UP),
];

/// Two factors, or three.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank<T> {
    /// `[r, in]`, or for a convolution `[r, in, kh, kw]` (`[r, in, 1, 1]` with `mid`).
    pub down: T,
    /// `[r, r, kh, kw]`, Tucker form only.
    pub mid: Option<T>,
    /// `[out, r]`, or for a convolution `[out, r, 1, 1]`.
    pub up: T,
}

impl<T> LowRank<T> {
    /// Every tensor with its role, that next to the input first.
    pub fn named(&self) -> Vec<(Role, &T)> {
        let Self { down, mid, up } = self;
        let mid = mid.as_ref().map(|mid| (MID, mid));
        [Some((DOWN, down)), mid, Some((UP, up))].into_iter().flatten().collect()
    }

    /// The same of something else for every tensor.
    pub fn map<U>(&self, each: &mut dyn FnMut(&T) -> U) -> LowRank<U> {
        LowRank { down: each(&self.down), mid: self.mid.as_ref().map(&mut *each), up: each(&self.up) }
    }
}

/// Whether these roles are those of a module of this kind.
pub fn belongs(has: &dyn Fn(Role) -> bool) -> bool {
    [DOWN, MID, UP].into_iter().any(has) && !Role::MAGNITUDES.into_iter().any(has)
}

/// Reads the factors.
///
/// # Errors
/// Names the key: missing, misshapen, or not finite.
pub fn read(tensors: &Tensors) -> Result<Found<LowRank<HostTensor>>> {
    let down = tensors.factor(DOWN)?;
    let up = tensors.factor(UP)?;
    let mid = tensors.has(MID).then(|| tensors.factor(MID)).transpose()?;
    let rank = down.shape[0];
    Ok(Found::Factors(fit(tensors, LowRank { down, mid, up }, rank)?, rank))
}

/// Gives the factors the shapes that the layer wants: a 1x1 convolution's and a linear layer's
/// differ by trailing ones.
fn fit(
    tensors: &Tensors,
    factors: LowRank<HostTensor>,
    rank: usize,
) -> Result<LowRank<HostTensor>> {
    let LowRank { mut down, mut mid, mut up } = factors;
    let squeeze = |shape: &[usize], length: usize| -> Vec<usize> {
        let mut shape = shape.to_vec();
        while shape.len() > length && shape.last() == Some(&1) {
            shape.pop();
        }
        shape.resize(length.max(shape.len()), 1);
        shape
    };
    let length = tensors.shape.len();
    down.shape = squeeze(&down.shape, length);
    up.shape = squeeze(&up.shape, length);
    let (output, input, kernel) = (tensors.output(), tensors.input(), tensors.kernel());
    let ones = vec![1; kernel.len()];
    let down_kernel = if mid.is_some() { &ones } else { kernel };
    // Kernels as matrices: the same numbers, row by row.
    unflatten(&mut down, &[&[rank, input], down_kernel].concat());
    if let Some(mid) = &mut mid {
        unflatten(mid, &[&[rank, rank], kernel].concat());
    }
    tensors.expect(DOWN, &down, &[&[rank, input], down_kernel].concat())?;
    tensors.expect(UP, &up, &[&[output, rank], &ones[..]].concat())?;
    if let Some(mid) = &mid {
        tensors.expect_core(MID, mid, rank)?;
    }
    Ok(LowRank { down, mid, up })
}

/// Gives a matrix the shape of a kernel of as many rows and columns.
fn unflatten(tensor: &mut HostTensor, shape: &[usize]) {
    let columns: usize = shape[1..].iter().product();
    let flat = tensor.shape.iter().skip(2).all(|&size| size == 1);
    if flat && tensor.shape[0] == shape[0] && tensor.columns() == columns {
        tensor.shape = shape.to_vec();
    }
}

impl LowRank<HostTensor> {
    /// For people.
    pub fn kind(&self) -> Kind {
        let kernel = self.named().into_iter().any(|(_, tensor)| tensor.has_kernel());
        if self.mid.is_some() || kernel { LOCON } else { LORA }
    }

    /// Its tensors as kohya's scripts and LyCORIS write them.
    ///
    /// # Errors
    /// Says why, where neither has a form for it: never.
    pub fn written(&self) -> std::result::Result<Vec<Piece>, &'static str> {
        let piece = |(role, tensor): (Role, &HostTensor)| {
            Piece::new(format!("lora_{}.weight", role.label()), tensor)
        };
        Ok(self.named().into_iter().map(piece).collect())
    }

    /// Whether the product is zero.
    pub fn is_zero(&self) -> bool {
        self.named().into_iter().any(|(_, tensor)| tensor.is_zero())
    }
}

impl LowRank<Tensor<2>> {
    /// What it does to a layer of this shape; none where a factor doesn't fit it.
    pub fn action(self, shape: &[usize]) -> Option<layers::Factors> {
        let Self { down, mid, up } = self;
        let [rank, columns] = down.dims();
        let output = *shape.first()?;
        let wanted: usize = match mid {
            Some(_) => *shape.get(1)?,
            None => shape.iter().skip(1).product(),
        };
        if columns != wanted || up.dims() != [output, rank] {
            return None;
        }
        match *shape {
            [_, _] if mid.is_none() => {
                Some(layers::Factors::Linear { down: down.transpose(), up: up.transpose() })
            }
            [_, input, height, width] => {
                let fits = |mid: &Tensor<2>| mid.dims() == [rank, rank * height * width];
                if mid.as_ref().is_some_and(|mid| !fits(mid)) {
                    return None;
                }
                let kernel = if mid.is_some() { [1, 1] } else { [height, width] };
                Some(layers::Factors::Conv2d {
                    down: down.reshape([rank, input, kernel[0], kernel[1]]),
                    mid: mid.map(|mid| mid.reshape([rank, rank, height, width])),
                    up: up.reshape([output, rank, 1, 1]),
                })
            }
            _ => None,
        }
    }
}

//! Where adapters sit: every adaptable layer owns a slot, the loader lists all slots as sites.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use burn::tensor::Tensor;

use super::dropout::Dropout;
use super::weight::Weight;
use crate::error::{Error, Result};

/// An adapter's strength, shared by all its branches of one model part: moving the slider is
/// writing this one number.
#[derive(Debug, Clone)]
pub struct Strength(Rc<Cell<f32>>);

impl Strength {
    /// A new shared number.
    pub fn new(value: f32) -> Self {
        Self(Rc::new(Cell::new(value)))
    }

    /// Its present value.
    pub fn get(&self) -> f32 {
        self.0.get()
    }

    /// Moves it, for every branch that shares it.
    pub fn set(&self, value: f32) {
        self.0.set(value);
    }
}

/// What one branch is made of, laid out as the forward pass wants it.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred exist; a tensor handle is what is large"
)]
pub enum Factors {
    /// `x [.., in] -> x @ down [in, r] @ up [r, out]`.
    Linear {
        /// `[in, r]`.
        down: Tensor<2>,
        /// `[r, out]`.
        up: Tensor<2>,
    },
    /// A convolution with the layer's own kernel, stride and padding to r channels, then 1x1 to
    /// out. With `mid` (Tucker form) `down` is 1x1 and `mid` carries the kernel.
    Conv2d {
        /// `[r, in, kh, kw]`, or `[r, in, 1, 1]` with `mid`.
        down: Tensor<4>,
        /// `[r, r, kh, kw]`.
        mid: Option<Tensor<4>>,
        /// `[out, r, 1, 1]`.
        up: Tensor<4>,
    },
    /// A change of the layer's own numbers.
    Change(Rc<dyn Change>),
}

/// A change of a layer's weight and bias, computed anew at every pass from the base's. Every weight is
/// a matrix here, `[out, in]`, a convolution's being flattened to `[out, in * kh * kw]`, a norm's
/// `[channels, 1]`.
pub trait Change: std::fmt::Debug {
    /// Whether it changes the weight; some change the bias alone.
    fn changes_weight(&self) -> bool {
        true
    }

    /// What is added to the weight at strength 1.
    fn weight(&self, base: Tensor<2>, scale: f32) -> Tensor<2>;

    /// What is added to the weight at a strength; of most kinds that is in proportion to it.
    fn weight_at(&self, base: Tensor<2>, scale: f32, strength: f32) -> Tensor<2> {
        self.weight(base, scale).mul_scalar(strength)
    }

    /// What is added to the bias `[out]` at strength 1; `base`: the layer's own, if it has one.
    fn bias(&self, base: Option<Tensor<1>>, scale: f32) -> Option<Tensor<1>> {
        let _ = (base, scale);
        None
    }
}

/// One adapter's part in one layer: `y += strength * scale * up(mid(down(x)))`, or a change of the
/// layer's weight.
#[derive(Debug, Clone)]
pub struct Branch {
    /// Which adapter it belongs to.
    pub adapter: u64,
    /// The user's strength.
    pub strength: Strength,
    /// alpha / rank, or what the file's convention makes of them.
    pub scale: f32,
    /// The factors.
    pub factors: Factors,
    /// While it is trained: what is left out of this step.
    pub dropout: Option<Dropout>,
}

impl Branch {
    /// What the low-rank product is multiplied by.
    pub fn factor(&self) -> f32 {
        self.strength.get() * self.scale
    }

    /// The low-rank hidden values `[n, .., r]` of one batch, with what dropout leaves of them.
    /// `channels`: the dimension that the rank lies in.
    pub(super) fn drop<const D: usize>(&self, hidden: Tensor<D>, channels: usize) -> Tensor<D> {
        match &self.dropout {
            None => hidden,
            Some(dropout) => dropout.apply(hidden, channels),
        }
    }
}

/// The attach point of one layer. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Slot(Rc<RefCell<Vec<Branch>>>);

impl Slot {
    /// Adds a branch.
    pub fn attach(&self, branch: Branch) {
        self.0.borrow_mut().push(branch);
    }

    /// Takes every branch of one adapter out; nothing of it stays behind.
    pub fn detach(&self, adapter: u64) {
        self.0.borrow_mut().retain(|branch| branch.adapter != adapter);
    }

    /// The branches in the order in which they were attached.
    pub fn branches(&self) -> Ref<'_, Vec<Branch>> {
        self.0.borrow()
    }

    /// Whether [`weight`](Self::weight) gives another weight than the base's.
    pub(super) fn changes_weight(&self) -> bool {
        self.branches().iter().any(|branch| {
            matches!(&branch.factors, Factors::Change(change) if change.changes_weight())
                && branch.strength.get() != 0.0
        })
    }

    /// The weight `[out, ..]` with what the branches that change it make of it; the very same tensor
    /// where there is none or all strengths are 0. Every branch starts from the base weight, so the
    /// order in which adapters were attached doesn't matter.
    pub(super) fn weight<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let shape = base.dims();
        let flat = base.clone().reshape([shape[0], shape[1..].iter().product()]);
        let changes = self.changes(|change, strength, scale| {
            let own = change.changes_weight();
            own.then(|| change.weight_at(flat.clone(), scale, strength))
        });
        if changes.is_empty() {
            return base;
        }
        changes.into_iter().fold(flat, |sum, change| sum + change).reshape(shape)
    }

    /// The same of a bias `[out]`; a layer without one may get one.
    pub(super) fn bias(&self, base: Option<Tensor<1>>) -> Option<Tensor<1>> {
        let changes = self.changes(|change, strength, scale| {
            let added = change.bias(base.clone(), scale);
            added.map(|added| added.mul_scalar(strength))
        });
        changes.into_iter().fold(base, |sum, change| {
            Some(match sum {
                Some(sum) => sum + change,
                None => change,
            })
        })
    }

    /// What each branch that changes something adds; strength 0 is the base bit for bit.
    fn changes<T>(&self, of: impl Fn(&dyn Change, f32, f32) -> Option<T>) -> Vec<T> {
        let branches = self.branches();
        let each = branches.iter().filter_map(|branch| {
            let Factors::Change(change) = &branch.factors else { return None };
            let strength = branch.strength.get();
            if strength == 0.0 { None } else { of(&**change, strength, branch.scale) }
        });
        each.collect()
    }
}

/// An adaptable layer as the loader saw it.
#[derive(Debug, Clone)]
pub struct Site {
    /// The layer's path in diffusers' names, such as `down_blocks.0.attentions.0.proj_in`.
    pub path: String,
    /// The weight's shape: `[out, in]` or `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
    /// Its slot.
    pub slot: Slot,
    /// `[out, in * kh * kw]`: a second handle to the layer's own memory, which keeps that alive.
    weight: Option<Weight<2>>,
}

impl Site {
    pub(super) fn new<const D: usize>(path: String, slot: Slot, weight: &Weight<D>) -> Self {
        Self { path, shape: weight.dims().to_vec(), slot, weight: Some(weight.flatten()) }
    }

    /// The shape of the weight as a matrix, `[out, in * kh * kw]`.
    pub fn matrix(&self) -> [usize; 2] {
        let output = self.shape.first().copied().unwrap_or(0);
        [output, self.shape.iter().skip(1).product()]
    }

    /// The weight, `[out, in * kh * kw]`, in f32, whatever it is stored in.
    ///
    /// # Errors
    /// When the layer belongs to a model that may leave the device.
    pub fn weight(&self) -> Result<Tensor<2>> {
        self.weight.as_ref().map(Weight::widened).ok_or_else(|| {
            let problem = "keeps no weight at hand, since its model may leave the device";
            Error::setting(&self.path, problem, "Train layers of the UNet")
        })
    }

    /// Bytes that the weight takes as it is stored; 0 where its model may leave the device.
    pub fn bytes(&self) -> u64 {
        self.weight.as_ref().map_or(0, Weight::bytes)
    }

    /// The same place with no hold on the layer's memory.
    pub fn without_weight(self) -> Self {
        Self { weight: None, ..self }
    }
}

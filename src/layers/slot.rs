//! Where adapters sit: every adaptable layer owns a slot, the loader lists all slots as sites.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use burn::tensor::Tensor;

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

/// The low-rank factors of one branch, laid out as the forward pass wants them.
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
}

/// One adapter's part in one layer: `y += strength * scale * up(mid(down(x)))`.
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
}

impl Branch {
    /// What the low-rank product is multiplied by.
    pub fn factor(&self) -> f32 {
        self.strength.get() * self.scale
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
}

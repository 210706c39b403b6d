//! A loaded model.

use std::rc::Rc;

use crate::layers::Storage;
use crate::pipelines::StableDiffusion;
use crate::pipelines::memory::Sizes;

/// The model with what is known of it.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) diffusion: Rc<StableDiffusion>,
    pub(super) storage: Storage,
    /// What its weights take, and would take.
    pub(super) sizes: Sizes,
    /// Bytes that were in use more once it was loaded.
    pub(super) bytes: u64,
}

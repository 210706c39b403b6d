//! Models by the width of their text embeddings.

/// The family whose text embeddings are this wide.
pub(super) fn model_of(width: usize) -> Option<&'static str> {
    match width {
        768 => Some("Stable Diffusion 1"),
        1024 => Some("Stable Diffusion 2"),
        1280 => Some("the refiner of Stable Diffusion XL"),
        2048 => Some("Stable Diffusion XL"),
        _ => None,
    }
}

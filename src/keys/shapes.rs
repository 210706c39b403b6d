//! What the names and shapes of a model's tensors tell.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ldm::head_number;

/// Shapes by diffusers name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

pub(super) fn any(shapes: &Shapes, prefix: &str) -> bool {
    shapes.range(prefix.to_string()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
}

/// How many numbers follow the prefix: one more than the highest.
pub(super) fn count(shapes: &Shapes, prefix: &str) -> usize {
    shapes
        .range(prefix.to_string()..)
        .map_while(|(name, _)| name.strip_prefix(prefix))
        .filter_map(|rest| Some(head_number(rest)?.0 + 1))
        .max()
        .unwrap_or(0)
}

pub(super) fn find<'a>(shapes: &'a Shapes, suffix: &str) -> Option<&'a [usize]> {
    shapes.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, shape)| shape.as_slice())
}

pub(super) fn dim(shapes: &Shapes, name: &str, axis: usize) -> Result<usize, String> {
    shapes.get(name).and_then(|shape| shape.get(axis)).copied().ok_or_else(|| name.to_string())
}

pub(super) fn one_or_list(values: Vec<usize>) -> Value {
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => json!(first),
        _ => json!(values),
    }
}

//! How deep a UNet's transformers are.

use serde_json::{Value, json};

use super::shapes::{Shapes, any, count, one_or_list};

/// Blocks of each transformer, counted one by one: down, from the outermost level inwards, and up, from the
/// innermost outwards, or null where those are the same. A level without attention counts as one.
pub(super) fn depths(shapes: &Shapes, blocks: usize) -> (Value, Value) {
    let of = |block: String| -> Vec<usize> {
        let depth = |at: usize| {
            count(shapes, &format!("{block}.attentions.{at}.transformer_blocks.")).max(1)
        };
        (0..count(shapes, &format!("{block}.attentions.")).max(1)).map(depth).collect()
    };
    let down: Vec<Vec<usize>> = (0..blocks).map(|b| of(format!("down_blocks.{b}"))).collect();
    let up: Vec<Vec<usize>> = (0..blocks).map(|b| of(format!("up_blocks.{b}"))).collect();
    let even = |each: &Vec<Vec<usize>>| {
        each.iter().all(|block| block.iter().all(|depth| Some(depth) == block.first()))
    };
    let firsts =
        |each: &[Vec<usize>]| -> Vec<usize> { each.iter().map(|block| block[0]).collect() };
    // A level may have attention on one way only: then the other's 1 says nothing.
    let told = |level: usize| {
        let has = |side: &str, at: usize| any(shapes, &format!("{side}_blocks.{at}.attentions."));
        has("down", level) && has("up", blocks - 1 - level)
    };
    let mirrored = (0..blocks)
        .filter(|&level| told(level))
        .all(|level| down[level].first() == up[blocks - 1 - level].first());
    if even(&down) && even(&up) && mirrored {
        let each = (0..blocks).map(|level| down[level][0].max(up[blocks - 1 - level][0])).collect();
        return (one_or_list(each), Value::Null);
    }
    if even(&down) && even(&up) {
        return (json!(firsts(&down)), json!(firsts(&up)));
    }
    (json!(down), json!(up))
}

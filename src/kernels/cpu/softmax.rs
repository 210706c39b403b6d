//! What attention does to a line of scores, in powers of two. In the browser the functions here are
//! replaced as those of [`super::microkernel`] are: a fused multiply-and-add halves the polynomials.

use std::hint::black_box;

use super::math;
use super::microkernel::COLUMNS;

/// Elements of a vector.
const LANES: usize = 4;

/// `(line, vectors, most, scale) -> sum`: each x of the line to `2^((x - most) * scale)`.
pub type Powers = extern "C" fn(*mut f32, usize, f32, f32) -> f32;

extern "C" fn compiled_powers(line: *mut f32, vectors: usize, most: f32, scale: f32) -> f32 {
    // SAFETY: `powers` gives what it has.
    let line = unsafe { std::slice::from_raw_parts_mut(line, vectors * LANES) };
    math::sum_changed(line, |x| math::exp2((x - most) * scale))
}

/// `(scores, slopes, packed scores, packed slopes, panels, bytes from panel to panel, factor,
/// logarithm, mean, scale)`: with `p = 2^(score * factor - logarithm)`, p to the packed scores, and
/// `(slope - mean) * p * scale` to the slopes and the packed ones.
pub type Slopes =
    extern "C" fn(*const f32, *mut f32, *mut f32, *mut f32, usize, usize, f32, f32, f32, f32);

extern "C" fn compiled_slopes(
    scores: *const f32,
    slopes: *mut f32,
    in_scores: *mut f32,
    in_slopes: *mut f32,
    panels: usize,
    stride: usize,
    factor: f32,
    logarithm: f32,
    mean: f32,
    scale: f32,
) {
    for panel in 0..panels {
        // SAFETY: `slopes` checks that all of these panels are there.
        unsafe {
            let of = |line: *mut f32| &mut *line.cast::<[f32; COLUMNS]>();
            let scores = &*scores.add(panel * COLUMNS).cast::<[f32; COLUMNS]>();
            let slopes = of(slopes.add(panel * COLUMNS));
            let in_scores = of(in_scores.byte_add(panel * stride));
            let in_slopes = of(in_slopes.byte_add(panel * stride));
            for i in 0..COLUMNS {
                let p = math::exp2(scores[i] * factor - logarithm);
                let slope = (slopes[i] - mean) * p * scale;
                (in_scores[i], in_slopes[i], slopes[i]) = (p, slope, slope);
            }
        }
    }
}

static POWERS: Powers = compiled_powers;
static SLOPES: Slopes = compiled_slopes;

/// Names in the modules that `build.rs` writes, and places in the table of functions.
pub fn places() -> [(&'static str, usize); 2] {
    [("powers", POWERS as usize), ("slopes", SLOPES as usize)]
}

/// Each x of the line to `2^((x - most) * scale)`; the sum of those.
pub fn powers(line: &mut [f32], most: f32, scale: f32) -> f32 {
    let (whole, rest) = line.split_at_mut(line.len() / LANES * LANES);
    // Hidden from the optimiser, which would call the function that stands here now.
    let sum = black_box(POWERS)(whole.as_mut_ptr(), whole.len() / LANES, most, scale);
    sum + math::sum_changed(rest, |x| math::exp2((x - most) * scale))
}

/// A line of scores and what its gradients are computed with.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// What scores are multiplied by, for powers of two.
    pub factor: f32,
    /// Of the sum of powers, of base 2.
    pub logarithm: f32,
    /// `sum(g * output)` over the head.
    pub mean: f32,
    /// What slopes are multiplied by.
    pub scale: f32,
}

/// Probabilities and slopes of one line, whole panels long, and both packed: a panel's part of this
/// line at `first`, and `stride` elements on that of the next panel.
pub fn slopes(
    line: Line,
    scores: &[f32],
    slopes: &mut [f32],
    packed: &mut [&mut [f32]; 2],
    [first, stride]: [usize; 2],
) {
    let panels = scores.len() / COLUMNS;
    if panels == 0 {
        return;
    }
    let last = first + (panels - 1) * stride + COLUMNS;
    assert!(slopes.len() >= panels * COLUMNS && packed.iter().all(|packed| packed.len() >= last));
    let [in_scores, in_slopes] = packed.each_mut().map(|packed| packed[first..].as_mut_ptr());
    let (bytes, Line { factor, logarithm, mean, scale }) = (stride * size_of::<f32>(), line);
    black_box(SLOPES)(
        scores.as_ptr(),
        slopes.as_mut_ptr(),
        in_scores,
        in_slopes,
        panels,
        bytes,
        factor,
        logarithm,
        mean,
        scale,
    );
}

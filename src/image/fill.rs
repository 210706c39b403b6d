//! Colours for what is to be painted anew, out of what lies around it. Source: A1111,
//! `modules/masking.py`, `fill`; the blur is Pillow's Gaussian (`src/libImaging/BoxBlur.c`): three box
//! blurs whose width may be a fraction.

use super::Rgb;
use super::mask::Mask;

/// Radii, and how often each result is laid over the ones before.
const LAYERS: [(f64, usize); 6] = [(256.0, 1), (64.0, 1), (16.0, 2), (4.0, 4), (2.0, 2), (0.0, 1)];
const PASSES: usize = 3;

/// The picture, where the mask is black; elsewhere ever wider means of that.
pub fn filled(picture: &Rgb, mask: &Mask) -> Rgb {
    let size = [picture.width, picture.height];
    // Four planes: colours times alpha, and alpha.
    let alpha: Vec<f64> = mask.bytes.iter().map(|byte| 1.0 - f64::from(*byte) / 255.0).collect();
    let colour = |i: usize| -> Vec<f64> {
        let values = picture.bytes.iter().skip(i).step_by(3);
        values.zip(&alpha).map(|(byte, alpha)| f64::from(*byte) * alpha).collect()
    };
    let planes = [colour(0), colour(1), colour(2), alpha.clone()];
    let mut result = planes.clone().map(|plane| vec![0.0; plane.len()]);
    for (radius, times) in LAYERS {
        let layer = planes.clone().map(|plane| blurred(plane, size, radius));
        for _ in 0..times {
            for at in 0..alpha.len() {
                let rest = 1.0 - layer[3][at];
                for (below, above) in result.iter_mut().zip(&layer) {
                    below[at] = above[at] + below[at] * rest;
                }
            }
        }
    }
    let pixel = |at: usize| {
        let alpha = result[3][at].max(1e-9);
        [0, 1, 2].map(|i| (result[i][at] / alpha).round_ties_even().clamp(0.0, 255.0) as u8)
    };
    Rgb { bytes: (0..alpha.len()).flat_map(pixel).collect(), ..*picture }
}

fn blurred(plane: Vec<f64>, [width, height]: [usize; 2], deviation: f64) -> Vec<f64> {
    if deviation == 0.0 {
        return plane;
    }
    let radius = box_radius(deviation);
    let mut plane = plane;
    for _ in 0..PASSES {
        for row in plane.chunks_exact_mut(width) {
            boxed(row, radius);
        }
    }
    let mut column = vec![0.0; height];
    for x in 0..width {
        for (y, value) in column.iter_mut().enumerate() {
            *value = plane[y * width + x];
        }
        for _ in 0..PASSES {
            boxed(&mut column, radius);
        }
        for (y, value) in column.iter().enumerate() {
            plane[y * width + x] = *value;
        }
    }
    plane
}

/// The radius of a box of which three make a Gaussian of this deviation.
fn box_radius(deviation: f64) -> f64 {
    let variance = deviation * deviation / PASSES as f64;
    let length = (12.0 * variance + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let rest = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    whole + rest
}

/// The mean of each place's neighbours up to `radius` away; those at its ends count by its fraction.
/// Past an edge lies the edge.
fn boxed(line: &mut [f64], radius: f64) {
    let whole = radius.floor() as isize;
    let (rest, width) = (radius - radius.floor(), 2.0 * radius + 1.0);
    let last = line.len() as isize - 1;
    let mut sums = Vec::with_capacity(line.len() + 1);
    sums.push(0.0);
    for value in line.iter() {
        sums.push(sums[sums.len() - 1] + value);
    }
    let [first_value, last_value] = [line[0], line[line.len() - 1]];
    // Of the places from `a` to `b`, which may lie past the edges.
    let sum = |a: isize, b: isize| {
        let inside = sums[(b.clamp(-1, last) + 1) as usize] - sums[a.clamp(0, last + 1) as usize];
        let [before, after] =
            [(-a).max(0) - (-b - 1).max(0), (b - last).max(0) - (a - last - 1).max(0)];
        inside + before as f64 * first_value + after as f64 * last_value
    };
    let mixed: Vec<f64> = (0..=last)
        .map(|at| {
            let (a, b) = (at - whole, at + whole);
            (sum(a, b) + rest * (sum(a - 1, a - 1) + sum(b + 1, b + 1))) / width
        })
        .collect();
    line.copy_from_slice(&mixed);
}

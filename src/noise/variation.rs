//! Noise between two seeds: A1111's variation seed (`modules/rng.py`, `slerp`).

/// Above this the two are taken to be the same.
const ALIKE: f64 = 0.9995;

/// Noise `[channels, height, width]` on the way from one to the other, `strength` from 0 to 1: along the great
/// circle, each column of each channel by itself.
pub fn varied(from: &[f32], to: &[f32], [height, width]: [usize; 2], strength: f32) -> Vec<f32> {
    let pixels = (height * width).max(1);
    let columns = from.len() / pixels * width;
    let place = |column: usize, row: usize| column / width * pixels + row * width + column % width;
    let norm = |values: &[f32], column: usize| {
        let squares = (0..height).map(|row| f64::from(values[place(column, row)]).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let cosine = |column: usize| {
        let both = |row: usize| {
            let at = place(column, row);
            f64::from(from[at]) * f64::from(to[at])
        };
        let product = norm(from, column) * norm(to, column);
        (0..height).map(both).sum::<f64>() / product
    };
    let cosines: Vec<f64> = (0..columns).map(cosine).collect();
    let strength = f64::from(strength);
    let alike = cosines.iter().sum::<f64>() / columns.max(1) as f64 > ALIKE;
    let mut mixed = vec![0.0; from.len()];
    for (column, cosine) in cosines.iter().enumerate() {
        let angle = cosine.acos();
        let shares = match alike {
            // The other way round, as it is there; both are all but the same.
            true => [strength, 1.0 - strength],
            false => [(1.0 - strength) * angle, strength * angle].map(|a| a.sin() / angle.sin()),
        };
        for row in 0..height {
            let at = place(column, row);
            mixed[at] = (shares[0] * f64::from(from[at]) + shares[1] * f64::from(to[at])) as f32;
        }
    }
    mixed
}

//! Which training picture a picture looks like.

use super::dataset::Dataset;
use super::picture::Role;

impl Dataset {
    /// The training picture whose latents are nearest to these of this shape `[4, h, w]`, and the
    /// cosine between the two: close to 1, the picture is a copy. A picture of another shape isn't
    /// compared, also where it has as many numbers.
    pub fn nearest(&self, latents: &[f32], shape: [usize; 3]) -> Option<(&str, f64)> {
        let cosine = |other: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            dot(latents, other) / (dot(latents, latents) * dot(other, other)).sqrt().max(1e-12)
        };
        let train = self.of(Role::Train).into_iter();
        let alike = train.filter(|example| example.latents.shape == shape);
        let each = alike.map(|example| (example.name.as_str(), cosine(&example.latents.mean)));
        each.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

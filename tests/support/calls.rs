//! A schedule's calls on numbers, as `Call` documents them.

use lorakeet::schedulers::{Call, Mix};

/// What a sampler remembers, one number of a tensor. `round` is the arithmetic: f64, or rounding to
/// f32 after each operation.
#[derive(Clone)]
pub struct State {
    pub sample: f64,
    anchor: f64,
    kept: Vec<f64>,
    round: fn(f64) -> f64,
}

impl State {
    pub fn new(sample: f64, round: fn(f64) -> f64) -> Self {
        Self { sample: round(sample), anchor: f64::NAN, kept: Vec::new(), round }
    }

    fn sum(&self, terms: &[(f64, f64)]) -> f64 {
        // A term that isn't needed may be anything.
        let used = terms.iter().filter(|(factor, _)| *factor != 0.0);
        let round = self.round;
        used.fold(0.0, |sum, (factor, x)| round(sum + round(round(*factor) * x)))
    }

    fn mix(&self, mix: &Mix, model: f64, x0: f64, noise: f64) -> f64 {
        let mut terms = vec![(mix.sample, self.sample), (mix.model, model), (mix.x0, x0)];
        terms.extend([(mix.anchor, self.anchor), (mix.noise, noise)]);
        let kept = |i: usize| self.kept.get(i).copied().unwrap_or(f64::NAN);
        terms.extend(mix.kept.iter().enumerate().map(|(i, &factor)| (factor, kept(i))));
        self.sum(&terms)
    }

    /// Applies a call as its documentation says.
    pub fn apply(&mut self, call: &Call, model: f64, noise: f64) {
        let x0 = self.sum(&[(call.x0_from_sample, self.sample), (call.x0_from_model, model)]);
        let x0 = call.clip.map_or(x0, |range| x0.clamp(-range, range));
        let mix = |mix: &Mix| self.mix(mix, model, x0, noise);
        let (next, anchor, keep) =
            (mix(&call.next), call.anchor.as_ref().map(mix), call.keep.as_ref().map(mix));
        self.sample = next;
        self.anchor = anchor.unwrap_or(self.anchor);
        self.kept.drain(..call.drops);
        self.kept.splice(..0, keep);
        self.kept.truncate(Mix::HISTORY);
    }
}

/// Whatever calls read has been written before, and only the next sample takes noise.
pub fn use_what_is_there(name: &str, calls: &[Call]) {
    let (mut anchor, mut kept) = (false, 0);
    for call in calls {
        for mix in [Some(call.next), call.anchor, call.keep].into_iter().flatten() {
            assert!(mix.anchor == 0.0 || anchor, "{name}: {call:?}");
            assert!(mix.kept[kept..].iter().all(|&factor| factor == 0.0), "{name}: {call:?}");
        }
        let others = [call.anchor, call.keep].into_iter().flatten();
        assert!(others.into_iter().all(|mix| mix.noise == 0.0), "{name}: {call:?}");
        assert!(call.drops <= kept, "{name}: {call:?}");
        anchor |= call.anchor.is_some();
        kept = (kept - call.drops + usize::from(call.keep.is_some())).min(Mix::HISTORY);
    }
    assert!(calls.last().unwrap().ends_step, "{name}");
}

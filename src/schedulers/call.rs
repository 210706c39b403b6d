//! One call of the model and what follows from it, as linear maps.

use std::ops::{Add, Mul};

use super::defaults::Prediction;

/// A linear combination of what a call has at hand. A term whose coefficient is 0 is not needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Per sample, as the call got it.
    pub sample: f64,
    /// Per UNet output.
    pub model: f64,
    /// Per `x0`.
    pub x0: f64,
    /// Per anchor.
    pub anchor: f64,
    /// Per kept value, the newest first.
    pub kept: [f64; Mix::HISTORY],
    /// Per fresh, unit normal noise; 0 where the sampler draws none.
    pub noise: f64,
}

impl Mix {
    /// The most values that are kept.
    pub const HISTORY: usize = 4;

    pub(super) const ZERO: Self = Self {
        sample: 0.0,
        model: 0.0,
        x0: 0.0,
        anchor: 0.0,
        kept: [0.0; Self::HISTORY],
        noise: 0.0,
    };
    pub(super) const SAMPLE: Self = Self { sample: 1.0, ..Self::ZERO };
    pub(super) const MODEL: Self = Self { model: 1.0, ..Self::ZERO };
    pub(super) const X0: Self = Self { x0: 1.0, ..Self::ZERO };
    pub(super) const ANCHOR: Self = Self { anchor: 1.0, ..Self::ZERO };
    pub(super) const NOISE: Self = Self { noise: 1.0, ..Self::ZERO };

    /// The value kept `back` calls before the newest.
    pub(super) const fn kept(back: usize) -> Self {
        let mut kept = [0.0; Self::HISTORY];
        kept[back] = 1.0;
        Self { kept, ..Self::ZERO }
    }

    fn is_finite(&self) -> bool {
        [self.sample, self.model, self.x0, self.anchor, self.noise]
            .iter()
            .chain(&self.kept)
            .all(|x| x.is_finite())
    }
}

impl Add for Mix {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sample: self.sample + other.sample,
            model: self.model + other.model,
            x0: self.x0 + other.x0,
            anchor: self.anchor + other.anchor,
            kept: std::array::from_fn(|i| self.kept[i] + other.kept[i]),
            noise: self.noise + other.noise,
        }
    }
}

impl Mul<f64> for Mix {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            sample: self.sample * factor,
            model: self.model * factor,
            x0: self.x0 * factor,
            anchor: self.anchor * factor,
            kept: self.kept.map(|x| x * factor),
            noise: self.noise * factor,
        }
    }
}

/// One model call of a run, for any tensor shape:
///
/// ```text
/// model  = UNet(sample * input_scale, timestep)
/// x0     = sample * x0_from_sample + model * x0_from_model       (clamped to ±clip, if any)
/// sample = next  of sample, model, x0, anchor, kept, noise
/// anchor = anchor of the same, or as it was
/// kept   = without its `drops` newest, then keep of the same in front; or as it was
/// ```
///
/// Everything on the right is from before the call. `x0` is the model's guess of the finished
/// latents, good for a preview. The anchor is a sample that later calls start from: the one in
/// which a step of two calls began, or a corrected one. What is kept are earlier `x0`, slopes or
/// model outputs, as the sampler wants them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// What the UNet gets as its timestep.
    pub timestep: f64,
    /// Factor on the sample before it goes into the UNet.
    pub input_scale: f64,
    /// What of `x0` the sample has, as the call gets it: it is `signal * x0 + spread * noise`.
    pub signal: f64,
    /// What of unit normal noise it has.
    pub spread: f64,
    /// `x0` per sample.
    pub x0_from_sample: f64,
    /// `x0` per UNet output.
    pub x0_from_model: f64,
    /// Clamp `x0` to this range either side of 0.
    pub clip: Option<f64>,
    /// The next sample.
    pub next: Mix,
    /// The new anchor.
    pub anchor: Option<Mix>,
    /// How many of the newest kept values go.
    pub drops: usize,
    /// What is kept then.
    pub keep: Option<Mix>,
    /// Whether one of the steps that a person asked for ends here.
    pub ends_step: bool,
    /// Where the sampler solves a stochastic equation: the levels, from one down to the other, between
    /// which the noise acts.
    pub between: Option<[f64; 2]>,
}

impl Call {
    /// A call at `timestep` whose `x0` is what the prediction type says for a variance-preserving
    /// sample `signal * x0 + spread * noise`; it leaves the sample as it is.
    pub(super) fn variance_preserving(
        timestep: f64,
        prediction: Prediction,
        signal: f64,
        spread: f64,
    ) -> Self {
        let (x0_from_sample, x0_from_model) = match prediction {
            Prediction::Epsilon => (1.0 / signal, -spread / signal),
            Prediction::Velocity => (signal, -spread),
            Prediction::Sample => (0.0, 1.0),
        };
        Self {
            timestep,
            input_scale: 1.0,
            signal,
            spread,
            x0_from_sample,
            x0_from_model,
            clip: None,
            next: Mix::SAMPLE,
            anchor: None,
            drops: 0,
            keep: None,
            ends_step: true,
            between: None,
        }
    }

    /// The same for a sample `x0 + sigma * noise`, which the UNet gets scaled.
    pub(super) fn variance_exploding(timestep: f64, prediction: Prediction, sigma: f64) -> Self {
        let variance = sigma * sigma + 1.0;
        let (x0_from_sample, x0_from_model) = match prediction {
            Prediction::Epsilon => (1.0, -sigma),
            Prediction::Velocity => (1.0 / variance, -sigma / variance.sqrt()),
            Prediction::Sample => (0.0, 1.0),
        };
        Self {
            input_scale: 1.0 / variance.sqrt(),
            x0_from_sample,
            x0_from_model,
            ..Self::variance_preserving(timestep, prediction, 1.0, sigma)
        }
    }

    pub(super) fn is_finite(&self) -> bool {
        let numbers = [self.timestep, self.input_scale, self.x0_from_sample, self.x0_from_model];
        let mixes = [Some(self.next), self.anchor, self.keep];
        numbers.iter().all(|x| x.is_finite()) && mixes.iter().flatten().all(Mix::is_finite)
    }
}

/// The noise in a variance-preserving sample as the model sees it, from the unclamped `x0`.
pub(super) fn noise_seen(prediction: Prediction, signal: f64, spread: f64) -> Mix {
    match prediction {
        Prediction::Epsilon => Mix::MODEL,
        Prediction::Velocity => Mix::SAMPLE * spread + Mix::MODEL * signal,
        Prediction::Sample => Mix::SAMPLE * (1.0 / spread) + Mix::MODEL * (-signal / spread),
    }
}

/// The slope `(sample - x0) / sigma` at noise level `sigma` of a variance-exploding sample.
pub(super) fn slope(prediction: Prediction, sigma: f64, clip: Option<f64>) -> Mix {
    match prediction {
        // The model's output itself.
        Prediction::Epsilon if clip.is_none() => Mix::MODEL,
        _ => Mix::SAMPLE * (1.0 / sigma) + Mix::X0 * (-1.0 / sigma),
    }
}

/// Which steps are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Of all of them, by which the levels are laid out.
    pub steps: usize,
    /// The first that is made: there is nothing before it that a sampler could remember.
    pub begin: usize,
}

impl Run {
    /// Leaves what the run makes of a list with one entry a step; the last one at least.
    pub fn cut<T>(self, list: &mut Vec<T>) {
        list.drain(..self.begin.min(list.len().saturating_sub(1)));
    }
}

/// What a kind makes of a config and a run.
pub(super) struct Plan {
    pub init_noise_sigma: f64,
    pub calls: Vec<Call>,
}

//! The loss' numbers: what noise and picture are mixed to, what the model shall predict, and how much
//! a timestep counts (training.md, B.1 and B.2). No tensors.

use crate::error::{Error, Result};
use crate::schedulers::{NoiseSchedule, SchedulerConfig, SchedulerKind};

pub use crate::training::settings::choices::Weighting;

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// `v = sqrt(abar) eps - sqrt(1 - abar) x0`.
    Velocity,
}

/// kohya's limit of the SNR in [`Weighting::Debiased`].
const DEBIASED_SNR_LIMIT: f64 = 1000.0;

/// The forward process of a model in training, and what the model predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Diffusion {
    schedule: NoiseSchedule,
    prediction: Prediction,
}

impl Diffusion {
    /// The forward process that a model's `scheduler_config.json` describes, as diffusers'
    /// `DDPMScheduler` reads it.
    ///
    /// # Errors
    /// A field of the config with a value that can't be trained on, by name: sample prediction, or
    /// epsilon prediction where the last timestep has no signal.
    pub fn new(config: &SchedulerConfig) -> Result<Self> {
        let schedule = NoiseSchedule::new(SchedulerKind::Ddpm, config)?;
        let unsupported = |problem: String, remedy: &str| {
            Err(Error::key("scheduler_config.json", "prediction_type", problem, remedy))
        };
        let prediction = match config.prediction_type.as_deref() {
            None | Some("epsilon") => Prediction::Epsilon,
            Some("v_prediction") => Prediction::Velocity,
            Some(other) => {
                return unsupported(
                    format!("`{other}` can't be trained"),
                    "Use a model with prediction_type epsilon or v_prediction",
                );
            }
        };
        let has_signal = schedule.alphas_cumprod.iter().all(|&abar| abar > 0.0);
        if prediction == Prediction::Epsilon && !has_signal {
            return unsupported(
                "epsilon, but at the last timestep there is nothing but noise".to_string(),
                "Set prediction_type to v_prediction or rescale_betas_zero_snr to false, whichever \
                 the model was trained with",
            );
        }
        Ok(Self { schedule, prediction })
    }

    /// What the model predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// `abar_t` of every training timestep.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.schedule.alphas_cumprod
    }

    /// How many timesteps there are, 1000 in Stable Diffusion.
    pub fn timesteps(&self) -> usize {
        self.schedule.alphas_cumprod.len()
    }

    /// `(sqrt(abar_t), sqrt(1 - abar_t))`: the noisy latents are the first times x0 plus the second
    /// times the noise.
    ///
    /// # Errors
    /// `t` past the last training timestep; so with all that follow.
    pub fn noising(&self, t: usize) -> Result<(f64, f64)> {
        self.schedule.add_noise(t)
    }

    /// The target as `(per x0, per noise)`: `(0, 1)`, or those of v.
    ///
    /// # Errors
    /// See [`Self::noising`].
    pub fn target(&self, t: usize) -> Result<(f64, f64)> {
        let (signal, noise) = self.noising(t)?;
        Ok(match self.prediction {
            Prediction::Epsilon => (0.0, 1.0),
            Prediction::Velocity => (-noise, signal),
        })
    }

    /// The model's guess of x0 as `(per noisy latents, per prediction)`: a preview for nothing at
    /// every step.
    ///
    /// # Errors
    /// See [`Self::noising`].
    pub fn denoised(&self, t: usize) -> Result<(f64, f64)> {
        let (signal, noise) = self.noising(t)?;
        Ok(match self.prediction {
            Prediction::Epsilon => (1.0 / signal, -noise / signal),
            Prediction::Velocity => (signal, -noise),
        })
    }

    /// The signal-to-noise ratio `abar_t / (1 - abar_t)`.
    ///
    /// # Errors
    /// See [`Self::noising`].
    pub fn snr(&self, t: usize) -> Result<f64> {
        self.schedule.snr(t)
    }

    /// The factor on the mean squared error at timestep `t`:
    ///
    /// ```text
    ///            epsilon                       v
    /// min-SNR    min(SNR, g) / SNR             min(SNR, g) / (SNR + 1)
    /// debiased   1 / sqrt(min(SNR, 1000))      1 / (min(SNR, 1000) + 1)
    /// ```
    ///
    /// # Errors
    /// See [`Self::noising`].
    pub fn weight(&self, t: usize, weighting: Weighting) -> Result<f64> {
        let snr = self.snr(t)?;
        let limited = snr.min(DEBIASED_SNR_LIMIT);
        Ok(match (weighting, self.prediction) {
            (Weighting::None, _) => 1.0,
            (Weighting::MinSnr { gamma }, Prediction::Epsilon) => (gamma / snr).min(1.0),
            (Weighting::MinSnr { gamma }, Prediction::Velocity) => snr.min(gamma) / (snr + 1.0),
            (Weighting::Debiased, Prediction::Epsilon) => 1.0 / limited.sqrt(),
            (Weighting::Debiased, Prediction::Velocity) => 1.0 / (limited + 1.0),
        })
    }

    /// The width of the Huber loss' quadratic part at timestep `t`, kohya's `huber_schedule snr`:
    /// `(1 - c) / (1 + sigma)^2 + c` with `sigma = sqrt((1 - abar) / abar)`. `c` is 0.1 as a rule.
    ///
    /// # Errors
    /// See [`Self::noising`].
    pub fn huber_delta(&self, t: usize, c: f64) -> Result<f64> {
        let (signal, noise) = self.noising(t)?;
        Ok((1.0 - c) / (1.0 + noise / signal).powi(2) + c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stable Diffusion's betas.
    fn config(prediction: &str) -> SchedulerConfig {
        SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some("scaled_linear".into()),
            prediction_type: Some(prediction.into()),
            ..SchedulerConfig::default()
        }
    }

    fn diffusion(prediction: &str) -> Diffusion {
        Diffusion::new(&config(prediction)).unwrap()
    }

    /// Relative to the tables of training.md, whose f64 our f32 tables meet to 6 digits.
    fn close(got: f64, want: f64, digits: i32) {
        assert!((got / want - 1.0).abs() < 10f64.powi(-digits), "{got} {want}");
    }

    #[test]
    fn golden_values_of_the_noise_schedule() {
        let diffusion = diffusion("epsilon");
        assert_eq!(diffusion.timesteps(), 1000);
        for (t, abar) in [
            (0, 0.999_150_000),
            (1, 0.998_296_028),
            (50, 0.951_576_903),
            (100, 0.894_223_478),
            (125, 0.862_079_894),
            (200, 0.753_692_045),
            (250, 0.673_792_625),
            (375, 0.465_067_342),
            (400, 0.424_483_024),
            (500, 0.276_332_684),
            (600, 0.160_782_571),
            (800, 0.036_869_617),
            (999, 0.004_660_099),
        ] {
            close(diffusion.alphas_cumprod()[t], abar, 5);
            let (signal, noise) = diffusion.noising(t).unwrap();
            close(signal * signal, abar, 5);
            close(signal * signal + noise * noise, 1.0, 12);
        }
        for (t, snr) in [
            (0, 1175.47),
            (100, 8.45389),
            (200, 3.05996),
            (400, 0.737_568),
            (600, 0.191_586),
            (800, 0.038_281_0),
            (999, 0.004_681_92),
        ] {
            close(diffusion.snr(t).unwrap(), snr, 4);
        }
        assert!(diffusion.noising(1000).is_err() && diffusion.snr(1000).is_err());
    }

    #[test]
    fn golden_weights() {
        let epsilon = diffusion("epsilon");
        let five = Weighting::MinSnr { gamma: 5.0 };
        for (t, weight) in [(0, 0.00425), (50, 0.25444), (100, 0.59144), (125, 0.79993), (147, 1.0)]
        {
            let got = epsilon.weight(t, five).unwrap();
            assert!((got - weight).abs() < 6e-6, "{t}: {got} {weight}");
        }
        assert!(epsilon.weight(146, five).unwrap() < 1.0);
        let sum: f64 = (0..1000).map(|t| epsilon.weight(t, five).unwrap()).sum();
        assert!((sum / 1000.0 - 0.9166).abs() < 5e-5, "{sum}");

        close(epsilon.weight(0, Weighting::Debiased).unwrap(), 1000f64.powf(-0.5), 12);
        close(epsilon.weight(400, Weighting::Debiased).unwrap(), 0.737_568f64.powf(-0.5), 5);
        let velocity = diffusion("v_prediction");
        close(velocity.weight(400, five).unwrap(), 0.737_568 / 1.737_568, 5);
        close(velocity.weight(100, five).unwrap(), 5.0 / 9.45389, 5);
        close(velocity.weight(400, Weighting::Debiased).unwrap(), 1.0 / 1.737_568, 5);
        assert_eq!(velocity.weight(400, Weighting::None).unwrap(), 1.0);
    }

    #[test]
    fn denoised_undoes_noising_with_the_target() {
        let (x0, eps) = (0.7, -1.3);
        for prediction in ["epsilon", "v_prediction"] {
            let diffusion = diffusion(prediction);
            for t in [0, 500, 999] {
                let (signal, noise) = diffusion.noising(t).unwrap();
                let (of_x0, of_eps) = diffusion.target(t).unwrap();
                let (of_x, of_target) = diffusion.denoised(t).unwrap();
                let x = signal * x0 + noise * eps;
                let target = of_x0 * x0 + of_eps * eps;
                close(of_x * x + of_target * target, x0, 9);
            }
        }
    }

    #[test]
    fn huber_is_wide_where_there_is_little_noise() {
        let diffusion = diffusion("epsilon");
        let sigma = (0.575_516_976f64 / 0.424_483_024).sqrt();
        let want = 0.9 / (1.0 + sigma).powi(2) + 0.1;
        close(diffusion.huber_delta(400, 0.1).unwrap(), want, 5);
        assert!(diffusion.huber_delta(0, 0.1).unwrap() > 0.9);
        assert!(diffusion.huber_delta(999, 0.1).unwrap() < 0.11);
    }

    #[test]
    fn configs_that_can_not_be_trained_are_named() {
        let error = Diffusion::new(&config("sample")).unwrap_err().to_string();
        assert!(error.contains("prediction_type") && error.contains("`sample`"), "{error}");
        let zero_snr = |prediction| SchedulerConfig {
            rescale_betas_zero_snr: Some(true),
            ..config(prediction)
        };
        assert!(Diffusion::new(&zero_snr("epsilon")).is_err());
        let velocity = Diffusion::new(&zero_snr("v_prediction")).unwrap();
        for weighting in [Weighting::MinSnr { gamma: 5.0 }, Weighting::Debiased, Weighting::None] {
            assert!(velocity.weight(999, weighting).unwrap().is_finite());
        }
        assert_eq!(velocity.huber_delta(999, 0.1).unwrap(), 0.1);
    }

    #[test]
    fn serde_names() {
        let parse = serde_json::from_str::<Weighting>;
        let five = Weighting::MinSnr { gamma: 5.0 };
        assert_eq!(parse(r#"{"name": "minSnr", "gamma": 5}"#).unwrap(), five);
        assert_eq!(parse(r#"{"name": "none"}"#).unwrap(), Weighting::None);
        assert!(parse(r#"{"name": "minSnr", "gama": 5}"#).is_err());
    }
}

//! Which optimiser, with its constants: as JSON, `{"name": "adamW", "betas": [0.9, 0.99]}`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An optimiser and its constants; a constant that the JSON leaves out has its default. AdamW's are
/// PyTorch's, the others' what training.md (B.7, B.11) recommends for short runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum OptimizerConfig {
    /// `torch.optim.AdamW`.
    AdamW(AdamW),
    /// Lion with decoupled weight decay (<https://arxiv.org/abs/2302.06675>); wants about a tenth of
    /// AdamW's learning rate.
    Lion(Lion),
    /// Prodigy, which finds the learning rate itself; give it 1.
    Prodigy(Prodigy),
}

/// AdamW's constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AdamW {
    /// Decay of the averages of gradient and squared gradient. (PyTorch's .999 is a plain mean in
    /// 100 steps; .99 made no difference that could be told from a seed's: tuning-sweep.md.)
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-2 }
    }
}

/// Lion's constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Lion {
    /// Weight of the average in the step's direction; decay of the average.
    pub betas: [f64; 2],
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { betas: [0.9, 0.99], weight_decay: 1e-2 }
    }
}

/// Prodigy's constants (`prodigyopt/prodigy.py`, with `decouple=True`, `beta3=None`, `slice_p=1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Prodigy {
    /// Decay of the averages of gradient and squared gradient.
    pub betas: [f64; 2],
    /// Added to the denominator, times d.
    pub eps: f64,
    /// The first guess of the distance d. prodigyopt's 1e-6 takes tens of steps to leave.
    pub d0: f64,
    /// Factor on every later guess.
    pub d_coef: f64,
    /// Decoupled weight decay, per unit of learning rate times d.
    pub weight_decay: f64,
    /// By what factor d may grow in a step; none: by any.
    pub growth_rate: Option<f64>,
    /// Adam's bias correction, as part of the learning rate.
    pub use_bias_correction: bool,
    /// Keeps a warm-up of the learning rate out of the denominator of the guess.
    pub safeguard_warmup: bool,
}

impl Default for Prodigy {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.99],
            eps: 1e-8,
            d0: 1e-5,
            d_coef: 1.0,
            weight_decay: 1e-2,
            growth_rate: None,
            use_bias_correction: true,
            safeguard_warmup: true,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

impl OptimizerConfig {
    /// Whether every constant is in its range.
    ///
    /// # Errors
    /// The first constant that is not, by name.
    pub fn check(&self) -> Result<()> {
        let (betas, weight_decay) = match self {
            Self::AdamW(c) => (c.betas, c.weight_decay),
            Self::Lion(c) => (c.betas, c.weight_decay),
            Self::Prodigy(c) => (c.betas, c.weight_decay),
        };
        for beta in betas {
            within("betas", beta, (0.0..1.0).contains(&beta), "from 0 to below 1")?;
        }
        let fits = weight_decay >= 0.0 && weight_decay.is_finite();
        within("weightDecay", weight_decay, fits, "of 0 or more")?;
        match self {
            Self::AdamW(c) => within("eps", c.eps, is_divisor(c.eps), "of 1e-20 or more")?,
            Self::Lion(_) => {}
            Self::Prodigy(c) => {
                within("eps", c.eps, is_divisor(c.eps), "of 1e-20 or more")?;
                within("d0", c.d0, (1e-12..1e3).contains(&c.d0), "from 1e-12 to 1000")?;
                within("dCoef", c.d_coef, is_divisor(c.d_coef), "above 0")?;
                let growth = c.growth_rate.unwrap_or(f64::INFINITY);
                within("growthRate", growth, growth > 1.0, "above 1")?;
            }
        }
        Ok(())
    }
}

/// Whether it is still above 0 as an f32, times Prodigy's d: 0 / 0 would be a NaN in every
/// parameter without a gradient.
fn is_divisor(x: f64) -> bool {
    x >= 1e-20 && x.is_finite()
}

fn within(name: &str, value: f64, fits: bool, range: &str) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::setting(
        format!("optimizer.{name}"),
        format!("{value} is out of range"),
        format!("Use a number {range}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_defaults_and_unknown_fields() {
        let parse = |json: &str| serde_json::from_str::<OptimizerConfig>(json);
        assert_eq!(parse(r#"{"name": "adamW"}"#).unwrap(), OptimizerConfig::default());
        let prodigy = parse(r#"{"name": "prodigy", "dCoef": 2, "growthRate": 1.5}"#).unwrap();
        let want = Prodigy { d_coef: 2.0, growth_rate: Some(1.5), ..Prodigy::default() };
        assert_eq!(prodigy, OptimizerConfig::Prodigy(want));
        for config in [OptimizerConfig::default(), OptimizerConfig::Lion(Lion::default()), prodigy]
        {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(parse(&json).unwrap(), config, "{json}");
        }
        assert!(parse(r#"{"name": "lion", "eps": 1}"#).is_err());
        assert!(parse(r#"{"name": "adamW", "weight_decay": 1}"#).is_err());
        assert!(parse(r#"{"name": "adam"}"#).is_err());
    }

    #[test]
    fn constants_out_of_range_are_named() {
        let bad = |json: &str| {
            serde_json::from_str::<OptimizerConfig>(json).unwrap().check().unwrap_err().to_string()
        };
        assert!(OptimizerConfig::default().check().is_ok());
        assert!(OptimizerConfig::Prodigy(Prodigy::default()).check().is_ok());
        for (json, name) in [
            (r#"{"name": "adamW", "betas": [0.9, 1.0]}"#, "optimizer.betas"),
            (r#"{"name": "adamW", "eps": 0}"#, "optimizer.eps"),
            (r#"{"name": "lion", "weightDecay": -1}"#, "optimizer.weightDecay"),
            (r#"{"name": "prodigy", "d0": 0}"#, "optimizer.d0"),
            (r#"{"name": "prodigy", "growthRate": 0.5}"#, "optimizer.growthRate"),
        ] {
            assert!(bad(json).starts_with(name), "{}", bad(json));
        }
    }
}

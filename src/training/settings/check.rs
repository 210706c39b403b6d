//! What can't be trained is said before anything is computed.

use super::choices::{Init, Kind, Weighting};
use super::config::Config;
use super::optimizer_config::OptimizerConfig;
use crate::error::{Error, Result};

/// Largest rank, steps, batch and the like: more is a slip of the finger.
const MOST_RANK: usize = 256;
const MOST_STEPS: usize = 100_000;
const MOST_BATCH: usize = 64;

impl Config {
    /// Checks every setting by itself and those that exclude each other.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<()> {
        self.check_ranges()?;
        self.check_factors()?;
        self.optimizer.check()?;
        self.check_sizes()?;
        self.check_kind()?;
        self.check_init()
    }

    /// Whole numbers, shares and amounts.
    fn check_ranges(&self) -> Result<()> {
        let whole = [
            ("rank", self.rank, 1, MOST_RANK),
            ("steps", self.steps, 1, MOST_STEPS),
            ("batch", self.batch, 1, MOST_BATCH),
            ("accumulation", self.accumulation, 1, MOST_BATCH),
        ];
        for (name, value, least, most) in whole {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is not between {least} and {most}");
                return Err(Error::setting(name, problem, "Choose a whole number in that range"));
            }
        }
        let shares = [
            ("captionDropout", self.caption_dropout),
            ("dropout", self.dropout),
            ("rankDropout", self.rank_dropout),
            ("moduleDropout", self.module_dropout),
        ];
        for (name, value) in shares {
            // All captions may be dropped; nothing learns from a layer of which all is dropped.
            let fits = (0.0..1.0).contains(&value) || (name == "captionDropout" && value == 1.0);
            if !fits {
                let problem = format!("{value} is not from 0 to below 1");
                return Err(Error::setting(name, problem, "Choose a share such as 0.1"));
            }
        }
        let amounts = [
            ("noiseOffset", self.noise_offset),
            ("huberC", self.huber_c),
            ("clip", self.clip),
            ("l1", self.l1),
            ("l2", self.l2),
            ("maxNorm", self.max_norm),
            ("prior.weight", self.prior.weight),
        ];
        for (name, value) in amounts {
            if !(value.is_finite() && value >= 0.0) {
                let problem = format!("{value} is not a number of at least 0");
                return Err(Error::setting(name, problem, "Choose 0 to switch it off"));
            }
        }
        Ok(())
    }

    /// What something is multiplied by, and the learning rate.
    fn check_factors(&self) -> Result<()> {
        let gamma = match self.weighting {
            Weighting::MinSnr { gamma } => gamma,
            _ => 1.0,
        };
        let factors = [
            ("alpha", self.alpha, "Choose the rank, or a half of it"),
            // With 0 the up factors, which start at 0, would stay there and nothing would be learned.
            ("loraPlus", self.lora_plus, "Choose 1, or 4 to 16 for LoRA+"),
            ("weighting.gamma", gamma, "Choose 5"),
        ];
        for (name, value, remedy) in factors {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, format!("{value} is not above 0"), remedy));
            }
        }
        if let Some(rate) = self.learning_rate
            && !(rate.is_finite() && rate > 0.0)
        {
            let problem = format!("{rate} is not above 0: nothing could be learned with it");
            let remedy = "Leave it out (null; the page's empty field) to have it chosen by strength, or set \
                      one such as 1e-3, 1 for Prodigy";
            return Err(Error::setting("learningRate", problem, remedy));
        }
        Ok(())
    }

    /// LoRA+ and the sizes of pictures and factors.
    fn check_sizes(&self) -> Result<()> {
        if self.lora_plus != 1.0 && matches!(self.optimizer, OptimizerConfig::Prodigy(_)) {
            return Err(Error::setting(
                "loraPlus",
                "asks for two learning rates where Prodigy finds one",
                "Set it to 1, or use AdamW",
            ));
        }
        if self.lora_plus != 1.0 && matches!(self.kind, Kind::Loha | Kind::Lokr) {
            return Err(Error::setting(
                "loraPlus",
                "is for up factors, which LoHa and LoKr haven't",
                "Set it to 1, or train a LoRA",
            ));
        }
        if let Some(side) = self.resolution
            && (!(64..=2048).contains(&side) || side % 64 != 0)
        {
            let problem = format!("{side} is not a multiple of 64 from 64 to 2048");
            return Err(Error::setting("resolution", problem, "Choose 256, 384 or 512"));
        }
        if self.lokr_factor == Some(0) {
            return Err(Error::setting("lokrFactor", "is 0", "Leave it out, or choose 4 to 16"));
        }
        Ok(())
    }

    /// What only some kinds have.
    fn check_kind(&self) -> Result<()> {
        let activation = self.kind == Kind::Lora;
        if !activation && (self.dropout > 0.0 || self.rank_dropout > 0.0) {
            return Err(Error::setting(
                "dropout",
                "leaves out hidden values, which only LoRA and LoCon have",
                "Set dropout and rankDropout to 0, use moduleDropout, or train a LoRA",
            ));
        }
        if !activation && self.l2 > 0.0 {
            return Err(Error::setting(
                "l2",
                "is that of the product of two factors, which LoRA and LoCon have",
                "Set it to 0, use weight decay, or train a LoRA",
            ));
        }
        if self.max_norm > 0.0 && !matches!(self.kind, Kind::Lora | Kind::Dora) {
            return Err(Error::setting(
                "maxNorm",
                "limits the product of two factors, which this kind hasn't",
                "Set it to 0, or train a LoRA",
            ));
        }
        Ok(())
    }

    /// What a start asks of other settings.
    fn check_init(&self) -> Result<()> {
        if self.init == Init::Orthogonal
            && matches!(self.kind, Kind::Lora | Kind::Dora)
            && !self.rank.is_multiple_of(2)
        {
            return Err(Error::setting(
                "rank",
                format!("{} is odd, and the orthogonal start needs two halves", self.rank),
                "Use an even rank, or the gaussian start",
            ));
        }
        if self.init != Init::Pissa {
            return Ok(());
        }
        if self.kind != Kind::Lora {
            return Err(Error::setting("init", "PiSSA is a start of LoRA alone", "Choose another"));
        }
        if self.dropout > 0.0 || self.rank_dropout > 0.0 {
            return Err(Error::setting(
                "init",
                "PiSSA's factors hold the main part of the weight, and dropout would leave out some of \
                 it and none of the copy that is taken away again",
                "Set dropout and rankDropout to 0, or choose another start",
            ));
        }
        if self.l1 > 0.0 || self.l2 > 0.0 || self.max_norm > 0.0 {
            return Err(Error::setting(
                "init",
                "with PiSSA the factors' product is not what is added to the weight, so l1, l2 and \
                 maxNorm would pull at the wrong thing",
                "Set them to 0, or choose another start",
            ));
        }
        Ok(())
    }
}

//! The members of the Stable Diffusion 1, 2 and XL family, and what follows from being one. Which one a
//! model is, [`super::clues`] decides.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The generation, which decides on the text encoder and on the UNet's heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// OpenAI's CLIP ViT-L, 768 wide.
    Sd1,
    /// OpenCLIP ViT-H, 1024 wide, read one layer before its last.
    Sd2,
    /// Both OpenAI's CLIP ViT-L and OpenCLIP's ViT-bigG, 768 and 1280 wide, each read one layer before its
    /// last, and the second one's pooled vector.
    Sdxl,
}

/// What the UNet's output stands for (diffusers' `prediction_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity, a mix of noise and picture.
    VPrediction,
    /// The picture.
    Sample,
}

impl Prediction {
    /// diffusers' word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::VPrediction => "v_prediction",
            Self::Sample => "sample",
        }
    }

    /// From diffusers' word, or from one of those that other tools write.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "epsilon" | "eps" => Self::Epsilon,
            "v" | "v_prediction" | "v-prediction" | "vpred" => Self::VPrediction,
            "sample" | "x0" => Self::Sample,
            _ => return None,
        })
    }
}

/// What the UNet's input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Latents alone.
    TextToImage,
    /// Latents, a mask and the masked picture's latents.
    Inpainting,
}

/// A model that was distilled to need few steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FewSteps {
    /// SD-Turbo, SDXL-Turbo: one to four steps, no guidance.
    Turbo,
    /// SDXL-Lightning: exactly the steps that its name says, no guidance.
    Lightning,
    /// A latent consistency model that has the guidance as an input.
    Lcm,
    /// A checkpoint into which such a model was merged: little guidance, and no input for it.
    LcmMerge,
}

/// Settings to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Defaults {
    /// Denoising steps.
    pub steps: usize,
    /// Guidance; 1 means none.
    pub guidance: f64,
}

/// What a person chose in place of what the files say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Overrides {
    /// What the UNet predicts.
    pub prediction: Option<Prediction>,
    /// Pixels, width and height of the pictures that the model was trained on.
    pub size: Option<usize>,
    /// Whether its noise schedule ends in noise alone.
    pub zero_terminal_snr: Option<bool>,
}

/// A model's place in the family.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Family {
    /// Its name for people, such as "Stable Diffusion 2.x, 768-v".
    pub label: String,
    /// The generation.
    pub base: Base,
    /// What the UNet's input holds.
    pub task: Task,
    /// What the UNet predicts.
    pub prediction: Prediction,
    /// Pixels, width and height of the pictures that it was trained on.
    pub size: usize,
    /// Whether its noise schedule ends in noise alone.
    pub zero_terminal_snr: bool,
    /// Whether it needs few steps.
    pub few_steps: Option<FewSteps>,
    /// Whether it has fewer blocks than Stable Diffusion (BK-SDM and other distilled UNets).
    pub compact: bool,
    /// Settings to begin with, where they differ from everybody's.
    pub defaults: Option<Defaults>,
    /// Why it is taken for that, one clause each.
    pub evidence: Vec<String>,
    /// What is uncertain or contradicts itself, as sentences.
    pub notes: Vec<String>,
}

impl Family {
    pub(super) fn to_label(&self) -> String {
        let v = self.prediction == Prediction::VPrediction;
        let xl = self.base == Base::Sdxl;
        let mut label = match (self.base, self.few_steps) {
            (Base::Sd2, Some(FewSteps::Turbo)) => "SD-Turbo".to_string(),
            (Base::Sdxl, Some(FewSteps::Turbo)) => "SDXL-Turbo".to_string(),
            (Base::Sdxl, Some(FewSteps::Lightning)) => "SDXL-Lightning".to_string(),
            (Base::Sdxl, _) => {
                format!("Stable Diffusion XL{}", if v { ", v-prediction" } else { "" })
            }
            (Base::Sd1, _) => {
                format!("Stable Diffusion 1.x{}", if v { ", v-prediction" } else { "" })
            }
            (Base::Sd2, _) if v && self.size == 768 => "Stable Diffusion 2.x, 768-v".into(),
            (Base::Sd2, _) if v => "Stable Diffusion 2.x, v-prediction".into(),
            (Base::Sd2, _) => "Stable Diffusion 2.x, base".into(),
        };
        for (applies, what) in [
            (self.task == Task::Inpainting, ", inpainting"),
            (self.compact && !xl, ", distilled to fewer blocks (as BK-SDM)"),
            (self.compact && xl, ", distilled to fewer blocks (as SSD-1B)"),
            (matches!(self.few_steps, Some(FewSteps::Lcm | FewSteps::LcmMerge)), ", LCM"),
            (self.zero_terminal_snr, ", zero terminal SNR"),
        ] {
            if applies {
                label.push_str(what);
            }
        }
        label
    }

    /// The token that fills a prompt up, for the first text encoder. SD 2's is number 0, as its training had it
    /// (`open_clip/tokenizer.py`); SD 1's the end token.
    pub fn pad_token(&self) -> &'static str {
        match self.base {
            Base::Sd1 | Base::Sdxl => "<|endoftext|>",
            Base::Sd2 => "!",
        }
    }

    /// `scheduler_config.json` for a file that brings none: that of the official folder of this
    /// family, which is also what diffusers' `from_single_file` takes. Only SDXL's and those of distilled
    /// models name a `timestep_spacing`; elsewhere each scheduler has its own default.
    pub fn scheduler_config(&self) -> Value {
        let class = match (self.few_steps, self.base) {
            (Some(FewSteps::Turbo), Base::Sdxl) => "EulerAncestralDiscreteScheduler",
            (Some(FewSteps::Turbo | FewSteps::Lightning), _) => "EulerDiscreteScheduler",
            (Some(FewSteps::Lcm | FewSteps::LcmMerge), _) => "LCMScheduler",
            (None, Base::Sdxl) => "EulerDiscreteScheduler",
            _ if self.zero_terminal_snr || self.task == Task::Inpainting => "DDIMScheduler",
            (None, Base::Sd2) if self.prediction == Prediction::VPrediction => "DDIMScheduler",
            _ => "PNDMScheduler",
        };
        let mut config = json!({
            "_class_name": class,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": false,
            "num_train_timesteps": 1000,
            "set_alpha_to_one": false,
            "skip_prk_steps": true,
            "steps_offset": 1,
            "trained_betas": null,
        });
        match (self.few_steps, self.base) {
            (Some(FewSteps::Turbo | FewSteps::Lightning), _) => {
                config["timestep_spacing"] = "trailing".into();
            }
            (None, Base::Sdxl) => config["timestep_spacing"] = "leading".into(),
            _ => {}
        }
        self.correct(&mut config);
        config
    }

    /// Writes what was decided into a `scheduler_config.json`. Zero terminal SNR takes the last
    /// timestep, which only the spacing `trailing` begins with
    /// (<https://arxiv.org/abs/2305.08891>, section 3.3).
    pub fn correct(&self, scheduler_config: &mut Value) {
        scheduler_config["prediction_type"] = self.prediction.name().into();
        let was = scheduler_config["rescale_betas_zero_snr"] == true;
        if self.zero_terminal_snr != was {
            scheduler_config["rescale_betas_zero_snr"] = self.zero_terminal_snr.into();
            if self.zero_terminal_snr {
                scheduler_config["timestep_spacing"] = "trailing".into();
            }
        }
    }
}

//! What a kind takes for granted where the config says nothing, and the words that it knows.

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Prediction {
    Epsilon,
    Velocity,
    Sample,
}

/// How the timesteps lie in the training range (table 2 of <https://arxiv.org/abs/2305.08891>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Spacing {
    Leading,
    Trailing,
    Linspace,
}

/// How betas grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BetaSchedule {
    Linear,
    ScaledLinear,
    SquaredcosCapV2,
}

/// The defaults of one kind: the `__init__` of its `scheduling_*.py`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub spacing: Spacing,
    /// The samplers that work with noise levels replace a final alpha product of 0 by 2^-24, so
    /// that the level is finite.
    pub finite_sigmas: bool,
    /// Whether the kind knows `prediction_type: sample`.
    pub predicts_sample: bool,
}

impl Defaults {
    /// Kinds that work with alpha products, as DDIM does.
    pub const PRODUCTS: Self = Self {
        beta_start: 0.0001,
        beta_end: 0.02,
        beta_schedule: BetaSchedule::Linear,
        spacing: Spacing::Leading,
        finite_sigmas: false,
        predicts_sample: true,
    };

    /// Kinds that work with noise levels, as Euler does.
    pub const LEVELS: Self =
        Self { spacing: Spacing::Linspace, finite_sigmas: true, ..Self::PRODUCTS };
}

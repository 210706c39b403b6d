//! Noise levels as other programs lay them out, by A1111's names ("schedule type").

use std::fmt;
use std::str::FromStr;

use super::config::unsupported;
use super::noise_schedule::NoiseSchedule;
use super::sigmas::Layout;
use super::{SchedulerConfig, SchedulerKind, too_many};
use crate::error::{Error, Result};

/// How the noise levels of a run lie, beside a model's own spacing of timesteps: A1111's
/// `modules/sd_schedulers.py`. Timesteps follow from the levels and may be fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Levels {
    /// What A1111 takes for the sampler.
    Automatic,
    /// Even timesteps from the last to the first.
    Uniform,
    /// Karras et al.: <https://arxiv.org/abs/2206.00364>, equation 5, rho 7.
    Karras,
    /// Even logarithms.
    Exponential,
    /// k-diffusion's, with rho 1: the same as exponential.
    Polyexponential,
    /// Even timesteps without the first: from the last one down by a step's share each.
    SgmUniform,
    /// Even in the angle whose tangent is the level: <https://openreview.net/pdf?id=nBGBzV4It3>. It ends
    /// at the lowest level instead of 0.
    KlOptimal,
    /// Ten steps that were searched for with Stable Diffusion 1, and between them for other counts:
    /// <https://arxiv.org/abs/2404.14507>.
    AlignYourSteps,
    /// Even timesteps, cut to whole ones.
    Simple,
    /// The same as uniform.
    Normal,
    /// Whole timesteps by a whole stride from 1. A count that doesn't divide 1000
    /// gets more steps, 1000 one less.
    Ddim,
    /// By the quantiles of a beta distribution: <https://arxiv.org/abs/2407.12173>.
    Beta,
}

/// "Align your steps", for Stable Diffusion 1.
const ALIGNED: [f64; 11] =
    [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];

impl Levels {
    /// All, in the order in which a person sees them.
    pub const ALL: [Self; 12] = [
        Self::Automatic,
        Self::Karras,
        Self::Exponential,
        Self::Uniform,
        Self::SgmUniform,
        Self::Simple,
        Self::Beta,
        Self::AlignYourSteps,
        Self::KlOptimal,
        Self::Ddim,
        Self::Normal,
        Self::Polyexponential,
    ];

    /// The name on the command line and in the page's form.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// The name for people, which is A1111's.
    pub fn label(self) -> &'static str {
        self.words().1
    }

    /// What it is for, in one line.
    pub fn about(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Automatic => ("automatic", "Automatic", "what A1111 takes for the sampler"),
            Self::Karras => ("karras", "Karras", "more steps at low noise, for fine detail"),
            Self::Exponential => ("exponential", "Exponential", "still more at low noise"),
            Self::Uniform => ("uniform", "Uniform", "even timesteps"),
            Self::SgmUniform => {
                ("sgm_uniform", "SGM Uniform", "for models of few steps (Lightning, Turbo)")
            }
            Self::Simple => ("simple", "Simple", "even, whole timesteps"),
            Self::Beta => ("beta", "Beta", "more steps at both ends"),
            Self::AlignYourSteps => {
                ("align_your_steps", "Align Your Steps", "searched for; good with 10 steps")
            }
            Self::KlOptimal => ("kl_optimal", "KL Optimal", "for few steps; leaves a little noise"),
            Self::Ddim => ("ddim", "DDIM", "DDIM's timesteps for other samplers"),
            Self::Normal => ("normal", "Normal", "the same as Uniform"),
            Self::Polyexponential => {
                ("polyexponential", "Polyexponential", "the same as Exponential")
            }
        }
    }

    /// The levels of `n` steps (1 or more) on a model's noise schedule, and where the last step ends: 0
    /// but for [`Levels::KlOptimal`]. [`Levels::Automatic`] is even here, as for most samplers.
    pub fn sigmas(self, noise: &NoiseSchedule, n: usize) -> Vec<f64> {
        let table = Table::new(noise);
        let (low, high) = (table.low(), table.high());
        let last = (table.sigmas.len() - 1) as f64;
        let between = |layout: Layout| layout.between(low, high, n).unwrap_or_default();
        let mut levels: Vec<f64> = match self {
            Self::Automatic | Self::Uniform | Self::Normal => {
                line(last, 0.0, n).map(|t| table.at(t)).collect()
            }
            Self::SgmUniform => line(last, 0.0, n + 1).take(n).map(|t| table.at(t)).collect(),
            Self::Karras => between(Layout::Karras),
            Self::Exponential | Self::Polyexponential => between(Layout::Exponential),
            Self::Beta => between(Layout::Beta),
            Self::KlOptimal => {
                return line(high.atan(), low.atan(), n + 1).map(f64::tan).collect();
            }
            Self::AlignYourSteps if n == 1 => vec![ALIGNED[ALIGNED.len() - 1]],
            Self::AlignYourSteps => {
                let logs = ALIGNED.map(f64::ln);
                line(0.0, 10.0, n).map(|at| interpolate(at, &logs).exp()).collect()
            }
            Self::Simple => {
                let share = table.sigmas.len() as f64 / n as f64;
                (0..n).map(|i| table.nth_highest((i as f64 * share) as usize)).collect()
            }
            Self::Ddim => {
                let stride = (table.sigmas.len() / n).max(1);
                table.sigmas.iter().skip(1).step_by(stride).rev().copied().collect()
            }
        };
        levels.push(0.0);
        levels
    }
}

/// `n` numbers from `a` to `b`; of one, `a`.
fn line(a: f64, b: f64, n: usize) -> impl Iterator<Item = f64> {
    let parts = (n.max(2) - 1) as f64;
    (0..n).map(move |i| a + (b - a) * i as f64 / parts)
}

/// Linear between the table's entries.
fn interpolate(at: f64, table: &[f64]) -> f64 {
    let low = (at as usize).min(table.len().saturating_sub(2));
    let high = (low + 1).min(table.len() - 1);
    table[low] + (table[high] - table[low]) * (at - low as f64)
}

/// The noise level of every training timestep, of which there is one or more.
struct Table {
    sigmas: Vec<f64>,
    logs: Vec<f64>,
}

impl Table {
    fn new(noise: &NoiseSchedule) -> Self {
        let sigmas: Vec<f64> = noise.sigmas().into_iter().map(f64::from).collect();
        Self { logs: sigmas.iter().map(|sigma| sigma.ln()).collect(), sigmas }
    }

    fn low(&self) -> f64 {
        self.sigmas[0]
    }

    fn high(&self) -> f64 {
        self.nth_highest(0)
    }

    fn nth_highest(&self, i: usize) -> f64 {
        self.sigmas[(self.sigmas.len() - 1).saturating_sub(i)]
    }

    /// The level of a timestep between two of the table's.
    fn at(&self, t: f64) -> f64 {
        interpolate(t, &self.logs).exp()
    }
}

impl SchedulerKind {
    /// Whether it goes down any levels: the others' steps are defined on the model's timesteps, or have
    /// their levels in their name.
    pub fn takes_levels(self) -> bool {
        !matches!(
            self,
            Self::DpmSolverMultistepKarras
                | Self::DpmSolverMultistepSdeKarras
                | Self::DeisMultistep
                | Self::Ddim
                | Self::Pndm
                | Self::Lcm
                | Self::Tcd
                | Self::Ddpm
        )
    }

    /// What "Automatic" is for it in A1111 (`sd_samplers_kdiffusion.py`, option `scheduler`).
    fn preferred_levels(self) -> Levels {
        match self {
            Self::DpmSolverMultistep
            | Self::DpmSolver2sAncestral
            | Self::DpmSolverSde
            | Self::KDpm2Discrete
            | Self::KDpm2AncestralDiscrete
            | Self::Restart => Levels::Karras,
            Self::DpmSolverMultistepSde
            | Self::DpmSolverMultistepSdeHeun
            | Self::DpmSolverMultistep3Sde => Levels::Exponential,
            _ => Levels::Uniform,
        }
    }

    /// Whether A1111 lays out a level more for it and leaves out the last but one (its option
    /// `discard_next_to_last_sigma`).
    fn discards_a_level(self) -> bool {
        matches!(
            self,
            Self::KDpm2Discrete | Self::KDpm2AncestralDiscrete | Self::DpmSolverMultistep3Sde
        )
    }
}

impl SchedulerConfig {
    /// The config with the levels that A1111 takes `kind` down in `steps` steps. A number of steps that
    /// no schedule has leaves it as it is: [`super::Schedule::new`] refuses it.
    ///
    /// # Errors
    /// A kind that takes no levels, by name; what the noise schedule can't be; as many steps as there are
    /// timesteps where a level more is laid out.
    pub fn with_levels(
        mut self,
        kind: SchedulerKind,
        levels: Levels,
        steps: usize,
    ) -> Result<Self> {
        if !kind.takes_levels() {
            return Err(Error::setting(
                "schedule",
                format!(
                    "{} has its own noise levels, and can't have those of {levels}",
                    kind.label()
                ),
                "Leave the schedule out, or choose another sampler",
            ));
        }
        let levels = if levels == Levels::Automatic { kind.preferred_levels() } else { levels };
        let noise = NoiseSchedule::new(kind, &self)?;
        let train = noise.alphas_cumprod.len();
        let more = usize::from(kind.discards_a_level());
        if (1..=train.min(1000)).contains(&steps) {
            if steps + more > train {
                return Err(too_many(steps, train - more));
            }
            let mut sigmas = levels.sigmas(&noise, steps + more);
            if more == 1 {
                sigmas.remove(sigmas.len() - 2);
            }
            self.levels = Some(sigmas);
        }
        Ok(self)
    }

    /// The levels that are set, which have to fall to 0 or more.
    pub(super) fn given_levels(&self) -> Result<Option<Vec<f64>>> {
        let Some(levels) = &self.levels else { return Ok(None) };
        let falls = levels.windows(2).all(|pair| pair[0] > pair[1] && pair[0].is_finite());
        if levels.len() < 2 || !falls || levels[levels.len() - 1] < 0.0 {
            return Err(unsupported(
                "levels",
                "not two or more noise levels that fall to 0 or more",
                "Use other levels, or fewer steps",
            ));
        }
        Ok(Some(levels.clone()))
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Levels {
    type Err = Error;

    /// Parses [`Levels::name`].
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|levels| levels.name() == name).ok_or_else(|| {
            Error::setting(
                "schedule",
                format!("there is no schedule `{name}`"),
                format!("Use one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

//! The noise levels that a run goes down, and the timesteps that belong to them: one ladder for the
//! samplers of Euler's kind, one for those of DPM-Solver's.

use super::base::{Base, Spacing};
use super::config::{unsupported, word};
use super::noise_schedule::linspace;
use super::sigmas::{Layout, interpolate, sigma_to_t};
use super::{Run, SchedulerConfig, timesteps, too_many};
use crate::error::Result;

/// Timesteps, and one level more: the last is where the run ends.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    pub timesteps: Vec<f64>,
    pub levels: Vec<f64>,
    /// `ln sigma` of each training timestep.
    log_table: Vec<f32>,
    /// Whether the levels were given: they aren't rounded to f32 then, and timesteps are fractions.
    pub is_given: bool,
}

/// A noise level of a variance-preserving sample `signal * x0 + spread * noise`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub sigma: f64,
    pub signal: f64,
    pub spread: f64,
}

impl Level {
    fn new(sigma: f64) -> Self {
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self { sigma, signal, spread: signal * sigma }
    }

    /// Half the logarithm of the signal-to-noise ratio; infinite at level 0.
    pub fn lambda(self) -> f64 {
        -self.sigma.ln()
    }
}

impl Ladder {
    /// Levels as f32, which they are in diffusers; from where the run begins.
    fn new(mut timesteps: Vec<f64>, levels: Vec<f64>, log_table: Vec<f32>, run: Run) -> Self {
        let count = timesteps.len();
        run.cut(&mut timesteps);
        let levels = levels[count - timesteps.len()..].iter();
        let levels = levels.map(|sigma| f64::from(*sigma as f32)).collect();
        Self { timesteps, levels, log_table, is_given: false }
    }

    /// Down `levels`, the last where the run ends; from where the run begins.
    fn of_levels(levels: &[f64], log_table: Vec<f32>, run: Run) -> Self {
        let mut timesteps: Vec<f64> =
            levels[..levels.len() - 1].iter().map(|&sigma| sigma_to_t(sigma, &log_table)).collect();
        let count = timesteps.len();
        run.cut(&mut timesteps);
        let levels = levels[count - timesteps.len()..].to_vec();
        Self { timesteps, levels, log_table, is_given: true }
    }

    /// The timestep of a level of the ladder, which may be the one where the run ends.
    pub fn timestep_of(&self, i: usize) -> f64 {
        self.timesteps.get(i).copied().unwrap_or_else(|| self.beside(self.levels[i]).1)
    }

    /// A level beside the ladder's, and its timestep: as f32 where diffusers' levels are.
    pub fn beside(&self, level: f64) -> (f64, f64) {
        let rounded = |x: f64| if self.is_given { x } else { f64::from(x as f32) };
        let level = rounded(level);
        (level, rounded(sigma_to_t(level, &self.log_table)))
    }

    /// Steps from a level to the next: `(timestep, from, to)`.
    pub fn pairs(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.timesteps.iter().zip(self.levels.windows(2)).map(|(&t, pair)| (t, pair[0], pair[1]))
    }

    /// The levels of variance-preserving samples.
    pub fn preserving(&self) -> Vec<Level> {
        self.levels.iter().map(|&sigma| Level::new(sigma)).collect()
    }

    /// What the first variance-preserving sample is per unit normal noise.
    pub fn preserving_start(&self) -> f64 {
        if self.is_given { Level::new(self.levels[0]).spread } else { 1.0 }
    }

    /// The standard deviation of the first variance-exploding sample.
    pub fn init_noise_sigma(&self, spacing: Spacing) -> f64 {
        let most = self.levels.iter().copied().fold(0.0, f64::max);
        match spacing {
            // A1111's samples start from noise at the highest level.
            _ if self.is_given => most,
            Spacing::Leading => (most * most + 1.0).sqrt(),
            Spacing::Linspace | Spacing::Trailing => most,
        }
    }
}

/// What Euler alone reads beside the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EulerOptions {
    pub sigma_min: Option<f64>,
    pub sigma_max: Option<f64>,
    pub log_linear: bool,
    pub final_sigma: bool,
}

impl EulerOptions {
    pub fn resolve(config: &SchedulerConfig, layout: Layout) -> Result<Self> {
        word("timestep_type", &config.timestep_type, &[("discrete", ())])?;
        if layout != Layout::Timesteps {
            for (field, sigma) in [("sigma_min", config.sigma_min), ("sigma_max", config.sigma_max)]
            {
                if let Some(sigma) = sigma.filter(|sigma| !sigma.is_finite() || *sigma <= 0.0) {
                    return Err(unsupported(
                        field,
                        format!("{sigma} is out of range"),
                        "Leave it out: the noise schedule gives it",
                    ));
                }
            }
        }
        let known = [("linear", false), ("log_linear", true)];
        Ok(Self {
            sigma_min: config.sigma_min,
            sigma_max: config.sigma_max,
            log_linear: word("interpolation_type", &config.interpolation_type, &known)?,
            final_sigma: !config.ends_at_zero()?,
        })
    }
}

/// The ladder of Euler, Euler ancestral, Heun, DPM2 and LMS. `rounds` where Karras levels get whole
/// timesteps.
pub(super) fn of_euler(
    base: &Base,
    layout: Layout,
    rounds: bool,
    options: EulerOptions,
    run: Run,
) -> Ladder {
    let n = run.steps;
    let train = base.train();
    let table = base.noise.sigmas();
    let log_table = logs(&table);
    if let Some(levels) = &base.levels {
        return Ladder::of_levels(levels, log_table, run);
    }
    let mut timesteps: Vec<f64> = match base.spacing {
        Spacing::Linspace => timesteps::linspace((train - 1) as f64, n).into_iter().rev().collect(),
        Spacing::Leading => whole(timesteps::leading(train / n, n, base.steps_offset)),
        Spacing::Trailing => whole(timesteps::trailing(train, train, n)),
    };
    // diffusers' timesteps are f32 here.
    timesteps.iter_mut().for_each(|t| *t = f64::from(*t as f32));
    let mut levels: Vec<f64> = if options.log_linear {
        // One level more than steps, so the last step does not reach the final sigma: as diffusers.
        let (low, high) = (log_table[0], log_table[train - 1]);
        let logs = linspace(f64::from(high), f64::from(low), n + 1);
        logs.into_iter().map(|log| f64::from(log.exp())).collect()
    } else {
        timesteps.iter().map(|&t| interpolate(t, &table)).collect()
    };
    let min = options.sigma_min.unwrap_or(levels[levels.len() - 1]);
    let max = options.sigma_max.unwrap_or(levels[0]);
    if let Some(between) = layout.between(min, max, n) {
        let at = |&sigma: &f64| {
            let t = sigma_to_t(sigma, &log_table);
            let t = if rounds && layout == Layout::Karras { t.round_ties_even() } else { t };
            f64::from(t as f32)
        };
        timesteps = between.iter().map(at).collect();
        levels = between;
    }
    levels.push(if options.final_sigma { f64::from(table[0]) } else { 0.0 });
    Ladder::new(timesteps, levels, log_table, run)
}

/// What the samplers of DPM-Solver's kind read differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct SolverOptions {
    pub layout: Layout,
    /// Timesteps whose half log-SNR lies below it are left out.
    pub lambda_min_clipped: f64,
    pub final_level: FinalLevel,
    /// DPM++ 2M alone leaves Karras timesteps as they are with the cosine schedule.
    pub keeps_cosine_timesteps: bool,
}

/// Where a run of DPM-Solver's kind ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum FinalLevel {
    Zero,
    /// The level of timestep 0.
    Table,
    /// The last level again, unless that of timesteps: then as `Table`.
    Last,
}

/// The ladder of DPM-Solver, UniPC and DEIS.
pub(super) fn of_solver(
    base: &Base,
    config: &SchedulerConfig,
    options: SolverOptions,
    run: Run,
) -> Result<Ladder> {
    let n = run.steps;
    let train = base.train();
    let table = base.noise.sigmas();
    let log_table = logs(&table);
    if let Some(levels) = &base.levels {
        return Ok(Ladder::of_levels(levels, log_table, run));
    }
    let layout = options.layout;
    let smallest = f64::from(table[0]);

    let (timesteps, mut levels) = match layout.between(smallest, f64::from(table[train - 1]), n) {
        Some(levels) => {
            let cosine = config.beta_schedule.as_deref() == Some("squaredcos_cap_v2");
            let rounds = matches!(layout, Layout::Karras | Layout::Lu)
                && !(options.keeps_cosine_timesteps && cosine);
            let timesteps = levels.iter().map(|&sigma| {
                let t = sigma_to_t(sigma, &log_table);
                // What isn't rounded is cut.
                if rounds { t.round_ties_even() } else { t.trunc() }
            });
            (timesteps.collect(), levels)
        }
        None => {
            let timesteps = whole(solver_timesteps(base, options.lambda_min_clipped, n)?);
            let levels = timesteps.iter().map(|&t| interpolate(t, &table)).collect();
            (timesteps, levels)
        }
    };
    levels.push(match options.final_level {
        FinalLevel::Zero => 0.0,
        FinalLevel::Last if layout != Layout::Timesteps => levels[levels.len() - 1],
        FinalLevel::Last | FinalLevel::Table => smallest,
    });
    Ok(Ladder::new(timesteps, levels, log_table, run))
}

fn solver_timesteps(base: &Base, lambda_min_clipped: f64, n: usize) -> Result<Vec<usize>> {
    let train = base.train();
    let clipped = base.noise.alphas_cumprod.iter().filter(|&&abar| {
        let abar = abar as f32;
        let lambda = abar.sqrt().ln() - (1.0 - abar).sqrt().ln();
        f64::from(lambda) < lambda_min_clipped
    });
    let last = train - clipped.count();
    if last == 0 {
        return Err(unsupported(
            "lambda_min_clipped",
            format!("{lambda_min_clipped} leaves out every timestep"),
            "Leave it out, or use -5.1 as for the cosine schedule",
        ));
    }
    Ok(match base.spacing {
        Spacing::Linspace => {
            let points = timesteps::linspace((last - 1) as f64, n + 1);
            points.into_iter().skip(1).rev().map(|t| t.round_ties_even() as usize).collect()
        }
        Spacing::Leading => {
            let ratio = last / (n + 1);
            if ratio == 0 {
                return Err(too_many(n, last.saturating_sub(1)));
            }
            let mut points = timesteps::leading(ratio, n + 1, base.steps_offset);
            points.truncate(n);
            points
        }
        Spacing::Trailing => timesteps::trailing(last, train, n),
    })
}

fn logs(table: &[f32]) -> Vec<f32> {
    table.iter().map(|sigma| sigma.ln()).collect()
}

fn whole(timesteps: Vec<usize>) -> Vec<f64> {
    timesteps.into_iter().map(|t| t as f64).collect()
}

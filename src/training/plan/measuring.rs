//! How much of a run's time measuring may take. An evaluation of every picture at every timestep of the
//! grid costs as much as dozens of steps where pictures are many or a step is slow, so that it keeps to a
//! share of the run, as previews do: fewer draws where all don't fit, and fewer evaluations. A run that is
//! over in no time is measured all the same at its end, where that takes seconds. The start needs none: an
//! adapter that adds nothing is the base model, whose own losses the first evaluation measures.

use serde::Serialize;

use super::grid::{FEW, GRID, judged, prompts};
use crate::training::data::dataset::Dataset;
use crate::training::settings::config::Config;

/// Of training and measuring together, what measuring may take.
pub const SHARE: f64 = 0.2;
/// Seconds of measuring that nobody minds at the end of a run, whatever their share.
pub const PATIENCE: f64 = 10.0;
/// What a sample costs in training, in units of its forward pass: 2.5 to 4 (`cargo xtask bench`).
const STEP: f64 = 3.0;

/// How a run is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Timesteps of each picture.
    pub draws: usize,
    /// Of so many.
    pub of: usize,
    /// Samples of all evaluations that have room, as far as can be told before; one's at least.
    pub samples: usize,
    /// Samples of the first one.
    pub first: usize,
}

impl Plan {
    /// The most draws with which at least every other evaluation has room; `pictures` are those that are
    /// judged, `prompts` those of the drift.
    pub fn new(config: &Config, pictures: usize, prompts: usize) -> Self {
        let wanted = evaluations(config);
        let room = room(1.0) * (config.steps * samples_of_a_step(config)) as f64 * STEP;
        let samples = |draws, count| {
            samples_of(draws, pictures, prompts, true)
                + (count - 1) * samples_of(draws, pictures, prompts, false)
        };
        let enough = |draws: &usize| samples(*draws, wanted.div_ceil(2)) as f64 <= room;
        let draws = [GRID, GRID / 2].into_iter().find(enough).unwrap_or(GRID / 4);
        let fit = |count: &usize| samples(draws, *count) as f64 <= room;
        let count = (1..=wanted).rev().find(fit).unwrap_or(1);
        Self { draws, of: GRID, samples: samples(draws, count), first: samples(draws, 1) }
    }

    /// How a run on a data set is measured.
    pub fn of(config: &Config, dataset: &Dataset) -> Self {
        Self::new(config, judged(dataset), prompts(dataset))
    }
}

/// Samples of the evaluation that would come now, and of one after it. `baseline`: how many losses of the
/// base model are known, where it has been measured.
pub fn samples_due(config: &Config, dataset: &Dataset, baseline: Option<usize>) -> [usize; 2] {
    let pictures = judged(dataset);
    let measured = baseline.map(|losses| losses / pictures.max(1));
    let draws = measured.unwrap_or(Plan::of(config, dataset).draws);
    [measured.is_none(), false].map(|base| samples_of(draws, pictures, prompts(dataset), base))
}

/// What measuring may take of so much training.
fn room(training: f64) -> f64 {
    SHARE / (1.0 - SHARE) * training
}

/// Evaluations that are asked for: the last step's among them.
fn evaluations(config: &Config) -> usize {
    match config.evaluate_every {
        0 => 1,
        every => config.steps.div_ceil(every),
    }
}

fn samples_of_a_step(config: &Config) -> usize {
    config.batch * config.accumulation
}

/// Samples of one evaluation; `base`: of the first one, which asks the base model too.
fn samples_of(draws: usize, pictures: usize, prompts: usize, base: bool) -> usize {
    let losses = pictures * draws * if base { 2 } else { 1 };
    // Drift and diversity compare with the base model each time.
    losses + 2 * FEW * (prompts + 1)
}

/// Whether there is time for another evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// None is asked for at this step.
    No,
    /// One is, and there is time.
    Now,
    /// One is, and it would take more than its share.
    TooSlow,
}

/// The time that a run has spent since it was started or brought back, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    training: f64,
    steps: usize,
    measuring: f64,
    samples: usize,
}

impl Spent {
    /// A step was done.
    pub fn trained(&mut self, seconds: f64) {
        self.training += seconds;
        self.steps += 1;
    }

    /// An evaluation of so many samples was made.
    pub fn measured(&mut self, seconds: f64, samples: usize) {
        self.measuring += seconds;
        self.samples += samples;
    }

    /// Seconds of a sample of an evaluation.
    fn sample(&self, config: &Config) -> f64 {
        match self.samples {
            0 => {
                let all = self.steps * samples_of_a_step(config);
                self.training / all.max(1) as f64 / STEP
            }
            samples => self.measuring / samples as f64,
        }
    }

    /// Whether an evaluation is due after this step, which may be the last. `next`: samples of the one
    /// that would be made, and of one after it.
    pub fn due(&self, config: &Config, step: usize, finished: bool, next: [usize; 2]) -> Due {
        let every = config.evaluate_every;
        if !finished && (every == 0 || !step.is_multiple_of(every)) {
            return Due::No;
        }
        let [now, last] = next.map(|samples| samples as f64 * self.sample(config));
        let left =
            self.training / self.steps.max(1) as f64 * config.steps.saturating_sub(step) as f64;
        let fits = if finished {
            self.measuring + now <= room(self.training).max(PATIENCE)
        } else {
            // As far as the run has come, and with room for the one at its end.
            self.measuring + now <= room(self.training)
                && self.measuring + now + last <= room(self.training + left)
        };
        if fits { Due::Now } else { Due::TooSlow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of so many seconds a step and a sample of an evaluation; the steps at which it was measured,
    /// and what that took of all.
    fn measured(config: &Config, pictures: usize, step: f64, sample: f64) -> (Vec<usize>, f64) {
        let plan = Plan::new(config, pictures, 1);
        let mut spent = Spent::default();
        let mut at = Vec::new();
        for i in 1..=config.steps {
            spent.trained(step);
            let next = [at.is_empty(), false].map(|base| samples_of(plan.draws, pictures, 1, base));
            if spent.due(config, i, i == config.steps, next) == Due::Now {
                spent.measured(sample * next[0] as f64, next[0]);
                at.push(i);
            }
        }
        (at, spent.measuring / (spent.measuring + spent.training))
    }

    #[test]
    fn measuring_takes_its_share_and_no_more() {
        let config = Config { steps: 100, batch: 4, evaluate_every: 20, ..Config::default() };
        // Pictures from one to hundreds, and a device on which a forward pass costs more than it should.
        for (pictures, sample) in
            [(1, 0.08), (2, 0.08), (8, 0.08), (8, 0.12), (40, 0.08), (300, 0.08)]
        {
            let (at, share) = measured(&config, pictures, 1.0, sample);
            assert!(share <= SHARE + 1e-9, "{pictures} pictures, at {at:?}: {share}");
            let fits = (2 * 2 * pictures + 16) as f64 * sample <= room(100.0);
            assert_eq!(at.contains(&100), fits, "{pictures} pictures: {at:?}");
        }
        // With few pictures every one that is asked for is made.
        assert_eq!(measured(&config, 1, 1.0, 1.0 / 12.0).0, [20, 40, 60, 80, 100]);
        let never = Config { evaluate_every: 0, ..config.clone() };
        assert_eq!(measured(&never, 2, 1.0, 1.0 / 12.0).0, [100]);
        // A run of one slow step is not measured; one that is over in no time is.
        let short = Config { steps: 1, ..config };
        assert_eq!(measured(&short, 2, 30.0, 2.5).0, [0; 0]);
        assert_eq!(measured(&short, 8, 0.2, 0.1).0, [1]);
    }

    #[test]
    fn draws_are_as_many_as_there_is_time_for() {
        let config = |steps| Config { steps, batch: 4, evaluate_every: 20, ..Config::default() };
        let draws = |steps, pictures| Plan::new(&config(steps), pictures, 1).draws;
        assert_eq!(draws(100, 2), 8);
        assert_eq!(draws(100, 8), 4);
        assert_eq!(draws(1000, 8), 8);
        assert_eq!(draws(100, 40), 2);
        let short = Plan::new(&config(1), 8, 1);
        assert_eq!((short.samples, short.first), (2 * 8 * 2 + 16, short.samples), "one, or none");
        let plan = Plan::new(&config(100), 2, 1);
        let first = 2 * 2 * 8 + 16;
        assert_eq!(plan, Plan { draws: 8, of: 8, samples: first + 4 * (2 * 8 + 16), first });
    }
}

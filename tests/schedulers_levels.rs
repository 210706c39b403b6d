//! Noise levels as A1111 lays them out, and samplers in k-diffusion's form down them, against those
//! programs; DDIM's eta and DPM++ SDE against diffusers. The model is a toy without weights, so that a
//! trajectory depends on timesteps and input scales as well. The numbers of
//! `fixtures/schedulers/levels.json` were computed in f64 by A1111 1.10.1 (`modules/sd_schedulers.py`) and
//! k-diffusion 4601bf0 on f32 levels, and in f32 by diffusers 0.42.1, with the noises given in turn.

#[path = "support/calls.rs"]
mod calls;

use std::collections::BTreeMap;

use calls::{State, use_what_is_there};
use lorakeet::error::Error;
use lorakeet::noise::{BrownianTree, Generator, Rng};
use lorakeet::schedulers::{Levels, NoiseSchedule, Schedule, SchedulerConfig, SchedulerKind};
use serde_json::json;

#[derive(serde::Deserialize)]
struct Vectors {
    start: Vec<f64>,
    noises: Vec<Vec<f64>>,
    schedules: BTreeMap<String, BTreeMap<usize, Vec<f64>>>,
    k_diffusion: BTreeMap<String, Down>,
    diffusers: BTreeMap<String, Spaced>,
}

/// A run of k-diffusion.
#[derive(serde::Deserialize)]
struct Down {
    kind: String,
    schedule: String,
    steps: usize,
    prediction: String,
    eta: Option<f64>,
    sigmas: Vec<f64>,
    timesteps: Vec<f64>,
    samples: Vec<Vec<f64>>,
}

/// A run of diffusers.
#[derive(serde::Deserialize)]
struct Spaced {
    kind: String,
    config: serde_json::Value,
    steps: usize,
    eta: Option<f64>,
    timesteps: Vec<f64>,
    samples: Vec<Vec<f64>>,
}

fn vectors() -> Vectors {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schedulers/levels.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sd15(prediction: &str) -> SchedulerConfig {
    let value = json!({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
        "timestep_spacing": "leading", "prediction_type": prediction,
    });
    SchedulerConfig::from_value("scheduler_config.json", &value).unwrap()
}

fn noise_schedule() -> NoiseSchedule {
    NoiseSchedule::new(SchedulerKind::EulerDiscrete, &sd15("epsilon")).unwrap()
}

fn kind(name: &str) -> SchedulerKind {
    name.parse().unwrap()
}

/// The toy's prediction of the noise, for the UNet's input `u` at timestep `t`.
fn noise_in(u: f64, t: f64) -> f64 {
    u * (0.2 + 0.8 * (t / 1000.0).sqrt()) + 0.25 * (3.0 * u + t / 100.0).sin()
}

/// The same as a velocity.
fn velocity(u: f64, t: f64, table: &NoiseSchedule) -> f64 {
    let log = |t: usize| {
        let abar = table.alphas_cumprod[t] as f32;
        f64::from(((1.0 - abar) / abar).sqrt().ln())
    };
    let (low, part) = (t as usize, t.fract());
    let next = if part == 0.0 { 0.0 } else { part * log(low + 1) };
    let sigma = ((1.0 - part) * log(low) + next).exp();
    let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
    let noise = noise_in(u, t);
    alpha * noise - sigma * (u - alpha * sigma * noise)
}

/// The largest deviation of a run from the samples after its last steps (or calls), each in the form
/// `x0 + sigma * noise`; `end` is the last level of a run of variance-preserving samples.
fn deviation(vectors: &Vectors, schedule: &Schedule, end: f64, run: &Expected) -> f64 {
    let table = noise_schedule();
    let start = schedule.init_noise_sigma;
    let mut states: Vec<_> = vectors.start.iter().map(|x| State::new(x * start, |x| x)).collect();
    let mut noises = vectors.noises.iter();
    let mut found = Vec::new();
    for (i, call) in schedule.calls.iter().enumerate() {
        let fresh =
            if call.next.noise == 0.0 { &vectors.noises[0] } else { noises.next().unwrap() };
        for (state, noise) in states.iter_mut().zip(fresh) {
            let input = state.sample * call.input_scale;
            let output = if run.velocity {
                velocity(input, call.timestep, &table)
            } else {
                noise_in(input, call.timestep)
            };
            state.apply(call, output, *noise);
        }
        let preserves = schedule.calls[0].signal != 1.0 && run.exploding;
        let signal = match schedule.calls.get(i + 1) {
            _ if !preserves => 1.0,
            Some(next) => next.signal,
            None => 1.0 / (1.0 + end * end).sqrt(),
        };
        if call.ends_step || run.every_call {
            found.push(states.iter().map(|state| state.sample / signal).collect::<Vec<_>>());
        }
    }
    let last = &found[found.len() - run.samples.len()..];
    let mut worst = 0f64;
    for (found, expected) in last.iter().zip(run.samples) {
        let most = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
        for (ours, theirs) in found.iter().zip(expected) {
            worst = worst.max((ours - theirs).abs() / (1.0 + most));
        }
    }
    worst
}

struct Expected<'a> {
    samples: &'a [Vec<f64>],
    velocity: bool,
    /// Whether the samples are `x0 + sigma * noise` whatever ours are.
    exploding: bool,
    every_call: bool,
}

/// Their tables are f32.
fn assert_levels(name: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let off = (ours - theirs).abs() / (1e-4 + theirs);
        assert!(off < 2e-5, "{name}: {ours} for {theirs} ({off:e})");
    }
}

#[test]
fn levels_equal_a1111() {
    let noise = noise_schedule();
    let vectors = vectors();
    assert_eq!(vectors.schedules.len() + 1, Levels::ALL.len());
    for (name, cases) in vectors.schedules {
        let levels: Levels = name.parse().unwrap();
        for (n, theirs) in cases {
            let ours = levels.sigmas(&noise, n);
            assert_levels(&format!("{name}, {n}"), &ours, &theirs);
            if matches!(levels, Levels::Simple | Levels::Ddim) {
                // Entries of the table, of which some are one f32 off PyTorch's.
                let most = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() <= 1.2e-7 * theirs;
                assert!(ours.iter().zip(&theirs).all(most), "{name}, {n}: {ours:?} for {theirs:?}");
            }
        }
    }
}

#[test]
fn a_sampler_gets_its_levels_as_in_a1111() {
    for (name, case) in vectors().k_diffusion {
        let kind = kind(&case.kind);
        let given = |levels| {
            let config = sd15(&case.prediction).with_levels(kind, levels, case.steps).unwrap();
            config.levels.unwrap()
        };
        assert_levels(&name, &given(case.schedule.parse().unwrap()), &case.sigmas);
        let is_restart = kind == SchedulerKind::Restart;
        if name.ends_with(", 6 steps") || is_restart {
            assert_levels(&format!("{name}, automatic"), &given(Levels::Automatic), &case.sigmas);
        }
    }
}

#[test]
fn trajectories_equal_k_diffusion() {
    let vectors = vectors();
    assert_eq!(vectors.k_diffusion.len(), 48);
    let mut worst = (0f64, "", 0f64);
    for (name, case) in &vectors.k_diffusion {
        let prediction = if case.prediction == "v" { "v_prediction" } else { "epsilon" };
        let config = SchedulerConfig {
            levels: Some(case.sigmas.clone()),
            eta: case.eta,
            ..sd15(prediction)
        };
        let schedule = Schedule::new(kind(&case.kind), &config, case.steps).unwrap();
        use_what_is_there(name, &schedule.calls);
        assert_eq!(schedule.steps_within(usize::MAX), case.steps, "{name}");
        assert_eq!(schedule.calls.len(), case.timesteps.len(), "{name}");
        for (call, theirs) in schedule.calls.iter().zip(&case.timesteps) {
            let off = (call.timestep - theirs).abs();
            worst.2 = worst.2.max(off);
            assert!(off < 2e-4, "{name}: {} for {theirs}", call.timestep);
        }
        let run = Expected {
            samples: &case.samples,
            velocity: case.prediction == "v",
            exploding: true,
            every_call: false,
        };
        let off = deviation(&vectors, &schedule, case.sigmas[case.sigmas.len() - 1], &run);
        // That one entry of the table off moves a timestep by 1e-5; Restart's own levels are f32 there.
        assert!(off < 2e-7, "{name}: {off:e}");
        if off > worst.0 {
            worst = (off, name, worst.2);
        }
    }
    println!("largest deviation {:e} in {}, of timesteps {:e}", worst.0, worst.1, worst.2);
}

#[test]
fn trajectories_equal_diffusers() {
    let vectors = vectors();
    for (name, case) in &vectors.diffusers {
        let config = SchedulerConfig::from_value("scheduler_config.json", &case.config).unwrap();
        let config = SchedulerConfig { eta: case.eta, ..config };
        let schedule = Schedule::new(kind(&case.kind), &config, case.steps).unwrap();
        for (call, theirs) in schedule.calls.iter().zip(&case.timesteps) {
            let off = (call.timestep - theirs).abs();
            assert!(off < 1e-3, "{name}: {} for {theirs}", call.timestep);
        }
        let run = Expected {
            samples: &case.samples,
            velocity: false,
            exploding: false,
            every_call: true,
        };
        let off = deviation(&vectors, &schedule, 0.0, &run);
        // It computes in f32, its timesteps between two of the table too.
        assert!(off < 1e-5, "{name}: {off:e}");
    }
}

#[test]
fn every_sampler_goes_down_every_schedule() {
    for kind in SchedulerKind::ALL {
        for levels in Levels::ALL {
            for steps in [1, 2, 3, 10, 24, 50, 333, 1000] {
                let name = format!("{kind}, {levels}, {steps}");
                let config = sd15("epsilon").with_levels(kind, levels, steps);
                if !kind.takes_levels() {
                    let error = config.unwrap_err().to_string();
                    assert!(
                        error.starts_with("schedule: ") && error.contains(kind.label()),
                        "{error}"
                    );
                    continue;
                }
                let config = match config {
                    Ok(config) => config,
                    // A level more than there are timesteps.
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.starts_with("steps: ") && steps == 1000, "{name}: {error}");
                        continue;
                    }
                };
                let schedule = Schedule::new(kind, &config, steps)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                use_what_is_there(&name, &schedule.calls);
                let counted = schedule.steps_within(usize::MAX);
                assert!(
                    counted == steps || levels == Levels::Ddim && counted + 1 >= steps,
                    "{name}: {counted}"
                );
            }
        }
    }
}

#[test]
fn a_run_that_begins_later_goes_down_the_rest_of_the_levels() {
    for kind in SchedulerKind::ALL.into_iter().filter(|kind| kind.takes_levels()) {
        let config = sd15("epsilon").with_levels(kind, Levels::Karras, 12).unwrap();
        let whole = Schedule::new(kind, &config, 12).unwrap();
        let later = Schedule::beginning(kind, &config, 12, 5).unwrap();
        use_what_is_there(kind.name(), &later.calls);
        assert_eq!(later.steps_within(usize::MAX), 7, "{kind}");
        let rest = &whole.calls[whole.calls.len() - later.calls.len()..];
        for (call, other) in later.calls.iter().zip(rest) {
            assert_eq!((call.timestep, call.spread), (other.timestep, other.spread), "{kind}");
        }
    }
}

/// What a Brownian path is asked for lies within its ends, which are those of the whole schedule.
#[test]
fn sde_samplers_walk_one_path_down_given_levels() {
    use SchedulerKind as K;
    let sde = [
        K::DpmSolverSde,
        K::DpmSolverMultistepSde,
        K::DpmSolverMultistepSdeHeun,
        K::DpmSolverMultistep3Sde,
    ];
    for kind in K::ALL {
        let own = Schedule::new(kind, &sd15("epsilon"), 12).unwrap();
        assert_eq!(own.path, None, "{kind}");
        if !kind.takes_levels() {
            continue;
        }
        let config = sd15("epsilon").with_levels(kind, Levels::Karras, 12).unwrap();
        let levels = config.levels.clone().unwrap();
        for begin in [0, 5] {
            let schedule = Schedule::beginning(kind, &config, 12, begin).unwrap();
            let ends = sde.contains(&kind).then_some([levels[11], levels[0]]);
            assert_eq!(schedule.path, ends, "{kind}");
            for call in &schedule.calls {
                let walks = call.between.is_some();
                assert_eq!(walks, ends.is_some() && call.next.noise != 0.0, "{kind}: {call:?}");
                if let Some([from, to]) = call.between {
                    assert!(levels[0] >= from && from > to && to >= levels[11], "{kind}: {call:?}");
                }
            }
        }
    }
}

/// What people take these samplers for: more steps, the same picture.
#[test]
fn more_steps_down_a_brownian_path_end_near_by() {
    let end = |kind, steps, seed| {
        let config = sd15("epsilon").with_levels(kind, Levels::Karras, steps).unwrap();
        let schedule = Schedule::new(kind, &config, steps).unwrap();
        let mut tree = BrownianTree::new(Rng::Cpu, seed, 16, schedule.path.unwrap());
        let noise = Generator::new(Rng::Cpu, 1).randn(16);
        let start = |x: &f32| State::new(f64::from(*x) * schedule.init_noise_sigma, |x| x);
        let mut states: Vec<_> = noise.iter().map(start).collect();
        for call in &schedule.calls {
            let fresh = call.between.map_or(vec![0.0; 16], |[from, to]| tree.noise(from, to));
            for (state, noise) in states.iter_mut().zip(fresh) {
                let output = noise_in(state.sample * call.input_scale, call.timestep);
                state.apply(call, output, f64::from(noise));
            }
        }
        states.iter().map(|state| state.sample).collect::<Vec<_>>()
    };
    let distance = |a: Vec<f64>, b: Vec<f64>| {
        a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    for kind in [SchedulerKind::DpmSolverSde, SchedulerKind::DpmSolverMultistepSde] {
        let same = distance(end(kind, 40, 7), end(kind, 80, 7));
        let other = distance(end(kind, 40, 7), end(kind, 40, 8));
        println!("{kind}: {same} {other}");
        assert!(5.0 * same < other, "{kind}: {same} from more steps, {other} from another path");
    }
}

#[test]
fn bad_levels_and_names_are_told() {
    let error = "cosine".parse::<Levels>().unwrap_err().to_string();
    assert!(error.starts_with("schedule: ") && error.contains("align_your_steps"), "{error}");
    for levels in
        [vec![], vec![1.0], vec![1.0, 1.0], vec![1.0, 2.0], vec![1.0, -1.0], vec![f64::NAN, 0.0]]
    {
        let config = SchedulerConfig { levels: Some(levels.clone()), ..sd15("epsilon") };
        match Schedule::new(SchedulerKind::EulerDiscrete, &config, 10) {
            Err(Error::Key { key, .. }) => assert_eq!(key, "levels"),
            other => panic!("{levels:?}: {other:?}"),
        }
    }
    for steps in [0, 1001, usize::MAX] {
        let config =
            sd15("epsilon").with_levels(SchedulerKind::EulerDiscrete, Levels::Karras, steps);
        let error =
            Schedule::new(SchedulerKind::EulerDiscrete, &config.unwrap(), steps).unwrap_err();
        assert!(error.to_string().starts_with("steps: "), "{error}");
    }
}

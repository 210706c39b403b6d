//! Schedules against whole trajectories of diffusers' schedulers
//! (`fixtures/schedulers/generate.py`).

#[path = "support/calls.rs"]
mod calls;

use std::collections::BTreeMap;
use std::path::PathBuf;

use calls::{State, use_what_is_there};
use lorakeet::error::Error;
use lorakeet::schedulers::{Call, NoiseSchedule, Schedule, SchedulerConfig, SchedulerKind};
use safetensors::SafeTensors;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    let path = fixture(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f64> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

fn config(json: &str) -> SchedulerConfig {
    let value = lorakeet::weights::parse_json(json).unwrap();
    SchedulerConfig::from_value("scheduler_config.json", &value).unwrap()
}

#[derive(serde::Deserialize)]
struct Cases {
    cases: BTreeMap<String, Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    kind: String,
    config: serde_json::Value,
    steps: usize,
    timesteps: Vec<f64>,
    init_noise_sigma: f64,
    input_scales: Vec<f64>,
}

impl Case {
    fn schedule(&self) -> Schedule {
        let config = config(&self.config.to_string());
        Schedule::new(self.kind.parse().unwrap(), &config, self.steps).unwrap()
    }
}

fn cases() -> BTreeMap<String, Case> {
    serde_json::from_slice::<Cases>(&read("schedulers/cases.json")).unwrap().cases
}

#[test]
fn timesteps_equal_diffusers() {
    for (name, case) in cases() {
        let schedule = case.schedule();
        let timesteps: Vec<f64> = schedule.calls.iter().map(|call| call.timestep).collect();
        if ["karras", "_sigmas", "dpm2"].iter().any(|word| name.contains(word)) {
            // Here a timestep lies between two of the table, by f32 logarithms.
            assert_eq!(timesteps.len(), case.timesteps.len(), "{name}");
            for (ours, theirs) in timesteps.iter().zip(&case.timesteps) {
                assert!((ours - theirs).abs() < 1e-3, "{name}: {ours} for {theirs}");
            }
        } else {
            // As f32, which diffusers' fractional ones are: serde_json may be one f64 bit off.
            let as_f32 = |list: &[f64]| list.iter().map(|&t| t as f32).collect::<Vec<_>>();
            assert_eq!(as_f32(&timesteps), as_f32(&case.timesteps), "{name}");
        }
    }
}

#[test]
fn noise_and_input_scales_equal_diffusers() {
    for (name, case) in cases() {
        let schedule = case.schedule();
        let off = (schedule.init_noise_sigma / case.init_noise_sigma - 1.0).abs();
        assert!(off < 1e-6, "{name}: {} for {}", schedule.init_noise_sigma, case.init_noise_sigma);
        for (call, theirs) in schedule.calls.iter().zip(&case.input_scales) {
            let off = (call.input_scale / theirs - 1.0).abs();
            // Where diffusers' ancestral steps go is a small difference in f32.
            let tolerance = if case.kind == "dpm2_a" { 1e-5 } else { 1e-6 };
            assert!(off < tolerance, "{name}: {} for {theirs}", call.input_scale);
        }
    }
}

/// Every sample of every trajectory to 1e-5 of its largest value. diffusers computes in f32, so what
/// a step leaves of a sample that was larger by far (sigma 4096 with zero terminal SNR) can't be
/// better than the rounding of that sample: two f32 epsilons of the largest so far are allowed on top.
#[test]
fn trajectories_equal_diffusers() {
    let bytes = read("schedulers/trajectories.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let latents = floats(&tensors, "latents");
    let models = floats(&tensors, "models");
    let noises = floats(&tensors, "noises");
    let n = latents.len();
    let mut worst = (0f64, String::new());
    for (name, case) in cases() {
        let schedule = case.schedule();
        let expected = floats(&tensors, &format!("{name}.samples"));
        assert_eq!(expected.len(), n * schedule.calls.len(), "{name}");

        let start = |round| {
            let states = latents.iter().map(|x| State::new(x * schedule.init_noise_sigma, round));
            states.collect::<Vec<_>>()
        };
        let mut exact = start(|x| x);
        let mut rounded = start(|x| f64::from(x as f32));
        let mut before = exact.iter().fold(0f64, |most, state| most.max(state.sample.abs()));
        for (i, call) in schedule.calls.iter().enumerate() {
            let at = n * (i % 20);
            for j in 0..n {
                exact[j].apply(call, models[at + j], noises[at + j]);
                rounded[j].apply(call, models[at + j], noises[at + j]);
            }
            let expected = &expected[n * i..n * (i + 1)];
            let scale = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
            let base = match &*case.kind {
                // diffusers takes differences of f32 logarithms here,
                "deis" => 5e-5,
                // and here x - (x - sigma m), over a sigma that may be small.
                "heun" => 2e-5,
                _ => 1e-5,
            };
            let tolerance = base + 2.0 * before / scale * f64::from(f32::EPSILON);
            before = before.max(scale);
            for (j, &theirs) in expected.iter().enumerate() {
                for ours in [exact[j].sample, rounded[j].sample] {
                    let off = (ours - theirs).abs() / scale;
                    assert!(off < tolerance, "{name}: call {i}: {ours} for {theirs} ({off:e})");
                    if off > worst.0 {
                        worst = (off, name.clone());
                    }
                }
            }
        }
    }
    println!("largest deviation {:e} in {}", worst.0, worst.1);
}

#[test]
fn calls_use_what_is_there() {
    for (name, case) in cases() {
        let schedule = case.schedule();
        use_what_is_there(&name, &schedule.calls);
        assert_eq!(schedule.steps_within(usize::MAX), case.steps, "{name}");
    }
}

#[test]
fn stochastic_kinds_alone_ask_for_noise() {
    use SchedulerKind as K;
    for (name, case) in cases() {
        let schedule = case.schedule();
        let (last, before) = schedule.calls.split_last().unwrap();
        let quiet_last = || last.next.noise == 0.0;
        let loud = |call: &Call| call.next.noise != 0.0;
        match schedule.kind {
            // DDPM ends with noise unless its last timestep is 0.
            K::Ddpm => assert!(before.iter().all(loud) && loud(last) == (last.timestep > 0.0)),
            K::EulerAncestralDiscrete | K::Lcm => assert!(before.iter().all(loud) && quiet_last()),
            K::Tcd => {
                let eta = case.config.get("eta").and_then(serde_json::Value::as_f64);
                let noisy = eta != Some(0.0);
                assert!(before.iter().all(|call| loud(call) == noisy) && quiet_last(), "{name}");
            }
            // At the end of a step of two calls.
            K::KDpm2AncestralDiscrete => {
                assert!(before.iter().all(|call| loud(call) == call.ends_step), "{name}");
                assert!(quiet_last(), "{name}");
            }
            K::DpmSolverMultistepSde | K::DpmSolverMultistepSdeKarras => {
                assert!(before.iter().all(loud), "{name}");
            }
            K::DpmSolverSinglestep if name.contains("sde") => {}
            _ => assert!(!schedule.calls.iter().any(loud), "{name}"),
        }
    }
}

/// The demo model's reference runs: timesteps exactly, sigmas through what they do.
#[test]
fn demo_model_reference_schedules() {
    #[derive(serde::Deserialize)]
    struct Reference {
        steps: usize,
        schedulers: BTreeMap<String, Run>,
    }
    #[derive(serde::Deserialize)]
    struct Run {
        config: serde_json::Value,
        timesteps: Vec<f64>,
        sigmas: Vec<f64>,
        init_noise_sigma: f64,
    }
    let json = String::from_utf8(read("demo-model/reference/reference.json")).unwrap();
    let reference: Reference = serde_json::from_str(&json.replace("-Infinity", "null")).unwrap();
    assert_eq!(reference.schedulers.len(), 3);
    for (name, run) in reference.schedulers {
        let kind = match name.as_str() {
            "ddim" => SchedulerKind::Ddim,
            "euler" => SchedulerKind::EulerDiscrete,
            "dpmpp2m-karras" => SchedulerKind::DpmSolverMultistepKarras,
            other => panic!("unknown run {other}"),
        };
        let config = config(&run.config.to_string());
        let schedule = Schedule::new(kind, &config, reference.steps).unwrap();
        let timesteps: Vec<f64> = schedule.calls.iter().map(|call| call.timestep).collect();
        assert_eq!(timesteps, run.timesteps, "{name}");
        assert!((schedule.init_noise_sigma - run.init_noise_sigma).abs() < 1e-5, "{name}");
        for (call, sigma) in schedule.calls.iter().zip(&run.sigmas) {
            // x0 = (sample - noise part * eps) / signal part
            let ours = -call.x0_from_model
                / if kind == SchedulerKind::EulerDiscrete {
                    1.0
                } else {
                    call.x0_from_sample * (1.0 / (sigma * sigma + 1.0).sqrt())
                };
            assert!((ours / sigma - 1.0).abs() < 1e-6, "{name}: {ours} for {sigma}");
        }
    }
}

#[test]
fn golden_values_of_the_sd15_noise_schedule() {
    let json = r#"{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}"#;
    let noise = NoiseSchedule::new(SchedulerKind::Ddpm, &config(json)).unwrap();
    assert_eq!(noise.alphas_cumprod.len(), 1000);
    // From f64 arithmetic; our table has diffusers' f32 roundings: 1e-6.
    let abar = [
        (0, 0.999150000),
        (1, 0.998296028),
        (50, 0.951576903),
        (100, 0.894223478),
        (125, 0.862079894),
        (200, 0.753692045),
        (250, 0.673792625),
        (375, 0.465067342),
        (400, 0.424483024),
        (500, 0.276332684),
        (600, 0.160782571),
        (800, 0.036869617),
        (999, 0.004660099),
    ];
    for (t, expected) in abar {
        assert!((noise.alphas_cumprod[t] - expected).abs() < 1e-6, "abar at {t}");
        let (signal, spread) = noise.add_noise(t).unwrap();
        assert!((signal * signal - expected).abs() < 1e-6, "signal at {t}");
        assert!((signal * signal + spread * spread - 1.0).abs() < 1e-12, "spread at {t}");
    }
    // The f32 of 1 - abar costs 1e-4 where abar is nearly 1.
    let snr = [
        (0, 1175.47, 1e-4),
        (100, 8.45389, 1e-5),
        (200, 3.05996, 1e-5),
        (400, 0.737568, 1e-5),
        (600, 0.191586, 1e-5),
        (800, 0.0382810, 1e-5),
        (999, 0.00468192, 1e-5),
    ];
    for (t, expected, tolerance) in snr {
        let off = (noise.snr(t).unwrap() / expected - 1.0).abs();
        assert!(off < tolerance, "snr at {t}: {off:e}");
    }
    assert!(matches!(noise.snr(1000), Err(Error::Setting { .. })));
}

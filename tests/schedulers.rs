//! Schedules against whole trajectories of diffusers' schedulers
//! (`fixtures/schedulers/generate.py`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use lorakeet::error::Error;
use lorakeet::schedulers::{NoiseSchedule, Schedule, SchedulerConfig, SchedulerKind, Step};
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
    SchedulerConfig::from_json("scheduler_config.json", json).unwrap()
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

/// Applies a step as its documentation says: `(next, x0)`.
fn apply(step: &Step, sample: f64, model: f64, previous_x0: f64, noise: f64) -> (f64, f64) {
    let x0 = sample * step.x0_from_sample + model * step.x0_from_model;
    let x0 = step.clip.map_or(x0, |range| x0.clamp(-range, range));
    let next = sample * step.from_sample
        + model * step.from_model
        + x0 * step.from_x0
        + previous_x0 * step.from_previous_x0
        + noise * step.from_noise;
    (next, x0)
}

fn apply_f32(step: &Step, sample: f32, model: f32, previous_x0: f32, noise: f32) -> (f32, f32) {
    let x0 = sample * step.x0_from_sample as f32 + model * step.x0_from_model as f32;
    let x0 = step.clip.map_or(x0, |range| x0.clamp(-range as f32, range as f32));
    let next = sample * step.from_sample as f32
        + model * step.from_model as f32
        + x0 * step.from_x0 as f32
        + previous_x0 * step.from_previous_x0 as f32
        + noise * step.from_noise as f32;
    (next, x0)
}

#[test]
fn timesteps_equal_diffusers() {
    for (name, case) in cases() {
        let schedule = case.schedule();
        let timesteps: Vec<f64> = schedule.steps.iter().map(|step| step.timestep).collect();
        if name.starts_with("euler.karras") {
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
        for (step, theirs) in schedule.steps.iter().zip(&case.input_scales) {
            let off = (step.input_scale / theirs - 1.0).abs();
            assert!(off < 1e-6, "{name}: {} for {theirs}", step.input_scale);
        }
    }
}

/// Every sample of every trajectory to 1e-5 of its largest value. diffusers computes in f32, so what
/// a step leaves of a sample that was larger by far (sigma 4096 with zero terminal SNR) can't be
/// better than the rounding of that sample: one f32 epsilon of the largest so far is allowed on top.
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
        assert_eq!(expected.len(), n * schedule.steps.len(), "{name}");

        let mut sample: Vec<f64> = latents.iter().map(|x| x * schedule.init_noise_sigma).collect();
        let mut sample_f32: Vec<f32> = sample.iter().map(|&x| x as f32).collect();
        let mut x0 = vec![0f64; n];
        let mut before = sample.iter().fold(0f64, |a, b| a.max(b.abs()));
        let mut x0_f32 = vec![0f32; n];
        for (i, step) in schedule.steps.iter().enumerate() {
            let at = n * (i % 20);
            for j in 0..n {
                let (model, noise) = (models[at + j], noises[at + j]);
                (sample[j], x0[j]) = apply(step, sample[j], model, x0[j], noise);
                (sample_f32[j], x0_f32[j]) =
                    apply_f32(step, sample_f32[j], model as f32, x0_f32[j], noise as f32);
            }
            let expected = &expected[n * i..n * (i + 1)];
            let scale = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
            let tolerance = 1e-5 + before / scale * f64::from(f32::EPSILON);
            before = before.max(scale);
            for (j, &theirs) in expected.iter().enumerate() {
                for ours in [sample[j], f64::from(sample_f32[j])] {
                    let off = (ours - theirs).abs() / scale;
                    assert!(off < tolerance, "{name}: step {i}: {ours} for {theirs} ({off:e})");
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
fn stochastic_kinds_alone_ask_for_noise() {
    for (name, case) in cases() {
        let schedule = case.schedule();
        let (last, before) = schedule.steps.split_last().unwrap();
        let noisy = matches!(
            schedule.kind,
            SchedulerKind::EulerAncestralDiscrete | SchedulerKind::Lcm | SchedulerKind::Ddpm
        );
        assert!(before.iter().all(|step| (step.from_noise != 0.0) == noisy), "{name}");
        // DDPM ends with noise unless its last timestep is 0.
        let ends_noisy = schedule.kind == SchedulerKind::Ddpm && last.timestep > 0.0;
        assert_eq!(last.from_noise != 0.0, ends_noisy, "{name}");
        assert_eq!(schedule.steps[0].from_previous_x0, 0.0, "{name}");
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
        let timesteps: Vec<f64> = schedule.steps.iter().map(|step| step.timestep).collect();
        assert_eq!(timesteps, run.timesteps, "{name}");
        assert!((schedule.init_noise_sigma - run.init_noise_sigma).abs() < 1e-5, "{name}");
        for (step, sigma) in schedule.steps.iter().zip(&run.sigmas) {
            // x0 = (sample - noise part * eps) / signal part
            let ours = -step.x0_from_model
                / if kind == SchedulerKind::EulerDiscrete {
                    1.0
                } else {
                    step.x0_from_sample * (1.0 / (sigma * sigma + 1.0).sqrt())
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

#[test]
fn every_step_count_gives_finite_numbers_or_an_error() {
    let sd15 = config(r#"{"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}"#);
    for spacing in ["leading", "trailing", "linspace"] {
        let config = SchedulerConfig { timestep_spacing: Some(spacing.into()), ..sd15.clone() };
        for kind in SchedulerKind::ALL {
            let mut longest = 0;
            for steps in 1..=1000 {
                match Schedule::new(kind, &config, steps) {
                    Ok(schedule) => {
                        assert_eq!(schedule.steps.len(), steps, "{kind} {spacing}");
                        longest = steps;
                    }
                    Err(Error::Setting { name, .. }) => {
                        assert!(["steps", "timestep"].contains(&name.as_str()), "{name}");
                        assert!(steps > 50, "{kind} {spacing} {steps}");
                    }
                    Err(other) => panic!("{kind} {spacing} {steps}: {other}"),
                }
            }
            assert!(longest == 50 && kind == SchedulerKind::Lcm || longest >= 999, "{kind}");
        }
        for steps in [0, 1001] {
            let error = Schedule::new(SchedulerKind::Ddim, &config, steps).unwrap_err();
            assert!(error.to_string().starts_with("steps: "), "{error}");
        }
    }
}

#[test]
fn unsupported_values_name_their_field() {
    use SchedulerKind as K;
    let refused = [
        (K::Ddim, r#"{"thresholding": true}"#, "thresholding"),
        (K::Ddim, r#"{"beta_schedule": "sigmoid"}"#, "beta_schedule"),
        (K::Ddim, r#"{"prediction_type": "flow_prediction"}"#, "prediction_type"),
        (K::Ddim, r#"{"timestep_spacing": "logsnr"}"#, "timestep_spacing"),
        (K::Ddim, r#"{"num_train_timesteps": 0}"#, "num_train_timesteps"),
        (K::Ddim, r#"{"trained_betas": [0.1, 0.2]}"#, "trained_betas"),
        (K::Ddim, r#"{"beta_end": 3.0}"#, "beta_end"),
        (K::Ddim, r#"{"clip_sample_range": -1.0}"#, "clip_sample_range"),
        (K::EulerDiscrete, r#"{"use_beta_sigmas": true}"#, "use_beta_sigmas"),
        (K::EulerDiscrete, r#"{"timestep_type": "continuous"}"#, "timestep_type"),
        (K::EulerDiscrete, r#"{"interpolation_type": "cubic"}"#, "interpolation_type"),
        (K::EulerDiscrete, r#"{"final_sigmas_type": "one"}"#, "final_sigmas_type"),
        (K::EulerDiscrete, r#"{"use_karras_sigmas": true, "sigma_min": 0}"#, "sigma_min"),
        (K::EulerAncestralDiscrete, r#"{"prediction_type": "sample"}"#, "prediction_type"),
        (K::DpmSolverMultistep, r#"{"algorithm_type": "sde-dpmsolver++"}"#, "algorithm_type"),
        (K::DpmSolverMultistep, r#"{"solver_order": 3}"#, "solver_order"),
        (K::DpmSolverMultistep, r#"{"use_flow_sigmas": true}"#, "use_flow_sigmas"),
        (K::Lcm, r#"{"original_inference_steps": 2000}"#, "original_inference_steps"),
        (K::Ddpm, r#"{"variance_type": "learned_range"}"#, "variance_type"),
        // No signal at the last timestep, from which epsilon could tell x0.
        (
            K::Ddim,
            r#"{"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"}"#,
            "prediction_type",
        ),
    ];
    for (kind, json, field) in refused {
        match Schedule::new(kind, &config(json), 10) {
            Err(Error::Key { file, key, .. }) => {
                assert_eq!((file.as_str(), key.as_str()), ("scheduler_config.json", field));
            }
            other => panic!("{json}: {other:?}"),
        }
    }
    // What a kind does not read does not trouble it.
    let json = r#"{"thresholding": true, "use_flow_sigmas": true, "solver_order": 3}"#;
    Schedule::new(K::EulerDiscrete, &config(json), 10).unwrap();
}

#[test]
fn config_reading() {
    let dpm = config(
        r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity,
            "use_karras_sigmas": true, "note": "NaN, \"-Infinity", "sigma_max": null}"#,
    );
    assert_eq!(dpm.lambda_min_clipped, None);
    assert_eq!(SchedulerKind::from_config(&dpm).unwrap(), SchedulerKind::DpmSolverMultistepKarras);
    let error = SchedulerConfig::from_json("s.json", r#"{"beta_start": "small"}"#).unwrap_err();
    assert!(error.to_string().starts_with("s.json: beta_start: "), "{error}");
    for text in ["", "{", "[]", "nonsense", "{\"a\": \"\\", "\"\\"] {
        let error = SchedulerConfig::from_json("s.json", text).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{text}: {error}");
    }

    let kind = |class: &str| {
        SchedulerKind::from_config(&SchedulerConfig {
            class_name: Some(class.into()),
            ..Default::default()
        })
    };
    assert_eq!(kind("PNDMScheduler").unwrap(), SchedulerKind::Ddim);
    assert_eq!(kind("LCMScheduler").unwrap(), SchedulerKind::Lcm);
    let error = kind("FlowMatchEulerDiscreteScheduler").unwrap_err().to_string();
    assert!(error.starts_with("scheduler_config.json: _class_name: "), "{error}");
}

#[test]
fn names_round_trip() {
    for kind in SchedulerKind::ALL {
        assert_eq!(kind.name().parse::<SchedulerKind>().unwrap(), kind);
    }
    let error = "plms".parse::<SchedulerKind>().unwrap_err().to_string();
    assert!(error.contains("plms") && error.contains("dpmpp_2m_karras"), "{error}");
}

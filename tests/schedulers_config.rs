//! What a scheduler's config may hold, what is refused and how, and names.

use lorakeet::error::Error;
use lorakeet::schedulers::{Schedule, SchedulerConfig, SchedulerKind};
use serde_json::json;

fn config(json: &str) -> SchedulerConfig {
    let value = lorakeet::weights::parse_json(json).unwrap();
    SchedulerConfig::from_value("scheduler_config.json", &value).unwrap()
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
                        let counted = schedule.steps_within(usize::MAX);
                        assert_eq!(counted, steps, "{kind} {spacing}");
                        longest = steps;
                    }
                    Err(Error::Setting { name, .. }) => {
                        assert!(["steps", "timestep"].contains(&name.as_str()), "{name}");
                        assert!(steps > 50, "{kind} {spacing} {steps}");
                    }
                    Err(other) => panic!("{kind} {spacing} {steps}: {other}"),
                }
            }
            let distilled = matches!(kind, SchedulerKind::Lcm | SchedulerKind::Tcd);
            assert!(longest == 50 && distilled || longest >= 999, "{kind}: {longest}");
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
        (K::EulerDiscrete, r#"{"timestep_type": "continuous"}"#, "timestep_type"),
        (K::EulerDiscrete, r#"{"interpolation_type": "cubic"}"#, "interpolation_type"),
        (K::EulerDiscrete, r#"{"final_sigmas_type": "one"}"#, "final_sigmas_type"),
        (K::EulerDiscrete, r#"{"use_karras_sigmas": true, "sigma_min": 0}"#, "sigma_min"),
        (K::EulerAncestralDiscrete, r#"{"prediction_type": "sample"}"#, "prediction_type"),
        (K::DpmSolverMultistep, r#"{"algorithm_type": "dpmsolver"}"#, "final_sigmas_type"),
        (K::DpmSolverMultistep, r#"{"algorithm_type": "pid"}"#, "algorithm_type"),
        (K::DpmSolverMultistep, r#"{"solver_order": 4}"#, "solver_order"),
        (
            K::HeunDiscrete,
            r#"{"use_karras_sigmas": true, "use_beta_sigmas": true}"#,
            "use_beta_sigmas",
        ),
        (K::Pndm, r#"{"prediction_type": "sample"}"#, "prediction_type"),
        (K::Tcd, r#"{"eta": 1.5}"#, "eta"),
        (K::UniPcMultistep, r#"{"solver_p": {"_class_name": "X"}}"#, "solver_p"),
        // Leaves no timestep: there is nothing to draw with.
        (
            K::DpmSolverMultistep,
            r#"{"lambda_min_clipped": 9, "timestep_spacing": "trailing"}"#,
            "lambda_min_clipped",
        ),
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
    let json = r#"{"thresholding": true, "use_flow_sigmas": true, "solver_order": 4}"#;
    Schedule::new(K::EulerDiscrete, &config(json), 10).unwrap();
    // LCM's 50 steps are nobody else's business.
    let json = r#"{"num_train_timesteps": 10, "timestep_spacing": "trailing"}"#;
    Schedule::new(K::Ddim, &config(json), 10).unwrap();
}

#[test]
fn config_reading() {
    let dpm = config(
        r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity,
            "use_karras_sigmas": true, "note": "NaN, \"-Infinity", "sigma_max": null}"#,
    );
    assert_eq!(dpm.lambda_min_clipped, None);
    let own = SchedulerKind::from_config(&dpm).unwrap();
    assert_eq!((own.kind, own.note), (SchedulerKind::DpmSolverMultistepKarras, None));
    let error = SchedulerConfig::from_value("s.json", &json!({"beta_start": "small"})).unwrap_err();
    assert!(error.to_string().starts_with("s.json: beta_start: "), "{error}");
    for value in [json!([]), json!(null), json!("text")] {
        let error = SchedulerConfig::from_value("s.json", &value).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{value}: {error}");
    }

    let kind = |class: &str| {
        SchedulerKind::from_config(&SchedulerConfig {
            class_name: Some(class.into()),
            ..Default::default()
        })
    };
    let ours = [
        ("DDIMScheduler", SchedulerKind::Ddim),
        ("PNDMScheduler", SchedulerKind::Pndm),
        ("LMSDiscreteScheduler", SchedulerKind::LmsDiscrete),
        ("HeunDiscreteScheduler", SchedulerKind::HeunDiscrete),
        ("UniPCMultistepScheduler", SchedulerKind::UniPcMultistep),
        ("LCMScheduler", SchedulerKind::Lcm),
        ("TCDScheduler", SchedulerKind::Tcd),
    ];
    for (class, expected) in ours {
        let own = kind(class).unwrap();
        assert_eq!((own.kind, own.note), (expected, None));
    }
    // A class that we don't have is no reason to refuse a model.
    for class in ["SASolverScheduler", "IPNDMScheduler", "FlaxPNDMScheduler"] {
        let own = kind(class).unwrap();
        assert_eq!(own.kind, SchedulerKind::Ddim);
        assert!(own.note.unwrap().contains(class));
    }
    let error = kind("FlowMatchEulerDiscreteScheduler").unwrap_err().to_string();
    assert!(error.starts_with("scheduler_config.json: _class_name: "), "{error}");
    let flow = config(r#"{"prediction_type": "flow_prediction"}"#);
    let error = SchedulerKind::from_config(&flow).unwrap_err().to_string();
    assert!(error.starts_with("scheduler_config.json: prediction_type: "), "{error}");
}

#[test]
fn names_round_trip() {
    for kind in SchedulerKind::ALL {
        assert_eq!(kind.name().parse::<SchedulerKind>().unwrap(), kind);
    }
    let error = "plms2".parse::<SchedulerKind>().unwrap_err().to_string();
    assert!(error.contains("plms2") && error.contains("dpmpp_2m_karras"), "{error}");
}

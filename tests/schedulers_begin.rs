//! Runs that begin at a later step, from a noised picture.

use lorakeet::schedulers::{Call, Mix, Schedule, SchedulerConfig, SchedulerKind};
use serde_json::json;

fn config(spacing: &str) -> SchedulerConfig {
    let value = json!({
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "clip_sample": false, "steps_offset": 1, "timestep_spacing": spacing,
    });
    SchedulerConfig::from_value("scheduler_config.json", &value).unwrap()
}

/// What no call before has left can't be asked for.
fn remembers_nothing_from_before(calls: &[Call]) -> Result<(), String> {
    let (mut has_anchor, mut kept) = (false, 0);
    for (i, call) in calls.iter().enumerate() {
        for mix in
            [Some(&call.next), call.anchor.as_ref(), call.keep.as_ref()].into_iter().flatten()
        {
            if mix.anchor != 0.0 && !has_anchor {
                return Err(format!("call {i} wants an anchor"));
            }
            if mix.kept[kept.min(Mix::HISTORY)..].iter().any(|factor| *factor != 0.0) {
                return Err(format!("call {i} wants more than the {kept} kept"));
            }
        }
        has_anchor |= call.anchor.is_some();
        kept = kept.saturating_sub(call.drops) + usize::from(call.keep.is_some());
    }
    Ok(())
}

fn remembers(call: &Call) -> bool {
    let mixes = [Some(&call.next), call.anchor.as_ref(), call.keep.as_ref()];
    let asks = |mix: &Mix| mix.anchor != 0.0 || mix.kept != [0.0; Mix::HISTORY];
    mixes.into_iter().flatten().any(asks)
}

#[test]
fn a_run_that_begins_later_goes_down_the_same_levels_with_nothing_to_remember() {
    use SchedulerKind as K;
    for spacing in ["leading", "trailing", "linspace"] {
        for kind in K::ALL {
            let whole = Schedule::new(kind, &config(spacing), 12).unwrap();
            for begin in 0..12 {
                let name = format!("{kind} {spacing} from {begin}");
                let later = Schedule::beginning(kind, &config(spacing), 12, begin).unwrap();
                assert_eq!(later.steps_within(usize::MAX), 12 - begin, "{name}");
                remembers_nothing_from_before(&later.calls)
                    .unwrap_or_else(|problem| panic!("{name}: {problem}"));
                // The last calls ask the model for the same; what a step takes from before may differ.
                let tail = &whole.calls[whole.calls.len() - later.calls.len()..];
                if kind != K::Pndm {
                    for (call, other) in later.calls.iter().zip(tail) {
                        let level = |call: &Call| (call.timestep, call.signal, call.spread);
                        assert_eq!(level(call), level(other), "{name}");
                    }
                }
                if kind.calls_a_step() == 2 || !whole.calls.iter().any(remembers) {
                    assert_eq!(later.calls, tail, "{name}");
                }
            }
            let error = Schedule::beginning(kind, &config(spacing), 12, 12).unwrap_err();
            assert!(error.to_string().starts_with("strength: leaves none of 12 steps"), "{error}");
        }
    }
}

/// A sample of nothing but noise is at the level that its first call names.
#[test]
fn the_level_of_a_call_is_that_of_its_sample() {
    for kind in SchedulerKind::ALL {
        let schedule = Schedule::new(kind, &config("leading"), 10).unwrap();
        for call in &schedule.calls {
            // An exact model of a picture of 0.3 in noise of -1.2 gives the noise: x0 is the picture.
            let sample = 0.3 * call.signal - 1.2 * call.spread;
            let x0 = sample * call.x0_from_sample - 1.2 * call.x0_from_model;
            assert!((x0 - 0.3).abs() < 1e-9, "{kind} at {}: {x0}", call.timestep);
        }
    }
}

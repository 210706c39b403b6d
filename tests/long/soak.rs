//! Hours in one tab: pictures and steps of training, after which no more memory is taken than after the
//! first of them.

use serde_json::json;

use crate::asked;
use crate::memory::Meter;
use crate::page::Page;

/// Parts that a soak is looked at in.
const PARTS: u64 = 20;

/// What is in use after a part.
struct Sample {
    /// Pictures or steps so far.
    done: u64,
    /// Bytes of the engine's heap.
    heap: u64,
    /// Bytes of all of the browser's processes.
    browser: u64,
}

fn sample(page: &Page, done: u64) -> Sample {
    // What nobody refers to is no leak.
    page.browser.devtools("HeapProfiler.collectGarbage", json!({}));
    let told = page.browser.run("return document.body.dataset.heapBytes ?? null", json!([]));
    let heap = told.as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    let (_, browser) = Meter::start(page.browser.process());
    page.step(&format!("{done}: heap {} MB, browser {} MB", heap / 1_000_000, browser / 1_000_000));
    Sample { done, heap, browser }
}

/// After the first tenth nothing grows any more: what the last tenth takes is the second's, and a little.
#[track_caller]
fn assert_flat(what: &str, samples: &[Sample]) {
    println!("| {what} | engine's heap, MB | browser, MB |\n|---|---|---|");
    for Sample { done, heap, browser } in samples {
        println!("| {done} | {:.1} | {:.0} |", *heap as f64 / 1e6, *browser as f64 / 1e6);
    }
    let tenth = samples.len() / 10;
    let mean = |part: &[Sample], of: fn(&Sample) -> u64| {
        part.iter().map(|sample| of(sample) as f64).sum::<f64>() / part.len() as f64
    };
    let (second, last) = (&samples[tenth..2 * tenth], &samples[samples.len() - tenth..]);
    for (name, of, more) in [
        ("heap", (|sample| sample.heap) as fn(&Sample) -> u64, 1.02),
        ("browser", |sample| sample.browser, 1.10),
    ] {
        let (then, now) = (mean(second, of), mean(last, of));
        assert!(
            now <= then * more,
            "{what}: the {name} has grown from {then:.0} to {now:.0} bytes"
        );
    }
}

#[test]
#[ignore = "twenty minutes: cargo xtask test --soak"]
fn soak_pictures_and_training_in_one_tab() {
    let (pictures, steps) =
        (asked("LORAKEET_SOAK_PICTURES", 500), asked("LORAKEET_SOAK_STEPS", 2000));
    let page = Page::new("soak");
    page.open("?backend=cpu");
    page.set("#steps", 4);
    let mut samples = Vec::new();
    for picture in 1..=pictures {
        page.set("#seed", picture);
        page.generate();
        if picture % (pictures / PARTS).max(1) == 0 {
            samples.push(sample(&page, picture));
        }
    }
    assert_flat("pictures", &samples);

    page.set_up_a_run(steps as u32, (steps / PARTS) as u32);
    page.start_training();
    let mut samples = Vec::new();
    for part in 1..=PARTS {
        page.wait_for_step(part * steps / PARTS);
        samples.push(sample(&page, page.train_step()));
    }
    page.wait_for_training("finished");
    assert_flat("steps", &samples);
    page.assert_no_console_errors();
}

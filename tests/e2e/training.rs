//! An adapter is trained in the page: from pictures that are dropped to the file that draws.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::files;
use crate::page::{Page, assert_says};
use crate::train::training_set;

const TRIGGER: &str = "night style";
const STEPS: u64 = 20;
const SNAPSHOTS: [u64; 5] = [0, 5, 10, 15, STEPS];

/// Drops the demo's eight pictures with their texts.
#[track_caller]
fn drop_training_set(page: &Page) {
    let files = training_set();
    page.drop_files(&files.iter().map(|file| file.as_path()).collect::<Vec<&Path>>());
    page.wait("eight pictures", "return document.body.dataset.pictures === '8'");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn an_adapter_is_trained_kept_rewound_exported_and_used() {
    let page = Page::new("training");
    page.open("?backend=cpu");
    drop_training_set(&page);
    pictures_bring_their_captions(&page);

    page.set("#trigger", TRIGGER);
    page.press("[data-testid=preset-normal]");
    page.set_training(&[
        ("steps", STEPS as u32),
        ("batch", 2),
        ("snapshotEvery", 5),
        ("evaluateEvery", 10),
        ("previewEvery", 10),
    ]);
    page.wait_for_training("ready");
    page.screenshot("train-1-pictures");
    page.watch_steps();
    page.start_training();
    page.step("a run is under way");
    the_plot_moves(&page);
    it_goes_on_after_a_reload(&page);
    it_is_rewound(&page);
    let file = it_is_exported(&page);
    the_file_draws_what_the_timeline_shows(&page, &file);
    page.assert_no_console_errors();
}

fn pictures_bring_their_captions(page: &Page) {
    assert!(page.is("return document.body.dataset.view === 'train'"), "the Train tab opens");
    let texts = training_set();
    let texts = texts.iter().filter(|file| file.extension().is_some_and(|ending| ending == "txt"));
    let expected: Vec<(String, String)> = texts
        .map(|text| {
            let name = text.with_extension("png").file_name().unwrap().to_str().unwrap().into();
            (name, std::fs::read_to_string(text).unwrap().trim().into())
        })
        .collect();
    let mut cards = page.captions();
    cards.sort();
    assert_eq!(cards, expected, "the cards' names and captions");
    assert_eq!(page.messages(), "");
    page.step("eight pictures are there with their captions");
}

fn the_plot_moves(page: &Page) {
    page.wait_for_step(1);
    let (points, step) = (page.points(), page.train_step());
    page.wait_for_step(step + 2);
    let (more, later) = (page.points(), page.train_step());
    assert!(points >= 1 && more > points, "the plot had {points} points, and then {more}");
    assert!(later > step, "the page was at step {step}, and then at {later}");
    let drawn = "return document.querySelector('#plot path.smooth')?.getTotalLength() > 0";
    page.wait("a line in the plot", drawn);
    assert!(page.text("#train-status").starts_with("Training: step "));
    page.step("the plot moves");
    page.screenshot("train-2-running");
}

/// In the middle of the run, after its first snapshot.
fn it_goes_on_after_a_reload(page: &Page) {
    page.wait_until_kept(5);
    assert!(page.train_step() < STEPS, "the run was through before it could be cut off");
    page.reload();
    page.watch_steps();
    page.wait("the run to be offered", "return !document.querySelector('#resume-offer').hidden");
    let offer = page.text("[data-testid=resume-run]");
    let kept = offer.split(' ').nth(3).and_then(|word| word.parse::<u64>().ok());
    let kept = kept.unwrap_or_else(|| panic!("the offer is {offer:?}"));
    assert!((5..STEPS).contains(&kept), "the offer is {offer:?}");
    assert_eq!(page.text("#resume-title"), format!("“{TRIGGER}” is not finished."));
    page.step(&format!("after a reload the run is offered from step {kept} on"));
    page.screenshot("train-3-offered");

    page.press("[data-testid=resume-run]");
    page.wait_for_training("running");
    assert!(page.points() >= kept, "the plot lacks the steps before the reload");
    assert_eq!(page.captions().len(), 8, "the pictures are back");
    let preview = page.preview(STEPS);
    page.wait_for_training("finished");
    // 0 while there was no run in hand
    assert_eq!(page.steps_seen(), [vec![0], (kept..=STEPS).collect()].concat());
    assert_eq!(page.timeline(), SNAPSHOTS, "the timeline of the whole run");
    assert_eq!(page.points(), STEPS);
    preview.assert_differs(&page.pixels("#tile-base"), "the preview and that of the base");
    let memory = page.text("#train-detail");
    assert!(memory.starts_with("Memory: ") && memory.contains(" MB at most"), "{memory:?}");
    page.step("it went on from there and is finished");
    page.screenshot("train-4-finished");
}

/// To step 10, which is dropped and made anew, with what comes after it, as it was.
fn it_is_rewound(page: &Page) {
    page.choose_step(STEPS);
    let last = page.chosen();
    page.choose_step(10);
    let tenth = page.chosen();
    tenth.assert_differs(&last, "the pictures of steps 10 and 20");
    page.look_at("#timeline-panel");
    page.screenshot("train-5-timeline");

    page.steps_seen();
    page.press("[data-testid=rewind]");
    page.confirm("Rewind to step 10?");
    page.wait_for_training("running");
    page.wait_for_training("finished");
    assert_eq!(page.steps_seen(), [vec![STEPS], (10..=STEPS).collect()].concat());
    assert_eq!(page.timeline(), SNAPSHOTS, "the timeline of the run that was rewound");
    page.choose_step(10);
    page.chosen().assert_same(&tenth, "step 10");
    page.choose_step(STEPS);
    page.chosen().assert_same(&last, "step 20, trained anew from step 10");
    page.step("rewound to step 10, it comes to the same end");
}

/// The file's name and bytes.
fn it_is_exported(page: &Page) -> (String, Vec<u8>) {
    page.allow_downloads();
    page.press("[data-testid=export]");
    page.wait("the dialog", "return document.querySelector('#export-dialog').open");
    assert_eq!(page.text("#export-step"), "The adapter as it was at step 20 of 20.");
    page.screenshot("train-6-export");
    page.browser.click("[data-testid=export-download]");
    let name = "night-style.safetensors";
    let bytes = std::fs::read(page.saved(name)).unwrap();
    page.wait("the dialog to go", "return !document.querySelector('#export-dialog').open");

    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().expect("the file has metadata");
    let expected = [
        ("ss_network_module", "networks.lora"),
        ("ss_steps", "20"),
        ("ss_max_train_steps", "20"),
        ("ss_num_train_images", "8"),
        ("ss_batch_size_per_device", "2"),
        ("ss_output_name", TRIGGER),
        ("modelspec.title", TRIGGER),
        ("modelspec.trigger_phrase", TRIGGER),
    ];
    for (key, value) in expected {
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    for key in ["sshs_model_hash", "sshs_legacy_hash", "modelspec.thumbnail", "ss_tag_frequency"] {
        assert!(metadata.get(key).is_some_and(|value| !value.is_empty()), "{key}");
    }
    assert_eq!(metadata["sshs_model_hash"].len(), 64, "a SHA-256 in hexadecimal digits");

    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names();
    let modules: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".alpha")).collect();
    assert!(modules.len() > 50, "{} modules", modules.len());
    assert_eq!(names.len(), 3 * modules.len());
    for module in modules {
        assert!(module.starts_with("lora_unet_") && !module.contains('.'), "{module}");
        for factor in ["lora_down", "lora_up"] {
            let tensor = tensors.tensor(&format!("{module}.{factor}.weight")).unwrap();
            assert_eq!(tensor.dtype(), Dtype::F16, "{module}.{factor}");
        }
    }
    page.step("exported as a kohya file");
    (name.into(), bytes)
}

/// The page forgets the run first: the adapter must be all in the file.
fn the_file_draws_what_the_timeline_shows(page: &Page, (name, bytes): &(String, Vec<u8>)) {
    let (trained, untrained) = (page.chosen(), page.pixels("#tile-base"));
    let prompt =
        page.browser.run("return document.querySelector('#preview-prompt').value", json!([]));
    let prompt = prompt.as_str().unwrap();
    assert_eq!(prompt, "night style, cat face");
    page.reload();
    page.browser.click("[data-testid=tab-generate]");

    page.drop_files(&[&page.file(name, bytes)]);
    page.wait("the adapter's card", "return document.querySelector('.card') !== null");
    page.wait_until_ready();
    assert_eq!(page.text(".card .name"), "night-style");
    assert_eq!(page.text(".card .triggers > *"), TRIGGER, "the first of the card's trigger words");
    let coverage = page.text(".card .coverage");
    assert!(coverage.contains("text encoder 0; rank "), "the card says: {coverage}");

    // as previews of a run are drawn
    page.set("#prompt", prompt);
    page.set("#seed", 11);
    page.set("#scheduler", "dpmpp_2m");
    page.set("#steps", 12);
    page.set("#guidance", 4);
    page.generate();
    page.wait_for_strength("1");
    let full = page.now();
    full.assert_differs(&page.base(), "with the trained adapter");
    full.assert_close(&trained, 8, 0.5, "the file in half precision and the run's own picture");
    page.base().assert_same(&untrained, "the base model's picture, here and while training");
    page.screenshot("train-7-used");

    page.slide_to("0.5");
    page.now().assert_differs(&full, "at half strength");
    page.slide_to("0");
    page.now().assert_same(&untrained, "strength 0");
    page.slide_to("1");
    page.now().assert_same(&full, "back at 1");
    page.step("the exported file draws, and its slider works");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_snapshot_is_used_without_a_file_and_a_run_is_put_away() {
    let page = Page::new("training-use");
    page.open("?backend=cpu");
    page.browser.click("[data-testid=tab-train]");
    page.browser.click("[data-testid=demo-pictures]");
    page.wait("eight pictures", "return document.body.dataset.pictures === '8'");
    page.press("[data-testid=preset-quick]");
    page.set_training(&[
        ("steps", 6),
        ("batch", 1),
        ("snapshotEvery", 2),
        ("evaluateEvery", 0),
        ("previewEvery", 0),
    ]);
    page.start_training();
    page.wait_for_step(3);
    page.browser.click("[data-testid=train-pause]");
    page.wait_for_training("paused");
    let at = page.train_step();
    page.step(&format!("paused at step {at}"));

    // The engine is free: the page draws.
    page.browser.click("[data-testid=tab-generate]");
    page.set("#steps", 4);
    page.generate();
    let base = page.now();
    page.browser.click("[data-testid=tab-train]");
    page.choose_step(2);
    assert_eq!(page.train_step(), at, "drawing changes nothing in the run");
    page.browser.click("[data-testid=train-start]");
    page.wait_for_training("finished");
    assert_eq!(page.timeline(), [0, 2, 4, 6]);
    page.step("a run that was paused goes on");
    each_picture_is_left_out(&page);

    page.choose_step(6);
    page.press("[data-testid=use-adapter]");
    page.wait("the adapter's card", "return document.querySelector('.card') !== null");
    assert!(page.is("return document.body.dataset.view === 'generate'"), "the Generate tab opens");
    page.wait_for_strength("1");
    page.base().assert_same(&base, "the picture without the adapter");
    page.now().assert_differs(&base, "with the snapshot of step 6");
    page.step("a snapshot is used as an adapter");

    page.browser.click("[data-testid=tab-train]");
    page.browser.click("#train-new");
    page.wait("the run in the list", "return document.querySelector('[data-testid=run]') !== null");
    page.wait_for_training("ready");
    assert!(page.text("[data-testid=run]").contains("finished at step 6"));
    page.press("[data-testid=run] .icon");
    page.confirm("cannot be undone");
    page.wait("the run to go", "return document.querySelector('[data-testid=run]') === null");
    page.step("a run is deleted");
    page.assert_no_console_errors();
}

/// Stopped in the middle, it goes on there.
fn each_picture_is_left_out(page: &Page) {
    let told = page.text("#unseen-words");
    assert!(told.contains("Trains 8 adapters more") && told.contains("That takes about"), "{told}");
    page.press("[data-testid=leave-one-out]");
    page.wait_for_training("measuring");
    let status = "return document.querySelector('#train-status').textContent";
    page.wait("the second picture to be left out", &format!("{status}.endsWith(', 2 of 8')"));
    page.press("[data-testid=leave-one-out]");
    page.wait_for_training("finished");
    page.press("[data-testid=leave-one-out]");
    page.wait_for_training("measuring");
    page.wait("a picture to be left out again", &format!("{status}.includes(' of 8')"));
    let at = page.text("#train-status");
    assert!(!at.ends_with(", 1 of 8"), "it began anew: {at}");
    page.wait_for_training("finished");
    let rows = page.browser.run(
        "return [...document.querySelectorAll('[data-testid=unseen] > div')].map(
           (row) => [row.querySelector('span').textContent, row.querySelector('output').textContent])",
        json!([]),
    );
    let rows: Vec<(String, String)> = serde_json::from_value(rows).unwrap();
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() == 8 && names.contains(&"rocket.png"), "{names:?}");
    assert!(rows.iter().all(|(_, share)| share.ends_with(" %")), "{rows:?}");
    assert!(page.text("#unseen-words").starts_with("Pictures left out come to"));
    page.step("each picture is left out in turn, with a pause in the middle");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn what_cannot_be_trained_on_is_said_by_name() {
    let page = Page::new("training-refused");
    page.open("?backend=cpu");
    let good = files::here("web/demo-model/training-set/rocket.png");
    let broken = page.file("broken.png", b"\x89PNG\r\n\x1a\nand then nothing");
    page.drop_files(&[&good, &broken]);
    let message = page.take_message();
    assert_says(&message, &["broken.png", "could not be read", "PNG, JPEG or WebP"]);
    assert!(!message.contains("rocket"), "{message}");
    assert_eq!(page.captions(), [("rocket.png".into(), String::new())]);
    page.step("a picture that cannot be read is refused, the other one stays");

    page.drop_files(&[&page.file("nobody.txt", b"a caption of nothing")]);
    let message = page.take_message();
    assert!(message.contains("nobody.txt") && message.contains("same name"), "{message}");
    page.drop_files(&[&page.file("rocket.txt", b"a rocket by night\n")]);
    let caption =
        "return document.querySelector('.picture textarea').value === 'a rocket by night'";
    page.wait("the caption that comes after its picture", caption);
    page.wait_for_training("ready");
    page.step("a text becomes the caption of a picture that is there already");

    for (field, label, value) in
        [("steps", "Steps", "0"), ("rank", "Rank", "2.5"), ("batch", "Batch", "65")]
    {
        let selector = format!("#train-{field}");
        let before = page
            .browser
            .run("return document.querySelector(arguments[0]).value", json!([selector]));
        page.set(&selector, value);
        page.wait_for_training("empty");
        assert!(page.is("return document.querySelector('#train-start').disabled"));
        let detail = page.text("#train-detail");
        println!("           {detail}");
        assert!(detail.contains(&format!("“{label}”")), "{field}: the bar says {detail:?}");
        let shown = "return document.querySelector(arguments[0]).matches(':invalid')
            && document.querySelector(arguments[0]).checkVisibility()";
        assert_eq!(page.browser.run(shown, json!([selector])), true, "{selector} is in sight");
        if field == "steps" {
            page.screenshot("train-8-refused");
        }
        page.set(&selector, before.as_str().unwrap());
        page.wait_for_training("ready");
    }
    page.step("a setting out of range is named, and Start waits for it");

    page.press(".picture .remove");
    page.wait_for_training("empty");
    assert_eq!(page.text("#train-status"), "Add pictures to begin");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn training_is_in_reach_on_a_phone() {
    let page = Page::new("training-phone");
    page.be_a_phone();
    page.open("?backend=cpu");
    page.browser.click("[data-testid=tab-train]");
    page.assert_fits_phone("the empty Train tab");
    page.screenshot("phone-train-1-empty");
    page.browser.click("[data-testid=demo-pictures]");
    page.wait("eight pictures", "return document.body.dataset.pictures === '8'");
    page.set_training(&[
        ("steps", 4),
        ("batch", 1),
        ("snapshotEvery", 2),
        ("evaluateEvery", 4),
        ("previewEvery", 4),
    ]);
    page.wait_for_training("ready");
    page.assert_fits_phone("the Train tab with pictures");
    for selector in
        ["#trigger", "[data-testid=preset-careful]", "#train-steps", "#train-start", ".role"]
    {
        page.assert_in_reach(selector);
        page.assert_in_sight_when_focused(selector);
    }
    page.look_at(".tabs");
    page.screenshot("phone-train-2-pictures");
    page.look_at("#train-steps");
    page.screenshot("phone-train-3-settings");

    page.start_training();
    page.wait_for_step(2);
    assert!(page.is("return scrollY === 0"), "the plot is in sight");
    page.assert_fits_phone("the Train tab with a run");
    page.screenshot("phone-train-4-running");
    page.assert_in_reach("#train-pause");
    page.wait_for_training("finished");
    page.assert_fits_phone("the Train tab with a run that is finished");
    page.choose_step(4);
    for selector in ["#plot", "#timeline", "#try", "#use-adapter", "#export"] {
        page.assert_in_reach(selector);
        page.assert_in_sight_when_focused(selector);
    }
    page.assert_in_reach("#rewind");
    page.look_at("#plot");
    page.screenshot("phone-train-5-finished");
    page.look_at("#timeline");
    page.screenshot("phone-train-6-timeline");
    page.press("#inside-panel summary");
    page.look_at("#heat");
    page.assert_fits_phone("the Train tab with the adapter's inside");
    page.screenshot("phone-train-7-inside");
    page.assert_no_console_errors();
}

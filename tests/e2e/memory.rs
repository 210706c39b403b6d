//! Memory: what is told of it before a model is loaded, what is refused before it is begun, and the
//! model in use, which stays whatever goes wrong with another one.

use serde_json::json;

use crate::page::{Page, assert_says};
use crate::{PROMPT, SEED, assert_reference, drop_ink, files};

/// Workers that the page started, counted from its load on.
const COUNT_WORKERS: &str = "window.workers = 0;
    window.Worker = class extends Worker {
        constructor(...words) { super(...words); if (words[1]?.name === 'lorakeet') window.workers += 1; }
    };";

#[track_caller]
fn workers(page: &Page) -> u64 {
    page.browser.run("return window.workers", json!([])).as_u64().unwrap()
}

#[track_caller]
fn open(test: &str, query: &str) -> Page {
    let page = Page::new(test);
    page.at_every_load(COUNT_WORKERS);
    page.open(query);
    page.set("#prompt", PROMPT);
    page.set("#seed", SEED);
    page.set("#scheduler", "ddim");
    page.set("#steps", 20);
    page.set("#guidance", 4);
    page
}

#[track_caller]
fn load(page: &Page, name: &str, bytes: &[u8]) {
    let file = page.file(name, bytes);
    page.browser.type_into("#file-input", file.to_str().unwrap());
}

#[track_caller]
fn wait_for_model(page: &Page, name: &str) {
    page.wait_with(
        "the model to be there",
        "return document.querySelector('#model-name').textContent === arguments[0]
           && document.body.dataset.state === 'ready'
           && !document.querySelector('#model-weights').disabled",
        json!([name]),
    );
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_model_that_cannot_be_loaded_leaves_the_one_in_use() {
    let page = open("model-stays", "");
    drop_ink(&page);
    page.generate();
    page.wait_for_strength("1");
    let before = page.now();
    assert_reference(&before, "ddim.ink_1.0.0");

    // Found before anything of the old model makes way.
    let (gap, key) = files::single_file_with_a_gap();
    load(&page, "gap.safetensors", &gap);
    let message = page.take_message();
    assert_says(&message, &["gap.safetensors", key, "missing"]);
    wait_for_model(&page, "Emoji Diffusion");
    assert_eq!(workers(&page), 1, "the engine was started anew for a file that it only looked at");
    page.step("a file without one tensor is refused by its header");

    // Found in the last component, when the old model is gone already.
    let (nan, key) = files::single_file_with_nan();
    load(&page, "nan.safetensors", &nan);
    let message = page.take_message();
    assert_says(&message, &["nan.safetensors", key, "NaN"]);
    wait_for_model(&page, "Emoji Diffusion");
    assert_eq!(workers(&page), 2);
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
    page.wait_for_strength("1");
    page.now().assert_same(&before, "after a load that failed");
    page.step("the former model and its adapter are back by themselves");

    // Cancelled as soon as it begins.
    let file = page.file("tiny-sd.safetensors", &files::single_file());
    page.browser.run(
        "new MutationObserver((_, observer) => {
           if (!document.querySelector('#status').textContent.startsWith('Loading tiny')) return;
           observer.disconnect();
           document.querySelector('#cancel-loading').click();
         }).observe(document.querySelector('#status'), { childList: true })",
        json!([]),
    );
    page.browser.type_into("#file-input", file.to_str().unwrap());
    page.wait(
        "the model that stays",
        "return /stays loaded/.test(document.querySelector('#status').textContent)",
    );
    wait_for_model(&page, "Emoji Diffusion");
    page.set("#prompt", PROMPT);
    page.set("#seed", 12);
    page.generate();
    page.set("#seed", SEED);
    // The same tokens, and another prompt to the pictures that are kept.
    page.set("#prompt", PROMPT.replacen('s', "S", 1));
    page.generate();
    page.wait_for_strength("1");
    page.now().assert_same(&before, "after a load that was cancelled");
    page.step("a load that is cancelled leaves page and engine with the same model");

    wait_for_model(&page, "Emoji Diffusion");
    load(&page, "tiny-sd.safetensors", &files::single_file());
    wait_for_model(&page, "tiny-sd");
    page.step("and a good one is loaded after all that");
    assert_eq!(page.messages(), "");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn weights_are_kept_as_a_person_chooses() {
    let page = open("weights", "");
    page.generate();
    let full = page.now();
    wait_for_model(&page, "Emoji Diffusion");
    let line = page.text("#model-memory-line");
    assert!(line.contains(" in use, of 4.29 GB that this tab can have."), "{line}");
    assert!(page.text("#model-weights").contains("as it fits: full (f32)"));
    // The demo model's file is in halves: nothing is rounded where they stay.
    for (weights, differs) in [("q8", true), ("f16", false), ("", false)] {
        page.set("#model-weights", weights);
        page.wait("the load to begin", "return document.querySelector('#model-weights').disabled");
        wait_for_model(&page, "Emoji Diffusion");
        page.set("#prompt", PROMPT);
        page.set("#seed", SEED);
        page.set("#scheduler", "ddim");
        page.set("#steps", 20);
        page.set("#guidance", 4);
        page.generate();
        match differs {
            true => {
                page.now().assert_differs_at_all(&full, weights);
                page.now().assert_close(&full, 60, 1.0, weights);
            }
            false => page.now().assert_same(&full, "in halves or in full"),
        }
        page.step(&format!("weights {weights:?} draw"));
        page.screenshot(&format!("memory-{weights}"));
    }
    assert_eq!(page.messages(), "");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_picture_that_cannot_fit_is_refused_before_its_first_step() {
    for backend in ["cpu", "webgpu"] {
        let page = open(
            &format!("refusal-{backend}"),
            &format!("?backend={backend}&patience=900&memory=110MB"),
        );
        assert!(page.text("#model-memory-line").contains("the limit in this page's address"));
        page.set("#width", 1536);
        page.set("#height", 1024);
        page.set("#steps", 1);
        page.browser.click("#generate");
        let message = page.take_message();
        assert_says(&message, &["1536x1024 takes about", "there is room for", "Choose "]);
        page.wait_until_ready();
        assert!(page.is("return document.querySelector('#two-up').hasAttribute('data-empty')"));
        page.browser.click("#generate");
        page.wait("a message", "return document.querySelector('.message') !== null");
        page.screenshot(&format!("memory-refused-{backend}"));
        page.take_message();
        let (_, proposed) = message.split_once("Choose ").unwrap();
        let (size, _) = proposed.split_once(',').unwrap();
        let (width, height) = size.split_once('x').unwrap();
        page.set("#width", width);
        page.set("#height", height);
        page.generate();
        assert_eq!(format!("{}x{}", page.now().width, page.now().height), size);
        page.step(&format!("{backend}: the size that was proposed is drawn"));
        page.assert_no_console_errors();
    }
}

/// WebAssembly's memory never shrinks: what a large picture took goes back with the worker.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn another_model_gives_back_what_was_held() {
    let page = open("anew", "?backend=cpu");
    page.set("#width", 1024);
    page.set("#height", 1024);
    page.set("#steps", 1);
    page.set("#guidance", 1);
    page.generate();
    page.step("a large picture was drawn");
    assert_eq!(workers(&page), 1);
    load(&page, "tiny-sd.safetensors", &files::single_file());
    wait_for_model(&page, "tiny-sd");
    assert_eq!(workers(&page), 2, "a fresh worker for another model");
    page.browser.click("#demo-back");
    wait_for_model(&page, "Emoji Diffusion");
    assert_eq!(workers(&page), 2, "nothing large is held: the same worker");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn memory_is_told_on_a_phone() {
    let page = Page::new("memory-phone");
    page.be_a_phone();
    page.open("?memory=100MB");
    page.set("#width", 1024);
    page.set("#height", 1024);
    page.browser.click("#generate");
    page.wait("a message", "return document.querySelector('.message') !== null");
    page.screenshot("memory-phone-refused");
    page.take_message();
    page.assert_fits_phone("the page");
    for selector in ["#model-weights", "#model-memory-line"] {
        page.assert_in_reach(selector);
    }
    page.screenshot("memory-phone-model");
    page.assert_no_console_errors();
}

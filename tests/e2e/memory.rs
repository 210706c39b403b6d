//! Memory: what is told of it before a model is loaded, what is refused before it is begun, and the
//! model in use, which stays whatever goes wrong with another one.

use serde_json::json;

use crate::page::Page;
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
    for part in ["gap.safetensors", key, "missing"] {
        assert!(message.contains(part), "the message lacks {part:?}: {message}");
    }
    wait_for_model(&page, "Emoji Diffusion");
    assert_eq!(workers(&page), 1, "the engine was started anew for a file that it only looked at");
    page.step("a file without one tensor is refused by its header");

    // Found in the last component, when the old model is gone already.
    let (nan, key) = files::single_file_with_nan();
    load(&page, "nan.safetensors", &nan);
    let message = page.take_message();
    for part in ["nan.safetensors", key, "NaN"] {
        assert!(message.contains(part), "the message lacks {part:?}: {message}");
    }
    wait_for_model(&page, "Emoji Diffusion");
    assert_eq!(workers(&page), 2);
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
    page.wait_for_strength("1");
    page.now().assert_same(&before, "after a load that failed");
    page.step("the former model and its adapter are back by themselves");

    // Cancelled in the middle.
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
    // What the status says of it may be gone at once: the former picture is shown again.
    page.wait("another engine for the former model", "return window.workers === 3");
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

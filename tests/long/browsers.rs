//! The page in browsers other than Chromium, as far as WebDriver goes in all of them: a picture, an adapter and
//! its slider, a run that goes on after a reload, an export.

use serde_json::{Value, json};

use crate::files;
use crate::page::{Page, assert_says, variable};
use crate::reference::{ask_for_reference_run, assert_reference};
use crate::webdriver::Browser;

/// Notes what the page hands out as files: the ways of downloads differ too much.
const WATCH: &str = "
    const create = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
      if (blob.size > 100_000 && blob.type !== 'text/javascript') window.handedOut = blob;
      return create.call(URL, blob);
    };";

fn draws_and_trains(page: &Page) {
    page.open("?backend=cpu");
    page.step("the page is open and has loaded the demo model");
    ask_for_reference_run(page);
    page.generate();
    let base = page.now();
    assert_reference(&base, "ddim.base.0");
    page.step("Generate draws");

    let ink = page.file("ink.kohya.safetensors", &files::ink());
    page.browser.type_into("#file-input", ink.to_str().unwrap());
    page.wait_for_strength("1");
    assert_reference(&page.now(), "ddim.ink_1.0.0");
    page.base().assert_same(&base, "the left side is the picture without the adapter");
    page.slide_to("0.5");
    assert_reference(&page.now(), "ddim.ink_0.5.0");
    page.slide_to("0");
    page.now().assert_same(&base, "strength 0");
    page.step("an adapter is on, and its slider works");

    page.set_up_a_run(20, 5);
    page.set("#trigger", "elsewhere");
    if page.is("return Boolean(navigator.storage?.getDirectory)") {
        page.start_training();
        page.wait_until_kept(5);
        page.reload();
        page.wait(
            "the run to be offered",
            "return !document.querySelector('#resume-offer').hidden",
        );
        page.step("after a reload the run is offered");
        page.press("[data-testid=resume-run]");
    } else {
        // A driver may give its pages no room for files.
        page.wait_for_training("ready");
        page.browser.click("#train-start");
        assert_says(&page.take_message(), &["not kept", "a run lives as long as the tab"]);
        page.step("that this browser keeps no files is said");
    }
    page.wait_for_training("finished");
    assert_eq!(page.train_step(), 20);
    assert_eq!(page.timeline(), [0, 5, 10, 15, 20]);
    page.step("the run is finished");

    page.browser.run(WATCH, json!([]));
    page.press("[data-testid=export]");
    page.wait("the dialog", "return document.querySelector('#export-dialog').open");
    page.browser.click("[data-testid=export-download]");
    page.wait("the file", "return Boolean(window.handedOut)");
    let header = page.browser.run(
        "return (async () => {
           const length = new DataView(await window.handedOut.slice(0, 8).arrayBuffer()).getBigUint64(0, true);
           return window.handedOut.slice(8, 8 + Number(length)).text();
         })()",
        json!([]),
    );
    let header: Value = serde_json::from_str(header.as_str().unwrap()).unwrap();
    assert_eq!(header["__metadata__"]["ss_steps"], "20");
    let factors = header.as_object().unwrap().keys().filter(|key| key.ends_with("lora_up.weight"));
    assert!(factors.count() > 50);
    assert_eq!(page.messages(), "");
    page.step("the adapter is exported");
}

#[test]
#[ignore = "needs Firefox: cargo xtask test --browsers"]
fn browsers_firefox_draws_and_trains() {
    let capabilities = json!({
        "moz:firefoxOptions": { "binary": variable("LORAKEET_FIREFOX"), "args": ["-headless"] },
    });
    let browser = Browser::start_other(&variable("LORAKEET_GECKODRIVER"), capabilities);
    draws_and_trains(&Page::within("firefox", browser));
}

#[test]
#[ignore = "needs WebKit: cargo xtask test --browsers"]
fn browsers_webkit_draws_and_trains() {
    let capabilities = json!({
        "webkitgtk:browserOptions": {
            "binary": variable("LORAKEET_MINIBROWSER"), "args": ["--automation"],
        },
    });
    let browser = Browser::start_other(&variable("LORAKEET_WEBKITDRIVER"), capabilities);
    draws_and_trains(&Page::within("webkit", browser));
}

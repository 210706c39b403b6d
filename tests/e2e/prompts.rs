//! Prompts on the page: weights, chunks, texts that change while a picture is drawn, and what is said of signs
//! that are read otherwise.

use serde_json::json;

use crate::page::{Page, Picture, assert_says};

/// A picture of four steps.
fn drawn(page: &Page, prompt: &str) -> Picture {
    page.set("#prompt", prompt);
    page.generate();
    page.now()
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_signs_of_a_prompt_change_the_picture() {
    let page = Page::new("prompts");
    page.open("?backend=cpu");
    for (field, value) in [("#steps", 4), ("#guidance", 4), ("#seed", 12)] {
        page.set(field, value);
    }
    let plain = drawn(&page, "blue cat face");
    drawn(&page, "blue cat face # of mine").assert_same(&plain, "a comment");
    page.take_message();
    for prompt in [
        "(blue:1.5) cat face",
        "blue BREAK cat face",
        "blue [cat:dog:1] face",
        &format!("blue cat face, {}", "red apple ".repeat(60)),
    ] {
        assert!(drawn(&page, prompt) != plain, "{prompt}");
    }
    assert_eq!(page.messages(), "");

    page.set("#emphasis", "none");
    let brackets = drawn(&page, "(blue:1.5) cat face");
    page.set("#emphasis", "ignore");
    let ignored = drawn(&page, "(blue:1.5) cat face");
    assert!(brackets != ignored, "brackets are text");
    // The edge of a weight is the edge of a word, and here there is one anyway.
    ignored.assert_same(&plain, "weights that aren't used");
    page.set("#emphasis", "original");
    page.set("#clip-skip", 2);
    assert!(drawn(&page, "blue cat face") != plain, "clip skip");

    page.set("#clip-skip", 1);
    drawn(&page, "blue cat face <lora:nobody:0.8>").assert_same(&plain, "a tag is no word");
    assert_says(&page.take_message(), &["About this picture", "<lora:nobody:0.8>", "no adapter"]);
    // A demo adapter comes by its name.
    let inked = drawn(&page, "blue cat face <lora:ink:0.8>");
    inked.assert_differs(&plain, "a tag switches its adapter on");
    page.set("#prompt", "blue cat face");
    page.wait(
        "the adapter to go off with its tag",
        "return !document.querySelector('.card .enabled').checked",
    );
    page.wait_for_strength("0");
    page.now().assert_same(&plain, "off");
    page.set("#prompt", "blue cat face <lora:ink>");
    page.wait("the adapter to be on", "return document.querySelector('.card .enabled').checked");
    page.set(".card .strength input[type=number]", 0.8);
    page.wait_for_strength("0.8");
    page.now().assert_same(&inked, "the card's strength is the tag's");
    assert_eq!(
        page.browser.run("return document.querySelector('#prompt').value", json!([])),
        "blue cat face <lora:ink:0.8>"
    );
    assert_eq!(page.messages(), "");
    drawn(&page, &"red apple ".repeat(60));
    page.wait("its tokens to be told", "return document.querySelector('#prompt-tokens').textContent === '120 of 150 tokens, read in 2 chunks'");
    page.browser.run("document.querySelector('#settings').open = true", json!([]));
    page.screenshot("prompt-settings");
    page.assert_no_console_errors();
}

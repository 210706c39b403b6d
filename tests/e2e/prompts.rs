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
    a_tag_spreads_a_strength(&page, &plain, &inked);
    assert_eq!(page.messages(), "");
    drawn(&page, &"red apple ".repeat(60));
    page.wait("its tokens to be told", "return document.querySelector('#prompt-tokens').textContent === '120 of 150 tokens, read in 2 chunks'");
    page.browser.run("document.querySelector('#settings').open = true", json!([]));
    page.screenshot("prompt-settings");
    page.assert_no_console_errors();
}

/// Over blocks and steps: the card follows the tag, and a saved picture brings both back.
fn a_tag_spreads_a_strength(page: &Page, plain: &Picture, inked: &Picture) {
    let shown = |what: &str, is_it: &str| -> Picture {
        let now = "const { pictureFingerprint, pictureBase, state } = document.body.dataset;
             const [ink] = JSON.parse(pictureFingerprint).adapters;
             const [blocks, curve] = ink?.slice(3) ?? [];";
        page.wait(
            what,
            &format!("{now} return state === 'ready' && pictureBase === '1' && blocks && {is_it};"),
        );
        page.now()
    };
    page.set("#prompt", "blue cat face <lora:ink:0.8:lbw=NONE>");
    let none = shown("no block", "Object.values(blocks).every((factor) => factor === 0)");
    none.assert_same(plain, "all factors are 0");
    page.set("#prompt", "blue cat face <lora:ink:0.8:start=2>");
    let late = shown("the later steps", "curve.length === 2 && curve[1][0] === 0.25");
    late.assert_differs_at_all(inked, "the first step is without");
    late.assert_differs_at_all(plain, "the others are with");
    page.set("#prompt", "blue cat face <lora:ink:0.8:lbw=INALL:stop=4>");
    let is_both = "curve.length === 2 && curve[0][0] === 0.75 && blocks.M00 === 0";
    let both = shown("some blocks, some steps", is_both);
    both.assert_differs_at_all(&late, "other blocks and steps");
    page.step("blocks and steps change the picture");

    page.allow_downloads();
    page.browser.click("#save");
    let saved = page.saved("blue-cat-face-12.png");
    page.set("#prompt", "blue cat face <lora:ink:0.8:lbw=NONE>");
    shown("no block again", "curve.length === 0");
    page.drop_files(&[&saved]);
    page.wait("a message", "return document.querySelector('.message') !== null");
    assert_says(&page.take_message(), &["blue-cat-face-12.png", "ink 0.8", "steps 0–75 %"]);
    page.browser.click("#generate");
    shown("what was saved", is_both).assert_same(&both, "its file brings it back");
    page.browser.run("document.querySelector('.spread').open = true", json!([]));
    page.screenshot("prompt-spread");
}

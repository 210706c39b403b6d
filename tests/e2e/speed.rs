//! Adapters that are made for few steps: one click sets what they want.

use serde_json::json;

use crate::{assert_reference, drop_ink_as, open};

const ADVICE: &str = "[data-testid=use-advice]";

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn one_click_sets_what_a_speed_adapter_wants() {
    let page = open("speed", "");
    let value = |selector: &str| {
        let script = "return document.querySelector(arguments[0]).value";
        page.browser.run(script, json!([selector])).as_str().unwrap().to_string()
    };
    let settings = || ["#steps", "#guidance", "#scheduler", "#spacing"].map(value);
    let hidden =
        |selector: &str| page.is(&format!("return document.querySelector('{selector}').hidden"));
    drop_ink_as(&page, "lcm-lora-sdv1-5.safetensors");
    page.wait_until_ready();
    assert_eq!(page.text(ADVICE), "Use its settings: 4 steps, guidance 1, LCM");
    page.screenshot("speed-1-offered");
    page.browser.click(ADVICE);
    assert_eq!(settings(), ["4", "1", "lcm", ""]);
    assert!(page.text("#settings-summary").starts_with("4 steps · guidance 1 "));
    page.generate();
    assert_reference(&page.now(), "lcm.ink_1.0.0");
    page.step("an adapter with the name of LCM-LoRA draws in four steps");
    page.screenshot("speed-2-drawn");

    // The form's own button leads back.
    page.browser.run("document.querySelector('#settings').open = true", json!([]));
    page.browser.click("#settings-reset");
    assert_eq!(settings(), ["20", "4", "ddim", ""]);
    page.browser.click(".card .remove");
    page.wait("the card to go", "return document.querySelector('.card') === null");
    page.wait_until_ready();

    // With a picture on show, the click draws at once.
    drop_ink_as(&page, "Hyper-SD15-2steps-lora.safetensors");
    page.wait_for_strength("1");
    let drawn = page.drawn();
    page.browser.click(ADVICE);
    assert_eq!(settings(), ["2", "1", "ddim", "trailing"]);
    page.wait_with("a picture", "return window.drawn > arguments[0]", json!([drawn]));
    page.wait_until_ready();
    page.browser.click(".card .remove");
    page.wait("the card to go", "return document.querySelector('.card') === null");
    page.wait_until_ready();

    // TCD's own number is there with TCD alone.
    assert!(hidden("#eta-field"));
    drop_ink_as(&page, "Hyper-SD15-1step-lora.safetensors");
    page.wait_until_ready();
    page.wait_for_strength("1");
    let drawn = page.drawn();
    page.browser.click(ADVICE);
    assert_eq!(settings(), ["1", "1", "tcd", ""]);
    page.wait_with("a picture", "return window.drawn > arguments[0]", json!([drawn]));
    page.wait_until_ready();
    assert_eq!(value("#eta"), "1");
    assert!(!hidden("#eta-field"));
    // An adapter that says nothing of the kind gets no button.
    let soft =
        std::fs::read(crate::files::here("web/demo-model/lora/soft.kohya.safetensors")).unwrap();
    page.drop_files(&[&page.file("soft.safetensors", &soft)]);
    page.wait("two cards", "return document.querySelectorAll('.card').length === 2");
    let offered =
        "return [...document.querySelectorAll('.card .advice')].map((box) => !box.hidden)";
    assert_eq!(page.browser.run(offered, json!([])), json!([true, false]));
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_settings_of_a_speed_adapter_fit_a_phone() {
    let page = crate::page::Page::new("speed-phone");
    page.be_a_phone();
    page.open("");
    drop_ink_as(&page, "Hyper-SD15-8steps-CFG-lora.safetensors");
    page.wait_until_ready();
    page.browser.run("document.querySelector('#settings').open = true", json!([]));
    page.set("#scheduler", "tcd");
    page.assert_fits_phone("a speed adapter and open settings");
    page.assert_in_reach(ADVICE);
    page.browser
        .run("document.querySelector('.card').scrollIntoView({ block: 'start' })", json!([]));
    page.screenshot("speed-phone");
    page.assert_no_console_errors();
}

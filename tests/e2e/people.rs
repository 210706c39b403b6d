//! People who can't see, hold a mouse, tell colours apart or wait: axe's rules in every look of the page, the
//! keyboard's place, what is said and to whom.

use serde_json::{Value, json};

use crate::page::{Page, assert_says};

const ENTER: &str = "\u{E007}";
const LEFT: &str = "\u{E012}";
const RIGHT: &str = "\u{E014}";

/// How a person may have their screen: name, width, colours, and whether the system puts in its own few.
const LOOKS: [(&str, u32, &str, bool); 4] = [
    ("light", 1280, "light", false),
    ("dark on a phone", 390, "dark", false),
    ("dark", 1280, "dark", false),
    ("forced colours", 1280, "dark", true),
];

/// axe's own rules but those that only a person can judge. Where nothing but colours changes, colours are asked for.
const AXE: &str = r#"
const [all] = arguments;
const runOnly = all
  ? { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }
  : { type: "rule", values: ["color-contrast", "target-size"] };
return axe.run(document, { runOnly, resultTypes: ["violations"] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) => nodes.map(({ target, any, all, none }) =>
    `${id}: ${target.join(" ")} (${[...any, ...all, ...none].map(({ message }) => message).join("; ")})`)));"#;

fn be(page: &Page, width: u32, colours: &str, forced: bool) {
    let forced = if forced { "active" } else { "none" };
    let features = json!([
        { "name": "prefers-color-scheme", "value": colours },
        { "name": "forced-colors", "value": forced },
    ]);
    page.browser.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    let mobile = width < 900;
    let screen = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": mobile });
    page.browser.devtools("Emulation.setDeviceMetricsOverride", screen);
}

/// Every look of the page as it is now, and that the smallest of phones has room for it.
#[track_caller]
fn keeps_the_rules(page: &Page, what: &str) {
    let mut broken = Vec::new();
    for (look, width, colours, forced) in LOOKS {
        be(page, width, colours, forced);
        let all = look == "light" || width < 900;
        let found = page.browser.run(AXE, json!([all]));
        for rule in found.as_array().expect("axe answers") {
            broken.push(format!("{look}: {}", rule.as_str().unwrap_or("")));
        }
        page.screenshot(&format!("people-{what}-{look}").replace(' ', "-"));
    }
    be(page, 360, "light", false);
    let wide = page.browser.run(
        "return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
           && e.getBoundingClientRect().right > innerWidth + 1
           && !e.closest('[role=toolbar], .visually-hidden')).map((e) => e.outerHTML.slice(0, 80))",
        json!([]),
    );
    page.screenshot(&format!("people-{what}-360").replace(' ', "-"));
    be(page, 1280, "light", false);
    assert_eq!(broken, [""; 0], "{what}");
    assert_eq!(wide, json!([]), "{what}: it reaches beyond a phone of 360 points");
    page.step(what);
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn no_rule_of_accessibility_is_broken() {
    let script = std::env::var("LORAKEET_AXE").expect("run cargo xtask test --e2e");
    if script.is_empty() {
        println!("           left out: there is no npm here to install axe-core with");
        return;
    }
    let page = Page::new("rules");
    page.open("?backend=cpu");
    let axe = std::fs::read_to_string(&script).unwrap_or_else(|e| panic!("{script}: {e}"));
    page.browser.run(&axe, json!([]));

    page.browser
        .run("for (const d of document.querySelectorAll('main details')) d.open = true", json!([]));
    keeps_the_rules(&page, "open and ready");

    crate::drop_ink(&page);
    page.set("#steps", 1);
    page.generate();
    page.wait("both pictures", "return document.body.dataset.pictureBase === '1'");
    page.browser.run(
        "document.querySelectorAll('.card details').forEach((fold) => { fold.open = true; })",
        json!([]),
    );
    keeps_the_rules(&page, "an adapter is on");

    page.browser.click("[data-testid=keep-adapters]");
    page.wait("it to be kept", "return document.querySelector('[data-testid=library-entry]')");
    page.browser.run("document.querySelector('.entry details').open = true", json!([]));
    keeps_the_rules(&page, "the library");

    let name = format!("{}.safetensors", "a-long-name-without-a-blank-".repeat(7));
    page.drop_files(&[&page.file(&name, b"not a model")]);
    page.wait("a refusal", "return document.querySelector('.message.error')");
    keeps_the_rules(&page, "a refusal");
    page.browser.click(".message button");

    page.browser.click("#tab-train");
    page.browser.click("#pictures-demo");
    page.wait_for_training("ready");
    page.browser.run(
        "for (const d of document.querySelectorAll('#view-train details')) d.open = true",
        json!([]),
    );
    keeps_the_rules(&page, "ready to train");

    page.set_training(&[("steps", 2), ("snapshotEvery", 1), ("evaluateEvery", 1)]);
    page.start_training();
    page.wait_for_training("finished");
    page.browser.run("document.querySelector('#inside-panel').open = true", json!([]));
    keeps_the_rules(&page, "a run is finished");

    page.press("#export");
    page.wait("the dialog", "return document.querySelector('#export-dialog').open");
    keeps_the_rules(&page, "a dialog");
    page.assert_no_console_errors();
}

/// What has the focus: its id, or its class, or its text.
fn focus(page: &Page) -> String {
    let script = "const { activeElement: a, body } = document;
        return a === body || a === null ? 'nothing' : a.id || a.className || a.textContent";
    page.browser.run(script, json!([])).as_str().unwrap().to_string()
}

/// Presses Enter on a control and waits for what comes of it.
#[track_caller]
fn enter(page: &Page, selector: &str, what: &str, then: &str) -> String {
    page.browser.type_into(selector, ENTER);
    page.wait(what, then);
    let at = focus(page);
    println!("           {selector}: {what}, and the focus is at {at}");
    assert_ne!(at, "nothing", "{selector}: {what}, and the focus is nowhere");
    at
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_focus_never_falls_to_the_document() {
    let page = Page::new("focus");
    page.open("?backend=cpu");
    for name in ["ink", "soft"] {
        let chip = format!("[data-adapter={name}].chip");
        let there = format!("return document.querySelector('.card[data-adapter={name}]') !== null");
        enter(&page, &chip, "its card comes and its button goes", &there);
    }
    let one = "return document.querySelectorAll('.card').length === 1";
    let at = enter(&page, ".card .remove", "one of two cards goes", one);
    assert!(at.contains("remove"), "the next card's button: {at}");
    let none = "return document.querySelector('.card') === null";
    enter(&page, ".card .remove", "the last card goes", none);
    page.step("adapters");

    // What is told again comes once.
    for name in ["empty.safetensors", "nothing.safetensors"] {
        page.drop_files(&[&page.file(name, b"")]);
    }
    let count = "return document.querySelectorAll('.message').length";
    page.wait("two messages", &format!("{count} === 2"));
    enter(&page, ".message button", "one of two messages goes", &format!("{count} === 1"));
    let at = enter(&page, ".message button", "the last message goes", &format!("{count} === 0"));
    assert!(!at.contains("messages"), "not where nothing is left: {at}");
    page.step("messages");

    let open = "return document.querySelector('#about').open";
    enter(&page, "#about-open", "the dialog opens", open);
    let at = enter(
        &page,
        "#about .primary",
        "the dialog closes",
        "return !document.querySelector('#about').open",
    );
    assert_eq!(at, "about-open");

    page.browser.click("#tab-train");
    let eight = "return document.querySelectorAll('.picture[role=listitem]').length === 8";
    enter(&page, "#pictures-demo", "eight pictures come", eight);
    let seven = eight.replace('8', "7");
    let at = enter(&page, ".picture .remove", "one goes", &seven);
    assert!(at.contains("remove"), "the next picture's button: {at}");
    page.set_training(&[("steps", 100)]);
    page.wait_for_training("ready");
    let begins = "return document.body.dataset.train === 'running'";
    enter(&page, "#train-start", "the run begins", begins);
    enter(&page, "#train-pause", "it rests", "return document.body.dataset.train === 'paused'");
    let none = "return document.body.dataset.train !== 'paused'";
    enter(&page, "#train-new", "it is put away", none);
    page.wait("the run in the list", "return document.querySelector('#runs .icon')");
    let asks = "return document.querySelector('#confirm-dialog').open";
    enter(&page, "#runs .icon", "the page asks", asks);
    let gone = "return document.querySelector('#runs li') === null";
    enter(&page, "#confirm-yes", "the run is deleted", gone);
    page.step("a run from Start to its end");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn keys_move_what_a_pointer_moves_and_words_follow() {
    let page = Page::new("keys");
    page.open("?backend=cpu");
    // One stop for the tab key, and arrows within it.
    let stops = "return document.querySelectorAll('#prompt-chips [tabindex=\"0\"]').length";
    assert_eq!(page.browser.run(stops, json!([])), 1);
    let focused = || page.browser.run("return document.activeElement.textContent", json!([]));
    page.browser.type_into("#prompt-chips [tabindex='0']", RIGHT);
    assert_eq!(focused(), "fox");
    page.browser.type_into("#prompt-chips [tabindex='0']", LEFT);
    assert_ne!(focused(), "fox");

    // A field that is wrong keeps its place, and the slider the focus.
    crate::drop_ink(&page);
    page.set("#steps", 1);
    page.generate();
    let drawn = page.drawn();
    page.browser
        .run("document.querySelector('#settings').open = false; steps.value = '9999'", json!([]));
    page.browser.type_into(crate::RANGE, RIGHT);
    page.wait(
        "words on it",
        "return document.querySelector('#status').textContent.startsWith('Not drawn')",
    );
    assert!(page.is("return !document.querySelector('#settings').open"), "nothing springs open");
    assert!(page.is("return document.activeElement.type === 'range'"), "the slider has the focus");
    assert_eq!(page.drawn(), drawn);
    page.set("#steps", 1);
    page.step("a slider beside a wrong field");

    // -1 is a random seed, and the one that was drawn is shown.
    page.set("#seed", "-1");
    let seed: u64 =
        page.browser.run("return seed.value", json!([])).as_str().unwrap().parse().unwrap();
    assert!(
        page.is("return !document.querySelector('#seed-lock').checked"),
        "another one each time"
    );
    page.generate();
    assert_says(
        &page.browser.run("return document.body.dataset.pictureFingerprint", json!([])).to_string(),
        &[&seed.to_string()],
    );
    page.step("seed -1");

    // What ended while nobody looked is told until somebody does.
    page.browser.run(
        "window.told = [];
         window.Notification = class extends EventTarget {
           static permission = 'granted';
           static requestPermission = async () => 'granted';
           constructor(title, { body }) { super(); window.told.push(`${title}: ${body}`); }
         };
         Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true });
         window.away = true;",
        json!([]),
    );
    page.generate();
    let title = || page.browser.run("return document.title", json!([]));
    assert_eq!(title(), "Drawn · Lorakeet");
    let back = "window.away = false; document.dispatchEvent(new Event('visibilitychange'))";
    page.browser.run(back, json!([]));
    assert_eq!(title(), "Lorakeet");
    page.browser.click("#tab-train");
    page.browser.click("#pictures-demo");
    page.set_training(&[("steps", 3)]);
    page.start_training();
    page.browser.click("#tell");
    page.browser.run("window.away = true", json!([]));
    page.wait_for_training("finished");
    page.wait("the title", "return document.title === 'Finished · Lorakeet'");
    let told = page.browser.run("return window.told", json!([]));
    assert!(told[0].as_str().unwrap().starts_with("Finished: Finished: 3 steps"), "{told}");
    page.browser.run(back, json!([]));
    page.step("a run that ended is told");

    // The plot is read step by step.
    let value = || page.browser.run("return plot.getAttribute('aria-valuetext')", json!([]));
    page.browser.type_into("#plot", LEFT);
    let read: Value = value();
    assert!(read.as_str().unwrap().starts_with("step 2 · loss "), "{read}");
    assert_eq!(page.browser.run("return plot.getAttribute('aria-valuenow')", json!([])), "2");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_browser_that_is_too_old_is_told() {
    for (lack, words) in [
        ("delete Promise.withResolvers", "JavaScript of 2024"),
        ("WebAssembly.validate = () => false", "WebAssembly with SIMD"),
        ("delete window.OffscreenCanvas", "OffscreenCanvas"),
    ] {
        let page = Page::new("old");
        page.at_every_load(lack);
        page.browser.open(&page.address());
        let said = page.wait(
            "the notice",
            "return document.querySelector('#too-old:not([hidden])')?.textContent",
        );
        assert_says(said.as_str().unwrap(), &["too old", words, "Firefox"]);
        assert_eq!(page.text("#status"), "This browser is too old");
        assert_eq!(page.messages(), "", "one word on it is enough");
        page.screenshot("people-too-old");
    }
}

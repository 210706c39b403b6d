//! The second visit, and hosts that know nothing of cross-origin isolation: the service worker.

use serde_json::json;

use crate::page::Page;
use crate::site::Site;

const KEPT: &str = "return navigator.serviceWorker.ready.then(() => true)";
const CONTROLLED: &str = "return navigator.serviceWorker.controller !== null";

/// The wasm module is compiled while it arrives, for which its type has to be right.
const STREAMS: &str = "return fetch('lorakeet_bg.wasm')
    .then((response) => WebAssembly.compileStreaming(response)).then(() => true)";

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_second_visit_needs_no_network() {
    let mut site = Site::new(true);
    let page = Page::new("visits");
    page.open_at(&site.url);
    page.wait("the service worker", KEPT);
    assert!(site.asked().iter().any(|path| path == "lorakeet_bg.wasm"), "the first visit loads it");
    page.step("the first visit is kept");

    page.open_at(&site.url);
    assert!(page.is(CONTROLLED));
    let asked = site.asked();
    assert!(asked.iter().all(|path| path == "service-worker.js"), "asked for again: {asked:?}");
    assert!(page.is(STREAMS), "the module is compiled while it arrives");
    assert!(page.is("return crossOriginIsolated"));
    page.step("the second visit asks for nothing but a newer version");
    page.assert_no_console_errors();

    site.go();
    page.open_at(&site.url);
    crate::ask_for_reference_run(&page);
    page.generate();
    crate::assert_reference(&page.now(), "ddim.base.0");
    page.step("the host is gone, and the page opens and draws");
    page.open_at(&format!("{}bench.html?backend=cpu", site.url));
    assert!(page.text("#machine").contains("processor threads"));
    page.step("so does bench.html");
}

/// Counts how often this tab loaded the page.
const COUNT: &str = "sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1;";
/// Somebody uses the page as soon as it is there.
const TOUCH: &str =
    "addEventListener('DOMContentLoaded', () => dispatchEvent(new Event('keydown')));";

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_host_without_headers_gets_an_isolated_page() {
    let site = Site::new(false);
    let page = Page::new("headers");
    page.at_every_load(COUNT);
    page.open_at(&site.url);
    page.wait("the page to be isolated", "return crossOriginIsolated");
    page.arrived();
    let loads = "return Number(sessionStorage.loads)";
    assert_eq!(page.browser.run(loads, json!([])), 2, "loaded once more, and no more than once");
    assert!(page.is(STREAMS), "though the host doesn't know the module's type");
    let capability = page.text("#capability");
    println!("           {capability}");
    crate::ask_for_reference_run(&page);
    page.set("#steps", 4);
    page.generate();
    page.assert_no_console_errors();
    page.step("a host without headers: isolated, after one more load");
    page.open_at(&site.url);
    assert!(page.is("return crossOriginIsolated"));
    assert_eq!(page.browser.run(loads, json!([])), 3);
    page.step("from then on at once");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_page_in_use_is_not_loaded_anew() {
    let site = Site::new(false);
    let page = Page::new("touched");
    page.at_every_load(COUNT);
    page.at_every_load(TOUCH);
    page.open_at(&site.url);
    page.wait("the service worker", KEPT);
    page.wait_until_ready();
    assert!(page.is("return !crossOriginIsolated && sessionStorage.loads === '1'"));
    page.step("somebody was there: nothing is loaded anew");
    page.open_at(&site.url);
    assert!(page.is("return crossOriginIsolated && sessionStorage.loads === '2'"));
    page.step("the next visit is isolated");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_new_version_comes_whole_and_at_the_next_load() {
    let site = Site::new(true);
    let page = Page::new("versions");
    // ChromeDriver waits for each worker to answer, which a thread never does.
    let address = format!("{}?threads=1", site.url);
    page.open_at(&address);
    page.wait("the service worker", KEPT);
    let title = "<h1>Lorakeet</h1>";
    let old = String::from_utf8(site.file("index.html")).unwrap();
    assert!(old.contains(title));
    let new = old.replace(title, "<h1>Newer</h1>").into_bytes();
    let entry = |bytes: &[u8]| format!("\"index.html\": [{}, {}]", bytes.len(), sum(bytes));
    let script = String::from_utf8(site.file("service-worker.js")).unwrap();
    assert!(script.contains(&entry(old.as_bytes())), "the list has the page");
    let is_new = "return document.querySelector('h1')?.textContent === 'Newer'";
    let look = "return navigator.serviceWorker.getRegistration()
        .then((r) => r.update()).then(() => true, () => true)";
    let idle =
        "return navigator.serviceWorker.getRegistration().then((r) => !r.installing && !r.waiting)";
    let waits = "return navigator.serviceWorker.getRegistration().then((r) => r.waiting !== null)";

    // The host is in the middle of an upload. (Looked for while nothing else begins: ChromeDriver forgets
    // about workers that start beside a service worker.)
    site.replace("service-worker.js", script.replace(&entry(old.as_bytes()), &entry(&new)).into());
    assert!(page.is(look));
    page.wait("the half version to be refused", idle);
    let newer = site.file("service-worker.js");
    site.replace("service-worker.js", script.into());
    page.open_at(&address);
    assert!(!page.is(is_new));
    page.step("half a version is none");

    site.replace("index.html", new);
    site.replace("service-worker.js", newer);
    assert!(page.is(look));
    page.wait("the new version to be there", waits);
    assert!(!page.is(is_new), "it waits for the next load");
    // ChromeDriver forgets about workers that start beside a service worker, so that this load may never
    // have its engine; it is there to be the new version's.
    // A busy browser starts the new version so late that the old one answers once more.
    let came = || {
        page.browser.open(&address);
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            page.is(is_new)
        })
    };
    assert!((0..3).any(|_| came()), "the new version never came. {}", page.describe());
    page.open_at(&address);
    assert!(page.is(is_new));
    let caches = "return caches.keys().then((names) => names.length)";
    assert_eq!(page.browser.run(caches, json!([])), 1, "nothing of the old one stays");
    assert!(page.is(CONTROLLED));
    crate::ask_for_reference_run(&page);
    page.set("#steps", 4);
    page.generate();
    page.step("the new one comes at the next load");
}

/// As `xtask/src/version.rs` sums a file up.
fn sum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, &byte: &u8| (sum ^ u32::from(byte)).wrapping_mul(16_777_619);
    bytes.iter().fold(2_166_136_261, step)
}

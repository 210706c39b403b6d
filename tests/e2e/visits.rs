//! The second visit, and hosts that know nothing of cross-origin isolation: the service worker.

use serde_json::json;

use crate::page::Page;
use crate::site::Site;

const ACTIVE: &str = "return navigator.serviceWorker.ready.then(() => true)";
/// All files are kept.
const KEPT: &str = "return caches.match(new URL('whole', document.baseURI)).then(Boolean)";
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
    page.wait("the page to be kept", KEPT);
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
    page.wait("the service worker", ACTIVE);
    page.wait_until_ready();
    assert!(page.is("return !crossOriginIsolated && sessionStorage.loads === '1'"));
    page.step("somebody was there: nothing is loaded anew");
    page.open_at(&site.url);
    assert!(page.is("return crossOriginIsolated && sessionStorage.loads === '2'"));
    page.step("the next visit is isolated");
}

/// The bytes of the built page but for what only WebGPU needs.
fn bytes_of_the_page(site: &Site) -> usize {
    let script = String::from_utf8(site.file("service-worker.js")).unwrap();
    let list = script.split("const FILES = {").nth(1).unwrap().split("};").next().unwrap();
    let entries = list.lines().filter_map(|line| line.trim().strip_suffix("],")?.split_once(": ["));
    let bytes = entries.filter(|(_, entry)| !entry.ends_with("true"));
    bytes.map(|(_, entry)| entry.split(',').next().unwrap().parse::<usize>().unwrap()).sum()
}

/// The site says nothing of how long a file may be kept, nor whether one has changed. What page and workers both
/// import is then sent to each; the wasm and the demo model, which are nearly all, are sent once.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_first_visit_loads_the_page_once() {
    for knows in [true, false] {
        let site = Site::new(knows);
        let page = Page::new(if knows { "once" } else { "once-plain" });
        page.browser.open(&format!("{}?backend=cpu", site.url));
        page.wait("the page to be kept", KEPT);
        let (whole, sent) = (bytes_of_the_page(&site), site.bytes_asked());
        println!("           {sent} bytes were asked for, the page has {whole}");
        assert!(whole > 20_000_000 && sent >= whole, "everything was loaded");
        assert!(sent < whole + whole / 20, "and hardly anything twice: {sent} of {whole}");
        page.step(if knows { "a host with headers" } else { "a plain host, with its reload" });
    }
}

/// A note of when a host refused may be there.
const NOTHING_KEPT: &str =
    "caches.keys().then((names) => names.every((name) => name === 'lorakeet refused'))";

const TITLE: &str = "<h1>Lorakeet</h1>";
const IS_NEW: &str = "return document.querySelector('h1')?.textContent === 'Newer'";
const LOOK: &str = "return navigator.serviceWorker.getRegistration()
    .then((r) => r.update()).then(() => true, () => true)";
const IDLE: &str =
    "return navigator.serviceWorker.getRegistration().then((r) => !r.installing && !r.waiting)";
const NOTICE: &str = "const line = document.querySelector('#new-version');
    return line.checkVisibility() && line.querySelector('span').textContent";

/// A page that says something else, and a script with its list and its mark.
struct NewVersion {
    page: Vec<u8>,
    script: Vec<u8>,
}

impl NewVersion {
    fn of(site: &Site) -> Self {
        let old = String::from_utf8(site.file("index.html")).unwrap();
        let script = String::from_utf8(site.file("service-worker.js")).unwrap();
        let mark = script.split("const BUILD = \"").nth(1).unwrap().split('"').next().unwrap();
        assert!(old.contains(TITLE) && old.contains(mark), "the page has its build's mark");
        let new = old.replace(TITLE, "<h1>Newer</h1>").replace(mark, "lorakeet-newer").into_bytes();
        let script = String::from_utf8(site.script_with("index.html", &new)).unwrap();
        Self { page: new, script: script.replace(mark, "lorakeet-newer").into_bytes() }
    }
}

/// Opens the page on a site until it is kept, and under its service worker from then on.
fn kept(test: &str, site: &Site, address: &str) -> Page {
    let mut page = Page::new(test);
    page.patience = std::time::Duration::from_secs(120);
    page.open_at(address);
    page.wait("the page to be kept", KEPT);
    // opening the same address again would only go to its fragment
    page.reload();
    assert!(page.is(CONTROLLED));
    site.asked();
    page
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_new_version_comes_whole_and_when_it_is_wanted() {
    let site = Site::new(true);
    // ChromeDriver waits for each worker to answer, which a thread never does.
    let address = format!("{}?threads=1&backend=cpu#train", site.url);
    let page = kept("versions", &site, &address);
    let new = NewVersion::of(&site);

    // The host is in the middle of an upload. (Looked for while nothing else begins: ChromeDriver forgets
    // about workers that start beside a service worker.)
    let script = site.file("service-worker.js");
    site.replace("service-worker.js", new.script.clone());
    assert!(page.is(LOOK));
    page.wait("the half version to be refused", IDLE);
    assert!(!page.is(NOTICE) && page.is(KEPT), "the version that works stays");
    site.replace("service-worker.js", script);
    assert!(page.is(LOOK));
    page.step("half a version is none");

    site.asked();
    site.replace("index.html", new.page);
    site.replace("service-worker.js", new.script);
    assert!(page.is(LOOK));
    let told = page.wait("the notice", NOTICE);
    assert_eq!(told, "A new version of Lorakeet is here.");
    let asked = site.asked();
    let of_the_page = asked.iter().filter(|path| *path != "service-worker.js");
    assert_eq!(of_the_page.collect::<Vec<_>>(), [""], "what hasn't changed is copied");
    page.screenshot("new-version");
    page.step("a new version is told of, and only what has changed was loaded");

    page.reload();
    assert!(!page.is(IS_NEW), "until it is wanted the old one answers, in the Train tab as well");
    page.wait("the notice again", NOTICE);
    assert_eq!(page.browser.run("return location.hash", json!([])), "#train");
    page.browser.click("#new-version button");
    page.wait("the new version", IS_NEW);
    page.arrived();
    assert_eq!(page.browser.run("return location.hash", json!([])), "#train");
    assert!(!page.is(NOTICE) && page.is(CONTROLLED) && page.is(KEPT));
    let caches = "return caches.keys().then((names) => names.length)";
    assert_eq!(page.browser.run(caches, json!([])), 1, "nothing of the old one stays");
    page.step("it comes with a click, to the tab that was open");
    page.browser.click("#tab-generate");
    crate::ask_for_reference_run(&page);
    page.set("#steps", 4);
    page.generate();
    page.step("and draws");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_new_version_reaches_every_tab_and_waits_for_work() {
    let site = Site::new(true);
    let address = format!("{}?threads=1&backend=cpu", site.url);
    let page = kept("version-tabs", &site, &address);
    let new = NewVersion::of(&site);
    site.replace("index.html", new.page);
    site.replace("service-worker.js", new.script);
    assert!(page.is(LOOK));
    page.wait("the notice", NOTICE);
    let (second, first) = page.browser.another_tab();
    page.browser.switch_to(&second);
    page.open_at(&address);
    page.wait("the notice in the other tab", NOTICE);
    let says = |part: &str| {
        let script = format!("{NOTICE}.includes(arguments[0])");
        page.wait_with(&format!("the notice of {part:?}"), &script, json!([part]));
    };

    // A picture that takes its time.
    crate::ask_for_reference_run(&page);
    page.set("#steps", 150);
    page.browser.click("#generate");
    page.wait("the picture", "return document.body.dataset.state === 'running'");
    page.browser.click("#new-version button");
    says("in this tab");
    page.browser.switch_to(&first);
    page.browser.click("#new-version button");
    says("Another tab of Lorakeet is at work");
    page.step("while something is going on anywhere, nothing is loaded anew");

    page.browser.switch_to(&second);
    assert!(!page.is(IS_NEW));
    page.browser.click("#generate");
    page.wait_until_ready();
    page.browser.switch_to(&first);
    page.browser.click("#new-version button");
    says("another tab, which is loaded anew too");
    assert!(!page.is(IS_NEW), "that wants a second click");
    page.browser.click("#new-version button");
    for tab in [&first, &second] {
        page.browser.switch_to(tab);
        page.wait("the new version", IS_NEW);
    }
    page.step("then all tabs have it");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_host_that_changes_files_keeps_nobody_at_an_old_version() {
    let site = Site::new(true);
    // What some hosts put into every document.
    let change = |html: Vec<u8>| {
        let html = String::from_utf8(html).unwrap();
        html.replace("</body>", "<!-- counted by the host --></body>").into_bytes()
    };
    site.replace("index.html", change(site.file("index.html")));
    let address = format!("{}?threads=1&backend=cpu", site.url);
    let page = kept("changed", &site, &address);
    page.step("a page with something in it from its host is kept");
    let new = NewVersion::of(&site);
    site.replace("index.html", change(new.page));
    site.replace("service-worker.js", new.script);
    assert!(page.is(LOOK));
    page.wait("the notice", NOTICE);
    page.browser.click("#new-version button");
    page.wait("the new version", IS_NEW);
    page.arrived();
    page.step("and so is the next one");

    // A host that changes scripts too is one in the middle of an upload, until a day has passed.
    let script = String::from_utf8(site.file("service-worker.js")).unwrap();
    let hasty = script.replace("const UPLOAD_MS = 24 * 60 * 60 * 1000;", "const UPLOAD_MS = 0;");
    assert_ne!(script, hasty);
    let mut format = site.file("web/format.js");
    format.extend(b"\n// made smaller by the host\n");
    site.replace("web/format.js", format);
    site.replace(
        "service-worker.js",
        hasty.replacen("web/awake.js\": [", "web/awake.js\": [1", 1).into(),
    );
    assert!(page.is(LOOK));
    page.wait("the version that nobody can check", NOTICE);
    page.browser.click("#new-version button");
    page.wait("the host's own answers", &format!("return {NOTHING_KEPT}"));
    site.asked();
    page.browser.open(&address);
    page.wait("the page", IS_NEW);
    assert!(site.asked().iter().any(|path| path == "web/format.js"), "the host answers itself");
    page.step("a host that changes scripts for ever is left to itself");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn other_pages_of_the_origin_are_left_alone() {
    let site = Site::new(false);
    let page = Page::new("others");
    page.open_at(&format!("{}?backend=cpu", site.url));
    page.wait("the page to be isolated", "return crossOriginIsolated");
    page.wait("the page to be kept", KEPT);
    let other = b"<!doctype html><title>another</title><h1>Another</h1>";
    site.replace("other/index.html", other.into());
    site.asked();
    page.browser.open(&format!("{}other/index.html", site.url));
    page.wait("the other page", "return document.title === 'another'");
    assert!(page.is("return !crossOriginIsolated"), "it is as its host sends it");
    assert!(site.asked().iter().any(|path| path == "other/index.html"));
    let policy =
        "return fetch(location).then(({ headers }) => !headers.has('content-security-policy'))";
    assert!(page.is(policy));
    page.step("another project at the same origin is left alone");

    // Lorakeet has gone, and something else is there.
    site.replace("index.html", other.into());
    site.remove("service-worker.js");
    page.browser.open(&site.url);
    page.wait("what is there now", "return document.title === 'another'");
    assert!(page.is("return caches.keys().then((names) => names.length === 0)"));
    page.step("where Lorakeet is no more, it doesn't stay");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_sources_are_served_without_a_service_worker() {
    let site = Site::new(true);
    let address = format!("{}?backend=cpu&threads=1", site.url);
    let page = kept("sources", &site, &address);
    // As `cargo xtask serve` does.
    for (path, source) in
        [("web/visits.js", "web/visits.js"), ("service-worker.js", "web/service-worker.js")]
    {
        site.replace(path, std::fs::read(crate::files::here(source)).unwrap());
    }
    page.browser.open(&address);
    let none = "return navigator.serviceWorker.getRegistrations().then((all) => all.length === 0)";
    page.wait("the service worker to go", none);
    assert!(page.is("return caches.keys().then((names) => names.length === 0)"));
    page.open_at(&address);
    assert!(page.is("return navigator.serviceWorker.controller === null"));
    assert!(page.is(none), "and none comes");
    page.step("sources are never kept");
}

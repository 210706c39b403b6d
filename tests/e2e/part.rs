//! What only a GPU's backend runs is a module of its own (`xtask/src/split`): who gets it, and when.

use serde_json::json;

use crate::page::{Page, Picture};
use crate::site::Site;

const PART: &str = "lorakeet_gpu.wasm";

const KEPT: &str =
    "return caches.match(new URL('lorakeet_gpu.wasm', document.baseURI)).then(Boolean)";

const WHOLE: &str = "return caches.match(new URL('whole', document.baseURI)).then(Boolean)";

/// Draws in a few steps on what is open.
fn draw(page: &Page) -> Picture {
    crate::ask_for_reference_run(page);
    page.set("#steps", 4);
    page.generate();
    page.now()
}

fn times_asked(site: &Site) -> usize {
    site.asked().iter().filter(|path| *path == PART).count()
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn only_webgpu_loads_its_part_and_keeps_it() {
    let mut site = Site::new(true);
    let (cpu, gpu) = ["cpu", "webgpu"].map(|b| format!("{}?backend={b}", site.url)).into();
    let page = Page::new("part");
    page.open_at(&cpu);
    page.wait("the page to be kept", WHOLE);
    let drawn = draw(&page);
    crate::drop_ink(&page);
    page.wait_for_strength("1");
    page.open_at(&cpu);
    assert_eq!(
        (times_asked(&site), page.is(KEPT)),
        (0, false),
        "the CPU backend has no use for it"
    );
    page.step("the CPU backend draws without the GPU's part");

    page.open_at(&gpu);
    draw(&page).assert_close(&drawn, 4, 0.3, "WebGPU and CPU");
    assert_eq!((times_asked(&site), page.is(KEPT)), (1, true));
    page.step("WebGPU loads it, and draws");
    page.assert_no_console_errors();

    site.go();
    page.open_at(&gpu);
    draw(&page).assert_close(&drawn, 4, 0.3, "WebGPU without a host");
    page.step("the host is gone, and WebGPU draws");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_first_visit_on_webgpu_keeps_it_too() {
    let mut site = Site::new(true);
    let gpu = format!("{}?backend=webgpu", site.url);
    let page = Page::new("part-first");
    page.open_at(&gpu);
    page.wait("the part to be kept", KEPT);
    page.wait("the page to be kept", WHOLE);
    page.wait("the service worker", "return navigator.serviceWorker.ready.then(() => true)");
    page.step("a visit before there is a service worker");
    site.go();
    page.open_at(&gpu);
    draw(&page);
    page.step("the host is gone, and WebGPU draws");
}

/// A worker opens the module as for the CPU backend and then does what needs the part.
const LATE: &str = r#"
const [threads, then] = arguments;
const at = (path) => JSON.stringify(new URL(path, document.baseURI).href);
const text = `
  const { claimTimestamps } = await import(${at("web/gpu.js")});
  const { openModule } = await import(${at("web/module.js")});
  try {
    claimTimestamps();
    const { wasm } = await openModule("cpu", ${threads});
    postMessage(${then});
  } catch (error) {
    postMessage(String(error?.stack ?? error));
  }`;
const script = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
return import(new URL("web/workers.js", document.baseURI)).then(({ scriptAddress }) => {
  const worker = new Worker(scriptAddress(script), { type: "module" });
  return new Promise((resolve) => worker.addEventListener("message", ({ data }) => {
    worker.terminate();
    resolve(data);
  }));
});"#;

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn what_is_called_without_it_loads_it() {
    let site = Site::new(true);
    let page = Page::new("part-late");
    page.open_at(&format!("{}?backend=cpu", site.url));
    site.asked();
    // The way to a GPU asks for the part itself: that is passed over, for a stub to be what loads it.
    let opened = "await (() => {
        const load = self.lorakeetGpuPart;
        self.lorakeetGpuPart = () => { self.lorakeetGpuPart = load; };
        return wasm.Engine.open('webgpu').then((engine) => engine.kernels());
    })()";
    let kernels = page.browser.run(LATE, json!([1, opened]));
    assert_eq!(kernels["kind"], "WGSL", "{kernels}");
    assert_eq!(times_asked(&site), 1, "{kernels}");
    page.step("a call of a function that went brings it");
    let shared = page.browser.run(LATE, json!([2, "self.lorakeetGpuPart() ?? 'there'"]));
    assert_eq!(shared, "there");
    page.step("so it does on shared memory");
    page.assert_no_console_errors();
}

/// As `trunk build` leaves it, whose glue names no part. (The main module will do for a whole one here.)
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_module_without_a_part_opens() {
    let site = Site::new(true);
    let glue = String::from_utf8(site.file("lorakeet.js")).unwrap();
    let (glue, tail) = glue.split_once("export const gpuPart").expect("the glue names the part");
    assert!(tail.contains(PART) && tail.lines().count() == 1, "{tail}");
    site.replace("lorakeet.js", glue.into());
    let page = Page::new("part-none");
    page.open_at(&format!("{}?backend=cpu", site.url));
    draw(&page);
    page.step("a page without a part draws on the CPU backend");
    page.open_at(&format!("{}?backend=cpu&threads=1", site.url));
    draw(&page);
    page.step("and so it does without threads");
}

//! An engine that breaks: its GPU is lost, its worker is gone or says nothing, it panics. Each in the middle
//! of something, and each time another engine goes on where the one before was.

use serde_json::json;

use crate::page::{Page, assert_says};
use crate::{PROMPT, ask_for_reference_run, drop_ink};

/// Lets a test break the worker from inside: `window.fault("...")`, which tells what was done to how many
/// devices. `window.gpuIsGone` takes the GPU from every worker that asks for one.
const FAULTS: &str = r#"
const faults = new BroadcastChannel("faults");
window.fault = (what) => new Promise((resolve) => {
  faults.addEventListener("message", ({ data }) => data.done === what && resolve(data.count));
  faults.postMessage({ what });
});
faults.addEventListener("message", ({ data }) => data.ask && faults.postMessage({ gpu: !window.gpuIsGone }));
const broken = (address) => `
  const early = [];
  const keep = ({ data }) => early.push(data);
  addEventListener("message", keep);
  const faults = new BroadcastChannel("faults");
  const devices = [];
  if (self.GPUAdapter) {
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...wanted) {
      const device = await request.apply(this, wanted);
      devices.push(device);
      return device;
    };
    const ask = navigator.gpu.requestAdapter.bind(navigator.gpu);
    navigator.gpu.requestAdapter = (...wanted) => new Promise((resolve) => {
      const answer = new BroadcastChannel("faults");
      answer.addEventListener("message", ({ data }) => {
        if (!("gpu" in data)) return;
        answer.close();
        resolve(data.gpu ? ask(...wanted) : null);
      });
      answer.postMessage({ ask: true });
    });
    // A test's GPU is one in software, which the page would leave alone.
    if (${location.search.includes("gpu=claimed")}) {
      Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
    }
  }
  const acts = {
    destroy: () => devices.forEach((device) => device.destroy()),
    panic: () => { GPUDevice.prototype.createBuffer = () => { throw new Error("no buffer today"); }; },
    block: () => { for (const end = performance.now() + 8000; performance.now() < end;); },
    words: () => { setTimeout(() => { self.lorakeetPanic = "the roof is leaking"; throw new WebAssembly.RuntimeError("unreachable"); }); },
  };
  faults.addEventListener("message", ({ data: { what } }) => {
    if (!what) return;
    acts[what]();
    faults.postMessage({ done: what, count: devices.length });
  });
  await import(${address});
  removeEventListener("message", keep);
  for (const data of early) dispatchEvent(new MessageEvent("message", { data }));`;
const scripted = (text) => new Blob([text], { type: "text/javascript" });
window.Blob = class extends Blob {
  constructor(parts, options) {
    const [, address] = /^import ("[^"]*\/web\/worker\.js[^"]*");$/.exec(parts?.[0]) ?? [];
    super(address ? [broken(address)] : parts, options);
  }
};
window.Worker = class extends Worker {
  constructor(address, options) {
    super(address instanceof URL ? URL.createObjectURL(scripted(broken(JSON.stringify(address.href)))) : address, options);
    if (options.name === "lorakeet") window.lastWorker = this;
  }
};"#;

/// A GPU in software takes seconds for each.
const FEW: u32 = 2;

const MESSAGE: &str = "return document.querySelector('.message') !== null";

#[track_caller]
fn open(test: &str, query: &str) -> Page {
    let page = Page::new(test);
    page.at_every_load(FAULTS);
    page.open(query);
    ask_for_reference_run(&page);
    page.set("#steps", FEW);
    page.set("#guidance", 1);
    page
}

/// Breaks the worker; says how many devices there were.
#[track_caller]
fn fault(page: &Page, what: &str) -> u64 {
    page.browser.run("return window.fault(arguments[0])", json!([what])).as_u64().unwrap()
}

/// Begins a long picture, and comes back in the middle of it.
#[track_caller]
fn begin_a_long_picture(page: &Page) {
    page.set("#steps", 150);
    page.browser.click("#generate");
    page.wait(
        "the picture to be under way",
        "return /step [2-9]/.test(document.querySelector('#progress-detail').textContent)",
    );
}

/// The picture of the other spelling, which isn't in memory and has the same tokens.
#[track_caller]
fn draw_anew(page: &Page) {
    page.set("#steps", FEW);
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_gpu_that_is_lost_in_the_middle_of_a_picture_comes_back() {
    let page = open("lost", "?backend=webgpu&patience=900");
    drop_ink(&page);
    page.generate();
    page.slide_to("0.5");
    let before = page.now();

    begin_a_long_picture(&page);
    assert!(fault(&page, "destroy") > 0, "there was no device");
    page.wait("a message", MESSAGE);
    page.screenshot("engine-1-lost");
    let message = page.take_message();
    assert_says(
        &message,
        &["The GPU was lost, and the engine was started again", "Your model and adapters are back"],
    );
    assert!(page.text("#capability summary").starts_with("Runs on WebGPU: "));
    page.now().assert_same(&before, "the picture before stays");
    page.step("a lost GPU is noticed, and told once");

    draw_anew(&page);
    page.wait_for_strength("0.5");
    page.now().assert_same(&before, "drawn on the GPU that came back");
    page.step("model, adapter and strength are there again");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_run_goes_on_by_itself_when_the_gpu_was_lost() {
    const STEPS: u64 = 12;
    let page = open("lost-run", "?backend=webgpu&patience=900");
    let files: Vec<_> = crate::train::training_set();
    page.drop_files(&files.iter().map(|file| file.as_path()).collect::<Vec<_>>());
    page.wait("eight pictures", "return document.body.dataset.pictures === '8'");
    page.press("[data-testid=preset-quick]");
    page.set_training(&[("steps", STEPS as u32), ("snapshotEvery", 4), ("evaluateEvery", 0)]);
    page.set("#train-previews", "off");
    page.watch_steps();
    page.start_training();
    page.wait_until_kept(4);
    let at = page.train_step();
    assert!(at < STEPS, "the run was through before it could be cut off");
    assert!(fault(&page, "destroy") > 0, "there was no device");
    page.wait("a message", MESSAGE);
    page.screenshot("engine-2-run");
    let message = page.take_message();
    assert_says(&message, &["The GPU was lost", "The training run goes on from step "]);
    page.wait_for_training("finished");
    let seen = page.steps_seen();
    let again = seen.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    // None is done again where the device went between a step that was kept and the next.
    assert!(again <= 1 && seen.last() == Some(&STEPS), "steps {seen:?}");
    assert_eq!(page.points(), STEPS);
    assert_eq!(page.timeline(), [0, 4, 8, 12]);
    page.step("the run went on by itself, and is finished");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_run_outlasts_models_that_do_not_come() {
    let page = open("run-and-models", "?backend=cpu");
    let files = crate::train::training_set();
    page.drop_files(&files.iter().map(|file| file.as_path()).collect::<Vec<_>>());
    page.wait("eight pictures", "return document.body.dataset.pictures === '8'");
    page.set_training(&[("steps", 20_000), ("snapshotEvery", 5), ("evaluateEvery", 0)]);
    page.set("#train-previews", "off");
    page.start_training();
    page.wait_for_step(3);

    let (gap, key) = crate::files::single_file_with_a_gap();
    page.drop_files(&[&page.file("gap.safetensors", &gap)]);
    assert_says(&page.take_message(), &["gap.safetensors", key]);
    let at = page.train_step();
    page.wait_for_step(at + 2);
    page.step("a file that is no model is refused, and the run goes on");

    let asked = "return document.querySelector('#confirm-dialog').open";
    let good = page.file("tiny-sd.safetensors", &crate::files::single_file());
    page.drop_files(&[&good]);
    page.wait("the question", asked);
    assert_says(&page.text("#confirm-text"), &["This pauses the training run"]);
    page.screenshot("engine-7-question");
    page.browser.click("#confirm-dialog [value=cancel]");
    page.wait(
        "the model that stays",
        "return /stays loaded/.test(document.querySelector('#status').textContent)",
    );
    let at = page.train_step();
    page.wait_for_step(at + 2);
    page.step("a question that is answered with no leaves the run alone");

    page.browser.run(
        "new MutationObserver((_, observer) => {
           if (!document.querySelector('#status').textContent.startsWith('Loading tiny')) return;
           observer.disconnect();
           setTimeout(() => document.querySelector('#cancel-loading').click());
         }).observe(document.querySelector('#status'), { childList: true })",
        json!([]),
    );
    page.drop_files(&[&good]);
    page.wait("the question", asked);
    page.browser.click("#confirm-yes");
    page.wait("the run to be put away", "return document.body.dataset.train !== 'running'");
    page.wait_for_training("running");
    assert_eq!(page.text("#model-name"), "Emoji Diffusion");
    assert!(page.train_step() >= at, "the run is back at step {}", page.train_step());
    let at = page.train_step();
    page.wait_for_step(at + 2);
    page.wait(
        "no draft of the run's own pictures",
        "return navigator.storage.getDirectory().then((root) => root.getDirectoryHandle('draft'))
           .then((folder) => folder.getFileHandle('draft.json')).then((handle) => handle.getFile())
           .then((file) => file.text())
           .then((text) => JSON.parse(text).pictures.length === 0).catch(() => false)",
    );
    page.step("a load that is cancelled brings the run back, and it goes on");
    assert_eq!(page.messages(), "");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_gpu_that_stays_away_is_left_for_the_cpu() {
    let page = open("no-gpu", "?gpu=claimed&patience=900");
    let line = page.text("#capability summary");
    assert!(line.starts_with("Runs on WebGPU: "), "{line}");
    drop_ink(&page);
    page.set("#steps", 2);
    page.generate();
    page.wait_for_strength("1");
    let before = page.now();

    page.browser.run("window.gpuIsGone = true", json!([]));
    begin_a_long_picture(&page);
    fault(&page, "destroy");
    page.wait("a message", MESSAGE);
    page.screenshot("engine-3-cpu");
    let message = page.take_message();
    let told =
        ["was lost", "Your model and adapters are back", "on the CPU now", "reload the page"];
    assert_says(&message, &told);
    let line = page.text("#capability summary");
    assert!(line.starts_with("Runs on CPU: the GPU was left"), "{line}");
    page.set("#steps", 2);
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
    page.wait_for_strength("1");
    page.now().assert_close(&before, 4, 0.3, "the CPU's and the GPU's");
    page.step("the CPU draws what the GPU drew");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_panic_is_told_in_its_own_words() {
    let page = open("panic", "?backend=webgpu&patience=900");
    page.generate();
    let before = page.now();
    // What the module itself says when a call of WebGPU throws.
    page.browser.run("window.fault('panic')", json!([]));
    draw_anew_until_it_breaks(&page);
    let message = page.take_message();
    assert_says(&message, &["was started again", "panicked at", "no buffer today"]);
    page.step("a panic in the module tells its words");

    // In a future that nobody waits for, so that no request fails.
    begin_a_long_picture(&page);
    page.browser.run("window.fault('words')", json!([]));
    let message = page.take_message();
    assert_says(&message, &["was started again", "the roof is leaking"]);
    draw_anew(&page);
    page.now().assert_same(&before, "by the new engine");
    page.step("and so does one outside any request");
}

#[track_caller]
fn draw_anew_until_it_breaks(page: &Page) {
    page.set("#prompt", "fox");
    page.browser.click("#generate");
    page.wait("a message", MESSAGE);
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn an_engine_that_says_nothing_can_be_started_anew() {
    let page = open("silent", "?backend=cpu&patience=3");
    drop_ink(&page);
    page.generate();
    page.wait_for_strength("1");
    let before = page.now();

    // It is only busy: the offer goes by itself.
    begin_a_long_picture(&page);
    page.browser.run("window.fault('block')", json!([]));
    page.wait("an offer", MESSAGE);
    assert_says(&page.messages(), &["The engine doesn’t answer", "It has said nothing for "]);
    page.wait("the offer to go", "return document.querySelector('.message') === null");
    page.step("an engine that answers after all takes the offer away");

    // Its worker is gone, and Stop alone changes nothing.
    page.browser.run("window.lastWorker.terminate()", json!([]));
    page.browser.click("#generate");
    page.wait_until_ready();
    page.set("#prompt", "fox");
    page.set("#steps", FEW);
    page.browser.click("#generate");
    page.wait("an offer", MESSAGE);
    page.screenshot("engine-4-silent");
    page.browser.click(".message .quiet");
    page.wait(
        "the engine to be back",
        "return /was started again/.test(document.querySelector('.message')?.textContent)",
    );
    let message = page.take_message();
    assert_says(&message, &["Your model and adapters are back", "it didn't answer"]);
    draw_anew(&page);
    page.wait_for_strength("1");
    page.now().assert_same(&before, "by the new engine");
    page.step("a worker that is gone is replaced");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn the_offer_fits_a_phone() {
    let page = Page::new("silent-phone");
    page.at_every_load(FAULTS);
    page.be_a_phone();
    page.open("?backend=cpu&patience=2");
    page.browser.run("window.lastWorker.terminate()", json!([]));
    page.browser.click("#generate");
    page.wait("an offer", MESSAGE);
    page.assert_fits_phone("the offer");
    page.screenshot("engine-5-phone");
    page.browser.click(".message .quiet");
    page.wait(
        "the engine to be back",
        "return /was started again/.test(document.querySelector('.message')?.textContent)",
    );
    page.screenshot("engine-6-phone-back");
    page.assert_no_console_errors();
}

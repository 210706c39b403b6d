//! The real page, from end to end: headless Chromium is driven through WebDriver and does what a
//! person would. `cargo xtask test --e2e` builds and serves the page and says by environment
//! variables where it is; `LORAKEET_SCREENSHOTS` names a folder for pictures of the page.
#![cfg(not(target_arch = "wasm32"))]

#[path = "e2e/bench.rs"]
mod bench;
#[path = "e2e/download.rs"]
mod download;
#[path = "e2e/drops.rs"]
mod drops;
#[path = "e2e/engine.rs"]
mod engine;
#[path = "e2e/files.rs"]
mod files;
#[path = "e2e/host.rs"]
mod host;
#[path = "e2e/library.rs"]
mod library;
#[path = "e2e/memory.rs"]
mod memory;
#[path = "e2e/page.rs"]
mod page;
#[path = "e2e/part.rs"]
mod part;
#[path = "e2e/people.rs"]
mod people;
#[allow(dead_code, reason = "the policies are for tests/tidy.rs")]
#[path = "../xtask/src/policy.rs"]
mod policy;
#[path = "e2e/promise.rs"]
mod promise;
#[path = "e2e/prompts.rs"]
mod prompts;
#[path = "e2e/reference.rs"]
mod reference;
#[path = "e2e/runs.rs"]
mod runs;
#[path = "e2e/site.rs"]
mod site;
#[path = "e2e/speed.rs"]
mod speed;
#[path = "e2e/studio.rs"]
mod studio;
#[path = "e2e/train.rs"]
mod train;
#[path = "e2e/training.rs"]
mod training;
#[path = "e2e/visits.rs"]
mod visits;
#[path = "e2e/weak.rs"]
mod weak;
#[path = "e2e/webdriver.rs"]
mod webdriver;

use page::{Page, Picture, assert_says};
use reference::{PROMPT, SEED, ask_for_reference_run, assert_reference};
use serde_json::json;

const RANGE: &str = ".card .strength input[type=range]";

/// Opens the page and asks for the reference run.
#[track_caller]
fn open(test: &str, query: &str) -> Page {
    let page = Page::new(test);
    page.open(query);
    page.step("the page is open and has loaded the demo model");
    ask_for_reference_run(&page);
    page
}

#[track_caller]
fn drop_ink(page: &Page) {
    drop_ink_as(page, "ink.kohya.safetensors");
}

#[track_caller]
fn drop_ink_as(page: &Page, name: &str) {
    page.drop_files(&[&page.file(name, &files::ink())]);
    page.wait("the adapter's card", "return document.querySelector('.card') !== null");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn picture_adapter_slider_stop_and_save() {
    let page = open("pictures", "");
    let capability = page.text("#capability summary");
    assert!(capability.starts_with("Runs on CPU: "), "the capability line: {capability}");
    assert_eq!(page.text("#model-name"), "Emoji Diffusion");
    page.screenshot("1-opened");

    page.generate();
    page.step("Generate draws");
    let base = page.now();
    assert_reference(&base, "ddim.base.0");
    let alone = "return document.querySelector('#two-up').single";
    assert!(page.is(alone), "two pictures to compare without an adapter");
    page.screenshot("2-generated");

    drop_ink(&page);
    let coverage = page.text(".card .coverage");
    let expected = "84 of 84 modules: UNet 84, text encoder 0; rank 8, alpha 8";
    assert!(coverage.starts_with(expected), "the card says: {coverage}");
    page.wait_for_strength("1");
    page.step("a dropped adapter is on at strength 1");
    let ink = page.now();
    ink.assert_differs(&base, "with the adapter");
    assert_reference(&ink, "ddim.ink_1.0.0");
    page.base().assert_same(&base, "the left side is the picture without the adapter");
    page.screenshot("3-adapter");

    page.slide_to("0.5");
    page.step("the slider draws anew at 0.5");
    let half = page.now();
    assert_reference(&half, "ddim.ink_0.5.0");
    page.base().assert_same(&base, "the left side is still the picture without the adapter");
    page.screenshot("4-strength-half");

    let drawn = page.drawn();
    page.slide_to("0");
    page.now().assert_same(&base, "strength 0");
    page.slide_to("0.5");
    page.now().assert_same(&half, "back at 0.5");
    page.slide_to("1");
    page.now().assert_same(&ink, "back at 1");
    assert_eq!(page.drawn(), drawn, "pictures that were there already were drawn again");
    page.step("the slider goes back without drawing");

    // Another spelling is another picture to the page and the same to the tokenizer: now the
    // adapter is attached and really runs at strength 0.
    page.slide_to("0");
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
    assert_eq!(page.drawn(), drawn + 1, "a new picture was to be drawn");
    page.now().assert_same(&base, "drawn at strength 0");
    page.step("strength 0, drawn with the adapter attached, is the base bit for bit");

    page.set("#prompt", PROMPT);
    page.set(RANGE, "0.5");
    page.wait_for_strength("0.5");
    compare_by_divider(&page);
    stop(&page);
    save(&page);
    remove_adapter(&page, &base);
    page.assert_no_console_errors();
}

fn compare_by_divider(page: &Page) {
    let at = || page.browser.run("return document.querySelector('#two-up').position", json!([]));
    assert_eq!(at(), 50);
    let place = page.browser.run(
        "const figure = document.querySelector('#two-up');
         const { left, top, width, height } = figure.getBoundingClientRect();
         return [left + width * 0.75, top + height / 2]",
        json!([]),
    );
    for kind in ["mousePressed", "mouseReleased"] {
        let mut mouse = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left" });
        mouse["clickCount"] = json!(1);
        page.browser.devtools("Input.dispatchMouseEvent", mouse);
    }
    assert_eq!(at().as_f64().map(f64::round), Some(75.0), "the divider follows the pointer");
    // It has the focus now.
    for kind in ["rawKeyDown", "keyUp"].repeat(2) {
        let key = json!({ "type": kind, "key": "ArrowLeft", "windowsVirtualKeyCode": 37 });
        page.browser.devtools("Input.dispatchKeyEvent", key);
    }
    assert_eq!(at().as_f64().map(f64::round), Some(71.0), "the divider follows the arrow keys");
    page.step("the divider moves by pointer and keys");
    page.screenshot("5-divider");
}

fn stop(page: &Page) {
    let (before, base) = (page.now(), page.base());
    page.set("#steps", 150);
    page.browser.click("#generate");
    page.wait(
        "the long run to be under way",
        "return /step [2-9]/.test(document.querySelector('#progress-detail').textContent)",
    );
    assert_eq!(page.text("#generate"), "Stop");
    page.screenshot("6-running");
    page.browser.click("#generate");
    page.wait_until_ready();
    assert_eq!(page.text("#status"), "Stopped");
    assert_eq!(page.text("#generate"), "Generate");
    page.now().assert_same(&before, "the picture before stays after Stop");
    page.base().assert_same(&base, "the one beside it stays too");
    page.step("Stop stops");

    page.set("#steps", 20);
    page.set("#seed", 12);
    page.set("#prompt", "blue cat face");
    page.generate();
    page.wait_for_strength("0.5");
    assert_reference(&page.now(), "ddim.ink_0.5.1");
    assert_reference(&page.base(), "ddim.base.1");
    page.step("the next picture after Stop is whole");
    page.screenshot("7-another");
}

fn save(page: &Page) {
    page.allow_downloads();
    page.browser.click("#save");
    let saved = page.saved("blue-cat-face-12.png");
    Picture::read(&saved).assert_same(&page.now(), "the saved file");
    page.step("Save PNG saves what is shown");
}

fn remove_adapter(page: &Page, base: &Picture) {
    page.set("#prompt", PROMPT);
    page.set("#seed", SEED);
    page.browser.click(".card .remove");
    page.wait("the card to go", "return document.querySelector('.card') === null");
    page.wait_for_strength("0");
    page.now().assert_same(base, "without the adapter");
    page.step("the adapter goes without a trace");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn files_that_cannot_be_used_are_refused_by_name() {
    let page = open("refused", "");
    drop_ink(&page);
    page.generate();
    page.wait_for_strength("1");
    let before = page.now();

    let (with_nan, nan_key) = files::with_nan();
    let text = "This is a text, whatever it is called. ".repeat(30).into_bytes();
    let xl = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight";
    let boft = "base_model.model.mid_block.attentions.0.proj_in.boft_R";
    let checkpoint = "model.diffusion_model.input_blocks.0.0.weight";
    let again = "download or copy it again";
    let lora = "Use a LoRA, LoCon, DoRA, LoHa or LoKr file";
    let picture = b"\x89PNG\r\n\x1a\nand then nothing".to_vec();
    let refused: [(&str, Vec<u8>, &[&str]); 10] = [
        ("cut-short.safetensors", files::truncated(), &["lora_unet_", "out of the file's", again]),
        ("empty.safetensors", Vec::new(), &["is empty", again]),
        ("letter.safetensors", text, &["is a text", "download the file again"]),
        ("burnt.safetensors", with_nan, &[&nan_key, "NaN", "get another copy"]),
        ("large.safetensors", files::named(&[xl]), &[xl, "Stable Diffusion XL", "Use an adapter"]),
        ("rotation.safetensors", files::named(&[boft]), &[boft, "BOFT", lora]),
        (
            "other.safetensors",
            files::named(&["layer.weight"]),
            &["no tensor with an adapter's name", lora],
        ),
        ("half.safetensors", files::named(&[checkpoint]), &["model.diffusion_model", "is missing"]),
        ("old.ckpt", b"\x80\x02}q\0.".to_vec(), &["can run code", ".safetensors"]),
        ("broken.png", picture, &["could not be read", "PNG, JPEG or WebP"]),
    ];
    for (name, bytes, says) in refused {
        page.drop_files(&[&page.file(name, &bytes)]);
        let message = page.take_message();
        println!("           {message}");
        for part in [&[name], says].concat() {
            assert!(message.contains(part), "{name}: the message lacks {part:?}: {message}");
        }
        let cards = "return document.querySelectorAll('.card').length === 1";
        assert!(page.is(cards), "{name}: the adapter before it is to stay, alone");
    }
    page.step("bad files are refused");
    page.drop_files(&[&page.file("cut-short.safetensors", &files::truncated())]);
    page.wait("a message", "return document.querySelector('.message') !== null");
    page.screenshot("8-refused");
    page.take_message();

    page.set("#prompt", PROMPT.to_uppercase());
    let drawn = page.drawn();
    page.generate();
    page.wait_for_strength("1");
    assert!(page.drawn() > drawn, "a new picture was to be drawn");
    page.now().assert_same(&before, "after all the refusals");
    page.step("model and adapter work as before");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_checkpoint_in_one_file_and_a_model_folder_and_back() {
    let page = open("models", "");
    page.generate();
    let base = page.now();
    drop_ink(&page);
    page.wait_for_strength("1");

    let file = page.file("tiny-sd.safetensors", &files::single_file());
    page.browser.type_into("#file-input", file.to_str().unwrap());
    page.wait(
        "the checkpoint to be there",
        "return document.querySelector('#model-name').textContent === 'tiny-sd'
           && document.body.dataset.state === 'ready'",
    );
    page.step("a single-file checkpoint is loaded by the button");
    assert_eq!(page.messages(), "");
    let report = page.text("#model-notes");
    assert!(report.contains("configuration was told from"), "the load report: {report}");
    page.set("#steps", 2);
    page.set("#width", 64);
    page.set("#height", 64);
    // More than the 75 tokens of one chunk.
    page.set("#prompt", "a cat on a mat, ".repeat(20));
    page.generate();
    page.wait_for_strength("1");
    assert_eq!(page.messages(), "", "a long prompt is read whole");
    assert_eq!((page.now().width, page.now().height), (64, 64));
    page.now().assert_differs(&page.base(), "the adapter went over to the new model");
    page.step("it draws a long prompt, with the adapter");

    page.browser.click("#demo-back");
    page.wait(
        "the demo model to be back",
        "return document.querySelector('#demo-back').hidden
           && document.body.dataset.state === 'ready'",
    );
    ask_for_reference_run(&page);
    page.set("#prompt", PROMPT.to_uppercase()); // the other spelling is still in memory
    page.generate();
    page.wait_for_strength("1");
    assert_reference(&page.now(), "ddim.ink_1.0.0");
    page.base().assert_same(&base, "the demo model's picture as it was");
    page.step("the demo model is back, and the adapter on it");

    page.drop_files(&[&files::here("web/demo-model/model")]);
    page.wait(
        "the folder to be loaded",
        "return !document.querySelector('#demo-back').hidden
           && document.body.dataset.state === 'ready'",
    );
    ask_for_reference_run(&page);
    page.generate();
    page.wait_for_strength("1");
    assert_reference(&page.now(), "ddim.ink_1.0.0");
    page.step("a dropped model folder draws the same");

    page.drop_files(&[&files::here("tests/fixtures/sdxl/folder")]);
    page.wait(
        "a small SDXL to be loaded",
        "return document.querySelector('#model-name').textContent === 'folder'
           && document.body.dataset.state === 'ready'",
    );
    let left = page.take_message();
    assert!(left.contains("ink"), "the adapter doesn't fit it: {left}");
    let family = page.text("#family");
    assert!(family.contains("Stable Diffusion XL"), "what it is taken for: {family}");
    page.set("#width", 64);
    page.set("#height", 64);
    page.set("#steps", 2);
    page.generate();
    page.wait_until_ready();
    let first = page.now();
    assert_eq!((first.width, first.height), (64, 64));
    page.set("#prompt", "a red fox");
    page.generate();
    page.wait_until_ready();
    page.now().assert_differs_at_all(&first, "both text encoders read the prompt");
    assert_eq!(page.messages(), "");
    page.step("a Stable Diffusion XL draws");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn an_engine_that_breaks_is_replaced() {
    let page = Page::new("crash");
    let keep_worker = "window.Worker = class extends Worker {
        constructor(...words) {
            super(...words);
            if (words[1].name === 'lorakeet') window.lastWorker = this;
        }
    };";
    page.at_every_load(keep_worker);
    page.open("");
    ask_for_reference_run(&page);
    page.set("#steps", 4);
    drop_ink(&page);
    page.generate();
    page.wait_for_strength("1");
    let before = page.now();

    page.set("#steps", 150);
    page.browser.click("#generate");
    page.wait("the run to begin", "return document.body.dataset.state === 'running'");
    page.browser.run(
        "window.lastWorker.dispatchEvent(new ErrorEvent('error', { message: 'out of bounds' }))",
        json!([]),
    );
    let message = page.take_message();
    assert_says(
        &message,
        &["was started again", "Your model and adapters are back", "out of bounds"],
    );
    page.now().assert_same(&before, "the picture before stays");
    page.step("a broken engine is replaced");

    page.set("#steps", 4);
    page.set("#prompt", PROMPT.to_uppercase());
    page.generate();
    page.wait_for_strength("1");
    page.now().assert_same(&before, "drawn by the new engine");
    page.step("model and adapter are in the new one");
    page.assert_no_console_errors();
}

/// The two backends sum in other orders, and SwiftShader's functions are within WGSL's bounds only.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn webgpu_draws_what_the_cpu_draws() {
    let page = Page::new("backends");
    let pictures = ["cpu", "webgpu"].map(|backend| {
        page.open(&format!("?backend={backend}"));
        let line = page.text("#capability summary");
        let name = if backend == "cpu" { "Runs on CPU: " } else { "Runs on WebGPU: " };
        assert!(line.starts_with(name), "the capability line with ?backend={backend}: {line}");
        ask_for_reference_run(&page);
        page.set("#steps", 4);
        page.generate();
        let base = page.now();
        page.step(&format!("{backend} draws"));
        drop_ink(&page);
        page.wait_for_strength("1");
        page.step(&format!("{backend} draws with the adapter"));
        page.base().assert_same(&base, "the picture without the adapter");
        page.assert_no_console_errors();
        page.screenshot(&format!("9-{backend}"));
        [base, page.now()]
    });
    let [[cpu, cpu_ink], [gpu, gpu_ink]] = &pictures;
    cpu_ink.assert_differs(cpu, "with the adapter");
    gpu.assert_close(cpu, 4, 0.3, "WebGPU and CPU");
    gpu_ink.assert_close(cpu_ink, 4, 0.3, "WebGPU and CPU with the adapter");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn everything_is_in_reach_on_a_phone() {
    let page = Page::new("phone");
    page.be_a_phone();
    page.open("");
    ask_for_reference_run(&page);
    page.set("#steps", 4);
    page.screenshot("phone-1-opened");
    page.assert_fits_phone("the page");
    page.generate();
    page.screenshot("phone-2-generated");
    drop_ink_as(&page, "an adapter with a long name, version 2.1 (epoch 10, rank 8).safetensors");
    page.wait_for_strength("1");
    page.assert_fits_phone("the page with an adapter");
    for selector in ["#prompt", "#generate", "#two-up", RANGE, "#save", "#add-files"] {
        page.assert_in_reach(selector);
    }
    page.browser.run("document.querySelector('.card').scrollIntoView({ block: 'end' })", json!([]));
    page.screenshot("phone-3-adapter");
    page.browser.run("scrollTo(0, 0)", json!([]));
    page.screenshot("phone-4-compare");
    page.assert_no_console_errors();
}

//! The real page with models of full size, on demand: `cargo xtask test --full` builds and serves the
//! page and says by environment variables where it is and where the models may lie. What was measured
//! becomes the table in `docs/full-size.md`.
#![cfg(not(target_arch = "wasm32"))]

#[path = "e2e/files.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod files;
#[path = "../xtask/src/memory.rs"]
mod memory;
#[path = "full/models.rs"]
mod models;
#[path = "e2e/page.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod page;
#[path = "support/random_model.rs"]
mod random_model;
#[path = "full/room.rs"]
mod room;
#[path = "full/table.rs"]
mod table;
#[path = "e2e/train.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod train;
#[path = "full/training.rs"]
mod training;
#[path = "e2e/webdriver.rs"]
#[allow(dead_code, reason = "shared with tests/e2e.rs")]
mod webdriver;

use room::{Outcome, Room};

/// The three forms of one model, each in a browser of its own, draw the same picture.
fn every_form_draws_the_same(backend: &'static str) {
    let forms = [
        ("the 2.13 GB file (f16)", models::halves()),
        ("the 4.40 GB file (f32)", models::whole()),
        ("the diffusers folder (f16)", models::diffusers()),
    ];
    let mut first = None;
    for (form, path) in forms {
        let room = Room::open(form, backend);
        room.load(form, &path).assert_done();
        room.draw("a picture of 256 px, 1 step", 256, 1).assert_done();
        let picture = room.picture(256);
        match &first {
            None => first = Some(picture),
            Some(first) => picture.assert_same(first, form),
        }
        room.page.assert_no_console_errors();
    }
}

/// Models take each other's place without a reload.
fn one_model_after_another(backend: &'static str) {
    let room = Room::open("one after another", backend);
    room.load("the f16 file", &models::halves()).assert_done();
    room.draw("a picture of 256 px, 1 step", 256, 1).assert_done();
    room.load("then the diffusers folder", &models::diffusers()).assert_done();
    room.draw("a picture of 256 px, 1 step", 256, 1).assert_done();
    room.back_to_demo().assert_done();
    room.draw("a picture of the demo model", 128, 2).assert_done();
    let left = room.at_rest("the demo model after that");
    assert!(left < 1_000_000_000, "the large model is still there: {left} bytes");
    room.page.assert_no_console_errors();
}

/// Without the adapter, with it, and at strength 0.
fn an_adapter_of_264_modules(backend: &'static str) {
    let room = Room::open("adapter", backend);
    room.load("the f16 file", &models::halves()).assert_done();
    room.draw("a picture of 256 px, 1 step", 256, 1).assert_done();
    let base = room.picture(256);
    room.add_adapter("a LoRA of 264 modules, and the picture with it", &models::adapter())
        .assert_done();
    let coverage = room.page.text(".card .coverage");
    let expected = "264 of 264 modules: UNet 192, text encoder 72; rank 8, alpha 4";
    assert!(coverage.starts_with(expected), "the card says: {coverage}");
    // Weights at random show little of it: how much is right is held against PyTorch.
    assert!(room.picture(256) != base, "the adapter changes nothing");
    room.page.base().assert_same(&base, "the picture beside it");
    room.page.assert_no_console_errors();
}

/// A refusal comes before any work and says how much there is.
#[track_caller]
fn assert_clear(says: &str, stepped: bool) {
    assert!(!stepped, "refused after a step: {says}");
    assert!(["MB", "GB", "MiB"].iter().any(|unit| says.contains(unit)), "{says}");
}

/// In 2 GB the weights are 8-bit; in half of that there is no room for any.
fn less_memory(backend: &'static str) {
    let room = Room::open_with("less memory", backend, "&memory=2GB");
    room.load("the f16 file", &models::halves()).assert_done();
    let report = room.page.text("#model-notes");
    assert!(report.contains("8 bits"), "{report}");
    room.draw("a picture of 256 px, 1 step", 256, 1).assert_done();
    match room.draw("a picture of 1536 px, 1 step", 1536, 1) {
        Outcome::Refused { says, stepped } => assert_clear(&says, stepped),
        other => panic!("{other:?}"),
    }
    room.draw("after that, a picture of 256 px", 256, 2).assert_done();

    let room = Room::open_with("hardly any memory", backend, "&memory=1GB");
    match room.load("the f16 file", &models::halves()) {
        Outcome::Refused { says, stepped } => assert_clear(&says, stepped),
        other => panic!("{other:?}"),
    }
    room.draw("after that, a picture of the demo model", 128, 2).assert_done();
}

/// A size that fits is drawn; one that doesn't is refused before the first step, with words.
fn sizes_are_drawn_or_refused(backend: &'static str, sizes: &[u32]) {
    let room = Room::open("sizes", backend);
    room.load("the f16 file", &models::halves()).assert_done();
    for &side in sizes {
        match room.draw(&format!("a picture of {side} px, 1 step"), side, 1) {
            Outcome::Done => drop(room.picture(side as usize)),
            Outcome::Refused { says, stepped } => assert_clear(&says, stepped),
            other => panic!("{side} px: {other:?}"),
        }
    }
    room.draw("after those, a picture of 256 px", 256, 1).assert_done();
    room.page.assert_no_console_errors();
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_every_form_draws_the_same() {
    every_form_draws_the_same("cpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_one_model_after_another() {
    one_model_after_another("cpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_adapter_of_264_modules() {
    an_adapter_of_264_modules("cpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_sizes_are_drawn_or_refused() {
    sizes_are_drawn_or_refused("cpu", &[512, 768, 1024]);
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_with_less_memory() {
    less_memory("cpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_cpu_training_step() {
    training::one_step("cpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_webgpu_every_form_draws_the_same() {
    every_form_draws_the_same("webgpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_webgpu_one_model_after_another() {
    one_model_after_another("webgpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_webgpu_adapter_of_264_modules() {
    an_adapter_of_264_modules("webgpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_webgpu_training_step() {
    training::one_step("webgpu");
}

#[test]
#[ignore = "of full size: cargo xtask test --full"]
fn page_webgpu_with_less_memory() {
    less_memory("webgpu");
}

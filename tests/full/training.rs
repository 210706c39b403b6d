//! A training step at full size: what it was told to take, and what it took.

use std::path::Path;

use serde_json::json;

use crate::models;
use crate::room::Room;
use crate::train::training_set;

/// Of what was told before Start.
const WITHIN: f64 = 0.15;

/// One step on two pictures at 256 px, with the settings that the page proposes.
pub fn one_step(backend: &'static str) {
    let room = Room::open("training", backend);
    let page = &room.page;
    room.load("the f16 file", &models::halves()).assert_done();
    let files = training_set();
    page.drop_files(&files.iter().take(4).map(|file| file.as_path()).collect::<Vec<&Path>>());
    page.wait("two pictures", "return document.body.dataset.pictures === '2'");
    page.set_training(&[("resolution", 256), ("steps", 1), ("batch", 1)]);
    page.set("#train-previews", "off");
    page.wait_for_training("ready");
    println!("           told: {}", page.text("#train-detail"));

    room.train("a training step at 256 px").assert_done();
    let (told, took) = memory(&room);
    println!("           {told} bytes told, {took} taken");
    assert!((took / told - 1.0).abs() < WITHIN, "{told} bytes were told and {took} taken");
    page.assert_no_console_errors();
}

/// Bytes of the run that is kept: told before Start, and the most that passes took.
fn memory(room: &Room) -> (f64, f64) {
    let script = "
        const root = await navigator.storage.getDirectory();
        const runs = await root.getDirectoryHandle('runs');
        for await (const folder of runs.values()) {
          const file = await (await folder.getFileHandle('run.json')).getFile();
          const { summary, peakBytes } = JSON.parse(await file.text());
          return [summary.bytes, peakBytes];
        }";
    let script = format!("return (async () => {{ {script} }})()");
    let bytes = room.page.browser.run(&script, json!([]));
    let number = |i: usize| bytes[i].as_f64().unwrap_or_else(|| panic!("not told: {bytes}"));
    (number(0), number(1))
}

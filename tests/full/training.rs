//! A training step at full size: what it was told to take, and what it took.

use std::path::Path;

use crate::models;
use crate::room::{Outcome, Room};
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

    let (told, taken) = match room.train("a training step at 256 px") {
        Outcome::Trained { told, taken } => (told, taken),
        other => panic!("{other:?}"),
    };
    let share = taken as f64 / told as f64;
    assert!((share - 1.0).abs() < WITHIN, "{told} bytes were told and {taken} taken");
    page.assert_no_console_errors();
}

//! The Train tab as a person sees it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::files;
use crate::page::{Page, Picture};

/// The picture of the last preview.
const PREVIEW: &str = "[data-testid=train-preview]";

/// The last step that a state of a run is kept of; null where none is.
const KEPT: &str = "
    const root = await navigator.storage.getDirectory();
    const runs = await root.getDirectoryHandle('runs').catch(() => null);
    let last = null;
    for await (const folder of runs?.values() ?? []) {
      // it may not be there yet, or be replaced while it is read
      const text = await folder.getFileHandle('run.json')
        .then((handle) => handle.getFile()).then((file) => file.text()).catch(() => '{}');
      const { state, step } = JSON.parse(text);
      if (state && step >= last) last = step;
    }
    return last;";

/// The demo's eight pictures, and the texts that belong to them.
pub fn training_set() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(files::here("web/demo-model/training-set")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 16, "eight pictures with their captions: {files:?}");
    files
}

impl Page {
    /// Notes every step that the page says it is at, from here to the next reload.
    pub fn watch_steps(&self) {
        self.browser.run(
            "window.trainSteps = [];
             const note = (step) => {
               if (window.trainSteps.at(-1) !== Number(step)) window.trainSteps.push(Number(step));
             };
             new MutationObserver((changes) => {
               for (const { oldValue } of changes) note(oldValue);
               note(document.body.dataset.trainStep);
             }).observe(document.body,
               { attributes: true, attributeFilter: ['data-train-step'], attributeOldValue: true });",
            json!([]),
        );
    }

    /// The steps noted since then, each as often as the page came to it.
    #[track_caller]
    pub fn steps_seen(&self) -> Vec<u64> {
        numbers(&self.browser.run("return window.trainSteps.splice(0)", json!([])))
    }

    /// The names of the pictures to train on, with their captions.
    #[track_caller]
    pub fn captions(&self) -> Vec<(String, String)> {
        let cards = self.browser.run(
            "return [...document.querySelectorAll('[data-testid=picture-card]')].map((card) =>
               [card.querySelector('canvas').title, card.querySelector('textarea').value])",
            json!([]),
        );
        serde_json::from_value(cards).unwrap()
    }

    /// Fills in fields of the form of settings.
    #[track_caller]
    pub fn set_training(&self, settings: &[(&str, u32)]) {
        for (name, value) in settings {
            self.set(&format!("#train-{name}"), value);
        }
    }

    /// The demo's pictures, and a run of so many steps that nothing but training takes time of.
    #[track_caller]
    pub fn set_up_a_run(&self, steps: u32, snapshots: u32) {
        self.browser.click("[data-testid=tab-train]");
        self.browser.click("[data-testid=demo-pictures]");
        self.wait("eight pictures", "return document.body.dataset.pictures === '8'");
        self.press("[data-testid=preset-quick]");
        self.set_training(&[
            ("steps", steps),
            ("batch", 1),
            ("snapshotEvery", snapshots),
            ("evaluateEvery", 0),
            ("previewEvery", 0),
        ]);
    }

    /// Waits until Start can be pressed, and presses it.
    #[track_caller]
    pub fn start_training(&self) {
        self.wait_for_training("ready");
        self.browser.click("#train-start");
        self.wait_for_training("running");
    }

    /// Waits for a state of the run: "ready", "running", "paused", "finished".
    #[track_caller]
    pub fn wait_for_training(&self, state: &str) {
        let script = "return document.body.dataset.train === arguments[0]";
        self.wait_in_run(&format!("the run to be {state}"), script, json!([state]));
    }

    /// Waits until this step is done.
    #[track_caller]
    pub fn wait_for_step(&self, step: u64) {
        let script = "return Number(document.body.dataset.trainStep) >= arguments[0]";
        self.wait_in_run(&format!("step {step}"), script, json!([step]));
    }

    /// Waits until the run could go on from this step, or from a later one, were the tab closed.
    #[track_caller]
    pub fn wait_until_kept(&self, step: u64) {
        let script = format!(
            "const kept = await (async () => {{ {KEPT} }})(); return kept !== null && kept >= arguments[0]"
        );
        self.wait_in_run(&format!("step {step} to be kept"), &script, json!([step]));
    }

    /// The step that a run could go on from, were the tab closed: the last of all runs'.
    #[allow(dead_code, reason = "tests/long.rs asks for it, the others don't")]
    #[track_caller]
    pub fn kept(&self) -> Option<u64> {
        let script = format!("return (async () => {{ {KEPT} }})()");
        self.browser.run(&script, json!([])).as_u64()
    }

    /// Waits as long as nothing fails.
    #[track_caller]
    fn wait_in_run(&self, what: &str, script: &str, arguments: Value) {
        let script = format!(
            "const error = document.querySelector('.message.error');
             if (error) throw new Error(error.textContent);
             return (async function () {{ {script} }})(...arguments);"
        );
        self.wait_with(what, &script, arguments);
    }

    /// How many steps the plot shows.
    #[track_caller]
    pub fn points(&self) -> u64 {
        self.number("document.querySelector('[data-testid=train-plot]').dataset.points")
    }

    #[track_caller]
    pub fn train_step(&self) -> u64 {
        self.number("document.body.dataset.trainStep")
    }

    /// The steps on the timeline.
    #[track_caller]
    pub fn timeline(&self) -> Vec<u64> {
        numbers(&self.browser.run(
            "return document.querySelector('#timeline').dataset.steps
               .split(',').filter(Boolean).map(Number)",
            json!([]),
        ))
    }

    /// Moves the timeline's slider to a step and waits for its picture.
    #[track_caller]
    pub fn choose_step(&self, step: u64) {
        let at = self.timeline().iter().position(|&snapshot| snapshot == step).unwrap();
        self.set("#timeline", at);
        self.wait_with(
            &format!("the picture of step {step}"),
            "const pair = document.querySelector('#pair');
             return !pair.hasAttribute('data-busy') && !pair.hasAttribute('data-empty')
               && document.querySelector('#pair').rightLabel === `step ${arguments[0]}`",
            json!([step]),
        );
    }

    /// The picture of the chosen step on the timeline.
    #[track_caller]
    pub fn chosen(&self) -> Picture {
        self.pixels("#pair [slot=right]")
    }

    /// Waits for the preview of a step.
    #[track_caller]
    pub fn preview(&self, step: u64) -> Picture {
        self.wait_with(
            &format!("the preview of step {step}"),
            "const canvas = document.querySelector('[data-testid=train-preview]');
             const words = canvas.nextElementSibling.querySelector('small').textContent;
             return words === `step ${arguments[0]}` && canvas.width > 8",
            json!([step]),
        );
        self.pixels(PREVIEW)
    }

    /// Answers yes to the question on the page, which must speak of this.
    #[track_caller]
    pub fn confirm(&self, about: &str) {
        self.wait("a question", "return document.querySelector('#confirm-dialog').open");
        let asked = self.text("#confirm-heading") + " " + &self.text("#confirm-text");
        assert!(asked.contains(about), "the question lacks {about:?}: {asked}");
        self.browser.click("[data-testid=confirm]");
    }

    /// Clicks what the bar at the bottom may cover before it is scrolled to.
    #[track_caller]
    pub fn press(&self, selector: &str) {
        self.look_at(selector);
        self.browser.click(selector);
    }

    /// An element that the keyboard comes to is scrolled out from under the bar.
    #[track_caller]
    pub fn assert_in_sight_when_focused(&self, selector: &str) {
        let seen = self.browser.run(
            "scrollTo(0, 0);
             const element = document.querySelector(arguments[0]);
             element.focus();
             const { left, top, bottom } = element.getBoundingClientRect();
             return document.activeElement === element
               && element.contains(document.elementFromPoint(left + 9, top + 3))
               && element.contains(document.elementFromPoint(left + 9, bottom - 3));",
            json!([selector]),
        );
        assert_eq!(seen, true, "{selector} is covered when the keyboard comes to it");
    }

    /// Scrolls an element to the middle of the screen.
    pub fn look_at(&self, selector: &str) {
        let script = "document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })";
        self.browser.run(script, json!([selector]));
    }

    #[track_caller]
    fn number(&self, expression: &str) -> u64 {
        let number = self.browser.run(&format!("return {expression}"), json!([]));
        let text = number.as_str().map_or_else(|| number.to_string(), str::to_string);
        text.parse().unwrap_or_else(|_| panic!("{expression} is {text}"))
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

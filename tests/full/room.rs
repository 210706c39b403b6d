//! A browser with the page in it, in which everything that is asked for becomes a row of the table.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::memory::Meter;
use crate::page::{Page, Picture};
use crate::table::{self, Row, mb};

/// A software GPU takes half an hour for what a GPU does in seconds.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// The same prompt, seed and scheduler everywhere, so that pictures can be compared.
const PROMPT: &str = "a cat on a mat";
const SEED: u32 = 15;

pub struct Room {
    pub page: Page,
    pub backend: &'static str,
    test: String,
    place: Cell<usize>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    /// A run has come to its end; bytes that were told before Start, and the most that passes took.
    Trained {
        told: u64,
        taken: u64,
    },
    /// The page said no; its message, and whether a step had been taken by then.
    Refused {
        says: String,
        stepped: bool,
    },
    /// The engine trapped and was started again; the message.
    Broke(String),
}

impl Outcome {
    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!(*self, Self::Done);
    }

    fn words(&self) -> String {
        match self {
            Self::Done => "done".into(),
            Self::Trained { told, taken } => {
                format!("done; {} told before, {} taken", mb(*told), mb(*taken))
            }
            Self::Refused { says, stepped } => {
                let when = if *stepped { "after a step" } else { "before the first step" };
                format!("refused {when}: {}", one_line(says))
            }
            Self::Broke(says) => format!("**broke**: {}", one_line(says)),
        }
    }
}

/// What was asked for by the address, in words.
fn shown(more: &str) -> String {
    match more.trim_start_matches('&') {
        "" => String::new(),
        asked => format!(", with `?{asked}`"),
    }
}

/// Within a cell of a table.
fn one_line(text: &str) -> String {
    text.replace('\n', " ").replace('|', "/")
}

impl Room {
    /// Opens the page on a backend, and waits for the demo model.
    pub fn open(test: &str, backend: &'static str) -> Self {
        Self::open_with(test, backend, "")
    }

    /// The same with more behind its address, such as `&memory=3GB`.
    pub fn open_with(test: &str, backend: &'static str, more: &str) -> Self {
        let mut page = Page::new(&format!("full-{test}"));
        page.patience = PATIENCE;
        let test = format!("{backend} {test}");
        table::begin(&test);
        let room = Self { page, backend, test, place: Cell::new(0) };
        room.measured(&format!("the page with its demo model{}", shown(more)), || {
            room.page.open(&format!("?backend={backend}{more}"));
            Outcome::Done
        });
        let runs = room.page.text("#capability summary");
        let name = if backend == "cpu" { "Runs on CPU: " } else { "Runs on WebGPU: " };
        assert!(runs.starts_with(name), "{runs}");
        room.page.browser.run(
            "window.stepped = false;
             new MutationObserver(() => {
               const words = document.querySelector('#progress-detail').textContent;
               if (/step [2-9]|decoding/.test(words)) window.stepped = true;
             }).observe(document.querySelector('#progress-detail'),
               { childList: true, characterData: true, subtree: true });",
            json!([]),
        );
        room
    }

    /// Does something and makes a row of it.
    pub fn measured(&self, what: &str, work: impl FnOnce() -> Outcome) -> Outcome {
        // The page tells it anew when the work is done.
        let forget =
            "delete document.body.dataset.heapBytes; delete document.body.dataset.heapPeak";
        self.page.browser.run(forget, json!([]));
        let (meter, _) = Meter::start(self.page.browser.process());
        let start = Instant::now();
        let outcome = work();
        let seconds = start.elapsed().as_secs_f64();
        // A machine that is busy lets the meter look seldom.
        let (_, now) = Meter::start(self.page.browser.process());
        let browser = meter.peak().max(now);
        let row = Row {
            test: self.test.clone(),
            place: self.place.replace(self.place.get() + 1),
            backend: self.backend.into(),
            what: what.into(),
            outcome: outcome.words(),
            seconds,
            heap: self.heap(),
            browser,
        };
        let heap = row.heap.map_or(String::new(), |(heap, used)| {
            format!("; heap {}, {} in use at most", mb(heap), mb(used))
        });
        let browser = mb(row.browser);
        self.page.step(&format!("{what}: {} ({browser} in all{heap})", row.outcome));
        table::add(row);
        outcome
    }

    /// Bytes that the engine's heap has grown to, and that were in use at most since the last job
    /// began; none where the page doesn't tell, as after a run.
    fn heap(&self) -> Option<(u64, u64)> {
        for _ in 0..30 {
            let told = self.page.browser.run(
                "const { heapBytes, heapPeak } = document.body.dataset;
                 return heapBytes ? [Number(heapBytes), Number(heapPeak)] : null",
                json!([]),
            );
            if let (Some(heap), Some(peak)) = (told[0].as_u64(), told[1].as_u64()) {
                return Some((heap, peak));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// Waits until nothing is going on and either this is true or the page reports an error, and takes
    /// the messages away.
    fn outcome(&self, done: &str, arguments: Value) -> Outcome {
        let script = format!(
            "const {{ state, train }} = document.body.dataset;
             const idle = !['loading', 'running'].includes(state)
               && !['preparing', 'running', 'measuring'].includes(train);
             const done = () => {{ {done} }};
             return idle && (document.querySelector('.message.error') !== null || done());"
        );
        let start = Instant::now();
        while !self.page.browser.run(&script, arguments.clone()).as_bool().unwrap_or(false) {
            assert!(start.elapsed() < PATIENCE, "no end of it. {}", self.page.describe());
            std::thread::sleep(Duration::from_millis(100));
        }
        let stepped = self.page.is("return window.stepped");
        let error = self.page.is("return document.querySelector('.message.error') !== null");
        let says = self.page.messages();
        self.page.browser.run(
            "document.querySelectorAll('.message button').forEach((button) => button.click())",
            json!([]),
        );
        match error {
            false => Outcome::Done,
            true if says.contains("The engine stopped") => Outcome::Broke(says),
            true => Outcome::Refused { says, stepped },
        }
    }

    /// Gives the page a model, by the button for files or, for a folder, by a drop.
    pub fn load(&self, what: &str, path: &Path) -> Outcome {
        self.measured(what, || {
            let before = self.page.text("#model-name");
            if path.is_dir() {
                self.page.drop_files(&[path]);
            } else {
                self.page.browser.type_into("#file-input", path.to_str().unwrap());
            }
            let done = "return document.querySelector('#model-name').textContent !== arguments[0]";
            self.outcome(done, json!([before]))
        })
    }

    pub fn back_to_demo(&self) -> Outcome {
        self.measured("back to the demo model", || {
            self.page.browser.click("#demo-back");
            self.outcome("return document.querySelector('#demo-back').hidden", json!([]))
        })
    }

    /// What all of it takes ten seconds later, when what nobody uses has gone.
    pub fn at_rest(&self, what: &str) -> u64 {
        std::thread::sleep(Duration::from_secs(10));
        let (_, browser) = Meter::start(self.page.browser.process());
        self.page.step(&format!("{what}: {}", mb(browser)));
        table::add(Row {
            test: self.test.clone(),
            place: self.place.replace(self.place.get() + 1),
            backend: self.backend.into(),
            what: what.into(),
            outcome: "at rest".into(),
            seconds: 10.0,
            heap: None,
            browser,
        });
        browser
    }

    /// Adds an adapter; the picture on show, if there is one, is drawn anew with it.
    pub fn add_adapter(&self, what: &str, path: &Path) -> Outcome {
        self.measured(what, || {
            let shown = self.page.is("return 'pictureFingerprint' in document.body.dataset");
            self.page.browser.type_into("#file-input", path.to_str().unwrap());
            let done = "return document.querySelector('.card') !== null
                && (!arguments[0] || 'pictureBase' in document.body.dataset)";
            self.outcome(done, json!([shown]))
        })
    }

    /// Draws a square picture in a few steps of DDIM without guidance.
    pub fn draw(&self, what: &str, side: u32, steps: u32) -> Outcome {
        self.measured(what, || {
            let page = &self.page;
            page.set("#prompt", PROMPT);
            page.set("#seed", SEED);
            page.set("#scheduler", "ddim");
            page.set("#steps", steps);
            page.set("#guidance", 1);
            page.set("#width", side);
            page.set("#height", side);
            let before = page.drawn();
            page.browser.run("window.stepped = false", json!([]));
            page.browser.click("#generate");
            self.outcome("return window.drawn > arguments[0]", json!([before]))
        })
    }

    /// Starts the run that the Train tab is set to and waits for its end.
    pub fn train(&self, what: &str) -> Outcome {
        self.measured(what, || {
            self.page.browser.click("#train-start");
            let done = "return document.body.dataset.train === 'finished'";
            match self.outcome(done, json!([])) {
                Outcome::Done => self.trained(),
                other => other,
            }
        })
    }

    /// Of the run that is kept.
    fn trained(&self) -> Outcome {
        let script = "
            const root = await navigator.storage.getDirectory();
            const runs = await root.getDirectoryHandle('runs');
            for await (const folder of runs.values()) {
              const file = await (await folder.getFileHandle('run.json')).getFile();
              const { summary, peakBytes } = JSON.parse(await file.text());
              return [summary.bytes, peakBytes];
            }";
        let script = format!("return (async () => {{ {script} }})()");
        let bytes = self.page.browser.run(&script, json!([]));
        let number = |i: usize| bytes[i].as_u64().unwrap_or_else(|| panic!("not told: {bytes}"));
        Outcome::Trained { told: number(0), taken: number(1) }
    }

    /// The picture on show, which must be of this size.
    #[track_caller]
    pub fn picture(&self, side: usize) -> Picture {
        let picture = self.page.now();
        assert_eq!((picture.width, picture.height), (side, side));
        picture
    }
}

//! The page as a person sees it: what it shows, and what can be done to it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::webdriver::{Browser, base64};

/// For everything that computes. A limit against waiting for ever, not a claim about speed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A browser with the page in it.
pub struct Page {
    pub browser: Browser,
    /// For files to drop and files saved; gone with the page.
    pub folder: PathBuf,
    /// How long it waits for anything.
    pub patience: Duration,
    began: Instant,
}

/// Pixels: red, green, blue, opacity.
#[derive(PartialEq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub rgba: Vec<u8>,
}

impl Page {
    /// A browser without a page.
    pub fn new(test: &str) -> Self {
        Self::within(test, Browser::start(&variable("CHROMEDRIVER"), capabilities()))
    }

    /// The same with a profile that stays when the browser has gone.
    #[allow(dead_code, reason = "tests/long.rs kills browsers, the others don't")]
    pub fn with_profile(test: &str, profile: &Path) -> Self {
        let mut capabilities = capabilities();
        let arguments = capabilities["goog:chromeOptions"]["args"].as_array_mut().unwrap();
        arguments.push(json!(format!("--user-data-dir={}", profile.display())));
        Self::within(test, Browser::start(&variable("CHROMEDRIVER"), capabilities))
    }

    /// A browser that has been started.
    pub fn within(test: &str, browser: Browser) -> Self {
        let folder = std::env::temp_dir().join(format!("lorakeet-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { browser, folder, patience: PATIENCE, began: Instant::now() }
    }

    /// Opens the page, with `?backend=cpu` or the like behind its address, and waits for the demo
    /// model.
    #[track_caller]
    pub fn open(&self, query: &str) {
        self.open_at(&format!("{}{query}", self.address()));
    }

    /// The page's address.
    pub fn address(&self) -> String {
        variable("LORAKEET_URL")
    }

    /// The same at an address of its own.
    #[track_caller]
    pub fn open_at(&self, url: &str) {
        self.browser.open(url);
        self.arrived();
    }

    /// Runs a script at every load, before anything of the page.
    pub fn at_every_load(&self, script: &str) {
        let source = json!({ "source": script });
        self.browser.devtools("Page.addScriptToEvaluateOnNewDocument", source);
    }

    /// Loads the page anew, as a person's Reload does: what is going on in it ends there.
    #[track_caller]
    pub fn reload(&self) {
        self.browser.reload();
        self.arrived();
    }

    /// Waits for the demo model, where the page was loaded by itself.
    #[track_caller]
    pub fn arrived(&self) {
        // Counts the pictures that are begun: the state is set to "running" at each.
        self.browser.run(
            "window.drawn = 0;
             new MutationObserver((changes) => {
               changes.slice(1).concat({ oldValue: document.body.dataset.state }).forEach(
                 ({ oldValue }) => { if (oldValue === 'running') window.drawn += 1; });
             }).observe(document.body,
               { attributes: true, attributeFilter: ['data-state'], attributeOldValue: true });",
            json!([]),
        );
        self.wait("the demo model to be there", "return document.body.dataset.state === 'ready'");
    }

    /// Says what is done, with the time since the beginning.
    pub fn step(&self, what: &str) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Waits until a script returns something true, and returns that.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) -> Value {
        self.wait_with(what, script, json!([]))
    }

    #[track_caller]
    pub fn wait_with(&self, what: &str, script: &str, arguments: Value) -> Value {
        let start = Instant::now();
        loop {
            let value = self.browser.run(script, arguments.clone());
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != 0 && value != "" {
                return value;
            }
            let broken = self.is("return document.body.dataset.state === 'error'");
            if broken || start.elapsed() > self.patience {
                panic!("waited in vain for {what}. {}", self.describe());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn is(&self, script: &str) -> bool {
        self.browser.run(script, json!([])) == true
    }

    /// The text of an element.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? null";
        let text = self.browser.run(script, json!([selector]));
        text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_string()
    }

    /// Sets a field as if by hand, be it folded away or not.
    #[track_caller]
    pub fn set(&self, selector: &str, value: impl ToString) {
        self.browser.run(
            "const field = document.querySelector(arguments[0]);
             field.value = arguments[1];
             if (field.value !== arguments[1]) {
               throw new Error(`${arguments[0]} takes no ${arguments[1]}`);
             }
             for (const type of ['input', 'change']) {
               field.dispatchEvent(new Event(type, { bubbles: true }));
             }",
            json!([selector, value.to_string()]),
        );
    }

    /// Drags files from outside the browser to the middle of the page and drops them.
    #[track_caller]
    pub fn drop_files(&self, files: &[&Path]) {
        let files: Vec<PathBuf> = files.iter().map(|file| file.canonicalize().unwrap()).collect();
        for kind in ["dragEnter", "dragOver", "drop"] {
            let data = json!({ "items": [], "files": files, "dragOperationsMask": 1 });
            let drag = json!({ "type": kind, "x": 200, "y": 400, "data": data });
            self.browser.devtools("Input.dispatchDragEvent", drag);
            if kind == "dragOver" {
                let shown = "return !document.querySelector('#drop-overlay').hidden";
                self.wait("the page to say that it takes the files", shown);
            }
        }
    }

    /// Writes a file to drop.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// From here on the browser saves what is downloaded in the page's folder, without asking.
    pub fn allow_downloads(&self) {
        let folder = json!({ "behavior": "allow", "downloadPath": self.folder });
        self.browser.devtools("Browser.setDownloadBehavior", folder);
    }

    /// Waits for a file that is downloaded.
    #[track_caller]
    pub fn saved(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        // Chromium gives a file its name when it is whole.
        for _ in 0..600 {
            if path.exists() {
                return path;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nothing was saved as {name}. {}", self.describe());
    }

    /// Waits until nothing is drawn or loaded.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        self.wait("the page to be ready", "return document.body.dataset.state === 'ready'");
    }

    /// Presses Generate and waits for a picture that isn't in memory yet, and for the one at
    /// strength 0 beside it.
    #[track_caller]
    pub fn generate(&self) {
        let before = self.drawn();
        self.browser.click("#generate");
        let script = "return window.drawn > arguments[0]";
        self.wait_with("a picture to be begun", script, json!([before]));
        self.wait_until_ready();
        let messages = self.messages();
        assert!(!messages.contains("No picture"), "{messages}");
    }

    /// How many pictures were begun.
    #[track_caller]
    pub fn drawn(&self) -> u64 {
        self.browser.run("return window.drawn", json!([])).as_u64().unwrap()
    }

    /// Moves the one adapter's slider and waits for its picture.
    #[track_caller]
    pub fn slide_to(&self, strength: &str) {
        self.set(".card .strength input[type=range]", strength);
        self.wait_for_strength(strength);
    }

    /// Waits for the picture of the one adapter at this strength.
    #[track_caller]
    pub fn wait_for_strength(&self, strength: &str) {
        self.wait_with(
            &format!("the picture at strength {strength}"),
            "const { pictureFingerprint, pictureBase, state } = document.body.dataset;
             const strength = Number(arguments[0]);
             const adapters = JSON.parse(pictureFingerprint ?? 'null')?.adapters;
             return state === 'ready' && (strength === 0
               ? adapters?.length === 0
               : adapters?.length === 1 && adapters[0][1] === strength && pictureBase === '1');",
            json!([strength]),
        );
    }

    /// The pixels of a canvas, as they are whatever its size on the screen.
    #[track_caller]
    pub fn pixels(&self, canvas: &str) -> Picture {
        let found = self.browser.run(
            "const canvas = document.querySelector(arguments[0]);
             const { width, height } = canvas;
             const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
             let text = '';
             for (let i = 0; i < data.length; i += 8192) {
               text += String.fromCharCode(...data.subarray(i, i + 8192));
             }
             return { width, height, rgba: btoa(text) };",
            json!([canvas]),
        );
        let side = |name: &str| found[name].as_u64().unwrap() as usize;
        let rgba = base64(found["rgba"].as_str().unwrap());
        Picture { width: side("width"), height: side("height"), rgba }
    }

    /// The picture on show.
    #[track_caller]
    pub fn now(&self) -> Picture {
        self.pixels("#canvas-now")
    }

    /// The picture at strength 0 beside it.
    #[track_caller]
    pub fn base(&self) -> Picture {
        assert!(
            self.is("return !document.querySelector('#two-up').single"),
            "there are no two pictures to compare. {}",
            self.describe()
        );
        self.pixels("#canvas-base")
    }

    /// All messages on the page.
    #[track_caller]
    pub fn messages(&self) -> String {
        let script = "return [...document.querySelectorAll('.message')].map((m) => \
            [...m.querySelectorAll('strong, p')].map((e) => e.textContent).join(': ')).join('\\n')";
        self.browser.run(script, json!([])).as_str().unwrap().to_string()
    }

    /// Waits for a message, takes it away by its button and returns it.
    #[track_caller]
    pub fn take_message(&self) -> String {
        self.wait("a message", "return document.querySelectorAll('.message').length");
        let messages = self.messages();
        self.browser.click(".message [aria-label=Dismiss]");
        let gone = "return document.querySelectorAll('.message').length === 0";
        self.wait("the message to go when dismissed", gone);
        self.wait_until_ready();
        messages
    }

    /// No error was written to the console: no missing file, no policy broken, no exception.
    #[track_caller]
    pub fn assert_no_console_errors(&self) {
        for (level, message) in self.browser.console() {
            assert!(level != "SEVERE", "on the console: {message}");
        }
    }

    /// A picture of the page for people, where `LORAKEET_SCREENSHOTS` says.
    pub fn screenshot(&self, name: &str) {
        if let Some(folder) = std::env::var_os("LORAKEET_SCREENSHOTS").map(PathBuf::from) {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.png")), self.browser.screenshot()).unwrap();
        }
    }

    /// Nothing covers an element's middle when it is scrolled to, and it isn't cut off at a side.
    #[track_caller]
    pub fn assert_in_reach(&self, selector: &str) {
        let reached = self.browser.run(
            "const element = document.querySelector(arguments[0]);
             element.scrollIntoView({ block: 'center' });
             const { left, right, top, bottom } = element.getBoundingClientRect();
             const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
             return left >= 0 && right <= innerWidth
               && (element.contains(hit) || element.parentElement === hit?.parentElement);",
            json!([selector]),
        );
        assert_eq!(reached, true, "{selector} is out of reach");
    }

    /// The page is no wider than the phone.
    #[track_caller]
    pub fn assert_fits_phone(&self, what: &str) {
        let fits =
            "return document.documentElement.scrollWidth <= innerWidth && innerWidth === 390";
        assert!(self.is(fits), "{what} is wider than the phone");
    }

    /// A phone's screen, 390 points wide and 844 high.
    pub fn be_a_phone(&self) {
        let screen = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.browser.devtools("Emulation.setDeviceMetricsOverride", screen);
        self.browser.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": true }));
    }

    /// What the page shows, for messages of tests that fail.
    pub fn describe(&self) -> String {
        let script = "return ['state ' + document.body.dataset.state, \
            'training ' + document.body.dataset.train, \
            ...['#status', '#progress-detail', '#train-status', '#train-detail', '#messages'].map((s) => \
            document.querySelector(s)?.textContent)].join(' | ')";
        format!("The page: {}", self.browser.run(script, json!([])).as_str().unwrap_or(""))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The browser may be what broke: then there is no picture of it.
            let shot = std::panic::AssertUnwindSafe(|| self.screenshot("failed"));
            let _ = std::panic::catch_unwind(shot);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Picture {
    /// From a PNG file without a palette.
    pub fn read(path: &Path) -> Self {
        let file =
            std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let channels = info.color_type.samples();
        assert!(matches!(channels, 3 | 4) && info.bit_depth == png::BitDepth::Eight);
        let opaque = |pixel: &[u8]| match *pixel {
            [red, green, blue] => [red, green, blue, u8::MAX],
            [red, green, blue, opacity] => [red, green, blue, opacity],
            _ => unreachable!("three channels or four"),
        };
        let rgba = bytes.chunks_exact(channels).flat_map(opaque).collect();
        Self { width: info.width as usize, height: info.height as usize, rgba }
    }

    /// The largest difference and the mean one, in levels of 255.
    #[track_caller]
    pub fn difference(&self, other: &Self) -> (u8, f64) {
        let sizes = [self, other].map(|picture| (picture.width, picture.height));
        assert_eq!(sizes[0], sizes[1], "the pictures' sizes");
        let each = || self.rgba.iter().zip(&other.rgba).map(|(a, b)| a.abs_diff(*b));
        let sum: u64 = each().map(u64::from).sum();
        // Opacity, equal in both, doesn't count.
        (each().max().unwrap_or(0), sum as f64 / (self.rgba.len() / 4 * 3) as f64)
    }

    /// The same picture but for rounding.
    #[track_caller]
    pub fn assert_close(&self, other: &Self, largest: u8, mean: f64, what: &str) {
        let (worst, average) = self.difference(other);
        println!("           {what}: at most {worst} levels apart, {average:.4} on average");
        assert!(
            worst <= largest && average < mean,
            "{what}: {worst} levels apart, {average} on average"
        );
    }

    /// Another picture.
    #[track_caller]
    pub fn assert_differs(&self, other: &Self, what: &str) {
        let (_, average) = self.difference(other);
        assert!(average > 1.0, "{what}: the pictures are {average} levels apart on average");
    }

    /// Not bit for bit the same.
    #[track_caller]
    pub fn assert_differs_at_all(&self, other: &Self, what: &str) {
        assert!(self != other, "{what}: the pictures are equal");
    }

    /// Bit for bit the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let (worst, average) = self.difference(other);
        assert!(self == other, "{what}: {worst} levels apart, {average} on average, not equal");
    }
}

/// A message has all these parts.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    println!("           {message}");
    for part in parts {
        assert!(message.contains(part), "the message lacks {part:?}: {message}");
    }
}

/// Of Chromium, as the other browser tests have it.
fn capabilities() -> Value {
    let text = std::fs::read_to_string(variable("LORAKEET_WEBDRIVER_JSON")).unwrap();
    serde_json::from_str(&text).expect("capabilities are JSON")
}

/// What xtask says of where things are.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} isn't set: see tests/e2e.rs"))
}

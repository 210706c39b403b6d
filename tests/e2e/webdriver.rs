//! A small WebDriver client: the few commands that the tests need, over a socket to a browser's driver, which
//! is ChromeDriver but in one test.
//! Protocol: <https://www.w3.org/TR/webdriver2/>; `goog/cdp` is ChromeDriver's door to the DevTools
//! protocol, <https://chromedevtools.github.io/devtools-protocol/>.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long one command may take: a page that computes on two cores answers late.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// How often ChromeDriver is started before the test gives up.
const STARTS: usize = 5;

/// The key under which the protocol wraps a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of its own, with an empty profile; closed when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// ChromeDriver must not write into a closed pipe.
    _output: Option<BufReader<ChildStdout>>,
}

impl Browser {
    /// Starts the driver and a browser with these capabilities.
    pub fn start(driver: &str, mut capabilities: Value) -> Self {
        let (driver, port, output) = listening(driver);
        capabilities["goog:loggingPrefs"] = json!({ "browser": "ALL" });
        Self::session(driver, port, Some(output), capabilities)
    }

    /// The same of another browser by its own driver, which takes `--port` and, unlike ChromeDriver, may say
    /// nothing of it.
    #[allow(dead_code, reason = "tests/long.rs has other browsers, the others don't")]
    pub fn start_other(driver: &str, capabilities: Value) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = free.expect("a port is free").port();
        let process = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{driver} can't be started: {error}"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "{driver} doesn't listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::session(process, port, None, capabilities)
    }

    fn session(
        driver: Child,
        port: u16,
        output: Option<BufReader<ChildStdout>>,
        capabilities: Value,
    ) -> Self {
        let mut browser = Self { driver, port, session: String::new(), _output: output };
        let capabilities = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let answer = browser.must("POST", "/session", capabilities);
        let session = answer["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("/session/{session}");
        let limit = COMMAND_LIMIT.as_millis() as u64;
        browser.post("/timeouts", json!({ "script": limit, "pageLoad": limit }));
        browser
    }

    /// The driver's process, of which the browser's are children.
    #[allow(dead_code, reason = "tests/full.rs measures its memory, tests/e2e.rs does not")]
    pub fn process(&self) -> u32 {
        self.driver.id()
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    /// Loads the page that is open once more.
    pub fn reload(&self) {
        self.post("/refresh", json!({}));
    }

    /// Opens another tab; returns its name and that of the one that was in front, which stays there.
    pub fn another_tab(&self) -> (String, String) {
        let name = |value: Value| value.as_str().expect("a tab has a name").to_string();
        let front = name(self.must("GET", &format!("{}/window", self.session), Value::Null));
        let new = self.post("/window/new", json!({ "type": "tab" }));
        (name(new["handle"].clone()), front)
    }

    /// What follows is done in this tab.
    pub fn switch_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab }));
    }

    /// Closes the tab that things are done in; another one has to be switched to.
    pub fn close_tab(&self) {
        self.must("DELETE", &format!("{}/window", self.session), Value::Null);
    }

    /// Runs the body of a function in the page; what it returns comes back.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        let arguments = match arguments {
            Value::Array(list) => list,
            one => vec![one],
        };
        self.post("/execute/sync", json!({ "script": script, "args": arguments }))
    }

    /// Clicks as a person would: the element is scrolled into view and must not be covered.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), json!({}));
    }

    /// Types into an element; for a file chooser, the path of a file.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/value"), json!({ "text": text }));
    }

    /// What the console was told since the last call, as (level, message).
    pub fn console(&self) -> Vec<(String, String)> {
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("").to_string();
        let log = self.post("/se/log", json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| (text(entry, "level"), text(entry, "message"))).collect()
    }

    /// A command of the DevTools protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// A PNG of what is in view.
    pub fn screenshot(&self) -> Vec<u8> {
        // By way of DevTools, which keeps an emulated phone's pixels.
        let shot = self.devtools("Page.captureScreenshot", json!({ "format": "png" }));
        base64(shot["data"].as_str().expect("a screenshot is text"))
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", by);
        found[ELEMENT].as_str().expect("an element has a reference").to_string()
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        self.must("POST", &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: Value) -> Value {
        match self.request(method, path, &body) {
            Ok(value) => value,
            Err(problem) => {
                let mut sent = body.to_string();
                sent.truncate(sent.floor_char_boundary(400));
                panic!("{method} {path} {sent}: {problem}")
            }
        }
    }

    /// One HTTP request; the `value` of the answer.
    fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let broken = |error: std::io::Error| format!("the driver: {error}");
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(broken)?;
        stream.set_read_timeout(Some(COMMAND_LIMIT)).map_err(broken)?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            self.port
        );
        stream.write_all((head + &body).as_bytes()).map_err(broken)?;

        let mut answer = BufReader::new(stream);
        let (mut status, mut length) = (String::new(), 0);
        answer.read_line(&mut status).map_err(broken)?;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).map_err(broken)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(|_| format!("a length of {value}"))?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).map_err(broken)?;
        let mut body: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        let value = body["value"].take();
        if status.contains(" 200 ") {
            return Ok(value);
        }
        Err(value["message"].as_str().unwrap_or(status.trim()).lines().next().unwrap_or("").into())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.request("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A ChromeDriver that listens, its port and its further output.
///
/// It takes a free port on `::1` and then asks for the same one on `127.0.0.1`; where another
/// process has just that one, it ends. The next one draws another port.
fn listening(driver: &str) -> (Child, u16, BufReader<ChildStdout>) {
    let mut said = String::new();
    for _ in 0..STARTS {
        let mut process = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{driver} can't be started: {error}"));
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        if let Some(port) = listening_port(&mut output, &mut said) {
            return (process, port, output);
        }
        let _ = process.kill();
        let _ = process.wait();
    }
    panic!("ChromeDriver didn't start in {STARTS} tries: {said}");
}

/// ChromeDriver says which port it took: "ChromeDriver was started successfully on port 34567."
/// `None` where its output ends before; what it said is added to `said`.
fn listening_port(output: &mut impl BufRead, said: &mut String) -> Option<u16> {
    loop {
        let before = said.len();
        if !output.read_line(said).is_ok_and(|count| count > 0) {
            return None;
        }
        if let Some((_, port)) = said[before..].split_once("successfully on port ") {
            return Some(port.trim().trim_end_matches('.').parse().expect("a port is a number"));
        }
    }
}

/// Decodes base64, in which the protocol sends bytes.
pub fn base64(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::with_capacity(text.len() / 4 * 3));
    for letter in text.bytes().take_while(|&letter| letter != b'=') {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{:?} is no base64", char::from(other)),
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

//! A static host as there are many: hands out files and nothing else. It can be asked what it was asked
//! for, be given other files, and go away.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::policy;

pub struct Site {
    pub url: String,
    shared: Arc<Shared>,
    listening: Listening,
}

/// Answers each connection on a thread of its own, until it goes.
pub struct Listening {
    pub port: u16,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    pub fn new(answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gone = Arc::new(AtomicBool::new(false));
        let (ends, answer) = (Arc::clone(&gone), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let answer = Arc::clone(&answer);
                        stream.set_nonblocking(false).unwrap();
                        std::thread::spawn(move || answer(stream).ok());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { port, gone, thread: Some(thread) }
    }

    /// Nobody listens any more.
    fn go(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// A request's first line and the fields of its head, their names in small letters.
pub fn head(stream: &TcpStream) -> std::io::Result<(String, BTreeMap<String, String>)> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut fields = BTreeMap::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            fields.insert(name.to_ascii_lowercase(), value.trim().into());
        }
    }
    Ok((request, fields))
}

struct Shared {
    folder: PathBuf,
    /// Whether it sends the headers that `cargo xtask serve` does, and knows what WebAssembly is.
    knows: bool,
    /// In place of the folder's; nothing where a file is gone.
    files: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
    asked: Mutex<Vec<String>>,
}

impl Site {
    /// Serves the built page, on a port of its own.
    pub fn new(knows: bool) -> Self {
        let shared = Arc::new(Shared {
            folder: crate::files::here("dist"),
            knows,
            files: Mutex::default(),
            asked: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let listening = Listening::new(move |stream| serving.answer(stream));
        let url = format!("http://localhost:{}/", listening.port);
        Self { url, shared, listening }
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }

    /// What it hands out for a path.
    pub fn file(&self, path: &str) -> Vec<u8> {
        self.shared.file(path).unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Hands out other bytes from now on.
    pub fn replace(&self, path: &str, bytes: Vec<u8>) {
        self.shared.files.lock().unwrap().insert(path.into(), Some(bytes));
    }

    /// Doesn't have it any more.
    pub fn remove(&self, path: &str) {
        self.shared.files.lock().unwrap().insert(path.into(), None);
    }

    /// Hands out a build that differs in one file.
    pub fn publish(&self, path: &str, bytes: Vec<u8>) {
        self.replace("service-worker.js", self.script_with(path, &bytes));
        self.replace(path, bytes);
    }

    /// The service worker's script of a build that differs in one file.
    pub fn script_with(&self, path: &str, bytes: &[u8]) -> Vec<u8> {
        let script = String::from_utf8(self.file("service-worker.js")).unwrap();
        let entry = format!("\n  {path:?}: [");
        let (before, rest) = script.split_once(&entry).expect("the list has the file");
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || ", ".contains(c));
        format!("{before}{entry}{}, {}{after}", bytes.len(), sum(bytes)).into_bytes()
    }

    /// The bytes of what was asked for since the last call.
    pub fn bytes_asked(&self) -> usize {
        let or_index = |path: String| if path.is_empty() { "index.html".into() } else { path };
        let asked = self.asked().into_iter().map(or_index);
        asked.filter_map(|path: String| self.shared.file(&path)).map(|bytes| bytes.len()).sum()
    }

    /// Nobody listens any more.
    pub fn go(&mut self) {
        self.listening.go();
    }
}

impl Shared {
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let replaced = self.files.lock().unwrap().get(path).cloned();
        replaced.unwrap_or_else(|| std::fs::read(self.folder.join(path)).ok())
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (request, _) = head(&stream)?;
        let target = request.split(' ').nth(1).unwrap_or("/");
        let path = target[1..].split('?').next().unwrap_or("");
        self.asked.lock().unwrap().push(path.into());
        let path = if path.is_empty() { "index.html" } else { path };
        let Some(bytes) = self.file(path) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        let kind = match path.rsplit('.').next() {
            Some("html") => "text/html",
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("svg") => "image/svg+xml",
            Some("wasm") if self.knows => "application/wasm",
            _ => "application/octet-stream",
        };
        let line = |(name, value): (&str, String)| format!("{name}: {value}\r\n");
        let headers: String = policy::headers(path).into_iter().map(line).collect();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{}\
             Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
            bytes.len(),
            if self.knows { &headers } else { "" }
        )?;
        stream.write_all(&bytes)
    }
}

/// As `xtask/src/version.rs` sums a file up.
fn sum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, &byte: &u8| (sum ^ u32::from(byte)).wrapping_mul(16_777_619);
    bytes.iter().fold(2_166_136_261, step)
}

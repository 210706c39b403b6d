//! A host of models somewhere else: hands out files in ranges to other pages' scripts, and can cut the line, be
//! slow, send on elsewhere, want a login or change a file.

use std::collections::BTreeMap;
use std::io::{Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::site::{Listening, head};

/// Bytes between two looks at whether to be slow.
const PIECE: usize = 256 * 1024;

pub struct Host {
    /// Without a slash at its end.
    pub url: String,
    shared: Arc<Shared>,
    _listening: Listening,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Clone, Copy, Default)]
struct Behaviour {
    cuts: u32,
    /// Of the places where it cuts: a linear congruential generator's.
    state: u64,
    pause: Duration,
}

impl Host {
    pub fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let listening = Listening::new(move |stream| serving.answer(stream));
        let url = format!("http://127.0.0.1:{}", listening.port);
        Self { url, shared, _listening: listening }
    }

    /// Hands out a file.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.shared.files.lock().unwrap().insert(path.into(), bytes);
    }

    /// Breaks off the next answers, each somewhere in what is left to send.
    pub fn cut(&self, times: u32, seed: u64) {
        *self.shared.behaviour.lock().unwrap() =
            Behaviour { cuts: times, state: seed, ..Behaviour::default() };
    }

    /// How often the line is still to be cut.
    pub fn cuts_left(&self) -> u32 {
        self.shared.behaviour.lock().unwrap().cuts
    }

    /// Rests so long after each quarter of a megabyte.
    pub fn pause(&self, pause: Duration) {
        self.shared.behaviour.lock().unwrap().pause = pause;
    }

    /// Requests since the last call: method, path, then what of the head matters.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let (request, fields) = head(&stream)?;
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let told: Vec<String> = ["range", "referer", "cookie", "authorization"]
            .iter()
            .filter(|name| fields.contains_key(**name))
            .map(|name| format!("{name}: {}", field(name)))
            .collect();
        let words: Vec<&str> = request.split(' ').take(2).collect();
        self.asked.lock().unwrap().push([words.join(" "), told.join(", ")].join(" ").trim().into());
        let cors = "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Content-Range, ETag\r\n";
        let path = words.get(1).copied().unwrap_or("");
        match path {
            "/login.safetensors" => {
                return write!(stream, "HTTP/1.1 401 No\r\n{cors}Content-Length: 0\r\n\r\n");
            }
            "/elsewhere.safetensors" => {
                let location = "http://localhost:9/x.safetensors";
                return write!(
                    stream,
                    "HTTP/1.1 302 No\r\n{cors}Location: {location}\r\nContent-Length: 0\r\n\r\n"
                );
            }
            _ => {}
        }
        let Some(file) = self.files.lock().unwrap().get(path).cloned() else {
            return write!(stream, "HTTP/1.1 404 No\r\n{cors}Content-Length: 0\r\n\r\n");
        };
        let range = field("range");
        let from = range.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse().ok());
        let rest = &file[from.unwrap_or(0).min(file.len())..];
        match from {
            Some(from) => write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
                file.len() - 1,
                file.len()
            )?,
            None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        }
        write!(
            stream,
            "{cors}Content-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        )?;
        self.send(&mut stream, rest)
    }

    fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
        let end = self.where_it_ends(bytes.len());
        for piece in bytes[..end].chunks(PIECE) {
            stream.write_all(piece)?;
            let pause = self.behaviour.lock().unwrap().pause;
            std::thread::sleep(pause);
        }
        stream.flush()?;
        if end < bytes.len() {
            // what was sent arrives; the rest never comes
            std::thread::sleep(Duration::from_millis(30));
            stream.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    fn where_it_ends(&self, length: usize) -> usize {
        let mut behaviour = self.behaviour.lock().unwrap();
        if behaviour.cuts == 0 || length < 2 {
            return length;
        }
        behaviour.cuts -= 1;
        // Knuth's MMIX constants
        behaviour.state = behaviour
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (behaviour.state >> 33) as usize % (length / 4 + 1)
    }
}

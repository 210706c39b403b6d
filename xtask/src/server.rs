//! A file server for this machine alone, small on purpose: GET and HEAD, one thread per request; POST
//! where a benchmark listens. It sends the headers that make the page cross-origin isolated, as
//! trunk's server is told to.

use crate::policy;
use crate::shell::Result;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const DEFAULT_PORT: u16 = 8080;
const LONGEST_HEAD: u64 = 16 * 1024;
const LONGEST_BODY: u64 = 256 * 1024;

/// Called with an action and what was sent along; its answer is sent back as text.
type Host = dyn Fn(&str, String) -> String + Send + Sync;

/// Folders by the first part of the address.
pub struct Site {
    root: PathBuf,
    mounts: Vec<(String, PathBuf)>,
    host: Option<Box<Host>>,
}

impl Site {
    pub fn new(root: PathBuf) -> Self {
        Self { root, mounts: Vec::new(), host: None }
    }

    /// Answers `POST /host/action`.
    pub fn host(mut self, host: impl Fn(&str, String) -> String + Send + Sync + 'static) -> Self {
        self.host = Some(Box::new(host));
        self
    }

    /// Serves `/name/...` from another folder, or `/name` from another file.
    pub fn mount(mut self, name: &str, place: PathBuf) -> Self {
        self.mounts.push((name.into(), place));
        self
    }

    /// The file for a request's target, or nothing where there is none or it would lie outside.
    fn file(&self, target: &str) -> Option<PathBuf> {
        let path = percent_decoded(target.split(['?', '#']).next()?)?;
        let path = Path::new(path.strip_prefix('/')?);
        let plain = |c: Component| matches!(c, Component::Normal(_));
        if !path.components().all(plain) || path.to_str()?.contains(['\\', ':', '\0']) {
            return None;
        }
        // `components` leaves out the slash that an empty rest would put behind a file's name.
        let within = |(name, place): &(String, PathBuf)| {
            path.strip_prefix(name).ok().map(|rest| place.join(rest).components().collect())
        };
        let mount: Option<PathBuf> = self.mounts.iter().find_map(within);
        let file = mount.unwrap_or_else(|| self.root.join(path));
        let file = if file.is_dir() { file.join("index.html") } else { file };
        file.is_file().then_some(file)
    }
}

/// Listens on the port, or on the first free one from 8080 on.
pub fn bind(port: Option<u16>) -> Result<TcpListener> {
    let ports = match port {
        Some(port) => port..=port,
        None => DEFAULT_PORT..=DEFAULT_PORT + 20,
    };
    let mut last = String::new();
    for port in ports {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = format!("127.0.0.1:{port}: {e}; choose another with --port"),
        }
    }
    Err(last)
}

pub fn url(listener: &TcpListener) -> Result<String> {
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    // By its name, which browsers trust (a secure context) as they do the number.
    Ok(format!("http://localhost:{}/", address.port()))
}

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, site: Site) -> Result<()> {
    let site = Arc::new(site);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let site = Arc::clone(&site);
        // A browser that goes away in the middle of an answer is no news.
        thread::spawn(move || answer(stream, &site).ok());
    }
    Ok(())
}

/// Serves in the background, as long as the process lives.
pub fn spawn(site: Site) -> Result<String> {
    let listener = bind(Some(0))?;
    let url = url(&listener)?;
    thread::spawn(move || serve(&listener, site));
    Ok(url)
}

fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new((&stream).take(LONGEST_HEAD + LONGEST_BODY));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut words = request.trim_end().split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if let ("POST", Some(host), Some(action)) = (method, &site.host, target.strip_prefix("/host/"))
    {
        let mut body = Vec::new();
        reader.take(length.min(LONGEST_BODY)).read_to_end(&mut body)?;
        let text = host(action, String::from_utf8_lossy(&body).into_owned());
        return send_text(&mut stream, "200 OK", &text);
    }
    if method != "GET" && method != "HEAD" {
        return plain(&mut stream, "405 Method Not Allowed");
    }
    let Some(path) = site.file(target) else { return plain(&mut stream, "404 Not Found") };
    let mut file = File::open(&path)?;
    let length = file.metadata()?.len();
    let target = target.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    let headers = policy::headers(&percent_decoded(target).unwrap_or_default());
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {length}\r\n{headers}\
         Cache-Control: no-cache\r\nConnection: close\r\n\r\n",
        media_type(&path)
    )?;
    if method == "GET" {
        io::copy(&mut file, &mut stream)?;
    }
    stream.flush()
}

fn plain(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    send_text(stream, status, status)
}

fn send_text(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

/// `%41` to `A`; nothing where that is not UTF-8 or the escape is broken.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        (bytes, rest) = if byte == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            (bytes, &tail[2..])
        } else {
            bytes.push(byte);
            (bytes, tail)
        };
    }
    String::from_utf8(bytes).ok()
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status line and head, and the body, of one request over a real socket.
    fn request(url: &str, head: &str) -> (String, Vec<u8>) {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let port = address.rsplit(':').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "{head} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn site(name: &str) -> (PathBuf, String) {
        let dir = std::env::temp_dir().join(format!("lorakeet-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("dist/deep")).unwrap();
        std::fs::create_dir_all(dir.join("other")).unwrap();
        std::fs::write(dir.join("secret.txt"), "secret").unwrap();
        std::fs::write(dir.join("dist/index.html"), "<p>page").unwrap();
        std::fs::write(dir.join("dist/a b.wasm"), vec![7; 300_000]).unwrap();
        std::fs::write(dir.join("dist/deep/x.js"), "1").unwrap();
        std::fs::write(dir.join("other/x.js"), "2").unwrap();
        let site = Site::new(dir.join("dist")).mount("other", dir.join("other"));
        let url = spawn(site.mount("one.txt", dir.join("secret.txt"))).unwrap();
        (dir, url)
    }

    #[test]
    fn files_come_whole_with_their_type_and_the_isolation_headers() {
        let (dir, url) = site("files");
        let (head, body) = request(&url, "GET /?backend=cpu");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/html") && head.contains("Opener-Policy: same-origin"));
        assert!(head.contains("Embedder-Policy: require-corp"), "{head}");
        assert!(head.contains("Content-Security-Policy: default-src 'none'"), "{head}");
        assert!(head.contains("frame-ancestors 'none'") && head.contains("Referrer-Policy: no"));
        assert_eq!(body, b"<p>page");
        let (head, body) = request(&url, "GET /a%20b.wasm");
        assert!(head.contains("application/wasm"), "{head}");
        assert_eq!(body, vec![7; 300_000]);
        let (head, body) = request(&url, "HEAD /a%20b.wasm");
        assert!(head.contains("Content-Length: 300000") && body.is_empty(), "{head}");
        assert_eq!(request(&url, "GET /deep/x.js").1, b"1");
        assert_eq!(request(&url, "GET /other/x.js").1, b"2");
        assert_eq!(request(&url, "GET /one.txt").1, b"secret");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        let (dir, url) = site("outside");
        for target in [
            "/../secret.txt",
            "/deep/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/other/../../secret.txt",
            "/one.txt/../secret.txt",
            "/one.txt/x",
            "//etc/passwd",
            "/..\\secret.txt",
            "/missing.js",
            "/deep",
            "/%zz",
            "/%ff",
            "secret.txt",
            "",
        ] {
            let (head, body) = request(&url, &format!("GET {target}"));
            assert!(head.starts_with("HTTP/1.1 404"), "{target}: {head}");
            assert_eq!(body, b"404 Not Found", "{target}");
        }
        assert!(request(&url, "POST /").0.starts_with("HTTP/1.1 405"));
        assert!(request(&url, "POST /host/say").0.starts_with("HTTP/1.1 405"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_host_is_told_what_was_posted() {
        let host = |action: &str, body: String| format!("{action}: {body}");
        let url = spawn(Site::new(std::env::temp_dir()).host(host)).unwrap();
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "POST /host/say HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nsay: hello"));
    }
}

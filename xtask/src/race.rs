//! `cargo xtask bench --race`: the page's engine against onnxruntime-web, in headless Chromium. The
//! page itself measures (`web/bench`); here it is served with the other side beside it, opened in a
//! fresh browser for each session, and its results become tables.

use crate::browser::{self, Browser};
use crate::memory::Meter;
use crate::server::{self, Site};
use crate::setup::Rival;
use crate::shell::{Result, command, root, say, which};
use crate::{build, setup};
use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

mod tables;

const CASES: [&str; 3] = ["demo", "block", "sd15"];

/// Sides that run in turns, ours first. Their names are those of `web/bench/sides.js`.
const GROUPS: [(&str, &[&str]); 2] = [
    ("webgpu", &["ours-webgpu", "theirs-webgpu"]),
    ("cpu", &["ours-cpu", "theirs-wasm-1", "theirs-wasm-2"]),
];

/// Rounds: until the seconds are over, within these bounds.
const ROUNDS: &str = "least=3&most=21&seconds=60";

/// How long one session may take; a software GPU takes minutes for one step.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// A page that says nothing for so long has crashed.
const SILENCE: Duration = Duration::from_secs(300);

/// What a session told, by name.
type Facts = BTreeMap<String, String>;

/// Runs the race. Words of `filter` name networks (`demo`, `block`, `sd15`) and kinds of engine
/// (`webgpu`, `cpu`); of either kind all run unless one is named. With `built` the page is raced as it
/// lies in dist/.
pub fn run(filter: &[String], built: bool) -> Result<()> {
    let browser = browser::find_or_install()?;
    let rival = setup::rival()?;
    let dist = if built { root().join("dist") } else { build::page(&setup::page()?)? };
    if !dist.join("bench.html").is_file() {
        return Err(format!("{} holds no page: leave out --built", dist.display()));
    }
    let host = Host::open(&browser, dist, &rival)?;
    let mut rows = Vec::new();
    for case in chosen(&CASES, filter) {
        for name in chosen(&GROUPS.map(|(name, _)| name), filter) {
            let sides =
                GROUPS.iter().find(|group| group.0 == name).map_or(&[][..], |group| group.1);
            rows.push(Row::measure(&host, case, sides));
        }
    }
    tables::print(&rows, &rival);
    Ok(())
}

/// Whether a filter means the race, or everything.
pub fn wants(filter: &[String]) -> bool {
    let known = |word: &String| {
        CASES.contains(&word.as_str()) || GROUPS.iter().any(|group| group.0 == word)
    };
    filter.is_empty() || filter.iter().any(known)
}

fn chosen<'a>(all: &[&'a str], filter: &[String]) -> Vec<&'a str> {
    let named: Vec<&str> = all.iter().filter(|n| filter.iter().any(|f| f == *n)).copied().collect();
    if named.is_empty() { all.to_vec() } else { named }
}

/// One network on one kind of engine.
struct Row {
    case: &'static str,
    sides: &'static [&'static str],
    /// Side by side, in turns.
    together: Facts,
    /// Each in a browser of its own: memory, and loading with nothing else going on.
    alone: Vec<Facts>,
}

impl Row {
    fn measure(host: &Host, case: &'static str, sides: &'static [&'static str]) -> Self {
        let together = host.session(&format!("race={case}&sides={}&{ROUNDS}", sides.join(",")));
        let alone = sides.iter().map(|side| {
            // What was found out about graphs by comparing can't be found out alone.
            let graph = together.get(&format!("{side} graph"));
            let graph = graph.map_or(String::new(), |graph| format!("&graph={graph}"));
            let once = "memory&least=0&most=0&seconds=0";
            host.session(&format!("race={case}&sides={side}&{once}{graph}"))
        });
        let alone = alone.collect();
        Self { case, sides, together, alone }
    }

    fn times(&self, side: &str) -> Vec<f64> {
        let times = self.together.get(&format!("{side} times")).map_or("", String::as_str);
        times.split(' ').filter_map(|time| time.parse().ok()).collect()
    }

    fn number(facts: &Facts, name: &str) -> Option<f64> {
        facts.get(name)?.parse().ok()
    }
}

/// Serves page and rival, and opens browsers that report back.
struct Host<'a> {
    browser: &'a Browser,
    url: String,
    results: Receiver<String>,
    process: Arc<AtomicU32>,
    heard: Arc<Mutex<Instant>>,
}

impl<'a> Host<'a> {
    fn open(browser: &'a Browser, dist: std::path::PathBuf, rival: &Rival) -> Result<Self> {
        let (sender, results) = channel();
        let process = Arc::new(AtomicU32::new(0));
        let (watched, meter) = (Arc::clone(&process), Mutex::new(None));
        let heard = Arc::new(Mutex::new(Instant::now()));
        let hearing = Arc::clone(&heard);
        let site = Site::new(dist)
            .mount("web", root().join("web"))
            .mount("race", root().join("benches").join("race"))
            .mount("ort", rival.dist.clone())
            .host(move |action, body| {
                *locked(&hearing) = Instant::now();
                let mut meter = locked(&meter);
                match action {
                    "say" => say(body),
                    "result" => drop(sender.send(body)),
                    "memory-start" => {
                        let (started, now) = Meter::start(watched.load(Ordering::Relaxed));
                        *meter = Some(started);
                        return now.to_string();
                    }
                    "memory-peak" => {
                        return meter.take().map_or(0, |meter: Meter| meter.peak()).to_string();
                    }
                    _ => {}
                }
                String::new()
            });
        Ok(Self { browser, url: server::spawn(site)?, results, process, heard })
    }

    /// One session in a fresh browser. What goes wrong is a fact too: the other rows go on.
    fn session(&self, query: &str) -> Facts {
        let mut facts = match self.told(query) {
            Ok(text) => facts(&text),
            Err(e) => Facts::from([("failed".to_string(), e)]),
        };
        for (name, problem) in facts.iter_mut().filter(|(name, _)| name.ends_with("failed")) {
            say(format!("{query}: {name}: {problem}"));
        }
        facts
    }

    fn told(&self, query: &str) -> Result<String> {
        let profile = std::env::temp_dir().join(format!("lorakeet-race-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&profile);
        let mut chrome = command(&self.browser.chrome);
        chrome
            .args(flags()?)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("{}bench.html?{query}", self.url))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = chrome.spawn();
        let mut child = child.map_err(|e| format!("{}: {e}", self.browser.chrome.display()))?;
        self.process.store(child.id(), Ordering::Relaxed);
        let start = Instant::now();
        *locked(&self.heard) = start;
        let told = loop {
            match self.results.recv_timeout(Duration::from_secs(1)) {
                Ok(text) => break Ok(text),
                Err(_) if !matches!(child.try_wait(), Ok(None)) => {
                    break Err("the browser ended".into());
                }
                Err(_) if locked(&self.heard).elapsed() > SILENCE => {
                    break Err("the tab crashed, most likely for want of memory".into());
                }
                Err(_) if start.elapsed() > LIMIT => {
                    break Err(format!("no result after {} s", LIMIT.as_secs()));
                }
                Err(_) => {}
            }
        };
        end(&mut child);
        let _ = std::fs::remove_dir_all(profile);
        told
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Asks the browser to end, which ends its other processes in order, and sees to it.
fn end(child: &mut Child) {
    if let Some(kill) = which(&["kill"]) {
        let _ = command(kill).args(["-TERM", &child.id().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The flags of `webdriver.json`, with which the tests' browser is started too.
fn flags() -> Result<Vec<String>> {
    let file = root().join("webdriver.json");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let list = text.split_once("\"args\"").and_then(|(_, rest)| rest.split_once('['));
    let list = list.and_then(|(_, rest)| rest.split_once(']')).ok_or("webdriver.json: no args")?.0;
    Ok(list.split('"').skip(1).step_by(2).map(String::from).collect())
}

/// Lines of a name, a tab and a value.
fn facts(text: &str) -> Facts {
    let pair = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_string(), b.to_string()));
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_networks_and_engines() {
        let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(chosen(&CASES, &words("")), CASES);
        assert_eq!(chosen(&CASES, &words("cpu block")), ["block"]);
        assert_eq!(chosen(&["webgpu", "cpu"], &words("cpu block")), ["cpu"]);
    }

    #[test]
    fn the_tests_browser_flags_are_found() {
        assert!(flags().is_ok_and(|flags| flags.contains(&"--enable-unsafe-webgpu".to_string())));
    }
}

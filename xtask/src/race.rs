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

/// Pairs that run in turns, ours first, by kind of engine. (One pair at a time: two networks of
/// 3.4 GB fill a machine.) The sides' names are those of `web/bench/sides.js`.
const PAIRS: [(&str, [&str; 2]); 3] = [
    ("webgpu", ["ours-webgpu", "theirs-webgpu"]),
    ("cpu", ["ours-cpu-1", "theirs-wasm-1"]),
    ("cpu", ["ours-cpu-2", "theirs-wasm-2"]),
];

/// Rounds: until the seconds are over, within these bounds.
const ROUNDS: &str = "least=3&most=21&seconds=60";

/// How long one session may take; a software GPU takes minutes for one step.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// A page that says nothing for so long has crashed.
const SILENCE: Duration = Duration::from_secs(300);

/// What a session told, by name.
pub type Facts = BTreeMap<String, String>;

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
    let (mut rows, mut alone) = (Vec::new(), Vec::new());
    for case in chosen(&CASES, filter) {
        let kinds = chosen(&["webgpu", "cpu"], filter);
        for (_, sides) in PAIRS.iter().filter(|(kind, _)| kinds.contains(kind)) {
            let row = Row::measure(&host, case, *sides);
            for side in sides {
                if !alone.iter().any(|a: &Alone| (a.case, a.side) == (case, *side)) {
                    alone.push(Alone::measure(&host, &row, side));
                }
            }
            rows.push(row);
        }
    }
    tables::print(&rows, &alone, &rival);
    Ok(())
}

/// Whether a filter means the race, or everything.
pub fn wants(filter: &[String]) -> bool {
    let known = |word: &String| {
        CASES.contains(&word.as_str()) || PAIRS.iter().any(|(kind, _)| kind == word)
    };
    filter.is_empty() || filter.iter().any(known)
}

fn chosen<'a>(all: &[&'a str], filter: &[String]) -> Vec<&'a str> {
    let named: Vec<&str> = all.iter().filter(|n| filter.iter().any(|f| f == *n)).copied().collect();
    if named.is_empty() { all.to_vec() } else { named }
}

/// One network, two sides.
struct Row {
    case: &'static str,
    sides: [&'static str; 2],
    together: Facts,
}

impl Row {
    fn measure(host: &Host, case: &'static str, sides: [&'static str; 2]) -> Self {
        let together = host.session(&format!("race={case}&sides={}&{ROUNDS}", sides.join(",")));
        let row = Self { case, sides, together };
        // All of it may take hours: what is known is told.
        say(tables::told(&row));
        row
    }

    fn fact(&self, side: &str, name: &str) -> Option<&String> {
        self.together.get(&format!("{side} {name}"))
    }

    fn times(&self, side: &str) -> Vec<f64> {
        let times = self.fact(side, "times").map_or("", String::as_str);
        times.split(' ').filter_map(|time| time.parse().ok()).collect()
    }
}

/// One network on one side in a browser of its own: memory, and loading with nothing else going on.
struct Alone {
    case: &'static str,
    side: &'static str,
    facts: Facts,
    /// Calls of WebGPU in one step, counted when the sides took turns.
    dispatches: Option<String>,
    submissions: Option<String>,
}

impl Alone {
    fn measure(host: &Host, row: &Row, side: &'static str) -> Self {
        // Which graph is right was found out by comparing, which can't be done alone.
        let graph = row
            .fact(side, "graph")
            .map_or(String::new(), |graph| format!("&graph={}", graph.replace(' ', "+")));
        let once = "memory&least=0&most=0&seconds=0";
        let case = row.case;
        let facts = host.session(&format!("race={case}&sides={side}&{once}{graph}"));
        let calls = |name| row.fact(side, name).filter(|_| side.ends_with("webgpu")).cloned();
        Self {
            case,
            side,
            facts,
            dispatches: calls("dispatches"),
            submissions: calls("submissions"),
        }
    }
}

pub fn number(facts: &Facts, name: &str) -> Option<f64> {
    facts.get(name)?.parse().ok()
}

/// Serves page and rival, and opens browsers that report back.
pub struct Host<'a> {
    browser: &'a Browser,
    url: String,
    results: Receiver<String>,
    process: Arc<AtomicU32>,
    heard: Arc<Mutex<Instant>>,
}

impl<'a> Host<'a> {
    pub fn open(browser: &'a Browser, dist: std::path::PathBuf, rival: &Rival) -> Result<Self> {
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
    pub fn session(&self, query: &str) -> Facts {
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

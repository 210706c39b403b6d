//! Tabs, and whole browsers, that are killed at random moments while they draw and train. What was kept is
//! there afterwards, and a run that goes on comes to the very bytes of one that nobody disturbed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::asked;
use crate::page::Page;

/// Of each run.
const STEPS: u32 = 120;

/// Steps from one kept state to the next.
const SNAPSHOTS: u32 = 4;

/// Of the exported file; the run's trigger.
const NAME: &str = "killed";

/// Numbers that look random, from one that is printed: SplitMix64, Steele, Lea and Flood 2014.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

/// A process, from `/proc`.
struct Process {
    id: u32,
    command: String,
}

/// Those of a profile's browser.
fn processes(profile: &Path) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux tells its processes").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let bytes = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
        if command.contains(&format!("--user-data-dir={}", profile.display())) {
            found.push(Process { id, command });
        }
    }
    found
}

fn kill(process: &Process) {
    let _ = Command::new("kill").args(["-9", &process.id.to_string()]).status();
}

/// What dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// The processes of tabs, their workers with them.
    Tab,
    /// All of it.
    Browser,
}

/// A browser whose profile outlives it.
struct Person {
    profile: PathBuf,
    page: Option<Page>,
}

impl Person {
    fn new(name: &str) -> Self {
        let folder = format!("lorakeet-kill-{name}-{}", std::process::id());
        let profile = std::env::temp_dir().join(folder);
        Self { profile, page: None }
    }

    /// Opens the page as it was left.
    fn come(&mut self) -> &Page {
        let page = Page::with_profile("kill", &self.profile);
        page.open("?backend=cpu");
        page.browser.click("[data-testid=tab-train]");
        self.page.insert(page)
    }

    fn die(&mut self, victim: Victim) {
        for process in processes(&self.profile) {
            if matches!(victim, Victim::Browser) || process.command.contains("--type=renderer") {
                kill(&process);
            }
        }
        self.page = None;
        let start = Instant::now();
        loop {
            let left = processes(&self.profile);
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{} won't die", left[0].command);
            left.iter().for_each(kill);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.page = None;
        processes(&self.profile).iter().for_each(kill);
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Begins the run that all of them are.
fn begin(page: &Page) {
    // A death between a run's first state and the end of the draft leaves the pictures in both: they are
    // there again when the run has gone, and the settings too.
    std::thread::sleep(Duration::from_secs(1));
    if !page.is("return document.body.dataset.pictures === '8'") {
        page.set_up_a_run(STEPS, SNAPSHOTS);
    }
    page.set("#trigger", NAME);
    page.start_training();
}

/// What a death left of a run that had begun: where it goes on from, or, where it died before anything of
/// it was kept, its pictures, of which it begins again.
fn go_on(page: &Page, kept: Option<u64>) -> u64 {
    let offered = "return !document.querySelector('#resume-offer').hidden";
    let pictures = "document.body.dataset.pictures === '8'";
    page.wait("the run or its pictures", &format!("{offered} || {pictures}"));
    if kept.is_none() {
        // The pictures may come before the offer.
        std::thread::sleep(Duration::from_secs(2));
    }
    if kept.is_none() && !page.is(offered) {
        page.start_training();
        return 0;
    }
    page.wait("the run to be offered", offered);
    let offer = page.text("[data-testid=resume-run]");
    let step = offer.split(' ').find_map(|word| word.parse().ok());
    page.press("[data-testid=resume-run]");
    let step = step.unwrap_or_else(|| panic!("the offer is {offer:?}"));
    assert!(Some(step) >= kept, "kept at {kept:?}, offered from {step}");
    step
}

/// Waits for the end of a run, and gives its adapter's file.
fn finished(page: &Page) -> Vec<u8> {
    page.wait_for_training("finished");
    page.allow_downloads();
    page.press("[data-testid=export]");
    page.wait("the dialog", "return document.querySelector('#export-dialog').open");
    page.browser.click("[data-testid=export-download]");
    let path = page.saved(&format!("{NAME}.safetensors"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

/// Puts a finished run away, and deletes it.
fn put_away(page: &Page) {
    page.browser.click("#train-new");
    page.wait("the run in the list", "return document.querySelector('[data-testid=run]')");
    page.press("[data-testid=run] .icon");
    page.confirm("cannot be undone");
    page.wait("the run to go", "return !document.querySelector('[data-testid=run]')");
}

/// The tensors of an adapter's file. Its header has the time and the number of the session in it.
fn tensors(file: &[u8]) -> &[u8] {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    &file[8 + length..]
}

/// What was seen in all.
#[derive(Default)]
struct Count {
    drawing: u64,
    preparing: u64,
    training: u64,
    tabs: u64,
    finished: u64,
    /// Steps that were seen done and had to be done again: the most of one death, and all.
    lost: (u64, u64),
}

#[test]
#[ignore = "a hundred deaths: cargo xtask test --kill"]
fn kill_a_tab_or_a_browser_at_any_moment() {
    let deaths = asked("LORAKEET_KILLS", 100);
    let seed = asked("LORAKEET_KILL_SEED", u64::from(std::process::id()));
    println!("{deaths} deaths; LORAKEET_KILL_SEED={seed}");
    let mut random = Random(seed);

    let mut calm = Person::new("calm");
    let page = calm.come();
    begin(page);
    let undisturbed = finished(page);
    page.step("a run that nobody disturbed");
    drop(calm);

    let mut person = Person::new("disturbed");
    let mut count = Count::default();
    // Of the run that has begun.
    let mut left: Option<Option<u64>> = None;
    // Deaths in a row that left the run where it was: the last step is measured for longer than others, and
    // the run would never come to its end.
    let mut stuck = 0;
    for death in 1..=deaths {
        let page = person.come();
        let draws = random.below(4) == 0;
        match left {
            _ if draws => {
                page.browser.click("[data-testid=tab-generate]");
                page.set("#seed", death);
                page.browser.click("#generate");
            }
            None => begin(page),
            Some(kept) => drop(go_on(page, kept)),
        }
        std::thread::sleep(Duration::from_millis(random.below(4000 * (1 + stuck))));
        let mut what = "it draws".into();
        if draws {
            count.drawing += 1;
        } else {
            if page.is("return document.body.dataset.train === 'finished'") {
                assert_eq!(tensors(&finished(page)), tensors(&undisturbed), "death {death}");
                count.finished += 1;
                page.step(&format!("death {death}: a run has come to the same end"));
                put_away(page);
                begin(page);
            }
            let (at, kept) = (page.train_step(), page.kept());
            let lost = at.saturating_sub(kept.unwrap_or(0));
            assert!(lost <= 2 * u64::from(SNAPSHOTS), "death {death}: at {at}, kept at {kept:?}");
            count.lost = (count.lost.0.max(lost), count.lost.1 + lost);
            *(if at == 0 { &mut count.preparing } else { &mut count.training }) += 1;
            stuck = if left == Some(kept) { stuck + 1 } else { 0 };
            left = Some(kept);
            what = format!("step {at}, kept at {kept:?}");
        }
        let victim = if random.below(2) == 0 { Victim::Tab } else { Victim::Browser };
        count.tabs += u64::from(matches!(victim, Victim::Tab));
        page.step(&format!("death {death}, of the {victim:?}: {what}"));
        person.die(victim);
    }

    let page = person.come();
    match left {
        None => begin(page),
        Some(kept) => drop(go_on(page, kept)),
    }
    assert_eq!(tensors(&finished(page)), tensors(&undisturbed), "the last run");
    count.finished += 1;
    println!(
        "{deaths} deaths, {} of the tab and {} of the browser: {} while it drew, {} before a run's first step and {} \
         after it; at most {} steps had to be done again, {:.1} on average; {} runs came to their ends, \
         with the tensors of the one that nobody disturbed",
        count.tabs,
        deaths - count.tabs,
        count.drawing,
        count.preparing,
        count.training,
        count.lost.0,
        count.lost.1 as f64 / count.training.max(1) as f64,
        count.finished
    );
}

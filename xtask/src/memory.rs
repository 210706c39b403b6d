//! How much memory a browser takes: all its processes together, each page shared by several counted
//! once (`Pss` of /proc/PID/smaps_rollup). Only Linux tells; elsewhere it is 0.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);

/// The most that was seen since it was started.
pub struct Meter {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Meter {
    /// Watches the process and all below it; returns what they take now.
    pub fn start(process: u32) -> (Self, u64) {
        let now = total(process);
        let (peak, stop) = (Arc::new(AtomicU64::new(now)), Arc::new(AtomicBool::new(false)));
        let meter = Self { peak: Arc::clone(&peak), stop: Arc::clone(&stop) };
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                peak.fetch_max(total(process), Ordering::Relaxed);
                // The kernel walks through gigabytes for it: a twentieth of a core at most.
                thread::sleep(EVERY.max(19 * start.elapsed()));
            }
        });
        (meter, now)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Bytes of the process and all below it.
fn total(process: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut sum, mut open) = (0, vec![process]);
    while let Some(pid) = open.pop() {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum += share(&rollup).unwrap_or(0);
        open.extend(children.get(&pid).into_iter().flatten());
    }
    sum
}

/// The parent in /proc/PID/stat, whose second field may hold anything in its brackets.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The proportional share in bytes.
fn share(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is_written() {
        assert_eq!(parent("12 (a ) b) S 7 12 12 0 -1"), Some(7));
        assert_eq!(parent(""), None);
        let rollup =
            "5 - 7 ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:   3 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(share(rollup), Some(3072));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_memory() {
        let (meter, now) = Meter::start(std::process::id());
        assert!(now > 1 << 18 && meter.peak() >= now, "{now}");
    }
}

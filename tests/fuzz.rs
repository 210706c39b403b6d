//! Hostile files through the readers: no panic, no hang, and memory within bounds that the file's own
//! size sets. 100,000 in every test run; `cargo xtask fuzz` makes a million, or as many as it is told.

#[path = "support/counting.rs"]
mod counting;
mod hostile;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hostile::random::Random;
use hostile::readers::{Case, Originals};

const SEED: u64 = 20_240_711;

/// Bytes that a reader may take for each byte of a file: JSON as a tree of values is the most.
const PER_BYTE: usize = 150;

/// Bytes that it may take whatever the file: a noise schedule of 100,000 timesteps.
const ANYWAY: usize = 32 << 20;

/// One case; what it was and what it took.
fn run(originals: &Originals, number: u64) -> (Case, usize) {
    let mut random = Random::new(SEED, number);
    let work = || counting::peak_of(|| originals.run(&mut random));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(_) => {
            panic!("case {number}: `LORAKEET_FUZZ_FROM={number} cargo xtask fuzz -- 1` repeats it")
        }
    }
}

fn check(number: u64, case: &Case, bytes: usize) {
    let most = ANYWAY + PER_BYTE * case.bytes;
    let Case { kind, bytes: length, .. } = case;
    assert!(bytes <= most, "case {number}: a {kind} of {length} bytes took {bytes}");
}

#[test]
fn hostile_files_are_read_or_refused_within_their_own_size() {
    assert!(counting::is_counted());
    let originals = Originals::new();
    let mut kinds = std::collections::BTreeMap::<&str, [u32; 2]>::new();
    for number in 0..100_000 {
        let (case, bytes) = run(&originals, number);
        check(number, &case, bytes);
        kinds.entry(case.kind).or_default()[usize::from(case.read)] += 1;
    }
    // What is refused at the door alone tests nothing behind it, and what is always read isn't hostile.
    println!("refused and read: {kinds:?}");
    // Of a checkpoint in one file there are too few tensors here to be a model.
    for (kind, [refused, read]) in kinds.into_iter().filter(|(kind, _)| *kind != "checkpoint") {
        assert!(refused > 20 && read > 20, "{kind}: {refused} refused, {read} read");
    }
}

fn told(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: {text} is no whole number")),
        Err(_) => otherwise,
    }
}

/// The processor time of this thread so far, where the system tells it (Linux), else the time of day: what
/// other programs take is no case's fault.
fn spent(started: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| started.elapsed(), Duration::from_nanos)
}

/// What `cargo xtask fuzz` runs: `LORAKEET_FUZZ` cases from `LORAKEET_FUZZ_FROM` on, with the time of
/// each.
#[test]
#[ignore = "`cargo xtask fuzz` runs it"]
fn as_many_as_are_asked_for() {
    const MOST: Duration = Duration::from_secs(1);
    let originals = Originals::new();
    let (from, count) = (told("LORAKEET_FUZZ_FROM", 0), told("LORAKEET_FUZZ", 1_000_000));
    // A case that never ends can't be judged by its time.
    let current = Arc::new(AtomicU64::new(u64::MAX));
    let watched = current.clone();
    std::thread::spawn(move || {
        let mut seen = u64::MAX;
        loop {
            std::thread::sleep(60 * MOST);
            let now = watched.load(Relaxed);
            if now == seen && now != u64::MAX {
                eprintln!("case {now} hangs");
                std::process::abort();
            }
            seen = now;
        }
    });
    let started = Instant::now();
    let mut kinds = std::collections::BTreeMap::<&str, (u64, u64, Duration, usize)>::new();
    for number in from..from + count {
        current.store(number, Relaxed);
        let before = spent(started);
        let (case, bytes) = run(&originals, number);
        let took = spent(started) - before;
        check(number, &case, bytes);
        assert!(took < MOST, "case {number}, a {}, took {took:?}", case.kind);
        let (cases, read, longest, most) = kinds.entry(case.kind).or_default();
        *cases += 1;
        *read += u64::from(case.read);
        *longest = took.max(*longest);
        *most = bytes.max(*most);
        let done = number + 1 - from;
        if done.is_multiple_of(100_000) {
            println!("{done} cases in {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    current.store(u64::MAX, Relaxed);
    for (kind, (cases, read, longest, most)) in kinds {
        let most = most >> 10;
        println!("{kind}: {cases} cases, {read} read; {longest:.1?} and {most} KiB at most");
    }
}

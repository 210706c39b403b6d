//! What was measured, as a table in `docs/full-size.md`. Rows are kept in `docs/full-size.json`, so that a
//! part of the tests replaces its own rows only, on whatever machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::here;

const BEGIN: &str = "<!-- measured by `cargo xtask test --full` -->";
const END: &str = "<!-- end of what was measured -->";

/// One thing that the page was asked to do.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// The test, which orders the table.
    pub test: String,
    /// Its place in the test.
    pub place: usize,
    pub backend: String,
    pub what: String,
    /// What came of it.
    pub outcome: String,
    pub seconds: f64,
    /// Bytes of the engine's heap: what it has reserved, and the most that was in use.
    pub heap: Option<(u64, u64)>,
    /// Bytes that all processes of the browser took at most.
    pub browser: u64,
}

fn file() -> PathBuf {
    here("docs/full-size.json")
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(file()).expect("the rows lie beside the table");
    serde_json::from_str(&text).expect("rows of the table")
}

fn write(mut rows: Vec<Row>) {
    rows.sort_by(|a, b| (&a.test, a.place).cmp(&(&b.test, b.place)));
    let text = serde_json::to_string_pretty(&rows).unwrap() + "\n";
    std::fs::write(file(), text).unwrap();
    let page = here("docs/full-size.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let lines: String = rows.iter().map(line).collect();
    let head = "| backend | asked for | outcome | time | engine's heap, most in use | browser, most |\n\
                |---|---|---|---|---|---|\n";
    std::fs::write(page, format!("{before}{BEGIN}\n{head}{lines}{END}{after}")).unwrap();
}

fn line(row: &Row) -> String {
    let Row { backend, what, outcome, seconds, heap, browser, .. } = row;
    let heap = heap.map_or(String::new(), |(heap, used)| format!("{}, {}", mb(heap), mb(used)));
    format!("| {backend} | {what} | {outcome} | {seconds:.0} s | {heap} | {} |\n", mb(*browser))
}

/// Megabytes, of a million bytes.
pub fn mb(bytes: u64) -> String {
    format!("{} MB", (bytes + 500_000) / 1_000_000)
}

/// Forgets the rows of a test, which is about to make new ones.
pub fn begin(test: &str) {
    let mut rows = rows();
    rows.retain(|row| row.test != test);
    write(rows);
}

pub fn add(row: Row) {
    let mut rows = rows();
    rows.push(row);
    write(rows);
}

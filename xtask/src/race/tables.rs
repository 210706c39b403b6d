//! The race's results as tables.

use super::{Alone, CASES, Row, number};
use crate::setup::Rival;

#[path = "../../../benches/measure/table.rs"]
mod table;
use table::{Table, mebi, quantile, ratio, time};

/// Largest difference between two outputs, over the largest value, that counts as the same.
const AGREE: f64 = 1e-3;

pub fn print(rows: &[Row], alone: &[Alone], rival: &Rival) {
    let fact = |name| rows.iter().find_map(|row| row.together.get(name));
    println!(
        "\nLorakeet and onnxruntime-web {} in the same tab, in turns; adapter: {}{}. A step is one \
         forward pass of the network, from inputs in the tab's memory to its output there; medians, \
         in brackets the middle half. GFLOP/s: operations of matrix products, convolutions and \
         attention, a multiply-add being two, over the median. Outputs agree where the largest \
         difference is below {AGREE} of the largest value; a row where they don't is void.\n",
        rival.version,
        fact("adapter").map_or("unknown", String::as_str),
        match fact("isolated").map(String::as_str) {
            Some("true") => ", cross-origin isolated",
            _ => ", not cross-origin isolated (one thread)",
        },
    );
    for case in CASES {
        let Some(row) = rows.iter().find(|row| row.case == case) else { continue };
        let number = |name| number(&row.together, name).unwrap_or(f64::NAN);
        println!(
            "- `{case}`: {}; {:.4} GFLOP; {:.4} GB moved if every operator reads and writes each \
             value once, {:.4} GB of them weights",
            row.together.get("title").map_or("", String::as_str),
            number("flops") / 1e9,
            number("bytes") / 1e9,
            number("weights") / 1e9,
        );
    }
    let steps = [
        "network: engines",
        "rounds",
        "ours",
        "theirs",
        "theirs / ours",
        "GFLOP/s, ours",
        "theirs",
        "difference",
    ];
    let mut table = Table::new(&steps);
    rows.iter().for_each(|row| table.row(step(row)));
    println!("\n{}\n", table.lines().join("\n"));
    println!(
        "Each alone in a fresh browser: the time until engine and weights are loaded, the first step \
         (which compiles shaders), memory of all the browser's processes at the peak above what \
         they had when only the weights were there, and calls of WebGPU in one step.\n"
    );
    for row in rows {
        let facts = ["refused", "graph"].map(|name| row.fact(row.sides[1], name));
        if let [Some(refused), Some(graph)] = facts {
            let (case, side) = (row.case, row.sides[1]);
            println!("`{case}`, `{side}` ran {graph}; difference or failure of {refused}.\n");
        }
    }
    let around = ["network: engine", "load", "first step", "memory", "dispatches", "submissions"];
    let mut table = Table::new(&around);
    alone.iter().for_each(|one| table.row(around_step(one)));
    println!("{}", table.lines().join("\n"));
}

/// A row in words.
pub fn told(row: &Row) -> String {
    let [engines, rounds, ours, theirs, ratio, _, _, difference] = step(row);
    format!(
        "{engines}: ours {ours}, theirs {theirs}, theirs / ours {ratio}, {rounds} rounds; \
         difference {difference}"
    )
}

/// Ours beside the other side.
fn step(row: &Row) -> [String; 8] {
    let [own, side] = row.sides;
    let (ours, theirs) = (row.times(own), row.times(side));
    let failed = |side: &str| row.fact(side, "failed").or(row.together.get("failed"));
    let rate = |times: &[f64]| {
        let flops = number(&row.together, "flops").unwrap_or(f64::NAN);
        format!("{:.3}", flops / 1e9 / quantile(times, 0.5))
    };
    let shown = |side: &str, times: &[f64]| match failed(side) {
        Some(why) => format!("failed: {why}"),
        None => time(quantile(times, 0.5)),
    };
    let difference = number(&row.together, &format!("{side} difference"));
    let raced = failed(own).is_none() && failed(side).is_none();
    let compared = match difference {
        _ if !raced => "-".into(),
        Some(off) if off <= AGREE => ratio(&theirs, &ours),
        _ => "void".into(),
    };
    [
        format!("{}: {own}, {side}", row.case),
        theirs.len().min(ours.len()).to_string(),
        shown(own, &ours),
        shown(side, &theirs),
        compared,
        rate(&ours),
        rate(&theirs),
        difference.map_or("-".into(), |off| format!("{off:.1e}")),
    ]
}

/// What a side needs besides the time of a step.
fn around_step(alone: &Alone) -> [String; 6] {
    let Alone { case, side, facts, dispatches, submissions } = alone;
    let seconds = |name| number(facts, &format!("{side} {name}")).map_or("-".into(), time);
    let bytes = |name| number(facts, name).filter(|&bytes| bytes > 0.0);
    let memory = match (bytes("memory-before"), bytes("memory-peak")) {
        (Some(before), Some(peak)) => mebi((peak - before) as u64),
        _ => "-".into(),
    };
    let load = match facts.get(&format!("{side} failed")).or(facts.get("failed")) {
        Some(why) => format!("failed: {why}"),
        None => seconds("load"),
    };
    let calls = |counted: &Option<String>| counted.clone().unwrap_or("-".into());
    [
        format!("{case}: {side}"),
        load,
        seconds("first"),
        memory,
        calls(dispatches),
        calls(submissions),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::facts;
    use super::*;

    fn row(together: &str) -> Row {
        Row { case: "demo", sides: ["ours-cpu", "theirs-wasm-1"], together: facts(together) }
    }

    const GOOD: &str = "flops\t4000000000\nours-cpu times\t1 2 3\ntheirs-wasm-1 times\t2 6 3\n";

    #[test]
    fn a_row_holds_the_median_of_the_rounds_ratios() {
        let row = row(&format!("{GOOD}theirs-wasm-1 difference\t0.00001"));
        let cells = step(&row);
        assert_eq!(cells[1..4], ["3", "2.00 s", "3.00 s"]);
        assert_eq!(cells[4..7], ["2.00 (1.50 to 2.50)", "2.000", "1.333"]);
    }

    #[test]
    fn outputs_that_differ_make_the_row_void_and_a_failure_is_told() {
        for off in ["0.01", "Infinity", "NaN"] {
            let row = row(&format!("{GOOD}theirs-wasm-1 difference\t{off}"));
            assert_eq!(step(&row)[4], "void", "{off}");
        }
        let row = row(&format!("{GOOD}theirs-wasm-1 failed\tout of memory"));
        let cells = step(&row);
        assert_eq!(cells[3..5], ["failed: out of memory", "-"]);
    }
}

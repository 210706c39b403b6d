//! In which order a network's values are made, in which bands, and when each goes.

use std::ops::Range;

use super::{Node, Program};

/// Making one value, band by band.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The value.
    pub node: usize,
    /// Rows of a band.
    pub rows: usize,
    /// Whether its bands are kept; otherwise only their statistics are asked for.
    pub keep: bool,
    /// Whether a norm asks for its statistics.
    pub measure: bool,
    /// The kept values that nobody reads after this step.
    pub frees: Vec<usize>,
}

/// All steps of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whether a value is kept.
    pub kept: Vec<bool>,
    /// In their order.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// With a thrift for each level, and bands of about so many bytes in their largest layer; without,
    /// every value is one band.
    pub fn new(program: &Program, thrift: &[u8], band: Option<u64>) -> Self {
        let nodes = &program.nodes;
        let last = program.last();
        let kept: Vec<bool> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| i == last || node.spared > thrift[node.level])
            .collect();
        let rows: Vec<usize> = (0..nodes.len())
            .map(|i| band.map_or(program.height(i), |band| program.rows_of(i, band)))
            .collect();
        // A value that one band of a kept value reads whole is normalised at once.
        let at_once = |i: usize| kept[i] && rows[i] >= program.height(i);
        let mut measured = vec![false; nodes.len()];
        for (i, node) in nodes.iter().enumerate().filter(|(i, node)| node.normed && !at_once(*i)) {
            debug_assert!(node.from < i);
            measured[node.from] = true;
        }
        let steps = (1..nodes.len()).filter(|i| kept[*i] || measured[*i]).map(|node| Step {
            node,
            rows: rows[node].max(1),
            keep: kept[node],
            measure: measured[node],
            frees: Vec::new(),
        });
        let mut schedule = Self { steps: steps.collect(), kept };
        schedule.find_last_readers(program);
        schedule
    }

    fn find_last_readers(&mut self, program: &Program) {
        let mut last = vec![None; program.nodes.len()];
        for (at, step) in self.steps.iter().enumerate() {
            self.each_read(program, step.node, &mut |value| last[value] = Some(at));
        }
        for (value, at) in last.into_iter().enumerate() {
            if let Some(at) = at {
                self.steps[at].frees.push(value);
            }
        }
    }

    /// Calls `note` with the kept values that making a value reads.
    fn each_read(&self, program: &Program, node: usize, note: &mut impl FnMut(usize)) {
        let Node { from, skip, .. } = program.nodes[node];
        for value in std::iter::once(from).chain(skip) {
            if self.kept[value] {
                note(value);
            } else {
                self.each_read(program, value, note);
            }
        }
    }

    /// The first row of a kept value that making these rows of another one reads, if it does.
    pub fn first_read(
        &self,
        program: &Program,
        node: usize,
        rows: &Range<usize>,
        value: usize,
    ) -> Option<usize> {
        let Node { from, skip, .. } = program.nodes[node];
        let of = |source: usize, rows: Range<usize>| {
            if source == value {
                Some(rows.start)
            } else if self.kept[source] {
                None
            } else {
                self.first_read(program, source, &rows, value)
            }
        };
        let through = of(from, program.reads(node, rows));
        let past = skip.and_then(|skip| of(skip, rows.clone()));
        through.into_iter().chain(past).min()
    }
}

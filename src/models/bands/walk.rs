//! The walk itself, with numbers or without.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::Program;
use super::schedule::{Schedule, Step};

/// Some rows of a value, with all its channels and columns.
pub trait Rows: Clone {
    /// How many.
    fn rows(&self) -> usize;
    /// Some of them.
    fn narrow(self, rows: Range<usize>) -> Self;
    /// One below the other.
    fn join(pieces: Vec<Self>) -> Self;
}

/// What a network's layers do with rows.
pub trait Network<T> {
    /// Statistics of a value's groups of channels.
    type Moments: Clone;

    /// What a value's layer makes of x. A norm before it goes by `moments`, or by those of x itself.
    fn apply(&self, node: usize, x: T, moments: Option<&Self::Moments>) -> T;

    /// y plus what leads past the layer.
    fn add(&self, node: usize, y: T, skip: T) -> T;

    /// Statistics of some rows.
    fn measure(&self, x: &T) -> Self::Moments;

    /// Those of all rows from those of bands.
    fn merge(&self, bands: &[Self::Moments]) -> Self::Moments;
}

/// What is kept of a value, from some row on.
type Bands<T> = VecDeque<(Range<usize>, T)>;

/// What a residual block still wants of a value that is on the way.
struct Note<T> {
    node: Option<usize>,
    seen: Option<(Range<usize>, T)>,
}

/// A network on its way through a picture. Dropping it ends it.
#[derive(Debug)]
pub struct Walk<T, M> {
    program: Rc<Program>,
    schedule: Rc<Schedule>,
    /// The step, and its first row that isn't made.
    at: usize,
    row: usize,
    kept: Vec<Bands<T>>,
    moments: Vec<Option<M>>,
    /// Of the step's bands so far.
    measured: Vec<M>,
}

impl<T: Rows, M: Clone> Walk<T, M> {
    /// Before its first step.
    pub(super) fn new(program: Rc<Program>, schedule: Rc<Schedule>, input: T) -> Self {
        let count = program.nodes.len();
        let mut kept = vec![Bands::new(); count];
        kept[0].push_back((0..input.rows(), input));
        let moments = vec![None; count];
        Self { program, schedule, at: 0, row: 0, kept, moments, measured: Vec::new() }
    }

    fn step(&self) -> &Step {
        &self.schedule.steps[self.at]
    }

    /// The rows of the step's band that comes next, from its first row on.
    fn band(&self, first: usize) -> Range<usize> {
        let step = self.step();
        first..self.program.height(step.node).min(first + step.rows)
    }

    /// Makes one band. At the end: the output. It isn't called after that.
    pub fn advance(&mut self, network: &impl Network<T, Moments = M>) -> Option<T> {
        let Step { node, keep, measure, .. } = *self.step();
        let rows = self.band(self.row);
        let end = rows.end;
        let y = self.make(network, node, rows.clone(), &mut Note { node: None, seen: None });
        if measure {
            self.measured.push(network.measure(&y));
        }
        if keep {
            self.kept[node].push_back((rows, y));
        }
        self.row = end;
        if end < self.program.height(node) {
            return None;
        }
        if measure {
            self.moments[node] = Some(network.merge(&std::mem::take(&mut self.measured)));
        }
        (self.at, self.row) = (self.at + 1, 0);
        if self.at < self.schedule.steps.len() {
            return None;
        }
        let bands = std::mem::take(&mut self.kept[node]);
        Some(T::join(bands.into_iter().map(|(_, band)| band).collect()))
    }

    /// Rows of a value: those that were kept, or made anew.
    fn value(
        &mut self,
        network: &impl Network<T, Moments = M>,
        node: usize,
        rows: Range<usize>,
        note: &mut Note<T>,
    ) -> T {
        let x = if self.schedule.kept[node] {
            self.gather(node, &rows)
        } else {
            self.make(network, node, rows.clone(), note)
        };
        if note.node == Some(node) {
            note.seen = Some((rows, x.clone()));
        }
        x
    }

    /// Makes rows of a value from what its layer reads.
    fn make(
        &mut self,
        network: &impl Network<T, Moments = M>,
        node: usize,
        rows: Range<usize>,
        note: &mut Note<T>,
    ) -> T {
        let read = self.program.reads(node, &rows);
        let of = self.program.nodes[node];
        let mut own = Note { node: of.skip, seen: None };
        let note = if of.skip.is_some() { &mut own } else { note };
        let x = self.value(network, of.from, read.clone(), note);
        let whole = read == (0..self.program.height(of.from));
        let moments = self.moments[of.from].as_ref().filter(|_| !whole);
        let y = network.apply(node, x, moments);
        let y = within(y, &self.program.makes(node, &read), &rows);
        let Some(skip) = of.skip else { return y };
        let past = match own.seen {
            Some((seen, past)) => within(past, &seen, &rows),
            None => self.value(network, skip, rows, &mut Note { node: None, seen: None }),
        };
        network.add(node, y, past)
    }

    /// Rows of a kept value. Bands that nothing reads after this go.
    fn gather(&mut self, node: usize, rows: &Range<usize>) -> T {
        let needed = self.needed_later(node);
        let bands = &mut self.kept[node];
        let overlap = |band: &Range<usize>| rows.start.max(band.start)..rows.end.min(band.end);
        let pieces: Vec<_> = bands
            .iter()
            .filter(|(band, _)| !overlap(band).is_empty())
            .map(|(band, x)| (band.clone(), x.clone()))
            .collect();
        while bands.front().is_some_and(|(band, _)| band.end <= needed) {
            bands.pop_front();
        }
        let cut = |(band, x): (Range<usize>, T)| within(x, &band, &overlap(&band));
        T::join(pieces.into_iter().map(cut).collect())
    }

    /// The first row of a kept value that is still read once this band is made.
    fn needed_later(&self, node: usize) -> usize {
        let step = self.step();
        if !step.frees.contains(&node) {
            return 0;
        }
        let next = self.band(self.band(self.row).end);
        if next.is_empty() {
            return usize::MAX;
        }
        let first = self.schedule.first_read(&self.program, step.node, &next, node);
        first.unwrap_or(usize::MAX)
    }
}

/// Those `rows` of x, which has the rows `of`.
fn within<T: Rows>(x: T, of: &Range<usize>, rows: &Range<usize>) -> T {
    if of == rows { x } else { x.narrow(rows.start - of.start..rows.end - of.start) }
}

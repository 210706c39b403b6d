//! Walking without numbers: what each step takes of memory and time.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use super::schedule::Schedule;
use super::walk::{Network, Rows, Walk};
use super::{Layer, Node, Program};
use crate::layers::queries_at_once;

/// What a walk has taken so far.
#[derive(Debug, Default)]
struct Meter {
    held: Cell<u64>,
    peak: Cell<u64>,
    largest: Cell<u64>,
    products: Cell<u64>,
}

impl Meter {
    fn work(&self, products: u64) {
        self.products.set(self.products.get() + products);
    }
}

/// Memory of a tensor. Views of it hold it too.
#[derive(Debug)]
struct Memory {
    bytes: u64,
    meter: Rc<Meter>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.meter.held.set(self.meter.held.get() - self.bytes);
    }
}

/// A tensor's size: `[n, channels, rows, columns]`.
#[derive(Debug, Clone)]
pub struct Size {
    dims: [usize; 4],
    memory: Rc<Memory>,
}

impl Size {
    fn new(dims: [usize; 4], meter: &Rc<Meter>) -> Self {
        let bytes = 4 * dims.iter().map(|length| *length as u64).product::<u64>();
        let held = meter.held.get() + bytes;
        meter.held.set(held);
        meter.peak.set(meter.peak.get().max(held));
        meter.largest.set(meter.largest.get().max(bytes));
        Self { dims, memory: Rc::new(Memory { bytes, meter: meter.clone() }) }
    }

    /// Another tensor like it.
    fn another(&self) -> Self {
        Self::new(self.dims, &self.memory.meter)
    }

    fn with(&self, change: impl FnOnce(&mut [usize; 4])) -> Self {
        let mut dims = self.dims;
        change(&mut dims);
        Self::new(dims, &self.memory.meter)
    }

    /// In memory of its own that has no other rows, which kernels ask for.
    fn dense(self) -> Self {
        let bytes = 4 * self.dims.iter().map(|length| *length as u64).product::<u64>();
        if bytes == self.memory.bytes { self } else { self.another() }
    }
}

impl Rows for Size {
    fn rows(&self) -> usize {
        self.dims[2]
    }

    fn narrow(mut self, rows: Range<usize>) -> Self {
        self.dims[2] = rows.len();
        self
    }

    fn join(mut pieces: Vec<Self>) -> Self {
        if pieces.len() == 1 {
            return pieces.remove(0);
        }
        let rows = pieces.iter().map(Self::rows).sum();
        pieces[0].with(|dims| dims[2] = rows)
    }
}

/// A network without weights.
struct Count<'a> {
    program: &'a Program,
    meter: Rc<Meter>,
}

impl Count<'_> {
    /// A convolution with `taps` that gives so many channels.
    fn convolve(
        &self,
        x: Size,
        channels: usize,
        taps: u64,
        shape: impl FnOnce(&mut [usize; 4]),
    ) -> Size {
        let x = x.dense();
        let input = x.dims[1] as u64;
        let y = x.with(|dims| {
            dims[1] = channels;
            shape(dims);
        });
        let values = y.dims.iter().map(|length| *length as u64).product::<u64>();
        self.meter.work(values * input * taps);
        y
    }

    fn same(&self, x: Size, channels: usize) -> Size {
        self.convolve(x, channels, 9, |_| {})
    }

    /// As `MidBlock::attend`.
    fn attend(&self, x: Size) -> Size {
        let tokens = x.another();
        let turned = tokens.another();
        drop(tokens);
        let [n, c, h, w] = x.dims.map(|length| length as u64);
        let pixels = h * w;
        self.meter.work(4 * n * pixels * c * c + 2 * n * pixels * pixels * c);
        let [q, k, v] = std::array::from_fn(|_| turned.another());
        drop(turned);
        let (heads, pixels) = (x.dims[0], pixels as usize);
        let rows = queries_at_once(heads, pixels).min(pixels);
        let scores = Size::new([1, heads, rows, pixels], &self.meter);
        let mixed = q.another();
        drop((q, k, v, scores));
        let out = mixed.another();
        drop(mixed);
        let sum = out.another();
        drop(x);
        sum
    }
}

impl Network<Size> for Count<'_> {
    type Moments = ();

    fn apply(&self, node: usize, x: Size, moments: Option<&()>) -> Size {
        let Node { layer, normed, channels, .. } = self.program.nodes[node];
        let x = if normed {
            let x = x.dense();
            // Scaling, shifting, SiLU: one kernel, or after each other.
            let mut y = x.another();
            drop(x);
            if moments.is_some() {
                y = y.another();
            }
            y
        } else {
            x
        };
        match layer {
            Layer::Input => x,
            Layer::Point => self.convolve(x, channels, 1, |_| {}),
            Layer::Convolution => self.same(x, channels),
            Layer::Block => {
                let mut y = self.same(x.clone(), channels);
                for _ in 0..2 {
                    y = self.same(y.another(), channels);
                }
                drop(x);
                y.another()
            }
            Layer::Enlarging => self.convolve(x, channels, 9, |dims| {
                (dims[2], dims[3]) = (2 * dims[2], 2 * dims[3]);
            }),
            Layer::Halving { .. } => self.convolve(x, channels, 9, |dims| {
                (dims[2], dims[3]) = (layer.length(dims[2]), layer.length(dims[3]));
            }),
            Layer::Attention => self.attend(x),
        }
    }

    fn add(&self, _: usize, y: Size, skip: Size) -> Size {
        let skip = if skip.dims[1] == y.dims[1] {
            skip
        } else {
            self.convolve(skip, y.dims[1], 1, |_| {})
        };
        let sum = y.another();
        drop(skip);
        sum
    }

    fn measure(&self, x: &Size) {
        // Differences to the mean, and their squares.
        let differences = x.another();
        drop(differences.another());
    }

    fn merge(&self, _: &[()]) {}
}

/// What a schedule takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Bytes of memory at most at a time, input and output among them.
    pub peak: u64,
    /// Bytes of the largest tensor.
    pub largest: u64,
    /// Products of its convolutions after each band.
    pub products: Vec<u64>,
}

impl Taken {
    /// By walking, which ends early with what was seen until then where `go_on` says so.
    pub fn by(
        program: &Rc<Program>,
        schedule: &Rc<Schedule>,
        go_on: impl Fn(&Self) -> bool,
    ) -> Self {
        let meter = Rc::new(Meter::default());
        let [h, w] = program.sizes[0];
        let input = Size::new([program.n, program.nodes[0].channels, h, w], &meter);
        let mut walk = Walk::new(program.clone(), schedule.clone(), input);
        let network = Count { program, meter: meter.clone() };
        let mut taken = Self { peak: 0, largest: 0, products: Vec::new() };
        loop {
            let done = walk.advance(&network).is_some();
            taken.products.push(meter.products.get());
            (taken.peak, taken.largest) = (meter.peak.get(), meter.largest.get());
            if done || !go_on(&taken) {
                return taken;
            }
        }
    }
}

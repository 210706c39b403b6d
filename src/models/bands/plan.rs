//! What is kept and what is made again, by what fits.

use std::rc::Rc;

use super::count::Taken;
use super::schedule::Schedule;
use super::walk::{Rows, Walk};
use super::{Layer, Program, THRIFTIEST};
use crate::error::{Error, Result};

/// What there is to work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may be taken at a time, beside the weights.
    pub bytes: Option<u64>,
    /// Bytes of one tensor: what a GPU takes in one buffer.
    pub buffer: Option<u64>,
}

impl Limits {
    /// Whatever it takes.
    pub const NONE: Self = Self { bytes: None, buffer: None };

    fn allow(self, taken: &Taken) -> bool {
        self.bytes.is_none_or(|bytes| taken.peak <= bytes)
            && self.buffer.is_none_or(|bytes| taken.largest <= bytes)
    }
}

impl Default for Limits {
    /// Where nobody knows what there is: 1 GiB, and buffers that every WebGPU device binds.
    fn default() -> Self {
        Self { bytes: Some(1 << 30), buffer: Some(128 << 20) }
    }
}

/// How a picture goes through an autoencoder.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bytes that it takes at most at a time, input and output among them, weights not.
    pub peak: u64,
    /// Bytes of its largest tensor.
    pub largest: u64,
    /// Rows of the output that are made at a time; all, where the picture is whole.
    pub tile: usize,
    /// Its work over that of the whole picture: above 1 where something is made again.
    pub work: f64,
    program: Rc<Program>,
    schedule: Rc<Schedule>,
    /// Products of its convolutions after each piece of work.
    products: Rc<[u64]>,
}

/// The largest tensor is halved so many times at most to become bands.
const HALVINGS: u32 = 7;

impl Program {
    /// Rows of a value that its layer makes in about so many bytes of its input or output.
    pub(super) fn rows_of(&self, node: usize, bytes: u64) -> usize {
        let (of, [height, width]) = (&self.nodes[node], self.sizes[node]);
        let before = self.nodes[of.from].channels;
        let channels = match of.layer {
            Layer::Attention => return height,
            Layer::Halving { .. } => (4 * before).max(of.channels),
            _ => before.max(of.channels),
        };
        let row = 4 * (self.n * channels * width) as u64;
        (bytes / row.max(1)).clamp(1, height.max(1) as u64) as usize
    }

    /// What may be chosen for its levels: the larger its pictures, the more thrift.
    fn thrifts(&self) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        for _ in 0..self.levels() {
            let longer = |thrift: Vec<u8>| {
                let least = thrift.last().copied().unwrap_or(0);
                (least..=THRIFTIEST).map(move |more| [thrift.as_slice(), &[more]].concat())
            };
            all = all.into_iter().flat_map(longer).collect();
        }
        if self.height(self.last()) < self.height(0) {
            all.iter_mut().for_each(|thrift| thrift.reverse());
        }
        all
    }

    fn whole(self: &Rc<Self>) -> Plan {
        let thrift = vec![0; self.levels()];
        let schedule = Rc::new(Schedule::new(self, &thrift, None));
        let taken = Taken::by(self, &schedule, |_| true);
        Plan::new(self, schedule, taken, None)
    }

    /// The plan of the least work that fits: whole, where that does.
    ///
    /// # Errors
    /// When none does; `what` is what the picture is to be, for people: "decoding 512 x 512 pixels".
    pub fn plan(self, limits: Limits, what: &str) -> Result<Plan> {
        let program = Rc::new(self);
        let whole = program.whole();
        if limits.allow(&whole.taken()) {
            return Ok(whole);
        }
        let mut best: Option<Plan> = None;
        for thrift in program.thrifts() {
            // Wide bands first: narrower ones have more rows that are made twice.
            let mut plans = (1..=HALVINGS).filter_map(|i| {
                let band = Some(whole.largest >> i);
                let schedule = Rc::new(Schedule::new(&program, &thrift, band));
                let taken = Taken::by(&program, &schedule, |taken| limits.allow(taken));
                let fits = limits.allow(&taken);
                fits.then(|| Plan::new(&program, schedule, taken, Some(&whole)))
            });
            if let Some(plan) = plans.next() {
                best = Some(best.filter(|best| best.work <= plan.work).unwrap_or(plan));
            }
        }
        best.ok_or_else(|| {
            let least = program.least(&whole);
            let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
            let problem = match limits.bytes {
                Some(bytes) if least.peak > bytes => format!(
                    "{what} takes {} of memory at least, and there are {}",
                    mib(least.peak),
                    mib(bytes)
                ),
                _ => format!(
                    "{what} takes buffers of {} at least, and the device has {}",
                    mib(least.largest),
                    mib(limits.buffer.unwrap_or(0))
                ),
            };
            Error::setting("size", problem, "Choose a smaller picture")
        })
    }

    /// The plan where nobody has told what there is: within the default limits, or else of the least
    /// memory.
    pub fn usual_plan(self) -> Plan {
        let program = self.clone();
        self.plan(Limits::default(), "the picture").unwrap_or_else(|_| program.least_plan())
    }

    /// The plan of the least memory.
    pub fn least_plan(self) -> Plan {
        let program = Rc::new(self);
        program.least(&program.whole())
    }

    fn least(self: &Rc<Self>, whole: &Plan) -> Plan {
        let mut least = whole.clone();
        for thrift in self.thrifts() {
            for i in 1..=HALVINGS {
                let schedule = Rc::new(Schedule::new(self, &thrift, Some(whole.largest >> i)));
                let taken = Taken::by(self, &schedule, |taken| taken.peak < least.peak);
                if taken.peak < least.peak {
                    least = Plan::new(self, schedule, taken, Some(whole));
                }
            }
        }
        least
    }
}

impl Plan {
    fn new(
        program: &Rc<Program>,
        schedule: Rc<Schedule>,
        taken: Taken,
        whole: Option<&Self>,
    ) -> Self {
        let Taken { peak, largest, products } = taken;
        let all = |products: &[u64]| products.last().copied().unwrap_or(0).max(1) as f64;
        Self {
            peak,
            largest,
            tile: schedule.steps.last().map_or(0, |step| step.rows),
            work: whole.map_or(1.0, |whole| all(&products) / all(&whole.products)),
            program: program.clone(),
            schedule,
            products: products.into(),
        }
    }

    fn taken(&self) -> Taken {
        let products = self.products.to_vec();
        Taken { peak: self.peak, largest: self.largest, products }
    }

    /// Height and width of the input that it is for.
    pub fn input(&self) -> [usize; 2] {
        self.program.sizes[0]
    }

    /// Pieces of work.
    pub fn pieces(&self) -> usize {
        self.products.len()
    }

    /// Whether every layer has the whole picture.
    pub fn is_whole(&self) -> bool {
        self.pieces() == self.program.last() && self.schedule.kept.iter().all(|kept| *kept)
    }

    /// The part of all work that is done after so many pieces, 0 to 1.
    pub fn done(&self, pieces: usize) -> f64 {
        let products = |pieces: usize| match pieces {
            0 => 0.0,
            _ => self.products[pieces.min(self.pieces()) - 1] as f64,
        };
        if pieces >= self.pieces() { 1.0 } else { products(pieces) / products(self.pieces()) }
    }

    /// The walk that it plans.
    pub fn walk<T: Rows, M: Clone>(&self, input: T) -> Walk<T, M> {
        Walk::new(self.program.clone(), self.schedule.clone(), input)
    }
}

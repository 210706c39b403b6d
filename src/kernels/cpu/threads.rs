//! Sharing the work of a kernel among threads.
//!
//! In the browser a thread is a worker with an instance of this very module on the same memory
//! (`web/thread.js`), which does nothing but take parts of what the engine's worker shares. The
//! compiler knows nothing of it: std was built without atomics, so that its allocator has no lock
//! and its thread-locals are statics. Hence the rule for all that is shared: it works on memory it
//! was given, and neither allocates nor panics nor touches a thread-local. What has to be atomic are
//! functions that `build.rs` wrote ([`super::microkernel`] puts them in place).
//!
//! Natively burn's kernels run, on burn's threads; there this exists for the tests.

#[cfg(not(target_arch = "wasm32"))]
pub use native::{count, set_count};
#[cfg(target_arch = "wasm32")]
pub use wasm::{count, failed, help, places, set_helpers};

/// What threads share: called with a part's number and memory of the thread's own, of undefined
/// content.
type Work<'a> = dyn Fn(usize, &mut [f32]) + Sync + 'a;

/// Does parts `0..parts`, each once, on all threads, with `scratch` elements of memory for each
/// thread. Returns when all are done. `work` follows the rule above and shares nothing itself.
pub fn share(parts: usize, scratch: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    #[cfg(target_arch = "wasm32")]
    wasm::share(parts, scratch, &work);
    #[cfg(not(target_arch = "wasm32"))]
    native::share(parts, scratch, &work);
}

/// Elements of scratch memory that a thread keeps for its next work: 4 MiB. What is larger, as an
/// autoencoder's attention asks for, is freed when its work is done.
#[cfg(target_arch = "wasm32")]
const KEPT: usize = 1 << 20;

/// Frees the threads' scratch memory, which would otherwise wait for the next kernel. Natively there
/// is none to wait.
pub fn release_scratch() {
    #[cfg(target_arch = "wasm32")]
    wasm::keep_scratch(0);
}

/// Work of less than this many simple operations isn't shared: a part would take less time than
/// waking the threads. Tests share everything.
const WORTH: u64 = if cfg!(test) { 1 } else { 1 << 15 };

/// As many operations as the product of these lengths. In the browser `usize` has 32 bits, which a
/// convolution of a picture's size exceeds.
pub fn operations(lengths: &[usize]) -> u64 {
    lengths.iter().map(|length| *length as u64).product()
}

/// How many parts there should be of `operations`.
pub fn parts(operations: u64) -> usize {
    // More than threads, so that one that comes late does less.
    const PER_THREAD: usize = 3;
    match count() {
        1 => 1,
        threads => (operations / WORTH).clamp(1, (PER_THREAD * threads) as u64) as usize,
    }
}

/// Shares `lines` of `operations` each that lie one after the other in `output`: calls `work` with
/// some of them and the number of the first.
pub fn share_lines(
    output: &mut [f32],
    lines: usize,
    operations: u64,
    work: impl Fn(&mut [f32], usize) + Sync,
) {
    if lines == 0 || output.is_empty() {
        return;
    }
    let width = output.len() / lines;
    let each = lines.div_ceil(parts(lines as u64 * operations));
    let output = Split::new(output);
    share(lines.div_ceil(each), 0, |part, _| {
        let first = part * each;
        let count = each.min(lines - first);
        // SAFETY: parts have different lines.
        work(unsafe { output.piece(first * width, count * width) }, first);
    });
}

/// A slice of which threads write different elements.
#[derive(Debug, Clone, Copy)]
pub struct Split<'a> {
    start: *mut f32,
    length: usize,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever takes pieces promises that no two of them overlap.
unsafe impl Send for Split<'_> {}
unsafe impl Sync for Split<'_> {}

impl<'a> Split<'a> {
    /// All of `slice`, which nobody else can use meanwhile.
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), lifetime: std::marker::PhantomData }
    }

    /// `count` elements from `first` on.
    ///
    /// # Safety
    /// No two pieces that live at the same time overlap.
    pub unsafe fn piece(&self, first: usize, count: usize) -> &'a mut [f32] {
        assert!(first + count <= self.length, "a piece ends after its slice");
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }

    /// What lies from element `first` on.
    pub fn from(self, first: usize) -> Self {
        Self { start: self.at(first), length: self.length - first, ..self }
    }

    /// Where element `first` lies; up to the end there are `len() - first` more.
    pub fn at(&self, first: usize) -> *mut f32 {
        assert!(first <= self.length, "a piece starts after its slice");
        // SAFETY: within the slice or one past its end.
        unsafe { self.start.add(first) }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(1) };
    }

    /// How many threads share work, the caller's among them.
    pub fn count() -> usize {
        COUNT.get()
    }

    /// For what this thread shares.
    pub fn set_count(count: usize) {
        COUNT.set(count.max(1));
    }

    pub(super) fn share(parts: usize, scratch: usize, work: &super::Work<'_>) {
        let next = AtomicUsize::new(0);
        let take = || {
            let mut memory = vec![f32::NAN; scratch];
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    part if part < parts => work(part, &mut memory),
                    _ => break,
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..count().min(parts) {
                scope.spawn(take);
            }
            take();
        });
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use std::cell::UnsafeCell;
    use std::hint::black_box;

    use super::Work;

    /// How often a thread looks for work before it sleeps: through the short pauses between a
    /// network's kernels.
    const LOOKS: usize = 100_000;

    /// Where work is shared. The engine's worker alone writes all but the three counters.
    struct Board {
        /// Parts that nobody has taken, and below zero how often one was looked for in vain.
        left: UnsafeCell<i32>,
        /// Parts that are done.
        done: UnsafeCell<i32>,
        /// Not zero when a thread broke: its script says so.
        failed: UnsafeCell<i32>,
        parts: UnsafeCell<i32>,
        work: UnsafeCell<Option<&'static Work<'static>>>,
        /// Of each thread, the engine's first.
        scratch: UnsafeCell<Vec<Vec<f32>>>,
        helpers: UnsafeCell<usize>,
        may_sleep: UnsafeCell<bool>,
    }

    // SAFETY: the counters are touched by atomic functions only. The rest is written while no part
    // is left, so by nobody but the engine's worker, and read by a thread that has taken a part.
    unsafe impl Sync for Board {}

    static BOARD: Board = Board {
        left: UnsafeCell::new(0),
        done: UnsafeCell::new(0),
        failed: UnsafeCell::new(0),
        parts: UnsafeCell::new(0),
        work: UnsafeCell::new(None),
        scratch: UnsafeCell::new(Vec::new()),
        helpers: UnsafeCell::new(0),
        may_sleep: UnsafeCell::new(false),
    };

    /// `(address, value) -> result`, sequentially consistent.
    pub type Atomic = extern "C" fn(*mut i32, i32) -> i32;

    // What stands here runs where memory isn't shared, and has to differ from every other function:
    // equal ones get one place in the table.
    extern "C" fn load(at: *mut i32, _: i32) -> i32 {
        unsafe { at.read_volatile() }
    }

    extern "C" fn store(at: *mut i32, value: i32) -> i32 {
        unsafe { at.write_volatile(value) };
        value ^ 0x5707
    }

    extern "C" fn add(at: *mut i32, value: i32) -> i32 {
        let before = unsafe { at.read_volatile() };
        unsafe { at.write_volatile(before.wrapping_add(value)) };
        before
    }

    extern "C" fn wait(_: *mut i32, value: i32) -> i32 {
        value ^ 0x3a17
    }

    extern "C" fn nap(_: *mut i32, value: i32) -> i32 {
        value ^ 0x0a90
    }

    extern "C" fn wake(_: *mut i32, value: i32) -> i32 {
        value ^ 0x3a4e
    }

    static ATOMICS: [Atomic; 6] = [load, store, add, wait, nap, wake];
    const LOAD: usize = 0;
    const STORE: usize = 1;
    const ADD: usize = 2;
    /// Sleeps while there is this value.
    const WAIT: usize = 3;
    /// The same for a tenth of a second at most.
    const NAP: usize = 4;
    /// Wakes so many.
    const WAKE: usize = 5;

    /// Names of the atomic functions in the modules of `build.rs`, and their places in the table of
    /// functions.
    pub fn places() -> [(&'static str, Atomic); 6] {
        let names = ["load", "store", "add", "wait", "nap", "wake"];
        std::array::from_fn(|i| (names[i], ATOMICS[i]))
    }

    fn atomic(what: usize, cell: &UnsafeCell<i32>, value: i32) -> i32 {
        // Hidden from the optimiser, which would call the function that stands here now.
        black_box(ATOMICS[what])(cell.get(), value)
    }

    /// How many threads share work, the caller's among them.
    pub fn count() -> usize {
        // SAFETY: set once, before work is shared.
        1 + unsafe { *BOARD.helpers.get() }
    }

    /// So many threads have begun to [`help`]. `may_sleep`: whether the calling thread may be
    /// blocked, which a window's may not.
    pub fn set_helpers(helpers: usize, may_sleep: bool) {
        // SAFETY: nothing is shared now.
        unsafe {
            *BOARD.helpers.get() = helpers;
            *BOARD.may_sleep.get() = may_sleep;
        }
    }

    /// Where a thread's script notes, as an i32 that isn't zero, that the thread broke.
    pub fn failed() -> *mut i32 {
        BOARD.failed.get()
    }

    fn take() -> Option<usize> {
        let left = atomic(ADD, &BOARD.left, -1);
        usize::try_from(left - 1).ok()
    }

    /// Does a part that was taken.
    fn perform(part: usize, thread: usize) {
        // SAFETY: the part isn't done, so the board stands still; each thread has its own memory.
        unsafe {
            let parts = BOARD.parts.get().read_volatile();
            if let Some(work) = BOARD.work.get().read_volatile() {
                let memory = (*BOARD.scratch.get()).as_ptr().add(thread).cast_mut();
                work(part, (*memory).as_mut_slice());
            }
            if atomic(ADD, &BOARD.done, 1) + 1 == parts && thread != 0 {
                atomic(WAKE, &BOARD.done, 1);
            }
        }
    }

    pub(super) fn share(parts: usize, scratch: usize, work: &Work<'_>) {
        // SAFETY: no part is left, so nobody else looks at the board.
        unsafe {
            let memories = &mut *BOARD.scratch.get();
            memories.resize_with(memories.len().max(count()), Vec::new);
            for memory in memories.iter_mut() {
                memory.resize(memory.len().max(scratch), 0.0);
            }
            if count() == 1 || parts <= 1 {
                (0..parts).for_each(|part| work(part, memories[0].as_mut_slice()));
                keep_scratch(super::KEPT);
                return;
            }
            // The work outlives its parts: this function returns when all are done.
            let work = std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work);
            BOARD.work.get().write_volatile(Some(work));
            BOARD.parts.get().write_volatile(parts as i32);
        }
        atomic(STORE, &BOARD.done, 0);
        atomic(STORE, &BOARD.left, parts as i32);
        atomic(WAKE, &BOARD.left, count() as i32 - 1);
        while let Some(part) = take() {
            perform(part, 0);
        }
        join(parts as i32);
        // SAFETY: all parts are done.
        unsafe { BOARD.work.get().write_volatile(None) };
        keep_scratch(super::KEPT);
    }

    /// Frees memories of more than `most` elements. No part is left.
    pub(super) fn keep_scratch(most: usize) {
        // SAFETY: nobody else looks at the board.
        let memories = unsafe { &mut *BOARD.scratch.get() };
        for memory in memories.iter_mut().filter(|memory| memory.len() > most) {
            *memory = Vec::new();
        }
    }

    /// Waits for the parts that others have taken.
    fn join(parts: i32) {
        let mut looks = 0;
        loop {
            let done = atomic(LOAD, &BOARD.done, 0);
            if done == parts {
                return;
            }
            assert!(atomic(LOAD, &BOARD.failed, 0) == 0, "a thread of the CPU backend broke");
            looks += 1;
            // SAFETY: set before work is shared.
            if looks > LOOKS && unsafe { *BOARD.may_sleep.get() } {
                atomic(NAP, &BOARD.done, done);
            }
        }
    }

    /// What a helping thread does all its life; `thread` counts from 1.
    pub fn help(thread: usize) -> ! {
        let mut looks = 0;
        loop {
            let left = atomic(LOAD, &BOARD.left, 0);
            if left > 0 {
                if let Some(part) = take() {
                    perform(part, thread);
                }
                looks = 0;
            } else if looks < LOOKS {
                looks += 1;
            } else {
                atomic(WAIT, &BOARD.left, left);
                looks = 0;
            }
        }
    }
}

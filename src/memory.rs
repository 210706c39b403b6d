//! How much memory the process has allocated: an allocator that counts. The page's module and the
//! command line use it, so that a run can say what it took and not only what it was told to take.
//!
//! Counting is two additions an allocation. A library must not choose a program's allocator, so
//! without [`Counting`] as the global one there is nothing to tell ([`is_counted`]).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counting.
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        NOW.fetch_sub(layout.size(), Relaxed);
        grow(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Whether [`Counting`] is this program's allocator: then something has been allocated by now.
pub fn is_counted() -> bool {
    PEAK.load(Relaxed) > 0
}

/// Bytes allocated at this moment.
pub fn held() -> usize {
    NOW.load(Relaxed)
}

/// From here on: the bytes that there are, of which the peak is counted anew.
pub fn start() -> usize {
    let before = held();
    PEAK.store(before, Relaxed);
    before
}

/// By how many bytes the most since [`start`] was more than what there was then.
pub fn peak_above(before: usize) -> usize {
    PEAK.load(Relaxed).saturating_sub(before)
}

/// Does something: what it gives, and by how many bytes there was more at most than before. Whoever
/// counts around it misses nothing.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let outer = PEAK.load(Relaxed);
    let before = start();
    let done = work();
    let above = peak_above(before);
    PEAK.fetch_max(outer, Relaxed);
    (done, above)
}

/// Bytes of all buffers on a GPU, and the most there were since this was asked last.
type OnGpu = fn() -> Option<[u64; 2]>;

thread_local! {
    static ON_GPU: Cell<Option<OnGpu>> = const { Cell::new(None) };
}

/// From now on this tells of a GPU's buffers.
pub fn ask_for_gpu(tell: OnGpu) {
    ON_GPU.set(Some(tell));
}

/// Bytes of all buffers on the GPU, and the most there were since this was asked last. None: nobody counts
/// them.
pub fn on_gpu() -> Option<[u64; 2]> {
    ON_GPU.get().and_then(|tell| tell())
}

//! The heap of a test binary of its own, which counts what is asked of it.
//!
//! Not part of `support`: it is the allocator of every binary that names it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a thread asked of the heap, whether or not it gave it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Allocations; one that grows counts again.
    pub allocations: u64,
    /// Their bytes; of one that grows, what it grew by.
    pub bytes: u64,
}

thread_local! {
    static ASKED: Cell<Asked> = const { Cell::new(Asked { allocations: 0, bytes: 0 }) };
}

/// What `work` asks of the heap on this thread, and what it gives.
pub fn asked<T>(work: impl FnOnce() -> T) -> (Asked, T) {
    let before = ASKED.get();
    let done = work();
    let after = ASKED.get();
    let asked = Asked {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
    };
    (asked, done)
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count(bytes: usize) {
    // A thread that ends has no counts any more, and nobody asks for them.
    let _ = ASKED.try_with(|asked| {
        let Asked {
            allocations,
            bytes: before,
        } = asked.get();
        asked.set(Asked {
            allocations: allocations + 1,
            bytes: before + bytes as u64,
        });
    });
}

// SAFETY: every call is the system's allocator's, unchanged; counting touches one number of this thread
// and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

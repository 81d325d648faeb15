//! An allocator that counts, thread by thread: what a collector has taken, and the most it ever had.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what the current thread has allocated, and the most it ever had.
struct Counting;

thread_local! {
    pub(super) static LIVE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(grown: usize, shrunk: usize) {
    // A thread that is ending has no counter any more.
    let _ = LIVE.try_with(|live| {
        let now = live.get().0.wrapping_add(grown).wrapping_sub(shrunk);
        // Memory of another thread that is freed here makes the number negative; it is no peak.
        let peak = if now > usize::MAX / 2 { live.get().1 } else { live.get().1.max(now) };
        live.set((now, peak));
    });
}

// SAFETY: every call is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may exist at once.
        count(new_size, 0);
        count(0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

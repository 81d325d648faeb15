//! Blocks that other threads free: they wait on a stack until the heap's own CPU takes them back.
//!
//! The stack is made of the blocks themselves, so it is never full; what lies on it is not free memory yet, but still live.
#![expect(unsafe_code, reason = "the links lie in the freed blocks")]

use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What a freed block holds. Every block of the heap is at least this long, since the shortest class is.
struct Freed {
    next: *mut Freed,
    size: usize,
    align: usize,
}

const _: () = assert!(size_of::<Freed>() <= super::classes::BLOCK_BYTES[0]);

/// The stack.
pub(super) struct Remote {
    youngest: AtomicPtr<Freed>,
}

impl Remote {
    pub(super) const fn new() -> Self {
        Remote { youngest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Puts a block on the stack. From any thread.
    ///
    /// # Safety
    /// The block came from the heap with this layout, and nobody uses it any more.
    pub(super) unsafe fn push(&self, block: *mut u8, layout: Layout) {
        let freed: *mut Freed = block.cast();
        let mut youngest = self.youngest.load(Ordering::Relaxed);
        loop {
            // SAFETY: the block is ours, long enough (see `Freed`), and begins at a multiple of the allocator's unit.
            unsafe { freed.write(Freed { next: youngest, size: layout.size(), align: layout.align() }) };
            // Release: pairs with the Acquire in `take`: the links, and all the freeing thread did with the block.
            match self.youngest.compare_exchange_weak(youngest, freed, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => youngest = now,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.youngest.load(Ordering::Relaxed).is_null()
    }

    /// Takes all blocks off the stack, giving each to `free`.
    pub(super) fn take(&self, mut free: impl FnMut(*mut u8, Layout)) {
        // Acquire: pairs with the Release in `push`.
        let mut next = self.youngest.swap(ptr::null_mut(), Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: what is on the stack was written by `push`, and is ours since the exchange.
            let freed = unsafe { next.read() };
            if let Ok(layout) = Layout::from_size_align(freed.size, freed.align) {
                free(next.cast(), layout);
            }
            next = freed.next;
        }
    }
}

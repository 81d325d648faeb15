//! The guest's memory: a heap whose slow phases are spans with causes and whose levels are counters.
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;
//! # fn main() {}
//! ```
//! That line in the program's binary is all there is to do, on every platform. On the host the process's other threads, and
//! the process before it becomes a guest, keep the system's allocator: which memory a block is, its address tells, so a block
//! goes back to where it came from whoever frees it. The guest's blocks that another thread frees wait until the guest
//! takes them back.
//!
//! The heap belongs to the guest's CPU and has no lock. Interrupt handlers do not allocate. Probes do not either, so the
//! heap may use them.
//!
//! When there is no memory, an allocation fails as Rust's allocators do, and the event `heap.oom` says how much was wanted.
#![expect(unsafe_code, reason = "a global allocator, and a static that one CPU uses")]

mod classes;
mod remote;
mod store;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use remote::Remote;
pub use store::{Levels, SizeCount};
use store::{Memory, Store};

use crate::platform::{clock, cpu, memory};

/// The levels are reported no more often than this.
const REPORT_NANOS: u64 = 10_000_000;
/// All levels, even those that did not change, and the counts per size are reported no more often than this.
const REPORT_ALL_NANOS: u64 = 1_000_000_000;

/// What `cpu::current` says on bare metal, and of no thread of the host.
const BARE_METAL: usize = 1;

struct PlatformMemory;

// SAFETY: that is what the platforms promise of `grow`, and the heap is the only one to call it.
unsafe impl Memory for PlatformMemory {
    fn grow(&self, len_bytes: usize) -> Option<NonNull<[u8]>> {
        memory::grow(len_bytes)
    }

    unsafe fn give_back(&self, len_bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { memory::give_back(len_bytes) }
    }
}

struct Heap {
    store: UnsafeCell<Store<PlatformMemory>>,
    remote: Remote,
    /// The guest's CPU. On bare metal that is the only one, from the start; on the host none until [`adopt`].
    cpu: AtomicUsize,
    reported_nanos: AtomicU64,
    reported_all_nanos: AtomicU64,
}

// SAFETY: `store` is used through `Heap::store` alone, which is for the guest's CPU.
unsafe impl Sync for Heap {}

static HEAP: Heap = Heap {
    store: UnsafeCell::new(Store::new(PlatformMemory)),
    remote: Remote::new(),
    cpu: AtomicUsize::new(BARE_METAL),
    reported_nanos: AtomicU64::new(0),
    reported_all_nanos: AtomicU64::new(0),
};

impl Heap {
    fn is_ours(&self) -> bool {
        // Relaxed: the guest's own CPU sees its own store; every other one compares unequal before and after.
        cpu::current() == self.cpu.load(Ordering::Relaxed)
    }

    /// Calls `f` with the store, having taken back what other threads freed.
    ///
    /// # Safety
    /// On the guest's CPU, outside of interrupt handlers, and not from within `f`.
    unsafe fn with<R>(&self, f: impl FnOnce(&mut Store<PlatformMemory>) -> R) -> R {
        // SAFETY: by the contract nobody else has a reference: one CPU, no handler, and neither the store nor the probes
        // in it allocate through the global allocator.
        let store = unsafe { &mut *self.store.get() };
        if !self.remote.is_empty() {
            self.remote.take(|block, layout| {
                // SAFETY: the block came from this heap with this layout, and who freed it does not use it.
                unsafe { store.free(block, layout) }
            });
        }
        f(store)
    }
}

/// From now on the calling thread is the guest, whose memory is the heap. Before, and on bare metal, there is nothing to do.
pub fn adopt() {
    HEAP.cpu.store(cpu::current(), Ordering::Relaxed);
}

/// The levels of the heap; all 0 where the binary has another allocator, or on a thread that is not the guest's.
#[must_use]
pub fn levels() -> Levels {
    if !HEAP.is_ours() {
        return Levels::default();
    }
    // SAFETY: on the guest's CPU; handlers do not ask for levels.
    unsafe { HEAP.with(Store::levels) }
}

/// Calls `each` with the counts of every size, from the smallest: the histogram of sizes.
pub fn for_each_size(mut each: impl FnMut(SizeCount)) {
    if HEAP.is_ours() {
        // `each` may allocate, so it runs while the store is not borrowed.
        // SAFETY: on the guest's CPU; handlers do not ask.
        let counts: [Option<SizeCount>; classes::CLASSES + store::LARGE_SIZES] = unsafe {
            HEAP.with(|store| {
                let mut counts = store.counts();
                core::array::from_fn(|_| counts.next())
            })
        };
        counts.into_iter().flatten().for_each(&mut each);
    }
}

/// Gives the free memory at the heap's end back to the platform. Returns how many bytes.
pub fn trim() -> usize {
    if !HEAP.is_ours() {
        return 0;
    }
    // SAFETY: on the guest's CPU; handlers do not trim.
    unsafe { HEAP.with(|store| store.trim(true)) }
}

/// Emits the levels that changed, and every second all of them and the counts per size. The scheduler calls this when it
/// has nothing else to do and every so often when it has; it does nothing where the last time was less than 10 ms ago.
pub(crate) fn report_sometimes() {
    if !fata_probe::ENABLED || !HEAP.is_ours() {
        return;
    }
    let now = clock::now();
    let since = |last: &AtomicU64| now.wrapping_sub(last.load(Ordering::Relaxed));
    if since(&HEAP.reported_nanos) < REPORT_NANOS {
        return;
    }
    HEAP.reported_nanos.store(now, Ordering::Relaxed);
    if since(&HEAP.reported_all_nanos) >= REPORT_ALL_NANOS {
        HEAP.reported_all_nanos.store(now, Ordering::Relaxed);
        report();
    } else {
        // SAFETY: on the guest's CPU, from the scheduler.
        unsafe { HEAP.with(|store| store.report(false)) };
    }
}

/// Emits the levels and the counts per size.
pub(crate) fn report() {
    if fata_probe::ENABLED && HEAP.is_ours() {
        // SAFETY: on the guest's CPU, from the scheduler.
        unsafe {
            HEAP.with(|store| {
                store.report(true);
                store.report_sizes();
            });
        }
    }
}

/// The allocator for a program that is, or becomes, a guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

// SAFETY: a block comes from the guest's heap, which gives memory that nobody has, or from the platform's allocator for
// everything else, and goes back to where its address says it came from.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if HEAP.is_ours() {
            // SAFETY: on the guest's CPU; handlers do not allocate. The caller's layout has a size that is not 0.
            unsafe { HEAP.with(|store| store.allocate(layout)) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { memory::allocate_outside(layout) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !memory::contains(block) {
            // SAFETY: what is not the heap's came from the platform's allocator.
            unsafe { memory::free_outside(block, layout) }
        } else if HEAP.is_ours() {
            // SAFETY: on the guest's CPU; handlers do not free. The block is the heap's, with the caller's layout.
            unsafe { HEAP.with(|store| store.free(block, layout)) }
        } else {
            // SAFETY: the block is the heap's, and the caller gives it up.
            unsafe { HEAP.remote.push(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let inside = memory::contains(block);
        if !inside && !HEAP.is_ours() {
            // SAFETY: what is not the heap's came from the platform's allocator.
            return unsafe { memory::reallocate_outside(block, layout, size) };
        }
        // SAFETY: on the guest's CPU; the block is the heap's, and the caller's size is not 0.
        if inside && HEAP.is_ours() && unsafe { HEAP.with(|store| store.resize_in_place(block, layout, size)) } {
            return block;
        }
        // SAFETY: the caller promises that the size, rounded up to the alignment, is not too large.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not 0. The blocks are as long as their layouts, and a new one overlaps none; then the old
        // one is given up as the caller gave it to us.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

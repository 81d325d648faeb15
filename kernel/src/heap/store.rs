//! The heap itself: caches of free blocks by size over an allocator that merges neighbours.
//!
//! Invariant: a block is in exactly one place: with the program, in its class's cache, or free in the allocator.
//!
//! ```text
//!   program ◄──────────► cache of its class ◄─────────────► allocator (talc) ◄──────► platform
//!            alloc, free                     refill, flush    coalesces        grow, trim
//! ```
//! The way to and from a cache is a few instructions. Everything further right is a slow phase: a span with its cause.
//!
//! When no block is large enough, the caches are emptied if much lies there (*coalesce*: the allocator merges what it gets
//! back), then the platform is asked (*grow*), then the caches are emptied in any case. When nothing helps, the allocation
//! fails (*oom*), and the heap goes on.
#![expect(unsafe_code, reason = "an allocator: memory by address, free lists inside of free memory")]

mod report;

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use fata_probe::{Bytes, counter, instant, name, span};
use talc::base::Talc;
use talc::source::Manual;

use super::classes::{BLOCK_BYTES, CLASSES, batch, class_of, layout_of};
pub use report::{Levels, SizeCount};

/// Where the heap's memory comes from.
///
/// # Safety
/// What [`Memory::grow`] gives is the caller's alone, begins at a page, and follows what it gave before.
pub(super) unsafe trait Memory {
    /// At least `len_bytes` more, or `None` where there is none.
    fn grow(&self, len_bytes: usize) -> Option<NonNull<[u8]>>;

    /// Takes the last `len_bytes` back.
    ///
    /// # Safety
    /// Nobody uses that memory any more.
    unsafe fn give_back(&self, len_bytes: usize);
}

/// The heap grows by at least so much, and keeps so much spare at its end when it shrinks.
const GROW_BYTES: usize = 256 << 10;
/// Sizes that are not cached, by powers of two: up to 4 KiB, 8 KiB, … and above 1 MiB.
pub(super) const LARGE_SIZES: usize = 10;
/// The level is a counter event whenever it has changed by so much.
const LIVE_STEP_BYTES: usize = 16 << 10;

/// A free block in a cache.
struct Free {
    next: *mut Free,
}

#[derive(Clone, Copy)]
struct Cache {
    first: *mut Free,
    count: usize,
}

pub(super) struct Store<M> {
    memory: M,
    talc: Talc<Manual, talc::DefaultBinning>,
    /// The end of the allocator's memory; none before the first growth.
    end: Option<NonNull<u8>>,
    caches: [Cache; CLASSES],
    cached_bytes: usize,
    live_bytes: usize,
    peak_bytes: usize,
    /// The level at the last counter event.
    said_live_bytes: usize,
    /// The levels at the last report.
    said_levels: Levels,
    /// Below this level a slow free tries to give memory back to the platform.
    trim_below_bytes: usize,
    counts: [(u64, u64); CLASSES + LARGE_SIZES],
}

// SAFETY: the pointers are the store's own memory; nothing in it depends on the thread.
unsafe impl<M: Send> Send for Store<M> {}

impl<M: Memory> Store<M> {
    pub(super) const fn new(memory: M) -> Self {
        Store {
            memory,
            talc: Talc::new(Manual),
            end: None,
            caches: [Cache { first: ptr::null_mut(), count: 0 }; CLASSES],
            cached_bytes: 0,
            live_bytes: 0,
            peak_bytes: 0,
            said_live_bytes: 0,
            said_levels: Levels::NONE,
            trim_below_bytes: 0,
            counts: [(0, 0); CLASSES + LARGE_SIZES],
        }
    }

    /// A block for `layout`, whose size is not 0; null where there is none.
    pub(super) fn allocate(&mut self, layout: Layout) -> *mut u8 {
        let (block, size) = match class_of(layout) {
            Some(class) => (self.take_cached(class), class),
            None => (self.take(layout).map_or(ptr::null_mut(), NonNull::as_ptr), size_index(layout)),
        };
        if !block.is_null() {
            self.counts[size].0 += 1;
            self.live_bytes += layout.size();
            self.peak_bytes = self.peak_bytes.max(self.live_bytes);
            self.say_live(LIVE_STEP_BYTES);
        }
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` came from [`Self::allocate`] with this layout, and nobody uses it any more.
    pub(super) unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
        self.live_bytes -= layout.size();
        self.say_live(LIVE_STEP_BYTES);
        match class_of(layout) {
            Some(class) => {
                self.counts[class].1 += 1;
                // SAFETY: the caller gives the block up, and it has this class.
                unsafe { self.put_cached(class, block) };
                if self.caches[class].count > 2 * batch(class) {
                    let _span = span!("heap.flush", cause = name!("cache full"), block_bytes = BLOCK_BYTES[class]);
                    self.flush(class, batch(class));
                    self.trim_if_empty();
                }
            }
            None => {
                self.counts[size_index(layout)].1 += 1;
                // SAFETY: the caller gives the block up; what has no class came from the allocator with this layout.
                unsafe { self.talc.deallocate(block, layout) };
                self.trim_if_empty();
            }
        }
    }

    /// Makes a block longer or shorter where it lies; `false` if that cannot be.
    ///
    /// # Safety
    /// As for [`Self::free`], and `size` is not 0.
    pub(super) unsafe fn resize_in_place(&mut self, block: *mut u8, layout: Layout, size: usize) -> bool {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return false };
        let fits = match (class_of(layout), class_of(new)) {
            (Some(old), Some(new)) => old == new,
            // SAFETY: what has no class came from the allocator with this layout.
            (None, None) => unsafe { self.talc.try_realloc_in_place(block, layout, size) },
            _ => false,
        };
        if fits {
            let (old, new) = (size_index(layout), size_index(new));
            if old != new {
                self.counts[old].1 += 1;
                self.counts[new].0 += 1;
            }
            self.live_bytes = self.live_bytes - layout.size() + size;
            self.peak_bytes = self.peak_bytes.max(self.live_bytes);
            self.say_live(LIVE_STEP_BYTES);
        }
        fits
    }

    fn take_cached(&mut self, class: usize) -> *mut u8 {
        if self.caches[class].first.is_null() {
            self.refill(class);
        }
        let cache = &mut self.caches[class];
        // SAFETY: a pointer in a cache is null or a free block, which holds its link.
        if let Some(free) = unsafe { cache.first.as_ref() } {
            let block = cache.first;
            cache.first = free.next;
            cache.count -= 1;
            self.cached_bytes -= BLOCK_BYTES[class];
            return block.cast();
        }
        ptr::null_mut()
    }

    /// # Safety
    /// `block` has this class, and nobody uses it any more.
    unsafe fn put_cached(&mut self, class: usize, block: *mut u8) {
        let free: *mut Free = block.cast();
        let cache = &mut self.caches[class];
        // SAFETY: the block is ours, longer than a link, and begins at a multiple of the allocator's unit.
        unsafe { free.write(Free { next: cache.first }) };
        cache.first = free;
        cache.count += 1;
        self.cached_bytes += BLOCK_BYTES[class];
    }

    fn refill(&mut self, class: usize) {
        let _span = span!("heap.refill", cause = name!("cache empty"), block_bytes = BLOCK_BYTES[class]);
        let layout = layout_of(class);
        for n in 0..batch(class) {
            // Only the first block is worth growing for.
            // SAFETY: the length of a class is not 0.
            let block = if n == 0 { self.take(layout) } else { unsafe { self.talc.try_allocate(layout) } };
            let Some(block) = block else { return };
            // SAFETY: the block is fresh, and of this class.
            unsafe { self.put_cached(class, block.as_ptr()) };
        }
    }

    /// Gives `count` blocks of a cache back to the allocator, which merges them with their free neighbours.
    fn flush(&mut self, class: usize, count: usize) {
        for _ in 0..count {
            let cache = &mut self.caches[class];
            // SAFETY: a pointer in a cache is null or a free block, which holds its link.
            let Some(free) = (unsafe { cache.first.as_ref() }) else { return };
            let block = cache.first;
            cache.first = free.next;
            cache.count -= 1;
            self.cached_bytes -= BLOCK_BYTES[class];
            // SAFETY: the block came from the allocator with this layout, and was in nobody's use.
            unsafe { self.talc.deallocate(block.cast(), layout_of(class)) };
        }
    }

    fn flush_all(&mut self) {
        for class in 0..CLASSES {
            self.flush(class, usize::MAX);
        }
    }

    /// A block from the allocator, which is made to have one if it can be.
    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's layout has a size that is not 0.
        let try_allocate = |this: &mut Self| unsafe { this.talc.try_allocate(layout) };
        if let Some(block) = try_allocate(self) {
            return Some(block);
        }
        let much_is_cached = self.cached_bytes >= layout.size() && self.cached_bytes > self.claimed_bytes() / 8;
        if much_is_cached {
            self.coalesce(layout.size());
            if let Some(block) = try_allocate(self) {
                return Some(block);
            }
        }
        if self.grow(layout)
            && let Some(block) = try_allocate(self)
        {
            return Some(block);
        }
        if self.cached_bytes > 0 {
            self.coalesce(layout.size());
            if let Some(block) = try_allocate(self) {
                return Some(block);
            }
        }
        instant!(level: Error, "heap.oom", cause = name!("the platform has no more memory"), wanted = Bytes(layout.size() as u64), live = Bytes(self.live_bytes as u64));
        None
    }

    fn coalesce(&mut self, wanted_bytes: usize) {
        let _span = span!(
            "heap.coalesce",
            cause = name!("no block is long enough"),
            wanted_bytes = wanted_bytes,
            cached_bytes = self.cached_bytes
        );
        self.flush_all();
    }

    fn grow(&mut self, layout: Layout) -> bool {
        // The allocator's own account, and what alignment may cost.
        let wanted = layout
            .size()
            .saturating_add(layout.align())
            .saturating_add(2 * talc::min_first_heap_size::<talc::DefaultBinning>());
        let comfortable = wanted.max(GROW_BYTES).max(self.claimed_bytes() / 8);
        let span = span!("heap.grow", cause = name!("no block is long enough"), wanted_bytes = wanted);
        let Some(memory) = self.memory.grow(comfortable).or_else(|| self.memory.grow(wanted)) else { return false };
        let base: *mut u8 = memory.cast().as_ptr();
        debug_assert!(self.end.is_none_or(|end| end.as_ptr() == base));
        // SAFETY: by the contract of `Memory` this is ours alone, and a second growth follows the first, so the end moves
        // up over memory that is all ours.
        self.end = unsafe {
            match self.end {
                None => self.talc.claim(base, memory.len()),
                Some(end) => Some(self.talc.extend(end, base.add(memory.len()))),
            }
        };
        drop(span);
        self.say_claimed();
        self.trim_below_bytes = self.claimed_bytes() / 4;
        true
    }

    fn trim_if_empty(&mut self) {
        if self.live_bytes < self.trim_below_bytes && self.claimed_bytes() > 2 * GROW_BYTES {
            self.trim(false);
        }
    }

    /// Gives free memory at the heap's end back to the platform. Returns how many bytes.
    pub(super) fn trim(&mut self, asked: bool) -> usize {
        let Some(end) = self.end else { return 0 };
        let span = if asked {
            span!("heap.trim", cause = name!("asked for"), live_bytes = self.live_bytes)
        } else {
            span!("heap.trim", cause = name!("mostly free"), live_bytes = self.live_bytes)
        };
        self.flush_all();
        // Not again before the level has halved.
        self.trim_below_bytes = self.live_bytes / 2;
        // SAFETY: `end` is the end that the allocator last told.
        let used_up_to = unsafe { self.talc.reserved(end) }.up_to.as_ptr();
        let spare_bytes = if asked { 0 } else { GROW_BYTES };
        let new_end = used_up_to.wrapping_add(spare_bytes).map_addr(|address| address.next_multiple_of(4096));
        let len_bytes = end.addr().get().saturating_sub(new_end.addr());
        if len_bytes > 0 {
            // SAFETY: as above. The new end is a multiple of the allocator's unit and not below what it needs, so it is
            // the end exactly, and the allocator is done with what lies above.
            unsafe {
                self.end = self.talc.truncate(end, new_end);
                self.memory.give_back(len_bytes);
            }
        }
        drop(span);
        self.say_claimed();
        len_bytes
    }

    fn claimed_bytes(&self) -> usize {
        self.talc.counters().claimed_bytes
    }

    fn say_claimed(&self) {
        counter!("heap.claimed", bytes = self.claimed_bytes());
    }

    /// Emits the level if it has changed by more than `step_bytes`.
    fn say_live(&mut self, step_bytes: usize) {
        if self.live_bytes.abs_diff(self.said_live_bytes) >= step_bytes {
            self.said_live_bytes = self.live_bytes;
            counter!("heap.live", bytes = self.live_bytes);
        }
    }
}

/// Where allocations of this size are counted.
fn size_index(layout: Layout) -> usize {
    class_of(layout).unwrap_or_else(|| {
        let pages = (layout.size().max(1) - 1) >> 12;
        CLASSES + pages.checked_ilog2().map_or(0, |log| log as usize + 1).min(LARGE_SIZES - 1)
    })
}

#[cfg(test)]
mod tests;

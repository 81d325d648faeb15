//! What the heap says of itself: its levels, and how often each size was asked for.
//!
//! Fragmentation is what a single allocation cannot have of the free memory: half of the memory free in pieces of which the
//! longest is a tenth of it is 90 percent.
#![expect(unsafe_code, reason = "the longest free block is found by allocating it")]

use core::alloc::Layout;

use fata_probe::{counter, instant};

use super::{BLOCK_BYTES, LARGE_SIZES, Memory, Store};

/// How often blocks of one size were asked for and given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeCount {
    /// No block of this size is longer.
    pub block_bytes: usize,
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
}

/// The heap's levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// What the program has allocated and not freed, as it asked for it.
    pub live_bytes: usize,
    /// The highest `live_bytes` ever.
    pub peak_bytes: usize,
    /// Free blocks in caches.
    pub cached_bytes: usize,
    /// Free memory in the allocator.
    pub free_bytes: usize,
    /// The longest block that the allocator could give without growing.
    pub largest_free_bytes: usize,
    /// What the platform gave.
    pub claimed_bytes: usize,
}

impl Levels {
    pub(super) const NONE: Levels = Levels {
        live_bytes: 0,
        peak_bytes: 0,
        cached_bytes: 0,
        free_bytes: 0,
        largest_free_bytes: 0,
        claimed_bytes: 0,
    };

    /// How much of the allocator's free memory a single allocation cannot have, in hundredths.
    #[must_use]
    pub fn fragmentation_percent(&self) -> usize {
        (self.largest_free_bytes * 100).checked_div(self.free_bytes).map_or(0, |usable| 100 - usable)
    }
}

impl<M: Memory> Store<M> {
    /// The levels now. Takes about a microsecond: the longest free block is found by asking for it.
    pub(in crate::heap) fn levels(&mut self) -> Levels {
        let counters = *self.talc.counters();
        Levels {
            live_bytes: self.live_bytes,
            peak_bytes: self.peak_bytes,
            cached_bytes: self.cached_bytes,
            free_bytes: counters.available_bytes,
            largest_free_bytes: self.largest_free_bytes(counters.available_bytes),
            claimed_bytes: counters.claimed_bytes,
        }
    }

    /// The length of the longest block to be had, to an eighth of itself.
    fn largest_free_bytes(&mut self, free_bytes: usize) -> usize {
        let (mut fits, mut too_long) = (0, free_bytes + 1);
        while too_long - fits > (fits / 8).max(64) {
            let size = fits + (too_long - fits) / 2;
            let Ok(layout) = Layout::from_size_align(size, 8) else { return fits };
            // SAFETY: the size is more than `fits`, so not 0; what is given goes back at once.
            match unsafe { self.talc.try_allocate(layout) } {
                Some(block) => {
                    // SAFETY: as above.
                    unsafe { self.talc.deallocate(block.as_ptr(), layout) };
                    fits = size;
                }
                None => too_long = size,
            }
        }
        fits
    }

    /// How often each size was asked for and given back: the histogram of sizes.
    pub(in crate::heap) fn counts(&self) -> impl Iterator<Item = SizeCount> {
        let large = (0..LARGE_SIZES).map(|n| if n + 1 == LARGE_SIZES { usize::MAX } else { 4096 << n });
        let sizes = BLOCK_BYTES.iter().copied().chain(large);
        sizes.zip(self.counts).map(|(block_bytes, (allocs, frees))| SizeCount { block_bytes, allocs, frees })
    }

    /// Emits the levels: those that changed since the last time, or `all`, for who joins later.
    pub(in crate::heap) fn report(&mut self, all: bool) {
        self.say_live(usize::from(!all));
        let levels = self.levels();
        let said = core::mem::replace(&mut self.said_levels, levels);
        if all || levels.peak_bytes != said.peak_bytes {
            counter!("heap.peak", bytes = levels.peak_bytes);
        }
        if all || levels.cached_bytes != said.cached_bytes {
            counter!("heap.cached", bytes = levels.cached_bytes);
        }
        if all || levels.free_bytes != said.free_bytes {
            counter!("heap.free", bytes = levels.free_bytes);
            counter!("heap.largest_free", bytes = levels.largest_free_bytes);
            counter!("heap.fragmentation", percent = levels.fragmentation_percent());
        }
    }

    /// Emits how often each size was asked for and given back.
    pub(in crate::heap) fn report_sizes(&self) {
        for count in self.counts().filter(|count| count.allocs > 0) {
            instant!("heap.size", block_bytes = count.block_bytes, allocs = count.allocs, frees = count.frees);
        }
    }
}

//! Memory for the guest's heap: one long mapping of which the first part is in use, so that memory grows without moving,
//! and whose memory a block is can be told from its address.
//!
//! The mapping reserves addresses only; the operating system gives pages when they are touched. When it is used up, [`grow`]
//! says so with `None`, and the heap decides.

#![expect(unsafe_code, reason = "the process's own allocator, and memory by address")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::System;
use std::sync::OnceLock;

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

static MAP: OnceLock<MmapRaw> = OnceLock::new();
/// How much of the mapping was given away. Only the guest's CPU changes it.
static USED: AtomicUsize = AtomicUsize::new(0);

const PAGE_BYTES: usize = 4096;

/// Reserves `len_bytes`, or half of that where there is not so much, and so on. Returns how much it is.
pub(super) fn start(len_bytes: usize) -> usize {
    let mut len = len_bytes.next_multiple_of(PAGE_BYTES);
    while len >= PAGE_BYTES {
        if let Ok(map) = MmapOptions::new().len(len).no_reserve_swap().map_anon() {
            return MAP.get_or_init(|| map.into()).len();
        }
        len = (len / 2).next_multiple_of(PAGE_BYTES);
    }
    0
}

/// `len_bytes` more memory, rounded up to pages, or `None` where there is none. It follows what was given before.
///
/// For the heap, on the guest's CPU.
#[must_use]
pub fn grow(len_bytes: usize) -> Option<NonNull<[u8]>> {
    let map = MAP.get()?;
    let len_bytes = len_bytes.checked_next_multiple_of(PAGE_BYTES)?;
    let used = USED.load(Ordering::Relaxed);
    let end = used.checked_add(len_bytes).filter(|&end| end <= map.len())?;
    USED.store(end, Ordering::Relaxed);
    // SAFETY: `used` is at most the mapping's length.
    let start = NonNull::new(unsafe { map.as_mut_ptr().add(used) })?;
    Some(NonNull::slice_from_raw_parts(start, len_bytes))
}

/// Takes back the last `len_bytes` (whole pages) of what [`grow`] gave; the operating system gets the pages.
///
/// # Safety
/// Nobody uses that memory any more.
pub unsafe fn give_back(len_bytes: usize) {
    let Some(map) = MAP.get() else { return };
    let used = USED.load(Ordering::Relaxed).saturating_sub(len_bytes);
    USED.store(used, Ordering::Relaxed);
    // SAFETY: the caller gives up these pages; they are private, so that reading them again gives zeros. If the operating
    // system refuses, they stay ours, which is no harm.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, used, len_bytes) };
}

/// Whether `block` lies in the guest's memory. From any thread.
#[must_use]
pub fn contains(block: *const u8) -> bool {
    MAP.get().is_some_and(|map| block.addr().wrapping_sub(map.as_ptr().addr()) < map.len())
}

/// Memory for code of the process that is not the guest's.
///
/// # Safety
/// As for [`GlobalAlloc::alloc`].
pub unsafe fn allocate_outside(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { System.alloc(layout) }
}

/// Frees what [`allocate_outside`] gave.
///
/// # Safety
/// As for [`GlobalAlloc::dealloc`].
pub unsafe fn free_outside(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe { System.dealloc(block, layout) }
}

/// Changes the length of what [`allocate_outside`] gave.
///
/// # Safety
/// As for [`GlobalAlloc::realloc`].
pub unsafe fn reallocate_outside(block: *mut u8, layout: Layout, len_bytes: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { System.realloc(block, layout, len_bytes) }
}

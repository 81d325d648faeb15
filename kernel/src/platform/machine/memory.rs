//! The machine's memory: what the loader reports as free behind the image. The trace ring takes the first part of it, the
//! heap what follows, from low addresses to high.
//!
//! When it is full, [`grow`] says so with `None`, and the heap decides.
//!
//! ```text
//! 0   1 MiB                             FREE →                END
//! │   │ image: text, data, stack │ ring │ heap │ not yet taken │
//! ```

#![expect(unsafe_code, reason = "turning addresses into memory")]

use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::start_info::StartInfo;

const PAGE_BYTES: u64 = 4096;

/// Memory that has not been given away: from FREE to END.
static FREE: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// Where the image ends, and before it what of it can only be read, by the linker script: the symbols' addresses are the values.
    static __image_end: u8;
    static __text_start: u8;
    static __rodata_end: u8;
}

/// Finds the memory behind the image. Returns how many bytes that is: 0 if the image's memory is not in the map.
pub(in crate::platform) fn start(info: &StartInfo) -> u64 {
    let image_end = &raw const __image_end as u64;
    let Some(range) = info.ram().find(|range| range.contains(&(image_end - 1))) else { return 0 };
    FREE.store(image_end, Ordering::Relaxed);
    END.store(range.end & !(PAGE_BYTES - 1), Ordering::Relaxed);
    range.end.saturating_sub(image_end)
}

/// The pages that hold the image's code and constants, and those that were given away. What lies between, the image's data, has a
/// page that cannot be read: the guard of its stack.
pub(in crate::platform) fn used_pages() -> impl Iterator<Item = usize> {
    let constant = (&raw const __text_start).addr()..(&raw const __rodata_end).addr();
    let given = (&raw const __image_end).addr()..usize::try_from(FREE.load(Ordering::Relaxed)).unwrap_or(0);
    let pages = |range: Range<usize>| range.step_by(usize::try_from(PAGE_BYTES).unwrap_or(1));
    pages(constant).chain(pages(given))
}

/// Takes `len_bytes`, rounded up to pages, off the free memory; `None` where there is not so much.
pub(in crate::platform) fn reserve(len_bytes: u64) -> Option<NonNull<[u8]>> {
    let len_bytes = len_bytes.checked_next_multiple_of(PAGE_BYTES)?;
    let start = FREE.load(Ordering::Relaxed);
    let end = start.checked_add(len_bytes).filter(|&end| end <= END.load(Ordering::Relaxed))?;
    FREE.store(end, Ordering::Relaxed);
    let start = NonNull::new(start as *mut u8)?;
    Some(NonNull::slice_from_raw_parts(start, usize::try_from(len_bytes).ok()?))
}

/// At least `len_bytes` more memory, for ever, or `None` where there is none. It follows what was given before.
#[must_use]
pub fn grow(len_bytes: usize) -> Option<NonNull<[u8]>> {
    reserve(u64::try_from(len_bytes).ok()?)
}

/// Takes back the last `len_bytes` (whole pages) of what [`grow`] gave.
///
/// # Safety
/// Nobody uses that memory any more.
pub unsafe fn give_back(len_bytes: usize) {
    FREE.fetch_sub(len_bytes as u64, Ordering::Relaxed);
}

/// Whether `block` lies in the guest's memory: there is no other.
#[must_use]
pub const fn contains(_block: *const u8) -> bool {
    true
}

/// Memory for code that is not the guest's. There is no such code.
///
/// # Safety
/// None: it gives nothing.
pub const unsafe fn allocate_outside(_layout: Layout) -> *mut u8 {
    core::ptr::null_mut()
}

/// Frees what [`allocate_outside`] gave, which is nothing.
///
/// # Safety
/// None: it does nothing.
pub const unsafe fn free_outside(_block: *mut u8, _layout: Layout) {}

/// Changes the length of what [`allocate_outside`] gave, which is nothing.
///
/// # Safety
/// None: it gives nothing.
pub const unsafe fn reallocate_outside(_block: *mut u8, _layout: Layout, _len_bytes: usize) -> *mut u8 {
    core::ptr::null_mut()
}

/// How much memory has not been given away yet.
#[must_use]
pub fn free_bytes() -> u64 {
    END.load(Ordering::Relaxed).saturating_sub(FREE.load(Ordering::Relaxed))
}

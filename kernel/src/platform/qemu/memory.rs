//! The machine's memory: what the loader reports as free, less the image and the trace ring, handed to the heap from low
//! addresses to high, once and for ever.
//!
//! When it is full, [`grow`] says so with `None`, and the heap decides.
//!
//! ```text
//! 0        1 MiB                                                                    end of RAM
//! │ unmapped │ text │ rodata │ data │ guard │ stack, .bss │ trace ring │ heap → … │
//!            │ run  │ read   │ read and write, never run                          │
//! ```
//! Rights are set page by page in the image and by 2 MiB pages behind it (see [`protect`]).

#![expect(unsafe_code, reason = "page tables, and turning addresses into memory")]

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu;
use super::start_info::StartInfo;

const PAGE_BYTES: u64 = 4096;
const LARGE_PAGE_BYTES: u64 = 2 << 20;
/// In an entry of a page table.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Pages of 4 KiB are used for so much of the image: text, constants and the guard page lie in it.
const FINE_TABLES: usize = 4;

/// Memory that has not been given away: from FREE to END.
static FREE: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(4096))]
struct PageTable([u64; 512]);

unsafe extern "C" {
    // Symbols of the linker script and the entry: their addresses are the values.
    static __text_start: u8;
    static __text_end: u8;
    static __data_start: u8;
    static __image_end: u8;
    static boot_stack_guard: u8;
    /// The 2048 entries that map the first 4 GiB, written by the entry.
    static mut boot_page_directories: [u64; 2048];
}

static mut FINE: [PageTable; FINE_TABLES] = [const { PageTable([0; 512]) }; FINE_TABLES];

fn address_of(symbol: *const u8) -> u64 {
    symbol as u64
}

/// Finds the memory behind the image. Returns how many bytes that is: 0 if the image's memory is not in the map.
pub(super) fn start(info: &StartInfo) -> u64 {
    let image_end = address_of(&raw const __image_end);
    let Some(range) = info.ram().find(|range| range.contains(&(image_end - 1))) else { return 0 };
    FREE.store(image_end, Ordering::Relaxed);
    END.store(range.end & !(PAGE_BYTES - 1), Ordering::Relaxed);
    range.end.saturating_sub(image_end)
}

/// Takes `len_bytes`, rounded up to pages, off the free memory; `None` where there is not so much.
pub(super) fn reserve(len_bytes: u64) -> Option<NonNull<[u8]>> {
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

/// Whether the address lies in the page below the boot stack.
pub(super) fn is_stack_guard(address: u64) -> bool {
    let guard = address_of(&raw const boot_stack_guard);
    (guard..guard + PAGE_BYTES).contains(&address)
}

/// Sets the rights of the image's pages: text is not written, data is not run, the page at 0 and the guard page below the
/// stack are not there. The start information, which may lie in the page at 0, must have been read before.
pub(super) fn protect() {
    let [text_start, text_end, data_start, guard] = [
        address_of(&raw const __text_start),
        address_of(&raw const __text_end),
        address_of(&raw const __data_start),
        address_of(&raw const boot_stack_guard),
    ];
    let rights = |page: u64| match page {
        0 => 0,
        page if page == guard => 0,
        page if (text_start..text_end).contains(&page) => PRESENT,
        page if (text_end..data_start).contains(&page) => PRESENT | NO_EXECUTE,
        _ => PRESENT | WRITABLE | NO_EXECUTE,
    };
    // SAFETY: boot calls this once, on the only vCPU, so nobody else writes the tables. Each new entry maps the address to
    // itself as before, so every reference stays good; only rights are taken: from text writing, from data running, which
    // no sound code does, and from two pages all access, in which no Rust object lies (the linker script begins at 1 MiB
    // and the entry keeps the guard page out of the stack).
    unsafe {
        let directory = (&raw mut boot_page_directories).cast::<u64>();
        for index in 0..2048 {
            *directory.add(index) |= NO_EXECUTE;
        }
        for (index, table) in (0u64..).zip((*(&raw mut FINE)).iter_mut()) {
            for (offset, entry) in (0u64..).zip(table.0.iter_mut()) {
                let page = index * LARGE_PAGE_BYTES + offset * PAGE_BYTES;
                *entry = match rights(page) {
                    0 => 0,
                    rights => page | rights,
                };
            }
            // The table lies in the image, whose addresses are physical ones. Rights are those of the fine entries.
            *directory.add(index as usize) = &raw const *table as u64 | PRESENT | WRITABLE;
        }
    }
    debug_assert!(LARGE != 0 && guard < FINE_TABLES as u64 * LARGE_PAGE_BYTES);
    cpu::forget_translations();
}

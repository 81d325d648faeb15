//! The page tables: what is there, and what may be done with it.
//!
//! Invariant: every mapped address is its own physical address. The image's entry maps the first 4 GiB in pages of 2 MiB;
//! [`protect`] then takes rights away, and [`map_device`] adds devices that lie higher.
//!
//! | | read | write | run |
//! |---|---|---|---|
//! | page 0, guard page below the stack | | | |
//! | text | yes | | yes |
//! | constants | yes | | |
//! | all else | yes | yes | |

#![expect(unsafe_code, reason = "page tables")]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::cpu;
use super::start_info::MAPPED_BYTES;

const PAGE_BYTES: u64 = 4096;
const LARGE_PAGE_BYTES: u64 = 2 << 20;
/// In an entry of a page table.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const UNCACHED: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// So many entries of 2 MiB become tables of pages of 4 KiB: the linker script sees to it that text, constants and the
/// guard page lie in them.
const FINE_TABLES: usize = 4;
/// Tables for what lies beyond 4 GiB: enough for one device wherever it is, two tables each for two.
const SPARE_TABLES: usize = 4;

#[repr(C, align(4096))]
struct Table([u64; 512]);

unsafe extern "C" {
    // Symbols of the linker script and the entry: their addresses are the values.
    static __text_start: u8;
    static __text_end: u8;
    static __data_start: u8;
    static boot_stack_guard: u8;
    /// The root of the tables.
    static mut boot_pml4: Table;
    /// The entries for the first 4 GiB, each of a page of 2 MiB.
    static mut boot_page_directories: [u64; 2048];
}

static mut FINE: [Table; FINE_TABLES] = [const { Table([0; 512]) }; FINE_TABLES];
static mut SPARE: [Table; SPARE_TABLES] = [const { Table([0; 512]) }; SPARE_TABLES];
static SPARE_USED: AtomicUsize = AtomicUsize::new(0);

/// Whether the address lies in the page below the boot stack.
pub(in crate::platform) fn is_stack_guard(address: u64) -> bool {
    let guard = &raw const boot_stack_guard as u64;
    (guard..guard + PAGE_BYTES).contains(&address)
}

/// Sets the rights in the table above. The start information, which may lie in page 0, must have been read before.
pub(in crate::platform) fn protect() {
    let text = &raw const __text_start as u64..&raw const __text_end as u64;
    let constants = text.end..&raw const __data_start as u64;
    let rights = |page: u64| match page {
        0 => None,
        page if is_stack_guard(page) => None,
        page if text.contains(&page) => Some(PRESENT),
        page if constants.contains(&page) => Some(PRESENT | NO_EXECUTE),
        _ => Some(PRESENT | WRITABLE | NO_EXECUTE),
    };
    // SAFETY: boot calls this once, on the only vCPU, so nobody else touches the tables. Each new entry maps the address to
    // itself as before, so every reference stays good; only rights are taken: from text writing, from data running, which
    // no sound code does, and from two pages all access, in which no Rust object lies (the linker script begins at 1 MiB,
    // and the entry keeps the guard page out of the stack).
    unsafe {
        let directories = (&raw mut boot_page_directories).cast::<u64>();
        let mut page = 0;
        let fine = &raw mut FINE;
        for (index, table) in (*fine).iter_mut().enumerate() {
            for entry in &mut table.0 {
                *entry = rights(page).map_or(0, |rights| page | rights);
                page += PAGE_BYTES;
            }
            // Only now, since the table holds what is running. Statics lie in the image, whose addresses are physical
            // ones; the rights are those of the table's entries.
            *directories.add(index) = &raw const *table as u64 | PRESENT | WRITABLE;
        }
        for index in FINE_TABLES..2048 {
            *directories.add(index) |= NO_EXECUTE;
        }
    }
    cpu::forget_translations();
}

/// Makes a device's registers reachable at their own address, wherever the firmware has put them. Says whether that could be
/// done: for more than two devices beyond 4 GiB there are no tables.
pub(in crate::platform) fn map_device(address: u64, len_bytes: u64) -> bool {
    // An address is its own virtual address as long as it lies in the lower half of those.
    let Some(end) = address.checked_add(len_bytes).filter(|&end| end <= 1 << 46) else { return false };
    let mut page = (address & !(LARGE_PAGE_BYTES - 1)).max(MAPPED_BYTES);
    while page < end {
        let index = |shift: u32| (page >> shift & 511) as usize;
        // SAFETY: only boot and drivers that are being set up come here, on the only vCPU; no reference into the tables
        // outlives this function. The pages lie beyond the 4 GiB in which all of Rust's objects are.
        unsafe {
            let root = &raw mut boot_pml4;
            let root = &mut *root;
            let Some(entry) =
                table_behind(&mut root.0[index(39)]).and_then(|upper| table_behind(&mut upper.0[index(30)]))
            else {
                return false;
            };
            entry.0[index(21)] = page | PRESENT | WRITABLE | UNCACHED | LARGE | NO_EXECUTE;
        }
        page += LARGE_PAGE_BYTES;
    }
    cpu::forget_translations();
    true
}

/// The table that an entry refers to; a spare one, if the entry is empty and there is one left.
///
/// # Safety
/// The entry is one of ours and refers to no page, and nobody else holds a reference to its table.
unsafe fn table_behind(entry: &mut u64) -> Option<&mut Table> {
    if *entry & PRESENT == 0 {
        let spare = SPARE_USED.load(Ordering::Relaxed);
        if spare == SPARE_TABLES {
            return None;
        }
        SPARE_USED.store(spare + 1, Ordering::Relaxed);
        // SAFETY: only the address is taken, of a table that no entry refers to yet.
        *entry = unsafe { (&raw mut SPARE).cast::<Table>().add(spare) } as u64 | PRESENT | WRITABLE;
    }
    // SAFETY: present entries refer to tables in the image, whose addresses are physical ones; the caller holds no other.
    Some(unsafe { &mut *((*entry & ADDRESS) as *mut Table) })
}

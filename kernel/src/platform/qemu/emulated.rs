//! Under software emulation (TCG): lets QEMU's table of translations grow to what the guest uses.
//!
//! TCG looks every access up in a table of address translations, direct-mapped, that starts with 256 pages. QEMU doubles it
//! when more than 70 % of it is in use, and halves it when less than 30 % is, but only while it empties it, which is when a guest
//! gives up its translations (QEMU 7.2, accel/tcg/cputlb.c, `tlb_mmu_resize_locked`). An operating system does with every switch
//! between processes; this kernel has one address space and never would. A guest that uses more pages than the table holds, or
//! whose pages lie so that two share an entry, then pays for these with every change between them, 2 µs each: with one
//! connection a traced `http` looked up three pages for each request.
//!
//! The guest's memory is one piece, from the image to the end of the heap. So the scheduler looks at a page of it after the other
//! until the table is in use, and gives the translations up: three times, and it holds 2048 pages, of which no two in 8 MiB share
//! an entry. What the devices' drivers did meanwhile may have shrunk it, so this is done again every [`INTERVAL_NANOS`], and takes
//! some milliseconds, which the trace shows.

#![expect(unsafe_code, reason = "a page's first byte is read")]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use fata_probe::span;

use super::cpu;
use super::machine::memory;

const INTERVAL_NANOS: u64 = 5_000_000_000;
/// How QEMU signs leaf 0x4000_0000 of `cpuid` where it emulates the CPU itself.
const SIGNATURE: &[u8; 12] = b"TCGTCGTCGTCG";
/// How many entries the table has before it is doubled.
const SIZES: [usize; 3] = [256, 512, 1024];

/// When to do it next; never where the CPU is real.
static NEXT_NANOS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Finds out whether the CPU is emulated.
pub(super) fn start() {
    let signature = cpu::cpuid(0x4000_0000).map(|leaf| [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes));
    if signature.is_some_and(|signature| signature.as_flattened() == SIGNATURE) {
        NEXT_NANOS.store(0, Ordering::Relaxed);
    }
}

/// Makes the table grow when it is time. For the scheduler, once a round.
pub(super) fn look(now_nanos: u64) {
    if now_nanos >= NEXT_NANOS.load(Ordering::Relaxed) {
        NEXT_NANOS.store(now_nanos + INTERVAL_NANOS, Ordering::Relaxed);
        grow();
    }
}

#[cold]
#[inline(never)]
fn grow() {
    let _span = span!("cpu.translations");
    for entries in SIZES {
        for page in memory::used_pages().take(entries) {
            // SAFETY: the address lies in memory that the image, the ring or the heap has, so it can be read, and a byte may have
            // any value. It is thrown away, and volatile, so that whoever changes it meanwhile (a device) is no concern.
            unsafe { ptr::with_exposed_provenance::<u8>(page).read_volatile() };
        }
        cpu::forget_translations();
    }
}

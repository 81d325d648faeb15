//! Under software emulation (TCG): lets QEMU's table of translations grow to what the guest uses.
//!
//! TCG looks every access up in a table of address translations, direct-mapped, that starts with 256 pages. QEMU doubles it
//! when most of it is in use, and halves it when little is, but only while it empties it, which is when a guest gives up its
//! translations (QEMU 7.2, accel/tcg/cputlb.c, `tlb_mmu_resize_locked`). An operating system does with every switch between
//! processes; this kernel has one address space and never would. A guest that used more pages than the table holds then
//! paid for two pages that share an entry with every change between them: a traced `http` under load a tenth of its time.
//!
//! So the scheduler gives them up twice a second, where the guest is emulated. Filling the table anew takes some hundred
//! microseconds.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu;

const INTERVAL_NANOS: u64 = 500_000_000;
/// How QEMU signs leaf 0x4000_0000 of `cpuid` where it emulates the CPU itself.
const SIGNATURE: &[u8; 12] = b"TCGTCGTCGTCG";

/// When to give them up next; never where the CPU is real.
static NEXT_NANOS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Finds out whether the CPU is emulated.
pub(super) fn start() {
    let signature = cpu::cpuid(0x4000_0000).map(|leaf| [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes));
    if signature.is_some_and(|signature| signature.as_flattened() == SIGNATURE) {
        NEXT_NANOS.store(0, Ordering::Relaxed);
    }
}

/// Gives up the translations when it is time. For the scheduler, once a round.
pub(super) fn look(now_nanos: u64) {
    if now_nanos >= NEXT_NANOS.load(Ordering::Relaxed) {
        NEXT_NANOS.store(now_nanos + INTERVAL_NANOS, Ordering::Relaxed);
        cpu::forget_translations();
    }
}

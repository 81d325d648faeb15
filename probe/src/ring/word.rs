//! Words of shared memory, and the unlocked exchange.
//!
//! Invariant: every access to ring memory goes through here as one aligned 64-bit store or load, so a reader on another
//! CPU, in another process, never sees half a word.
#![expect(unsafe_code, reason = "the only place where ring memory is touched through pointers")]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::sync;

/// Stores one word.
///
/// # Safety
/// `word` is aligned and lies in a region's memory that is mapped writable.
#[inline(always)]
pub(crate) unsafe fn store_word(word: *mut u64, value: u64) {
    // SAFETY: by the contract the word is valid for writes; all concurrent accesses to it are atomic ones.
    // Relaxed: `fence_publish` orders these stores where their order matters.
    unsafe { sync::word(word) }.store(value, Ordering::Relaxed);
}

/// Loads one word of the guest's own memory.
///
/// # Safety
/// `word` is aligned and lies in a region's memory.
pub(crate) unsafe fn copy_word(word: *mut u64) -> u64 {
    // SAFETY: by the contract the word is valid for reads; all concurrent accesses to it are atomic ones.
    // Acquire: pairs with the Release of each event's header word, whose payload is read after it, and of a packet's lock.
    unsafe { sync::word(word) }.load(Ordering::Acquire)
}

/// Makes the stores before it visible before the stores after it; pairs with the Acquire fence after a reader's copy.
///
/// On x86-64 the CPU keeps stores in order and this only holds the compiler.
#[inline(always)]
#[cfg_attr(loom, track_caller)]
pub(crate) fn fence_publish() {
    sync::fence(Ordering::Release);
}

/// Asks for the cache line of `word`, which need not be anyone's: a hint, never an access.
#[inline(always)]
pub(crate) fn prefetch(word: *mut u64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: prefetching is defined for every address, and every x86-64 CPU has the instruction.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(word.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = word;
}

/// Sets `count` words from `start` on to zero.
///
/// A process lets the CPU's string instruction do it. A guest may run under software emulation, where that instruction takes
/// ten times as long as a loop.
///
/// # Safety
/// They are aligned and lie in a region's memory that is mapped writable.
pub(crate) unsafe fn zero_words(start: *mut u64, count: usize) {
    #[cfg(all(target_arch = "x86_64", feature = "std", not(miri), not(loom)))]
    // SAFETY: by the contract all `count` words are valid for writes. The direction flag is clear, as the calling convention
    // has it. Each word is stored whole; in which order makes no difference, since the stores before are done before and
    // those after come after (Intel SDM 3, 9.2.4).
    unsafe {
        core::arch::asm!(
            "rep stosq",
            inout("rcx") count => _,
            inout("rdi") start => _,
            in("rax") 0u64,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", feature = "std", not(miri), not(loom))))]
    {
        // Eight for each question whether there are more.
        let eights = count - count % 8;
        for i in (0..eights).step_by(8) {
            for word in i..i + 8 {
                // SAFETY: by the contract all `count` words are valid for writes.
                unsafe { store_word(start.add(word), 0) };
            }
        }
        for i in eights..count {
            // SAFETY: as above.
            unsafe { store_word(start.add(i), 0) };
        }
    }
}

/// Exchanges `current` for `new` if `word` holds it, atomically against interrupts on this CPU but not against other CPUs,
/// which is a third of the locked instruction's cost. Returns whether it did.
#[inline(always)]
pub(crate) fn compare_exchange_local(word: &AtomicU64, current: u64, new: u64) -> bool {
    sync::interrupt_point();
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    {
        // SAFETY: `word` is valid and aligned; no other CPU writes it (a writer belongs to one vCPU), and on one CPU a
        // single instruction is never interrupted half-way. The jump asks the flag that the exchange has set.
        unsafe {
            core::arch::asm!(
                "cmpxchg qword ptr [{word}], {new}",
                "jne {differs}",
                word = in(reg) word.as_ptr(),
                new = in(reg) new,
                inout("rax") current => _,
                differs = label { return false },
                options(nostack),
            );
        }
        true
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    {
        // Writer and interrupts share the CPU, and readers never look at this word. Release: what was loaded before the
        // exchange belongs to `current`; pairs with the Acquire load of the state in an interrupt on this CPU.
        word.compare_exchange(current, new, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// Adds to a number of the guest's own and returns what it was; atomic against interrupts on this CPU alone, as
/// [`compare_exchange_local`].
#[inline(always)]
pub(crate) fn add_local(number: &AtomicU64, n: u64) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    {
        let mut n = n;
        // SAFETY: `number` is valid and aligned; no other CPU writes it, by the caller's contract, and on one CPU a single
        // instruction is never interrupted half-way.
        unsafe {
            core::arch::asm!(
                "xadd qword ptr [{number}], {n}",
                number = in(reg) number.as_ptr(),
                n = inout(reg) n,
                options(nostack),
            );
        }
        n
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    number.fetch_add(n, Ordering::Relaxed)
}

/// Adds to a counter in shared memory that only this CPU changes, and reads nothing back of it.
///
/// # Safety
/// `word` is aligned and lies in memory that is mapped writable and lives for ever.
#[inline(always)]
pub(crate) unsafe fn add_shared(word: *mut u64, n: u64) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    // SAFETY: by the contract the word is valid; one instruction is atomic against interrupts on this CPU, and readers of an
    // aligned word never see half of it.
    unsafe {
        core::arch::asm!("add qword ptr [{word}], {n}", word = in(reg) word, n = in(reg) n, options(nostack));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    // SAFETY: by the contract the word is valid; all concurrent accesses to it are atomic ones.
    unsafe { sync::word(word) }.fetch_add(n, Ordering::Relaxed);
}

/// A length or offset in shared memory as an index.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the assertion: addresses have 64 bits wherever we run")]
pub(crate) const fn index(offset: u64) -> usize {
    const { assert!(usize::BITS == 64, "shared memory is addressed with 64 bits") };
    offset as usize
}

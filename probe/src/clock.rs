//! The clock of all events: the CPU's own counter, read without a fence.
#![cfg_attr(not(loom), expect(unsafe_code, reason = "reading the counter is an intrinsic"))]

/// The clock's value now, in ticks.
///
/// Grows at a constant rate on one vCPU. The instruction is not ordered against the loads and stores around it, which moves
/// a stamp by a few nanoseconds and makes it half as expensive as an ordered one.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(loom)]
    {
        crate::sync::model::ticks()
    }
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: `rdtsc` is part of every x86-64 CPU; no platform we run on forbids it at our privilege level.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(all(target_arch = "aarch64", not(loom)))]
    {
        let ticks: u64;
        // SAFETY: the virtual counter may be read at every exception level, and changes nothing.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", loom)))]
    compile_error!("this architecture's clock is not known: add it here")
}

//! The instructions that Rust has no words for: ports, special registers, interrupts on and off, and the pause until one.
//!
//! Invariant: there is one vCPU, in ring 0, and all of this runs on it. What is true between two instructions with
//! interrupts off is therefore true of the machine.
//!
//! ```text
//! const COM1: Port = Port::new(0x3f8);        // a port is named once, where its device is driven
//! COM1.write(b'x');
//! ```

#![expect(unsafe_code, reason = "each function is one privileged instruction")]

use core::arch::asm;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use fata_probe::Wait;

/// An I/O port. The devices behind the ports that this platform names are driven by programmed I/O: none of them is told an
/// address, so that no access through a port can touch memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::platform) struct Port(u16);

impl Port {
    /// The port of this number.
    pub(in crate::platform) const fn new(number: u16) -> Self {
        Port(number)
    }

    /// Writes a byte.
    pub(in crate::platform) fn write(self, value: u8) {
        // SAFETY: a write to a port has no effect on memory (see the type), and changes no flag.
        unsafe { asm!("out dx, al", in("dx") self.0, in("al") value, options(nomem, nostack, preserves_flags)) }
    }

    /// Reads a byte; all ones where there is no device.
    pub(in crate::platform) fn read(self) -> u8 {
        let value: u8;
        // SAFETY: as in `write`.
        unsafe { asm!("in al, dx", in("dx") self.0, out("al") value, options(nomem, nostack, preserves_flags)) }
        value
    }

    /// Writes four bytes.
    pub(in crate::platform) fn write_u32(self, value: u32) {
        // SAFETY: as in `write`.
        unsafe { asm!("out dx, eax", in("dx") self.0, in("eax") value, options(nomem, nostack, preserves_flags)) }
    }

    /// Reads four bytes; all ones where there is no device.
    pub(in crate::platform) fn read_u32(self) -> u32 {
        let value: u32;
        // SAFETY: as in `write`.
        unsafe { asm!("in eax, dx", in("dx") self.0, out("eax") value, options(nomem, nostack, preserves_flags)) }
        value
    }
}

/// The time stamp counter.
#[inline]
pub(in crate::platform) fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction, and this kernel never forbids it (CR4.TSD).
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Runs `body` with interrupts off, and leaves them as they were.
pub(in crate::platform) fn without_interrupts<T>(body: impl FnOnce() -> T) -> T {
    let flags: u64;
    // SAFETY: reads the flags through the stack and clears IF. Not `nomem`: no access may move before it.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    let result = body();
    if flags & 0x200 != 0 {
        enable_interrupts();
    }
    result
}

/// From here on, interrupts are taken. Boot calls it once the table of gates is loaded.
pub(in crate::platform) fn enable_interrupts() {
    // SAFETY: gates exist for all vectors (see above). Not `nomem`: what a handler is to see must be written.
    unsafe { asm!("sti", options(nostack)) }
}

/// From here on, interrupts wait.
pub(in crate::platform) fn disable_interrupts() {
    // SAFETY: clears IF and nothing else.
    unsafe { asm!("cli", options(nostack)) }
}

/// Turns interrupts on and pauses until one was handled, with none lost between the two: `sti` takes effect after the
/// instruction that follows it, so an interrupt that is already pending ends the `hlt`.
pub(in crate::platform) fn enable_interrupts_and_pause() {
    // SAFETY: gates exist for all vectors. Not `nomem`: handlers write what is looked at afterwards.
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// Stops for good.
pub(in crate::platform) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off, `hlt` ends only by an NMI, after which the loop halts again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// The address whose access faulted last.
pub(in crate::platform) fn fault_address() -> u64 {
    let address: u64;
    // SAFETY: reading cr2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

/// Makes the CPU forget all translations it has cached.
pub(in crate::platform) fn forget_translations() {
    // SAFETY: cr3 is written with what it held. Not `nomem`: the page tables must be written before.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags)) }
}

/// The leaf of `cpuid`, or `None` where the CPU (or, from 0x4000_0000, the hypervisor) has none of that number.
pub(in crate::platform) fn cpuid(leaf: u32) -> Option<core::arch::x86_64::CpuidResult> {
    use core::arch::x86_64::__cpuid;
    let last = if leaf >= 0x4000_0000 {
        // Bit 31 of leaf 1's ecx: a hypervisor is present, and the leaves from 0x4000_0000 are its own.
        if __cpuid(1).ecx >> 31 == 0 {
            return None;
        }
        __cpuid(0x4000_0000).eax
    } else {
        __cpuid(0).eax
    };
    (leaf <= last || leaf == 0x4000_0000).then(|| __cpuid(leaf))
}

/// Where Xen's leaves of `cpuid` begin, if this is Xen. It gives way to another hypervisor's leaves, so that the first one is
/// searched for.
pub(in crate::platform) fn xen_leaves() -> Option<u32> {
    use core::arch::x86_64::__cpuid;
    if __cpuid(1).ecx >> 31 == 0 {
        return None;
    }
    (0x4000_0000..0x4001_0000).step_by(0x100).find(|&base| {
        let leaf = __cpuid(base);
        [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).as_flattened() == b"XenVMMXenVMM"
    })
}

/// Which execution context this is: the only one. Never 0.
#[must_use]
pub fn current() -> usize {
    1
}

/// Keeps for the execution context what its task is about to wait for. Gives what was kept before.
pub(crate) fn replace_wait(wait: Option<&'static Wait>) -> Option<&'static Wait> {
    static WAIT: AtomicPtr<Wait> = AtomicPtr::new(ptr::null_mut());
    // Relaxed twice: there is one vCPU, and no interrupt handler is a task.
    let before = WAIT.load(Ordering::Relaxed);
    WAIT.store(wait.map_or(ptr::null_mut(), |wait| ptr::from_ref(wait).cast_mut()), Ordering::Relaxed);
    // SAFETY: what is stored, here alone, is null or comes from a reference that is good for ever and only ever read through.
    unsafe { before.as_ref() }
}

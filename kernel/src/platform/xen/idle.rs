//! Sleeping without using the processor until an event kicks, or a deadline comes.
//!
//! Invariant: as on QEMU's machines, a kick between two waits makes the second one return at once; `sti; hlt` lets no event
//! slip in between the look and the pause. Xen runs others while the vCPU halts.
//!
//! The deadline is one shot of Xen's own timer.

use super::machine::kicked;
use super::{clock, cpu, hypercall};

/// Pauses until a kick or until the clock reads `deadline` nanoseconds; whether there was a kick. May return early:
/// the caller looks for work.
pub(crate) fn wait(deadline: Option<u64>) -> bool {
    super::trace::tend();
    cpu::disable_interrupts();
    if kicked::take() {
        cpu::enable_interrupts();
        return true;
    }
    if let Some(deadline) = deadline {
        if deadline <= clock::now() {
            cpu::enable_interrupts();
            return false;
        }
        hypercall::set_timer(clock::system_nanos_from_now(deadline));
    }
    cpu::enable_interrupts_and_pause();
    // Any event ends the pause; what it has kicked is work that the caller must look for.
    // A timer that is still armed is left so: it ends a later pause early, which is allowed, or is set anew.
    kicked::take()
}

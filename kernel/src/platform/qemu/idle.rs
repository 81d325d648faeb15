//! Sleeping without using the processor until an interrupt kicks, or a deadline comes.
//!
//! Invariant: a kick between two waits makes the second one return at once. The flag is looked at with interrupts off, and
//! they go on in the same step in which the vCPU pauses (`sti; hlt`), so an interrupt comes either before the look, which
//! then sees its kick, or after the pause began, which it ends.
//!
//! The deadline is one shot of the local timer, not a tick: a wait is as exact as the machine's timer.

use super::machine::kicked;
use super::{apic, clock, cpu, emulated};

/// Sees to what no interrupt announces. For the scheduler, whenever it looks around.
pub(crate) fn look(now_nanos: u64) {
    emulated::look(now_nanos);
}

/// Pauses until a kick or until the clock reads `deadline` nanoseconds; whether there was a kick. May return early:
/// the caller looks for work.
pub(crate) fn wait(deadline: Option<u64>) -> bool {
    cpu::disable_interrupts();
    if kicked::take() {
        cpu::enable_interrupts();
        return true;
    }
    if let Some(deadline) = deadline {
        let nanos = deadline.saturating_sub(clock::now());
        if nanos == 0 {
            cpu::enable_interrupts();
            return false;
        }
        apic::interrupt_in(nanos);
    }
    cpu::enable_interrupts_and_pause();
    // Any interrupt ends the pause; what it has kicked is work that the caller must look for.
    // A timer that is still armed is left so: it ends a later pause early, which is allowed, or is set anew.
    kicked::take()
}

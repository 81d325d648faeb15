//! Sleeping without using the processor until an interrupt kicks, or a deadline comes.
//!
//! Invariant: a kick between two waits makes the second one return at once. The flag is looked at with interrupts off, and
//! they go on in the same step in which the vCPU pauses (`sti; hlt`), so an interrupt comes either before the look, which
//! then sees its kick, or after the pause began, which it ends.
//!
//! The deadline is one shot of the local timer, not a tick: a wait is as exact as the machine's timer. A shot that comes before
//! the deadline anyway is left as it is, and the pause goes on after it: to set the timer is an exit to QEMU, and where it is the
//! machine's next timer QEMU wakes its other thread for it. A guest whose idle moments are short sets it twenty times a second instead
//! of with each.

use core::sync::atomic::{AtomicU64, Ordering};

use super::machine::kicked;
use super::{apic, clock, cpu, emulated};

/// When the timer interrupts next, in nanoseconds since boot, as it was set. (Relaxed: one vCPU, which interrupts itself.)
static SHOT: AtomicU64 = AtomicU64::new(NEVER);
const NEVER: u64 = u64::MAX;

/// Sees to what no interrupt announces. For the scheduler, whenever it looks around.
pub(crate) fn look(now_nanos: u64) {
    emulated::look(now_nanos);
}

/// The timer has interrupted.
pub(super) fn shot() {
    SHOT.store(NEVER, Ordering::Relaxed);
}

/// Pauses until a kick or until the clock reads `deadline` nanoseconds; whether there was a kick. May return early:
/// the caller looks for work.
pub(crate) fn wait(deadline: Option<u64>) -> bool {
    loop {
        cpu::disable_interrupts();
        if kicked::take() {
            cpu::enable_interrupts();
            return true;
        }
        if let Some(deadline) = deadline {
            let now = clock::now();
            if deadline <= now {
                cpu::enable_interrupts();
                return false;
            }
            aim(now, deadline);
        }
        cpu::enable_interrupts_and_pause();
        // Any interrupt ends the pause; what it has kicked is work that the caller must look for.
        if kicked::take() {
            return true;
        }
        // It was not the timer.
        if SHOT.load(Ordering::Relaxed) != NEVER {
            return false;
        }
    }
}

/// Sees to it that the timer interrupts at `deadline` or before, which is after `now`. Interrupts are off.
fn aim(now: u64, deadline: u64) {
    let shot = SHOT.load(Ordering::Relaxed);
    // One that should have come by now may never do.
    if now < shot && shot <= deadline {
        return;
    }
    apic::interrupt_in(deadline - now);
    SHOT.store(deadline, Ordering::Relaxed);
}

//! Sleeping without using the processor until an event kicks, or a deadline comes.
//!
//! Invariant: a kick between two waits makes the second one return at once. Events are looked at before the pause, and one that
//! comes after the look ends it: see [`events`]. Xen runs others while the vCPU pauses, and keeps the deadline itself.

use super::machine::kicked;
use super::{clock, events};

/// Lets events reach those who wait for them, and dom0 hear that packets are ready. For the scheduler, whenever it looks
/// around: also while the guest has no time to sleep.
pub(crate) fn look() {
    super::trace::tend();
    events::look();
}

/// Pauses until a kick or until the clock reads `deadline` nanoseconds; whether there was a kick. May return early:
/// the caller looks for work.
pub(crate) fn wait(deadline: Option<u64>) -> bool {
    look();
    if kicked::take() {
        return true;
    }
    if deadline.is_some_and(|deadline| deadline <= clock::now()) {
        return false;
    }
    events::pause(deadline.map_or(0, clock::system_nanos_from_now));
    // Any event ends the pause; what it kicks is work that the caller must look for.
    events::look();
    kicked::take()
}

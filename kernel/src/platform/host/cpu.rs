//! Which execution context this is: here every thread is one, and the guest runs on exactly one of them.

use core::cell::Cell;
use std::thread_local;

use fata_probe::Wait;

thread_local! {
    /// See [`replace_wait`].
    static WAIT: Cell<Option<&'static Wait>> = const { Cell::new(None) };
    // Its address is the answer. No destructor and a constant start, so that an allocator may ask.
    static MARK: u8 = const { 0 };
}

/// A number that no other live thread has: an address, so never 0 or 1.
#[must_use]
pub fn current() -> usize {
    // A thread that is ending has no mark any more, and certainly is not the guest's.
    MARK.try_with(|mark| core::ptr::from_ref(mark).addr()).unwrap_or(usize::MAX)
}

/// Keeps for the execution context what its task is about to wait for. Gives what was kept before.
pub(crate) fn replace_wait(wait: Option<&'static Wait>) -> Option<&'static Wait> {
    WAIT.replace(wait)
}

//! Which execution context this is: here every thread is one, and the guest runs on exactly one of them.

use std::thread_local;

thread_local! {
    // Its address is the answer. No destructor and a constant start, so that an allocator may ask.
    static MARK: u8 = const { 0 };
}

/// A number that no other live thread has: an address, so never 0 or 1.
#[must_use]
pub fn current() -> usize {
    // A thread that is ending has no mark any more, and certainly is not the guest's.
    MARK.try_with(|mark| core::ptr::from_ref(mark).addr()).unwrap_or(usize::MAX)
}

//! A static that may be changed, on a machine with one vCPU.

#![expect(unsafe_code, reason = "there is no other vCPU, which the compiler cannot know")]

use core::cell::{RefCell, RefMut};

/// A value that only tasks and boot use, and no interrupt handler.
pub(in crate::platform) struct Local<T>(RefCell<T>);

// SAFETY: there is one vCPU, so that only an interrupt handler could come in between; none uses such a value.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    /// Holds `value`.
    pub(in crate::platform) const fn new(value: T) -> Self {
        Local(RefCell::new(value))
    }

    /// The value, as long as the result is held. To ask for it meanwhile is a bug, and a panic.
    pub(in crate::platform) fn get(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}

//! How an interrupt handler, or another thread, wakes the task that serves a device.
//!
//! ```
//! # use core::task::Poll;
//! # use fata_kernel::executor::WakeCell;
//! static ARRIVED: WakeCell = WakeCell::new(); // the handler calls ARRIVED.wake()
//!
//! async fn frame(mut look: impl FnMut() -> Option<u32>) -> u32 {
//!     core::future::poll_fn(|cx| {
//!         ARRIVED.register(cx.waker()); // first register, then look: a frame that comes in between wakes us
//!         look().map_or(Poll::Pending, Poll::Ready)
//!     })
//!     .await
//! }
//! ```
//! It holds one waker: the last to register is the one who is woken, once.
#![expect(unsafe_code, reason = "the cell holds a waker's pointer")]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::task::Waker;

use super::task;

/// A place for the waker of one task of this kernel.
#[derive(Debug)]
pub struct WakeCell {
    data: AtomicPtr<()>,
}

impl WakeCell {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        WakeCell { data: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The next [`Self::wake`] wakes `waker`. A waker that was not made by this kernel (of a combinator that polls its
    /// parts one by one) is woken at once, so its task goes on looking instead of sleeping.
    pub fn register(&self, waker: &Waker) {
        if ptr::eq(waker.vtable(), &raw const task::VTABLE) {
            // SeqCst: pairs with `wake`: either it finds the waker, or we see what it announced when we look next.
            self.data.store(waker.data().cast_mut(), Ordering::SeqCst);
        } else {
            waker.wake_by_ref();
        }
    }

    /// Wakes the registered task, if there is one. From anywhere: takes no lock and no memory.
    pub fn wake(&self) {
        // SeqCst: pairs with `register`.
        let data = self.data.swap(ptr::null_mut(), Ordering::SeqCst);
        if !data.is_null() {
            // SAFETY: the pointer came from a waker with this kernel's functions, which never expires.
            unsafe { task::wake(data) };
        }
    }
}

impl Default for WakeCell {
    fn default() -> Self {
        Self::new()
    }
}

//! The flag that ends a pause.
//!
//! Invariant: a kick between two waits makes the second one return at once.

use core::sync::atomic::{AtomicBool, Ordering};

static KICKED: AtomicBool = AtomicBool::new(false);

/// Whether there was a kick since the last look. To be asked with interrupts off, before a pause, so that none comes between.
pub(in crate::platform) fn take() -> bool {
    // Acquire: pairs with the Release in `kick`, so that what came before the kick is seen after the wait.
    KICKED.swap(false, Ordering::Acquire)
}

/// Makes the running wait return, or the next one if none is running. From interrupt handlers too.
pub(in crate::platform) fn kick() {
    // Release: pairs with the Acquire in `take`.
    KICKED.store(true, Ordering::Release);
}

//! The end of the guest: the ring is sealed, then the hypervisor is told.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Console, cpu, trace};
use crate::platform::chosen;

/// The exit code of a guest that panicked, as of a Rust program.
pub(in crate::platform) const EXIT_PANIC: i32 = 101;
/// The exit code of a guest that a CPU exception ended.
pub(in crate::platform) const EXIT_EXCEPTION: i32 = 102;
/// The exit code of a guest that could not start.
pub(in crate::platform) const EXIT_BOOT: i32 = 100;

/// Set once the guest has begun to die: a panic on the way out must not start over.
static DYING: AtomicBool = AtomicBool::new(false);

/// Seals the ring and ends the guest with `code`.
pub fn exit(code: i32) -> ! {
    trace::exited();
    stop(code)
}

/// Prints where and why the guest panicked, seals the ring with that message, and ends. The image's panic handler.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    use fmt::Write as _;
    // The console takes everything, so there is no error to look at.
    let _ = writeln!(Console, "\n{info}");
    died(format_args!("{info}"), EXIT_PANIC)
}

/// Has the ring left as it is when the guest dies: for trying out what can be read of one that has no time to seal it.
pub fn seal_no_more() {
    DYING.store(true, Ordering::Relaxed);
}

/// Seals the ring with the guest's last words and ends it.
pub(in crate::platform) fn died(message: fmt::Arguments<'_>, code: i32) -> ! {
    cpu::disable_interrupts();
    if !DYING.swap(true, Ordering::Relaxed) {
        trace::died(message);
    }
    stop(code)
}

/// Ends the guest as it is.
pub(in crate::platform) fn stop(code: i32) -> ! {
    cpu::disable_interrupts();
    chosen::stop(code)
}
